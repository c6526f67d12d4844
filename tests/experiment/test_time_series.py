"""Time series through the whole way: delays, runs as folds, features of events and of movies."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.datasets.series_files import RUNS, SETTINGS, write_series
from tests.experiment.miniature import read_table
from voxelcast.core.errors import (
    AlignmentError,
    ConfigError,
    DataError,
    OptionError,
    UnknownNameError,
    VoxelcastWarning,
)
from voxelcast.core.progress import Silent
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.run import estimate_experiment, run_experiment
from voxelcast.experiment.settings_file import load_config, parse_config
from voxelcast.store.steps import StepStore
from voxelcast.testing.miniatures.algonauts2025 import write_algonauts2025

pytestmark = pytest.mark.usefixtures("in_process")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "haxby_series.yaml"


def _settings(root: Path, **changes: Any) -> dict[str, Any]:
    dataset = {"kind": "time_series", "root": str(root), **SETTINGS, "subjects": "ann"}
    base: dict[str, Any] = {
        "name": "series",
        "dataset": dataset,
        "features": ["conditions", "onoff"],
        "delays": [1, 2, 3],
        "compress": {"method": "none"},
        "encoders": ["ridge"],
        "folds": {"by": "group"},
        "significance": {"permutations": 200},
        "compute": {"workers": 1},
    }
    return {**base, **changes}


def _run(root: Path, output: Path, **changes: Any) -> list[dict[str, str]]:
    run_experiment(parse_config(_settings(root, **changes), "test"), output, progress=Silent())
    return read_table(output / "scores.csv")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    write_series(folder)
    return folder


def test_the_planted_condition_and_delay_are_found(root: Path, tmp_path: Path) -> None:
    rows = {row["roi"]: row for row in _run(root, tmp_path / "out")}
    assert rows["four"]["layer"] == "conditions"
    assert float(rows["four"]["score"]) > 0.7
    assert rows["four"]["n_significant_voxels"] == "4"
    assert rows["four"]["score_low"] + rows["four"]["score_high"] == ""  # a fold is one run
    assert rows["four"]["no_interval"].startswith("3 of 3 folds have one group")
    late = _run(root, tmp_path / "late", delays=[5, 6])
    assert all(float(row["score"]) < 0.3 for row in late)


def test_out_of_fold_predictions_equal_ridge_by_hand(root: Path, tmp_path: Path) -> None:
    _run(root, tmp_path / "out", features=["conditions"], delays=[0, 2])
    from voxelcast.datasets.time_series import TimeSeriesDataset, TimeSeriesSettings

    dataset = TimeSeriesDataset(TimeSeriesSettings(root, **{**SETTINGS, "subjects": "ann"}))
    Y = dataset.responses("ann", "four").values[:, 0]
    runs = np.repeat(np.arange(3), len(Y) // 3)
    X = dataset.features("conditions")
    delayed = np.zeros((len(X), 4))
    for row in range(len(X)):
        delayed[row, :2] = X[row]
        if row - 2 >= 0 and runs[row - 2] == runs[row]:
            delayed[row, 2:] = X[row - 2]
    predicted = np.load(tmp_path / "out" / "predictions" / "ann_four.npy")
    # Whatever the penalty, predictions of a run lie in the space of its delayed features and a constant.
    for run in range(3):
        held = runs == run
        space = np.c_[delayed[held], np.ones(held.sum())]
        residual = predicted[held] - space @ np.linalg.lstsq(space, predicted[held], rcond=None)[0]
        assert np.abs(residual).max() < 1e-9
        r = [np.corrcoef(predicted[held, v], Y[held, v])[0, 1] for v in range(4)]
        assert min(r) > 0.5


def test_nothing_of_a_held_out_run_reaches_its_predictions(root: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    changed.mkdir()
    write_series(changed)
    path = changed / "ann" / f"ann_{RUNS[1]}_bold.nii"
    image = nib.load(path)
    noise = np.random.default_rng(5).standard_normal(image.shape) * 50
    nib.save(nib.Nifti1Image((image.get_fdata() + noise).astype(np.float32), image.affine), path)
    for name, folder in (("a", root), ("b", changed)):
        _run(folder, tmp_path / name, features=["conditions"], significance={"permutations": 0})
    a, b = (np.load(tmp_path / name / "predictions" / "ann_four.npy") for name in "ab")
    held = slice(len(a) // 3, 2 * len(a) // 3)
    np.testing.assert_allclose(a[held], b[held], atol=1e-9)  # centring on all responses costs the last digits
    assert np.abs(a - b).max() > 0.1


def test_a_joint_search_counts_components_not_delays(root: Path, tmp_path: Path) -> None:
    search = {"method": "random", "joint": True, "trials": 8}
    _run(root, tmp_path / "out", features=["conditions"], compress={"components": 2}, search=search)
    tried = {row["hyperparameters"].split(";")[0] for row in read_table(tmp_path / "out" / "search.csv")}
    assert tried == {"compress.components=1", "compress.components=2"}


def test_shuffled_responses_score_nothing(root: Path, tmp_path: Path) -> None:
    rows = _run(root, tmp_path / "out", control="shuffle", shuffles=9)
    control = {row["roi"]: row for row in read_table(tmp_path / "out" / "control.csv")}
    assert {roi: row["score"] for roi, row in control.items()} == {row["roi"]: row["score"] for row in rows}
    assert all(abs(float(row["shuffled_mean"])) < 0.2 for row in control.values())
    assert float(control["four"]["shuffled_high"]) < float(control["four"]["score"])


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"delays": []}, OptionError, "time series need delays"),
        ({"delays": [2, 1]}, ConfigError, "delays: must be different whole numbers of TR"),
        ({"features": []}, ConfigError, "name at least one network"),
        ({"features": ["words"]}, UnknownNameError, "feature table 'words' does not exist"),
        ({"networks": [{"name": "voxelcast/motion_energy", "layers": "colour"}]}, OptionError, "needs? pictures"),
    ],
)
def test_says_what_does_not_go_with_time_series(
    root: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        _run(root, tmp_path / "out", **changes)


@pytest.mark.slow
def test_networks_see_the_movie_of_each_volume(tmp_path: Path) -> None:
    write_algonauts2025(tmp_path / "mini", 0)
    config = {
        "name": "movies",
        "dataset": {
            "kind": "algonauts2025",
            "root": str(tmp_path / "mini"),
            "subjects": "sub-01",
            "movies": ["s1", "bourne"],
        },
        "networks": [{"name": "voxelcast/motion_energy", "layers": ["colour"]}],
        "delays": [2, 3, 4],
        "frames": {"every": 4},
        "compress": {"components": 12},
        "encoders": ["ridge"],
        "folds": {"by": "group"},
        "significance": {"permutations": 0},
        "compute": {"workers": 1},
    }
    run_experiment(parse_config(config, "test"), tmp_path / "out", progress=Silent())
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert float(row["score"]) > 0.35
    assert float(row["held_out_score"]) > 0.35
    config |= {"name": "wrong", "delays": [8, 9, 10]}
    run_experiment(parse_config(config, "test"), tmp_path / "wrong", progress=Silent())
    assert float(read_table(tmp_path / "wrong" / "scores.csv")[0]["score"]) < 0.1


@pytest.mark.slow
def test_the_haxby_example(real_data: Path, tmp_path: Path) -> None:
    def rows(name: str, *changes: str) -> dict[str, dict[str, str]]:
        root = real_data / "haxby_series"
        config = load_config(EXAMPLE, [f"name={name}", f"dataset.root={root}", *changes])
        run_experiment(config, tmp_path / name, store=tmp_path / "store", progress=Silent())
        return {row["roi"]: row for row in read_table(tmp_path / name / "scores.csv")}

    found = rows("series")
    assert float(found["ventral_temporal"]["score"]) > 0.55
    assert found["ventral_temporal"]["n_significant_voxels"] == "1"
    assert float(found["brain"]["score"]) > 0.1
    rows("shuffled", "control=shuffle", "shuffles=5")
    for row in read_table(tmp_path / "shuffled" / "control.csv"):
        assert abs(float(row["shuffled_mean"])) < 0.06
        assert float(row["shuffled_high"]) < float(row["score"])


def _damaged(root: Path, folder: Path, run: str, value: float) -> Path:
    """Copy the data, with the first voxel of the ROI ``four`` of another value in one or all volumes of a run."""
    copy = Path(shutil.copytree(root, folder / "copy"))
    path = copy / "ann" / f"ann_{run}_bold.nii"
    image = nib.load(path)
    values = np.asarray(image.dataobj).copy()
    voxel = np.unravel_index(1, values.shape[:3])
    values[(*voxel, 5 if np.isnan(value) else slice(None))] = value
    nib.save(nib.Nifti1Image(values, image.affine), path)
    return copy


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("value", [float("nan"), 7.0])
def test_a_voxel_that_a_run_lacks_stops_or_is_left_out(
    value: float, held_out: bool, root: Path, tmp_path: Path
) -> None:
    data = _damaged(root, tmp_path, "run2", value)
    changes: dict[str, Any] = {"rois": "four", "test_runs": ["run2"] if held_out else []}
    dataset = {"kind": "time_series", "root": str(data), **SETTINGS, "subjects": "ann", **changes}
    reason = f"no response (NaN) to 40 of {40 if held_out else 120} stimuli"
    if not np.isnan(value):
        reason = f"constant in 1 of {1 if held_out else 3} runs, first run2"
    reason += ", held out" if held_out else ""
    folds = {"n": 2, "nested": False} if held_out else {"by": "group"}
    with pytest.raises(DataError, match=re.escape(f"1 of 4 voxels cannot be analysed (voxel 0: {reason})")):
        _run(data, tmp_path / "stops", dataset=dataset, folds=folds)
    (row,) = _run(data, tmp_path / "out", dataset=dataset, folds=folds, invalid_voxels="exclude")
    assert (row["n_voxels"], row["n_excluded_voxels"]) == ("3", "1")
    (excluded,) = read_table(tmp_path / "out" / "exclusions.csv")
    assert excluded["reason"] == reason
    with np.load(tmp_path / "out" / "voxels" / "ann_four.npz") as values:
        found = values["held_out_r" if held_out else "pearson_r"]
    assert np.isfinite(found).tolist() == [False, True, True, True]


def test_a_dry_run_says_what_it_found(root: Path, tmp_path: Path) -> None:
    plain = _settings(root, dataset={**_settings(root)["dataset"], "subjects": "all"})
    with pytest.warns(VoxelcastWarning, match="tr is 2 s in the settings and 1 s in "):
        lines = estimate_experiment(parse_config(plain, "test"), tmp_path / "out").lines()
    n_inside = int(np.count_nonzero(nib.load(root / "mask.nii").dataobj))
    for subject in ("ann", "bob"):
        line = f"{subject}: 120 stimuli, 1 repetition, voxels: all_voxels {n_inside}, four 4; "
        assert f"{line}volume 3 x 4 x 2 of 3 x 3 x 3 mm" in lines


def test_runs_can_be_given_folds(root: Path, tmp_path: Path) -> None:
    def plan(**changes: Any) -> Plan:
        plain = _settings(root, **{"folds": {}, **changes})
        plain["dataset"] = {**plain["dataset"], "folds": str(table)}
        return Plan(parse_config(plain, "test"), StepStore(tmp_path / "none", read_only=True))

    table = tmp_path / "folds.csv"
    made = Plan(parse_config(_settings(root), "test"), StepStore(tmp_path / "none", read_only=True))
    ids = made.dataset.stimulus_ids("train")
    runs = list(dict.fromkeys(i.split("/")[0] for i in ids))
    table.write_text("run,fold\n" + "".join(f"{run},{run}\n" for run in runs))
    np.testing.assert_array_equal(plan().folds(ids), made.folds(ids))
    table.write_text("stimulus_id,fold\n" + "".join(f"{i},{k % 3}\n" for k, i in enumerate(ids)))
    with pytest.raises(DataError, match="a group must lie in one fold"):
        plan()
    table.write_text("run,fold\n" + "".join(f"{run},1\n" for run in runs[1:]))
    with pytest.raises(AlignmentError, match=f"fold of every training run; 1 have none, first '{runs[0]}'"):
        plan()
    with pytest.raises(OptionError, match=r"folds.unit must be group for a time series"):
        Plan(
            parse_config(_settings(root, folds={"by": "group", "unit": "stimulus"}), "test"),
            StepStore(tmp_path / "none", read_only=True),
        )
