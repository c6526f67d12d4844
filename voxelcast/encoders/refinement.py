"""Where the best score lies between the parameters of a list: the peak of a polynomial through the scores around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray

# A peak that is expected to raise the score by less is not worth a fit.
SMALLEST_GAIN = 1e-9


def peak(
    places: Sequence[float] | FloatArray, scores: Sequence[float] | FloatArray, window: int = 11
) -> tuple[float, float] | None:
    """Find the peak of a smooth curve of which some points are known.

    The polynomial goes through the best point and its nearest neighbours, up to ``window`` points in all, and its
    peak is sought between the neighbours of the best point.

    Parameters
    ----------
    places, scores : sequence of float, of equal length
        In any order; a score that is NaN is left out.
    window : int
        Few for a curve with kinks, as that of the lasso, whose features come and go.

    Returns
    -------
    place, score : float or None
        None where the best point is the peak already, or the first or last of all and the curve falls from there.
    """
    x, y = np.asarray(places, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    known = np.argsort(x)
    known = known[np.isfinite(y[known])]
    x, y = x[known], y[known]
    if len(x) < 3:
        return None
    best = int(y.argmax())
    before, after = max(best - 1, 0), min(best + 1, len(x) - 1)
    start = int(np.clip(best - window // 2, 0, max(len(x) - window, 0)))
    used = slice(start, start + window)
    # Centred on the best point and scaled by its neighbours, the powers of the places stay of one size.
    unit = (x[after] - x[before]) / (after - before)
    at = (x[used] - x[best]) / unit
    curve = np.polynomial.Polynomial.fit(at, y[used] - y[best], len(at) - 1)
    roots = curve.deriv().roots()
    roots = roots[np.isreal(roots)].real
    inside = roots[(roots > (x[before] - x[best]) / unit) & (roots < (x[after] - x[best]) / unit)]
    if not len(inside):
        return None
    top = float(inside[np.argmax(curve(inside))])
    gain = float(curve(top))
    return None if gain < SMALLEST_GAIN else (float(x[best] + top * unit), float(y[best] + gain))
