"""Features of the user's own through the whole way: as good as a layer, alone and beside others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import voxelcast as vc
from tests.experiment.miniature import read_table, run, settings, stimulus_ids, write_dataset
from voxelcast.core.arrays import put
from voxelcast.core.errors import AlignmentError, ConfigError, StoreError
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.layers import extraction_steps
from voxelcast.experiment.settings_file import parse_config
from voxelcast.store.steps import StepStore

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and beside it a table of what drives its responses and one of noise."""
    root = write_dataset(tmp_path_factory.mktemp("own"), n=48)
    ids = stimulus_ids(root)
    Y = np.load(root / "responses" / "ann.npy")
    driving = np.linalg.svd(Y - Y.mean(axis=0), full_matrices=False)[0][:, :3]
    np.savez(root / "driving.npz", features=driving, stimulus_id=np.array(ids))
    noise = np.random.default_rng(3).standard_normal((48, 2))
    rows = [f"{one},{a},{b}" for one, (a, b) in zip(ids, noise.tolist(), strict=True)]
    (root / "noise.csv").write_text("\n".join(["stimulus_id,a,b", *rows]))
    return root


@pytest.mark.slow
def test_own_features_beside_a_network(root: Path, tmp_path: Path) -> None:
    features = {"noise": str(root / "noise.csv"), "driving": str(root / "driving.npz")}
    plain = settings(root, features=features, ensemble={"method": "banded_ridge", "draws": 3})
    plain |= {
        "variance_partitioning": {"groups": {"net": ["voxelcast/motion_energy"], "own": ["features"]}, "draws": 2}
    }
    run(plain, tmp_path / "out")
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert (row["network"], row["layer"]) == ("features", "driving")
    assert float(row["score"]) > 0.7
    layers = {one["layer"]: one for one in read_table(tmp_path / "out" / "layers.csv")}
    assert layers["noise"]["n_components"] == "2"  # of the 8 asked for
    assert layers["driving"]["n_components"] == "3"
    parts = {one["part"]: float(one["r2"]) for one in read_table(tmp_path / "out" / "variance_partitioning.csv")}
    assert parts["own"] > parts["net"]


def test_arrays_from_python_are_the_same_experiment_as_files(root: Path, tmp_path: Path) -> None:
    found = np.load(root / "driving.npz")
    ids = found["stimulus_id"].tolist()
    order = np.argsort(ids)
    labelled = xr.DataArray(found["features"], dims=("stimulus", "feature"), coords={"stimulus": ids})
    given = {"file": str(root / "driving.npz"), "labelled": labelled, "sorted": found["features"][order]}
    scores = []
    for name, features in given.items():
        plain = settings(root, networks=[], features={"driving": features}, encoders="ridge")
        results = vc.run(plain, tmp_path / name, progress=False)
        scores.append(results.voxel_scores["pearson_r"].values)
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])
    assert (scores[0] > 0.7).all()
    with pytest.raises(StoreError, match="another experiment"):
        vc.run(
            settings(root, networks=[], features={"driving": labelled * 2}, encoders="ridge"),
            tmp_path / "labelled",
            progress=False,
        )


def test_a_files_content_counts_and_not_its_name(root: Path, tmp_path: Path) -> None:
    def key(file: Path, name: str = "noise") -> str:
        plain = settings(root, networks=[], features={name: str(file)}, compress={"method": "none"})
        plan = Plan(parse_config(plain, "test"), StepStore(tmp_path / "steps"))
        (extracted,) = extraction_steps(plan).values()
        step = extracted.train[0]
        return step.step_id.key

    text = (root / "noise.csv").read_text()
    (tmp_path / "same.csv").write_text(text)
    (tmp_path / "other.csv").write_text(text.replace("\n", "\n", 1).rsplit(",", 1)[0] + ",0.5")
    assert key(tmp_path / "same.csv") == key(root / "noise.csv")
    assert key(tmp_path / "other.csv") != key(root / "noise.csv")
    assert key(root / "noise.csv", "named") != key(root / "noise.csv")


def test_wrong_ids_end_the_run_before_work(root: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", features=np.ones((2, 1)), stimulus_id=np.array(["s001", "s002"]))
    with pytest.raises(AlignmentError, match="no row for 46 of 48 stimuli"):
        run(settings(root, features={"few": str(tmp_path / "few.npz")}), tmp_path / "out")


def test_a_label_may_not_be_that_of_own_features(root: Path) -> None:
    plain = settings(root, features={"noise": "noise.csv"})
    plain["networks"][0]["label"] = "features"
    with pytest.raises(ConfigError, match="your own features are called"):
        parse_config(plain, "test")


@pytest.mark.slow
@pytest.mark.usefixtures("unrendered", "in_process")
@pytest.mark.parametrize("large", [True, False])
def test_fits_are_done_on_the_device(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    """Of tensors on a CPU, as there is no GPU: the same step, the same choice, and scores equal to 1e-9.

    Large fits one training part after the other, others in stacks.
    """
    if large:
        monkeypatch.setattr("voxelcast.search.stacked.FEW_VOXELS", 1)
        monkeypatch.setattr("voxelcast.search.stacked.MOST_FEATURES", 0)
    devices: list[str] = []
    plain = {"networks": [], "features": {"noise": str(root / "noise.csv"), "driving": str(root / "driving.npz")}}
    rows = []
    for device in ("cpu", "cpu:0"):
        monkeypatch.setattr(
            "voxelcast.search.training.put", lambda array, name: devices.append(name) or put(array, name)
        )
        run(settings(root, compute={"device": device}, **plain), tmp_path / device)
        rows += read_table(tmp_path / device / "scores.csv")
    assert set(devices) == {"cpu", "cpu:0"}
    steps = [{path.name for path in (tmp_path / name / "steps").rglob("fit*")} for name in ("cpu", "cpu:0")]
    assert steps[0] == steps[1] != set()
    assert rows[0]["layer"] == rows[1]["layer"]
    for name in ("score", "score_low", "selection_score"):
        assert float(rows[0][name]) == pytest.approx(float(rows[1][name]), abs=1e-9)
