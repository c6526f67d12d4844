"""From the neurons of one session of V4 to those of another, who saw other images."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import mobilenet_v2

from voxelcast.core.arrays import FloatArray
from voxelcast.scoring.correlation import pearson_r
from voxelcast.search.transfer import fit_shared_ridge

pytestmark = pytest.mark.slow


def _session(folder: Path, name: str) -> tuple[FloatArray, FloatArray]:
    """Return features of MobileNetV2's block 10, (n, 3136), and the responses."""
    network = mobilenet_v2()
    weights = folder / "weights" / "mobilenet_v2_1.0_224_coral_tv.pth"
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    with zipfile.ZipFile(folder / "v4_macaque" / f"images_{name}.zip") as archive:
        names = sorted(one for one in archive.namelist() if one.lower().endswith((".jpg", ".png")))
        shown = [np.asarray(Image.open(io.BytesIO(archive.read(one))).convert("RGB")) for one in names]
    features = []
    with torch.no_grad():
        for start in range(0, len(shown), 64):
            x = torch.from_numpy(np.stack(shown[start : start + 64])).permute(0, 3, 1, 2).float() / 127.5 - 1
            features.append(network.features[:11](x).flatten(1).double().numpy())
    return np.concatenate(features), np.load(folder / "v4_macaque" / f"responses_avg_{name}.npy").T


def test_another_sessions_neurons_help_a_new_ones(real_data: Path) -> None:
    """Mean r of new images; ten draws of 50 of the new session's images to learn from."""
    (X, Y), (X_new, Y_new) = _session(real_data, "201025"), _session(real_data, "210325")
    mean = X.mean(axis=0)
    axes = np.linalg.svd(X - mean, full_matrices=False)[2][:400].T
    X, X_new = (X - mean) @ axes, (X_new - mean) @ axes
    nobody = np.zeros((len(X), 1))
    session = fit_shared_ridge([X], [nobody], Y / Y.std(axis=0), np.arange(len(X)) % 5)
    P, found, folds = X_new @ session.own, [], np.arange(50) % 5
    for draw in range(10):
        order = np.random.default_rng(draw).permutation(len(X_new))
        few, new = order[:50], order[300:]
        models = [fit_shared_ridge([X_new[few]], [P[few]], Y_new[few], folds, *shares) for shares in ((), ((0.0,),))]
        found.append([pearson_r(Y_new[new], m.predict([X_new[new]], [P[new]])).mean() for m in models])
    with_others, alone = np.mean(found, axis=0)
    assert with_others > alone + 0.02
    assert np.diff(found).max() < 0.005  # never much worse than alone
