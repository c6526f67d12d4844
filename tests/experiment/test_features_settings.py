"""Every setting of frames, pools and compression goes the whole way, and nothing of a fold reaches its fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiment.miniature import run, settings, write_dataset
from voxelcast.core.errors import ConfigError, DataError
from voxelcast.execution.steps import Step
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.steps.compress import CompressedSpace, CompressJob, scores_name
from voxelcast.features.settings import CompressionSettings
from voxelcast.store.result import StepResult
from voxelcast.store.steps import StepId, StepStore

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("videos"), n=24, n_voxels=3, videos=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": {"hz": 3}, "spatial_pool": "pyramid(1, 2)"},
        {"frames": {"n": 3}, "pool": "pc1"},
        {"frames": {"n": 3}, "pool": "none", "compress": {"method": "random_projection", "components": 5}},
        {"pool": "hrf(response.csv)", "compress": {"method": "mds", "components": 4}},
        {"compress": {"method": "autoencoder", "components": 4, "options": {"epochs": 3}}},
    ],
    ids=["hz-pyramid", "pc1", "none-projection", "hrf-mds", "autoencoder"],
)
def test_a_run(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "response.csv").write_text("time,V1\n0,0\n1,1\n4,0\n")
    compress = {"method": "pca", "components": 5}
    plain = settings(videos, encoders=["ridge"], folds={"n": 3, "nested": True}, compress=compress) | changes
    plain["networks"][0]["layers"] = ["colour"]
    run(plain, tmp_path / "out")
    facts = [StepResult(path).json("facts") for path in (tmp_path / "out" / "steps" / "compress").rglob("result.npz")]
    features = {"pyramid(1, 2)": 3 * 5}.get(
        plain.get("spatial_pool", ""), 192 * (3 if plain.get("pool") == "none" else 1)
    )
    assert [one["n_features"] for one in facts] == [features]


def test_videos_of_other_lengths_cannot_keep_time(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", n=12, n_voxels=2, videos=True)
    first = sorted((root / "stimuli").iterdir())[0]
    from voxelcast.stimuli.encode import write_video

    write_video(first, np.zeros((3, 32, 32, 3), np.uint8), 6)
    plain = settings(root, encoders=["ridge"], pool="none", frames={"every": 2}) | {
        "folds": {"n": 3, "nested": False},
        "compress": {"method": "pca", "components": 3},
    }
    with pytest.raises(DataError, match=r"same number of time steps; got 6 of layer colour after 2; set frames"):
        run(plain, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": {"hz": 5, "n": 3}}, "exactly one of every"),
        ({"frames": {"hz": -1}}, r"frames\.hz: must be greater than 0"),
        ({"spatial_pool": "grid(0)"}, "spatial_pool must be none, mean, grid"),
        ({"compress": {"method": "mds", "components": "max"}}, "components=max goes with method pca alone"),
        ({"compress": {"method": "umap", "options": {"k": 3}}}, "must be one of min_dist, n_neighbors; got 'k'"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(settings(Path("data")) | changes, "miniature")


def test_fits_where_nothing_is_learnt_serve_all_folds() -> None:
    def in_folds(**changes: Any) -> bool:
        return parse_config(settings(Path("data")) | changes, "miniature").compressed_in_folds

    assert in_folds()
    assert not in_folds(compress={"method": "pca", "fit": "once"})
    assert not in_folds(compress={"method": "random_projection"})
    assert in_folds(compress={"method": "random_projection", "scale": True})
    assert not in_folds(compress={"method": "none"})
    assert in_folds(compress={"method": "none"}, pool="pc1")


def test_the_seed_is_in_the_compression_only_where_something_is_left_to_chance() -> None:
    def seed(method: str, seed: int) -> int:
        plain = settings(Path("data"), compress={"method": method, "components": 3}, seed=seed)
        return parse_config(plain, "miniature").compress_seed

    assert seed("pca", 1) == seed("pca", 2) == seed("mds", 2)
    assert seed("umap", 1) != seed("umap", 2)


def _compressed(folder: Path, components: int) -> CompressedSpace:
    store, shard = StepStore(folder), StepId("extract", "net", "0" * 32)
    with store.writing(shard) as writer:
        writer.array("features/colour", np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32))
    compression = CompressionSettings(components=components)
    step = Step(
        CompressJob("net", "colour", "", None, (shard,), np.arange(16) % 4, ((), (1,)), compression, 0, axis=False)
    )
    step.run(store)
    result = store.read(step.step_id)
    return CompressedSpace("net", "colour", True, lambda excluded: result.array(scores_name(excluded)))


def test_one_fit_of_principal_components_serves_every_number_of_them(tmp_path: Path) -> None:
    space, smaller = (_compressed(tmp_path / str(k), k) for k in (6, 2))
    for excluded in ((), (1,)):
        assert space.scores(excluded).shape == (20, 6)
        np.testing.assert_allclose(space.scores(excluded)[:, :2], smaller.scores(excluded), rtol=0, atol=1e-5)
