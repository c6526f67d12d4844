"""The step that divides the variance explained in one subject x ROI between groups of layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.experiment.steps.compress import StoredSpace
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.scoring.variance_parts import VariancePart, variance_parts
from voxelcast.search.variance_partitioning import nested_predictions
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
    interval: IntervalSettings,
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
                interval=interval,
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


def _averaged(parts: Sequence[VariancePart]) -> VariancePart:
    """Average a part over partitions into folds."""
    names = ("r2", "low", "high", "mean", "mean_low", "mean_high")
    return replace(parts[0], **{name: sum(getattr(part, name) for part in parts) / len(parts) for name in names})


def _spread(values: FloatArray, valid: BoolArray) -> FloatArray:
    full = np.full(len(valid), np.nan)
    full[valid] = values
    return full
