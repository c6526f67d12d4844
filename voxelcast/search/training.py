"""Training moments and held-out features of one feature space, for any set of folds left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import (
    FloatArray,
    IntArray,
    column_products,
    double,
    like,
    namespace,
    products,
    put,
    single,
    to_numpy,
)
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import OptionError, ShapeError
from voxelcast.encoders.moments import HeldOut, Moments, held_out, span
from voxelcast.scoring.correlation import voxel_scores
from voxelcast.search.base import FeatureSpace, space_names
from voxelcast.search.settings import Precision
from voxelcast.search.sharing import Sharing, shared_components

# Moments of one feature space that are kept for the next encoder, in bytes.
KEPT_BYTES = 256 * 2**20
FINITE = "leave out those voxels or stimuli"


class PairData:
    """The responses of one subject x ROI and their folds, prepared once for all feature spaces.

    Parameters
    ----------
    Y : ndarray of shape (n_train, q)
    fold_ids : ndarray of shape (n_train,)
    sharing : Sharing, optional
        Project what models are fitted to on components shared with other subjects; scores stay those of ``Y``.
    inner : int, optional
        See `voxelcast.search.settings.FoldSettings`.
    device : str
        Where moments are; ``held_out`` and ``Yc``, the responses minus their means, are there, too.
    precision : str
        Of ``Yc`` and of the responses ``held_out``: float32 halves them, and features are multiplied with them in it.
    """

    def __init__(
        self,
        Y: FloatArray,
        fold_ids: IntArray,
        n_folds: int,
        sharing: Sharing | None = None,
        inner: int | None = None,
        device: str = "cpu",
        precision: Precision = "float64",
    ) -> None:
        self.inner, self.device = inner, device
        self.Y: FloatArray = np.ascontiguousarray(Y, dtype=np.float64)
        self.n_train = int(self.Y.shape[0])
        self.fold_ids = fold_ids
        self.n_folds = n_folds
        self.rows = [np.flatnonzero(fold_ids == fold) for fold in range(n_folds)]
        there = put(self.Y, device)
        if device != "cpu":
            check_finite("responses", there, FINITE)
        xp, y_mean = namespace(there), there.mean(axis=0)
        self.y_mean: FloatArray = to_numpy(y_mean)
        self.Yc = there - y_mean
        sums = [(part.sum(axis=0), column_products(part, part)) for part in (self.Yc[rows] for rows in self.rows)]
        self.fold_sums, self.fold_squares = (np.stack([to_numpy(one[k]) for one in sums]) for k in (0, 1))
        self.held_out: list[HeldOut] = [held_out(there[rows]) for rows in self.rows]
        self._low = np.stack([to_numpy(xp.amin(there[rows], axis=0)) for rows in self.rows])
        self._high = np.stack([to_numpy(xp.amax(there[rows], axis=0)) for rows in self.rows])
        self._flat = np.flatnonzero((self._low == self._high).any(axis=0))
        if precision == "float32":
            self.Yc = single(self.Yc)
            self.held_out = [replace(one, centred=single(one.centred)) for one in self.held_out]
        self.sharing = sharing
        for other in sharing.others if sharing else ():
            check_shape("responses of each other subject", other, ("n_train", "n_voxels"), (self.n_train, None))
        self._shared: dict[tuple[int, ...], FloatArray] = {}

    def inner_folds(self, outer: int | None, *, trained: bool = False) -> list[int]:
        """Return the folds on which an outer fold's search judges; of none, all. ``trained``: an encoder in steps."""
        return [
            fold
            for fold in range(self.n_folds)
            if outer is None or (fold != outer and is_inner(fold, outer, self.n_folds, self.inner, trained=trained))
        ]

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
        kept: FloatArray = double(self.Yc[~np.isin(self.fold_ids, excluded)])
        kept -= kept.mean(axis=0)
        kept[:, self.constant(excluded)] = 0.0
        return kept

    @cached_property
    def _all_products(self) -> FloatArray:
        return products(self.Yc, self.Yc)

    def products(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return Y'Y, ndarray of shape (q, q), of the responses outside the folds ``excluded``, minus their means."""
        found = self._all_products + 0.0
        for fold in excluded:
            left_out = self.Yc[self.rows[fold]]
            found -= products(left_out, left_out)
        sums = like(self.fold_sums[list(excluded)].sum(axis=0), found)
        found -= namespace(sums).outer(sums, sums) / self.size(excluded)
        constant = self.constant(excluded)
        found[constant], found[:, constant] = 0.0, 0.0
        return found

    def mean(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the mean responses to the training stimuli outside the folds ``excluded``, ndarray of shape (q,)."""
        return np.asarray(self.y_mean - self.fold_sums[list(excluded)].sum(axis=0) / self.size(excluded))

    def moments(self, excluded: tuple[int, ...], x_mean: FloatArray, S: FloatArray, C: FloatArray) -> Moments:
        """Join what the responses add to the moments of the training stimuli outside the folds ``excluded``.

        The mean and ``C``, in place, become exact for voxels that are constant there.
        """
        constant, y_mean = self.constant(excluded), self.mean(excluded)
        if constant.size:
            kept = next(fold for fold in range(self.n_folds) if fold not in excluded)
            y_mean[constant], C[:, constant] = self._low[kept, constant], 0.0
        responses, squared = partial(self.responses, excluded), partial(self.products, excluded)
        y_mean, squares = like(y_mean, C), like(self.squares(excluded), C)
        return Moments(self.size(excluded), x_mean, y_mean, S, C, responses, squared, squares)

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
        Y: FloatArray = self.Y[~np.isin(self.fold_ids, excluded)]
        if self.sharing is None:
            return Y
        U = self.shared(excluded)
        return np.asarray(U @ (U.T @ Y) + Y.mean(axis=0))


def is_inner(i: int, j: int, n_folds: int, inner: int | None, *, trained: bool = False) -> bool:
    """Whether fold i is an inner fold of j, and so j of i: all are, or the ``inner`` nearest in a ring.

    Of 0, encoders that are trained in steps have none, and others all.
    """
    if inner is None or (inner == 0 and not trained):
        return True
    return min(abs(i - j), n_folds - abs(i - j)) <= inner // 2


class Training(ABC):
    """Features of one layer and the responses, for any folds left out: what an encoder asks for (`FoldData`).

    Moments are kept for the next encoder as long as they take little memory: every encoder asks for the same ones.
    """

    most_bytes: ClassVar[float] = KEPT_BYTES

    def __init__(self, data: PairData, n_features: int) -> None:
        self.data, self.n_features = data, n_features
        self._kept: dict[tuple[tuple[int, ...], bool], Moments] = {}
        self._bytes = 0

    def moments(self, excluded: tuple[int, ...], *, rotated: bool = False) -> Moments:
        """Return the moments of the training stimuli outside the folds ``excluded`` (ascending).

        ``rotated``: of features that outnumber the stimuli, in the space that these span, where that saves work.
        """
        rotated = rotated and self.n_features > self.data.n_train
        found = self._kept.get((excluded, rotated))
        if found is None:
            found = self._rotated_moments(excluded) if rotated else self._moments(excluded)
            size = found.C.nbytes + 2 * found.S.nbytes
            if self._bytes + size <= self.most_bytes:
                self._kept[excluded, rotated] = found
                self._bytes += size
        return found

    def _rotated_moments(self, excluded: tuple[int, ...]) -> Moments:
        return self._moments(excluded)

    @abstractmethod
    def _moments(self, excluded: tuple[int, ...]) -> Moments: ...

    @abstractmethod
    def all_features(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the features of all training stimuli as compressed without the folds ``excluded``, (n_train, p)."""

    def samples(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the features, of shape (n, p), of the training stimuli outside the folds ``excluded``."""
        return np.asarray(self.all_features(excluded)[~np.isin(self.data.fold_ids, excluded)])

    def features(self, excluded: tuple[int, ...], fold: int) -> FloatArray:
        """Return the features of ``fold``, of shape (n_fold, p), as compressed without the folds ``excluded``."""
        return self.all_features(excluded)[self.data.rows[fold]]

    def targets(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the responses that models are fitted to, ndarray of shape (n, q)."""
        return self.data.targets(excluded)

    def held_out(self, fold: int) -> HeldOut:
        """Return the responses of a fold."""
        return self.data.held_out[fold]

    def score(self, predictions: FloatArray, fold: int, metric: str) -> FloatArray:
        """Score predictions of a fold: each voxel, ndarray of shape (q,), or all together, (1,)."""
        return voxel_scores(self.data.Y[self.data.rows[fold]], predictions, metric)


def training(space: FeatureSpace, data: PairData) -> Training:
    """Return the quickest way to the training moments that the feature space allows.

    Raises ShapeError if the space has fewer rows than there are training stimuli; DataError if a feature is not finite.
    """
    if hasattr(space, "trained_by") and space.trained_by:
        return _TrainedTraining(space, data)
    plain = _RefittedTraining(space, data) if space.fitted_in_folds else _FixedTraining(space, data)
    return plain if data.sharing is None else _SharedTraining(plain)


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


class _RefittedTraining(Training):
    """Moments of features that are compressed anew for every training part.

    A training part of lower rank than the whole has fewer components; those it lacks are columns of zeros. One of
    higher rank (by rounding) loses its last ones.
    """

    def __init__(self, space: FeatureSpace, data: PairData) -> None:
        super().__init__(data, int(checked_scores(space, (), data.n_train).shape[1]))
        self._space = space
        self._last: tuple[tuple[int, ...], FloatArray] | None = None

    def all_features(self, excluded: tuple[int, ...]) -> FloatArray:
        # One set of folds is asked for several times in a row: moments, then the features of each fold.
        if self._last is None or self._last[0] != excluded:
            found = checked_scores(self._space, excluded, self.data.n_train)[: self.data.n_train, : self.n_features]
            X = np.zeros((self.data.n_train, self.n_features))
            X[:, : found.shape[1]] = found
            self._last = (excluded, X)
        return self._last[1]

    def _moments(self, excluded: tuple[int, ...]) -> Moments:
        """Compute them directly; the rows left out are zeros, so that the responses need not be copied."""
        data, X = self.data, put(self.all_features(excluded), self.data.device)
        keep = like(~np.isin(data.fold_ids, excluded), X)
        x_mean = X[keep].mean(axis=0)
        Xc = namespace(X).where(keep[:, None], X - x_mean, 0.0)
        return data.moments(excluded, x_mean, Xc.T @ Xc, products(Xc, data.Yc))


class _TrainedTraining(_RefittedTraining):
    """Predictions by trainings without the folds left out."""

    @property
    def trained_by(self) -> str:
        """Name of the encoder whose predictions they are."""
        return str(self._space.trained_by)  # type: ignore[attr-defined]


class _FoldSums:
    """Moments of features that are the same in all folds: all stimuli's moments minus those of the folds left out.

    The data are centred on the means of all training stimuli first, so that the subtraction loses nothing to large
    means. Holds (n_folds + 1) * p * q numbers, and moments of p * q numbers each up to 256 MiB in all.
    """

    def __init__(self, X: FloatArray, data: PairData) -> None:
        self.data, xp, self._x_mean = data, namespace(X), X.mean(axis=0)
        parts = [X[rows] - self._x_mean for rows in data.rows]
        self._sums = xp.stack([part.sum(axis=0) for part in parts])
        self._squares = xp.stack([part.T @ part for part in parts])
        self._products = xp.stack([products(part, data.Yc[rows]) for part, rows in zip(parts, data.rows, strict=True)])
        self._S, self._C = self._squares.sum(axis=0), self._products.sum(axis=0)

    def moments(self, excluded: tuple[int, ...]) -> Moments:
        """Subtract what the folds left out contribute."""
        data, folds, n = self.data, list(excluded), self.data.size(excluded)
        x_sum, y_sum = self._sums[folds].sum(axis=0), like(data.fold_sums[folds].sum(axis=0), self._sums)
        xp, S, C = namespace(x_sum), self._S + 0.0, self._C + 0.0
        for fold in folds:
            S -= self._squares[fold]
            C -= self._products[fold]
        # The sums over the remaining stimuli are minus those over the stimuli left out.
        S -= xp.outer(x_sum, x_sum) / n
        C -= xp.outer(x_sum, y_sum) / n
        return data.moments(excluded, self._x_mean - x_sum / n, S, C)


class _FixedTraining(Training):
    """Moments of features that are the same in all folds, as they are, or rotated, which no fold has a part in."""

    def __init__(self, space: FeatureSpace, data: PairData) -> None:
        X = checked_scores(space, (), data.n_train)[: data.n_train]
        super().__init__(data, X.shape[1])
        self._X = X
        if X.shape[1] <= data.n_train:
            self._sums  # noqa: B018  (made now, as it will be used)

    @cached_property
    def _sums(self) -> _FoldSums:
        return _FoldSums(put(self._X, self.data.device), self.data)

    @cached_property
    def _rotated(self) -> tuple[FloatArray, _FoldSums]:
        """The rotation, (p, r), and what becomes of the features by it."""
        X = put(self._X, self.data.device)
        rotation = span(X - X.mean(axis=0))
        return rotation, _FoldSums(X @ rotation, self.data)

    def all_features(self, excluded: tuple[int, ...]) -> FloatArray:
        return self._X

    def _moments(self, excluded: tuple[int, ...]) -> Moments:
        return self._sums.moments(excluded)

    def _rotated_moments(self, excluded: tuple[int, ...]) -> Moments:
        rotation, sums = self._rotated
        x_mean = self._X[~np.isin(self.data.fold_ids, excluded)].mean(axis=0)
        return replace(sums.moments(excluded), x_mean=like(x_mean, rotation), rotation=rotation)


class _DerivedTraining(Training):
    """Training data with the features of others, all or the first ones."""

    def __init__(self, plain: Training, n_features: int | None = None) -> None:
        super().__init__(plain.data, plain.n_features if n_features is None else n_features)
        self._plain = plain

    def all_features(self, excluded: tuple[int, ...]) -> FloatArray:
        return self._plain.all_features(excluded)[:, : self.n_features]


class _SharedTraining(_DerivedTraining):
    """Moments with responses projected on the components that subjects share, which no fold left out has a part in."""

    def _moments(self, excluded: tuple[int, ...]) -> Moments:
        """Project by way of the components: no copy of the responses is kept."""
        stats, data = self._plain.moments(excluded), self.data
        xp, U, X = namespace(stats.S), like(data.shared(excluded), stats.S), like(self.samples(excluded), stats.S)
        loadings = U.T @ data.responses(excluded)
        C = ((X - stats.x_mean).T @ U) @ loadings
        return replace(
            stats,
            C=C,
            responses=lambda: U @ loadings,
            response_squares=lambda: loadings.T @ loadings,
            y_squares=xp.square(loadings).sum(axis=0),
        )


class _TruncatedTraining(_DerivedTraining):
    """The first k features of a feature space; their moments are cut out of those of all, and not kept twice."""

    most_bytes = 0

    def _moments(self, excluded: tuple[int, ...]) -> Moments:
        k, stats = self.n_features, self._plain.moments(excluded)
        return replace(stats, x_mean=stats.x_mean[:k], S=stats.S[:k, :k], C=stats.C[:k])


def truncated(training: Training, n_features: int | None) -> Training:
    """Return the training data of the first ``n_features`` features; None: of all.

    Principal components are ordered by variance, so that the first k of them are the compression to k components: no
    other number has to be compressed again.
    """
    if n_features is None or n_features >= training.n_features:
        return training
    return _TruncatedTraining(training, n_features)


class RememberedTraining(_DerivedTraining):
    """Training data whose moments and held-out features are kept, whatever their size, for all proposals."""

    most_bytes = float("inf")

    def __init__(self, plain: Training) -> None:
        super().__init__(plain)
        self._features: dict[tuple[tuple[int, ...], int], FloatArray] = {}

    def _moments(self, excluded: tuple[int, ...]) -> Moments:
        return self._plain.moments(excluded)

    def _rotated_moments(self, excluded: tuple[int, ...]) -> Moments:
        return self._plain.moments(excluded, rotated=True)

    def features(self, excluded: tuple[int, ...], fold: int) -> FloatArray:
        """Return the features of ``fold``, of shape (n_fold, p), as compressed without the folds ``excluded``."""
        key = (excluded, fold)
        if key not in self._features:
            self._features[key] = self._plain.features(excluded, fold)
        return self._features[key]


class TrainingCache:
    """The training data of feature spaces, made when they are asked for; only the last one is kept."""

    def __init__(self, spaces: Sequence[FeatureSpace], data: PairData) -> None:
        self.spaces, self.data = spaces, data
        self._last: tuple[int, Training] | None = None

    def __getitem__(self, index: int) -> Training:
        """Return those of one feature space."""
        if self._last is None or self._last[0] != index:
            self._last = None  # frees its memory before the next is made
            self._last = (index, training(self.spaces[index], self.data))
        return self._last[1]
