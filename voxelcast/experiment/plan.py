"""An experiment opened: its data, networks, folds, and which of its parts need which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, OptionError, UnknownNameError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import open_dataset
from voxelcast.datasets.series import SeriesDataset
from voxelcast.datasets.tables import read_folds
from voxelcast.encoders.learned.trunk_settings import TrunkSettings
from voxelcast.encoders.registry import check_ready
from voxelcast.experiment.planning import checks
from voxelcast.experiment.settings import OWN, TABLES, ExperimentSettings
from voxelcast.experiment.steps.compress import Excluded, excluded_folds
from voxelcast.experiment.steps.extract import Shards, load
from voxelcast.experiment.steps.tables import open_own
from voxelcast.features.delays import Delayed, Delays, delays_of
from voxelcast.features.hrf import bases
from voxelcast.features.own import Timeline
from voxelcast.features.settings import CompressionSettings
from voxelcast.results.schema import Pair
from voxelcast.search.folds import choose_folds, segment_folds
from voxelcast.search.variance_partitioning import Layer
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.steps import StepStore


class Plan:
    """An experiment opened: its dataset and networks are there and fit the settings, nothing has been computed.

    Raises VoxelcastError for what can be known to be wrong before long work: missing files, unknown layers, too few
    stimuli. ``known``: held-out stimuli that an earlier run looked at together.
    """

    def __init__(
        self, config: ExperimentSettings, store: StepStore, *, extract_on: str | None = None, known: Shards = ()
    ) -> None:
        self.config, self.known_shards = config, known
        self.extract_on = extract_on or config.compute.device  # the workers' device may be another than this process's
        self.store = store
        self.dataset: Dataset = open_dataset(config.dataset)
        self.stimuli: tuple[Stimulus, ...] = (
            *self.dataset.train_stimuli,
            *self.dataset.test_stimuli,
            *self.dataset.context_stimuli,
        )
        self.pairs = tuple((s, roi) for s in self.dataset.subjects for roi in self.dataset.rois(s))
        if not self.pairs:
            raise UnknownNameError("the dataset has no subject x ROI to fit; check dataset.subjects and dataset.rois")
        self.plain = set(config.encoders) != set(config.learned)
        """Whether any encoder reads compressed features."""
        self._given_folds = self._read_folds()
        self.segments = self._divide_runs()
        train_ids = [i for i in self.dataset.stimulus_ids("train") if self.segments.get(i, 0) >= 0]
        partitions = {subject: self.folds(train_ids, subject=subject) for subject in self.fold_tables}
        self.n_folds = int(partitions[self.fold_tables[0]].max()) + 1
        for subject, fold_ids in partitions.items():
            if int(fold_ids.max()) + 1 != self.n_folds:
                raise DataError(
                    f"every subject must have as many folds; got {self.n_folds} of {self.fold_tables[0]} and "
                    f"{fold_ids.max() + 1} of {subject}; run them as experiments of their own"
                )
            checks.check_components(self, fold_ids)
        self.warnings = checks.exchange_warnings(self, train_ids, list(partitions.values()))
        checks.check_sources(self)
        self.timeline = _timeline(self.dataset)
        ids = [stimulus.stimulus_id for stimulus in self.stimuli]
        self.own, self.own_features = open_own(config, ids, self.timeline, self.extract_on)
        for pair in self.pairs:
            self.relied_on(pair)
        check_ready(config.encoders)
        self.networks = tuple(load(network, config.seed, config.compute.device) for network in config.networks)
        layers = [(network.shown, layer) for network in self.networks for layer in network.layers]
        self.sources: list[Layer] = [*layers, *self.feature_names]
        checks.check_delays(self)
        self.layer_groups = checks.layer_groups(self)
        self.streams = checks.streams(self)
        checks.check_learned(self)
        n_layers = len(self.feature_names)
        n_layers += len(config.pools) * sum(len(network.layers) for network in self.networks)
        if config.ensemble.joined and n_layers < 2:
            raise OptionError(f"ensemble.joined needs at least two layers; got {n_layers}; name more, or join none")

    @property
    def feature_names(self) -> list[Layer]:
        """What stands for network and layer of features that no network made."""
        return [*((TABLES, table) for table in self.config.tables), *((OWN, name) for name in self.own_features)]

    def compression_of(self, shown: str) -> CompressionSettings:
        """Return how features are compressed; tables may be narrower than networks' layers."""
        compress = self.config.compress
        return replace(compress, fewer="allow") if shown in (TABLES, OWN) else compress

    def folds(self, train_ids: Sequence[str], repeat: int = 0, subject: str = "") -> IntArray:
        """Assign training stimuli to folds, ndarray of int, shape (n_train,); each repeat assigns anew.

        ``subject``: one of `fold_tables`.
        """
        if self.segments:
            return np.array([self.segments[i] for i in train_ids], dtype=np.intp)
        given = self._given_folds.get(subject or self.fold_tables[0])
        named = None if given is None else [given[i] for i in train_ids]
        return choose_folds(
            self.config.folds, len(train_ids), self.config.seed, self.groups_of(train_ids), repeat, named
        )

    @property
    def fold_tables(self) -> tuple[str, ...]:
        """Subjects that were given folds of their own; an empty name where all have the same."""
        return tuple(self._given_folds) or ("",)

    def _read_folds(self) -> dict[str, dict[str, str]]:
        """Read the folds that were given, by subject and stimulus id; nothing where folds are to be made."""
        settings = self.config.dataset
        if settings.folds is None:
            return {}
        runs = {stimulus_id: run for stimulus_id, (run, _) in (self.dataset.series or {}).items()}
        return read_folds(
            settings.root / settings.folds, self.dataset.stimulus_ids("train"), runs, self.dataset.subjects
        )

    def _divide_runs(self) -> dict[str, int]:
        """Divide runs into segments: the fold of each training volume, -1 in a gap; empty for other folds."""
        folds, series, ids = self.config.folds, self.dataset.series, self.dataset.stimulus_ids("train")
        if folds.by != "segment":
            return {}
        if series is None or self._given_folds:
            raise OptionError(
                "folds.by=segment divides the runs of a time series, where no folds are given; set by=stimulus"
            )
        found = segment_folds([series[i] for i in ids], folds.number(len(ids)), folds.gap)
        return dict(zip(ids, found.tolist(), strict=True))

    def excluded_folds(self, n_folds: int, *, refit: bool | None = None) -> Excluded:
        """List the sets of folds without which the compression is fitted; ``refit``: whether it is fitted in folds."""
        refit = self.config.compressed_in_folds if refit is None else refit
        inner = None if self.config.variance_partitioning.groups else self.config.folds.inner
        return excluded_folds(n_folds, nested=self.config.folds.nested, refit=refit, inner=inner)

    def groups_of(self, ids: Sequence[str]) -> tuple[str, ...] | None:
        """Return the groups of stimuli, in order; None where the dataset has none."""
        groups = self.dataset.groups
        if groups is None:
            return None
        parts = {i: f" segment {fold + 1}" for i, fold in self.segments.items()}
        return tuple(groups[i] + parts.get(i, "") for i in ids)

    def units_of(self, ids: Sequence[str]) -> tuple[str, ...] | None:
        """Return the groups that are exchanged and resampled whole, in order; None where each stimulus is by itself."""
        return None if self.config.folds.unit == "stimulus" else self.groups_of(ids)

    @property
    def _fit_runs(self) -> set[str]:
        """Runs that training stimuli are volumes of."""
        series = self.dataset.series
        return set() if series is None else {series[i][0] for i in self.dataset.stimulus_ids("train")}

    def _is_near(self, stimulus: Stimulus) -> bool:
        """Whether delays of training stimuli may reach a stimulus that is none."""
        return self.dataset.series is not None and self.dataset.series[stimulus.stimulus_id][0] in self._fit_runs

    @property
    def test_is_near(self) -> bool:
        """Whether delays of training stimuli may reach held-out ones."""
        return self.dataset.series is not None and any(map(self._is_near, self.dataset.test_stimuli))

    def parts(self) -> dict[str, tuple[Stimulus, ...]]:
        """Divide all stimuli as `Extracted` does."""
        dataset, near = self.dataset, list(map(self._is_near, self.dataset.context_stimuli))
        context = list(zip(dataset.context_stimuli, near, strict=True))
        return {
            "train": dataset.train_stimuli,
            "near": tuple(stimulus for stimulus, is_near in context if is_near),
            "test": dataset.test_stimuli,
            "far": tuple(stimulus for stimulus, is_near in context if not is_near),
        }

    def delays_of(self, shown: str, layer: str) -> Delays:
        """Return the delays of a layer or table; of what was convolved at its own times, none."""
        delays = self.config.delays_of(shown, layer)
        return (0,) if isinstance(delays, str) and layer in self.own.convolved and shown == OWN else delays

    def all_delays(self) -> set[Delays]:
        """Return all delays that features have."""
        layers = [(network.shown, layer) for network in self.networks for layer in network.layers]
        return {self.delays_of(*one) for one in (*layers, *self.feature_names)}

    @property
    def most_delays(self) -> int:
        """The most features that become of one."""
        sizes = [len(bases(delays) if isinstance(delays, str) else delays) for delays in self.all_delays()]
        return max((1, *sizes))

    def delayed(self, delays: Delays, ids: Sequence[str], wanted: Sequence[str]) -> Delayed | None:
        """Find which moments, rows of features by ``ids``, each volume is given; None where stimuli are no volumes."""
        timeline = self.timeline
        return None if timeline is None else delays_of(ids, wanted, timeline.series, delays, timeline.tr)

    def trained_on(self, trunk: TrunkSettings, pair: Pair) -> list[Pair]:
        """Return the pairs whose responses a trunk that a pair uses is trained on."""
        return [
            other
            for other in self.pairs
            if (trunk.subjects == "all" or other[0] == pair[0])
            and (trunk.rois == "all" or other[1] == pair[1])
            and other[0] not in trunk.unseen
        ]

    def relied_on(self, pair: Pair) -> list[Pair]:
        """Return the other pairs whose responses the fit of a pair needs."""
        trained_on = [other for trunk in self.config.trunks.values() for other in self.trained_on(trunk, pair)]
        others = (*self.sharers(pair), *self.experts(pair), *trained_on)
        return [other for other in dict.fromkeys(others) if other != pair]

    def experts(self, pair: Pair) -> list[Pair]:
        """Return the ROIs whose models take part in the prediction of a pair, by ``ensemble.experts``."""
        ensemble = self.config.ensemble
        if ensemble.method != "experts" or pair[1] in ensemble.experts:
            return []
        for roi in ensemble.experts:
            check_known("ROI", roi, self.dataset.rois(pair[0]), where=f"among those of {pair[0]}, for ensemble.experts")
        return [(pair[0], roi) for roi in ensemble.experts]

    def sharers(self, pair: Pair) -> list[Pair]:
        """Return the other subjects that a pair shares its targets with, at least one; none unless ``share`` is set."""
        if not self.config.share.components:
            return []
        others = [other for other in self.pairs if other[1] == pair[1] and other[0] != pair[0]]
        if not others:
            raise OptionError(
                f"share.components needs at least two subjects with {pair[1]}; got {pair[0]} alone; set it to 0"
            )
        return others


def _timeline(dataset: Dataset) -> Timeline | None:
    """Return the volumes of a time series; None of any other dataset."""
    if not isinstance(dataset, SeriesDataset):
        return None
    return Timeline(dataset.tr, {run.name: run.n_volumes for run in dataset.series_runs}, dataset.series)


def output_folder(config: ExperimentSettings, asked: Path | None) -> Path:
    """Folder of the results: the one asked for, or ``outputs/<name>``."""
    return asked if asked is not None else Path("outputs") / config.name
