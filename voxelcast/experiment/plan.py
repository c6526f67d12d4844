"""From settings to steps: what an experiment has to do, each step with the key of all that determines its result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_known, check_same_stimuli
from voxelcast.core.errors import DataError, OptionError, UnknownNameError
from voxelcast.core.seeds import derive_seed
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import open_dataset
from voxelcast.datasets.series import SeriesDataset
from voxelcast.datasets.tables import read_folds
from voxelcast.encoders.learned.trunk_settings import TRUNK, TrunkSettings
from voxelcast.encoders.registry import check_ready, get_encoder
from voxelcast.execution.steps import Step
from voxelcast.experiment.settings import OTHERS, OWN, TABLES, ExperimentSettings
from voxelcast.experiment.steps.axes import AxesJob, JoinedAxesJob, KeptLayer, LayerCompression, ProjectJob
from voxelcast.experiment.steps.compress import (
    CompressedLayer,
    CompressJob,
    Excluded,
    FoldedLayers,
    JoinJob,
    compressed,
    excluded_folds,
    layer_keys,
)
from voxelcast.experiment.steps.control import ControlJob, shuffled_order
from voxelcast.experiment.steps.extract import (
    Extracted,
    LoadedNetwork,
    Readable,
    ShardJob,
    Shards,
    extract_steps,
    feature_name,
    load,
    pool_index,
)
from voxelcast.experiment.steps.fit import FitJob
from voxelcast.experiment.steps.partition import FoldedGroups, LayerGroup, PartitionJob
from voxelcast.experiment.steps.predict import HeldOutStimuli, PairToPredict, PredictJob, Projected, Together
from voxelcast.experiment.steps.responses import ResponsesJob, TrainingResponses
from voxelcast.experiment.steps.tables import DatasetTables, dataset_table, open_own, table_steps
from voxelcast.experiment.steps.train import TrainedLayer
from voxelcast.experiment.steps.trunk import TrunkJob, TrunkLayer, folds_name
from voxelcast.experiment.trainings import NO_TRAININGS, Trainings, Wanted, source_steps, train_steps
from voxelcast.features.delays import Delayed, Delays, delays_of
from voxelcast.features.hrf import bases
from voxelcast.features.own import Timeline
from voxelcast.features.settings import CompressionSettings
from voxelcast.models.shards import divide
from voxelcast.results.schema import Pair
from voxelcast.scoring.intervals import few_stimuli
from voxelcast.scoring.permutation import Exchange
from voxelcast.search.folds import choose_folds, segment_folds
from voxelcast.search.joined import ALL_LAYERS, JOINED
from voxelcast.search.variance_partitioning import Layer, resolve_groups
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.keys import file_hash
from voxelcast.store.readers.arrays import open_npy
from voxelcast.store.steps import StepId, StepStore

READ, EXTRACT, COMPRESS = "read responses", "extract features", "compress layers"
TOGETHER = 8
"""Layers, or shards of stimuli, in one step where each takes a moment."""
WHOLE_BRAIN = 10_000
"""Voxels: a subject x ROI of more is a whole brain, which ``models: roi`` does not save."""
Partitions = Mapping[str, Sequence[FoldedLayers]]
"""The compressed layers for each partition into folds, by subject."""
SearchedPartitions = Mapping[Pair, tuple[FoldedLayers, ...]]
"""All layers that a search sees, for each partition into folds, by subject and ROI."""
Trunks = Mapping[Pair, Sequence[Sequence[TrunkLayer]]]
"""The outputs of trunks for each partition into folds, by subject and ROI."""
TRAIN = "train encoders"
JOIN, FIT, DIVIDE = "join layers", "fit encoding models", "divide variance"
TRAIN_TRUNKS = "train trunks"
SHUFFLE = "fit shuffled responses"
KEEP, PROJECT, PREDICT = "keep compression", "compress held-out stimuli", "predict held-out stimuli"
"""Stages, in the order of the work; some are of experiments that ask for it."""


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
        self._given_folds = self._read_folds()
        self._segments = self._divide_runs()
        train_ids = [i for i in self.dataset.stimulus_ids("train") if self._segments.get(i, 0) >= 0]
        partitions = {subject: self.folds(train_ids, subject=subject) for subject in self.fold_tables}
        self.n_folds = int(partitions[self.fold_tables[0]].max()) + 1
        for subject, fold_ids in partitions.items():
            if int(fold_ids.max()) + 1 != self.n_folds:
                raise DataError(
                    f"every subject must have as many folds; got {self.n_folds} of {self.fold_tables[0]} and "
                    f"{fold_ids.max() + 1} of {subject}; run them as experiments of their own"
                )
            self._check_components(fold_ids)
        self.warnings = self._exchange_warnings(train_ids, list(partitions.values()))
        self._check_sources()
        self.timeline = _timeline(self.dataset)
        ids = [stimulus.stimulus_id for stimulus in self.stimuli]
        self.own, self.own_features = open_own(config, ids, self.timeline, self.extract_on)
        for pair in self.pairs:
            self.relied_on(pair)
        check_ready(config.encoders)
        self.networks = tuple(load(network, config.seed, config.compute.device) for network in config.networks)
        layers = [(network.shown, layer) for network in self.networks for layer in network.layers]
        self._sources: list[Layer] = [*layers, *self.feature_names]
        self._check_delays()
        self.layer_groups = self._layer_groups()
        self.streams = self._streams()
        self.plain = set(config.encoders) != set(config.learned)
        """Whether any encoder reads compressed features."""
        self._check_learned()
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
        if self._segments:
            return np.array([self._segments[i] for i in train_ids], dtype=np.intp)
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

    def _exchange_warnings(self, train_ids: Sequence[str], partitions: Sequence[IntArray]) -> tuple[str, ...]:
        """Say where no voxel can be significant, whatever the responses are, and where folds are small."""
        if self.config.folds.unit == "stimulus" and self.dataset.series is not None:
            raise OptionError(
                "folds.unit must be group for a time series, whose volumes resemble their neighbours; got stimulus; "
                "leave it out"
            )
        asked, circular = self.config.significance, self.dataset.series is not None
        groups = self.units_of(train_ids)
        exchanges = [Exchange(fold_ids, groups, circular) for fold_ids in partitions if self.config.folds.nested]
        said = [exchange.warning(asked.permutations, asked.alpha) for exchange in exchanges]
        if self.dataset.has_test_responses:
            test_ids = self.dataset.stimulus_ids("test")
            exchange = Exchange(np.zeros(len(test_ids), dtype=int), self.units_of(test_ids), circular)
            warning = exchange.warning(asked.permutations, asked.alpha)
            said.append(warning and f"Held-out stimuli: {warning}")
        said += [few_stimuli(fold_ids) for fold_ids in partitions]
        return tuple(dict.fromkeys(warning for warning in said if warning))

    def excluded_folds(self, n_folds: int, *, refit: bool | None = None) -> Excluded:
        """List the sets of folds without which the compression is fitted; ``refit``: whether it is fitted in folds."""
        refit = self.config.compressed_in_folds if refit is None else refit
        inner = None if self.config.variance_partitioning.groups else self.config.folds.inner
        return excluded_folds(n_folds, nested=self.config.folds.nested, refit=refit, inner=inner)

    def _check_components(self, fold_ids: IntArray) -> None:
        """Raise an error if a training part has too few stimuli for the components, whatever their values are."""
        compress = self.config.compress
        # A random projection is not bounded by the number of stimuli.
        bounded = compress.method not in ("none", "random_projection") and compress.fewer == "error"
        bounded = bounded and bool(self.config.networks)
        for name, asked, refit, remedy in (
            ("compress", compress.components if bounded else 0, None, ", or set compress.fewer=allow"),
            ("share", self.config.share.components, True, ""),
        ):
            excluded = self.excluded_folds(self.n_folds, refit=refit)
            smallest = len(fold_ids) - max(np.isin(fold_ids, left_out).sum() for left_out in excluded)
            if isinstance(asked, int) and asked and asked >= smallest:
                raise OptionError(
                    f"{name}.components must be below {smallest}, the number of stimuli in the smallest training part; "
                    f"got {asked}; lower it{remedy}"
                )

    def _check_sources(self) -> None:
        """Raise an error where features or delays do not go with the dataset."""
        for table in self.config.tables:
            check_known("feature table", table, self.dataset.feature_tables, where=f"in {self.dataset.facts.title}")
        if self.config.networks and not self.dataset.can_be_shown:
            raise OptionError(
                "networks need pictures or videos, and this dataset has none; take networks out and set "
                f"features=[{', '.join(self.dataset.feature_tables)}]"
            )
        if self.config.delays and self.dataset.series is None:
            raise OptionError("delays go with time series alone, and this dataset has single responses; leave them out")
        self._check_pools()

    def _check_delays(self) -> None:
        """Raise an error where features of a time series have no delays, or delays are of features there are not."""
        delays = self.config.delays
        names = {OTHERS, *(name for one in self.feature_names for name in one)}
        names |= {name for network in self.networks for name in (network.shown, *network.layers)}
        for name in delays if isinstance(delays, dict) else ():
            check_known("feature space", name, sorted(names), where="among networks, layers and features (delays)")
        if self.timeline is None:
            return
        if () in self._all_delays():
            raise OptionError(
                "time series need delays, in TR, of all features: BOLD follows what was shown by 4 to 8 s; set e.g. "
                "delays=[1, 2, 3, 4], or delays=[0] for none, or delays=double_gamma"
            )
        if self.config.search.joint and len(self._all_delays()) > 1:
            raise OptionError("search.joint needs the same delays for all features; set them, or joint=false")

    def _check_learned(self) -> None:
        """Raise OptionError where trained encoders do not go with the networks, folds or other settings."""
        config = self.config
        if config.learned and config.folds.inner is not None and config.folds.inner >= self.n_folds:
            raise OptionError(f"folds.inner must be below the {self.n_folds} folds; got {config.folds.inner}; lower it")
        fixed = [network.shown for network in self.networks if not network.trainable]
        if "finetuned" in config.encoders and fixed:
            raise OptionError(f"encoders: finetuned needs networks of torch, and {fixed[0]} is none; take readout")
        if not self.plain and (self.feature_names or self.layer_groups or config.ensemble.joined or config.trunks):
            raise OptionError(
                f"encoders: {', '.join(config.learned)} read no compressed features; add ridge, or leave out features, "
                "variance_partitioning, trunks and ensemble.joined"
            )

    def _layer_groups(self) -> dict[str, tuple[Layer, ...]]:
        """Find the layers of the groups between which variance is divided; empty where there are none."""
        groups = self.config.variance_partitioning.groups
        if groups and self.n_folds < 3:
            raise OptionError(
                f"variance_partitioning needs at least 3 folds, 2 of them to choose penalties by; got {self.n_folds}; "
                "ask for more folds"
            )
        return resolve_groups(groups, self._sources)

    def _check_pools(self) -> None:
        """Raise an error where the pools over time do not go with the dataset."""
        pools, videos = self.config.pools, any(not stimulus.is_image for stimulus in self.stimuli)
        if len(pools) > 1 and not videos:
            raise OptionError(
                "several pools need videos, and this dataset has pictures, of whose one frame all pools give the same; "
                f"set pool={pools[0]}"
            )
        responses = [pool for pool in pools if pool.startswith(("bold", "hrf("))]
        delays = [self.config.delays_of(network.shown, "") for network in self.config.networks]
        if self.dataset.series is not None and responses and any(delay != (0,) for delay in delays):
            raise OptionError(
                f"pool {responses[0]} and delays model the same lag of BOLD behind the stimulus; of time series take "
                f"{responses[0]} out of pool, or set delays=[0]"
            )

    def _streams(self) -> dict[str, tuple[Layer, ...]]:
        """Find the layers that each trunk reads; raise an error where one does not go with the dataset."""
        found = {}
        for label, trunk in self.config.trunks.items():
            streams = resolve_groups({label: trunk.streams}, self._sources, "trunks")[label]
            found[label] = streams or tuple(self._sources)
            for subject in trunk.unseen:
                check_known("subject", subject, self.dataset.subjects, where=f"in trunks.{label}.unseen")
            if (trunk.kind == "temporal") != (self.dataset.series is not None):
                raise OptionError(
                    f"trunks.{label}.kind must be temporal for time series, and linear or mlp for single responses; "
                    f"got {trunk.kind}"
                )
            if trunk.subjects == "all" and len(self.fold_tables) > 1:
                raise OptionError(
                    f"trunks.{label} needs the same folds in all subjects, and dataset.folds gives each its own; set "
                    "subjects=each"
                )
            for pair in self.pairs:
                if not self.trained_on(trunk, pair):
                    raise OptionError(
                        f"trunks.{label} has no subject to be trained on for {' '.join(pair)}; name fewer in unseen"
                    )
        return found

    def groups_of(self, ids: Sequence[str]) -> tuple[str, ...] | None:
        """Return the groups of stimuli, in order; None where the dataset has none."""
        groups = self.dataset.groups
        if groups is None:
            return None
        parts = {i: f" segment {fold + 1}" for i, fold in self._segments.items()}
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
    def _test_is_near(self) -> bool:
        return self.dataset.series is not None and any(map(self._is_near, self.dataset.test_stimuli))

    def _parts(self) -> dict[str, tuple[Stimulus, ...]]:
        """Divide all stimuli as `Extracted` does."""
        dataset, near = self.dataset, list(map(self._is_near, self.dataset.context_stimuli))
        context = list(zip(dataset.context_stimuli, near, strict=True))
        return {
            "train": dataset.train_stimuli,
            "near": tuple(stimulus for stimulus, is_near in context if is_near),
            "test": dataset.test_stimuli,
            "far": tuple(stimulus for stimulus, is_near in context if not is_near),
        }

    def extract_steps(self) -> dict[str, Extracted]:
        """Make the steps that extract each network's layers, a shard of stimuli each, by the network's shown name.

        Features that come with the dataset are steps among them. Training and held-out stimuli are never in one step.
        """
        config, row_of = self.config, {one.stimulus_id: row for row, one in enumerate(self.stimuli)}

        def of_parts(make: Callable[[tuple[Stimulus, ...], Shards, int], list[Step]]) -> Extracted:
            made: dict[str, tuple[Step, ...]] = {}
            for part, stimuli in self._parts().items():
                known = self.known_shards if part in ("test", "far") and not config.unsaved else ()
                made[part] = tuple(make(stimuli, known, sum(map(len, made.values()))))
            return Extracted(**made)

        given = {table: dataset_table(self.dataset, table) for table in config.tables}
        found: dict[str, Extracted] = {}
        for source, read in ((DatasetTables(config.dataset), given), (self.own, self.own_features)):
            if read:
                found[source.shown] = of_parts(partial(table_steps, source, read, row_of))
        for network in self.networks if self.plain else ():
            how = network, config.extraction, self.extract_on

            def layers(stimuli: tuple[Stimulus, ...], known: Shards, first: int, how: Any = how) -> list[Step]:
                return extract_steps(how[0], stimuli, how[1], how[2], known, first)

            found[network.shown] = of_parts(layers)
        return found

    def source_steps(self) -> dict[str, dict[str, tuple[LoadedNetwork, list[Step]]]]:
        """Make the steps that give trained encoders what they read, by what that is and the network's shown name."""
        found: dict[str, dict[str, tuple[LoadedNetwork, list[Step]]]] = {}
        for network in self.networks if self.config.learned else ():
            for kind, steps in source_steps(self.config, network, self.stimuli, self.extract_on).items():
                found.setdefault(kind, {})[network.shown] = (network, steps)
        return found

    def trainings(
        self,
        sources: Mapping[str, Mapping[str, tuple[LoadedNetwork, list[Step]]]],
        responses: Mapping[Pair, Step],
        readable: Readable,
        shuffle: int = 0,
    ) -> Trainings:
        """Make the steps that train encoders, for each partition into folds; ``shuffle``: to shuffled responses."""
        steps: list[Step] = []
        layers: dict[tuple[Pair, int], tuple[TrainedLayer, ...]] = {}
        for table, repeat in product(self.fold_tables, range(self.config.folds.repeats)):
            of_table = {pair: step for pair, step in responses.items() if table in ("", pair[0])}
            fold_ids, order = self.folds(readable.train_ids, repeat, table), None
            if shuffle:
                first = self.folds(readable.train_ids, 0, table)
                order = shuffled_order(Exchange(first, readable.groups, False), self.config.seed, shuffle)
                if order is None:
                    continue
            wanted = Wanted(of_table, fold_ids, order)
            made, found = train_steps(self.config, sources, readable, wanted, self.extract_on)
            steps += made
            layers |= {(pair, repeat): some for pair, some in found.items()}
        return Trainings(tuple({step.step_id: step for step in steps}.values()), layers)

    def readable(self, extracted: Mapping[str, Extracted]) -> Readable:
        """Say which stimuli the finished extraction steps could read.

        Raises AlignmentError if a network's features are not of the dataset's stimuli, or networks read other ones, and
        DataError if no training stimulus is left.
        """
        ids = [stimulus.stimulus_id for stimulus in self.stimuli]
        broken_of: dict[str, dict[str, str]] = {}
        for shown, of_network in extracted.items():
            found = [one for step in of_network.steps for one in self._records(step)]
            records = {one["stimulus_id"]: one["broken"] for one in found}
            wanted = [i for step in of_network.steps if isinstance(step.job, ShardJob) for i in step.job.shard]
            check_same_stimuli(f"features of {shown}", [one["stimulus_id"] for one in found], "the stimuli", wanted)
            broken_of[shown] = {i: records[i] for i in ids if records[i]}
        first, broken = next(iter(broken_of.items()))
        for shown, others in broken_of.items():
            kept, also = ([i for i in ids if i not in left_out] for left_out in (broken, others))
            check_same_stimuli(f"features of {first}", kept, f"features of {shown}", also)
        left_out = {*broken, *(i for i, fold in self._segments.items() if fold < 0)}
        train = [i for i, s in enumerate(self.dataset.train_stimuli) if s.stimulus_id not in left_out]
        test = [i for i, s in enumerate(self.dataset.test_stimuli) if s.stimulus_id not in broken]
        if not train:
            raise DataError(f"none of {len(self.dataset.train_stimuli)} training stimuli can be read; check the files")
        train_ids = tuple(self.dataset.train_stimuli[i].stimulus_id for i in train)
        test_ids = tuple(self.dataset.test_stimuli[i].stimulus_id for i in test)
        rows = np.array(train, dtype=int), np.array(test, dtype=int)
        groups = self.units_of(train_ids), self.units_of(test_ids)
        return Readable(train_ids, test_ids, *rows, *groups, self.dataset.series is not None, broken)

    def _records(self, step: Step) -> list[dict[str, Any]]:
        return list(self.store.read(step.step_id).json("stimuli"))

    def _readable_ids(self, steps: Sequence[Step]) -> list[str]:
        """Return the ids of the stimuli that finished extraction steps could read, in their order."""
        return [one["stimulus_id"] for step in steps for one in self._records(step) if not one["broken"]]

    def _compressed(self, extracted: Extracted) -> tuple[Step, ...]:
        """Return the steps whose stimuli the compression sees: it is fitted to the training stimuli alone.

        Held-out stimuli are among them only where models cannot be saved, or delays of training stimuli reach them.
        """
        if self.config.unsaved:
            return (*extracted.train, *extracted.test, *extracted.near, *extracted.far)
        return (*extracted.train, *extracted.near, *(extracted.test if self._test_is_near else ()))

    def responses_steps(self) -> dict[Pair, Step]:
        """Make the steps that read, check and average the responses, by subject and ROI."""
        config = self.config
        ids = tuple(stimulus.stimulus_id for stimulus in self.stimuli)
        steps = {}
        for subject, roi in self.pairs:
            files = tuple(file_hash(path) for path in self.dataset.response_files(subject, roi))
            n_train, handling = len(self.dataset.train_stimuli), config.invalid_voxels
            job = ResponsesJob(config.dataset, files, ids, n_train, subject, roi, handling)
            steps[subject, roi] = Step(job, together=subject if self.dataset.reads_together else "")
        return steps

    def folded_layers(
        self, extracted: Mapping[str, Extracted], readable: Readable, repeat: int, subject: str = ""
    ) -> tuple[FoldedLayers, list[Step]]:
        """Make the steps that compress each layer of each network, for each pool, for the folds of a repeat.

        ``subject``: one of `fold_tables`.

        Without a compression fitted in folds, all repeats share one.
        """
        config = self.config
        refit = config.compressed_in_folds
        fold_ids = self.folds(readable.train_ids, repeat, subject)
        fitted_for = fold_ids if refit else self.folds(readable.train_ids)
        excluded = self.excluded_folds(int(fitted_for.max()) + 1)
        fitted_for = self.of_all_rows(fitted_for, readable)
        kept = self._readable_ids(self._compressed(next(iter(extracted.values())))) if extracted else []
        wanted = (*readable.train_ids, *(readable.test_ids if config.unsaved else ()))
        delayed = {delays: self._delayed(delays, kept, wanted) for delays in self._all_delays()}
        sources = [
            (network.shown, network.card.weights, layer, pool)
            for network in self.networks
            for layer in network.layers
            for pool in config.pools
        ]
        models = self.own.networks
        for shown, table in self.feature_names:  # they were never pooled
            sources.append((shown, models[table].card.weights if table in models else "none", table, ""))
        layers, steps = [], []
        for shown, weights, layer, pool in sources if self.plain else ():
            index = pool_index(pool, config.pools) if pool else None
            named = "" if index is None else pool
            shards = tuple(step.step_id for step in self._compressed(extracted[shown]))
            how = self.compression_of(shown), config.compress_seed, pool == "pc1"
            steps.append(Step(CompressJob(shown, layer, named, index, shards, fitted_for, excluded, *how)))
            moments = delayed[self.delays_of(shown, layer)]
            layers.append(CompressedLayer(steps[-1].step_id, shown, weights, layer, named, refit, moments))
        return FoldedLayers(fold_ids, tuple(layers)), steps

    def of_all_rows(self, fold_ids: IntArray, readable: Readable) -> IntArray:
        """Give the folds of all readable training stimuli: -1 for those between two segments."""
        fold_of = dict(zip(readable.train_ids, fold_ids.tolist(), strict=True))
        ids = [i for i in self.dataset.stimulus_ids("train") if i not in readable.broken]
        return np.array([fold_of.get(i, -1) for i in ids], dtype=fold_ids.dtype)

    def delays_of(self, shown: str, layer: str) -> Delays:
        """Return the delays of a layer or table; of what was convolved at its own times, none."""
        delays = self.config.delays_of(shown, layer)
        return (0,) if isinstance(delays, str) and layer in self.own.convolved and shown == OWN else delays

    def _all_delays(self) -> set[Delays]:
        layers = [(network.shown, layer) for network in self.networks for layer in network.layers]
        return {self.delays_of(*one) for one in (*layers, *self.feature_names)}

    @property
    def most_delays(self) -> int:
        """The most features that become of one."""
        sizes = [len(bases(delays) if isinstance(delays, str) else delays) for delays in self._all_delays()]
        return max((1, *sizes))

    def _delayed(self, delays: Delays, ids: Sequence[str], wanted: Sequence[str]) -> Delayed | None:
        """Find which moments, rows of features by ``ids``, each volume is given; None where stimuli are no volumes."""
        timeline = self.timeline
        return None if timeline is None else delays_of(ids, wanted, timeline.series, delays, timeline.tr)

    def join_step(self, folded: FoldedLayers) -> Step:
        """Make the step that joins layers; unlike the compression it is fitted to each training part in any case."""
        return Step(JoinJob(folded, self.excluded_folds(int(folded.fold_ids.max()) + 1, refit=True)))

    def training_responses(self, responses: Mapping[Pair, Step]) -> dict[Pair, TrainingResponses]:
        """Return the responses that finished steps have, as what is fitted to them counts them."""
        return {pair: TrainingResponses.of(step.step_id, self.store) for pair, step in responses.items()}

    def trained_on(self, trunk: TrunkSettings, pair: Pair) -> list[Pair]:
        """Return the pairs whose responses a trunk that a pair uses is trained on."""
        return [
            other
            for other in self.pairs
            if (trunk.subjects == "all" or other[0] == pair[0])
            and (trunk.rois == "all" or other[1] == pair[1])
            and other[0] not in trunk.unseen
        ]

    def trunk_steps(
        self,
        responses: Mapping[Pair, TrainingResponses],
        readable: Readable,
        partitions: Partitions,
        extracted: Mapping[str, Extracted],
    ) -> tuple[Trunks, list[Step]]:
        """Make the steps that train the trunks, one for each set of folds left out, and say which outputs a pair uses.

        Pairs that are trained on the same responses share the steps; those are left out that need responses that are
        not there.
        """
        if not self.config.trunks:
            return {}, []
        ids, series = self._readable_ids(self._compressed(next(iter(extracted.values())))), None
        row_of = {stimulus_id: row for row, stimulus_id in enumerate(ids)}
        rows = np.array([row_of[stimulus_id] for stimulus_id in (*readable.train_ids, *readable.test_ids)])
        if self.dataset.series is not None:
            at = [self.dataset.series[stimulus_id] for stimulus_id in ids]
            numbers = {run: number for number, run in enumerate(dict.fromkeys(run for run, _ in at))}
            series = np.array([(numbers[run], position) for run, position in at])
        steps: dict[StepId, Step] = {}
        found: dict[Pair, list[list[TrunkLayer]]] = {}
        for pair in responses:
            if not all(other in responses for other in self.relied_on(pair)):
                continue
            found[pair] = []
            for folded in partitions[pair[0]]:
                layers = []
                for label, trunk in self.config.trunks.items():
                    given = tuple((other, responses[other]) for other in self.trained_on(trunk, pair))
                    made = self._trained(label, given, folded, (readable.train_rows, rows, series))
                    steps |= {step.step_id: step for step in made.values()}
                    trained = {name: step.step_id for name, step in made.items()}
                    layers.append(TrunkLayer(trained[""], TRUNK, "none", label, "", True, trained=trained))
                found[pair].append(layers)
        return found, list(steps.values())

    def _trained(
        self,
        label: str,
        responses: tuple[tuple[Pair, TrainingResponses], ...],
        folded: FoldedLayers,
        places: tuple[IntArray, IntArray, IntArray | None],
    ) -> dict[str, Step]:
        """Make the steps that train one trunk on some responses, by the folds that are left out.

        ``places`` are `TrunkJob`'s ``train_rows``, ``rows`` and ``series``.
        """
        trunk = self.config.trunks[label]
        read = FoldedLayers(
            folded.fold_ids,
            tuple(
                replace(one, delayed=None)
                for one in compressed(folded)
                if (one.network, one.layer) in self.streams[label]
            ),
        )
        device = "cpu" if trunk.kind == "linear" else self.extract_on
        around = responses, *places, derive_seed(self.config.seed, TRUNK)
        return {
            folds_name(excluded): Step(
                TrunkJob(label, device, trunk, read, excluded, *around), uses_gpu=device != "cpu"
            )
            for excluded in self.excluded_folds(int(folded.fold_ids.max()) + 1, refit=True)
        }

    def fit_steps(
        self,
        responses: Mapping[Pair, TrainingResponses],
        readable: Readable,
        partitions: SearchedPartitions,
    ) -> dict[Pair, Step]:
        """Make the steps that search, evaluate and refit the models, by subject and ROI.

        Those are left out whose own responses, or others that they rely on, are not there.
        """
        config = self.config
        uses_automl = any(get_encoder(name).uses_automl for name in config.encoders)
        return {
            pair: Step(
                FitJob(
                    *pair,
                    responses=prepared,
                    sharers=tuple(responses[other] for other in self.sharers(pair)),
                    experts=tuple((other[1], responses[other]) for other in self.experts(pair)),
                    atlases=tuple(read_atlas(name, pair) for name in config.ensemble.atlases if isinstance(name, str)),
                    stimuli=readable if config.unsaved else readable.fitted,
                    partitions=tuple(partitions[pair]),
                    encoders=config.encoders,
                    automl=config.automl if uses_automl else None,  # it changes nothing where it is not used
                    settings=config.settings_of(pair[1]),
                    share=config.share,
                    truncate=config.compress.nested,
                    interval=config.interval,
                    significance=config.significance,
                    saved=not config.unsaved,
                )
            )
            for pair, prepared in responses.items()
            if all(other in responses for other in self.relied_on(pair))
        }

    def weighed_layers(self, fits: Iterable[Step]) -> set[str]:
        """Return the keys of the layers that the models of finished fits weigh."""
        return {part["layer"] for step in fits for part in self.store.read(step.step_id).json("parts")}

    def keeping_steps(
        self, weighed: Collection[str], folded: FoldedLayers, compressions: Sequence[Step], join: Step | None
    ) -> dict[KeptLayer, Step]:
        """Make the steps that keep how layers are compressed, of those that models weigh, by what they keep.

        ``compressions`` are the steps of the layers, ``join`` that of the last one, which joins the others.
        """
        everything = compressed(folded)
        keys = layer_keys(everything)
        key_of = [keys[layer.network, layer.layer, layer.pool] for layer in everything]
        joins = join is not None and key_of[-1] in weighed
        wanted, kept = (set(key_of) if joins else set(weighed)), dict[KeptLayer, Step]()
        n_train = len(folded.fold_ids)
        for start in range(0, len(compressions), TOGETHER):
            group = [k for k in range(start, min(start + TOGETHER, len(compressions))) if key_of[k] in wanted]
            if not group:
                continue
            jobs = [step.job for step in (compressions[k] for k in group)]
            layers = tuple(
                LayerCompression(
                    *(job.network, job.layer, job.pool, job.pool_index, job.shards, np.flatnonzero(job.fold_ids >= 0)),
                    *(compressions[k].step_id, job.compression, job.seed, job.axis),
                )
                for k, job in zip(group, jobs, strict=True)
                if isinstance(job, CompressJob)
            )
            step = Step(AxesJob(layers))
            for number, (k, one) in enumerate(zip(group, layers, strict=True)):
                feature, named = feature_name(one.layer, one.pool_index), everything[k]
                of_layer = key_of[k], named.network, named.layer, named.pool, feature
                kept[KeptLayer(*of_layer, step.step_id, number)] = step
        if joins and join is not None:
            step = Step(JoinedAxesJob(everything[:-1], join.step_id, n_train))
            last = everything[-1]
            of_layer = key_of[-1], last.network, last.layer, "", ""
            kept[KeptLayer(*of_layer, step.step_id, 0, tuple(key_of[:-1]))] = step
        return kept

    def saved_pairs(self, fits: Mapping[Pair, Step]) -> list[Pair]:
        """Return the pairs whose models are saved, of finished fits, by the setting ``models``."""
        kind = self.config.models
        if kind == "none" or self.config.unsaved:
            return []
        sizes = {pair: self.store.read(step.step_id).array("layer_weights").shape[1] for pair, step in fits.items()}
        return [pair for pair, size in sizes.items() if kind == "all" or size <= WHOLE_BRAIN]

    def held_out_shards(self) -> list[list[str]]:
        """Return the ids of the held-out stimuli that are looked at together, and of those that they depend on."""
        shards = []
        for part in ("test", "far"):
            ids = [stimulus.stimulus_id for stimulus in self._parts()[part]]
            shards += [[ids[k] for k in shard] for shard in divide(ids, self.known_shards)]
        return shards

    def _predicted(self, extracted: Extracted) -> tuple[Step, ...]:
        """Return the steps whose stimuli are needed to predict the held-out ones."""
        near = (*extracted.near, *extracted.train) if self._test_is_near else ()
        return (*extracted.test, *extracted.far, *near)

    def project_steps(
        self, kept: Iterable[KeptLayer], extracted: Mapping[str, Extracted]
    ) -> tuple[list[Step], list[tuple[list[str], Projected]]]:
        """Make the steps that compress held-out stimuli, as saved models do, some shards each.

        Also returns the ids of each shard's readable stimuli, and where their components will be.
        """
        layers: dict[str, list[KeptLayer]] = {}
        for layer in kept:
            if not layer.members:
                layers.setdefault(layer.network, []).append(layer)
        networks = {shown: self._predicted(of_network) for shown, of_network in extracted.items()}
        shards, steps, found = next(iter(networks.values())), list[Step](), []
        for start in range(0, len(shards), TOGETHER):
            group = slice(start, start + TOGETHER)
            of_group = [
                Step(
                    ProjectJob(tuple(one.step_id for one in networks[shown][group]), tuple(some), self.extract_on),
                    uses_gpu=self.extract_on != "cpu",
                    size=sum(one.size for one in shards[group]),
                )
                for shown, some in layers.items()
            ]
            ids = tuple(step.step_id for step in of_group)
            found += [(self._readable_ids([one]), Projected(ids, k)) for k, one in enumerate(shards[group])]
            steps += of_group
        return steps, found

    def predict_steps(
        self,
        fits: Mapping[Pair, Step],
        responses: Mapping[Pair, Step],
        readable: Readable,
        kept: Iterable[KeptLayer],
        projected: Sequence[tuple[list[str], Projected]],
    ) -> dict[Pair, Step]:
        """Make the steps that predict and score the held-out stimuli, one for all ROIs of a subject, by pair.

        There are none where no stimulus is held out.
        """
        if not readable.test_ids:
            return {}
        config = self.config
        together = () if config.unsaved else self._together(readable, tuple(kept), projected)
        series = self.dataset.series is not None
        stimuli = HeldOutStimuli(readable.test_ids, readable.test_rows, readable.test_groups, series)
        joined = tuple(layer for layer in kept if layer.members)
        on_gpu = self.extract_on != "cpu" and not config.unsaved
        of_subject: dict[str, list[PairToPredict]] = {}
        for pair, fit in fits.items():
            settings = config.settings_of(pair[1])
            of_pair = pair[1], fit.step_id, responses[pair].step_id, settings.seed, settings.voxels_choose
            of_subject.setdefault(pair[0], []).append(PairToPredict(*of_pair))
        steps: dict[Pair, Step] = {}
        for subject, pairs in of_subject.items():
            scoring = config.interval, config.significance, self.extract_on
            job = PredictJob(subject, tuple(pairs), stimuli, together, joined, *scoring)
            step = Step(job, uses_gpu=on_gpu)
            steps |= {(subject, one.roi): step for one in pairs}
        return steps

    def _together(
        self, readable: Readable, kept: Sequence[KeptLayer], projected: Sequence[tuple[list[str], Projected]]
    ) -> tuple[Together, ...]:
        """Say which held-out stimuli are predicted together: a shard, or of time series a run."""
        position = {name: number for number, name in enumerate(readable.test_ids)}
        shards = [(ids, one) for ids, one in projected if ids]
        if self.dataset.series is None:
            return tuple(Together((one,), np.array([position[i] for i in ids]), ()) for ids, one in shards)
        runs: dict[str, list[str]] = {}
        for name in readable.test_ids:
            runs.setdefault(self.dataset.series[name][0], []).append(name)
        found = []
        for run, wanted in runs.items():
            own = [(ids, one) for ids, one in shards if any(self.dataset.series[i][0] == run for i in ids)]
            there = [i for ids, _ in own for i in ids]
            moments = {delays: self._delayed(delays, there, wanted) for delays in self._all_delays()}
            single = [(layer.key, self.delays_of(layer.network, layer.layer)) for layer in kept if not layer.members]
            delayed = tuple((key, moment) for key, delays in single if (moment := moments[delays]) is not None)
            found.append(Together(tuple(one for _, one in own), np.array([position[i] for i in wanted]), delayed))
        return tuple(found)

    def searched(
        self, partitions: Partitions, trunks: Trunks | None = None, trainings: Trainings = NO_TRAININGS
    ) -> SearchedPartitions:
        """Return the layers that each pair searches: those compressed, the outputs of trunks, and trained encoders."""
        return {
            pair: trainings.added(pair, add_trunks(partitions[pair[0]], (trunks or {}).get(pair)))
            for pair in self.pairs
            if pair[0] in partitions
        }

    def control_steps(
        self, fits: Mapping[Pair, Step], shuffled: Sequence[SearchedPartitions]
    ) -> dict[Pair, list[Step]]:
        """Make the steps that fit models to shuffled responses, by subject and ROI; none unless ``control`` is set.

        ``shuffled`` has what is searched for each shuffle, with encoders that were trained on its responses.
        """
        if self.config.control == "none":
            return {}
        settings = {
            pair: {each.name: getattr(step.job, each.name) for each in fields(FitJob)} for pair, step in fits.items()
        }
        return {
            pair: [
                Step(ControlJob(**given | {"partitions": found[pair]}, shuffle=number))
                for number, found in enumerate(shuffled, start=1)
            ]
            for pair, given in settings.items()
        }

    def partition_steps(
        self, responses: Mapping[Pair, TrainingResponses], readable: Readable, partitions: Partitions
    ) -> dict[Pair, Step]:
        """Make the steps that divide explained variance, by subject and ROI; none where no groups are asked for."""
        if not self.layer_groups:
            return {}
        draws, interval, seed = self.config.variance_partitioning.draws, self.config.interval, self.config.seed
        steps = {}
        for pair, prepared in responses.items():
            grouped = self._grouped(partitions[pair[0]])
            stimuli = readable if self.config.unsaved else readable.fitted
            steps[pair] = Step(PartitionJob(*pair, prepared, stimuli, grouped, draws, interval, seed))
        return steps

    def _grouped(self, partitions: Sequence[FoldedLayers]) -> tuple[FoldedGroups, ...]:
        return tuple(
            FoldedGroups(
                folded.fold_ids,
                tuple(
                    LayerGroup(name, tuple(one for one in compressed(folded) if (one.network, one.layer) in members))
                    for name, members in self.layer_groups.items()
                ),
            )
            for folded in partitions
        )

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


