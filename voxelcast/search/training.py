"""Training moments and held-out features of one feature space, for any set of folds left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Protocol

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import OptionError, ShapeError
from voxelcast.encoders.base import Moments
from voxelcast.search.base import FeatureSpace, space_names
from voxelcast.search.path_scores import HeldOut, held_out
from voxelcast.search.sharing import Sharing, shared_components

# Moments of one feature space that are kept for the next encoder, in bytes.
_KEPT_BYTES = 256 * 2**20


class PairData:
    """The responses of one subject x ROI and their folds, prepared once for all feature spaces.

    Parameters
    ----------
    Y : ndarray of shape (n_train, q)
    fold_ids : ndarray of shape (n_train,)
    n_folds : int
    sharing : Sharing, optional
        Project what models are fitted to on components shared with other subjects; scores stay those of ``Y``.
    """

    def __init__(self, Y: FloatArray, fold_ids: IntArray, n_folds: int, sharing: Sharing | None = None) -> None:
        self.Y: FloatArray = np.ascontiguousarray(Y, dtype=np.float64)
        self.n_train = int(self.Y.shape[0])
        self.fold_ids = fold_ids
        self.n_folds = n_folds
        self.rows = [np.flatnonzero(fold_ids == fold) for fold in range(n_folds)]
        self.y_mean = self.Y.mean(axis=0)
        self.Yc = self.Y - self.y_mean
        sums = [(part.sum(axis=0), np.einsum("ij,ij->j", part, part)) for part in (self.Yc[rows] for rows in self.rows)]
        self.fold_sums, self.fold_squares = np.stack([s for s, _ in sums]), np.stack([s for _, s in sums])
        self.held_out: list[HeldOut] = [held_out(self.Y[rows]) for rows in self.rows]
        self._low = np.stack([self.Y[rows].min(axis=0) for rows in self.rows])
        self._high = np.stack([self.Y[rows].max(axis=0) for rows in self.rows])
        self._flat = np.flatnonzero((self._low == self._high).any(axis=0))
        self.sharing = sharing
        for other in sharing.others if sharing else ():
            check_shape("responses of each other subject", other, ("n_train", "n_voxels"), (self.n_train, None))
        self._shared: dict[tuple[int, ...], FloatArray] = {}

    def size(self, excluded: tuple[int, ...]) -> int:
        """Return the number of training stimuli outside the folds ``excluded``."""
        return self.n_train - sum(len(self.rows[fold]) for fold in excluded)

    def constant(self, excluded: tuple[int, ...]) -> IntArray:
        """Return the voxels that do not vary outside the folds ``excluded``.

        They need to be known by their values: what their moments are, as differences of sums in which the folds left
        out have a part, is rounding.
        """
        kept = [fold for fold in range(self.n_folds) if fold not in excluded]
        flat = self._flat  # few or none
        constant: IntArray = flat[self._low[kept][:, flat].min(axis=0) == self._high[kept][:, flat].max(axis=0)]
        return constant

    def squares(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return each voxel's sum of squared responses outside the folds ``excluded``, minus their means."""
        folds = [fold for fold in range(self.n_folds) if fold not in excluded]
        sums = self.fold_sums[folds].sum(axis=0)
        squares: FloatArray = self.fold_squares[folds].sum(axis=0) - np.square(sums) / self.size(excluded)
        squares[self.constant(excluded)] = 0.0
        return squares

    def responses(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the responses to the training stimuli outside the folds ``excluded``, minus their means."""
        kept: FloatArray = self.Yc[~np.isin(self.fold_ids, excluded)]
        kept -= kept.mean(axis=0)
        kept[:, self.constant(excluded)] = 0.0
        return kept

    @cached_property
    def _all_products(self) -> FloatArray:
        products: FloatArray = self.Yc.T @ self.Yc
        return products

    def products(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return Y'Y, ndarray of shape (q, q), of the responses outside the folds ``excluded``, minus their means."""
        products = self._all_products.copy()
        for fold in excluded:
            left_out = self.Yc[self.rows[fold]]
            products -= left_out.T @ left_out
        sums = self.fold_sums[list(excluded)].sum(axis=0)
        products -= np.outer(sums, sums) / self.size(excluded)
        constant = self.constant(excluded)
        products[constant], products[:, constant] = 0.0, 0.0
        return products

    def moments(
        self, excluded: tuple[int, ...], x_mean: FloatArray, y_mean: FloatArray, S: FloatArray, C: FloatArray
    ) -> Moments:
        """Join what the responses add to the moments of the training stimuli outside the folds ``excluded``.

        ``y_mean`` and ``C`` become exact for voxels that are constant there, in place.
        """
        constant = self.constant(excluded)
        if constant.size:
            kept = next(fold for fold in range(self.n_folds) if fold not in excluded)
            y_mean[constant], C[:, constant] = self._low[kept, constant], 0.0
        return Moments(
            n=self.size(excluded),
            x_mean=x_mean,
            y_mean=y_mean,
            S=S,
            C=C,
            responses=lambda: self.responses(excluded),
            response_squares=lambda: self.products(excluded),
            y_squares=self.squares(excluded),
        )

    def shared(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the shared components, (n, k), estimated on the training stimuli outside the folds ``excluded``."""
        if self.sharing is None:
            raise OptionError("shared components need the responses of other subjects; got none; give sharing")
        if excluded not in self._shared:
            kept = ~np.isin(self.fold_ids, excluded)
            Ys = [self.Y[kept], *(other[kept] for other in self.sharing.others)]
            self._shared[excluded] = shared_components(Ys, self.sharing.components)
        return self._shared[excluded]

    def targets(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return what models are fitted to: responses outside the folds ``excluded``, projected if subjects share."""
        if self.sharing is None:
            targets: FloatArray = self.Y[~np.isin(self.fold_ids, excluded)]
            return targets
        U, Y = self.shared(excluded), self.Y[~np.isin(self.fold_ids, excluded)]
        return np.asarray(U @ (U.T @ Y) + Y.mean(axis=0))


class Training(Protocol):
    """What a search asks of a feature space."""

    n_features: int

    def moments(self, excluded: tuple[int, ...]) -> Moments:
        """Return the moments of the training stimuli outside the folds ``excluded`` (ascending)."""

    def samples(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the features, of shape (n, p), of the training stimuli outside the folds ``excluded``."""

    def features(self, excluded: tuple[int, ...], fold: int) -> FloatArray:
        """Return the features of ``fold``, of shape (n_fold, p), as compressed without the folds ``excluded``."""


def training(space: FeatureSpace, data: PairData) -> Training:
    """Return the quickest way to the training moments that the space allows.

    Raises
    ------
    ShapeError
        If the space has fewer rows than there are training stimuli.
    DataError
        If a feature is not finite.
    """
    plain = _RefittedTraining(space, data) if space.fitted_in_folds else _FixedTraining(space, data)
    return plain if data.sharing is None else _SharedTraining(plain, data)


def checked_scores(space: FeatureSpace, excluded: tuple[int, ...], n_train: int) -> FloatArray:
    """Return the features of all stimuli in float64, after a look at their shape and values."""
    X = np.asarray(space.scores(excluded), dtype=np.float64)
    name = " ".join(space_names(space))
    if X.ndim != 2 or X.shape[0] < n_train or X.shape[1] == 0:
        raise ShapeError(
            f"features of {name} must have shape (n_train + n_test, n_components) with n_train={n_train}; got {X.shape}"
        )
    check_finite(f"features of {name}", X)
    return X


class _Kept:
    """Moments that were asked for already, as long as they take little memory: every encoder asks for the same ones."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], Moments] = {}
        self._bytes = 0

    def get(self, excluded: tuple[int, ...], compute: Callable[[tuple[int, ...]], Moments]) -> Moments:
        """Return the moments without the folds ``excluded``, computed if they were not kept."""
        found = self._kept.get(excluded)
        if found is None:
            found = compute(excluded)
            size = found.C.nbytes + 2 * found.S.nbytes
            if self._bytes + size <= _KEPT_BYTES:
                self._kept[excluded] = found
                self._bytes += size
        return found


class _RefittedTraining:
    """Moments of features that are compressed anew for every training part.

    A training part of lower rank than the whole has fewer components; those it lacks are columns of zeros. One of
    higher rank (by rounding) loses its last ones.
    """

    def __init__(self, space: FeatureSpace, data: PairData) -> None:
        self._space, self._data = space, data
        self._last: tuple[tuple[int, ...], FloatArray] | None = None
        self._kept = _Kept()
        self.n_features = int(checked_scores(space, (), data.n_train).shape[1])

    def _scores(self, excluded: tuple[int, ...]) -> FloatArray:
        # One set of folds is asked for several times in a row: moments, then the features of each fold.
        if self._last is None or self._last[0] != excluded:
            found = checked_scores(self._space, excluded, self._data.n_train)[: self._data.n_train, : self.n_features]
            X = np.zeros((self._data.n_train, self.n_features))
            X[:, : found.shape[1]] = found
            self._last = (excluded, X)
        return self._last[1]

    def moments(self, excluded: tuple[int, ...]) -> Moments:
        """Compute them directly; the rows left out are zeros, so that the responses need not be copied."""
        return self._kept.get(excluded, self._moments)

    def _moments(self, excluded: tuple[int, ...]) -> Moments:
        data, X = self._data, self._scores(excluded)
        keep = ~np.isin(data.fold_ids, excluded)
        n = data.size(excluded)
        x_mean = X[keep].mean(axis=0)
        Xc = np.where(keep[:, None], X - x_mean, 0.0)
        y_mean = data.y_mean - data.fold_sums[list(excluded)].sum(axis=0) / n
        S, C = Xc.T @ Xc, Xc.T @ data.Yc
        return data.moments(excluded, x_mean, y_mean, S, C)

    def features(self, excluded: tuple[int, ...], fold: int) -> FloatArray:
        """Return the rows of the fold."""
        return self._scores(excluded)[self._data.rows[fold]]

    def samples(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the rows outside the folds left out."""
        samples: FloatArray = self._scores(excluded)[~np.isin(self._data.fold_ids, excluded)]
        return samples


class _FixedTraining:
    """Moments of features that are the same in all folds: all stimuli's moments minus those of the folds left out.

    The data are centred on the means of all training stimuli first, so that the subtraction loses nothing to large
    means. Holds (n_folds + 1) * p * q numbers, and moments of p * q numbers each up to 256 MiB in all.
    """

    def __init__(self, space: FeatureSpace, data: PairData) -> None:
        X = checked_scores(space, (), data.n_train)[: data.n_train]
        self._kept = _Kept()
        self._X, self._data, self._x_mean = X, data, X.mean(axis=0)
        self.n_features = X.shape[1]
        parts = [X[rows] - self._x_mean for rows in data.rows]
        self._sums = np.stack([part.sum(axis=0) for part in parts])
        self._squares = np.stack([part.T @ part for part in parts])
        self._products = np.stack([part.T @ data.Yc[rows] for part, rows in zip(parts, data.rows, strict=True)])
        self._S, self._C = self._squares.sum(axis=0), self._products.sum(axis=0)

    def moments(self, excluded: tuple[int, ...]) -> Moments:
        """Subtract what the folds left out contribute."""
        return self._kept.get(excluded, self._moments)

    def _moments(self, excluded: tuple[int, ...]) -> Moments:
        data, folds, n = self._data, list(excluded), self._data.size(excluded)
        x_sum, y_sum = self._sums[folds].sum(axis=0), data.fold_sums[folds].sum(axis=0)
        S, C = self._S.copy(), self._C.copy()
        for fold in folds:
            S -= self._squares[fold]
            C -= self._products[fold]
        # The sums over the remaining stimuli are minus those over the stimuli left out.
        S -= np.outer(x_sum, x_sum) / n
        C -= np.outer(x_sum, y_sum) / n
        x_mean, y_mean = self._x_mean - x_sum / n, data.y_mean - y_sum / n
        return data.moments(excluded, x_mean, y_mean, S, C)

    def features(self, excluded: tuple[int, ...], fold: int) -> FloatArray:
        """Return the rows of the fold."""
        return self._X[self._data.rows[fold]]

    def samples(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the rows outside the folds left out."""
        samples: FloatArray = self._X[~np.isin(self._data.fold_ids, excluded)]
        return samples


class _SharedTraining:
    """Moments with responses projected on the components that subjects share, which no fold left out has a part in."""

    def __init__(self, plain: Training, data: PairData) -> None:
        self._plain, self._data = plain, data
        self._kept = _Kept()
        self.n_features = plain.n_features

    def moments(self, excluded: tuple[int, ...]) -> Moments:
        """Project by way of the components: no copy of the responses is kept."""
        return self._kept.get(excluded, self._moments)

    def _moments(self, excluded: tuple[int, ...]) -> Moments:
        stats, U, data = self._plain.moments(excluded), self._data.shared(excluded), self._data
        loadings = U.T @ data.responses(excluded)
        C = ((self._plain.samples(excluded) - stats.x_mean).T @ U) @ loadings
        return replace(
            stats,
            C=C,
            responses=lambda: U @ loadings,
            response_squares=lambda: loadings.T @ loadings,
            y_squares=np.square(loadings).sum(axis=0),
        )

    def features(self, excluded: tuple[int, ...], fold: int) -> FloatArray:
        """Return the rows of the fold."""
        return self._plain.features(excluded, fold)

    def samples(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the rows outside the folds left out."""
        return self._plain.samples(excluded)
