"""A readout of features that have no places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.encoders.learned.head import HeadSize
from voxelcast.encoders.learned.maps import Resident
from voxelcast.encoders.learned.settings import ReadoutSettings
from voxelcast.encoders.learned.student import Lesson
from voxelcast.encoders.learned.training import Failed, train


def train_plain(
    X: FloatArray, Y: FloatArray, settings: ReadoutSettings, seed: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Train on features (n, p); return their mean (p,), the coefficients (p, q), and the intercept (q,)."""
    device = torch.device("cpu")
    mean, scale = X.mean(axis=0), X.std(axis=0)
    scale[scale == 0] = 1.0
    values = torch.tensor((X - mean) / scale, dtype=torch.float32)[:, :, None, None]
    size = HeadSize(((X.shape[1], 1, 1),), (0,), Y.shape[1])
    lesson = Lesson(Resident((values,)), size, np.arange(len(X)), Y, device)
    (trained,) = train(lesson, [(replace(settings, seeds=1), seed)])
    if isinstance(trained, Failed):
        raise DataError(f"readout: {trained.reason}")
    arrays = trained.arrays
    norm_mean, variance = arrays["head.norms.0.running_mean"], arrays["head.norms.0.running_var"]
    W = arrays["head.weights.0"].T / np.sqrt(variance + 1e-5)[:, None] * arrays["y_scale"]
    intercept = arrays["y_mean"] + arrays["y_scale"] * arrays["head.bias"] - norm_mean @ W
    return mean, W / scale[:, None], intercept
