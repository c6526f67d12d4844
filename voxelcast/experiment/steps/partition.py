"""The step that divides the variance explained in one subject x ROI between groups of layers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.execution.steps import Job, StepContext
from voxelcast.experiment.steps.compress import CompressedLayer
from voxelcast.experiment.steps.extract import Readable
from voxelcast.experiment.steps.responses import valid_responses
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.scoring.variance_partitioning import average_parts, variance_parts
from voxelcast.search.variance_partitioning import nested_predictions
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
    interval: IntervalSettings
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
                    interval=self.interval,
                    seed=derive_seed(self.seed, "bootstrap", ""),
                    groups=self.stimuli.groups,
                )
            )
        parts = [average_parts(of_part) for of_part in zip(*found, strict=True)]
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