def add_joined(folded: FoldedLayers, step: Step) -> FoldedLayers:
    """Add the model on all layers to those of a partition into folds."""
    joined = CompressedLayer(step.step_id, JOINED, "none", ALL_LAYERS, "", fitted_in_folds=True)
    return FoldedLayers(folded.fold_ids, (*folded.layers, joined))


def add_trunks(
    partitions: Sequence[FoldedLayers], trunks: Sequence[Sequence[TrunkLayer]] | None
) -> Sequence[FoldedLayers]:
    """Add the outputs of trunks to the layers of each partition into folds; the model on all layers stays the last."""
    if not trunks:
        return partitions
    return [
        FoldedLayers(folded.fold_ids, tuple(sorted((*folded.layers, *outputs), key=lambda one: one.network == JOINED)))
        for folded, outputs in zip(partitions, trunks, strict=True)
    ]


def read_atlas(name: str, pair: Pair) -> IntArray:
    """Read the cluster of every voxel of a pair from a file of ``ensemble.atlases``."""
    path = Path(name.replace("{subject}", pair[0]).replace("{roi}", pair[1]))
    return open_npy(path, f"atlas of {' '.join(pair)}")


def _timeline(dataset: Dataset) -> Timeline | None:
    """Return the volumes of a time series; None of any other dataset."""
    if not isinstance(dataset, SeriesDataset):
        return None
    return Timeline(dataset.tr, {run.name: run.n_volumes for run in dataset.series_runs}, dataset.series)


def output_folder(config: ExperimentSettings, asked: Path | None) -> Path:
    """Folder of the results: the one asked for, or ``outputs/<name>``."""
    return asked if asked is not None else Path("outputs") / config.name
