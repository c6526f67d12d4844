"""Intervals of predicted responses: how far the measured response to a new stimulus may lie from its prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.scoring.correlation import checked_pair

LEVELS: Final = (*(round(0.01 * k, 2) for k in range(50, 100)), 0.995)
"""Levels whose half-widths a saved model keeps; another level takes the next higher."""


@dataclass(frozen=True, eq=False)
class PredictionIntervals:
    """Half-widths of the intervals of new stimuli's responses, around their predictions.

    Parameters
    ----------
    half_width : ndarray of shape (n_voxels,)
        In the unit of the responses; NaN where there is no interval.
    level : float
        Share of new stimuli whose measured response lies inside.
    n_stimuli : int
        Residuals that it rests on.
    reason : str
        Why there is none; empty where there is.
    """

    half_width: FloatArray
    level: float
    n_stimuli: int
    reason: str = ""

    def around(self, predictions: FloatArray, spread: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """Return lower and upper ends, each of the shape (n_stimuli, n_voxels) of ``predictions``.

        ``spread``, of shape (n_stimuli,), is that of these stimuli where residuals were divided by theirs.
        """
        half = self.half_width if spread is None else self.half_width * np.asarray(spread)[:, np.newaxis]
        return predictions - half, predictions + half


def prediction_intervals(
    Y: FloatArray, P: FloatArray, level: float = 0.95, *, spread: FloatArray | None = None
) -> PredictionIntervals:
    """Give each voxel the half-width of the interval of its response to a new stimulus.

    A conformal quantile [1]_ of the n out-of-fold residuals: ``|y_i - p_i|`` of rank ``ceil((n + 1) level)``. If the
    new stimulus is drawn as the n were, its residual is as likely of any rank among them, so that the interval holds
    the response with probability ``level`` to ``level + 1 / (n + 1)``, whatever the distribution of responses; that the
    model of all stimuli is a little better than those of the folds makes it a little more. The response is one as
    measured: noise is in it, at the number of repetitions over which ``Y`` was averaged. It is no interval of the mean
    response, nor of all voxels at once. With groups (runs, movies) it speaks of stimuli of a new group, and few groups
    make it vary.

    Raises ShapeError, DataError or OptionError if shapes differ, values are not finite, or a level or spread is not
    possible.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses.
    P : ndarray of shape (n_stimuli, n_voxels)
        Predictions by models that did not see the stimulus, chosen without it too (nested).
    level : float
    spread : ndarray of shape (n_stimuli,), optional
        How large residuals are expected to be, up to a factor (of a stimulus unlike the others, larger); positive.

    References
    ----------
    .. [1] Lei, J., G'Sell, M., Rinaldo, A., Tibshirani, R. J. & Wasserman, L. Distribution-free predictive inference
       for regression. Journal of the American Statistical Association 113, 1094-1111 (2018).
       doi:10.1080/01621459.2017.1307116

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = prediction_intervals(rng.standard_normal((5000, 1)), np.zeros((5000, 1)))
    >>> found.half_width.round(1), prediction_intervals(np.eye(10), np.eye(10)).reason
    (array([1.9]), '10 stimuli are too few for a 95 % interval, which takes 19')
    """
    Y, P = checked_pair(Y, P)
    check_finite("responses", Y)
    check_finite("predictions", P)
    residuals = np.abs(Y - P)
    if spread is not None:
        check_shape("spread", spread, ("n_stimuli",), (len(Y),))
        if not (np.asarray(spread) > 0).all():
            raise DataError("spread must be positive; some is not; leave it out")
        residuals = residuals / np.asarray(spread)[:, np.newaxis]
    return _ranked(np.sort(residuals, axis=0), level)


def half_widths(Y: FloatArray, P: FloatArray) -> FloatArray:
    """Return the half-widths at all `LEVELS`, ndarray of shape (n_levels, n_voxels), NaN where stimuli are too few."""
    Y, P = checked_pair(Y, P)
    residuals = np.sort(np.abs(Y - P), axis=0)
    return np.stack([_ranked(residuals, level).half_width for level in LEVELS])


def stored_intervals(stored: FloatArray, n_stimuli: int, level: float = 0.95) -> PredictionIntervals:
    """Look up intervals in stored `half_widths`: of the lowest of `LEVELS` that is at least the one asked for.

    Raises OptionError for a level below the lowest or above the highest.
    """
    check_shape("half-widths", stored, ("n_levels", "n_voxels"), (len(LEVELS), None))
    found = [k for k, kept in enumerate(LEVELS) if kept >= level - 1e-9]
    if level < LEVELS[0] or not found:
        raise OptionError(f"the level of prediction intervals must be from {LEVELS[0]} to {LEVELS[-1]}; got {level:g}")
    kept = LEVELS[found[0]]
    return PredictionIntervals(stored[found[0]], kept, n_stimuli, _too_few(n_stimuli, kept))


def _ranked(residuals: FloatArray, level: float) -> PredictionIntervals:
    """Take the residual of the level's rank, of residuals sorted along the first axis."""
    if not 0 < level < 1:
        raise OptionError(f"the level of prediction intervals must lie between 0 and 1; got {level:g}")
    n = len(residuals)
    if reason := _too_few(n, level):
        return PredictionIntervals(np.full(residuals.shape[1], np.nan), level, n, reason)
    return PredictionIntervals(residuals[_rank(n, level) - 1], level, n)


def _rank(n: int, level: float) -> int:
    return math.ceil((n + 1) * level - 1e-9)


def _too_few(n: int, level: float) -> str:
    if _rank(n, level) <= n:
        return ""
    least = math.ceil(level / (1 - level) - 1e-9)
    return f"{n} stimuli are too few for a {100 * level:g} % interval, which takes {least}"
