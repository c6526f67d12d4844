"""Whole experiments on miniature data, from stimuli and responses to the files they leave."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
import zipfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.special import hyp2f1
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from tests.experiment.miniature import (
    ENERGY,
    contents,
    draw,
    read_table,
    run,
    settings,
    stimulus_ids,
    write_dataset,
    write_table,
)
from voxelcast.challenges import challenge_of
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import ConfigError
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS, SUBJECTS
from voxelcast.datasets.formats.simulated import SimulatedDataset, SimulatedSettings
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.run import estimate_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.steps.fit import shown_params
from voxelcast.store.result import StepResult
from voxelcast.store.steps import StepStore

pytestmark = pytest.mark.usefixtures("in_process")


def scores(output: Path) -> list[dict[str, str]]:
    return read_table(output / "scores.csv")


def predicted(output: Path, pair: str = "ann_all") -> tuple[list[str], FloatArray]:
    """Ids and predictions, as a user would join them."""
    rows = read_table(output / "predictions" / f"{pair}_stimuli.csv")
    return [row["stimulus_id"] for row in rows], np.load(output / "predictions" / f"{pair}.npy")


def measured(root: Path, ids: list[str]) -> FloatArray:
    """Responses to some stimuli, looked up by id."""
    row_of = {stimulus_id: row for row, stimulus_id in enumerate(stimulus_ids(root))}
    values: FloatArray = np.load(root / "responses" / "ann.npy")[[row_of[i] for i in ids]]
    return values


def mean_r(Y: FloatArray, P: FloatArray) -> float:
    """Mean over voxels of Pearson's r, by NumPy's own function."""
    return float(np.mean([np.corrcoef(Y[:, voxel], P[:, voxel])[0, 1] for voxel in range(Y.shape[1])]))


def unbiased(r: FloatArray, n: int) -> FloatArray:
    """Correct correlations of n stimuli as Olkin and Pratt do."""
    return np.asarray(r * hyp2f1(0.5, 0.5, (n - 2) / 2, 1 - r**2))


def folds_of(plain: dict[str, Any], store: Path, ids: list[str]) -> IntArray:
    return Plan(parse_config(plain, "miniature"), StepStore(store)).folds(ids)


# --- what a run leaves ---


@pytest.mark.parametrize("kind", ["images", "clips"])
def test_a_run_leaves_its_files(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(kind)
    before = contents(root)
    summary = run(settings(root), tmp_path / "out")
    out = tmp_path / "out"
    (row,) = scores(out)
    assert set(row) >= {
        *("subject", "roi", "network", "layer", "encoder", "hyperparameters", "n_voxels", "selection_score"),
        *("score", "score_low", "score_high", "noise_ceiling_r"),
    }
    assert (row["subject"], row["roi"], row["network"], row["n_voxels"]) == ("ann", "all", ENERGY, "5")
    assert float(row["score_low"]) < float(row["score"]) < float(row["score_high"])
    assert float(row["score"]) > 0.6
    assert summary.mean_score == float(row["score"])
    assert row["noise_ceiling_r"] == ""  # there are no repetitions to know it from
    tried = read_table(out / "search.csv")
    # Two layers; eight numbers of PLS components, fifty penalties and those between them that promised more.
    for layer in ("colour", "static.4"):
        assert [(c["layer"], c["encoder"]) for c in tried].count((layer, "pls")) == 8
        penalties = [c["hyperparameters"] for c in tried if (c["layer"], c["encoder"]) == (layer, "ridge")]
        assert 50 <= len(penalties) == len(set(penalties)) <= 54
    assert {(c["layer"], c["encoder"]) for c in tried} == set(product(("colour", "static.4"), ("pls", "ridge")))
    folds = np.array([[float(c[f"fold_{k}"]) for k in range(1, 5)] for c in tried])
    assert float(row["selection_score"]) == pytest.approx(folds.mean(axis=1).max(), abs=1e-15)
    ids, predictions = predicted(out)
    assert sorted(ids) == sorted(stimulus_ids(root))
    assert predictions.shape == (len(ids), 5)
    saved = yaml.safe_load((out / "config.yaml").read_text())
    assert parse_config(saved, "saved") == parse_config(settings(root), "given")
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["seed"] == 0
    assert provenance["networks"][ENERGY]["weights_hash"]
    assert "<html" in (out / "report.html").read_text()
    assert contents(root) == before


@pytest.mark.slow
def test_a_challenge_ends_in_a_submission(simulation: Path, tmp_path: Path) -> None:
    plain = settings(simulation, dataset={"kind": "simulated", "root": str(simulation)}, frames={"every": 2})
    plain["networks"] = [{"name": ENERGY, "layers": ["static.3", "static.5", "colour"]}]
    plain |= {"folds": {"n": 3}, "compress": {"components": 5}, "encoders": ["ridge"]}
    plain |= {"significance": {"permutations": 50}}
    run(plain, tmp_path / "out")
    rows = scores(tmp_path / "out")
    assert sorted((row["subject"], row["roi"]) for row in rows) == sorted(product(SUBJECTS, MINI_ROIS))
    for row in rows:
        assert 0 < float(row["noise_ceiling_r"]) <= 1
        assert float(row["noise_normalised_r"]) == pytest.approx(float(row["score"]) / float(row["noise_ceiling_r"]))
    for roi, layer in (("EBA", "colour"), ("V1", "static.3")):
        found = [row["layer"] for row in rows if row["roi"] == roi]
        assert found.count(layer) >= 8
    dataset = SimulatedDataset(SimulatedSettings(simulation))
    (file,) = (tmp_path / "out" / "submission").glob("*.zip")
    said = challenge_of([dataset]).check(file, [dataset])
    assert said.endswith(f"10 subjects x 9 ROIs, 6 stimuli, {10 * 9 * 2} voxels in all")
    ids, predictions = predicted(tmp_path / "out", "sub02_EBA")
    assert ids == sorted(path.stem for path in simulation.rglob("*.mp4"))[-6:]
    assert predictions.shape == (6, 2)
    assert submitted(file)["EBA"]["sub02"] == pytest.approx(predictions, abs=1e-6)


def submitted(file: Path) -> dict[str, dict[str, FloatArray]]:
    """Read a submission as the challenge's server would."""
    with zipfile.ZipFile(file) as archive:
        content: dict[str, dict[str, FloatArray]] = pickle.loads(archive.read("mini_track.pkl"))
    return content


