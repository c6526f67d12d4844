"""All layers together as one feature space: their features side by side, each layer counting the same.

With the layers' features X_b (n, p_b), centred on their training means, and the mean squared norm s_b = |X_b|^2 / n of
a layer's training stimuli, the joined features are::

    Z = [X_1 / sqrt(s_1)  ...  X_B / sqrt(s_B)]

so that a layer counts no more for having more components or larger numbers. They are given as their principal
components, fitted to the training stimuli. Ridge regression is the same in both: its coefficients lie in the span of
the training stimuli, Z'a, of which the components are an orthonormal basis. There are at most n - 1 of them, however
many layers are joined, and they come from the n x n matrix ZZ' = sum_b X_b X_b' / s_b, to which one layer after the
other is added: no layer but the one being added is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import OptionError
from voxelcast.encoders.moments import mean_squared_norm
from voxelcast.features.pca import PCAOptions, pca_scores
from voxelcast.search.base import FeatureSpace

JOINED, ALL_LAYERS = "joined", "all layers"
"""What stands for the names of network and layer."""


class JoinedSpace:
    """The features of several spaces as one space; its scale and components are fitted to each training part.

    Raises OptionError if there are fewer than two spaces.
    """

    network, layer, pool = JOINED, ALL_LAYERS, ""
    fitted_in_folds = True

    def __init__(self, spaces: Sequence[FeatureSpace], fold_ids: IntArray) -> None:
        if len(spaces) < 2:
            raise OptionError(f"joining takes at least two layers; got {len(spaces)}; name more, or join none")
        self._spaces, self._fold_ids = spaces, fold_ids

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return the joined features, (n_train + n_test, rank), fitted without the folds ``excluded``."""
        train_rows = np.flatnonzero(~np.isin(self._fold_ids, excluded))
        return joined_scores((space.scores(excluded) for space in self._spaces), train_rows)


def joined_scores(layers: Iterable[FloatArray], train_rows: IntArray) -> FloatArray:
    """Return the principal components of layers side by side, each of mean squared norm 1 over the training stimuli.

    Raises ShapeError if the layers have different numbers of stimuli; DataError if no layer varies over the training
    stimuli, or features are not finite.

    Parameters
    ----------
    layers : iterable of ndarray of shape (n_stimuli, p_b)
        A layer that does not vary over the training stimuli adds nothing.
    train_rows : ndarray of int, shape (n_train,)
        Stimuli by which layers are centred and scaled, and to which the components are fitted.

    Returns
    -------
    scores : ndarray of shape (n_stimuli, rank)
        Of all stimuli; rank is at most n_train - 1.
    """
    gram: FloatArray = np.zeros((0, 0))
    for X in layers:
        if not gram.size:
            gram = np.zeros((len(X), len(X)))
        check_shape("features of each layer", X, ("n_stimuli", "p"), (len(gram), None))
        train = np.asarray(X[train_rows], dtype=np.float64)
        centred = np.asarray(X, dtype=np.float64) - train.mean(axis=0)
        # Compared exactly: the computed variance of constant features may be rounding instead of 0.
        centred[:, (train == train[:1]).all(axis=0)] = 0.0
        gram += centred @ (centred.T / mean_squared_norm(centred[train_rows]))
    return pca_scores(gram, train_rows, PCAOptions(where=" of all layers joined")).scores
