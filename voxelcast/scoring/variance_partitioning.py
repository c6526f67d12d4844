"""Which part of the explained variance belongs to one set of features alone, and which to several in common."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.scoring.correlation import constant_columns

Sets = frozenset[str]


def fold_r2(Y: FloatArray, P: FloatArray, fold_ids: IntArray) -> FloatArray:
    """Return the share of each voxel's variance within folds that the predictions explain.

    ``R2 = 1 - sum((d - mean of d in its fold)**2) / sum((y - mean of y in its fold)**2)``, d = y - p, sums over all
    stimuli. Unlike the square of r it falls, below 0 even, where predictions have the wrong scale, so shares of several
    models can be subtracted. Like r within folds it takes no notice of a fold's offset: a model that predicts its
    training mean has 0. Without that it would have -1 / (n - 1) with n stimuli in a fold, and parts that do not cancel
    it, such as shared variance, would be as much too low. Raises ShapeError if the shapes differ.

    Parameters
    ----------
    Y, P : ndarray of shape (n_stimuli, n_voxels)
        Measured responses and out-of-fold predictions.
    fold_ids : ndarray of shape (n_stimuli,)

    Returns
    -------
    r2 : ndarray of shape (n_voxels,)
        At most 1; NaN where responses are constant within every fold.
    """
    Y, P = np.asarray(Y, dtype=np.float64), np.asarray(P, dtype=np.float64)
    if Y.ndim != 2 or Y.shape != P.shape:
        raise ShapeError(f"Y and P must both have shape (n_stimuli, n_voxels); got {Y.shape} and {P.shape}")
    check_shape("fold_ids", fold_ids, ("n_stimuli",), (Y.shape[0],))
    total, left, varies = np.zeros(Y.shape[1]), np.zeros(Y.shape[1]), np.zeros(Y.shape[1], dtype=bool)
    for fold in np.unique(fold_ids):
        held = fold_ids == fold
        y, d = Y[held], Y[held] - P[held]
        total += ((y - y.mean(axis=0)) ** 2).sum(axis=0)
        left += ((d - d.mean(axis=0)) ** 2).sum(axis=0)
        varies |= ~constant_columns(y)
    unexplained = np.divide(left, total, out=np.full(Y.shape[1], np.nan), where=varies)
    return np.asarray(1.0 - unexplained)


def partition_variance(r2: Mapping[Sets, FloatArray]) -> dict[Sets, FloatArray]:
    """Divide the variance that all sets of features explain together into what is unique and what is shared.

    With R2(M) of the model on the sets M, and U all sets, the part that exactly the sets in S have in common is
    (commonality analysis [1]_, as in [2]_)::

        part(S) = sum over T within S of  (-1)**(|T| + 1)  R2((U - S) + T),        R2(no set) = 0

    For S = {A} that is unique variance, R2(U) - R2(U without A); for two sets, the shared part is R2(A) + R2(B) - R2(A
    + B). The parts sum to R2(U). Shared parts may be negative: sets that explain more together than the sum of each
    alone (suppression), or by chance where R2 are estimates. Raises OptionError if there are fewer than two sets, or a
    combination that is needed is missing; DataError if the numbers of voxels differ.

    Parameters
    ----------
    r2 : mapping of frozenset of str to ndarray of shape (n_voxels,)
        R2 of the model on each combination of sets, from the same folds (`fold_r2`): of every combination (3 for two
        sets, 7 for three), or only of all sets together and of all but one.

    Returns
    -------
    parts : dict of frozenset of str to ndarray of shape (n_voxels,)
        The part of each combination; where only those but one are given, the unique parts alone.

    References
    ----------
    .. [1] Seibold, D. R. & McPhee, R. D. Commonality analysis: a method for decomposing explained variance in multiple
       regression analyses. Human Communication Research 5, 355-365 (1979). doi:10.1111/j.1468-2958.1979.tb00649.x
    .. [2] Lescroart, M. D., Stansbury, D. E. & Gallant, J. L. Fourier power, subjective distance, and object categories
       all provide plausible models of BOLD responses in scene-selective visual areas. Frontiers in Computational
       Neuroscience 9, 135 (2015). doi:10.3389/fncom.2015.00135
    """
    everything = frozenset().union(*r2) if r2 else frozenset()
    names = sorted(everything)
    if len(names) < 2:
        raise OptionError(f"variance is divided between at least 2 sets of features; got {len(names)}")
    sizes = {np.shape(values) for values in r2.values()}
    if len(sizes) > 1:
        raise DataError(f"all R2 must be of the same voxels; got shapes {', '.join(map(str, sorted(sizes)))}")
    every = [frozenset(chosen) for size in range(1, len(names) + 1) for chosen in combinations(names, size)]
    complete = all(chosen in r2 for chosen in every)
    needed = every if complete else [everything, *(everything - {name} for name in names)]
    missing = [" + ".join(sorted(chosen)) for chosen in needed if chosen not in r2]
    if missing:
        raise OptionError(
            f"R2 of {missing[0]} is missing; give it of all sets, and of all but each one (for unique parts), or of "
            "every combination (for shared parts too)"
        )
    known = {frozenset[str](): np.zeros(next(iter(sizes))), **r2}
    return {chosen: _part(chosen, everything, known) for chosen in every if complete or len(chosen) == 1}


def _part(chosen: Sets, everything: Sets, r2: Mapping[Sets, FloatArray]) -> FloatArray:
    rest = everything - chosen
    within = (frozenset(part) for size in range(len(chosen) + 1) for part in combinations(sorted(chosen), size))
    return np.asarray(sum((-1) ** (len(part) + 1) * np.asarray(r2[rest | part], dtype=np.float64) for part in within))
