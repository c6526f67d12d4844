r"""Stimuli in the space that the training stimuli span: as many numbers as there are of these, not as features.

n training stimuli of D features, D >> n, span n - 1 dimensions. Their scores on all principal components are a rotation
of the features: every distance between two training stimuli is kept. Another stimulus also has a part outside this
space, of some length; with it as one more coordinate (0 for training stimuli) its distance to every training stimulus
is kept as well. Whatever sees features by distances alone, or by a linear first step that is learnt, loses nothing by
working on these coordinates, which follow from the Gram matrix (see :mod:`voxelcast.features.pca`).
"""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.features.pca import Precision, pca_scores


def coordinates(
    gram: FloatArray, train_rows: IntArray, *, where: str = "", precision: Precision = "float64"
) -> FloatArray:
    """Give all stimuli's coordinates in the space of the training stimuli, and their distance from it.

    The parameters and errors are those of `voxelcast.features.pca.pca_scores`.

    Returns
    -------
    coordinates : ndarray of shape (n_stimuli, rank + 1)
        The last column is the distance from the space; 0 for training stimuli.
    """
    scores = pca_scores(gram, train_rows, "max", where=where, precision=precision).scores
    to_train = gram[:, train_rows].mean(axis=1)
    squared = np.diag(gram) - 2 * to_train + to_train[train_rows].mean()  # distances to the training mean
    outside = np.sqrt(np.maximum(squared - (scores**2).sum(axis=1), 0.0))
    outside[train_rows] = 0.0
    return np.column_stack([scores, outside])
