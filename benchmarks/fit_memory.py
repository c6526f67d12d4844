"""How much memory the steps of a time series or a whole brain take, against what the documentation states."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.simulation import simulate_responses
from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_option
from voxelcast.core.errors import ExecutionError, OptionError
from voxelcast.core.seeds import generator
from voxelcast.core.settings import settings
from voxelcast.encoders.linear import LinearEncoder
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder, list_encoders
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.experiment.steps.compress import CompressedLayer, CompressJob, FoldedLayers, excluded_folds
from voxelcast.experiment.steps.extract import Readable, feature_name
from voxelcast.experiment.steps.fit import FitJob
from voxelcast.experiment.steps.responses import TrainingResponses
from voxelcast.features.cost import compress_bytes
from voxelcast.features.delays import Delayed, delayed_rows
from voxelcast.features.settings import CompressionSettings
from voxelcast.scoring.settings import IntervalSettings, SignificanceSettings
from voxelcast.search.memory import FitSize, fit_bytes
from voxelcast.search.settings import EnsembleSettings, PairSettings, SelectionSettings, SharingSettings
from voxelcast.store.memory import peak_mb, reset_peak
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepId, StepStore

_SHARD = 32


@settings
class MemoryCase:
    """What goes through a compression and a fit.

    Parameters
    ----------
    samples : int
        Volumes or stimuli.
    folds : int
        Runs of a time series, which are left out one by one.
    layers : int
    features : int
        Of each layer, before the compression.
    components : int
        After it.
    delays : int
        How many delays, from 1 TR; 0: the samples are no time series.
    voxels : int
    encoders : tuple of str
    per : str
        Who chooses: ``"roi"`` or ``"voxel"``.
    ensemble : str
    """

    samples: int
    folds: int
    layers: int
    features: int
    components: int
    delays: int
    voxels: int
    encoders: tuple[str, ...]
    per: Literal["roi", "voxel"]
    ensemble: Literal["none", "stacking", "average", "banded_ridge"]

    def line(self) -> str:
        """Say it in one line."""
        what = f"{self.samples} {'volumes' if self.delays else 'stimuli'}"
        layers = f"{self.layers} layer{'s' if self.layers > 1 else ''} of {self.features} features"
        delays = f" at {self.delays} delays" if self.delays else ""
        return (
            f"{what}, {layers}, PCA to {self.components}{delays}, {self.voxels} voxels, {', '.join(self.encoders)}, "
            f"{self.folds} nested folds, selection per {self.per}, ensemble {self.ensemble}"
        )


CASES: Mapping[str, MemoryCase] = {
    "series": MemoryCase(10_000, 4, 1, 512, 100, 4, 5_000, ("ridge", "pls"), "roi", "none"),
    "brain": MemoryCase(1_000, 10, 5, 4_096, 50, 0, 18_222, ("ridge", "pls"), "voxel", "stacking"),
}


@dataclass(frozen=True)
class StepMemory:
    """What one step took in a process of its own.

    Parameters
    ----------
    step : str
    stated : dict of str to float
        Bytes by what holds them, as the documentation says.
    before : int
        Resident memory when the step began: Python and its libraries.
    peak : int
        Largest resident memory while it ran.
    seconds : float
    """

    step: str
    stated: Mapping[str, float]
    before: int
    peak: int
    seconds: float

    @property
    def measured(self) -> int:
        """Bytes that the step itself took."""
        return self.peak - self.before

    def line(self) -> str:
        """Say it in one line."""
        parts = ", ".join(f"{name} {held / 1e9:.2f}" for name, held in self.stated.items())
        return (
            f"{self.step}: measured {self.measured / 1e9:.2f} GB (and {self.before / 1e9:.2f} GB of Python and its "
            f"libraries), stated {sum(self.stated.values()) / 1e9:.2f} GB ({parts}); {self.seconds:.0f} s"
        )


def benchmark_fit_memory(case: MemoryCase, *, scratch: str | None = None, seed: int = 0) -> tuple[StepMemory, ...]:
    """Run the compression of a layer and the fit of all voxels, each in a process of its own, with one BLAS thread.

    Features are independent and responses simulated from the first layer's; both lie in a store, as an experiment
    leaves them. The compression is fitted again in every fold and pair of folds, and the fit is nested.

    Parameters
    ----------
    case : MemoryCase
    scratch : str or None
        Folder for the store; None: a temporary one, which is removed.
    seed : int

    Returns
    -------
    steps : tuple of StepMemory
        Of the compression of the first layer, and of the fit.

    Raises
    ------
    ExecutionError
        On a system other than Linux, which does not say what a part of a process' life took.
    """
    fold_ids = np.sort(np.arange(case.samples) % case.folds)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        store = StepStore(Path(folder))
        layers, measured = [], []
        for layer in range(case.layers):
            features = [
                Step(FeaturesJob(f"layer{layer}", start, min(_SHARD, case.samples - start), case.features, seed))
                for start in range(0, case.samples, _SHARD)
            ]
            for step in features:
                step.run(store)
            compress = Step(_compress_job(case, layer, tuple(step.step_id for step in features), fold_ids))
            stated = compress_bytes(case.samples, case.features, case.components)
            measured.append(_alone("compression of a layer", stated, compress, store))
            named = compress.step_id, "given", "none", f"layer{layer}", ""
            layers.append(CompressedLayer(*named, fitted_in_folds=True, delayed=_delayed(case, fold_ids)))
        responses = Step(SimulatedResponsesJob(layers[0], case.voxels, seed))
        responses.run(store)
        fit = Step(_fit_job(case, responses.step_id, FoldedLayers(fold_ids, tuple(layers)), seed))
        measured.append(_alone("fit of all voxels", _stated_fit(case), fit, store))
    return (measured[0], measured[-1])


def memory_case(kind: str, changes: Mapping[str, Any]) -> MemoryCase:
    """Return a case of `CASES` with some sizes changed.

    Raises
    ------
    UnknownNameError, OptionError
        If there is no such case, or a choice does not exist.
    """
    check_option("kind", kind, tuple(CASES))
    case = replace(CASES[kind], **changes)
    for name in case.encoders:
        if not isinstance(get_encoder(name), LinearEncoder):
            raise OptionError(f"encoders must work on moments, whose memory is stated; got {name}; take ridge or pls")
    return case


@dataclass(frozen=True)
class FeaturesJob(Job):
    """Some samples of a layer's features, as extraction leaves them."""

    kind = "extract"
    version = 1
    layer: str
    start: int
    samples: int
    features: int
    seed: int

    @property
    def name(self) -> str:
        """Layer and first sample."""
        return f"{self.layer}-{self.start:06d}"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Draw and write them."""
        rng = generator(self.seed, "features", self.layer, self.start)
        rows = writer.rows(feature_name(self.layer), (self.features,))
        for row in rng.standard_normal((self.samples, self.features)):
            rows.append(row)


@dataclass(frozen=True, eq=False)
class SimulatedResponsesJob(Job):
    """Responses to a layer, with noise, as the step of the responses leaves them."""

    kind = "responses"
    version = 1
    layer: CompressedLayer
    voxels: int
    seed: int

    @property
    def name(self) -> str:
        """The one subject and ROI."""
        return "sub-01_all"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Draw and write them."""
        scores = self.layer.open(context).scores()
        writer.array("train", simulate_responses(scores, self.voxels, self.seed))
        writer.array("valid", np.ones(self.voxels, dtype=bool))
        writer.array("ceilings/noise_ceiling_r", np.full(self.voxels, np.nan))


