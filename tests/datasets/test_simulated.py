from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tests.datasets.miniatures import PLAN, make_simulated, planted_features
from voxelcast.core.errors import DataError, MissingFileError, OptionError, ShapeError, StoreError, VoxelcastError
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS, SUBJECTS
from voxelcast.datasets.formats.simulated import (
    SimulatedDataset,
    SimulatedSettings,
    write_responses,
    write_simulation,
    write_videos,
)
from voxelcast.datasets.simulation.plan import SimulationPlan, simulation_preset
from voxelcast.datasets.simulation.responses import (
    add_noise,
    driving_components,
    planted_signal,
)
from voxelcast.datasets.simulation.videos import draw_clip
from voxelcast.stimuli.decode import iter_frames
from voxelcast.stimuli.encode import write_video
from voxelcast.stimuli.sampling import FrameSampling

RNG = np.random.default_rng(5)
FEATURES = RNG.standard_normal((400, 12)) @ RNG.standard_normal((12, 30)) + 3.0
DRIVERS = dict.fromkeys(MINI_ROIS, ("net", "layer"))


def test_components_are_white_on_training_and_span_the_features() -> None:
    components = driving_components(FEATURES, 300, n_components=20)
    assert components.shape == (400, 12)  # the rank of the features
    train = components[:300]
    assert np.allclose(train.mean(axis=0), 0, atol=1e-10)
    assert np.allclose(train.T @ train / 300, np.eye(12), atol=1e-8)
    # They are the components of scikit-learn's PCA of the standardised training features, up to sign.
    scaler = StandardScaler().fit(FEATURES[:300])
    pca = PCA(5, whiten=True, svd_solver="full").fit(scaler.transform(FEATURES[:300]))
    expected = pca.transform(scaler.transform(FEATURES)) * np.sqrt(300 / 299)
    for k in range(5):
        assert abs(components[:, k] @ expected[:, k]) == pytest.approx(np.sum(expected[:, k] ** 2), rel=1e-8)


def test_constant_features_are_left_out() -> None:
    with_constant = np.concatenate([FEATURES, np.full((400, 2), 7.0)], axis=1)
    assert np.allclose(driving_components(with_constant, 300), driving_components(FEATURES, 300))
    with pytest.raises(DataError, match="only constant"):
        driving_components(np.ones((10, 3)), 8)
    with pytest.raises(ShapeError):
        driving_components(FEATURES, 500)


@pytest.mark.parametrize(("share", "shared"), [(0.3, 0.4), (0.8, 0.0), (0.1, 1.0), (1.0, 0.5)])
def test_variances_are_those_of_the_model(share: float, shared: float) -> None:
    signal = planted_signal(driving_components(RNG.standard_normal((2000, 25)), 2000), 30, seed=1)
    assert np.allclose(signal.std(axis=0), 1)
    values = add_noise(signal, 8, signal_share=share, shared_noise=shared, seed=1).astype(np.float64)
    noise = values - np.sqrt(share) * signal[:, None]
    assert noise.var(axis=(0, 1)) == pytest.approx(np.full(30, 1 - share), rel=0.05, abs=1e-6)
    # Analysis of variance: mean within-stimulus variance is the noise, without knowing the signal.
    assert values.var(axis=1, ddof=1).mean() == pytest.approx(1 - share, rel=0.02, abs=1e-6)
    # The shared part has five factors: the sum over voxels of squared noise correlations tells it from private noise.
    flat = noise.reshape(-1, 30)
    spectrum = np.linalg.eigvalsh(np.cov(flat.T))[::-1]
    private = (1 - share) * (1 - shared)
    assert spectrum[5:].mean() == pytest.approx(private, rel=0.05, abs=1e-6)
    assert spectrum[:5].sum() == pytest.approx(30 * (1 - share) * shared + 5 * private, rel=0.1, abs=1e-5)


