"""Features of a layer become few components, fitted anew to each training set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import DataError, OptionError
from voxelcast.features.covariance import covariance_coordinates, covariance_scores
from voxelcast.features.krylov import checked_number, krylov_scores
from voxelcast.features.linear import RandomProjection
from voxelcast.features.manifold import MetricMDS
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import (
    MOST_SQUARE,
    PCAOptions,
    PCAScores,
    columns_at_once,
    coordinates,
    gram_matrices,
    pca_scores,
    standardise,
)
from voxelcast.features.settings import CompressionSettings
from voxelcast.features.temporal_axis import temporal_axis

MOST_PLAIN_FEATURES = 20_000
# How much larger the features' sum of squares may be than that around their mean, before centring the raw Gram matrix
# is given up for centring the features themselves, training set by training set: it loses that many digits.
_WORST_OFFSET = 1e5


@dataclass(frozen=True)
class Compressed:
    """All stimuli in terms of components fitted to training stimuli.

    Scores have the shape (n_stimuli, n_components); the explained variance is the share of the training stimuli's
    variance that the components keep, None where that is not defined.
    """

    scores: FloatArray
    explained_variance: float | None


@dataclass(frozen=True)
class _Fit:
    """What all training sets have in common; ``pca`` is of all components where it is not the method."""

    settings: CompressionSettings
    seed: int
    pca: PCAOptions

    def allowed(self, most: int, what: str) -> int:
        """Return how many components to ask for, of ``most`` that there can be."""
        components = self.settings.components
        wanted = most if components == "max" else components
        if wanted > most and self.settings.fewer == "error":
            raise OptionError(
                f"compress.components must be at most {most}, {what}{self.pca.where}; got {wanted}; lower it, or set "
                "compress.fewer=allow"
            )
        return max(1, min(wanted, most))


def compress_folds(
    matrix: FeatureMatrix,
    subsets: Sequence[IntArray],
    settings: CompressionSettings,
    *,
    seed: int = 0,
    axis: bool = False,
    layer: str = "",
    device: str = "cpu",
) -> Iterator[Compressed]:
    """Fit a compression to each of several training sets, rows of the matrix; give all stimuli's components, in order.

    Wide features are never in memory, and no matrix is larger than `voxelcast.features.pca.MOST_SQUARE` squared.
    Principal components, UMAP, MDS and the autoencoder work on the Gram matrix, for which the features are read once,
    whatever the number of training sets; with ``scale`` each training set costs a Gram matrix of its own
    (n_stimuli**2 * n_features), with ``axis`` two more passes over the features. Principal components of fewer features
    than stimuli come from the features' covariance; where there are more of both than `MOST_SQUARE`, from block Krylov
    iteration. Both are exact. The other methods work on the covariance where stimuli are too many, or refuse.

    With ``axis`` time steps are weighed by their first principal axis first; see `voxelcast.features.temporal_axis`.
    ``layer`` is for messages; ``device``, by torch's name, is where Gram matrices are made and decomposed. Raises
    OptionError if more components are asked for than a training set allows, and ``fewer="error"``, or the method would
    need too large a matrix; DataError if the features do not vary over a training set, or are not finite.
    """
    for rows in subsets:
        _check_rows(rows, matrix.shape[0])
    where = f" of layer {layer}" if layer else ""
    components = settings.components if settings.method == "pca" else "max"
    apart = settings.scale and settings.scale_apart
    fit = _Fit(settings, seed, PCAOptions(components, settings.scale, settings.fewer, where, apart, device))
    if axis:
        for rows in subsets:
            weights, _ = temporal_axis(matrix, rows, where=where)
            yield from _whitened(_compress(matrix.over_time(weights), [rows], fit), [rows], settings)
    else:
        yield from _whitened(_compress(matrix, subsets, fit), subsets, settings)


def _whitened(
    found: Iterator[Compressed], subsets: Sequence[IntArray], settings: CompressionSettings
) -> Iterator[Compressed]:
    for rows, compressed in zip(subsets, found, strict=True):
        if settings.whiten:
            scores = standardise(compressed.scores, rows, scale=True, apart=settings.scale_apart)
            compressed = replace(compressed, scores=scores)
        yield compressed


def _compress(matrix: FeatureMatrix, subsets: Sequence[IntArray], fit: _Fit) -> Iterator[Compressed]:
    method = fit.settings.method
    if method == "none":
        check_plain(matrix.shape[1], fit.pca.where)
        plain = matrix.columns(0, matrix.shape[1])
        check_finite(f"features{fit.pca.where}", plain, "extract them again")
        for rows in subsets:
            scaled = standardise(plain, rows, scale=True, apart=fit.pca.apart) if fit.settings.scale else plain
            yield Compressed(scaled, 1.0)
        return
    if method == RandomProjection.name:
        yield from (Compressed(_project(matrix, rows, fit), None) for rows in subsets)
        return
    check_size(fit.settings, *matrix.shape, min(map(len, subsets), default=0), fit.pca.where)
    if method == "pca":
        for pca in _principal_components(matrix, subsets, fit.pca):
            yield Compressed(pca.scores, float(pca.explained_variance_ratio.sum()))
        return
    for rows, points in zip(subsets, _coordinates(matrix, subsets, fit.pca), strict=True):
        yield _embed(points, rows, fit)


def _principal_components(
    matrix: FeatureMatrix, subsets: Sequence[IntArray], options: PCAOptions
) -> Iterator[PCAScores]:
    """Fit by the smallest matrix that does it."""
    n, n_features = matrix.shape
    if n_features < n and n_features <= MOST_SQUARE and not options.apart:
        return (covariance_scores(matrix, rows, options) for rows in subsets)
    if n <= MOST_SQUARE:
        return (pca_scores(gram, rows, options) for rows, gram in _with_grams(matrix, subsets, options))
    return krylov_scores(matrix, subsets, options)


def _coordinates(matrix: FeatureMatrix, subsets: Sequence[IntArray], options: PCAOptions) -> Iterator[FloatArray]:
    """Give all stimuli's coordinates in the space of each training set."""
    if options.apart and matrix.shape[0] > MOST_SQUARE:
        raise OptionError(f"compress.scale_apart goes with at most {MOST_SQUARE} stimuli; got {matrix.shape[0]}")
    if matrix.shape[0] <= MOST_SQUARE:
        return (coordinates(gram, rows, options) for rows, gram in _with_grams(matrix, subsets, options))
    return (covariance_coordinates(matrix, rows, options) for rows in subsets)


