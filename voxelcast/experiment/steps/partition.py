"""The step that divides the variance explained in one subject x ROI between groups of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.execution.steps import StepContext
from voxelcast.experiment.steps.compress import CompressedLayer
from voxelcast.experiment.steps.extract import Readable
from voxelcast.experiment.steps.responses import PairJob, TrainingResponses, spread, valid_responses
from voxelcast.scoring.intervals import Judged
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.scoring.variance_partitioning import VariancePart, average_parts, preferred, variance_parts
from voxelcast.search.base import FeatureSpace
from voxelcast.search.variance_partitioning import nested_predictions
from voxelcast.store.result import ResultWriter


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
class PartitionJob(PairJob):
    """Fit a model to every combination of groups, score it on folds that it never saw, and divide what they explain.

    Parts and the ends of their intervals are averaged over the partitions into folds.
    """

    kind = "partition"
    version = 4
    subject: str
    roi: str
    responses: TrainingResponses
    stimuli: Readable
    partitions: tuple[FoldedGroups, ...]
    draws: int
    interval: IntervalSettings
    seed: int

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write rows ``parts`` and, of each group, ``groups``; and ``voxels``, arrays (n_voxels,).

        Arrays are named ``<kind>_<part>``, with ``_low`` and ``_high`` for the ends of the interval; ``preferred`` is
        the number of the group that a voxel prefers, from 1, and NaN where that is undecided.
        """
        responses = context.read(self.responses.step)
        Y, valid = valid_responses(responses, self.stimuli.train_rows)
        partitions = []
        for folded in self.partitions:
            groups = {group.name: [layer.open(context) for layer in group.layers] for group in folded.groups}
            partitions.append((groups, folded.fold_ids))
        parts = divide_variance(Y, partitions, self.draws, self.interval, self.seed, self.stimuli.groups)
        ceiling = responses.arrays("ceilings").get("noise_ceiling_r2", np.full(len(valid), np.nan))[valid]
        names = [group.name for group in self.partitions[0].groups]
        best, rows, voxels = preferred(parts, names), [], {}
        of_groups = {
            name: dict[str, Any](group=name, n_preferred=int((best == k).sum())) for k, name in enumerate(names, 1)
        }
        for part in parts:
            shown, known = part_name(part, names), np.isfinite(part.r2)
            if part.kind in ("lead", "lesion"):
                ends = zip(("", "_low", "_high"), (part.mean, part.mean_low, part.mean_high), strict=True)
                of_groups[shown] |= {f"{part.kind}{end}": _or_none(value) for end, value in ends}
                of_groups[shown]["n_voxels"] = int(known.sum())
            else:
                both = known & np.isfinite(ceiling)
                numbers = {"r2": part.mean, "low": part.mean_low, "high": part.mean_high}
                numbers["noise_ceiling_r2"] = float(ceiling[both].mean()) if both.any() else np.nan
                rows.append(
                    {"kind": part.kind, "part": shown, "n_voxels": int(known.sum())}
                    | {name: _or_none(value) for name, value in numbers.items()}
                )
            for end, values in (("", part.r2), ("_low", part.low), ("_high", part.high)):
                voxels[f"{part.kind}_{shown}{end}"] = spread(values, valid)
        writer.json("parts", rows)
        writer.json("groups", list(of_groups.values()))
        writer.arrays("voxels", voxels | {"preferred": spread(best, valid)})


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def divide_variance(
    Y: FloatArray,
    partitions: Iterable[tuple[Mapping[str, Sequence[FeatureSpace]], IntArray]],
    draws: int,
    interval: IntervalSettings,
    seed: int,
    stimulus_groups: Sequence[str] | None,
) -> list[VariancePart]:
    """Divide variance between groups of feature spaces; ``partitions`` are groups and fold ids of each partition."""
    found = []
    for spaces, fold_ids in partitions:
        made = nested_predictions(spaces, Y, fold_ids, draws=draws, seed=seed)
        judged = Judged(fold_ids, stimulus_groups)
        found.append(variance_parts(Y, made.combined, judged, interval.level, lesioned=made.lesioned))
    return [average_parts(of_part) for of_part in zip(*found, strict=True)]


def part_name(part: VariancePart, groups: Iterable[str]) -> str:
    """Name a part by its groups, in their order."""
    return "+".join(name for name in groups if name in part.sets)
