"""From settings to steps: what an experiment has to do, each step with the key of all that determines its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import product
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_known, check_same_stimuli
from voxelcast.core.errors import DataError, OptionError, UnknownNameError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import open_dataset
from voxelcast.datasets.tables import read_folds
from voxelcast.encoders.registry import check_ready, get_encoder
from voxelcast.execution.steps import Step
from voxelcast.experiment.settings import TABLES, ExperimentSettings
from voxelcast.experiment.steps.compress import (
    CompressedLayer,
    CompressJob,
    Excluded,
    FoldedLayers,
    JoinJob,
    compressed,
    excluded_folds,
)
from voxelcast.experiment.steps.control import ControlJob, shuffled_order
from voxelcast.experiment.steps.extract import LoadedNetwork, Readable, extract_steps, load, pool_index, table_step
from voxelcast.experiment.steps.fit import FitJob
from voxelcast.experiment.steps.partition import FoldedGroups, LayerGroup, PartitionJob
from voxelcast.experiment.steps.responses import ResponsesJob
from voxelcast.experiment.steps.train import TrainedLayer
from voxelcast.experiment.trainings import NO_TRAININGS, Trainings, Wanted, source_steps, train_steps
from voxelcast.features.delays import delayed_rows
from voxelcast.results.schema import Pair
from voxelcast.scoring.intervals import few_stimuli
from voxelcast.scoring.permutation import Exchange
from voxelcast.search.folds import choose_folds
from voxelcast.search.joined import ALL_LAYERS, JOINED
from voxelcast.search.variance_partitioning import Layer, resolve_groups
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.keys import file_hash
from voxelcast.store.readers.arrays import open_npy
from voxelcast.store.steps import StepStore

READ, EXTRACT, COMPRESS = "read responses", "extract features", "compress layers"
Partitions = Mapping[str, Sequence[FoldedLayers]]
"""The compressed layers for each partition into folds, by subject."""
TRAIN = "train encoders"
JOIN, FIT, DIVIDE = "join layers", "fit encoding models", "divide variance"
SHUFFLE = "fit shuffled responses"
"""Stages, in the order of the work; some are of experiments that ask for it."""


class Plan:
    """An experiment opened: its dataset and networks are there and fit the settings, nothing has been computed.

    Raises VoxelcastError for what can be known to be wrong before long work: missing files, unknown layers, too few
    stimuli.
    """

    def __init__(self, config: ExperimentSettings, store: StepStore, *, extract_on: str | None = None) -> None:
        self.config = config
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
        train_ids = self.dataset.stimulus_ids("train")
        partitions = {subject: self.folds(train_ids, subject=subject) for subject in self.fold_tables}
        self.n_folds = int(partitions[self.fold_tables[0]].max()) + 1
        for subject, fold_ids in partitions.items():
            if int(fold_ids.max()) + 1 != self.n_folds:
                raise DataError(
                    f"every subject must have as many folds; got {self.n_folds} of {self.fold_tables[0]} and "
                    f"{fold_ids.max() + 1} of {subject}; run them as experiments of their own"
                )
            self._check_components(fold_ids)
        self.warnings = self._exchange_warnings(list(partitions.values()))
        self._check_sources()
        for pair in self.pairs:
            self.relied_on(pair)
        check_ready(config.encoders)
        self.networks = tuple(load(network, config.seed, config.compute.device) for network in config.networks)
        self.layer_groups = self._layer_groups()
        self.plain = set(config.encoders) != set(config.learned)
        if config.learned and config.folds.inner is not None and config.folds.inner >= self.n_folds:
            raise OptionError(f"folds.inner must be below the {self.n_folds} folds; got {config.folds.inner}; lower it")
        fixed = [network.shown for network in self.networks if not network.trainable]
        if "finetuned" in config.encoders and fixed:
            raise OptionError(f"encoders: finetuned needs networks of torch, and {fixed[0]} is none; take readout")
        if not self.plain and (config.features or self.layer_groups or config.ensemble.joined):
            raise OptionError(
                f"encoders: {', '.join(config.learned)} read no compressed features; add ridge, or leave out features, "
                "variance_partitioning and ensemble.joined"
            )
        n_layers = len(config.features) + len(config.pools) * sum(len(network.layers) for network in self.networks)
        if config.ensemble.joined and n_layers < 2:
            raise OptionError(f"ensemble.joined needs at least two layers; got {n_layers}; name more, or join none")

    def folds(self, train_ids: Sequence[str], repeat: int = 0, subject: str = "") -> IntArray:
        """Assign training stimuli to folds, ndarray of int, shape (n_train,); each repeat assigns anew.

        ``subject``: one of `fold_tables`.
        """
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

    def _exchange_warnings(self, partitions: Sequence[IntArray]) -> tuple[str, ...]:
        """Say where no voxel can be significant, whatever the responses are, and where folds are small."""
        if self.config.folds.unit == "stimulus" and self.dataset.series is not None:
            raise OptionError(
                "folds.unit must be group for a time series, whose volumes resemble their neighbours; got stimulus; "
                "leave it out"
            )
        asked, circular = self.config.significance, self.dataset.series is not None
        groups = self.units_of(self.dataset.stimulus_ids("train"))
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
        for table in self.config.features:
            check_known("feature table", table, self.dataset.feature_tables, where=f"in {self.dataset.facts.title}")
        if self.config.networks and not self.dataset.can_be_shown:
            raise OptionError(
                "networks need pictures or videos, and this dataset has none; take networks out and set "
                f"features=[{', '.join(self.dataset.feature_tables)}]"
            )
        if self.config.delays and self.dataset.series is None:
            raise OptionError("delays go with time series alone, and this dataset has single responses; leave them out")
        if self.dataset.series is not None and not self.config.delays:
            raise OptionError(
                "time series need delays, in TR: BOLD follows what was shown by 4 to 8 s; set e.g. delays=[1, 2, 3, "
                "4], or delays=[0] for none"
            )
        self._check_pools()

    def _layer_groups(self) -> dict[str, tuple[Layer, ...]]:
        """Find the layers of the groups between which variance is divided; empty where there are none."""
        groups = self.config.variance_partitioning.groups
        if groups and self.n_folds < 3:
            raise OptionError(
                f"variance_partitioning needs at least 3 folds, 2 of them to choose penalties by; got {self.n_folds}; "
                "ask for more folds"
            )
        layers = [(network.shown, layer) for network in self.networks for layer in network.layers]
        return resolve_groups(groups, [*layers, *((TABLES, table) for table in self.config.features)])

    def _check_pools(self) -> None:
        """Raise an error where the pools over time do not go with the dataset."""
        pools, videos = self.config.pools, any(not stimulus.is_image for stimulus in self.stimuli)
        if len(pools) > 1 and not videos:
            raise OptionError(
                "several pools need videos, and this dataset has pictures, of whose one frame all pools give the same; "
                f"set pool={pools[0]}"
            )
        responses = [pool for pool in pools if pool.startswith(("bold", "hrf("))]
        if self.dataset.series is not None and self.config.networks and responses and any(self.config.delays):
            raise OptionError(
                f"pool {responses[0]} and delays model the same lag of BOLD behind the stimulus; of time series take "
                f"{responses[0]} out of pool, or set delays=[0]"
            )

    def groups_of(self, ids: Sequence[str]) -> tuple[str, ...] | None:
        """Return the groups of stimuli, in order; None where the dataset has none."""
        groups = self.dataset.groups
        return None if groups is None else tuple(groups[i] for i in ids)

    def units_of(self, ids: Sequence[str]) -> tuple[str, ...] | None:
        """Return the groups that are exchanged and resampled whole, in order; None where each stimulus is by itself."""
        return None if self.config.folds.unit == "stimulus" else self.groups_of(ids)

    def extract_steps(self) -> dict[str, list[Step]]:
        """Make the steps that extract each network's layers, a shard of stimuli each, by the network's shown name.

        Features that come with the dataset are a step among them.
        """
        config, tables = self.config, dict[str, list[Step]]()
        if config.features:
            ids = [stimulus.stimulus_id for stimulus in self.stimuli]
            tables[TABLES] = [table_step(config.dataset, self.dataset, config.features, ids)]
        return tables | {
            network.shown: extract_steps(network, self.stimuli, config.extraction, self.extract_on)
            for network in (self.networks if self.plain else ())
        }

    def source_steps(self) -> dict[str, dict[str, tuple[LoadedNetwork, Sequence[Step]]]]:
        """Make the steps that give trained encoders what they read, by what that is and the network's shown name."""
        found: dict[str, dict[str, tuple[LoadedNetwork, Sequence[Step]]]] = {}
        for network in self.networks if self.config.learned else ():
            for kind, steps in source_steps(self.config, network, self.stimuli, self.extract_on).items():
                found.setdefault(kind, {})[network.shown] = (network, steps)
        return found

    def trainings(
        self,
        sources: Mapping[str, Mapping[str, tuple[LoadedNetwork, Sequence[Step]]]],
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

    def readable(self, extracted: Mapping[str, Sequence[Step]]) -> Readable:
        """Say which stimuli the finished extraction steps could read.

        Raises AlignmentError if a network's features are not of the dataset's stimuli, in their order, or networks read
        other ones, and DataError if no training stimulus is left.
        """
        ids = [stimulus.stimulus_id for stimulus in self.stimuli]
        broken_of: dict[str, dict[str, str]] = {}
        for shown, steps in extracted.items():
            records = [one for step in steps for one in self.store.read(step.step_id).json("stimuli")]
            check_same_stimuli(f"features of {shown}", [one["stimulus_id"] for one in records], "the stimuli", ids)
            broken_of[shown] = {one["stimulus_id"]: one["broken"] for one in records if one["broken"]}
        first, broken = next(iter(broken_of.items()))
        for shown, others in broken_of.items():
            kept, also = ([i for i in ids if i not in left_out] for left_out in (broken, others))
            check_same_stimuli(f"features of {first}", kept, f"features of {shown}", also)
        train = [i for i, s in enumerate(self.dataset.train_stimuli) if s.stimulus_id not in broken]
        test = [i for i, s in enumerate(self.dataset.test_stimuli) if s.stimulus_id not in broken]
        if not train:
            raise DataError(f"none of {len(self.dataset.train_stimuli)} training stimuli can be read; check the files")
        train_ids = tuple(self.dataset.train_stimuli[i].stimulus_id for i in train)
        test_ids = tuple(self.dataset.test_stimuli[i].stimulus_id for i in test)
        delayed = None
        if self.dataset.series is not None:
            kept = [i for i in ids if i not in broken]
            delayed = delayed_rows(kept, (*train_ids, *test_ids), self.dataset.series, self.config.delays)
        rows = np.array(train, dtype=int), np.array(test, dtype=int)
        groups = self.units_of(train_ids), self.units_of(test_ids)
        return Readable(train_ids, test_ids, *rows, *groups, delayed, broken)

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
        self, extracted: Mapping[str, Sequence[Step]], readable: Readable, repeat: int, subject: str = ""
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
        sources = [
            (network.shown, network.card.weights, layer, pool)
            for network in self.networks
            for layer in network.layers
            for pool in config.pools
        ]
        sources += [(TABLES, "none", table, "") for table in config.features]  # they were never pooled
        layers, steps = [], []
        for shown, weights, layer, pool in sources if self.plain else ():
            index = pool_index(pool, config.pools) if pool else None
            named = "" if index is None else pool
            shards = tuple(step.step_id for step in extracted[shown])
            how = config.compress, config.compress_seed, pool == "pc1"
            steps.append(Step(CompressJob(shown, layer, named, index, shards, fitted_for, excluded, *how)))
            layers.append(CompressedLayer(steps[-1].step_id, shown, weights, layer, named, refit))
        return FoldedLayers(fold_ids, tuple(layers)), steps

    def join_step(self, folded: FoldedLayers) -> Step:
        """Make the step that joins layers; unlike the compression it is fitted to each training part in any case."""
        return Step(JoinJob(folded, self.excluded_folds(int(folded.fold_ids.max()) + 1, refit=True)))

    def fit_steps(
        self,
        responses: Mapping[Pair, Step],
        readable: Readable,
        partitions: Partitions,
        trainings: Trainings = NO_TRAININGS,
    ) -> dict[Pair, Step]:
        """Make the steps that search, evaluate and refit the models, by subject and ROI."""
        config = self.config
        uses_automl = any(get_encoder(name).uses_automl for name in config.encoders)
        return {
            pair: Step(
                FitJob(
                    *pair,
                    responses=prepared.step_id,
                    sharers=tuple(responses[other].step_id for other in self.sharers(pair)),
                    experts=tuple((other[1], responses[other].step_id) for other in self.experts(pair)),
                    atlases=tuple(read_atlas(name, pair) for name in config.ensemble.atlases if isinstance(name, str)),
                    stimuli=readable,
                    partitions=trainings.added(pair, partitions[pair[0]]),
                    encoders=config.encoders,
                    automl=config.automl if uses_automl else None,  # it changes nothing where it is not used
                    settings=config.settings_of(pair[1]),
                    share=config.share,
                    truncate=config.compress.nested,
                    interval=config.interval,
                    significance=config.significance,
                )
            )
            for pair, prepared in responses.items()
        }

    def control_steps(
        self, fits: Mapping[Pair, Step], partitions: Partitions, shuffled: Sequence[Trainings]
    ) -> dict[Pair, list[Step]]:
        """Make the steps that fit models to shuffled responses, by subject and ROI; none unless ``control`` is set.

        ``shuffled`` has the trainings on each shuffle's responses.
        """
        if self.config.control == "none":
            return {}
        settings = {
            pair: {each.name: getattr(step.job, each.name) for each in fields(FitJob)} for pair, step in fits.items()
        }
        return {
            pair: [
                Step(ControlJob(**given | {"partitions": found.added(pair, partitions[pair[0]])}, shuffle=number))
                for number, found in enumerate(shuffled, start=1)
            ]
            for pair, given in settings.items()
        }

    def partition_steps(
        self, responses: Mapping[Pair, Step], readable: Readable, partitions: Partitions
    ) -> dict[Pair, Step]:
        """Make the steps that divide explained variance, by subject and ROI; none where no groups are asked for."""
        if not self.layer_groups:
            return {}
        draws, interval, seed = self.config.variance_partitioning.draws, self.config.interval, self.config.seed
        steps = {}
        for pair, prepared in responses.items():
            grouped = self._grouped(partitions[pair[0]])
            steps[pair] = Step(PartitionJob(*pair, prepared.step_id, readable, grouped, draws, interval, seed))
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
        return [*self.sharers(pair), *self.experts(pair)]

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


def read_atlas(name: str, pair: Pair) -> IntArray:
    """Read the cluster of every voxel of a pair from a file of ``ensemble.atlases``."""
    path = Path(name.replace("{subject}", pair[0]).replace("{roi}", pair[1]))
    return open_npy(path, f"atlas of {' '.join(pair)}")


def output_folder(config: ExperimentSettings, asked: Path | None) -> Path:
    """Folder of the results: the one asked for, or ``outputs/<name>``."""
    return asked if asked is not None else Path("outputs") / config.name