# --- the numbers ---


def brute_force(
    features: dict[str, FloatArray],
    Y: FloatArray,
    folds: IntArray,
    plain: dict[str, Any],
    tried: list[tuple[str, str, str]],
    listed: list[tuple[str, str, str]],
) -> tuple[FloatArray, FloatArray]:
    """Nested cross-validation by plain loops: fold scores of every candidate, and the out-of-fold predictions.

    ``listed`` are the candidates that do not depend on the data.
    """
    n_folds, components = plain["folds"]["n"], plain["compress"]["components"]

    def predict(candidate: tuple[str, str, str], train: FloatArray, out: FloatArray) -> FloatArray:
        layer, encoder, setting = candidate
        value = float(setting.split("=")[1])
        pca = PCA(components, svd_solver="full").fit(features[layer][train])
        X, X_new = pca.transform(features[layer][train]), pca.transform(features[layer][out])
        model: Any
        if encoder == "ridge":
            model = Ridge(alpha=value * (X**2).sum() / components)
        else:
            model = PLSRegression(int(value), scale=False, tol=1e-22, max_iter=20_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prediction: FloatArray = model.fit(X, Y[train]).predict(X_new)
        return prediction

    def fold_score(candidate: tuple[str, str, str], fold: int, left_out: set[int]) -> float:
        out = folds == fold
        return mean_r(Y[out], predict(candidate, ~np.isin(folds, list(left_out)), out))

    plain_scores = np.array([[fold_score(c, fold, {fold}) for fold in range(n_folds)] for c in tried])
    nested = np.empty_like(Y)
    for outer in range(n_folds):
        inner: dict[tuple[str, str, str], float] = {}
        waiting = listed
        while waiting:
            others = [fold for fold in range(n_folds) if fold != outer]
            inner |= {c: float(np.mean([fold_score(c, f, {f, outer}) for f in others])) for c in waiting}
            waiting = [c for layer in features for c in between(layer, inner)]
        nested[folds == outer] = predict(max(inner, key=lambda c: inner[c]), folds != outer, folds == outer)
    return plain_scores, nested


def between(layer: str, scores: dict[tuple[str, str, str], float]) -> list[tuple[str, str, str]]:
    """Candidates between those scored that the encoder wants to see as well."""
    of_layer = [(encoder, text, score) for (where, encoder, text), score in scores.items() if where == layer]
    name = of_layer[0][0]
    settings = [{text.split("=")[0]: float(text.split("=")[1])} for _, text, _ in of_layer]
    more = get_encoder(name).refined(settings, np.array([score for *_, score in of_layer]))
    return [(layer, name, shown_params(setting)) for setting in more]


@pytest.mark.parametrize("encoder", ["pls", "ridge"])
def test_scores_equal_plain_loops_over_sklearn(encoder: str, images: Path, tmp_path: Path) -> None:
    keep = {"workers": 1, "keep_scratch": True}
    plain = settings(images, encoders=[encoder], compress={"components": 4}, folds={"n": 3}, compute=keep)
    run(plain, tmp_path / "out")
    out = tmp_path / "out"
    ids, predictions = predicted(out)
    shards = [StepResult(path) for path in sorted((out / "steps" / "extract").glob("*/result.npz"))]
    listed = [record["stimulus_id"] for shard in shards for record in shard.json("stimuli")]
    places = [listed.index(i) for i in ids]
    features = {
        layer: np.concatenate([shard.array(f"features/{layer}") for shard in shards])[places].astype(float)
        for layer in ("colour", "static.4")
    }
    rows = read_table(out / "search.csv")
    tried = [(row["layer"], row["encoder"], row["hyperparameters"]) for row in rows]
    folds, Y = folds_of(plain, tmp_path / "store", ids), measured(images, ids)
    known = {
        shown_params(setting) for setting in get_encoder(encoder).param_grid(ProblemSize(len(ids) // 3, 4, Y.shape[1]))
    }
    fold_scores, nested = brute_force(features, Y, folds, plain, tried, [c for c in tried if c[2] in known])
    np.testing.assert_allclose([[float(r[f"fold_{k}"]) for k in (1, 2, 3)] for r in rows], fold_scores, atol=1e-8)
    np.testing.assert_allclose(predictions, nested, atol=1e-8)
    (row,) = scores(out)
    expected = []
    for held in (folds == fold for fold in range(3)):
        y, p = (part[held] - Y[~held].mean(axis=0) for part in (Y, nested))
        r = (y * p).sum(axis=0) / np.sqrt((y**2).sum(axis=0) * (p**2).sum(axis=0))
        expected.append(unbiased(r, held.sum() + 1))
    assert float(row["score"]) == pytest.approx(np.mean(expected), abs=1e-8)


def test_held_out_responses_give_held_out_scores(images: Path, tmp_path: Path) -> None:
    ids = stimulus_ids(images)
    test = set(ids[::4])
    write_table(images / "split.csv", ("stimulus_id", "split"), [(i, "test" if i in test else "train") for i in ids])
    run(settings(images), tmp_path / "out")
    (row,) = scores(tmp_path / "out")
    shown, predictions = predicted(tmp_path / "out")
    assert set(shown) == test
    r = [np.corrcoef(pair)[0, 1] for pair in zip(measured(images, shown).T, predictions.T, strict=True)]
    assert float(row["held_out_score"]) == pytest.approx(unbiased(np.array(r), len(test)).mean(), abs=1e-10)
    assert float(row["held_out_low"]) < float(row["held_out_score"]) < float(row["held_out_high"])
    assert row["score_from"] == "nested_cv"
    assert float(row["score"]) != float(row["held_out_score"])


def test_without_nesting_only_held_out_responses_give_a_score(images: Path, tmp_path: Path) -> None:
    plain = settings(images, folds={"n": 4, "nested": False})
    run(plain, tmp_path / "without")
    (row,) = scores(tmp_path / "without")
    assert (row["score"], row["score_from"]) == ("", "none")
    assert float(row["selection_score"]) > 0.6
    assert any("selection_score" in note for note in json.loads((tmp_path / "without" / "notes.json").read_text()))
    ids = stimulus_ids(images)
    split = [(i, "test" if place % 4 == 0 else "train") for place, i in enumerate(ids)]
    write_table(images / "split.csv", ("stimulus_id", "split"), split)
    run(plain, tmp_path / "with")
    (row,) = scores(tmp_path / "with")
    assert row["score_from"] == "held_out"
    assert row["score"] == row["held_out_score"] != ""


def test_the_control_is_the_spread_of_shuffled_responses(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", n=60)
    quick: dict[str, Any] = {"significance": {"permutations": 0}, "encoders": ["ridge"]}
    plain = scores_of(settings(root, **quick), tmp_path / "plain")
    row = scores_of(settings(root, **quick, control="shuffle", shuffles=9), tmp_path / "out")
    assert row == plain  # the score is that of the responses as they are
    (control,) = read_table(tmp_path / "out" / "control.csv")
    assert control["score"] == row["score"]
    mean, sd, low, high = (float(control[f"shuffled_{name}"]) for name in ("mean", "sd", "low", "high"))
    assert low < mean < high
    assert abs(mean) < 3 * sd / 3 + 0.02
    assert float(row["score"]) > high + 3 * sd
    assert float(control["p_value"]) == pytest.approx(0.1)
    assert control["n_shuffles"] == "9"
    (note,) = [note for note in json.loads((tmp_path / "out" / "notes.json").read_text()) if "Control" in note]
    assert note.startswith("Control: 1 of 1 scores are above all those of 9 shuffles of the responses (ann all: 0.")
    noise = np.random.default_rng(0).standard_normal((60, 5))
    np.save(root / "responses" / "ann.npy", noise)
    scores_of(settings(root, **quick, control="shuffle", shuffles=5), tmp_path / "noise")
    (control,) = read_table(tmp_path / "noise" / "control.csv")
    assert float(control["p_value"]) > 1 / 6
    with pytest.raises(ConfigError, match="control=shuffle compares nested scores"):
        parse_config(settings(root, control="shuffle", folds={"nested": False}), "test")


def scores_of(plain: dict[str, Any], output: Path) -> dict[str, str]:
    """The one row of scores of an experiment."""
    run(plain, output)
    (row,) = scores(output)
    return row


def test_groups_do_not_straddle_folds(tmp_path: Path) -> None:
    """Twenty pictures, each shown under three names, with responses that only remember the picture."""
    root = write_dataset(tmp_path / "data", n=60)
    rng = np.random.default_rng(5)
    distinct, _ = draw(20, rng)
    ids = stimulus_ids(root)
    remembered = rng.standard_normal((20, 5))
    np.save(root / "responses" / "ann.npy", remembered.repeat(3, axis=0))
    for place, stimulus_id in enumerate(ids):
        noisy = distinct[place // 3].astype(int) + rng.integers(-3, 4, distinct[0].shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(root / "stimuli" / f"{stimulus_id}.png")
    plain = settings(root, compress={"components": 20}, encoders=["ridge"])
    leaky = float(scores_of(plain, tmp_path / "leaky")["score"])
    write_table(root / "groups.csv", ("stimulus_id", "group"), [(i, f"p{k // 3}") for k, i in enumerate(ids)])
    honest = float(scores_of(plain, tmp_path / "honest")["score"])
    assert leaky > 0.7
    assert honest < 0.3


def test_optimisation_never_beats_the_exact_search(images: Path, tmp_path: Path) -> None:
    exact = scores_of(settings(images), tmp_path / "exact")
    bayes = scores_of(settings(images, search={"method": "bayes", "trials": 6}), tmp_path / "bayes")
    assert float(bayes["selection_score"]) <= float(exact["selection_score"]) + 1e-12
    assert len(read_table(tmp_path / "bayes" / "search.csv")) == 2 * 2 * 6


# --- what is left out ---


def test_broken_stimuli_are_left_out_and_listed(clips: Path, tmp_path: Path) -> None:
    broken = ["s004", "s011"]
    whole = tmp_path / "whole"
    shutil.copytree(clips, whole)
    for stimulus_id in broken:
        path = clips / "stimuli" / f"{stimulus_id}.mp4"
        path.write_bytes(path.read_bytes()[:900])
    row = scores_of(settings(clips, broken_stimuli="skip"), tmp_path / "out")
    listed = read_table(tmp_path / "out" / "exclusions.csv")
    assert [(e["kind"], e["name"]) for e in listed] == [("stimulus", i) for i in broken]
    assert all(f"{e['name']}.mp4" in e["reason"] for e in listed)
    ids, predictions = predicted(tmp_path / "out")
    assert set(ids) == set(stimulus_ids(clips)) - set(broken)
    assert len(predictions) == len(ids)
    # The same as if they had never been there.
    kept = [i for i in stimulus_ids(whole) if i not in broken]
    np.save(whole / "responses" / "ann.npy", measured(whole, kept))
    (whole / "stimulus_ids.txt").write_text("\n".join(kept))
    for stimulus_id in broken:
        (whole / "stimuli" / f"{stimulus_id}.mp4").unlink()
    assert scores_of(settings(whole), tmp_path / "clean")["score"] == row["score"]


def test_invalid_voxels_are_excluded_listed_and_predicted(images: Path, tmp_path: Path) -> None:
    values = np.load(images / "responses" / "ann.npy")
    spoilt = values.copy()
    spoilt[3, 1] = np.nan
    spoilt[:, 4] = 7.0
    np.save(images / "responses" / "ann.npy", spoilt)
    row = scores_of(settings(images, invalid_voxels="exclude"), tmp_path / "out")
    assert (row["n_voxels"], row["n_excluded_voxels"]) == ("3", "2")
    listed = read_table(tmp_path / "out" / "exclusions.csv")
    assert [(e["kind"], e["name"]) for e in listed] == [("voxel", "1"), ("voxel", "4")]
    _, predictions = predicted(tmp_path / "out")
    np.testing.assert_allclose(predictions[:, 1], np.nanmean(spoilt[:, 1]))
    np.testing.assert_allclose(predictions[:, 4], 7.0)
    np.save(images / "responses" / "ann.npy", values[:, [0, 2, 3]])
    assert scores_of(settings(images), tmp_path / "clean")["score"] == row["score"]


# --- what is done again, and what is not ---


def test_a_finished_experiment_does_nothing_again(images: Path, tmp_path: Path) -> None:
    first = run(settings(images), tmp_path / "out")
    before = contents(tmp_path / "out")
    again = run(settings(images), tmp_path / "out")
    assert (again.steps_run, again.steps_kept) == (0, first.steps_run)
    changed = {name for name, data in contents(tmp_path / "out").items() if data != before[name]}
    assert changed <= {"progress.jsonl", "provenance.json", "report.html"}


def test_only_what_a_change_touches_is_done_again(images: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = run(settings(images), tmp_path / "a", store)
    moved = tmp_path / "elsewhere"
    shutil.copytree(images, moved)
    assert run(settings(moved), tmp_path / "b", store).steps_run == 0
    assert run(settings(moved, encoders=["ridge"]), tmp_path / "c", store).steps_run == 1  # the fit
    values = np.load(moved / "responses" / "ann.npy")
    np.save(moved / "responses" / "ann.npy", values + 1)
    assert run(settings(moved), tmp_path / "d", store).steps_run == 2  # responses and fit
    assert run(settings(images, frames={"every": 2}), tmp_path / "e", store).steps_run == first.steps_run - 1
    assert (tmp_path / "a" / "scores.csv").read_bytes() == (tmp_path / "b" / "scores.csv").read_bytes()


def test_a_dry_run_leaves_nothing(images: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    estimate = estimate_experiment(parse_config(settings(images), "x"), tmp_path / "out")
    assert (estimate.n_train, estimate.n_test, estimate.n_pairs) == (48, 0, 1)
    assert estimate.networks[0].features == {"colour": 3 * 8 * 8, "static.4": 8 * 6 * 6}
    assert sorted(tmp_path.rglob("*")) == before


def test_voxels_do_not_depend_on_one_another_in_the_predictions(tmp_path: Path) -> None:
    """Two subjects in one run get what each gets alone."""
    root = write_dataset(tmp_path / "data", subjects=("ann", "bob"))
    run(settings(root), tmp_path / "both")
    plain = settings(root)
    plain["dataset"]["subjects"] = ["bob"]
    run(plain, tmp_path / "one")
    assert scores(tmp_path / "both")[1] == scores(tmp_path / "one")[0]


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # real worker processes
    root = write_dataset(tmp_path / "data", n=70, videos=True, subjects=("ann", "bob"))
    for workers in (1, 2):
        run(settings(root, compute={"workers": workers}), tmp_path / f"{workers}")
    one, two = contents(tmp_path / "1"), contents(tmp_path / "2")
    same = ["scores.csv", "search.csv", "layers.csv", *(name for name in one if name.startswith("predictions/"))]
    assert len(same) == 3 + 4
    assert {name: one[name] for name in same} == {name: two[name] for name in same}
