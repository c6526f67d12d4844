"""Intervals and novelty on macaque V4: what half of the pictures promises of the other half, and of other pictures."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from tests.experiment.miniature import write_table
from voxelcast.core.errors import VoxelcastWarning
from voxelcast.core.progress import Silent
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings_file import load_config
from voxelcast.models.encoder import load_encoder

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "v4_macaque.yaml"
N = 480  # pictures, half of which are learnt from
NETWORK = "torchvision/mobilenet_v2"


def test_half_of_the_pictures_promises_the_other_half(real_data: Path, tmp_path: Path) -> None:
    source, root = real_data / "v4_macaque", tmp_path / "v4"
    weights = real_data / "weights" / "mobilenet_v2_1.0_224_coral_tv.pth"
    with zipfile.ZipFile(source / "images_201025.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for name in names[:N]:
            archive.extract(name, root / "images")
    np.save(root / "responses.npy", np.load(source / "responses_avg_201025.npy")[:, :N])
    half = np.random.default_rng(0).permutation(N)[: N // 2]
    rows = [(Path(name).stem, "train" if k in set(half) else "test") for k, name in enumerate(names[:N])]
    write_table(root / "split.csv", ("stimulus_id", "split"), rows)
    changes = [
        *(f"dataset.root={root}", "dataset.stimuli=images", "dataset.responses={PE201025: responses.npy}"),
        *(f"networks.0.weights={weights}", "networks.0.layers=[features.10]", "networks.0.input_size=112"),
        *("folds.n=5", "compress.components=60", "significance.permutations=0"),
    ]
    output = tmp_path / "output"
    run_experiment(load_config(EXAMPLE, changes), output, progress=Silent())
    encoder = load_encoder(output, weights={NETWORK: weights})
    (pair,) = encoder.pairs

    other = [root / "images" / f"{name}.jpg" for name, part in rows if part == "test"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", VoxelcastWarning)  # pictures of the same kind raise no alarm
        same = encoder.predict(other, intervals=0.95)[pair]
    columns = [k for k, (_, part) in enumerate(rows) if part == "test"]
    measured = np.load(root / "responses.npy")[:, columns].T
    inside = np.abs(measured - same.values) <= same["half_width"].values
    assert 0.93 <= inside.mean() <= 0.97
    assert float(same["unlike"].mean()) < 0.04  # 1 % by chance
    assert float((same["novelty_p"] <= 0.05).mean()) < 0.10
    r = [np.corrcoef(measured[:, k], same.values[:, k])[0, 1] for k in range(measured.shape[1])]
    row = encoder.card.by_pair[pair].scores
    assert row["score_low"] <= np.mean(r) <= row["score_high"]

    rng = np.random.default_rng(0)
    drawings = [ImageOps.invert(Image.open(path).convert("L").filter(ImageFilter.FIND_EDGES)) for path in other[:30]]
    shown = {f"drawing{k}": np.asarray(one.convert("RGB")) for k, one in enumerate(drawings)}
    shown |= {f"noise{k}": rng.integers(0, 256, (112, 112, 3), dtype=np.uint8) for k in range(10)}
    with pytest.warns(VoxelcastWarning, match="stimuli are unlike those that the model learnt from"):
        strange = encoder.predict(shown)[pair]
    is_noise = np.char.startswith(strange["stimulus"].values.astype(str), "noise")
    assert strange["unlike"].values[~is_noise].mean() > 0.3  # 1 % by chance
    assert (strange["novelty_p"].values <= 0.05).mean() > 0.6  # 5 % by chance
    assert strange["novelty"].values[is_noise].min() > float(same["novelty"].median())
