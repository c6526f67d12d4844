"""The step that divides the variance explained in one subject x ROI between groups of layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.execution.steps import StepContext
from voxelcast.experiment.steps.compress import CompressedLayer
from voxelcast.experiment.steps.extract import Readable
from voxelcast.experiment.steps.responses import PairJob, TrainingResponses, spread, valid_responses
from voxelcast.scoring.intervals import Judged
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.scoring.variance_partitioning import VariancePart, average_parts, variance_parts
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
        """Write ``parts``, a row for each part, and ``voxels``, arrays (n_voxels,) named ``<kind>_<part>``.

        Those with ``_low`` and ``_high`` are the ends of the interval.
        """
        responses = context.read(self.responses.step)
        Y, valid = valid_responses(responses, self.stimuli.train_rows)
        partitions = []
        for folded in self.partitions:
            groups = {group.name: [layer.open(context) for layer in group.layers] for group in folded.groups}
            partitions.append((groups, folded.fold_ids))
        parts = divide_variance(Y, partitions, self.draws, self.interval, self.seed, self.stimuli.groups)
        ceiling = responses.arrays("ceilings").get("noise_ceiling_r2", np.full(len(valid), np.nan))[valid]
        rows, voxels = [], {}
        for part in parts:
            shown = part_name(part, [group.name for group in self.partitions[0].groups])
            known = np.isfinite(part.r2) & np.isfinite(ceiling)
            numbers = {"r2": part.mean, "low": part.mean_low, "high": part.mean_high}
            numbers["noise_ceiling_r2"] = float(ceiling[known].mean()) if known.any() else np.nan
            rows.append(
                {"kind": part.kind, "part": shown, "n_voxels": int(np.isfinite(part.r2).sum())}
                | {name: value if np.isfinite(value) else None for name, value in numbers.items()}
            )
            for end, values in (("", part.r2), ("_low", part.low), ("_high", part.high)):
                voxels[f"{part.kind}_{shown}{end}"] = spread(values, valid)
        writer.json("parts", rows)
        writer.arrays("voxels", voxels)


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
        predictions = nested_predictions(spaces, Y, fold_ids, draws=draws, seed=seed)
        found.append(variance_parts(Y, predictions, Judged(fold_ids, stimulus_groups), interval.level))
    return [average_parts(of_part) for of_part in zip(*found, strict=True)]


def part_name(part: VariancePart, groups: Iterable[str]) -> str:
    """Name a part by its groups, in their order."""
    return "+".join(name for name in groups if name in part.sets)
