"""Features of the moments before: a finite impulse response model of time series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import AlignmentError, OptionError

BEFORE = -1  # stands for a moment before the run began, or one of which nothing is known


def delayed_rows(
    ids: Sequence[str], wanted: Sequence[str], series: Mapping[str, tuple[str, int]], delays: Sequence[int]
) -> IntArray:
    """Find for each volume the rows of the features that were there so many volumes before, in the same run.

    ``ids`` are stimulus ids of the rows of the features, ``wanted`` of the volumes to be predicted or fitted;
    ``series`` gives the run of each and its position in it; ``delays`` are in volumes (TR), at least one, from 0, which
    is the volume itself. The rows have the shape (n_wanted, n_delays), with `BEFORE` where the run had not begun,
    whatever other run came before it.
    """
    if not delays or min(delays) < 0:
        raise OptionError(f"delays must be whole numbers of TR from 0; got {list(delays)}; give e.g. [1, 2, 3, 4]")
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
    first k features at all delays are the first k * n_delays columns; 0 before the run began.

    References
    ----------
    .. [1] Nishimoto, S. et al. (2011). Reconstructing visual experiences from brain activity evoked by natural movies.
       Current Biology 21, 1641-1646. https://doi.org/10.1016/j.cub.2011.08.031
    """
    taken = features[rows]  # (n_volumes, n_delays, n_features); BEFORE takes some row, which is blanked
    taken[rows == BEFORE] = 0.0
    return np.asarray(taken.transpose(0, 2, 1).reshape(len(rows), -1))
