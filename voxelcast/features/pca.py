r"""Exact principal components from the Gram matrix.

With n stimuli and D features, D >> n, the principal components of the training rows X (centred on their mean) follow
from the n x n Gram matrix instead of the D x D covariance:

    K = X X',    K = U diag(l) U',    training scores = U sqrt(l),    other scores = K_other,train U / sqrt(l)

K is accumulated over blocks of columns, so X never has to be in memory. It is exact: scores equal those of a full
singular value decomposition up to sign and rounding.

**A fold costs no second look at the features.** K of the raw, uncentred features determines K centred on the mean of
*any* training set t, by double centring:

    K_t[i, j] = K[i, j] - mean_{s in t} K[i, s] - mean_{s in t} K[j, s] + mean_{s, u in t} K[s, u]

An entry of the raw K depends on two rows only, so scores of a fold's training stimuli hold nothing of its held-out
ones, to the last bit. Features divided by their training standard deviations have no such shortcut: each training set
needs a Gram matrix of its own (see :func:`gram_matrices`).

This is for up to `MOST_SQUARE` stimuli; :mod:`voxelcast.features.covariance` is for fewer features than stimuli, and
:mod:`voxelcast.features.krylov` for more of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg

from voxelcast.core.arrays import FloatArray, IntArray, namespace, put, to_numpy
from voxelcast.core.checks import check_option
from voxelcast.core.errors import DataError, OptionError
from voxelcast.features.matrix import FeatureMatrix

Fewer = Literal["error", "allow"]
Components = int | Literal["max"]

MOST_SQUARE = 10_240
"""Most rows of a square matrix in memory: 0.84 GB. Three of them are held at a time, five where more than a quarter of
the components is asked for."""
BLOCK_BYTES = 256 * 2**20
COLUMNS = 4096  # of features, that are multiplied at a time, at most
EPS = float(np.finfo(np.float64).eps)
_CORE_ROWS = 1024


def check_components(components: Components) -> Components:
    """Return the number of components, or raise OptionError unless it is a whole number of at least 1, or ``"max"``."""
    whole = isinstance(components, int | np.integer) and not isinstance(components, bool)
    if components != "max" and not (whole and components >= 1):
        raise OptionError(f"compress.components must be a whole number of at least 1, or max; got {components!r}")
    return components


@dataclass(frozen=True)
class PCAOptions:
    """How principal components are fitted; see `voxelcast.features.settings.CompressionSettings` for the first three.

    ``apart`` is its ``scale_apart``. A Gram matrix has the scaling behind it. ``where`` is for messages, e.g. ``" of
    layer features.10"``. ``device``, by torch's name, is where products are taken and decomposed.
    """

    components: Components = "max"
    scale: bool = False
    fewer: Fewer = "error"
    where: str = ""
    apart: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_components(self.components)
        check_option("compress.fewer", self.fewer, ("error", "allow"))


_ALL = PCAOptions()


@dataclass(frozen=True)
class PCAScores:
    """Principal components of training stimuli, and all stimuli in their terms.

    Scores have the shape (n_stimuli, n_components), and the training rows of a component sum to 0; the ratio,
    (n_components,), is the share of the training stimuli's variance, in [0, 1].
    """

    scores: FloatArray
    explained_variance_ratio: FloatArray


def gram_matrices(
    matrix: FeatureMatrix,
    subsets: Sequence[IntArray | None],
    *,
    scale: bool = False,
    apart: bool = False,
    memory: float = 1e9,
    device: str = "cpu",
) -> Iterator[FloatArray]:
    """Give the Gram matrix of features as each of several training sets centres (and scales) them, see `standardise`.

    For None they are left as they are. Each matrix is float64, (n_stimuli, n_stimuli). A pass over the features serves
    as many training sets as fit into ``memory`` bytes (each needs ``8 * n_stimuli**2``), at least one; each costs one
    product of n_stimuli**2 * n_features.
    """
    n = matrix.shape[0]
    at_once = max(1, int(memory // (8 * n * n)))
    for first in range(0, len(subsets), at_once):
        batch = subsets[first : first + at_once]
        grams = [put(np.zeros((n, n)), device) for _ in batch]
        for columns in matrix.blocks(columns_at_once(matrix)):
            for gram, rows in zip(grams, batch, strict=True):
                factors = columns if rows is None else standardise(columns, rows, scale=scale, apart=apart)
                factors = put(factors, device)
                gram += factors @ factors.T
        yield from map(to_numpy, grams)


def columns_at_once(matrix: FeatureMatrix) -> int:
    """Return how many columns of all stimuli take no more than 256 MiB; at most `COLUMNS`."""
    return max(1, min(COLUMNS, BLOCK_BYTES // (8 * matrix.shape[0])))


def standardise(columns: FloatArray, train_rows: IntArray, *, scale: bool, apart: bool = False) -> FloatArray:
    """Centre features on their training means and, if asked, divide by their training deviations (0 where constant).

    ``apart``: the other rows by their own.
    """
    others = np.setdiff1d(np.arange(len(columns)), train_rows)
    if apart and len(others):
        parts: FloatArray = np.empty(columns.shape)
        for rows in (train_rows, others):
            parts[rows] = standardise(columns[rows], np.arange(len(rows)), scale=scale)
        return parts
    train = columns[train_rows]
    centred: FloatArray = columns - train.mean(axis=0)
    if scale:
        # Compared exactly: the computed deviation of a constant feature may be rounding instead of 0.
        constant = (train == train[:1]).all(axis=0)
        deviation = np.where(constant, 1.0, train.std(axis=0))
        centred = np.where(constant, 0.0, centred / deviation)
    return centred


def pca_scores(gram: FloatArray, train_rows: IntArray, options: PCAOptions) -> PCAScores:
    """Fit principal components to training stimuli and give the scores of all stimuli.

    Each component's sign is such that its largest training score in size is positive. The Gram matrix (n_stimuli,
    n_stimuli) is that of the features, raw or centred on anything; ``train_rows`` (n_train,) are those that the
    components are fitted to. Raises OptionError if more components are asked for than the rank, and
    ``fewer="error"``; DataError if the features do not vary over the training stimuli, or are not finite.
    """
    check_products(gram, options.where)
    n_train, components = len(train_rows), options.components
    centred = _double_centre(gram, train_rows)  # (n_stimuli, n_train)
    core = _core(centred, train_rows)
    total = float(np.trace(core))
    wanted = n_train if components == "max" else min(components, n_train)
    values, vectors = largest_eigenpairs(core, wanted, options.device)
    # Below this an eigenvalue is rounding: of the Gram matrix' entries, and of the decomposition.
    noise = 10 * np.sqrt(n_train) * EPS * float(np.diag(gram)[train_rows].max())
    noise += n_train * EPS * float(values[0])
    if values[wanted - 1] <= noise and len(values) < n_train:
        values, vectors = largest_eigenpairs(_core(centred, train_rows), n_train, options.device)
    kept = kept_components(values, noise, n_train, options)
    values, vectors = values[:kept], vectors[:, :kept]
    vectors = vectors * signs(vectors)
    scores = centred @ (vectors / np.sqrt(values))
    scores[train_rows] = vectors * np.sqrt(values)
    return PCAScores(scores, values / total)


def coordinates(gram: FloatArray, train_rows: IntArray, options: PCAOptions = _ALL) -> FloatArray:
    """Give all stimuli's coordinates in the space that the training stimuli span, and their distance from it.

    n training stimuli of D features, D >> n, span n - 1 dimensions. Their scores on all principal components are a
    rotation of the features: every distance between two of them is kept. Another stimulus also has a part outside this
    space; with its length as one more coordinate (0 for training stimuli) its distance to every training stimulus is
    kept as well. Whatever sees features by distances alone, or by a linear first step that is learnt, loses nothing by
    working on these. They have the shape (n_stimuli, rank + 1); errors are those of `pca_scores`.
    """
    scores = pca_scores(gram, train_rows, options).scores
    to_train = gram[:, train_rows].mean(axis=1)
    return with_distances(scores, np.diag(gram) - 2 * to_train + to_train[train_rows].mean(), train_rows)


def with_distances(scores: FloatArray, squares: FloatArray, train_rows: IntArray) -> FloatArray:
    """Append each stimulus' distance from the space of all components to its scores: (n_stimuli, n_components + 1).

    ``squares`` (n_stimuli,) are squared distances from the training mean.
    """
    outside = np.sqrt(np.maximum(squares - np.square(scores).sum(axis=1), 0.0))
    outside[train_rows] = 0.0
    return np.column_stack([scores, outside])


def check_products(products: FloatArray, where: str) -> None:
    """Raise DataError where sums of products of features are not finite."""
    if not np.isfinite(products).all():
        raise DataError(f"features{where} must be finite; got NaN or infinite values; extract them again")


def kept_components(values: FloatArray, noise: float, n_train: int, options: PCAOptions) -> int:
    """Return how many components there are, of those asked for.

    ``values`` are the largest eigenvalues, falling; all of them where fewer than ``components`` lie above ``noise``,
    which is what an eigenvalue of 0 may come to by rounding. Errors are those of `pca_scores`.
    """
    components, where = options.components, options.where
    rank = int(np.count_nonzero(values > noise))
    if rank == 0:
        raise DataError(
            f"features{where} must vary over the {n_train} training stimuli; "
            "got the same for all of them; leave this layer out"
        )
    if components != "max" and components > rank and options.fewer == "error":
        raise OptionError(
            f"compress.components must be at most {rank}, the rank of the {n_train} training stimuli{where}; "
            f"got {components}; lower it, or set compress.fewer=allow"
        )
    return rank if components == "max" else min(rank, components)


def rounding(largest: float, total: float, size: float, n_train: int) -> float:
    """Return what an eigenvalue of 0 may come to: by rounding of the products, of the decomposition, of the means.

    ``largest`` is the largest eigenvalue, ``total`` the sum of squares of the centred features, ``size`` that of the
    features as they are, divided by n_train.
    """
    noise = 10 * np.sqrt(n_train) * EPS * total / n_train
    return float(noise + n_train * EPS * largest + 10 * (n_train * EPS) ** 2 * size)


def _double_centre(gram: FloatArray, train_rows: IntArray) -> FloatArray:
    """Return products (n_stimuli, n_train) of all with the training stimuli, both minus the training mean."""
    centred: FloatArray = gram[:, train_rows]
    means = centred.mean(axis=1)
    # In place: another square matrix would be a third of the memory.
    centred -= means[:, None]
    centred -= means[train_rows]
    centred += means[train_rows].mean()
    return centred


def _core(centred: FloatArray, train_rows: IntArray) -> FloatArray:
    """Copy the products of training stimuli, (n_train, n_train), in the order in which LAPACK works."""
    core: FloatArray = np.empty((len(train_rows), len(train_rows)), order="F")
    for start in range(0, len(train_rows), _CORE_ROWS):
        core[start : start + _CORE_ROWS] = centred[train_rows[start : start + _CORE_ROWS]]
    return core


def largest_eigenpairs(square: FloatArray, n_wanted: int, device: str = "cpu") -> tuple[FloatArray, FloatArray]:
    """Return at least the ``n_wanted`` largest eigenvalues, falling, and eigenvectors (n, .) of a symmetric matrix.

    The matrix, in Fortran order, is written over.
    """
    n = len(square)
    if device != "cpu":
        there = put(square, device)
        values, vectors = namespace(there).linalg.eigh(there)
        values, vectors = to_numpy(values[n - n_wanted :]), to_numpy(vectors[:, n - n_wanted :])
        return values[::-1], vectors[:, ::-1]
    # Up to about a quarter of them, picking is faster than taking all.
    values, vectors = (
        scipy.linalg.eigh(square, subset_by_index=(n - n_wanted, n - 1), overwrite_a=True)
        if n_wanted <= n // 4
        else scipy.linalg.eigh(square, driver="evd", overwrite_a=True)
    )
    return values[::-1], vectors[:, ::-1]


def signs(columns: FloatArray) -> FloatArray:
    """Return -1 for each column whose largest entry in size is negative, else 1."""
    largest = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    return np.where(largest < 0, -1.0, 1.0)