@pytest.mark.parametrize("k", [3, 10])
def test_ceiling_is_what_the_noise_free_signal_reaches(k: int) -> None:
    plan = replace(PLAN, signal={"V1": 0.2, "FFA": 0.5})
    features = RNG.standard_normal((3000, 25))
    signal = planted_signal(driving_components(features, 3000), 40, seed=2)
    mean = add_noise(signal, k, signal_share=0.2, shared_noise=0.4, seed=2).mean(axis=1)
    reached = np.mean([np.corrcoef(signal[:, v], mean[:, v])[0, 1] for v in range(40)])
    assert reached == pytest.approx(plan.noise_ceiling_r("V1", k), abs=0.01)
    assert plan.noise_ceiling_r("FFA", k) > plan.noise_ceiling_r("V1", k)


def test_responses_are_predicted_by_their_features_only() -> None:
    def made(seed: int) -> np.ndarray:
        signal = planted_signal(driving_components(FEATURES, len(FEATURES)), 20, seed=seed)
        return add_noise(signal, 3, signal_share=0.5, shared_noise=0.4, seed=seed)

    responses = made(4)
    assert responses.shape == (400, 3, 20)
    assert responses.dtype == np.float32
    other = np.random.default_rng(9).standard_normal((400, 12))

    def explained(features: np.ndarray) -> float:
        design = np.column_stack([features[:, :12], np.ones(400)])
        fit = design @ np.linalg.lstsq(design, responses.mean(axis=1), rcond=None)[0]
        return float(np.mean([np.corrcoef(fit[:, v], responses.mean(axis=1)[:, v])[0, 1] for v in range(20)]))

    assert explained(FEATURES) > 0.8
    assert explained(other) < 0.3
    assert np.array_equal(responses, made(4))
    assert not np.array_equal(responses, made(5))


def test_clips_are_deterministic_and_differ() -> None:
    clips = [draw_clip(0, number, 6, 32) for number in range(40)]
    assert all(clip.shape == (6, 32, 32, 3) and clip.dtype == np.uint8 for clip in clips)
    assert np.array_equal(clips[7], draw_clip(0, 7, 6, 32))
    assert not np.array_equal(clips[7], draw_clip(1, 7, 6, 32))
    means = np.array([clip.mean() for clip in clips])
    contrasts = np.array([clip.std() for clip in clips])
    motion = np.array([np.abs(np.diff(clip.astype(float), axis=0)).mean() for clip in clips])
    # Mean brightness, contrast and motion vary over clips by far more than rounding.
    assert means.std() > 10
    assert contrasts.std() > 10
    assert motion.std() > 3
    assert draw_clip(0, 1, 1, 8).shape == (1, 8, 8, 3)


def test_a_clip_always_gives_the_same_bytes(tmp_path: Path) -> None:
    # With its default look ahead x264 gave up to 33 different files in 60 for these clips.
    rng = np.random.default_rng(0)
    for number in range(3):
        clip, written = draw_clip(0, number, 15, 64), set()
        for size in rng.integers(1, 200_000, 10):
            rng.random(int(size))  # so that freed memory differs from call to call
            write_video(tmp_path / "a.mp4", clip, 15)
            written.add((tmp_path / "a.mp4").read_bytes())
        assert len(written) == 1


def test_videos_are_written_once_and_resumed(tmp_path: Path) -> None:
    stimuli = write_videos(PLAN, tmp_path)
    assert [s.stimulus_id[:4] for s in stimuli] == [f"{k:04d}" for k in range(1, 18)]
    before = {s.path: (s.path.read_bytes(), s.path.stat().st_mtime_ns) for s in stimuli}
    stimuli[3].path.unlink()
    write_videos(PLAN, tmp_path)
    assert {path: path.read_bytes() for path in before} == {path: data for path, (data, _) in before.items()}
    kept = [path for path, (_, time) in before.items() if path.stat().st_mtime_ns == time]
    assert set(before) - set(kept) == {stimuli[3].path}
    (chunk,) = iter_frames(stimuli[0], FrameSampling(every=1))
    drawn = draw_clip(PLAN.seed, 1, 4, 16)
    assert chunk.frames.shape == drawn.shape
    assert np.corrcoef(chunk.frames.ravel(), drawn.ravel())[0, 1] > 0.8


