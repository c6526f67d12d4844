"""Given folds of real data leave the unit of exchange a stimulus; neighbours and look-alikes are not seen in them."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import voxelcast as vc
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import VoxelcastWarning
from voxelcast.scoring.settings import SignificanceSettings
from voxelcast.search.settings import FoldSettings

pytestmark = pytest.mark.slow


def _v4(real_data: Path) -> tuple[FloatArray, FloatArray]:
    """Small pictures of session 210325, and the responses of 50 neurons of V4 to them."""
    with zipfile.ZipFile(real_data / "v4_macaque" / "images_210325.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".png")))
        small = [Image.open(io.BytesIO(archive.read(name))).convert("RGB").resize((14, 14)) for name in names]
    features = np.stack([np.asarray(picture, dtype=float).ravel() for picture in small])
    return features, np.load(real_data / "v4_macaque" / "responses_avg_210325.npy").T


def test_given_folds_and_groups_of_v4(real_data: Path) -> None:
    features, responses = _v4(real_data)
    folds = np.arange(len(responses)) % 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # 640 different pictures, in no order of time
        given = vc.evaluate(features, responses, folds=folds)
        made = vc.evaluate(features, responses, folds=8)
    assert given.attrs["exchanged"].startswith("Permutations exchange single stimuli within each of 8 folds")
    assert given.attrs["n_significant_voxels"] >= 40
    assert abs(given.attrs["n_significant_voxels"] - made.attrs["n_significant_voxels"]) <= 5
    assert abs(given.attrs["score"] - made.attrs["score"]) < 0.03
    # Folds given as groups are exchanged whole: of four, no p-value is below 1 / 24.
    four = [f"part {k % 4}" for k in range(len(responses))]
    settings = vc.EvaluationSettings(significance=SignificanceSettings(alpha=0.01))
    with pytest.warns(VoxelcastWarning, match="no p-value is below 0.042, and alpha is 0.01"):
        whole = vc.evaluate(features, responses, folds=FoldSettings(by="group"), groups=four, settings=settings)
    assert whole.attrs["n_significant_voxels"] == 0
    single = vc.evaluate(
        features, responses, folds=FoldSettings(by="group", unit="stimulus"), groups=four, settings=settings
    )
    np.testing.assert_array_equal(whole["prediction"], single["prediction"])
    assert single.attrs["n_significant_voxels"] >= 35


def test_volumes_in_random_folds_are_told(real_data: Path) -> None:
    path = real_data / "haxby_series" / "sub001" / "BOLD" / "task001_run001" / "bold_1slice.nii.gz"
    image = nibabel.load(path).get_fdata()
    signal = image.reshape(-1, image.shape[-1]).T
    varying = np.flatnonzero(signal.std(axis=0) > 0)
    chosen = varying[:: len(varying) // 60]
    with pytest.warns(VoxelcastWarning, match="follow each other in the order given"):
        vc.evaluate(signal[:, chosen[:30]], signal[:, chosen[30:60]], folds=5)
