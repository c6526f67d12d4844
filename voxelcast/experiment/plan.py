"""From settings to steps: what an experiment has to do, each step with the key of all that determines its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_known, check_same_stimuli
from voxelcast.core.errors import DataError, OptionError, UnknownNameError
from voxelcast.core.seeds import derive_seed
from voxelcast.datasets.base import Dataset
from voxelcast.encoders.registry import check_ready
from voxelcast.execution.steps import Step
from voxelcast.experiment.builders import build_dataset, network_json
from voxelcast.experiment.settings import TABLES, ExperimentConfig
from voxelcast.experiment.steps import compress as compress_step
from voxelcast.experiment.steps import extract as extract_step
from voxelcast.experiment.steps import responses as responses_step
from voxelcast.experiment.steps.tables import table_steps
from voxelcast.features.delays import delayed_rows
from voxelcast.search.folds import group_folds, make_folds
from voxelcast.search.variance_partitioning import Layer, resolve_groups
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.keys import content_key, file_hash
from voxelcast.store.steps import StepId, StepStore

# Not in a key by their names: their content is.
_PATHS = {"root", "stimuli", "responses", "roi_table", "split", "groups"}


@dataclass(frozen=True)
class Readable:
    """The stimuli that could be read, once extraction is over.

    ``train_rows`` and ``test_rows`` are their places among the dataset's training and held-out stimuli; ``broken``
    maps the ids of the others to the reason.
    """

    train_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    train_rows: IntArray
    test_rows: IntArray
    broken: dict[str, str]


@dataclass(frozen=True)
class Space:
    """One layer's compressed features: where they are and what they are called.

    ``pool`` is empty unless the experiment has several and the layer was pooled.
    """

    step: Step
    network: str
    weights: str
    layer: str
    pool: str


class Plan:
    """An experiment opened: its dataset and networks are there and fit the settings, nothing has been computed.

    Raises
    ------
    VoxelcastError
        For whatever can be known to be wrong before long work: missing files, unknown layers, too few stimuli.
    """

    def __init__(self, config: ExperimentConfig, store: StepStore, *, extract_on: str | None = None) -> None:
        self.config = config
        self.extract_on = extract_on or config.compute.device  # the workers' device may be another than this process's
        self.store = store
        self.dataset: Dataset = build_dataset(config.dataset)
        self.dataset_json = config.dataset.model_dump_json()
        self.sampling = config.frames.sampling()
        self.stimuli: tuple[Stimulus, ...] = (
            *self.dataset.train_stimuli,
            *self.dataset.test_stimuli,
            *self.dataset.context_stimuli,
        )
        self.pairs = tuple((s, roi) for s in self.dataset.subjects for roi in self.dataset.rois(s))
        if not self.pairs:
            raise UnknownNameError("the dataset has no subject x ROI to fit; check dataset.subjects and dataset.rois")
        fold_ids = self.folds([stimulus.stimulus_id for stimulus in self.dataset.train_stimuli])
        self.n_folds = int(fold_ids.max()) + 1
        self._check_components(fold_ids)
        self._check_shared(fold_ids)
        self._check_sources()
        for pair in self.pairs:
            self.sharers(pair)
        check_ready(config.encoders)
        self.networks = tuple(
            extract_step.load(network.shown, network_json(network, config.seed), config.compute.device)
            for network in config.networks
        )
        self.layer_groups = self._layer_groups()
        n_layers = len(config.features) + len(config.pools) * sum(len(network.layers) for network in self.networks)
        if config.ensemble.joined and n_layers < 2:
            raise OptionError(f"ensemble.joined needs at least two layers; got {n_layers}; name more, or join none")

    def folds(self, train_ids: Sequence[str], repeat: int = 0) -> IntArray:
        """Assign training stimuli to folds, ndarray of int, shape (n_train,); each repeat assigns anew."""
        seed = derive_seed(self.config.seed, "folds", *([repeat] if repeat else []))
        groups = self.groups_of(train_ids)
        if self.config.folds.by == "stimulus":
            return make_folds(len(train_ids), self.config.folds.n, seed, groups)
        if groups is None:
            raise OptionError("folds.by=group needs groups of stimuli; give dataset.groups, or set folds.by=stimulus")
        return group_folds(groups, fewest=3 if self.config.folds.nested else 2)

    def excluded_folds(self, n_folds: int) -> list[tuple[int, ...]]:
        """List the sets of folds without which the compression is fitted."""
        refit = self.config.compressed_in_folds
        return compress_step.excluded_folds(n_folds, nested=self.config.folds.nested, refit=refit)

    def _check_components(self, fold_ids: IntArray) -> None:
        compress = self.config.compress
        bounded = compress.method not in ("none", "random_projection")  # by the number of stimuli
        if not bounded or compress.components == "max" or compress.fewer == "allow":
            return
        smallest = _smallest_part(fold_ids, self.excluded_folds(self.n_folds))
        if compress.components >= smallest:
            raise OptionError(
                f"compress.components must be below {smallest}, the number of stimuli in the smallest training part; "
                f"got {compress.components}; lower it, or set compress.fewer=allow"
            )

    def _check_shared(self, fold_ids: IntArray) -> None:
        """Raise an error if subjects cannot share so many components, whatever their responses are."""
        excluded = compress_step.excluded_folds(self.n_folds, nested=self.config.folds.nested, refit=True)
        asked, smallest = self.config.share.components, _smallest_part(fold_ids, excluded)
        if asked and asked >= smallest:
            raise OptionError(
                f"share.components must be below {smallest}, the number of stimuli in the smallest training part; "
                f"got {asked}; lower it"
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

    def delayed_rows(self, readable: Readable) -> IntArray | None:
        """Find the rows of features that delays reach, of each volume; None where stimuli are no volumes."""
        series = self.dataset.series
        if series is None:
            return None
        ids = [stimulus.stimulus_id for stimulus in self.stimuli if stimulus.stimulus_id not in readable.broken]
        return delayed_rows(ids, (*readable.train_ids, *readable.test_ids), series, self.config.delays)

    def groups_of(self, ids: Sequence[str]) -> list[str] | None:
        """Return the groups of stimuli, in order; None where the dataset has none."""
        groups = self.dataset.groups
        return None if groups is None else [groups[i] for i in ids]

    def extract_steps(self) -> dict[str, list[Step]]:
        """Make the steps that extract each network's layers, a shard of stimuli each, by the network's shown name.

        Features that come with the dataset are a step among them.
        """
        config = self.config
        tables: dict[str, list[Step]] = {}
        if config.features:
            ids = [stimulus.stimulus_id for stimulus in self.stimuli]
            tables[TABLES] = table_steps(self.dataset, self.dataset_json, config.features, ids)
        return tables | {
            network.shown: extract_step.extract_steps(
                network,
                self.stimuli,
                self.sampling,
                config.pools,
                config.space,
                config.broken_stimuli,
                self.extract_on,
            )
            for network in self.networks
        }

    def readable(self, extracted: dict[str, list[Step]]) -> Readable:
        """Say which stimuli the finished extraction steps could read.

        Raises
        ------
        AlignmentError
            If a network's features are not of the dataset's stimuli, in their order, or networks read other ones.
        DataError
            If no training stimulus is left.
        """
        of_network = {shown: self._records(shown, steps) for shown, steps in extracted.items()}
        first, records = next(iter(of_network.items()))
        for shown, others in of_network.items():
            kept, also = ([str(r["stimulus_id"]) for r in rows if not r["broken"]] for rows in (records, others))
            check_same_stimuli(f"features of {first}", kept, f"features of {shown}", also)
        broken = {str(r["stimulus_id"]): str(r["broken"]) for r in records if r["broken"]}
        train = [i for i, s in enumerate(self.dataset.train_stimuli) if s.stimulus_id not in broken]
        test = [i for i, s in enumerate(self.dataset.test_stimuli) if s.stimulus_id not in broken]
        if not train:
            raise DataError(f"none of {len(self.dataset.train_stimuli)} training stimuli can be read; check the files")
        return Readable(
            tuple(self.dataset.train_stimuli[i].stimulus_id for i in train),
            tuple(self.dataset.test_stimuli[i].stimulus_id for i in test),
            np.array(train, dtype=int),
            np.array(test, dtype=int),
            broken,
        )

    def _records(self, shown: str, steps: Sequence[Step]) -> list[dict[str, object]]:
        """Read what a network's extraction says of each stimulus, which must be the dataset's, in their order."""
        records = [r for step in steps for r in extract_step.read_records(self.store.path(step.step_id))]
        ids = [stimulus.stimulus_id for stimulus in self.stimuli]
        check_same_stimuli(f"features of {shown}", [str(r["stimulus_id"]) for r in records], "the stimuli", ids)
        return records

    def responses_steps(self) -> dict[tuple[str, str], Step]:
        """Make the steps that read, check and average the responses, by subject and ROI."""
        config = self.config
        steps = {}
        for subject, roi in self.pairs:
            arguments = {
                "dataset": self.dataset_json,
                "subject": subject,
                "roi": roi,
                "invalid_voxels": config.invalid_voxels,
                "control": config.control,
                "seed": config.seed,
            }
            key = {
                "version": responses_step.VERSION,
                **arguments,
                "dataset": config.dataset.model_dump(mode="json", exclude=_PATHS | {"subjects", "rois"}),
                "files": [file_hash(path) for path in self.dataset.response_files(subject, roi)],
                "stimuli": [stimulus.stimulus_id for stimulus in self.stimuli],
                "n_train": len(self.dataset.train_stimuli),
            }
            step_id = StepId("responses", f"{subject}_{roi}", content_key(key))
            steps[subject, roi] = Step(step_id, responses_step.prepare_responses, arguments)
        return steps

    def sharers(self, pair: tuple[str, str]) -> list[tuple[str, str]]:
        """Return the other subjects that a pair shares its targets with; none unless ``share`` is set.

        Raises
        ------
        OptionError
            If no other subject has the ROI.
        """
        if not self.config.share.components:
            return []
        others = [other for other in self.pairs if other[1] == pair[1] and other[0] != pair[0]]
        if not others:
            raise OptionError(
                f"share.components needs at least two subjects with {pair[1]}; got {pair[0]} alone; set it to 0"
            )
        return others


def _smallest_part(fold_ids: IntArray, excluded: Sequence[tuple[int, ...]]) -> int:
    """Return how many stimuli the smallest training part has, of those that leave out so many folds."""
    sizes = np.bincount(fold_ids)
    return len(fold_ids) - max(int(sizes[list(left_out)].sum()) for left_out in excluded)


def output_folder(config: ExperimentConfig, asked: Path | None) -> Path:
    """Folder of the results: the one asked for, or ``outputs/<name>``."""
    return asked if asked is not None else Path("outputs") / config.name
