r"""Principal components where stimuli and features are both too many for a square matrix, by block Krylov iteration.

With n stimuli and D features, both above `voxelcast.features.pca.MOST_SQUARE`, neither the Gram matrix K = X X' nor the
covariance is to be held in memory. The leading eigenvectors of K need no more than products K Q = X (X' Q) with few
columns Q, for which the features are read once, block of columns by block. From a random Q an orthonormal basis is
grown by what the best k + 8 vectors U in it (Rayleigh-Ritz, of values l) still lack [1]_,

    R = K U - U diag(l),    basis <- [basis, R],

and begun anew from its better half when it is full. It ends when for each of the k components |r_i| is below 1e-10 of
the distance to the nearest other eigenvalue, which bounds the angle between the vector found and the true one [2]_, or
below the rounding of a product. So this is no approximation that would have to be chosen: the result is that of a full
decomposition up to sign and rounding, whatever the random Q.

Memory: 2.5 GB for the bases of as many training sets as fit, which share each pass over the features; and six blocks of
columns, of 64 MiB each.

References
----------
.. [1] Saad, Y. (2011). Numerical methods for large eigenvalue problems, 2nd edition, chapters 5 and 6. SIAM.
   https://doi.org/10.1137/1.9781611970739
.. [2] Davis, C. & Kahan, W. M. (1970). The rotation of eigenvectors by a perturbation. III. SIAM Journal on Numerical
   Analysis 7, 1-46. https://doi.org/10.1137/0707001
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import generator
from voxelcast.features import pca
from voxelcast.features.matrix import FeatureMatrix

BASIS_BYTES = 3 * 8 * pca.MOST_SQUARE**2
BLOCK_BYTES = 64 * 2**20
# Vectors beyond those wanted, which speed up the last ones; and how many times all of them a basis holds.
_GUARD, _FEWEST_BLOCKS, _MOST_BLOCKS = 8, 4, 8
_MOST_PASSES = 500
_TOLERANCE = 1e-10


def krylov_scores(
    matrix: FeatureMatrix, subsets: Sequence[IntArray], options: pca.PCAOptions
) -> Iterator[pca.PCAScores]:
    """Do what `voxelcast.features.covariance.covariance_scores` does, for each of several training sets.

    Products are in double precision. Raises OptionError, too, if so many components do not fit into `BASIS_BYTES`.
    """
    fewest = min(len(rows) for rows in subsets)
    components = checked_number(options.components, *matrix.shape, fewest, options.where)
    most = _most_columns(matrix.shape[0])
    size = min(most, fewest, _MOST_BLOCKS * (components + _GUARD))
    at_once = max(1, most // size)
    for first in range(0, len(subsets), at_once):
        batch = subsets[first : first + at_once]
        for rows, task in zip(batch, _solved(matrix, batch, components, size, options), strict=True):
            yield _scores(rows, task, options)


def checked_number(components: pca.Components, n_stimuli: int, n_features: int, fewest: int, where: str = "") -> int:
    """Return the number of components, or raise OptionError if their bases do not fit into memory.

    ``fewest`` is the number of stimuli of the smallest training set.
    """
    allowed = max(0, min(_most_columns(n_stimuli), fewest) // _FEWEST_BLOCKS - _GUARD)
    if components == "max" or components > allowed:
        square = 8 * min(n_stimuli, n_features) ** 2 / 1e9
        raise OptionError(
            f"compress.components must be at most {allowed}, what {BASIS_BYTES / 1e9:.1f} GB of memory hold for "
            f"{n_stimuli} stimuli of {n_features} features{where} (more would need a matrix of {square:.1f} GB, three "
            f"times over); got {components}; lower it, or set compress.method=random_projection"
        )
    return components


def _most_columns(n_stimuli: int) -> int:
    """Return how many columns fit: of basis and products, half as many again when it begins anew, and some blocks."""
    return int(BASIS_BYTES // (32 * n_stimuli))


@dataclass(frozen=True)
class _Pairs:
    """Eigenvalues, falling, vectors (n_train, k) and their products with K (n_stimuli, k)."""

    values: FloatArray
    vectors: FloatArray
    products: FloatArray


_NO_PAIRS = _Pairs(np.empty(0), np.empty((0, 0)), np.empty((0, 0)))


@dataclass
class _Task:
    """One training set: the columns to be multiplied with K next, and the sums of the first pass (see `rounding`)."""

    solver: Generator[FloatArray, FloatArray, _Pairs]
    columns: FloatArray
    pairs: _Pairs = _NO_PAIRS
    total: float = 0.0
    size: float = 0.0


def _solved(
    matrix: FeatureMatrix, subsets: Sequence[IntArray], components: int, size: int, options: pca.PCAOptions
) -> list[_Task]:
    """Pass over the features until all training sets have their eigenpairs."""
    solvers = [_leading(rows, components, size, matrix.shape[1]) for rows in subsets]
    tasks = [_Task(solver, next(solver)) for solver in solvers]
    width, first_pass = max(1, BLOCK_BYTES // (8 * matrix.shape[0])), True
    while waiting := [(rows, task) for rows, task in zip(subsets, tasks, strict=True) if task.pairs is _NO_PAIRS]:
        sums = [np.zeros((matrix.shape[0], task.columns.shape[1])) for _, task in waiting]
        for block in matrix.blocks(width):
            for (rows, task), products in zip(waiting, sums, strict=True):
                with np.errstate(invalid="ignore"):  # infinite features, which are refused below
                    centred = pca.standardise(block, rows, scale=options.scale, apart=options.apart)
                    train = centred[rows]
                    products += centred @ (train.T @ task.columns)
                if first_pass:
                    task.total += float(np.einsum("ij,ij->", train, train))
                    task.size += float(np.square(block[rows]).sum()) / len(rows)
        for (_, task), products in zip(waiting, sums, strict=True):
            pca.check_products(products, options.where)
            try:
                task.columns = task.solver.send(products)
            except StopIteration as done:
                task.pairs = done.value
        first_pass = False
    return tasks


def _leading(rows: IntArray, n_wanted: int, size: int, n_features: int) -> Generator[FloatArray, FloatArray, _Pairs]:
    """Find the leading eigenpairs of K, the products of training stimuli, by asking for its products with columns.

    Yields columns (n_train, n_columns), to be sent back as the products of all stimuli with the training stimuli, times
    the columns, of shape (n_stimuli, n_columns).
    """
    n_train, block = len(rows), n_wanted + _GUARD
    rounded = 4 * pca.EPS * np.sqrt(max(n_train, n_features))
    new = np.linalg.qr(generator(0, "principal components").standard_normal((n_train, block)))[0]
    basis, square = np.empty((n_train, size)), np.zeros((size, size))
    products, m = np.empty((0, size)), 0
    for _ in range(_MOST_PASSES):
        multiplied = yield new
        products = products if len(products) else np.empty((len(multiplied), size))
        before, m = m, m + new.shape[1]
        basis[:, before:m], products[:, before:m] = new, multiplied
        square[:m, before:m] = basis[:, :m].T @ multiplied[rows]
        square[before:m, :m] = square[:m, before:m].T
        values, turn = np.linalg.eigh(square[:m, :m])
        values, turn = values[::-1], turn[:, ::-1]
        vectors, moved = basis[:, :m] @ turn[:, :block], products[:, :m] @ turn[:, :block]
        lacking = moved[rows] - vectors * values[:block]
        lengths = np.linalg.norm(lacking, axis=0)
        slack = np.maximum(_TOLERANCE * _gaps(values)[:block], rounded * values[0])
        if (lengths <= slack)[:n_wanted].all():
            return _Pairs(values[:n_wanted], vectors[:, :n_wanted], moved[:, :n_wanted])
        open_ = lengths > slack
        if m + np.count_nonzero(open_) > size:
            kept = size // 2
            basis[:, :kept] = basis[:, :m] @ turn[:, :kept]
            products[:, :kept] = products[:, :m] @ turn[:, :kept]
            square[:kept, :kept] = np.diag(values[:kept])
            m = kept
        new = lacking[:, open_] / lengths[open_]
        for _ in range(3):
            new = np.linalg.qr(new - basis[:, :m] @ (basis[:, :m].T @ new))[0]
    raise DataError(
        f"{n_wanted} principal components of {n_train} stimuli must differ in variance; {_MOST_PASSES} passes over the "
        "features did not tell them apart; ask for fewer or more of them, or set compress.method=random_projection"
    )


def _gaps(values: FloatArray) -> FloatArray:
    """Return the distance of each of some falling values to the nearest other one."""
    steps = -np.diff(values)
    return np.asarray(np.minimum(np.append(np.inf, steps), np.append(steps, np.inf)))


def _scores(rows: IntArray, task: _Task, options: pca.PCAOptions) -> pca.PCAScores:
    """Turn eigenpairs into scores, as many as there are above rounding."""
    n_train, values = len(rows), task.pairs.values
    noise = pca.rounding(float(values[0]), task.total, task.size, n_train)
    kept = pca.kept_components(values, noise, n_train, options)
    values, vectors = values[:kept], task.pairs.vectors[:, :kept]
    turn = pca.signs(vectors)
    scores = task.pairs.products[:, :kept] * (turn / np.sqrt(values))
    scores[rows] = vectors * (turn * np.sqrt(values))
    return pca.PCAScores(scores, values / task.total)
