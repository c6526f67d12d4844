"""The official scores of the Algonauts challenges of 2021, 2023 and 2025, from predictions and measured responses.

Each rule is written as the organisers state it; where they leave something open, the docstring says what is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import AlignmentError, DataError, ShapeError
from voxelcast.scoring.ceiling import noise_ceiling_r
from voxelcast.scoring.correlation import constant_columns, pearson_r

Part = tuple[str, str]
"""Subject, and the ROI (2021), hemisphere (2023) or run (2025)."""

_MOST_SPLITS = 1000  # 10 repetitions have 126; up to 12 repetitions all splits are used

EDGE_TRS_2025 = 5
"""Volumes dropped at either end of a run."""


@dataclass(frozen=True)
class PartScore:
    """The score of one part of a submission.

    Parameters
    ----------
    subject, part : str
        The part is an ROI (2021), a hemisphere (2023) or, in 2025, where all runs are scored together, ``"all"``.
    n_voxels, n_scored : int
        Voxels there are, and those whose score is defined.
    pearson_r : float
        Mean correlation of the voxels scored, not normalised.
    score : float
        Mean of the rule's value per voxel.
    unclipped : float
        The same without the rule's clipping; equal to ``score`` where it clips nothing.
    """

    subject: str
    part: str
    n_voxels: int
    n_scored: int
    pearson_r: float
    score: float
    unclipped: float


@dataclass(frozen=True)
class ChallengeScore:
    """An official score and what it is made of.

    Parameters
    ----------
    score : float
        The number of the leader board.
    lines : mapping of str to float
        What it is the mean of, in the leader board's order: ROIs (2021), subjects (2023, 2025).
    beside : mapping of str to float
        Other ways to put the same voxels together, and values that the rule does not clip.
    parts : tuple of PartScore
    voxels : mapping of (subject, part) to mapping of str to ndarray of shape (n_voxels,)
        ``pearson_r``, ``score``, ``unclipped`` and, where there is one, the ceiling; NaN where undefined.
    """

    score: float
    lines: Mapping[str, float]
    beside: Mapping[str, float]
    parts: tuple[PartScore, ...]
    voxels: Mapping[Part, Mapping[str, FloatArray]]


def score_2021(measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray]) -> ChallengeScore:
    """Score as the challenge of 2021 did [1]_: noise-normalised correlation.

    Per voxel, ``r(prediction, mean over repetitions) / sqrt(reliability)``, the reliability being the mean over all
    splits of the repetitions into halves of the Spearman-Brown corrected correlation ``2 rho / (1 + rho)``; then the
    mean over the voxels of an ROI, over subjects, and over ROIs. The result is the same for the full track, whose one
    ROI is the whole brain. Nothing is clipped.

    The page does not say whether voxels of different subjects are pooled (``beside`` has that number as
    ``pooled_voxels``), nor what becomes of a voxel whose mean reliability is not positive: here it is left out. A
    voxel with constant predictions counts as 0.

    Parameters
    ----------
    measured : mapping of (subject, roi) to ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        NaN marks a missing repetition.
    predicted : mapping of (subject, roi) to ndarray of shape (n_stimuli, n_voxels)
        The same subjects and ROIs.

    Returns
    -------
    score : ChallengeScore

    Raises
    ------
    AlignmentError
        If the two do not hold the same subjects and ROIs.
    ShapeError, DataError
        If arrays do not fit one another, hold NaN, or have fewer than two repetitions.

    References
    ----------
    .. [1] Cichy, R. M. et al. The Algonauts Project 2021 Challenge: how the human brain makes sense of a world in
       motion. arXiv:2104.13714 (2021). doi:10.48550/arXiv.2104.13714
    """
    _check_parts(measured, predicted)
    voxels = {}
    for part, values in measured.items():
        name = " ".join(part)
        _check_prediction(name, values, predicted[part])
        if values.ndim != 3 or values.shape[1] < 2:
            raise ShapeError(
                f"measured responses of {name} must have at least 2 repetitions, for the reliability; got shape "
                f"{values.shape}, which should be (n_stimuli, n_repetitions, n_voxels)"
            )
        r = _r(name, mean_over_repetitions(values), predicted[part])
        ceiling = noise_ceiling_r(values, max_splits=_MOST_SPLITS)
        normalised = np.full(r.shape, np.nan)
        np.divide(r, ceiling, out=normalised, where=ceiling > 0)
        voxels[part] = {"pearson_r": r, "noise_ceiling_r": ceiling, "score": normalised, "unclipped": normalised}
    parts = tuple(_part(part, values) for part, values in voxels.items())
    rois = dict.fromkeys(part.part for part in parts)
    lines = {roi: _mean([part.score for part in parts if part.part == roi]) for roi in rois}
    pooled = [_mean(np.concatenate([v["score"] for (_, of), v in voxels.items() if of == roi])) for roi in rois]
    raw = [_mean([part.pearson_r for part in parts if part.part == roi]) for roi in rois]
    beside = {"pooled_voxels": _mean(pooled), "pearson_r": _mean(raw)}
    return ChallengeScore(_mean(list(lines.values())), lines, beside, parts, voxels)


def score_2023(
    measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray], ceiling_r2: Mapping[Part, FloatArray]
) -> ChallengeScore:
    """Score as the challenge of 2023 did [1]_: share of the explainable variance, in percent.

    Per vertex, ``min(max(r, 0)**2 / noise_ceiling_r2, 1) * 100``, then the mean over all vertices of both hemispheres
    and all subjects together. How the organisers put vertices together is not stated where it could be found:
    ``beside`` has the median (``median``), the mean of the subjects' means (``mean_of_subjects``) and the mean of
    ``r |r| / noise_ceiling_r2`` in percent, in which nothing is clipped (``unclipped``). A vertex whose ceiling is 0
    or NaN is left out; one with constant predictions counts as 0.

    Parameters
    ----------
    measured, predicted : mapping of (subject, hemisphere) to ndarray of shape (n_stimuli, n_vertices)
        Mean responses over repetitions, and predictions.
    ceiling_r2 : mapping of (subject, hemisphere) to ndarray of shape (n_vertices,)
        Share of the mean responses' variance that is signal, between 0 and 1:
        ``ncsnr**2 / (ncsnr**2 + mean(1 / n_repetitions))``.

    Returns
    -------
    score : ChallengeScore

    Raises
    ------
    AlignmentError, ShapeError, DataError
        If the three do not fit one another, or hold NaN where they must not.

    References
    ----------
    .. [1] Gifford, A. T. et al. The Algonauts Project 2023 Challenge: how the human brain makes sense of natural
       scenes. arXiv:2301.03198 (2023). doi:10.48550/arXiv.2301.03198
    """
    _check_parts(measured, predicted)
    _check_parts(measured, ceiling_r2, "noise ceilings")
    voxels = {}
    for part, values in measured.items():
        name = " ".join(part)
        _check_prediction(name, values, predicted[part])
        ceiling = np.asarray(ceiling_r2[part], dtype=np.float64)
        check_shape(f"noise ceiling of {name}", ceiling, ("n_vertices",), (values.shape[-1],))
        if (ceiling > 1).any():
            raise DataError(f"noise ceiling of {name} must be a share from 0 to 1; got {np.nanmax(ceiling):g}; divide?")
        r = _r(name, values, predicted[part])
        whole = np.full(r.shape, np.nan)
        np.divide(r * np.abs(r) * 100, ceiling, out=whole, where=ceiling > 0)
        voxels[part] = {
            "pearson_r": r,
            "noise_ceiling_r2": ceiling,
            "score": np.clip(whole, 0.0, 100.0),
            "unclipped": whole,
        }
    parts = tuple(_part(part, values) for part, values in voxels.items())
    subjects = dict.fromkeys(subject for subject, _ in voxels)
    lines = {s: _mean(np.concatenate([v["score"] for (of, _), v in voxels.items() if of == s])) for s in subjects}
    every = {name: np.concatenate([v[name] for v in voxels.values()]) for name in ("score", "unclipped", "pearson_r")}
    beside = {
        "median": _mean(every["score"], np.median),
        "mean_of_subjects": _mean(list(lines.values())),
        "unclipped": _mean(every["unclipped"]),
        "pearson_r": _mean(every["pearson_r"]),
    }
    return ChallengeScore(_mean(every["score"]), lines, beside, parts, voxels)


def score_2025(
    measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray], *, edge: int = EDGE_TRS_2025
) -> ChallengeScore:
    """Score as the challenge of 2025 did [1]_: mean Pearson correlation over parcels, then over subjects.

    The first and the last ``edge`` volumes of every run are dropped. Per subject and parcel, r runs over the volumes
    of all runs one after the other; whether the organisers correlate so or run by run could not be found: ``beside``
    has the mean of the runs' r as ``mean_of_runs``. A parcel with constant predictions counts as 0, and there is no
    noise ceiling.

    Parameters
    ----------
    measured, predicted : mapping of (subject, run) to ndarray of shape (n_volumes, n_parcels)
    edge : int
        Volumes to drop at either end of a run.

    Returns
    -------
    score : ChallengeScore

    Raises
    ------
    AlignmentError, ShapeError, DataError
        If the two do not fit one another, hold NaN, or a run is too short.

    References
    ----------
    .. [1] Gifford, A. T. et al. The Algonauts Project 2025 Challenge: how the human brain makes sense of multimodal
       movies. arXiv:2501.00504 (2025). doi:10.48550/arXiv.2501.00504
    """
    _check_parts(measured, predicted)
    runs_of: dict[str, list[str]] = {}
    for (subject, run), values in measured.items():
        _check_prediction(f"{subject} {run}", values, predicted[subject, run])
        if len(values) < 2 * edge + 2:
            raise DataError(
                f"{subject} {run} must have at least {2 * edge + 2} volumes, as {edge} at either end are dropped; "
                f"got {len(values)}"
            )
        runs_of.setdefault(subject, []).append(run)
    voxels, by_run = {}, {}
    for subject, runs in runs_of.items():
        kept = [(measured[subject, run], predicted[subject, run]) for run in runs]
        kept = [(y[edge : len(y) - edge], p[edge : len(p) - edge]) for y, p in kept]
        r = _r(subject, *(np.concatenate(both) for both in zip(*kept, strict=True)))
        voxels[subject, "all"] = {"pearson_r": r, "score": r, "unclipped": r}
        by_run[subject] = _mean([_mean(_r(subject, y, p)) for y, p in kept])
    parts = tuple(_part(part, values) for part, values in voxels.items())
    lines = {part.subject: part.score for part in parts}
    beside = {"mean_of_runs": _mean(list(by_run.values()))}
    return ChallengeScore(_mean(list(lines.values())), lines, beside, parts, voxels)


def _check_parts(measured: Mapping[Part, FloatArray], other: Mapping[Part, FloatArray], what: str = "") -> None:
    what = what or "predictions"
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


def _check_prediction(name: str, measured: FloatArray, predicted: FloatArray) -> None:
    wanted = (measured.shape[0], measured.shape[-1])
    check_shape(f"predictions of {name}", predicted, ("n_stimuli", "n_voxels"), wanted)
    check_finite(f"predictions of {name}", predicted)


def mean_over_repetitions(values: FloatArray) -> FloatArray:
    """Average the repetitions that are there.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        NaN marks a missing repetition.

    Returns
    -------
    mean : ndarray of shape (n_stimuli, n_voxels), float64
        NaN where a stimulus has no repetition.
    """
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    total = np.where(there, values, 0.0).sum(axis=1, dtype=np.float64)
    mean: FloatArray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _r(name: str, measured: FloatArray, predicted: FloatArray) -> FloatArray:
    """Correlate; 0 where only the predictions are constant, NaN where the measured responses are."""
    check_finite(f"measured responses of {name}", measured, "leave those voxels or stimuli out")
    r = pearson_r(measured, predicted)
    return np.where(np.isnan(r) & ~constant_columns(measured), 0.0, r)


def _part(part: Part, voxels: Mapping[str, FloatArray]) -> PartScore:
    known = np.isfinite(voxels["score"])
    r, score, unclipped = (_mean(voxels[name][known]) for name in ("pearson_r", "score", "unclipped"))
    return PartScore(*part, known.size, int(known.sum()), r, score, unclipped)


def _mean(values: FloatArray | list[float], how: Callable[[FloatArray], object] = np.mean) -> float:
    """Mean (or median) of the values that are defined; NaN if none is."""
    values = np.asarray(values, dtype=np.float64)
    there = values[np.isfinite(values)]
    return float(np.asarray(how(there))) if there.size else float("nan")