def test_dataset_holds_what_was_planted(tmp_path: Path) -> None:
    dataset = SimulatedDataset(make_simulated(tmp_path))
    features = planted_features(PLAN)
    components = driving_components(features[("net", "early")], PLAN.n_train, PLAN.n_components)
    test = dataset.responses("sub02", "V1", "test")
    assert test.values.shape == (5, 10, 5)
    assert dataset.responses("sub02", "V1").values.shape == (12, 3, 5)
    assert dataset.has_test_responses
    assert dataset.submission_track is None
    assert components.shape == (17, 11)
    (pair,) = [pair for pair in dataset.truth()["pairs"] if (pair["subject"], pair["roi"]) == ("sub02", "V1")]
    assert (pair["network"], pair["layer"], pair["n_voxels"]) == ("net", "early", 5)
    assert pair["noise_ceiling_r_test"] == pytest.approx(np.sqrt(0.3 / (0.3 + 0.7 / 10)))
    assert dataset.rois("sub02") == ("V1",)
    assert SimulatedDataset(SimulatedSettings(tmp_path, subjects=["sub01"], rois=["FFA"])).rois("sub01") == ("FFA",)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_simulation(tmp_path / name, PLAN, lambda stimuli, drivers: planted_features(PLAN))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 17 + 2 * 3 + 2
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_another_simulation_or_other_data_are_not_overwritten(tmp_path: Path) -> None:
    make_simulated(tmp_path / "a")
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    other = replace(PLAN, seed=4)
    with pytest.raises(StoreError, match="another simulation; nothing was written"):
        write_videos(other, tmp_path / "a")
    with pytest.raises(StoreError, match="no videos of this plan"):
        write_responses(other, tmp_path / "a", planted_features(other))
    (tmp_path / "real" / "participants_data_v2021").mkdir(parents=True)
    with pytest.raises(StoreError, match="no simulation; nothing was written"):
        write_videos(PLAN, tmp_path / "real")
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == before


def test_features_that_do_not_fit(tmp_path: Path) -> None:
    write_videos(PLAN, tmp_path)
    features = planted_features(PLAN)
    with pytest.raises(DataError, match=r"features of \('net', 'late'\)"):
        write_responses(PLAN, tmp_path, {("net", "early"): features["net", "early"]})
    with pytest.raises(ShapeError, match="n_train \\+ n_test=17"):
        write_responses(PLAN, tmp_path, {driver: values[:-1] for driver, values in features.items()})
    with pytest.raises(MissingFileError, match="voxelcast simulate"):
        SimulatedDataset(SimulatedSettings(tmp_path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 15}, "even"),
        ({"n_train": 1}, "n_train must be at least 2"),
        ({"n_test": 9999}, "at most 9999"),
        ({"seconds": 0.0}, "frames"),
        ({"signal": 0.0}, "signal must lie"),
        ({"signal": {"V1": 0.5, "FFA": 1.5}}, "got 1.5 for ROI FFA"),
        ({"shared_noise": 1.5}, "shared_noise"),
        ({"drivers": {"V1": ("net", "early")}}, "missing: FFA"),
        ({"voxels": {}}, "at least one subject"),
        ({"voxels": {"s": {"V1": 0}}}, "must have a voxel"),
        ({"voxels": {"../s": {"V1": 1}}}, "leads outside"),
    ],
)
def test_plans_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(VoxelcastError, match=words):
        replace(PLAN, **changes)


def test_presets() -> None:
    demo = simulation_preset("demo", DRIVERS)
    assert (demo.n_train, demo.n_test, demo.n_frames, demo.size) == (160, 40, 15, 64)
    assert (demo.subjects, demo.rois) == (SUBJECTS, MINI_ROIS)
    assert {n for rois in demo.voxels.values() for n in rois.values()} <= set(range(8, 15))
    challenge = simulation_preset("challenge", DRIVERS, seed=2, signal=0.1)
    assert sum(sum(rois.values()) for rois in challenge.voxels.values()) == 29_623
    assert (challenge.n_train, challenge.n_test, challenge.seed, challenge.signal) == (1000, 102, 2, 0.1)
    with pytest.raises(OptionError, match="preset must be one of demo, challenge"):
        simulation_preset("huge", DRIVERS)  # type: ignore[arg-type]
    assert isinstance(demo, SimulationPlan)
