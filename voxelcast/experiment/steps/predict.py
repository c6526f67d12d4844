"""The step that predicts the held-out stimuli of one subject from the fitted models, and scores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import VoxelcastError
from voxelcast.core.settings import NO_EFFECT
from voxelcast.execution.steps import Job, StepContext
from voxelcast.experiment.steps.kept import KeptLayer
from voxelcast.experiment.steps.responses import spread
from voxelcast.features.delays import Delayed
from voxelcast.models.card import PartCard
from voxelcast.models.device import Device
from voxelcast.models.encoder import project
from voxelcast.models.pair import PairModel
from voxelcast.scoring.prediction_scores import Predicted, PredictionScorer
from voxelcast.scoring.settings import IntervalSettings, SignificanceSettings
from voxelcast.store.result import ResultWriter, StepResult
from voxelcast.store.steps import StepId


@dataclass(frozen=True)
class Projected:
    """The components of a shard of stimuli: the steps that have them, one for every network."""

    steps: tuple[StepId, ...]

    def read(self, context: StepContext) -> dict[str, FloatArray]:
        """Read the components, by the layers' keys."""
        found: dict[str, FloatArray] = {}
        for step in self.steps:
            found |= context.read(step).arrays("components")
        return found


@dataclass(frozen=True, eq=False)
class Together:
    """Held-out stimuli that are predicted together.

    Parameters
    ----------
    shards : tuple of Projected
        Where their components are.
    positions : ndarray of int, shape (n,)
        Their places among the held-out stimuli.
    delayed : tuple of (str, Delayed)
        Of time series, by the layers' keys, which moments count, rows of the shards' components; else these are all.
    """

    shards: tuple[Projected, ...]
    positions: IntArray
    delayed: tuple[tuple[str, Delayed], ...]


@dataclass(frozen=True, eq=False)
class HeldOutStimuli:
    """Held-out stimuli that could be read: ids, rows among the dataset's, and groups that are resampled whole."""

    ids: tuple[str, ...]
    rows: IntArray
    groups: tuple[str, ...] | None
    are_series: bool


@dataclass(frozen=True)
class PairToPredict:
    """An ROI: its fit, its responses, and how its scores are tested."""

    roi: str
    fit: StepId
    responses: StepId
    seed: int
    voxels_choose: bool


@dataclass(frozen=True, eq=False)
class PredictJob(Job):
    """Predict and score the held-out stimuli of one subject, in all ROIs: several are one step, for few files.

    ``joined`` is the layer that joins others, where there is one. Without ``together`` the fit itself predicted them,
    as its models cannot be saved.
    """

    kind = "predict"
    version = 1
    subject: str
    pairs: tuple[PairToPredict, ...]
    stimuli: HeldOutStimuli
    together: tuple[Together, ...]
    joined: tuple[KeptLayer, ...]
    interval: IntervalSettings
    significance: SignificanceSettings
    device: Annotated[str, NO_EFFECT]

    @property
    def name(self) -> str:
        """The subject."""
        return self.subject

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write, of each ROI, ``<roi>/predictions`` (n_test, n_voxels), ``<roi>/scores``, part of a row, and a group.

        ``<roi>/voxels`` has values of each voxel. A ROI that cannot be scored has ``{"failed": why}`` in its row.
        """
        for pair in self.pairs:
            fit = context.read(pair.fit)
            try:
                predictions = self._predicted(fit, context) if self.together else fit.array("predictions")
                voxels, row = self._scored(pair, predictions, context.read(pair.responses))
            except VoxelcastError as error:
                writer.json(f"{pair.roi}/scores", {"failed": str(error)})
                continue
            writer.array(f"{pair.roi}/predictions", predictions)
            writer.arrays(f"{pair.roi}/voxels", voxels)
            writer.json(f"{pair.roi}/scores", row)

    def _scored(
        self, pair: PairToPredict, predictions: FloatArray, responses: StepResult
    ) -> tuple[dict[str, FloatArray], dict[str, Any]]:
        """Score predictions where responses are there: values of each voxel, and part of the row of scores."""
        if "test" not in responses:
            return {}, {}
        valid = responses.array("valid")
        measured = responses.array("test")[self.stimuli.rows][:, valid]
        voxels = {f"held_out_{name}": ceiling for name, ceiling in responses.arrays("test_ceilings").items()}
        how = pair.seed, self.stimuli.are_series, pair.voxels_choose
        scorer = PredictionScorer(self.interval, self.significance, *how)
        one_fold = scorer.judged(np.zeros(len(measured), dtype=int), self.stimuli.groups)
        held_out = Predicted("held_out_", measured, np.ascontiguousarray(predictions[:, valid]), one_fold)
        voxels["held_out_r"] = spread(held_out.voxel_scores, valid)
        tested, counted = scorer.test_voxels(held_out, valid)
        return voxels | tested, scorer.score_row(held_out) | counted

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
    shards = [one.read(context) for one in some.shards]
    if len(shards) == 1:
        return shards[0]
    keys = dict.fromkeys(key for of_shard in shards for key in of_shard)
    return {key: np.concatenate([of_shard[key] for of_shard in shards if key in of_shard]) for key in keys}