def _with_grams(
    matrix: FeatureMatrix, subsets: Sequence[IntArray], options: PCAOptions
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Give each training set and a Gram matrix: the same for all, unless they must be centred or scaled apart."""
    shared = None if options.scale else _raw_gram_if_sound(matrix, subsets, options)
    if shared is None:
        grams = gram_matrices(matrix, subsets, scale=options.scale, apart=options.apart, device=options.device)
        return zip(subsets, grams, strict=True)
    return ((rows, shared) for rows in subsets)


def _embed(points: FloatArray, rows: IntArray, fit: _Fit) -> Compressed:
    """Fit what needs no more than coordinates, and give the other stimuli's components."""
    rank = points.shape[1] - 1
    n_components = fit.allowed(*fit.settings.compressor(1).most(len(rows), rank))
    compressor = fit.settings.compressor(n_components, fit.seed)
    if compressor.sees == "coordinates":
        points = points[:, :rank]
    scores = np.empty((len(points), compressor.components))
    scores[rows] = compressor.fit_transform(points[rows])
    others = np.setdiff1d(np.arange(len(points)), rows)
    scores[others] = compressor.transform(points[others])
    return Compressed(scores, compressor.explained_variance)


def _project(matrix: FeatureMatrix, rows: IntArray, fit: _Fit) -> FloatArray:
    """Project block of columns by block."""
    compressor = RandomProjection(fit.allowed(matrix.shape[1], "the number of features"), fit.seed)
    projection = compressor.draw(matrix.shape[1])
    scores = np.zeros((matrix.shape[0], compressor.components))
    start = 0
    for columns in matrix.blocks(columns_at_once(matrix)):
        check_finite(f"features{fit.pca.where}", columns, "extract them again")
        seen = standardise(columns, rows, scale=True, apart=fit.pca.apart) if fit.settings.scale else columns
        scores += seen @ projection[start : start + columns.shape[1]]
        start += columns.shape[1]
    return scores


def check_plain(n_features: int, where: str = "") -> None:
    """Raise OptionError where there are too many features to leave them uncompressed."""
    if n_features > MOST_PLAIN_FEATURES:
        raise OptionError(
            f"compress.method=none allows at most {MOST_PLAIN_FEATURES} features; got {n_features}{where}; "
            "set compress.method=pca"
        )


def check_size(settings: CompressionSettings, n_stimuli: int, n_features: int, fewest: int, where: str = "") -> None:
    """Raise OptionError where a compression would need too large a matrix; ``fewest``: in the smallest training set."""
    if settings.method in ("none", RandomProjection.name) or n_stimuli <= MOST_SQUARE:
        return
    if settings.method == "pca":
        if n_features > MOST_SQUARE:
            checked_number(settings.components, n_stimuli, n_features, fewest, where)
    elif n_features > MOST_SQUARE or settings.method == MetricMDS.name:
        raise OptionError(
            f"compress.method={settings.method} allows at most {MOST_SQUARE} stimuli, for a matrix of stimuli x "
            f"stimuli; got {n_stimuli}{where} ({8 * n_stimuli**2 / 1e9:.1f} GB, three times over); set "
            "compress.method=pca or random_projection"
        )


def _check_rows(rows: IntArray, n_stimuli: int) -> None:
    if len(rows) < 2:
        raise DataError(
            f"a training set must hold at least 2 stimuli; got {len(rows)}; use fewer folds or more stimuli"
        )
    if rows.min() < 0 or rows.max() >= n_stimuli or len(np.unique(rows)) != len(rows):
        raise OptionError(f"rows of a training set must be different numbers from 0 to {n_stimuli - 1}")


def _raw_gram_if_sound(matrix: FeatureMatrix, subsets: Sequence[IntArray], options: PCAOptions) -> FloatArray | None:
    (gram,) = gram_matrices(matrix, [None], device=options.device)
    for rows in subsets:
        taken = np.zeros(len(gram))
        taken[rows] = 1.0
        squares = np.diag(gram)[rows].sum()
        around_mean = squares - (taken @ gram @ taken) / len(rows)
        if squares > _WORST_OFFSET * around_mean:
            return None
    return gram
