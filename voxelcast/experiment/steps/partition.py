"""The step that divides the variance explained in one subject x ROI between groups of layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.joint_ridge import fit_joint_ridge
from voxelcast.encoders.side_by_side import mean_squared_norm
from voxelcast.experiment.steps.compress import StoredSpace
from voxelcast.scoring.variance_partitioning import Sets
from voxelcast.scoring.variance_parts import VariancePart, variance_parts
from voxelcast.search.base import FeatureSpace
from voxelcast.search.training import checked_scores
from voxelcast.store.atomic import save_arrays

VERSION = 2

PARTITION_COLUMNS = ("subject", "roi", "kind", "part", "r2", "low", "high", "n_voxels", "noise_ceiling_r2")

StoredGroups = Mapping[str, Sequence[tuple[Path, str, str]]]
"""Folder, network and layer of the feature spaces of each group."""


def divide_pair(
    folder: Path,
    *,
    responses: Path,
    train_rows: IntArray,
    partitions: Sequence[tuple[IntArray, StoredGroups]],
    fitted_in_folds: bool,
    delayed_rows: IntArray | None,
    stimulus_groups: Sequence[str] | None,
    draws: int,
    interval: Mapping[str, Any],
    seed: int,
) -> None:
    """Fit a model to every combination of groups, judge it on folds that it never saw, and divide what they explain.

    ``train_rows`` picks the readable stimuli from the prepared responses; ``partitions`` holds the folds and feature
    spaces of each partition, over which parts and the ends of their intervals are averaged.

    Writes ``parts.json``, a row for each part, and ``voxels.npz``, arrays (n_voxels,) named ``<kind>_<part>``, with
    ``_low`` and ``_high`` for the ends of the interval.
    """
    valid = np.load(responses / "valid.npy")
    Y = np.load(responses / "train.npy")[train_rows][:, valid]
    found = []
    for fold_ids, stored in partitions:
        groups = {
            name: [
                StoredSpace(path, network, layer, fitted_in_folds=fitted_in_folds, delayed_rows=delayed_rows)
                for path, network, layer in spaces
            ]
            for name, spaces in stored.items()
        }
        found.append(
            variance_parts(
                Y,
                nested_predictions(groups, Y, fold_ids, draws=draws, seed=seed),
                fold_ids,
                n_resamples=interval["resamples"],
                level=interval["level"],
                seed=derive_seed(seed, "bootstrap", ""),
                groups=stimulus_groups,
            )
        )
    parts = [_averaged(of_part) for of_part in zip(*found, strict=True)]
    with np.load(responses / "ceilings.npz") as ceilings:
        ceiling = (
            ceilings["noise_ceiling_r2"][valid] if "noise_ceiling_r2" in ceilings else np.full(valid.sum(), np.nan)
        )
    _write(folder, parts, list(partitions[0][1]), valid, ceiling)


def _write(
    folder: Path, parts: Sequence[VariancePart], names: Sequence[str], valid: BoolArray, ceiling: FloatArray
) -> None:
    """Write the parts; ``names`` has the groups in order, ``ceiling`` R2 of the valid voxels."""
    rows, voxels = [], {}
    for part in parts:
        shown = "+".join(name for name in names if name in part.sets)
        numbers = {"r2": part.mean, "low": part.mean_low, "high": part.mean_high}
        known = np.isfinite(part.r2) & np.isfinite(ceiling)
        numbers["noise_ceiling_r2"] = float(ceiling[known].mean()) if known.any() else np.nan
        rows.append(
            {"kind": part.kind, "part": shown, "n_voxels": int(np.isfinite(part.r2).sum())}
            | {name: value if np.isfinite(value) else None for name, value in numbers.items()}
        )
        for end, values in (("", part.r2), ("_low", part.low), ("_high", part.high)):
            voxels[f"{part.kind}_{shown}{end}"] = _spread(values, valid)
    (folder / "parts.json").write_text(json.dumps(rows))
    save_arrays(folder / "voxels.npz", voxels)


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


def _spread(values: FloatArray, valid: BoolArray) -> FloatArray:
    full = np.full(len(valid), np.nan)
    full[valid] = values
    return full
