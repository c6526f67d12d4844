"""The whole way on real stimuli and responses; what the README promises of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiment.miniature import read_table, write_table
from voxelcast.core.arrays import FloatArray
from voxelcast.core.progress import Silent
from voxelcast.experiment.extraction import FolderExtraction, extract_folder
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings_file import load_config
from voxelcast.models.encoder import load_encoder
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.listing import list_stimuli

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "v4_macaque.yaml"

# --- responses of macaque V4 to pictures ---

V4 = Callable[..., float]


@pytest.fixture(scope="module")
def v4_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `v4` writes."""
    return tmp_path_factory.mktemp("v4")


@pytest.fixture(scope="module")
def v4(real_data: Path, v4_folder: Path) -> V4:
    """Run the example on two of its layers, with five folds, and return the score; runs share their features."""
    folder = v4_folder

    def score(name: str, *overrides: str) -> float:
        config = load_config(
            EXAMPLE,
            [
                f"name={name}",
                f"dataset.root={real_data / 'v4_macaque'}",
                f"networks.0.weights={real_data / 'weights' / 'mobilenet_v2_1.0_224_coral_tv.pth'}",
                "networks.0.layers=[features.10, features.12]",
                "folds.n=5",
                *overrides,
            ],
        )
        run_experiment(config, folder / name, store=folder / "store", progress=Silent())
        (row,) = read_table(folder / name / "scores.csv")
        assert row["n_voxels"] == "89"
        return float(row["score"])

    return score


def test_a_trained_network_predicts_v4(v4: V4) -> None:
    assert v4("trained") >= 0.58


def test_shuffled_pictures_predict_nothing(v4: V4, v4_folder: Path) -> None:
    assert v4("shuffled", "control=shuffle", "shuffles=5", "encoders=[ridge]") > 0.5
    (control,) = read_table(v4_folder / "shuffled" / "control.csv")
    assert abs(float(control["shuffled_mean"])) < 0.02
    assert float(control["shuffled_high"]) < 0.05
    assert float(control["p_value"]) == pytest.approx(1 / 6)


def test_an_untrained_network_predicts_v4_less_well(v4: V4) -> None:
    assert 0.30 < v4("random", "networks.0.weights=random") < 0.42


# --- videos ---


@pytest.fixture(scope="module")
def videos(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], Path]:
    """Features of every file under ``videos``: the records and the folder."""
    output = tmp_path_factory.mktemp("videos") / "features"
    records = extract_folder(
        FolderExtraction(
            real_data / "videos",
            NetworkSettings(name="voxelcast/motion_energy", layers=("static.3", "motion.3")),
            ExtractionSettings(on_broken="skip"),
            recursive=True,
            keep_suffix=True,
        ),
        output,
    )
    return records, output


def test_every_video_is_read_whole_or_named_with_the_reason(
    real_data: Path, videos: tuple[list[dict[str, Any]], Path]
) -> None:
    records, output = videos
    probed = json.loads((real_data / "videos" / "probe.json").read_text())
    bad = {record["file"] for record in probed if record["err"]} | {"cisco+openh264/Error_I_P.264"}  # damaged frames
    frames = {record["file"]: 0 if record["file"] in bad else record["frames"] for record in probed}
    assert {record["stimulus_id"]: record["n_frames"] for record in records} == frames
    broken = {record["stimulus_id"]: record["broken"] for record in records if record["broken"]}
    assert sorted(broken) == sorted(name for name, count in frames.items() if count == 0)
    for name, reason in broken.items():
        assert f"{name}: " in reason
        assert "\n" not in reason
    for layer in ("static.3", "motion.3"):
        features = np.load(output / f"{layer}.npy")
        assert len(features) == len(records) - len(broken)
        assert np.isfinite(features).all()


def test_two_encodings_of_a_clip_give_the_same_features(videos: tuple[list[dict[str, Any]], Path]) -> None:
    records, output = videos
    readable = [record["stimulus_id"] for record in records if not record["broken"]]
    twice = [name for name in readable if name.startswith("mdn") and name.endswith(".mp4")]
    assert len(twice) == 6
    for layer in ("static.3", "motion.3"):
        features: FloatArray = np.load(output / f"{layer}.npy")
        for name in twice:
            other = name.removesuffix("mp4") + "webm"
            one, two = features[readable.index(name)], features[readable.index(other)]
            assert np.corrcoef(one, two)[0, 1] > 0.98, (layer, name)


def test_a_model_of_one_half_of_the_pictures_predicts_the_other_as_promised(real_data: Path, tmp_path: Path) -> None:
    """The held-out r lies in the interval of the nested score, and the saved model's predictions are those."""
    data, root = real_data / "v4_macaque", tmp_path / "data"
    root.mkdir()
    for name in ("images_201025.zip", "responses_avg_201025.npy"):
        (root / name).symlink_to(data / name)
    stimuli = list_stimuli(data / "images_201025.zip")
    half = np.random.default_rng(0).permutation(len(stimuli)) % 2
    rows = [(s.stimulus_id, "test" if h else "train") for s, h in zip(stimuli, half, strict=True)]
    write_table(root / "split.csv", ("stimulus_id", "split"), rows)
    weights = real_data / "weights" / "mobilenet_v2_1.0_224_coral_tv.pth"
    changes = [f"dataset.root={root}", f"networks.0.weights={weights}", "networks.0.layers=[features.12]"]
    changes += ["compress.components=200", "significance.permutations=0"]
    run_experiment(load_config(EXAMPLE, changes), tmp_path / "out", progress=Silent())
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    promised, low, high = (float(row[name]) for name in ("score", "score_low", "score_high"))
    assert low < float(row["held_out_score"]) < high
    encoder = load_encoder(tmp_path / "out", weights={"torchvision/mobilenet_v2": weights})
    shard = encoder.card.shards[0]
    by_id = {stimulus.stimulus_id: stimulus for stimulus in stimuli}
    found = encoder.predict([by_id[name] for name in shard])
    ids = [line["stimulus_id"] for line in read_table(tmp_path / "out" / "predictions" / "PE201025_all_stimuli.csv")]
    written = np.load(tmp_path / "out" / "predictions" / "PE201025_all.npy")
    np.testing.assert_array_equal(found.arrays["PE201025", "all"], written[[ids.index(name) for name in shard]])
    assert promised == pytest.approx(float(row["held_out_score"]), abs=0.05)
