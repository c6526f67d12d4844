"""P-values by explicit permutation of responses and predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.scoring.permutation import Exchange, permutation_grid


def explicit_p_values(
    Y: FloatArray,
    P: FloatArray,
    folds: IntArray,
    n_permutations: int,
    seed: int,
    groups: Sequence[str] | None = None,
    widening: float = 1.0,
) -> FloatArray:
    """p values from the score of every cell of the grid, computed from the reordered responses and predictions.

    Responses, centred and of unit norm in each fold, lose a part along the predictions, so that their score is divided
    by the widening: a least squares fit of the one on the other tells it.
    """
    of_responses, of_predictions = permutation_grid(Exchange(folds, groups), n_permutations, seed)
    y, p = (np.empty_like(Y) for _ in range(2))
    for fold in np.unique(folds):
        for unit, values in ((y, Y), (p, P)):
            centred = values[folds == fold] - values[folds == fold].mean(axis=0)
            varies = centred.std(axis=0) > 1e-9
            unit[folds == fold] = np.where(varies, centred / np.linalg.norm(centred, axis=0).clip(1e-9), 0)
    for voxel in range(Y.shape[1]):
        known = np.repeat(False, len(folds))
        for fold in np.unique(folds):
            known |= (folds == fold) & (y[folds == fold, voxel] != 0).any()
        p[~known, voxel] = 0
        slope = np.linalg.lstsq(p[:, [voxel]], y[:, voxel], rcond=None)[0][0]
        y[:, voxel] -= (1 - 1 / widening) * slope * p[:, voxel]
    scores = np.array([(y[a] * p[b]).sum(axis=0) for a in of_responses for b in of_predictions])
    return np.asarray((scores >= scores[0] - 1e-12).mean(axis=0))
