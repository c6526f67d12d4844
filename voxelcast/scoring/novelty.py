"""Is a stimulus like those that a model learnt from? Its distance from them in the model's own features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError

MOST_COMPONENTS: Final = 50
"""Leading components that count: of a quarter as many as there are stimuli the covariance is known well."""
ALARM: Final = 0.01
"""A stimulus is called unlike the training stimuli where fewer of them lie as far out, or none does."""


@dataclass(frozen=True, eq=False)
class Novelty:
    """How far training stimuli lie from each other, by which new ones are judged.

    Parameters
    ----------
    mean : ndarray of shape (n_leading,)
        Of the training stimuli's leading components.
    root : ndarray of shape (n_leading, n_leading)
        Square root of their precision, ``root root'``.
    reference : ndarray of shape (n_train,)
        Squared distances of training stimuli from those of the other folds, sorted.
    """

    mean: FloatArray
    root: FloatArray
    reference: FloatArray

    def judge(self, components: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return distance and p of stimuli, each of shape (n_stimuli,).

        The distance is in units of the median training stimulus'; p is the share of training stimuli at least as far
        out, the new one counted: ``(b + 1) / (n + 1)``. Of stimuli drawn as the training stimuli were, a share of at
        most p has such a p. Raises ShapeError or DataError for components that do not fit.
        """
        components = np.asarray(components, dtype=np.float64)
        check_shape("components", components, ("n_stimuli", "n_components"), (None, None))
        if components.shape[1] < len(self.mean):
            raise DataError(f"a stimulus must have {len(self.mean)} components; got {components.shape[1]}")
        squared = _squared(components, self.mean, self.root)
        n = len(self.reference)
        reached = n - np.searchsorted(self.reference, squared, side="left")
        return np.sqrt(squared / np.median(self.reference)), (reached + 1) / (n + 1)

    @property
    def alarm(self) -> float:
        """The p up to which a stimulus is called unlike: `ALARM`, or the least there is of few training stimuli."""
        return max(ALARM, 1 / (len(self.reference) + 1))

    def is_unlike(self, p: FloatArray) -> BoolArray:
        """Tell which stimuli are called unlike the training stimuli, by their p."""
        return np.asarray(p <= self.alarm + 1e-12)

    def arrays(self) -> dict[str, FloatArray]:
        """Return what is to be stored."""
        return {"novelty_mean": self.mean, "novelty_root": self.root, "novelty_reference": self.reference}

    @classmethod
    def of_arrays(cls, stored: Mapping[str, FloatArray]) -> Novelty:
        """Make it again from `arrays`."""
        return cls(*(np.asarray(stored[f"novelty_{name}"]) for name in ("mean", "root", "reference")))


def fit_novelty(
    components: FloatArray, fold_ids: IntArray, without: Callable[[tuple[int, ...]], FloatArray] | None = None
) -> Novelty:
    """Learn how far training stimuli lie from each other.

    The squared distance of a stimulus with components x from stimuli of mean m and covariance S is
    ``(x - m)' S^-1 (x - m)`` (Mahalanobis): what the model saw little of counts much. Only the leading components
    count, at most `MOST_COMPONENTS` and a quarter as many as there are stimuli: of the last ones, which noise fills,
    every new stimulus would seem far. That S comes from few stimuli is allowed for, as of normal components.

    New stimuli are compared with those of each fold, as far as these lie from the stimuli of all other folds, in
    components that those alone had part in. Components of more stimuli show more of a new one: mean distances grow
    as a power of the number of stimuli, which two folds left out instead of one tell, and are brought to all n by it.

    Raises ShapeError or DataError if shapes do not fit, values are not finite, or stimuli are fewer than 12.

    Parameters
    ----------
    components : ndarray of shape (n_train, n_components)
        Of the training stimuli, in descending order of what they explain.
    fold_ids : ndarray of shape (n_train,)
        At least three folds.
    without : callable, optional
        Takes one or two folds and returns all training stimuli's components fitted without them; default: the same.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> novelty = fit_novelty(rng.standard_normal((200, 5)), np.arange(200) % 10)
    >>> distance, p = novelty.judge(np.array([[0, 0, 0, 0, 0], [9, 0, 0, 0, 0]]))
    >>> distance.round(), novelty.is_unlike(p)
    (array([0., 5.]), array([False,  True]))
    """
    components = np.asarray(components, dtype=np.float64)
    check_shape("components", components, ("n_train", "n_components"), (None, None))
    check_shape("fold_ids", fold_ids, ("n_train",), (len(components),))
    folds, n = [int(fold) for fold in np.unique(fold_ids)], len(components)
    n_leading = min(components.shape[1], MOST_COMPONENTS, round(n * (1 - 2 / len(folds))) // 4)
    if n_leading < 1 or n < 12 or len(folds) < 3:
        raise DataError(f"novelty needs at least 12 training stimuli in 3 folds; got {n} in {len(folds)}")
    reference, of_fewer = np.empty(n), np.empty(n)
    for fold, other in zip(folds, folds[1:] + folds[:1], strict=True):
        held = fold_ids == fold
        for out, left_out in ((reference, (fold,)), (of_fewer, tuple(sorted((fold, other))))):
            own = components if without is None else without(left_out)
            out[held] = _squared(own[held], *_location(own[~np.isin(fold_ids, left_out)], n_leading))
    fewer, least = 1 - 1 / len(folds), 1 - 2 / len(folds)
    growth = np.log(reference.mean() / of_fewer.mean()) * np.log(fewer) / np.log(least / fewer)
    return Novelty(*_location(components, n_leading), np.sort(reference * np.exp(growth)))


def _location(components: FloatArray, n_leading: int) -> tuple[FloatArray, FloatArray]:
    leading = np.asarray(components[:, :n_leading], dtype=np.float64)
    check_finite("components", leading)
    mean = leading.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(leading.T).reshape(leading.shape[1], -1))
    (n, m), kept = leading.shape, values > values.max() * len(leading) * np.finfo(np.float64).eps
    inflation = (n + 1) * (n - 1) / (n * (n - m - 2))  # of a new normal one's, as S is of n stimuli: then m on average
    return mean, vectors * np.where(kept, 1 / np.sqrt(np.where(kept, values, 1.0) * inflation), 0.0)


def _squared(components: FloatArray, mean: FloatArray, root: FloatArray) -> FloatArray:
    return np.asarray((((components[:, : len(mean)] - mean) @ root) ** 2).sum(axis=1))
