"""How well the response pattern to each stimulus was predicted, and pictures of the best and the worst predicted."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from PIL import Image

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.errors import VoxelcastError
from voxelcast.experiment.finished import Finished
from voxelcast.results.read import extreme_stimuli
from voxelcast.results.schema import Pair
from voxelcast.results.write import THUMBNAIL_FILE
from voxelcast.scoring.correlation import constant_columns
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.stimuli.thumbnail import thumbnail
from voxelcast.store.atomic import save_arrays

_AT_ONCE: Final = 4096
"""Voxels that are looked at together, so that whole brains need little memory."""


def pattern_r(measured: FloatArray, predicted: FloatArray) -> FloatArray:
    """Correlate, over voxels, the measured with the predicted response to each stimulus.

    Each voxel is standardised over stimuli first, so that a voxel's mean and gain do not count.

    Parameters
    ----------
    measured, predicted : ndarray of shape (n_stimuli, n_voxels)

    Returns
    -------
    r : ndarray of shape (n_stimuli,)
        NaN with fewer than three voxels that vary in both and have no missing value.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.random.default_rng(0).standard_normal((5, 9))
    >>> pattern_r(y, 2 * y + 1).round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    sums, n_voxels = np.zeros((5, len(measured))), 0
    for start in range(0, measured.shape[1], _AT_ONCE):
        parts = [np.asarray(a[:, start : start + _AT_ONCE], dtype=np.float64) for a in (measured, predicted)]
        keep = np.isfinite(parts).all(axis=(0, 1))
        parts = [part[:, keep] for part in parts]
        varies = ~(constant_columns(parts[0]) | constant_columns(parts[1]))
        y, p = ((part[:, varies] - part[:, varies].mean(axis=0)) / part[:, varies].std(axis=0) for part in parts)
        sums += [y.sum(axis=1), p.sum(axis=1), (y * y).sum(axis=1), (p * p).sum(axis=1), (y * p).sum(axis=1)]
        n_voxels += y.shape[1]
    if n_voxels < 3:
        return np.full(len(measured), np.nan)
    y_sum, p_sum, yy, pp, yp = sums / n_voxels
    norms = np.sqrt(np.maximum(yy - y_sum**2, 0) * np.maximum(pp - p_sum**2, 0))
    covariance = yp - y_sum * p_sum
    return np.asarray(np.divide(covariance, norms, out=np.full(len(measured), np.nan), where=norms > 1e-12))


def stimulus_rows(scores: Mapping[Pair, tuple[Sequence[str], FloatArray]]) -> list[dict[str, Any]]:
    """Average each stimulus' `pattern_r` over subjects: the rows of ``stimulus_scores.csv``, by ROI."""
    gathered: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (_, roi), (ids, values) in scores.items():
        for name, value in zip(ids, values.tolist(), strict=True):
            if np.isfinite(value):
                gathered[roi, name].append(value)
    return [
        {"roi": roi, "stimulus_id": name, "pattern_r": float(np.mean(values)), "n_subjects": len(values)}
        for (roi, name), values in gathered.items()
    ]


def write_thumbnails(finished: Finished, output: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write small pictures of the stimuli predicted best and worst, where they are pictures or videos on the disk."""
    (output / THUMBNAIL_FILE).unlink(missing_ok=True)
    if not rows:
        return
    dataset = finished.plan.dataset
    known: dict[str, Stimulus] = {one.stimulus_id: one for one in (*dataset.train_stimuli, *dataset.test_stimuli)}
    pictures: dict[str, ByteArray] = {}
    for name, stimulus_id, _ in extreme_stimuli(pd.DataFrame(rows)):
        try:
            picture = thumbnail(known[stimulus_id])
        except (VoxelcastError, KeyError, OSError):
            continue  # words, sounds, ready features: there is nothing to show
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="JPEG", quality=80)
        pictures[name] = np.frombuffer(buffer.getvalue(), dtype=np.uint8)
    if pictures:
        save_arrays(output / THUMBNAIL_FILE, pictures)
