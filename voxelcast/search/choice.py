"""Choice among the parameters tried, by each voxel or by the ROI: the best, or the simplest that is nearly as good.

References
----------
.. [1] Breiman, L., Friedman, J. H., Olshen, R. A. & Stone, C. J. Classification and Regression Trees, section 3.4.3.
   Wadsworth (1984). doi:10.1201/9781315139470
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.search.settings import Rule

TIE = 1e-12
"""Scores (of size 1) that differ by no more are equal: what is left is rounding, which is not to decide anything."""


@dataclass(frozen=True)
class Choice:
    """The parameters that each of several units (voxels, or the ROI as one) takes.

    Parameters
    ----------
    score : ndarray of shape (n_units,)
        Of the best parameters, its mean over folds; -inf where no parameters has one.
    pick : ndarray of shape (n_units,), int
        Place of the parameters taken.
    """

    score: FloatArray
    pick: IntArray


def choose(mean: FloatArray, error: FloatArray, order: IntArray, rule: Rule) -> Choice:
    """Choose a set of parameters for each unit.

    Parameters
    ----------
    mean, error : ndarray of shape (n_params, n_units)
        Mean score over folds and its standard error; NaN where there is none.
    order : ndarray of shape (n_params,)
        Places of the parameters from the simplest to the most complex.
    rule : str
        ``"best"``, or ``"one_standard_error"`` [1]_; see `voxelcast.search.parameters.SelectionSettings`.
    """
    # A NaN compares as worse than anything; of equals the first is taken, here the simplest.
    scores = np.where(np.isnan(mean), -np.inf, mean)[order]
    units = np.arange(scores.shape[1])
    top = scores.argmax(axis=0)
    best = scores[top, units]
    slack = np.full(len(units), TIE)
    if rule == "one_standard_error":
        slack = np.maximum(np.nan_to_num(error[order][top, units]), TIE)
    taken = (scores >= best - slack).argmax(axis=0)
    return Choice(best, order[taken])


def first_best(scores: FloatArray) -> IntArray:
    """Return the index of the best along the first axis, the first of equals."""
    best: IntArray = (scores >= scores.max(axis=0) - TIE).argmax(axis=0)
    return best


def simplest_first(complexity: IntArray | None, n_params: int) -> IntArray:
    """Return the parameters' places from the simplest to the most complex; without ``complexity`` as they are."""
    return np.arange(n_params) if complexity is None else np.argsort(complexity, kind="stable")
