"""The steps that write features which no stimuli are shown for: those of the dataset, and the user's own."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.core.settings import NO_EFFECT, content
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import open_once
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.execution.steps import Step, StepContext
from voxelcast.experiment.own_features import OwnSource, is_convolved, read_own, timeline_of_words
from voxelcast.experiment.settings import OWN, TABLES, ExperimentSettings
from voxelcast.experiment.steps.extract import LoadedNetwork, ShardJob, Shards, feature_name, load, network_of
from voxelcast.features.delays import Response
from voxelcast.features.hrf import LENGTH, bases
from voxelcast.features.own import Timeline, on_volumes
from voxelcast.models.shards import divide
from voxelcast.networks.settings import WordNetwork
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.stimuli.words import contexts
from voxelcast.store.keys import content_key
from voxelcast.store.result import ResultWriter


@dataclass(frozen=True)
class DatasetTables:
    """Features that come with the dataset."""

    shown: ClassVar[str] = TABLES
    device: ClassVar[str] = "cpu"
    settings: DatasetSettings

    def read(self, name: str) -> FloatArray:
        """Read features of all stimuli, (n_stimuli, n_features) float64."""
        return dataset_table(open_once(self.settings), name)


def dataset_table(dataset: Dataset, name: str) -> FloatArray:
    """Read a table, (n_stimuli, n_features) float64, of the training, then held-out, then context stimuli."""
    n_stimuli = len(dataset.train_stimuli) + len(dataset.test_stimuli) + len(dataset.context_stimuli)
    features = np.asarray(dataset.features(name), dtype=np.float64)
    if features.ndim != 2 or len(features) != n_stimuli:
        raise ShapeError(f"features {name} must have shape (n_stimuli={n_stimuli}, n_features); got {features.shape}")
    check_finite(f"features {name}", features)
    return features


@dataclass(frozen=True, eq=False)
class OwnTables:
    """Features of the user's own: sources by name, and ``ids``, all stimuli in the dataset's order.

    ``convolved`` are those that a response is taken of at their own times, ``networks`` the language models, which run
    on ``device``.
    """

    shown: ClassVar[str] = OWN
    sources: Mapping[str, OwnSource]
    ids: tuple[str, ...]
    timeline: Timeline | None
    convolved: Mapping[str, Response]
    networks: Mapping[str, LoadedNetwork]
    device: str

    def read(self, name: str) -> FloatArray | WordTable:
        """Read features of all stimuli, (n_stimuli, n_features) float64; files once in this process, as `open_once`."""
        source = self.sources[name]
        if not isinstance(source, WordNetwork):
            return _files(pickle.dumps(self))[name]
        timeline = timeline_of_words(source, name, self.timeline)
        return WordTable(source, self.networks[name], self.device, self.ids, timeline, self.convolved.get(name))


@lru_cache(maxsize=1)
def _files(tables: bytes) -> dict[str, FloatArray]:
    own: OwnTables = pickle.loads(tables)
    return {
        name: read_own(source, name, own.ids, own.timeline, own.convolved.get(name))
        for name, source in own.sources.items()
        if not isinstance(source, WordNetwork)
    }


@dataclass(frozen=True, eq=False)
class WordTable:
    """Features of words by a language model, of which only those that some volumes need are ever computed."""

    source: WordNetwork
    network: LoadedNetwork
    device: str
    ids: tuple[str, ...]
    timeline: Timeline
    response: Response | None

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of stimuli and of features."""
        return len(self.ids), self._width * (len(bases(self.response)) if self.response else 1)

    def __getitem__(self, rows: IntArray) -> object:
        """Return what determines the features of some stimuli, by their rows."""
        runs = {self.timeline.series[self.ids[row]][0] for row in rows}
        return {
            "source": self.source,
            "network": (self.network.card, self.network.layers),
            "grid": (self.timeline.tr, self.response),
            "words": {run: self.source.read(run) for run in sorted(runs)},
        }

    def features(self, rows: IntArray) -> FloatArray:
        """Compute the features of some stimuli, (n_rows, n_features) float64."""
        ids, volumes = [self.ids[row] for row in rows], dict[str, list[int]]()
        for run, volume in map(self.timeline.series.__getitem__, ids):
            volumes.setdefault(run, []).append(volume)
        return self.timeline.rows(
            ids, {run: self._of_run(run, min(some), max(some) + 1) for run, some in volumes.items()}
        )

    def _of_run(self, run: str, first: int, after: int) -> FloatArray:
        """Compute the features of a run's volumes, (n_volumes, n_features), which hold for some alone."""
        from voxelcast.networks.text import context_features

        words, tr = self.source.read(run), self.timeline.tr
        onsets, durations = self.source.times(words)
        reach = tr + (LENGTH if self.response else 0.0)
        needed = np.flatnonzero((onsets < after * tr) & (onsets + durations >= first * tr - reach))
        values = np.zeros((0, self._width))
        if len(needed):
            said = contexts(words, self.source.context, self.source.ahead)
            network = network_of(self.network.settings, self.network.seed, self.device)
            found = context_features(network, [said[word] for word in needed])
            values = found[self.network.layers[0]].astype(np.float64)
        grid = self.timeline.lengths[run], tr
        return on_volumes((onsets[needed], durations[needed], values), grid, self.source.combine, self.response)

    @property
    def _width(self) -> int:
        return int(np.prod(self.network.shapes[self.network.layers[0]]))


