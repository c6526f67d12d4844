"""Measured and predicted responses of a few voxels, for the reader to see what a score looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.experiment.plan import Readable
from voxelcast.store.atomic import save_arrays

QUANTILES: Final = (1.0, 0.75, 0.5)
"""The voxel with the best score, the one at the upper quartile, and the median one."""


def write_example_voxels(path: Path, responses: Path, fit: Path, readable: Readable) -> None:
    """Write ``voxel``, ``quantile``, ``score`` (n_examples,), ``measured`` and ``predicted`` (n_stimuli, n_examples).

    The stimuli are those of the score that the report shows: out-of-fold predictions of the training stimuli, or the
    held-out stimuli where there was no nested cross-validation. Nothing is written where no voxel has a score.

    Parameters
    ----------
    path : Path
        A .npz file.
    responses, fit : Path
        Folders of the finished steps of the same subject and ROI.
    readable : Readable
    """
    with np.load(fit / "voxels.npz") as voxels:
        nested = "pearson_r" in voxels
        if not nested and "held_out_r" not in voxels:
            return
        scores = voxels["pearson_r" if nested else "held_out_r"]
    chosen, quantiles = voxels_at_quantiles(scores)
    if not chosen.size:
        return
    source, rows, predictions = (
        ("train.npy", readable.train_rows, "out_of_fold.npy")
        if nested
        else ("test.npy", readable.test_rows, "predictions.npy")
    )
    measured = np.load(responses / source, mmap_mode="r")[rows][:, chosen]
    predicted = np.load(fit / predictions, mmap_mode="r")[:, chosen]
    arrays = {"voxel": chosen, "quantile": quantiles, "score": scores[chosen]}
    arrays |= {"measured": measured, "predicted": predicted}
    save_arrays(path, arrays)


def voxels_at_quantiles(scores: FloatArray) -> tuple[IntArray, FloatArray]:
    """Pick the voxels whose scores lie nearest to `QUANTILES` of the finite ones; each voxel once.

    Parameters
    ----------
    scores : ndarray of shape (n_voxels,)
        NaN where a voxel has none.

    Returns
    -------
    voxels, quantiles : ndarray of shape (n_examples,)
        From the best on; empty where no score is finite. A voxel that is nearest to two quantiles has the higher one.
    """
    order = np.argsort(scores, kind="stable")[: int(np.isfinite(scores).sum())]  # NaN sorts behind
    places: dict[int, float] = {}
    for quantile in QUANTILES if order.size else ():
        places.setdefault(round(quantile * (len(order) - 1)), quantile)
    return order[list(places)].astype(int), np.array(list(places.values()))
