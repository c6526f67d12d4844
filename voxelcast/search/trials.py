"""What a search of one encoder on one feature space tries, and how its scores over folds are gathered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.moments import HeldOut, roi_scores
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.scoring.correlation import Metric
from voxelcast.search.choice import Choice, choose
from voxelcast.search.evaluation_log import EvaluationLog
from voxelcast.search.settings import Rule
from voxelcast.search.training import PairData, Training


@dataclass(frozen=True)
class Task:
    """What every search of one subject x ROI shares.

    Parameters
    ----------
    nested : bool
        Whether the search is repeated inside every outer fold.
    metric : str
        What parameters are compared by.
    voxel_rule : str or None
        By which rule each voxel chooses for itself; None: the ROI chooses.
    log : EvaluationLog or None
        What an earlier, killed search by proposals has computed.
    trained : bool
        Whether the encoder is trained in steps, and so has no inner folds of ``folds.inner`` 0.
    stop : bool
        See `voxelcast.search.settings.SearchSettings`.
    """

    data: PairData
    nested: bool = True
    metric: Metric = "pearson_r"
    voxel_rule: Rule | None = None
    log: EvaluationLog | None = None
    trained: bool = False
    stop: bool = True

    @property
    def outers(self) -> tuple[int | None, ...]:
        """None, for the search over all folds, and the outer folds."""
        return (None, *range(self.data.n_folds if self.nested else 0))

    def inner_folds(self, outer: int | None) -> list[int]:
        """Return the folds on which an outer fold's search judges."""
        return self.data.inner_folds(outer, trained=self.trained)

    def size(self, n_features: int) -> ProblemSize:
        """Return the sizes of the smallest training part in which parameters are to be tried."""
        sizes = sorted(len(rows) for rows in self.data.rows)
        smallest = self.data.n_train - sum(sizes[-2:] if self.nested else sizes[-1:])
        return ProblemSize(smallest, n_features, self.data.Y.shape[1])


@dataclass(frozen=True)
class Trials:
    """The parameters tried of one encoder on one feature space, with their scores.

    Parameters
    ----------
    scores : ndarray of shape (n_params, n_folds), or (n_params, n_folds - 1) inside an outer fold
        On each fold, from a model fitted without it. Inside an outer fold j, only on the other folds, ascending, and
        fitted without j too.
    voxels : Choice, optional
        Which of the parameters each voxel takes, where voxels choose for themselves.
    complexity : ndarray of shape (n_params,), optional
        Rank of each from the simplest to the most complex; None: they are in that order.
    n_features : int, optional
        How many of the layer's features the models were given, the first ones; None: all.
    """

    params_list: tuple[Params, ...]
    scores: FloatArray
    voxels: Choice | None = None
    complexity: IntArray | None = None
    n_features: int | None = None


class Tally:
    """Scores over folds: the mean over voxels in each fold and, where voxels choose, the sums of each voxel's.

    Parameters
    ----------
    shape : tuple of int
        (n_params, n_voxels).
    """

    def __init__(self, shape: tuple[int, int], *, per_voxel: bool) -> None:
        self._means: list[FloatArray] = []
        self._sums = (np.zeros(shape), np.zeros(shape), np.zeros(shape[1])) if per_voxel else None

    def add(self, scores: FloatArray, responses: HeldOut) -> None:
        """Add a fold's scores, ndarray of shape (n_params, n_voxels); see `Encoder.evaluate`."""
        self._means.append(roi_scores(scores, responses))
        if self._sums is not None:
            total, squares, count = self._sums
            known = np.where(np.isnan(scores), 0.0, scores)
            total += known
            squares += known * known
            count += responses.varies

    @property
    def n_folds(self) -> int:
        """Number of folds added."""
        return len(self._means)

    def fold_means(self) -> FloatArray:
        """Return the mean over voxels in each fold, ndarray of shape (n_params, n_folds)."""
        return np.stack(self._means, axis=1)

    def choice(self, order: IntArray, rule: Rule) -> Choice:
        """Let each voxel choose by its mean over folds; see `voxelcast.search.choice.choose`.

        A fold in which a voxel's predictions are constant counts as 0; responses that are constant in all folds leave
        it without a score.
        """
        assert self._sums is not None
        total, squares, folds = self._sums
        count = np.where(folds > 0, folds, np.nan)
        mean = total / count
        variance = np.maximum(squares / count - mean * mean, 0.0) / np.where(count > 1, count - 1, np.nan)
        return choose(mean, np.sqrt(variance), order, rule)


def complexity(encoder: Encoder, params_list: Sequence[Params], grid: Sequence[Params] = ()) -> IntArray:
    """Rank parameters from the simplest to the most complex: by their index in the grid, or by `Encoder.order`."""
    if grid:
        return np.array([grid.index(params) for params in params_list])
    ranked = sorted(range(len(params_list)), key=lambda k: encoder.order(params_list[k]))
    return np.argsort(ranked)


def usable_features(encoder: Encoder, training: Training, task: Task) -> int:
    """Return how many features a proposal may ask for: where an encoder counts them, the smallest rank in its use.

    (The exhaustive search needs no rank: models beyond it are the same to the bit, and the one with the fewest wins.)
    """
    if not encoder.limited_by_rank:
        return training.n_features
    left_out = combinations(range(task.data.n_folds), 2 if task.nested else 1)
    parts = (training.moments(excluded, rotated=encoder.rotates).numpy().S for excluded in left_out)
    ranks = [np.linalg.matrix_rank(S, hermitian=True) for S in parts]
    return max(int(min(ranks)), 1)  # a layer that does not vary has one model, the mean


def without(fold: int, outer: int | None) -> tuple[int, ...]:
    """Return the folds left out of a fit that is scored on ``fold``, ascending."""
    return (fold,) if outer is None else (min(fold, outer), max(fold, outer))


OuterTrials = Iterator[tuple[int | None, Trials]]
"""The outer fold (None: plain cross-validation) and what was tried in it."""
