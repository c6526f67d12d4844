"""What happened when, brought to a grid of equal steps (the volumes of a run) by exact overlap."""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import DataError, OptionError


def step_of(moment: float, step: float) -> int:
    """Return the step of a grid in which a moment lies, both in seconds; one at a border, up to rounding, begins it.

    >>> step_of(0.3, 0.1)
    3
    """
    return int(np.floor(moment / step + 1e-9))


def events_on_grid(
    onsets: FloatArray, durations: FloatArray, values: FloatArray, n_steps: int, step: float
) -> FloatArray:
    """Sum events over the steps of a grid, each by the share of the step's time for which it was on.

    With overlap the length of what two intervals have in common, step k is ``sum over events i of values[i]
    overlap([onset_i, onset_i + duration_i], [k step, (k + 1) step]) / step``. An event of duration 0 counts as one
    whole step: the one in which it begins. What lies outside of the grid is left out.

    Raises DataError where a number is not finite, or a duration below 0.

    Parameters
    ----------
    onsets, durations : ndarray of shape (n_events,)
        Seconds after the grid begins.
    values : ndarray of shape (n_events, n_features)
    step : float
        Seconds.

    Returns
    -------
    grid : ndarray of shape (n_steps, n_features)

    Examples
    --------
    >>> import numpy as np
    >>> events_on_grid(np.array([1.0]), np.array([2.0]), np.array([[10.0]]), n_steps=3, step=2.0).ravel()
    array([5., 5., 0.])
    """
    for name, numbers in (("onsets", onsets), ("durations", durations), ("values of events", values)):
        check_finite(name, numbers)
    if (durations < 0).any():
        raise DataError(f"durations must be 0 s or longer; got {durations.min():g} s; correct it")
    grid = np.zeros((n_steps, values.shape[1]))
    starts = np.arange(n_steps) * step
    for onset, duration, value in zip(onsets, durations, values, strict=True):
        if duration == 0:
            place = step_of(onset, step)
            if 0 <= place < n_steps:
                grid[place] += value
            continue
        first, last = int(max(onset // step, 0)), int(min((onset + duration) // step + 1, n_steps))
        touched = starts[first:last]
        overlap = np.minimum(onset + duration, touched + step) - np.maximum(onset, touched)
        grid[first:last] += np.clip(overlap, 0, None)[:, None] / step * value
    return grid


def samples_on_grid(values: FloatArray, rate: float, start: float, n_steps: int, step: float) -> FloatArray:
    """Average samples of a steady rate over the steps of a grid; each holds until the next.

    A step that is covered in part is averaged over that part. Raises DataError where a value is not finite, or a step
    is not covered at all.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features)
    rate : float
        Samples in a second (Hz).
    start : float
        Seconds from the beginning of the grid to the first sample.

    Returns
    -------
    grid : ndarray of shape (n_steps, n_features)
    """
    if not (rate > 0 and step > 0):
        raise OptionError(f"the rate of samples and the step of the grid must be above 0; got {rate} Hz and {step} s")
    check_finite("samples", values)
    length = len(values)
    edges = np.clip((np.arange(n_steps + 1) * step - start) * rate, 0, length)  # in samples
    covered = np.diff(edges)
    if not (covered > 0).all():
        ends = start + length / rate
        raise DataError(
            f"samples must cover every volume, from 0 s to {n_steps * step:g} s; got {start:g} s to {ends:g} s "
            f"({length} samples of {rate:g} Hz); check rate and start, or add what is missing"
        )
    whole = np.minimum(edges.astype(int), length - 1)
    before = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    area = before[whole] + (edges - whole)[:, None] * values[whole]
    return np.asarray(np.diff(area, axis=0) / covered[:, None])
