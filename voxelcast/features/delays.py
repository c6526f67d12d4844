"""Features of other moments of a time series: at delays, or through a haemodynamic response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import AlignmentError, OptionError
from voxelcast.features.hrf import LENGTH, bases

BEFORE = -1  # stands for a moment before the run began, or one of which nothing is known
Response = Literal["double_gamma", "double_gamma+derivative"]
Delays = tuple[int, ...] | Response
"""Volumes before (below 0: after), each a feature of its own; or the response that features are convolved with."""


@dataclass(frozen=True, eq=False)
class Delayed:
    """Which moments' features each volume is given.

    Parameters
    ----------
    rows : ndarray of shape (n_volumes, n_delays), int
        Of the features; `BEFORE` where there is none.
    weights : ndarray of shape (n_delays, n_taken), or None
        Sums over the delays that are taken; None: each delay by itself.
    """

    rows: IntArray
    weights: FloatArray | None = None

    @property
    def n_taken(self) -> int:
        """How many features become of each."""
        return int(self.rows.shape[1] if self.weights is None else self.weights.shape[1])

    def of(self, features: FloatArray) -> FloatArray:
        """Give the features (n_rows, n_features) of each volume's moments, (n_volumes, n_features * n_taken).

        The first feature comes first, at all delays, then the second, as in `delay`.
        """
        if self.weights is None:
            return delay(features, self.rows)
        taken = np.zeros((len(self.rows), features.shape[1], self.n_taken))
        for rows, weights in zip(self.rows.T, self.weights, strict=True):
            taken += np.where((rows == BEFORE)[:, None], 0.0, features[rows])[:, :, None] * weights
        return taken.reshape(len(self.rows), -1)


def delays_of(
    ids: Sequence[str], wanted: Sequence[str], series: Mapping[str, tuple[str, int]], delays: Delays, tr: float
) -> Delayed:
    """Find the rows of the features that volumes are given; ``tr`` is in seconds, the rest as `delayed_rows`.

    The response of a volume is its mean over the volume; features hold from one volume to the next.
    """
    if not isinstance(delays, str):
        return Delayed(delayed_rows(ids, wanted, series, delays))
    past = range(int(np.ceil(LENGTH / tr)) + 1)
    edges = np.arange(-1, len(past) + 1) * tr  # of the volume, as seen from each of the past
    weights = [np.diff(np.diff(base(edges, 2))) / tr for base in bases(delays)]
    return Delayed(delayed_rows(ids, wanted, series, past), np.stack(weights, axis=1))


def delayed_rows(
    ids: Sequence[str], wanted: Sequence[str], series: Mapping[str, tuple[str, int]], delays: Sequence[int]
) -> IntArray:
    """Find for each volume the rows of the features that were there so many volumes before, in the same run.

    ``ids`` are stimulus ids of the rows of the features, ``wanted`` of the volumes to be predicted or fitted;
    ``series`` gives the run of each and its position in it; ``delays`` are in volumes (TR), at least one: 0 is the
    volume itself, -1 the one after it. The rows have the shape (n_wanted, n_delays), with `BEFORE` outside of the run,
    whatever other run came before it.
    """
    if not delays:
        raise OptionError("delays must be at least one whole number of TR; got none; give e.g. [1, 2, 3, 4]")
    for stimulus_id in (*ids, *wanted):
        if stimulus_id not in series:
            raise AlignmentError(
                f"volume {stimulus_id!r} has no position in a run; give runs of the volumes, or no delays"
            )
    row_of = {series[stimulus_id]: row for row, stimulus_id in enumerate(ids)}
    positions = [series[stimulus_id] for stimulus_id in wanted]
    rows = [[row_of.get((run, position - delay), BEFORE) for delay in delays] for run, position in positions]
    return np.array(rows, dtype=np.int64).reshape(len(positions), len(delays))


def delay(features: FloatArray, rows: IntArray) -> FloatArray:
    """Put features (n_rows, n_features) of several moments side by side, by `delayed_rows` (n_volumes, n_delays).

    A linear model of delayed features has a response of its own shape for each feature and voxel [1]_. The result is of
    shape (n_volumes, n_delays * n_features): the first feature at all delays, then the second, and so on, so that the
    first k features at all delays are the first k * n_delays columns; 0 outside of the run.

    References
    ----------
    .. [1] Nishimoto, S. et al. (2011). Reconstructing visual experiences from brain activity evoked by natural movies.
       Current Biology 21, 1641-1646. https://doi.org/10.1016/j.cub.2011.08.031
    """
    taken = features[rows]  # (n_volumes, n_delays, n_features); BEFORE takes some row, which is blanked
    taken[rows == BEFORE] = 0.0
    return np.asarray(taken.transpose(0, 2, 1).reshape(len(rows), -1))
