r"""The first principal axis over time: weights of time steps by which the training stimuli differ most.

With a_i(t, d) the activation of unit d of a layer at step t of stimulus i, the weights w, of unit length, are those
for which the pooled features f_i(d) = \sum_t w_t a_i(t, d) vary most over the n training stimuli, summed over units:
the first eigenvector of the covariance over time

    C(t, s) = \sum_i \sum_d (a_i(t, d) - m(t, d)) (a_i(s, d) - m(s, d)) / n,

with m the mean over training stimuli. Its sign is such that the weights' sum is positive (where that is 0, their
largest entry in size). A layer has one axis for all stimuli, so that its features mean the same for each of them.
"""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import DataError
from voxelcast.features.matrix import FeatureMatrix


def temporal_axis(
    matrix: FeatureMatrix, train_rows: IntArray, *, where: str = "", memory: float = 2.5e8
) -> tuple[FloatArray, float]:
    """Fit the first principal axis over time to training stimuli, in one pass over the activations.

    At most ``memory`` bytes of activations are held at a time. Returns the weights (n_times,), and the share of the
    variance over time that is along them, in [0, 1]. Raises DataError if time was pooled already, or activations do not
    vary over the training stimuli, or are not finite.
    """
    if matrix.n_times is None:
        raise DataError(f"a principal axis over time needs activations with their time{where}; got pooled ones")
    covariance = np.zeros((matrix.n_times, matrix.n_times))
    width = max(1, int(memory // (8 * matrix.shape[0] * matrix.n_times)))
    largest = 0.0
    for block in matrix.blocks_over_time(width):
        train = block[train_rows]
        check_finite(f"features{where}", train, "extract them again")
        largest = max(largest, float(np.abs(train).max()))
        over_time = (train - train.mean(axis=0)).transpose(1, 0, 2).reshape(matrix.n_times, -1)
        covariance += over_time @ over_time.T
    values, vectors = np.linalg.eigh(covariance)
    if np.trace(covariance) <= np.finfo(np.float64).eps * largest**2 * len(train_rows):
        raise DataError(
            f"features{where} must vary over the {len(train_rows)} training stimuli; "
            "got the same for all of them; leave this layer out"
        )
    axis: FloatArray = vectors[:, -1]
    total = axis.sum()
    turn = total if abs(total) > 1e-6 else axis[np.abs(axis).argmax()]
    return axis * np.sign(turn), float(values[-1] / np.trace(covariance))
