"""Fits and scores of encoders that have no path: each setting is fitted to samples and judged by its predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import Params
from voxelcast.encoders.sample import FittedModel, SampleEncoder
from voxelcast.scoring.correlation import METRICS, Metric
from voxelcast.search.training import PairData, Training


def fit_samples(
    encoder: SampleEncoder, training: Training, data: PairData, setting: Params, excluded: tuple[int, ...]
) -> FittedModel:
    """Fit one setting to the training stimuli outside the folds ``excluded``."""
    return encoder.fit(training.samples(excluded), data.targets(excluded), setting)


def score_samples(
    encoder: SampleEncoder,
    training: Training,
    data: PairData,
    settings: Sequence[Params],
    excluded: tuple[int, ...],
    folds: Sequence[int],
    metric: Metric,
) -> FloatArray:
    """Fit all settings without the folds ``excluded`` and score them on some of those folds.

    Returns
    -------
    scores : ndarray of shape (n_settings, len(folds))
    """
    features = [training.features(excluded, fold) for fold in folds]
    scores = np.empty((len(settings), len(folds)))
    tried = encoder.predict_all(training.samples(excluded), data.targets(excluded), settings, features)
    for row, predictions in enumerate(tried):
        for column, (fold, predicted) in enumerate(zip(folds, predictions, strict=True)):
            scores[row, column] = METRICS[metric](data.Y[data.rows[fold]], predicted)
    return scores
