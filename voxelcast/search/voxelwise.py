"""Exhaustive search that keeps every voxel's own score, for selection per voxel.

Holds the sums of r and r**2 over folds, (n_folds + 1) * n_settings * q numbers each, of one layer and encoder at a
time: 0.3 GB for 20,000 voxels, 50 settings and 10 nested folds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.base import Params
from voxelcast.encoders.sample import AnyEncoder, SampleEncoder
from voxelcast.scoring.correlation import pearson_r
from voxelcast.search.choice import Choice, choose
from voxelcast.search.exact import Trials, smallest_training
from voxelcast.search.path_scores import path_pearson_r
from voxelcast.search.settings import Rule
from voxelcast.search.training import PairData, Training


class VoxelTally:
    """Sums over folds of the voxels' scores.

    Parameters
    ----------
    n_settings, n_voxels : int
    """

    def __init__(self, n_settings: int, n_voxels: int) -> None:
        self._sum = np.zeros((n_settings, n_voxels))
        self._squares = np.zeros((n_settings, n_voxels))
        self._count = np.zeros(n_voxels)
        self._means: list[FloatArray] = []

    def add(self, r: FloatArray, varies: BoolArray) -> None:
        """Add a fold's scores, ndarray of shape (n_settings, n_voxels); ``varies`` tells whose responses vary."""
        known = np.where(np.isnan(r), 0.0, r)
        self._sum += known
        self._squares += known * known
        self._count += varies
        scored = ~np.isnan(r).all(axis=1)
        self._means.append(np.where(scored, known.sum(axis=1) / max(np.count_nonzero(varies), 1), np.nan))

    def fold_means(self) -> FloatArray:
        """Return the mean over voxels in each fold, ndarray of shape (n_settings, n_folds)."""
        return np.stack(self._means, axis=1)

    def choice(self, order: IntArray, rule: Rule) -> Choice:
        """Let each voxel choose by its mean over folds; see `voxelcast.search.choice.choose`.

        A fold in which a voxel's predictions are constant counts as 0; responses that are constant in all folds leave
        it without a score.
        """
        count = np.where(self._count > 0, self._count, np.nan)
        mean = self._sum / count
        variance = np.maximum(self._squares / count - mean * mean, 0.0) / np.where(count > 1, count - 1, np.nan)
        return choose(mean, np.sqrt(variance), order, rule)


def fold_pearson(
    encoder: AnyEncoder,
    training: Training,
    data: PairData,
    settings: tuple[Params, ...],
    excluded: tuple[int, ...],
    folds: tuple[int, ...],
) -> list[FloatArray]:
    """Fit all settings without the folds ``excluded`` and correlate each voxel on some of those folds.

    Returns
    -------
    r : list of ndarray of shape (n_settings, q), one per fold
    """
    if isinstance(encoder, SampleEncoder):
        features = [training.features(excluded, fold) for fold in folds]
        found = encoder.predict_all(training.samples(excluded), data.targets(excluded), settings, features)
        scores = [[pearson_r(data.Y[data.rows[f]], p) for f, p in zip(folds, ps, strict=True)] for ps in found]
        return [np.stack(column) for column in zip(*scores, strict=True)]
    stats = training.moments(excluded)
    path = encoder.path(stats, settings)
    return [
        path_pearson_r(path, training.features(excluded, fold) - stats.x_mean, data.held_out[fold]) for fold in folds
    ]


def exact_voxel_trials(
    encoder: AnyEncoder, training: Training, data: PairData, nested: bool, rule: Rule
) -> Iterator[tuple[int | None, Trials]]:
    """Score every setting for every voxel; as `voxelcast.search.exact.exact_trials`, with ``Trials.voxels``.

    ``rule`` is that of `voxelcast.search.settings.SelectionSettings`.

    Raises
    ------
    OptionError
        If the encoder has too many settings to list them.
    """
    n_folds, q = data.n_folds, data.Y.shape[1]
    settings = encoder.settings(smallest_training(data, nested), training.n_features, q)
    if not settings:
        raise OptionError(
            f"search.method must be bayes or random for {encoder.name}, whose settings cannot all be tried; got exact"
        )
    varies = [data.held_out[fold].norm > 0 for fold in range(n_folds)]
    plain = VoxelTally(len(settings), q)
    for i in range(n_folds):
        plain.add(fold_pearson(encoder, training, data, settings, (i,), (i,))[0], varies[i])
    order = np.arange(len(settings))
    yield None, Trials(settings, plain.fold_means(), plain.choice(order, rule))
    if not nested:
        return
    tallies = [VoxelTally(len(settings), q) for _ in range(n_folds)]
    # Outer fold j gets its inner folds i in ascending order: those before j as (i, j), those after it as (j, i).
    for i in range(n_folds):
        for j in range(i + 1, n_folds):
            on_i, on_j = fold_pearson(encoder, training, data, settings, (i, j), (i, j))
            tallies[j].add(on_i, varies[i])
            tallies[i].add(on_j, varies[j])
    for outer, tally in enumerate(tallies):
        yield outer, Trials(settings, tally.fold_means(), tally.choice(order, rule))
