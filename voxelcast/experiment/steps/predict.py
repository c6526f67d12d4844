"""The step that predicts the held-out stimuli of one subject x ROI from the fitted models, and scores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.settings import NO_EFFECT
from voxelcast.execution.steps import StepContext
from voxelcast.experiment.steps.axes import KeptLayer
from voxelcast.experiment.steps.responses import PairJob, spread
from voxelcast.features.delays import Delayed
from voxelcast.models.card import PartCard
from voxelcast.models.device import Device
from voxelcast.models.encoder import project
from voxelcast.models.pair import PairModel
from voxelcast.scoring.prediction_scores import Predicted, PredictionScorer
from voxelcast.scoring.settings import IntervalSettings, SignificanceSettings
from voxelcast.store.result import ResultWriter, StepResult
from voxelcast.store.steps import StepId


@dataclass(frozen=True, eq=False)
class Together:
    """Held-out stimuli that are predicted together.

    Parameters
    ----------
    shards : tuple of tuple of StepId
        The steps that have their components: of each shard one for every network.
    positions : ndarray of int, shape (n,)
        Their places among the held-out stimuli.
    delayed : tuple of (str, Delayed)
        Of time series, by the layers' keys, which moments count, rows of the shards' components; else these are all.
    """

    shards: tuple[tuple[StepId, ...], ...]
    positions: IntArray
    delayed: tuple[tuple[str, Delayed], ...]


@dataclass(frozen=True, eq=False)
class HeldOutStimuli:
    """Held-out stimuli that could be read: ids, rows among the dataset's, and groups that are resampled whole."""

    ids: tuple[str, ...]
    rows: IntArray
    groups: tuple[str, ...] | None
    are_series: bool


@dataclass(frozen=True, eq=False)
class PredictJob(PairJob):
    """Predict and score held-out stimuli.

    ``joined`` is the layer that joins others, where there is one. Without ``together`` the fit itself predicted them,
    as its models cannot be saved.
    """

    kind = "predict"
    version = 1
    subject: str
    roi: str
    fit: StepId
    responses: StepId
    stimuli: HeldOutStimuli
    together: tuple[Together, ...]
    joined: tuple[KeptLayer, ...]
    interval: IntervalSettings
    significance: SignificanceSettings
    seed: int
    voxels_choose: bool
    device: Annotated[str, NO_EFFECT]

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write ``predictions`` (n_test, n_voxels); ``scores``, part of a row, and the group ``voxels``."""
        fit, responses = context.read(self.fit), context.read(self.responses)
        predictions = self._predicted(fit, context) if self.together else fit.array("predictions")
        writer.array("predictions", predictions)
        voxels: dict[str, FloatArray] = {}
        row: dict[str, Any] = {}
        if "test" in responses:
            valid = responses.array("valid")
            measured = responses.array("test")[self.stimuli.rows][:, valid]
            ceilings = responses.arrays("test_ceilings")
            voxels |= {f"held_out_{name}": ceiling for name, ceiling in ceilings.items()}
            scorer = PredictionScorer(
                self.interval, self.significance, self.seed, self.stimuli.are_series, self.voxels_choose
            )
            one_fold = scorer.judged(np.zeros(len(measured), dtype=int), self.stimuli.groups)
            held_out = Predicted("held_out_", measured, predictions[:, valid], one_fold)
            voxels["held_out_r"] = spread(held_out.voxel_scores, valid)
            row |= scorer.score_row(held_out)
            tested, counted = scorer.test_voxels(held_out, valid)
            voxels, row = voxels | tested, row | counted
        writer.arrays("voxels", voxels)
        writer.json("scores", row)

    def _predicted(self, fit: StepResult, context: StepContext) -> FloatArray:
        device = Device(self.device)
        model = read_model(fit, device)
        joined = {layer.key: layer.open(context.store, device) for layer in self.joined}
        predictions: FloatArray = np.empty((len(self.stimuli.ids), model.n_voxels))
        with device.alone():
            for some in self.together:
                found = _components(some, context)
                found = {key: delayed.of(found[key]) for key, delayed in some.delayed} or found
                components = project(joined, {}, {key: device.put(values) for key, values in found.items()})
                predictions[some.positions] = model.respond(components)
        return predictions


def read_model(fit: StepResult, device: Device) -> PairModel:
    """Rebuild the models of a finished fit."""
    cards = [PartCard(**card) for card in fit.json("parts")]
    return PairModel.of(cards, fit.arrays("model"), device)


def _components(some: Together, context: StepContext) -> Mapping[str, FloatArray]:
    shards = []
    for steps in some.shards:
        of_shard: dict[str, FloatArray] = {}
        for step in steps:
            of_shard |= context.read(step).arrays("components")
        shards.append(of_shard)
    if len(shards) == 1:
        return shards[0]
    keys = dict.fromkeys(key for of_shard in shards for key in of_shard)
    return {key: np.concatenate([of_shard[key] for of_shard in shards if key in of_shard]) for key in keys}
