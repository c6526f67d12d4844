r"""Exact principal components of fewer features than stimuli, from the features' covariance.

With D features of n stimuli, D < n, as in time series of thousands of volumes, the D x D matrix

    S = X' X,    S = V diag(l) V',    scores of any stimuli = X V

of the training rows X (centred on their mean, and divided by their standard deviations if asked) has the eigenvalues
of the n x n Gram matrix of :mod:`voxelcast.features.pca`, and is smaller. It is summed over blocks of rows, anew for
each training set: that costs less than the eigenvectors of the Gram matrix would, and a fold's scores hold nothing of
its held-out stimuli, to the last bit. Memory: two matrices of D x D (three where more than a quarter of the components
is asked for), five blocks of 64 MiB, and the scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray, blocks
from voxelcast.features import pca
from voxelcast.features.matrix import FeatureMatrix

BLOCK_BYTES = 64 * 2**20


def covariance_scores(matrix: FeatureMatrix, train_rows: IntArray, options: pca.PCAOptions) -> pca.PCAScores:
    """Do what `voxelcast.features.pca.pca_scores` does from a Gram matrix."""
    return _projected(matrix, train_rows, options)[0]


def covariance_coordinates(matrix: FeatureMatrix, train_rows: IntArray, options: pca.PCAOptions) -> FloatArray:
    """Do what `voxelcast.features.pca.coordinates` does from a Gram matrix."""
    found, squares = _projected(matrix, train_rows, options)
    return pca.with_distances(found.scores, squares, train_rows)


def _projected(
    matrix: FeatureMatrix, train_rows: IntArray, options: pca.PCAOptions
) -> tuple[pca.PCAScores, FloatArray]:
    """Return the scores, and every stimulus' squared distance from the training mean."""
    n_train, components = len(train_rows), options.components
    standard, size = _training_means(matrix, train_rows, options.where)
    S = np.zeros((matrix.shape[1], matrix.shape[1]))
    for train in _train_blocks(matrix, train_rows):
        centred = standard.applied(train)
        S += centred.T @ centred
    if options.scale:
        deviation = np.where(standard.constant, 1.0, np.sqrt(np.diag(S) / n_train))
        standard = replace(standard, deviation=deviation)
        S /= np.outer(deviation, deviation)
    total = float(np.trace(S))
    wanted = min(n_train if components == "max" else components, len(S))
    # Symmetric to the bit: its transpose is itself, in Fortran order.
    values, vectors = pca.largest_eigenpairs(S.T, wanted, options.device)
    noise = pca.rounding(float(values[0]), total, size, n_train)
    kept = pca.kept_components(values, noise, n_train, options)
    values, vectors = values[:kept], vectors[:, :kept]
    scores, squares = np.empty((matrix.shape[0], kept)), np.empty(matrix.shape[0])
    for start, rows in _blocks(matrix):
        centred = standard.applied(rows)
        scores[start : start + len(rows)] = centred @ vectors
        squares[start : start + len(rows)] = np.einsum("ij,ij->i", centred, centred)
    scores *= pca.signs(scores[train_rows])
    return pca.PCAScores(scores, values / total), squares


@dataclass(frozen=True)
class _Standard:
    """Training means, which features are constant over the training stimuli, and the deviations where they divide."""

    mean: FloatArray
    constant: BoolArray
    deviation: FloatArray | None = None

    def applied(self, rows: FloatArray) -> FloatArray:
        """Centre rows and, where there are deviations, divide; constant features then become 0."""
        centred: FloatArray = rows - self.mean
        if self.deviation is not None:
            centred /= self.deviation
            centred[:, self.constant] = 0.0
        return centred


def _training_means(matrix: FeatureMatrix, train_rows: IntArray, where: str) -> tuple[_Standard, float]:
    """Return the training means, and the mean over training stimuli of their features' sum of squares."""
    sums, squares = np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1])
    constant: BoolArray = np.ones(matrix.shape[1], dtype=bool)
    first = matrix.rows(int(train_rows.min()), int(train_rows.min()) + 1)[0]
    for train in _train_blocks(matrix, train_rows):
        constant &= (train == first).all(axis=0)
        sums += train.sum(axis=0)
        squares += np.einsum("ij,ij->j", train, train)
    pca.check_products(squares, where)
    # The computed mean of a constant feature may be off by rounding.
    mean = np.where(constant, first, sums / len(train_rows))
    return _Standard(mean, constant), float(squares.sum()) / len(train_rows)


def _blocks(matrix: FeatureMatrix) -> Iterator[tuple[int, FloatArray]]:
    """Read all rows, some at a time, with the number of the first."""
    for rows in blocks(matrix.shape[0], 8 * matrix.shape[1], BLOCK_BYTES):
        yield rows.start, matrix.rows(rows.start, rows.stop)


def _train_blocks(matrix: FeatureMatrix, train_rows: IntArray) -> Iterator[FloatArray]:
    """Read the training rows, some at a time."""
    taken = np.zeros(matrix.shape[0], dtype=bool)
    taken[train_rows] = True
    for start, rows in _blocks(matrix):
        train = rows[taken[start : start + len(rows)]]
        if len(train):
            yield train
