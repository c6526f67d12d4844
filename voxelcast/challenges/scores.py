"""What an official score is made of, and what the scores of all challenges share.

Each is written as its organisers state it; where they leave something open, the docstring says what is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import AlignmentError, DataError
from voxelcast.scoring.correlation import constant_columns, pearson_r

Part = tuple[str, str]
"""Subject, and the ROI (2021), hemisphere (2023) or run (2025)."""


@dataclass(frozen=True)
class PartScore:
    """The score of one part of a submission."""

    subject: str
    part: str
    """An ROI (2021), a hemisphere (2023) or, in 2025, where all runs are scored together, ``"all"``."""
    n_voxels: int
    n_scored: int
    """Voxels whose score is defined."""
    pearson_r: float
    """Mean correlation of the voxels scored, not normalised."""
    score: float
    """Mean of the rule's value per voxel."""
    unclipped: float
    """The same without the rule's clipping; equal to ``score`` where it clips nothing."""


@dataclass(frozen=True)
class ChallengeScore:
    """An official score and what it is made of."""

    score: float
    """The number of the leader board."""
    lines: Mapping[str, float]
    """What it is the mean of, in the leader board's order: ROIs (2021), subjects (2023, 2025)."""
    beside: Mapping[str, float]
    """Other ways to put the same voxels together, and values that the rule does not clip."""
    voxels: Mapping[Part, Mapping[str, FloatArray]]
    """``pearson_r``, ``score``, ``unclipped`` and any ceiling, each (n_voxels,); NaN where undefined."""

    @property
    def parts(self) -> tuple[PartScore, ...]:
        """The score of each part: the mean of its voxels whose score is defined."""
        return tuple(part_score(part, values) for part, values in self.voxels.items())


def check_parts(
    measured: Mapping[Part, FloatArray], other: Mapping[Part, FloatArray], what: str = "predictions"
) -> None:
    """Raise AlignmentError unless both are of the same parts, DataError if there are none."""
    if not measured:
        raise DataError("a score needs measured responses of at least one subject; got none")
    missing = [" ".join(part) for part in measured if part not in other]
    extra = [" ".join(part) for part in other if part not in measured]
    if missing or extra:
        detail = f"missing: {', '.join(missing[:4])}" if missing else f"without measured responses: {extra[0]}"
        n = len(missing) or len(extra)
        raise AlignmentError(
            f"{what} and measured responses must be of the same parts; {detail} ({n} in all); choose the subjects and "
            "parts of the dataset that were predicted"
        )


def check_prediction(name: str, measured: FloatArray, predicted: FloatArray) -> None:
    """Raise ShapeError or DataError unless predictions fit the measured responses and are finite."""
    wanted = (measured.shape[0], measured.shape[-1])
    check_shape(f"predictions of {name}", predicted, ("n_stimuli", "n_voxels"), wanted)
    check_finite(f"predictions of {name}", predicted)


def mean_over_repetitions(values: FloatArray) -> FloatArray:
    """Average (n_stimuli, n_repetitions, n_voxels) over the repetitions that are there; NaN where there is none."""
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    total = np.where(there, values, 0.0).sum(axis=1, dtype=np.float64)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def correlation(name: str, measured: FloatArray, predicted: FloatArray) -> FloatArray:
    """Correlate; 0 where only the predictions are constant, NaN where the measured responses are."""
    check_finite(f"measured responses of {name}", measured, "leave those voxels or stimuli out")
    r = pearson_r(measured, predicted)
    return np.where(np.isnan(r) & ~constant_columns(measured), 0.0, r)


def part_score(part: Part, voxels: Mapping[str, FloatArray]) -> PartScore:
    """Average the voxels of a part whose score is defined."""
    known = np.isfinite(voxels["score"])
    r, score, unclipped = (mean_of(voxels[name][known]) for name in ("pearson_r", "score", "unclipped"))
    return PartScore(*part, known.size, int(known.sum()), r, score, unclipped)


def mean_of(values: FloatArray | list[float], how: Callable[[FloatArray], object] = np.mean) -> float:
    """Mean (or median) of the values that are defined; NaN if none is."""
    values = np.asarray(values, dtype=np.float64)
    there = values[np.isfinite(values)]
    return float(np.asarray(how(there))) if there.size else float("nan")
