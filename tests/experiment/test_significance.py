"""Significance and ceilings of an experiment, recomputed from the files it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from tests.experiment.miniature import read_table, run, settings, stimulus_ids, write_dataset, write_table
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.settings_file import parse_config
from voxelcast.scoring.correlation import fold_pearson_r
from voxelcast.scoring.permutation import Exchange, permutation_grid
from voxelcast.store.steps import StepStore

pytestmark = pytest.mark.usefixtures("in_process")
TESTED = {"permutations": 60, "alpha": 0.05}


def _measured(root: Path) -> FloatArray:
    """Responses in the order of the stimuli."""
    return np.asarray(np.load(root / "responses" / "ann.npy")[np.argsort(stimulus_ids(root))])


def _explicit(Y: FloatArray, P: FloatArray, folds: IntArray, prefix: str, groups: Any, widening: float) -> FloatArray:
    first, second = permutation_grid(Exchange(folds, groups), 60, derive_seed(0, "significance", prefix))
    scores = np.array([fold_pearson_r(Y[a], P[b], folds) for a in first for b in second])
    scores[1:] *= widening
    return np.asarray((scores >= scores[0] - 1e-12).mean(axis=0))


@pytest.mark.parametrize("grouped", [False, True])
def test_p_and_q_are_those_of_the_out_of_fold_predictions(tmp_path: Path, grouped: bool) -> None:
    root = write_dataset(tmp_path / "data")
    ids = sorted(stimulus_ids(root))
    groups = [f"movie {k // 3}" for k in range(48)]
    if grouped:
        write_table(root / "groups.csv", ["stimulus_id", "group"], list(zip(ids, groups, strict=True)))
    plain = settings(root, significance=TESTED)
    run(plain, tmp_path / "out")
    folds = Plan(parse_config(plain, "test"), StepStore(tmp_path / "none", read_only=True)).folds(ids)
    predicted = np.load(tmp_path / "out" / "predictions" / "ann_all.npy")
    expected = _explicit(_measured(root), predicted, folds, "", groups if grouped else None, np.sqrt(2))
    with np.load(tmp_path / "out" / "voxels" / "ann_all.npz") as voxels:
        np.testing.assert_array_equal(voxels["p_value"], expected)
        q = false_discovery_control(expected)
        np.testing.assert_allclose(voxels["q_value"], q)
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert int(row["n_significant_voxels"]) == (q <= 0.05).sum() > 0
    assert ">significant</th>" in (tmp_path / "out" / "report.html").read_text()


def test_held_out_stimuli_are_tested_as_they_are(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    ids = sorted(stimulus_ids(root))
    split = [[i, "test" if k % 4 == 0 else "train"] for k, i in enumerate(ids)]
    write_table(root / "split.csv", ["stimulus_id", "split"], split)
    run(settings(root, significance=TESTED), tmp_path / "out")
    predicted = np.load(tmp_path / "out" / "predictions" / "ann_all.npy")
    expected = _explicit(_measured(root)[::4], predicted, np.zeros(12, dtype=int), "held_out_", None, 1.0)
    with np.load(tmp_path / "out" / "voxels" / "ann_all.npz") as voxels:
        np.testing.assert_array_equal(voxels["held_out_p_value"], expected)
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert int(row["held_out_n_significant_voxels"]) == (false_discovery_control(expected) <= 0.05).sum()


def test_off_and_impossible(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    run(settings(root, significance={"permutations": 0}), tmp_path / "off")
    assert read_table(tmp_path / "off" / "scores.csv")[0]["n_significant_voxels"] == ""
    assert ">significant</th>" not in (tmp_path / "off" / "report.html").read_text()
    # Four groups of unequal size, one to a fold: nothing can change places.
    sizes = [(k // 11, i) for k, i in enumerate(sorted(stimulus_ids(root)))]
    write_table(root / "groups.csv", ["stimulus_id", "group"], [[i, f"run {min(run_, 3)}"] for run_, i in sizes])
    run(settings(root, significance=TESTED), tmp_path / "runs")
    assert read_table(tmp_path / "runs" / "scores.csv")[0]["n_significant_voxels"] == ""
    assert any(
        "ann all" in note and "not tested" in note
        for note in json.loads((tmp_path / "runs" / "notes.json").read_text())
    )


def test_ceilings_of_single_trials_with_gaps(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    rng = np.random.default_rng(5)
    mean = np.load(root / "responses" / "ann.npy")
    trials = mean[:, None] + 0.5 * mean.std() * rng.standard_normal((48, 4, 5))
    trials[::3, 2:] = np.nan
    np.save(root / "responses" / "ann.npy", trials.transpose(2, 0, 1))
    plain = settings(root, significance={"permutations": 0})
    plain["dataset"]["axes"] = ["voxel", "stimulus", "repetition"]
    run(plain, tmp_path / "out")
    counts = np.where(np.arange(48) % 3, 4, 2)[:, None]
    means, total = np.nanmean(trials, axis=1), counts.sum()
    noise = np.nansum((trials - means[:, None]) ** 2, axis=(0, 1)) / (total - 48)
    between = (counts * (means - (counts * means).sum(axis=0) / total) ** 2).sum(axis=0) / 47
    signal = (between - noise) / ((total - (counts**2).sum() / total) / 47)
    with np.load(tmp_path / "out" / "voxels" / "ann_all.npz") as voxels:
        r2 = voxels["noise_ceiling_r2"]
        np.testing.assert_allclose(voxels["explainable_variance"], signal / (signal + noise), rtol=1e-10)
        np.testing.assert_allclose(r2, signal / (signal + noise * (1 / counts).mean()), atol=0.01)
        np.testing.assert_allclose(voxels["noise_ceiling_r"], np.sqrt(r2), rtol=1e-12)
        assert (voxels["pearson_r"] < voxels["noise_ceiling_r"]).all()
