"""Unique and shared variance: against closed forms and loops of scikit-learn, and from experiment file to results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import PredefinedSplit

from tests.datasets.series_files import SETTINGS, write_series
from tests.experiment.miniature import ENERGY, contents, read_table, run, settings, write_dataset
from tests.search.spaces import Fixed, Refitted
from voxelcast.core.arrays import BoolArray, FloatArray
from voxelcast.core.errors import ConfigError, DataError, ExecutionError, OptionError, UnknownNameError
from voxelcast.encoders.banded_ridge import ALPHAS
from voxelcast.execution.steps import Step
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.steps.compress import CompressedLayer
from voxelcast.experiment.steps.extract import Readable
from voxelcast.experiment.steps.partition import FoldedGroups, LayerGroup, PartitionJob
from voxelcast.experiment.steps.responses import TrainingResponses
from voxelcast.report.brain_maps import read_voxels
from voxelcast.report.page import write_report
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.scoring.intervals import Judged
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.scoring.variance_partitioning import fold_r2, preferred, variance_parts
from voxelcast.search.variance_partitioning import nested_predictions, resolve_groups
from voxelcast.store.result import StepResult
from voxelcast.store.steps import StepId, StepStore

GROUPS = {"colour": ["colour"], "edges": ["static.*"]}


def divide(
    tmp_path: Path, groups: dict[str, list[FloatArray]], Y: FloatArray, *, n_folds: int = 5, draws: int = 0
) -> dict[tuple[str, str], dict[str, Any]]:
    """Do the step on features and responses given, and return its rows by kind and part."""
    store, prepared = StepStore(tmp_path), StepId("responses", "ann_all", "0" * 32)
    with store.writing(prepared) as writer:
        writer.array("train", Y)
        writer.array("valid", np.ones(Y.shape[1], dtype=bool))
        writer.array("ceilings/noise_ceiling_r2", np.linspace(0.5, 0.7, Y.shape[1]))
    stored = []
    for name, layers in groups.items():
        compressed = []
        for index, X in enumerate(layers):
            step_id = StepId("compress", f"{name}{index}", "0" * 32)
            with store.writing(step_id) as writer:
                writer.array("scores", X)
            compressed.append(CompressedLayer(step_id, "net", "none", f"{name}{index}", "", fitted_in_folds=False))
        stored.append(LayerGroup(name, tuple(compressed)))
    n = len(Y)
    ids = tuple(f"s{row}" for row in range(n))
    readable = Readable(ids, (), np.arange(n), np.arange(0), None, None, None, {})
    folded = FoldedGroups(np.arange(n) % n_folds, tuple(stored))
    step = Step(
        PartitionJob(
            "ann", "all", TrainingResponses(prepared, "0"), readable, (folded,), draws, IntervalSettings(), seed=0
        )
    )
    step.run(store)
    return {(row["kind"], row["part"]): row for row in store.read(step.step_id).json("parts")}


@pytest.mark.parametrize(
    ("rho", "b1", "b2", "draws"),
    [(0.6, 0.6, 0.5, 0), (0.0, 0.7, 0.4, 0), (0.7, 0.8, -0.5, 0), (0.5, 0.8, 0.0, 0), (0.6, 0.6, 0.5, 3)],
    ids=["shared", "orthogonal", "suppression", "one group adds nothing", "banded ridge"],
)
def test_two_correlated_groups_have_the_parts_of_the_closed_form(
    tmp_path: Path, rho: float, b1: float, b2: float, draws: int
) -> None:
    """y = b1 x1 + b2 x2 + noise of variance .5, x1 and x2 correlated: each with three columns that say nothing."""
    rng = np.random.default_rng(0)
    n, q = (300, 12) if draws else (3000, 12)
    x1 = rng.standard_normal((n, 1))
    x2 = rho * x1 + np.sqrt(1 - rho**2) * rng.standard_normal((n, 1))
    Y = b1 * x1 + b2 * x2 + np.sqrt(0.5) * rng.standard_normal((n, q))
    features = {
        name: [np.hstack([x, rng.standard_normal((n, 3))]) @ rng.standard_normal((4, 4))]
        for name, x in (("one", x1), ("two", x2))
    }
    rows = divide(tmp_path, features, Y, draws=draws)
    variance = b1**2 + b2**2 + 2 * rho * b1 * b2 + 0.5
    alone, other = (b1 + rho * b2) ** 2 / variance, (b2 + rho * b1) ** 2 / variance
    together = 1 - 0.5 / variance
    expected = {
        ("model", "one"): alone,
        ("model", "two"): other,
        ("model", "one+two"): together,
        ("unique", "one"): together - other,
        ("unique", "two"): together - alone,
        ("shared", "one+two"): alone + other - together,
    }
    assert list(rows) == list(expected)
    for name, value in expected.items():
        assert rows[name]["r2"] == pytest.approx(value, abs=0.06 if draws else 0.025), name
        assert rows[name]["low"] < rows[name]["r2"] < rows[name]["high"]
        assert rows[name]["n_voxels"] == q
        assert rows[name]["noise_ceiling_r2"] == pytest.approx(0.6)


@pytest.mark.slow
def test_equals_stacked_ridge_cv_in_loops(tmp_path: Path) -> None:
    """Every combination, fold and voxel by itself; groups scaled by the training stimuli, regressions stacked."""
    rng = np.random.default_rng(1)
    n, q, n_folds = 60, 2, 4
    latent = rng.standard_normal((n, 5))
    layers = {name: [latent @ rng.standard_normal((5, p)) + rng.standard_normal((n, p)) for p in sizes]
              for name, sizes in {"a": (3, 70), "b": (6,), "c": (4, 2)}.items()}  # fmt: skip
    Y = latent @ rng.standard_normal((5, q)) + 2 * rng.standard_normal((n, q)) + 4
    rows = divide(tmp_path, layers, Y, n_folds=n_folds)
    assert len(rows) == 7 + 7
    folds = np.arange(n) % n_folds
    (file,) = tmp_path.glob("partition/*/result.npz")
    voxels = StepResult(file).arrays("voxels")

    def regression(name: str, known: BoolArray, fitted: BoolArray) -> FloatArray:
        scaled = []
        for group in name.split("+"):
            parts = np.hstack([X / np.sqrt(X[known].var(axis=0).sum()) for X in layers[group]])
            scaled.append(parts / np.sqrt(parts[fitted].var(axis=0).sum() * len(name.split("+"))))
        X, inner = np.hstack(scaled), PredefinedSplit(folds[fitted])
        models = [RidgeCV(ALPHAS, cv=inner, scoring="neg_mean_squared_error").fit(X[fitted], y[fitted]) for y in Y.T]
        return np.stack([model.predict(X) for model in models], axis=1)

    of_part = {"a": ["a"], "b": ["b"], "a+b": ["a", "b", "a+b"]}
    predicted = {name: np.empty(Y.shape) for name in of_part}
    for fold in range(n_folds):
        known = folds != fold
        design, measured = {name: np.empty(Y.shape) for name in of_part}, np.empty(Y.shape)
        for other in set(range(n_folds)) - {fold}:
            own = folds == other
            measured[own] = (Y[own] - Y[own].mean(axis=0)) / Y[known].std(axis=0)
            for name, column in design.items():
                P = regression(name, known, known & ~own)[own]
                column[own] = (P - P.mean(axis=0)) / Y[known].std(axis=0)
        alone = {name: regression(name, known, known)[~known] - Y[known].mean(axis=0) for name in of_part}
        for name, names in of_part.items():
            A = np.stack([design[one][known].ravel() for one in names], axis=1)
            weights = nnls(A, measured[known].ravel())[0]
            predicted[name][~known] = sum(w * alone[one] for w, one in zip(weights, names, strict=True))
    for name, P in predicted.items():
        np.testing.assert_allclose(voxels[f"model_{name}"], fold_r2(Y, P, folds), atol=1e-6)
    total = sum(values for key, values in voxels.items() if key.startswith(("unique", "shared")) and "_" not in key[7:])
    np.testing.assert_allclose(total, voxels["model_a+b+c"], atol=1e-10)
    np.testing.assert_allclose(voxels["unique_a"], voxels["model_a+b+c"] - voxels["model_b+c"], atol=1e-10)
    assert rows["unique", "a"]["r2"] == pytest.approx(voxels["unique_a"].mean())


def test_a_fold_that_is_predicted_takes_no_part_in_the_models() -> None:
    """Neither its responses nor, beyond its own rows, its features change its prediction."""
    rng = np.random.default_rng(2)
    folds = np.arange(40) % 4
    raw = {name: rng.standard_normal((40, 9)) for name in "ab"}
    Y = raw["a"][:, :2] @ rng.standard_normal((2, 3)) + rng.standard_normal((40, 3))

    def predicted(Y: FloatArray) -> tuple[dict[frozenset[str], FloatArray], list[Refitted]]:
        spaces = {name: Refitted(X, folds, 4, layer=name) for name, X in raw.items()}
        made = nested_predictions({name: [space] for name, space in spaces.items()}, Y, folds)
        lesions = {frozenset({f"without {name}"}): P for name, P in made.lesioned.items()}
        return made.combined | lesions, [*spaces.values()]

    before, spaces = predicted(Y)
    for space in spaces:
        assert space.asked == [(0,), (1,), (2,), (3,)]  # the compression of fold j is fitted without it
    other = Y.copy()
    other[folds == 2] = 100 * rng.standard_normal((10, 3))
    after, _ = predicted(other)
    for sets, P in before.items():
        np.testing.assert_array_equal(P[folds == 2], after[sets][folds == 2])
        assert not np.allclose(P[folds == 1], after[sets][folds == 1])


def test_noise_has_no_variance_to_divide() -> None:
    rng = np.random.default_rng(3)
    folds = np.arange(200) % 5
    groups = {name: [Fixed(rng.standard_normal((200, 20)))] for name in "ab"}
    Y = rng.standard_normal((200, 50))
    made = nested_predictions(groups, Y, folds)
    for part in variance_parts(Y, made.combined, Judged(folds), lesioned=made.lesioned):
        if part.kind == "lesion":
            assert part.mean_low < 0 < part.mean_high
        else:
            assert abs(part.mean) < 0.01, part.kind


def test_the_planted_modality_of_each_voxel_is_named() -> None:
    """Three correlated modalities of two layers each; r is .5 at the highest where half of the variance is signal."""
    rng = np.random.default_rng(4)
    n, q = 400, 60
    names, common = ("frames", "sound", "words"), rng.standard_normal((n, 4))
    layers = {name: [0.5 * common + rng.standard_normal((n, 4)) for _ in range(2)] for name in names}
    planted = np.arange(q) % 4  # the last are noise
    Y = rng.standard_normal((n, q))
    for number, features in enumerate(layers.values()):
        signal = np.hstack(features) @ rng.standard_normal((8, int((planted == number).sum())))
        Y[:, planted == number] += 1.2 * signal / signal.std(axis=0)
    folds = np.arange(n) % 5
    groups = {name: [Fixed(X, layer=str(k)) for k, X in enumerate(both)] for name, both in layers.items()}
    made = nested_predictions(groups, Y, folds, draws=4)
    parts = variance_parts(Y, made.combined, Judged(folds), lesioned=made.lesioned)
    found = preferred(parts, names)
    driven = planted < 3
    assert np.mean(found[driven] == planted[driven] + 1) >= 0.95
    assert np.mean(np.isnan(found[~driven])) >= 0.8
    covered = []
    for part in parts:
        if part.kind == "lesion":
            own = planted == names.index(next(iter(part.sets)))
            assert (part.low[own] > 0.05).all()
            covered += [*((part.low < 0) & (part.high > 0))[driven & ~own]]
    assert np.mean(covered) >= 0.9


def test_a_lesion_takes_a_group_from_the_model_on_all() -> None:
    """Without draws and with one group that says all, its lesion leaves what a regression knows without it."""
    rng = np.random.default_rng(5)
    X, idle = rng.standard_normal((120, 3)), np.zeros((120, 2))
    Y = X @ rng.standard_normal((3, 4)) + 0.1 * rng.standard_normal((120, 4))
    folds = np.arange(120) % 4
    made = nested_predictions({"all": [Fixed(X)], "nothing": [Fixed(idle)]}, Y, folds)
    np.testing.assert_array_equal(made.lesioned["nothing"], made.combined[frozenset({"all", "nothing"})])
    for fold in range(4):
        mean = Y[folds != fold].mean(axis=0)
        np.testing.assert_allclose(made.lesioned["all"][folds == fold], np.tile(mean, (30, 1)))
    parts = {(p.kind, *p.sets): p for p in variance_parts(Y, made.combined, Judged(folds), lesioned=made.lesioned)}
    assert not parts["lesion", "nothing"].r2.any()
    whole = cross_validated_r(Y, made.combined[frozenset({"all", "nothing"})], folds)
    np.testing.assert_allclose(parts["lesion", "all"].r2, whole)  # constant predictions have r 0


@pytest.fixture
def divided(images: Path, in_process: None) -> dict[str, Any]:
    """Settings of an experiment that divides variance between two groups."""
    plain = settings(images, encoders=["pls"], variance_partitioning={"groups": GROUPS, "draws": 1})
    plain["networks"][0]["layers"] = ["colour", "static.3", "static.4"]
    return plain


def test_results_report_maps_and_resume(divided: dict[str, Any], tmp_path: Path) -> None:
    store, out = tmp_path / "store", tmp_path / "out"
    run(divided | {"variance_partitioning": {}}, tmp_path / "without", store=store)
    summary = run(divided, out, store=store)
    assert summary.steps_run == 1  # the partition alone: nothing else depends on the setting
    for name in ("scores.csv", "search.csv", "weights.csv", "predictions/ann_all.npy", "voxels/ann_all.npz"):
        assert (out / name).read_bytes() == (tmp_path / "without" / name).read_bytes()
    assert not (tmp_path / "without" / "variance_partitioning.csv").exists()
    assert "Unique and shared variance" not in (tmp_path / "without" / "report.html").read_text()

    rows = {(row["kind"], row["part"]): row for row in read_table(out / "variance_partitioning.csv")}
    assert list(rows) == [
        *(("model", part) for part in ("colour", "edges", "colour+edges")),
        *(("unique", "colour"), ("unique", "edges"), ("shared", "colour+edges")),
    ]
    parts = [float(row["r2"]) for (kind, _), row in rows.items() if kind != "model"]
    assert sum(parts) == pytest.approx(float(rows["model", "colour+edges"]["r2"]))
    assert {(row["subject"], row["roi"], row["n_voxels"]) for row in rows.values()} == {("ann", "all", "5")}
    assert {row["noise_ceiling_r2"] for row in rows.values()} == {""}  # one repetition: no ceiling
    of_groups = {row["group"]: row for row in read_table(out / "groups.csv")}
    assert list(of_groups) == ["colour", "edges"]
    lead = float(rows["model", "colour"]["r2"]) - float(rows["model", "edges"]["r2"])
    assert [float(row["lead"]) for row in of_groups.values()] == pytest.approx([lead, -lead])
    with np.load(out / "variance_partitioning" / "ann_all.npz") as voxels:
        counted = [int((voxels["preferred"] == number).sum()) for number in (1, 2)]
        assert [int(row["n_preferred"]) for row in of_groups.values()] == counted
        assert float(of_groups["edges"]["lesion"]) == pytest.approx(voxels["lesion_edges"].mean())
        assert voxels["unique_colour"].mean() == pytest.approx(parts[0])
        assert (voxels["unique_colour_low"] <= voxels["unique_colour_high"]).all()
    before = contents(out)
    assert run(divided, out, store=store).steps_run == 0
    assert contents(out)["variance_partitioning.csv"] == before["variance_partitioning.csv"]
    page = write_report(out).read_text()
    assert "shared by colour and edges" in page
    assert "Unique and shared variance in all: all together" in page

    class OneROI:
        subjects = ("ann",)

        def rois(self, subject: str) -> tuple[str, ...]:
            return ("all",)

    assert "shared_colour+edges" in read_voxels(out, OneROI())["ann"]["all"]  # type: ignore[arg-type]


def test_the_key_has_what_changes_the_result(divided: dict[str, Any], tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(divided, tmp_path / "first", store=store)
    same = divided | {"significance": {"permutations": 0}, "encoders": ["ridge"]}
    assert run(same, tmp_path / "same", store=store).steps_run == 1  # the fit
    groups = {"colour": ["colour", "static.3"], "edges": ["static.4"]}
    run(divided | {"variance_partitioning": {"groups": groups, "draws": 1}}, tmp_path / "groups", store=store)
    assert len(list((store / "partition").glob("ann_all-*"))) == 2
    tables = [(tmp_path / name / "variance_partitioning.csv").read_bytes() for name in ("first", "same", "groups")]
    assert tables[0] == tables[1] != tables[2]


def test_a_failure_costs_no_score(divided: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise DataError("the disk is full of sand")

    out = tmp_path / "out"
    with (
        monkeypatch.context() as broken,
        pytest.raises(ExecutionError, match="was not divided: ann_all: the disk is full of sand"),
    ):
        broken.setattr(PartitionJob, "run", fail)
        run(divided, out)
    assert float(read_table(out / "scores.csv")[0]["score"]) > 0
    assert "was not divided: ann_all failed" in (out / "notes.json").read_text()
    assert read_table(out / "variance_partitioning.csv") == []
    assert run(divided, out).steps_run == 1
    assert len(read_table(out / "variance_partitioning.csv")) == 6


def test_time_series_of_a_run_a_fold_have_no_interval(tmp_path: Path, in_process: None) -> None:
    """Features of events: which condition was shown says all that whether something was shown does."""
    (tmp_path / "series").mkdir()
    write_series(tmp_path / "series")
    plain = {
        "name": "series",
        "dataset": {"kind": "time_series", "root": str(tmp_path / "series"), **SETTINGS, "subjects": "ann"},
        "features": ["conditions", "onoff"],
        "delays": [1, 2, 3],
        "compress": {"method": "none"},
        "encoders": ["ridge"],
        "folds": {"by": "group"},
        "significance": {"permutations": 0},
        "variance_partitioning": {"groups": {"which": ["conditions"], "whether": ["dataset:onoff"]}},
        "compute": {"workers": 1},
    }
    run(plain, tmp_path / "out")
    rows = [row for row in read_table(tmp_path / "out" / "variance_partitioning.csv") if row["roi"] == "four"]
    r2 = {(row["kind"], row["part"]): float(row["r2"]) for row in rows}
    assert r2["unique", "which"] > 0.1
    assert r2["unique", "whether"] == pytest.approx(0, abs=0.02)
    assert {row["low"] + row["high"] for row in rows} == {""}  # a fold is one run: no interval
    assert "Scores have no interval: 3 of 3 folds have one group" in (tmp_path / "out" / "notes.json").read_text()


def test_repeats_are_averaged(divided: dict[str, Any], tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(divided, tmp_path / "once", store=store)
    run(divided | {"folds": {"n": 4, "repeats": 2}}, tmp_path / "twice", store=store)
    (once,), (twice,) = (
        [row for row in read_table(tmp_path / name / "variance_partitioning.csv") if row["kind"] == "shared"]
        for name in ("once", "twice")
    )
    assert once["r2"] != twice["r2"]
    assert float(once["r2"]) == pytest.approx(float(twice["r2"]), abs=0.1)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"a": ["colour"]}, "divided between 2 to 4 groups"),
        ({name: [name] for name in "abcde"}, "divided between 2 to 4 groups"),
        ({"a": [], "b": ["colour"]}, r"variance_partitioning\.groups\.a"),
        ({"a+b": ["colour"], "c": ["static.4"]}, r"must have no '\+'"),
        ({"a/b": ["colour"], "c": ["static.4"]}, "cannot be a file name"),
    ],
)
def test_settings_that_cannot_be(images: Path, groups: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config(settings(images, variance_partitioning={"groups": groups}), "x.yaml")


@pytest.mark.parametrize(
    ("members", "error", "said"),
    [
        (["color"], UnknownNameError, "layer or network 'color' does not exist .*did you mean colour"),
        (["motion_energy:colour"], UnknownNameError, f"did you mean {ENERGY}:colour"),
        (["motion.*"], UnknownNameError, r"'motion\.\*' does not exist among those of the experiment"),
        (["static.4", "col*"], OptionError, f"no layer in common; got {ENERGY} colour in a and in b"),
        ([ENERGY], OptionError, f"no layer in common; got {ENERGY} colour in a and in b"),
    ],
)
def test_groups_that_cannot_be(
    images: Path, tmp_path: Path, members: list[str], error: type[Exception], said: str
) -> None:
    plain = settings(images, variance_partitioning={"groups": {"a": ["colour"], "b": members}})
    with pytest.raises(error, match=said):
        run(plain, tmp_path / "out")
    assert not (tmp_path / "out" / "steps" / "extract").exists()  # said before any work


def test_two_folds_are_too_few(images: Path, tmp_path: Path) -> None:
    plain = settings(images, variance_partitioning={"groups": GROUPS}, folds={"n": 2, "nested": False})
    with pytest.raises(OptionError, match="needs at least 3 folds"):
        run(plain, tmp_path / "out")


def test_members_are_layers_patterns_networks_or_both() -> None:
    layers = [("one", "conv1"), ("one", "conv2"), ("two", "conv1"), ("two", "fc"), ("dataset", "words")]
    groups = {"a": ["one:conv1", "fc"], "b": ["one:conv[2]", "two:conv*"], "c": ["dataset"]}
    assert resolve_groups(groups, layers) == {
        "a": (("one", "conv1"), ("two", "fc")),
        "b": (("one", "conv2"), ("two", "conv1")),
        "c": (("dataset", "words"),),
    }
    assert resolve_groups({"early": ["conv1"], "late": ["conv2", "fc"]}, layers)["early"] == (
        ("one", "conv1"),
        ("two", "conv1"),
    )


def test_excluded_voxels_have_no_part(tmp_path: Path, in_process: None) -> None:
    root = write_dataset(tmp_path / "images")
    Y = np.load(root / "responses" / "ann.npy")
    Y[:, 1] = 2.0
    np.save(root / "responses" / "ann.npy", Y)
    plain = settings(root, invalid_voxels="exclude", variance_partitioning={"groups": GROUPS}, encoders=["pls"])
    run(plain, tmp_path / "out")
    with np.load(tmp_path / "out" / "variance_partitioning" / "ann_all.npz") as voxels:
        assert np.flatnonzero(np.isnan(voxels["shared_colour+edges"])).tolist() == [1]
    assert {row["n_voxels"] for row in read_table(tmp_path / "out" / "variance_partitioning.csv")} == {"4"}