def _delayed(case: MemoryCase, fold_ids: IntArray) -> Delayed | None:
    """Return which moments' features each volume is given; each fold is a run."""
    if not case.delays:
        return None
    ids = [f"volume{row}" for row in range(case.samples)]
    starts = np.searchsorted(fold_ids, fold_ids)
    series = {name: (str(fold_ids[row]), int(row - starts[row])) for row, name in enumerate(ids)}
    return Delayed(delayed_rows(ids, ids, series, range(1, case.delays + 1)))


def _compress_job(case: MemoryCase, layer: int, shards: tuple[StepId, ...], fold_ids: IntArray) -> CompressJob:
    return CompressJob(
        network="given",
        layer=f"layer{layer}",
        pool="",
        pool_index=None,
        shards=shards,
        fold_ids=fold_ids,
        excluded=excluded_folds(case.folds, nested=True, refit=True),
        compression=CompressionSettings(components=case.components),
        seed=0,
        axis=False,
    )


def _fit_job(case: MemoryCase, responses: StepId, layers: FoldedLayers, seed: int) -> FitJob:
    """Return the fit of an experiment with the default settings."""
    ids = tuple(f"sample{row}" for row in range(case.samples))
    groups = tuple(f"run{fold}" for fold in layers.fold_ids) if case.delays else None
    return FitJob(
        subject="sub-01",
        roi="all",
        responses=TrainingResponses(responses, responses.key),
        sharers=(),
        experts=(),
        atlases=(),
        stimuli=Readable(ids, (), np.arange(case.samples), np.arange(0), groups, None, bool(case.delays), {}),
        partitions=(layers,),
        encoders=case.encoders,
        automl=None,
        settings=PairSettings(
            selection=SelectionSettings(case.per), ensemble=EnsembleSettings(case.ensemble), seed=seed
        ),
        share=SharingSettings(),
        truncate=True,
        interval=IntervalSettings(),
        significance=SignificanceSettings(),
        saved=True,
    )


def _alone(name: str, stated: Mapping[str, float], step: Step, store: StepStore) -> StepMemory:
    """Run a step in a process of its own."""
    # Spawned: a forked process would begin with this one's memory.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        before, peak, seconds = pool.submit(_measured, step, store.root).result()
    return StepMemory(name, stated, before, peak, seconds)


def _measured(step: Step, root: Path) -> tuple[int, int, float]:
    """Run a step; return the resident memory before, its peak, and the seconds."""
    if not reset_peak():
        raise ExecutionError("the peak of a step's memory can be measured on Linux alone; run this on a Linux machine")
    list_encoders()  # imports what steps import when they are first run: that is the process' memory, not the step's
    before, started = peak_mb(), time.perf_counter()
    with threadpool_limits(limits=1):
        step.run(StepStore(root))
    return int(before * 1e6), int(peak_mb() * 1e6), time.perf_counter() - started


def _stated_fit(case: MemoryCase) -> dict[str, float]:
    """State the memory of the fit."""
    n_features = case.components * max(case.delays, 1)
    fit = FitSize(
        size=ProblemSize(case.samples, n_features, case.voxels),
        n_test=0,
        n_folds=case.folds,
        n_layers=case.layers,
        encoders=tuple(get_encoder(name) for name in case.encoders),
        per_voxel=case.per == "voxel",
        ensemble=case.ensemble,
    )
    return fit_bytes(fit)