def open_own(
    config: ExperimentSettings, ids: Sequence[str], timeline: Timeline | None, device: str
) -> tuple[OwnTables, dict[str, FloatArray | WordTable]]:
    """Read features of the user's own, so that they are checked, and load the language models among them.

    Language models run on ``device`` later. Raises as `read_own` and `load`, and OptionError where a network does not
    take text or has several layers.
    """
    sources = config.own_features
    timed = {name for name, source in sources.items() if timeline and is_convolved(source, name)}
    convolved = {name: how for name in timed if isinstance(how := config.delays_of(OWN, name), str)}
    models = {
        name: _language_model(name, source, load(source.network, config.seed, config.compute.device))
        for name, source in sources.items()
        if isinstance(source, WordNetwork)
    }
    networks = {}
    for name, model in models.items():  # features by one network have it loaded once, with the layers of all
        layers = dict.fromkeys(one.layers[0] for one in models.values() if one.card == model.card)
        networks[name] = replace(model, settings=replace(model.settings, layers=tuple(layers)))
    own = OwnTables(sources, tuple(ids), timeline, convolved, networks, device)
    _files.cache_clear()  # files may have changed since
    return own, {name: own.read(name) for name in sources}


def _language_model(name: str, source: WordNetwork, network: LoadedNetwork) -> LoadedNetwork:
    if network.card.takes != "text" or len(network.layers) != 1 or source.network.texts is not None:
        raise OptionError(
            f"features {name}: the network must take text, without texts, and have one layer; "
            f"'{network.shown}' takes {network.card.takes} and has {', '.join(network.layers)}; name a feature for each"
        )
    return network


@dataclass(frozen=True)
class FeatureTable:
    """A table of features by its name, and the hash of its values, or of what determines them."""

    name: str
    hash: str


@dataclass(frozen=True)
class TableJob(ShardJob):
    """Write the features of some ``rows``, of ``ids``, of tables, as if a network's layers had been extracted."""

    kind = "extract"
    version = 2
    source: Annotated[DatasetTables | OwnTables, NO_EFFECT]
    rows: Annotated[IntArray, NO_EFFECT]
    number: Annotated[int, NO_EFFECT]
    tables: tuple[FeatureTable, ...]
    ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """What stands for a network's name, and the number of the shard."""
        return f"{self.source.shown}-{self.number:04d}"

    @property
    def shard(self) -> tuple[str, ...]:
        """Ids of the stimuli, in order."""
        return self.ids

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write the features of each table, (n_stimuli, n_features) float64, and ``stimuli`` as `ExtractJob`."""
        for table in self.tables:
            given = self.source.read(table.name)
            if _hash(given, self.rows) != table.hash:
                raise DataError(f"features {table.name} changed while the experiment ran; run it again")
            values = given.features(self.rows) if isinstance(given, WordTable) else given[self.rows]
            writer.scratch.array(feature_name(table.name), values)
        writer.json("stimuli", [{"stimulus_id": one, "n_frames": 0, "broken": None} for one in self.ids])


def table_steps(
    source: DatasetTables | OwnTables,
    tables: Mapping[str, FloatArray | WordTable],
    row_of: Mapping[str, int],
    stimuli: Sequence[Stimulus],
    known: Shards = (),
    first: int = 0,
) -> list[Step]:
    """Make the steps that write tables of a source, a shard of stimuli each, as `extract_steps`.

    ``tables`` are those read of the source, by name; ``row_of`` says which row is of a stimulus.
    """
    ids, steps = [one.stimulus_id for one in stimuli], []
    on_gpu = source.device != "cpu" and any(isinstance(table, WordTable) for table in tables.values())
    for number, shard in enumerate(divide(ids, known), first):
        some = tuple(ids[k] for k in shard)
        rows = np.array([row_of[one] for one in some], dtype=int)
        hashed = tuple(FeatureTable(name, _hash(table, rows)) for name, table in tables.items())
        steps.append(Step(TableJob(source, rows, number, hashed, some), uses_gpu=on_gpu, size=len(some)))
    return steps


def _hash(table: FloatArray | WordTable, rows: IntArray) -> str:
    return content_key(content(table[rows]))
