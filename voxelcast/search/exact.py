"""Exhaustive search: every setting of an encoder on every set of folds left out, from one path per training part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.base import Params
from voxelcast.encoders.sample import AnyEncoder, SampleEncoder
from voxelcast.scoring.correlation import Metric
from voxelcast.search.choice import Choice
from voxelcast.search.path_scores import score_path_folds
from voxelcast.search.sample_scores import score_samples
from voxelcast.search.training import PairData, Training

_MOST_REFINEMENTS = 4


@dataclass(frozen=True)
class Trials:
    """The settings tried of one encoder on one feature space, with their scores.

    Parameters
    ----------
    settings : tuple of Params
    scores : ndarray of shape (n_settings, n_folds), or (n_settings, n_folds - 1) inside an outer fold
        On each fold, from a model fitted without it. Inside an outer fold j, only on the other folds, ascending, and
        fitted without j too.
    voxels : Choice, optional
        What each voxel takes of the settings, where voxels choose for themselves.
    complexity : ndarray of shape (n_settings,), optional
        Where each setting stands from the simplest to the most complex; None: they are in that order.
    n_features : int, optional
        How many of the layer's features the models were given, the first ones; None: all.
    """

    settings: tuple[Params, ...]
    scores: FloatArray
    voxels: Choice | None = None
    complexity: IntArray | None = None
    n_features: int | None = None


def score_excluded(
    encoder: AnyEncoder,
    training: Training,
    data: PairData,
    settings: tuple[Params, ...],
    excluded: tuple[int, ...],
    metric: Metric,
    folds: tuple[int, ...] | None = None,
) -> FloatArray:
    """Fit all settings without the folds ``excluded`` and score them on ``folds``, by default on each of those.

    Returns
    -------
    scores : ndarray of shape (n_settings, len(folds))
    """
    folds = excluded if folds is None else folds
    if isinstance(encoder, SampleEncoder):
        return score_samples(encoder, training, data, settings, excluded, folds, metric)
    stats = training.moments(excluded)
    path = encoder.path(stats, settings)
    features = [training.features(excluded, fold) - stats.x_mean for fold in folds]
    return score_path_folds(path, features, stats.y_mean, [data.held_out[fold] for fold in folds], metric)


def exact_trials(
    encoder: AnyEncoder, training: Training, data: PairData, nested: bool, metric: Metric
) -> Iterator[tuple[int | None, Trials]]:
    """Score every setting under plain cross-validation and, if nested, inside every outer fold.

    The model that outer fold j needs for inner fold i is fitted without i and j, and so is the one that outer fold i
    needs for inner fold j: n (n - 1) / 2 paths serve all inner folds.

    Yields
    ------
    outer : int or None
        The outer fold, None for plain cross-validation.
    trials : Trials

    Raises
    ------
    OptionError
        If the encoder has too many settings to list them.
    """
    n_folds = data.n_folds
    settings = encoder.settings(smallest_training(data, nested), training.n_features, data.Y.shape[1])
    if not settings:
        raise OptionError(
            f"search.method must be bayes or random for {encoder.name}, whose settings cannot all be tried; got exact"
        )
    plain = [score_excluded(encoder, training, data, settings, (i,), metric) for i in range(n_folds)]
    yield None, _refined(encoder, training, data, settings, np.concatenate(plain, axis=1), None, metric)
    if not nested:
        return
    inner = np.empty((n_folds, len(settings), n_folds - 1))
    for i in range(n_folds):
        for j in range(i + 1, n_folds):
            scores = score_excluded(encoder, training, data, settings, (i, j), metric)
            # Fold j has place j - 1 among the folds other than i < j.
            inner[j, :, i], inner[i, :, j - 1] = scores[:, 0], scores[:, 1]
    for outer in range(n_folds):
        yield outer, _refined(encoder, training, data, settings, inner[outer], outer, metric)


def _refined(
    encoder: AnyEncoder,
    training: Training,
    data: PairData,
    settings: tuple[Params, ...],
    scores: FloatArray,
    outer: int | None,
    metric: Metric,
) -> Trials:
    """Try settings between those of the list, where the encoder expects a better score.

    The one fold ``outer`` has no part in it: they are proposed from, and scored on, the other folds.
    """
    if isinstance(encoder, SampleEncoder):
        return Trials(settings, scores)
    listed = len(settings)
    for _ in range(_MOST_REFINEMENTS):
        more = encoder.refined(settings, scores.mean(axis=1))
        if not more:
            break
        columns = [
            score_excluded(encoder, training, data, more, _without(fold, outer), metric, (fold,))
            for fold in range(data.n_folds)
            if fold != outer
        ]
        settings, scores = (*settings, *more), np.concatenate([scores, np.concatenate(columns, axis=1)])
    if len(settings) == listed:
        return Trials(settings, scores)
    ranked = sorted(range(len(settings)), key=lambda place: encoder.order(settings[place]))
    return Trials(settings, scores, complexity=np.argsort(ranked))


def _without(fold: int, outer: int | None) -> tuple[int, ...]:
    return (fold,) if outer is None else (min(fold, outer), max(fold, outer))


def smallest_training(data: PairData, nested: bool) -> int:
    """Return the size of the smallest training set in which a setting is to be tried."""
    sizes = sorted(len(rows) for rows in data.rows)
    return data.n_train - sum(sizes[-2:] if nested else sizes[-1:])


def usable_features(encoder: AnyEncoder, training: Training, data: PairData, nested: bool) -> int:
    """Return how many features a proposal may ask for: where an encoder counts them, the smallest rank in its use.

    (The exhaustive search needs no rank: models beyond it are the same to the bit, and the one with the fewest wins.)
    """
    ranges = encoder.space(smallest_training(data, nested), training.n_features, data.Y.shape[1])
    if isinstance(encoder, SampleEncoder) or not any(bounds.integer for bounds in ranges.values()):
        return training.n_features
    left_out = combinations(range(data.n_folds), 2 if nested else 1)
    ranks = [np.linalg.matrix_rank(training.moments(excluded).S, hermitian=True) for excluded in left_out]
    return max(int(min(ranks)), 1)  # a layer that does not vary has one model, the mean
