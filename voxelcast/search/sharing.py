"""Targets shared across subjects: components that the subjects' responses to the same stimuli have in common.

The responses of all subjects in a ROI, centred and scaled to unit variance voxel by voxel and set side by side, have
the singular value decomposition ``[Z_1 ... Z_S] = U diag(s) V'`` over the training stimuli. The first k columns of U
are the shared components. An encoder predicts them, and a subject's own regression on them, U'Y_s, takes its
predictions back to its voxels [1]_. For an encoder that is linear in the responses (ridge, OLS, kernel ridge) that is
the same as fitting it to the projected responses U U'Y_s, and that is what is done for every encoder here: noise
that subjects do not share leaves the targets, the more the more subjects and voxels there are.

References
----------
.. [1] Izenman, A. J. Reduced-rank regression for the multivariate linear model. Journal of Multivariate Analysis 5,
   248-264 (1975). doi:10.1016/0047-259X(75)90042-1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import OptionError


@dataclass(frozen=True)
class Sharing:
    """Responses of other subjects that help to say what is common.

    Parameters
    ----------
    components : int
        How many shared components the responses are projected on.
    others : sequence of ndarray of shape (n_train, q_s)
        Responses of each other subject to the same training stimuli, in the same order.
    """

    components: int
    others: Sequence[FloatArray]


def shared_components(Ys: Sequence[FloatArray], k: int) -> FloatArray:
    """Return the first k components that the subjects share, ndarray of shape (n, k), orthonormal and of mean 0.

    Raises OptionError if the responses do not span k components.

    Parameters
    ----------
    Ys : sequence of ndarray of shape (n, q_s)
        Training responses of each subject to the same n stimuli. A constant voxel counts for nothing.
    """
    for Y in Ys:
        check_shape("responses of each subject", Y, ("n_train", "n_voxels"), (len(Ys[0]), None))
        check_finite("responses of each subject", Y, "leave out those voxels or stimuli")
    n, n_voxels = len(Ys[0]), sum(Y.shape[1] for Y in Ys)
    gram = sum((Z @ Z.T for Z in map(_standardised, Ys)), start=np.zeros((n, n)))
    values, vectors = np.linalg.eigh(gram)
    rank = int((values > max(n, n_voxels) * np.finfo(np.float64).eps * max(values[-1], 0.0)).sum())
    if not 1 <= k <= rank:
        raise OptionError(
            f"share.components must be 1 to {rank}, the rank of the {n_voxels} voxels' responses to {n} training "
            f"stimuli; got {k}; lower it"
        )
    return np.asarray(vectors[:, ::-1][:, :k])


def _standardised(Y: FloatArray) -> FloatArray:
    """Centre each voxel and divide it by its standard deviation; a constant one becomes 0."""
    Yc: FloatArray = np.asarray(Y, dtype=np.float64) - Y.mean(axis=0)
    scale = Yc.std(axis=0)
    Yc /= np.where(scale > 1e-12 * np.abs(Y).max(axis=0, initial=0.0), scale, np.inf)
    return Yc
