"""Significance and ceilings of an experiment, recomputed from the files it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.signal import lfilter
from scipy.stats import false_discovery_control

from tests.experiment.miniature import read_table, run, settings, stimulus_ids, write_dataset, write_table
from tests.scoring.permuted import explicit_p_values
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, VoxelcastError
from voxelcast.core.progress import Silent
from voxelcast.core.seeds import derive_seed
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.run import estimate_experiment, run_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.store.steps import StepStore

pytestmark = pytest.mark.usefixtures("in_process")
TESTED = {"permutations": 60, "alpha": 0.05}


def _measured(root: Path) -> FloatArray:
    """Responses in the order of the stimuli."""
    return np.asarray(np.load(root / "responses" / "ann.npy")[np.argsort(stimulus_ids(root))])


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
    seed = derive_seed(0, "significance", "")
    expected = explicit_p_values(_measured(root), predicted, folds, 60, seed, groups if grouped else None, np.sqrt(2))
    with np.load(tmp_path / "out" / "voxels" / "ann_all.npz") as voxels:
        np.testing.assert_array_equal(voxels["p_value"], expected)
        q = false_discovery_control(expected)
        np.testing.assert_allclose(voxels["q_value"], q)
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert int(row["n_significant_voxels"]) == (q <= 0.05).sum() > 0
    assert " significant</small>" in (tmp_path / "out" / "report.html").read_text()


def test_held_out_stimuli_are_tested_as_they_are(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    ids = sorted(stimulus_ids(root))
    split = [[i, "test" if k % 4 == 0 else "train"] for k, i in enumerate(ids)]
    write_table(root / "split.csv", ["stimulus_id", "split"], split)
    run(settings(root, significance=TESTED), tmp_path / "out")
    predicted = np.load(tmp_path / "out" / "predictions" / "ann_all.npy")
    seed = derive_seed(0, "significance", "held_out_")
    expected = explicit_p_values(_measured(root)[::4], predicted, np.zeros(12, dtype=int), 60, seed)
    with np.load(tmp_path / "out" / "voxels" / "ann_all.npz") as voxels:
        np.testing.assert_array_equal(voxels["held_out_p_value"], expected)
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert int(row["held_out_n_significant_voxels"]) == (false_discovery_control(expected) <= 0.05).sum()


def test_off_and_impossible(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    run(settings(root, significance={"permutations": 0}), tmp_path / "off")
    assert read_table(tmp_path / "off" / "scores.csv")[0]["n_significant_voxels"] == ""
    assert " significant</small>" not in (tmp_path / "off" / "report.html").read_text()
    # Four groups of unequal size, one to a fold: nothing can change places.
    sizes = [(k // 11, i) for k, i in enumerate(sorted(stimulus_ids(root)))]
    write_table(root / "groups.csv", ["stimulus_id", "group"], [[i, f"run {min(run_, 3)}"] for run_, i in sizes])
    tested = settings(root, significance=TESTED)
    run(tested, tmp_path / "runs")
    assert read_table(tmp_path / "runs" / "scores.csv")[0]["n_significant_voxels"] == ""
    notes = json.loads((tmp_path / "runs" / "notes.json").read_text())
    assert any(note.startswith("ann all: No voxel can be significant: no folds can change places") for note in notes)
    said = "Permutations exchange nothing; intervals resample whole groups, of which there are 4."
    assert read_table(tmp_path / "runs" / "scores.csv")[0]["exchanged"] == said
    assert said in (tmp_path / "runs" / "report.html").read_text()
    (said,) = [
        line
        for line in estimate_experiment(parse_config(tested, "test"), tmp_path / "dry").lines()
        if "warning" in line
    ]
    assert "No voxel can be significant" in said


def test_given_folds_leave_stimuli_the_unit(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", subjects=("ann", "bob"))
    ids = sorted(stimulus_ids(root))
    parts = {"ann": [k // 12 for k in range(48)], "bob": [k % 4 for k in range(48)]}
    rows = [[i, f"part {part}", subject] for subject in parts for i, part in zip(ids, parts[subject], strict=True)]
    write_table(root / "mine.csv", ["stimulus_id", "fold", "subject"], rows)
    given = settings(root, significance=TESTED)
    given["folds"].pop("n", None)
    given["dataset"]["folds"] = "mine.csv"
    run(given, tmp_path / "out")
    for subject, folds in parts.items():
        predicted = np.load(tmp_path / "out" / "predictions" / f"{subject}_all.npy")
        Y = np.asarray(np.load(root / "responses" / f"{subject}.npy")[np.argsort(stimulus_ids(root))])
        with np.load(tmp_path / "out" / "voxels" / f"{subject}_all.npz") as voxels:
            np.testing.assert_allclose(voxels["pearson_r"], cross_validated_r(Y, predicted, np.array(folds)))
            seed = derive_seed(0, "significance", "")
            expected = explicit_p_values(Y, predicted, np.array(folds), 60, seed, None, np.sqrt(2))
            np.testing.assert_array_equal(voxels["p_value"], expected)
    for row in read_table(tmp_path / "out" / "scores.csv"):
        assert row["exchanged"].startswith("Permutations exchange single stimuli within each of 4 folds")
        assert int(row["n_significant_voxels"]) > 0


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (lambda ids: [[i, "a"] for i in ids[1:]], {}, r"first .*add them"),
        (lambda ids: [[i, str(k % 2)] for k, i in enumerate(ids)], {}, "given folds must be at least 3"),
        (lambda ids: [[i, str(min(k, 4))] for k, i in enumerate(ids)], {}, "each of at least 3 stimuli"),
        (lambda ids: [[i, str(k % 4)] for k, i in enumerate([ids[0], *ids])], {}, "more than once"),
        (lambda ids: [[i, str(k % 4)] for k, i in enumerate(ids)], {"n": 5}, "folds.n does not go with given folds"),
        (lambda ids: [[i, str(k % 4)] for k, i in enumerate(ids)], {"by": "group"}, "folds.by does not go with"),
    ],
)
def test_wrong_folds_are_refused(tmp_path: Path, rows: Any, changes: dict[str, Any], message: str) -> None:
    root = write_dataset(tmp_path / "data")
    write_table(root / "mine.csv", ["stimulus_id", "fold"], rows(sorted(stimulus_ids(root))))
    given = settings(root)
    given["folds"] = changes
    given["dataset"]["folds"] = "mine.csv"
    with pytest.raises(VoxelcastError, match=message):
        Plan(parse_config(given, "test"), StepStore(tmp_path / "none", read_only=True))


def test_groups_in_given_folds(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    ids = sorted(stimulus_ids(root))
    write_table(root / "groups.csv", ["stimulus_id", "group"], [[i, f"movie {k // 4}"] for k, i in enumerate(ids)])
    write_table(root / "mine.csv", ["stimulus_id", "fold"], [[i, k // 16] for k, i in enumerate(ids)])
    given = settings(root, significance=TESTED)
    given["folds"], given["dataset"]["folds"] = {}, "mine.csv"

    def plan() -> Plan:
        return Plan(parse_config(given, "test"), StepStore(tmp_path / "none", read_only=True))

    assert plan().units_of(ids) == tuple(f"movie {k // 4}" for k in range(48))
    given["folds"] = {"unit": "stimulus"}
    assert plan().units_of(ids) is None
    assert (plan().folds(ids) == np.arange(48) // 16).all()
    write_table(root / "mine.csv", ["stimulus_id", "fold"], [[i, k // 18] for k, i in enumerate(ids)])
    with pytest.raises(DataError, match=r"group 'movie 4' in folds 0 and 1"):
        plan()


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


def test_frames_of_a_movie_as_a_folder_are_told_everywhere(tmp_path: Path) -> None:
    # Frames whose colours follow in time, and noise that does too: nothing ties the one to the other.
    root, rng = write_dataset(tmp_path / "data", n=60), np.random.default_rng(0)
    drifting = lfilter([np.sqrt(1 - 0.95**2)], [1, -0.95], rng.standard_normal((160, 192 + 15)), axis=0)[100:]
    for k in range(60):
        blocks = np.clip(128 + 50 * drifting[k, :192].reshape(8, 8, 3), 0, 255).astype(np.uint8)
        Image.fromarray(blocks.repeat(4, axis=0).repeat(4, axis=1)).save(root / "stimuli" / f"s{k:03d}.png")
    np.save(root / "responses" / "ann.npy", drifting[[int(name[1:]) for name in stimulus_ids(root)], 192:])
    plain, output = settings(root, encoders=["ridge"]), tmp_path / "out"
    lines = estimate_experiment(parse_config(plain, "test"), output).lines()
    assert any(line.startswith("warning: ann all: Responses to stimuli that follow each other") for line in lines)
    said: list[str] = []

    class Heard(Silent):
        def note(self, text: str) -> None:
            said.append(text)

    run_experiment(parse_config(plain, "test"), output, progress=Heard())
    found = [
        note for note in json.loads((output / "notes.json").read_text()) if "follow each other in the order" in note
    ]
    assert len(found) == 1
    assert f"warning: {found[0]}" in said
    assert "follow each other in the order given" in (output / "report.html").read_text()
    assert "set kind: time_series" in found[0]
    # Unbroken stretches as folds: nothing is left to say.
    write_table(root / "mine.csv", ["stimulus_id", "fold"], [[f"s{k:03d}", k // 12] for k in range(60)])
    plain["dataset"]["folds"], plain["folds"] = "mine.csv", {}
    assert not any(
        "warning" in line for line in estimate_experiment(parse_config(plain, "test"), tmp_path / "dry").lines()
    )
