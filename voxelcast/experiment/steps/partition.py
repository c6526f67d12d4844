"""The step that divides the variance explained in one subject x ROI between groups of layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.joint_ridge import fit_joint_ridge
from voxelcast.encoders.side_by_side import mean_squared_norm
from voxelcast.execution.steps import Job, StepContext
from voxelcast.experiment.settings import IntervalConfig
from voxelcast.experiment.steps.compress import CompressedLayer
from voxelcast.experiment.steps.extract import Readable
from voxelcast.experiment.steps.responses import valid_responses
from voxelcast.scoring.variance_partitioning import Sets
from voxelcast.scoring.variance_parts import VariancePart, variance_parts
from voxelcast.search.base import FeatureSpace
from voxelcast.search.training import checked_scores
from voxelcast.store.atomic import save_arrays
from voxelcast.store.steps import StepId


@dataclass(frozen=True, eq=False)
class LayerGroup:
    """A group of layers, and their features compressed for one partition into folds."""

    name: str
    layers: tuple[CompressedLayer, ...]


@dataclass(frozen=True, eq=False)
class FoldedGroups:
    """A partition of the training stimuli into folds, ndarray of shape (n_train,), and groups of layers."""

    fold_ids: IntArray
    groups: tuple[LayerGroup, ...]


@dataclass(frozen=True, eq=False)
class PartitionJob(Job):
    """Fit a model to every combination of groups, score it on folds that it never saw, and divide what they explain.

    Parts and the ends of their intervals are averaged over the partitions into folds.
    """

    kind = "partition"
    version = 2
    subject: str
    roi: str
    responses: StepId
    stimuli: Readable
    partitions: tuple[FoldedGroups, ...]
    draws: int
    interval: IntervalConfig
    seed: int

    @property
    def name(self) -> str:
        """Subject and ROI."""
        return f"{self.subject}_{self.roi}"

    def run(self, folder: Path, context: StepContext) -> None:
        """Write ``parts.json``, a row for each part, and ``voxels.npz``, arrays (n_voxels,) named ``<kind>_<part>``.

        Those with ``_low`` and ``_high`` are the ends of the interval.
        """
        responses = context.path(self.responses)
        Y, valid = valid_responses(responses, self.stimuli.train_rows)
        found = []
        for folded in self.partitions:
            groups = {
                group.name: [layer.open(context, self.stimuli.delayed_rows) for layer in group.layers]
                for group in folded.groups
            }
            found.append(
                variance_parts(
                    Y,
                    nested_predictions(groups, Y, folded.fold_ids, draws=self.draws, seed=self.seed),
                    folded.fold_ids,
                    n_resamples=self.interval.resamples,
                    level=self.interval.level,
                    seed=derive_seed(self.seed, "bootstrap", ""),
                    groups=self.stimuli.groups,
                )
            )
        parts = [_averaged(of_part) for of_part in zip(*found, strict=True)]
        with np.load(responses / "ceilings.npz") as ceilings:
            ceiling = (
                ceilings["noise_ceiling_r2"][valid] if "noise_ceiling_r2" in ceilings else np.full(valid.sum(), np.nan)
            )
        names = [group.name for group in self.partitions[0].groups]
        rows, voxels = [], {}
        for part in parts:
            shown = "+".join(name for name in names if name in part.sets)
            known = np.isfinite(part.r2) & np.isfinite(ceiling)
            numbers = {"r2": part.mean, "low": part.mean_low, "high": part.mean_high}
            numbers["noise_ceiling_r2"] = float(ceiling[known].mean()) if known.any() else np.nan
            rows.append(
                {"kind": part.kind, "part": shown, "n_voxels": int(np.isfinite(part.r2).sum())}
                | {name: value if np.isfinite(value) else None for name, value in numbers.items()}
            )
            for end, values in (("", part.r2), ("_low", part.low), ("_high", part.high)):
                voxels[f"{part.kind}_{shown}{end}"] = np.full(len(valid), np.nan)
                voxels[f"{part.kind}_{shown}{end}"][valid] = values
        (folder / "parts.json").write_text(json.dumps(rows))
        save_arrays(folder / "voxels.npz", voxels)


def read_parts(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a finished step: columns of ``variance_partitioning.csv`` but subject and ROI."""
    rows: list[dict[str, Any]] = json.loads((folder / "parts.json").read_text())
    return rows


def nested_predictions(
    groups: Mapping[str, Sequence[FeatureSpace]], Y: FloatArray, fold_ids: IntArray, *, draws: int = 0, seed: int = 0
) -> dict[Sets, FloatArray]:
    """Predict every fold by ridge regressions on each combination of groups.

    Fold j is predicted by models whose compression, scaling, penalties and coefficients were estimated on the other
    folds alone; penalties are chosen by cross-validation over these.

    Parameters
    ----------
    groups : mapping of str to sequence of FeatureSpace
        The layers of a group stand side by side, each scaled to the same mean squared norm.
    Y : ndarray of shape (n_train, n_voxels)
    fold_ids : ndarray of shape (n_train,)
    draws : int
        0: the groups of a model weigh the same; else how many weights are drawn for voxels to choose from.
    seed : int

    Returns
    -------
    predictions : dict of frozenset of str to ndarray of shape (n_train, n_voxels)
        Of every combination, smallest first.
    """
    combined = [frozenset(some) for size in range(1, len(groups) + 1) for some in combinations(groups, size)]
    predictions: dict[Sets, FloatArray] = {sets: np.empty(Y.shape) for sets in combined}
    for fold in np.unique(fold_ids).tolist():
        held = fold_ids == fold
        features = {name: _side_by_side(spaces, fold, ~held) for name, spaces in groups.items()}
        own = derive_seed(seed, "variance partitioning", fold)
        for sets, predicted in predictions.items():
            Xs = [X for name, X in features.items() if name in sets]
            training = [X[~held] for X in Xs], Y[~held], fold_ids[~held]
            model = fit_joint_ridge(*training, n_draws=draws, seed=own)
            predicted[held] = model.predict([X[held] for X in Xs])
    return predictions


def _side_by_side(spaces: Sequence[FeatureSpace], fold: int, kept: BoolArray) -> FloatArray:
    """Join layers as compressed without a fold, scaled by their training stimuli, ndarray of shape (n_train, p)."""
    scaled = []
    for space in spaces:
        X = checked_scores(space, (fold,), len(kept))[: len(kept)]
        centred = X[kept] - X[kept].mean(axis=0)
        scaled.append(X / np.sqrt(mean_squared_norm(centred)))
    return np.hstack(scaled)


def _averaged(parts: Sequence[VariancePart]) -> VariancePart:
    """Average a part over partitions into folds."""
    names = ("r2", "low", "high", "mean", "mean_low", "mean_high")
    return replace(parts[0], **{name: sum(getattr(part, name) for part in parts) / len(parts) for name in names})
