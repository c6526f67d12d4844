"""Searches by proposals against the exhaustive search, pruned, joint, killed and resumed."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.spaces import search
from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.features.delays import BEFORE, delay
from voxelcast.scoring.correlation import mean_pearson_r
from voxelcast.search.base import PairResult
from voxelcast.search.evaluation_log import EvaluationLog, open_log
from voxelcast.search.folds import make_folds
from voxelcast.search.proposals import Evaluator
from voxelcast.search.settings import SelectionSettings

from .spaces import LINEAR, Fixed, layer_names, simulated


@pytest.mark.parametrize("encoder", LINEAR)
@pytest.mark.parametrize("seed", range(3))
def test_the_exact_optimum_is_never_worse(encoder: str, seed: int) -> None:
    features, Y = simulated(80, 5, 15, 6, noise=6.0, seed=seed)
    folds = make_folds(80, 5, seed)
    found = {
        method: search(
            Y, [Fixed(features[0])], [get_encoder(encoder)], folds, method=method, trials=12, seed=seed, nested=False
        )
        for method in ("exact", "bayes")
    }
    exact, bayes = found["exact"], found["bayes"]
    assert exact.chosen.score >= bayes.chosen.score - 1e-12
    assert len(bayes.candidates) == (12 if get_encoder(encoder).search_space(ProblemSize(64, 5, 6)) else 1)
    by_setting = {tuple(c.params.items()): c.fold_scores for c in exact.candidates}
    for candidate in bayes.candidates:
        np.testing.assert_allclose(candidate.fold_scores, by_setting[tuple(candidate.params.items())], atol=1e-10)


def test_all_trials_of_a_small_space_find_the_exact_optimum() -> None:
    features, Y = simulated(80, 5, 4, 6)
    folds = make_folds(80, 5, 0)
    exact, bayes = (
        search(Y, [Fixed(features[0])], [get_encoder("pls")], folds, method=method, trials=40)
        for method in ("exact", "bayes")
    )
    assert bayes.chosen.params == exact.chosen.params
    assert [c.params for c in bayes.nested_choices] == [c.params for c in exact.nested_choices]
    np.testing.assert_allclose(bayes.predictions, exact.predictions, atol=1e-10)
    np.testing.assert_allclose(bayes.voxel_scores, exact.voxel_scores, atol=1e-10)


def test_proposals_depend_on_the_seed_and_on_the_pair() -> None:
    features, Y = simulated(80, 5, 15, 6)
    folds = make_folds(80, 5, 0)

    def proposed(seed: int, *names: str) -> list[object]:
        result = search(
            Y, [Fixed(features[0])], [get_encoder("ridge")], folds, method="bayes", trials=6, seed=seed, names=names,
            nested=False,
        )  # fmt: skip
        return [c.params for c in result.candidates]

    assert proposed(0, "sub01", "V1") == proposed(0, "sub01", "V1")
    assert proposed(0, "sub01", "V1") != proposed(1, "sub01", "V1")
    assert proposed(0, "sub01", "V1") != proposed(0, "sub01", "V2")


def test_a_layer_without_scores_leaves_the_search_to_the_others() -> None:
    features, Y = simulated(60, 5, 6, 4)
    result = search(
        Y,
        [Fixed(np.ones((65, 6)), "dead"), Fixed(features[0], "alive")],
        [get_encoder("pls")],
        make_folds(60, 4, 0),
        method="bayes",
        trials=3,
    )
    assert result.chosen.layer == "alive"
    assert np.isnan([c.score for c in result.candidates if c.layer == "dead"]).all()


def _search(method: str, log: EvaluationLog | None = None, **options: Any) -> PairResult:
    features, Y = simulated(60, 5, 8, 4, layers=2, noise=6.0)
    spaces = [Fixed(X, name) for X, name in zip(features, layer_names(2), strict=True)]
    encoders = [get_encoder("pls"), get_encoder("ridge")]
    folds = make_folds(60, 4, 0)
    return search(Y, spaces, encoders, folds, method=method, trials=8, log=log, **options)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("random", {}),
        ("grid", {}),
        ("bayes", {"sampler": "gp", "nested": False}),
        ("bayes", {"prune": True}),
        ("random", {"selection": SelectionSettings("voxel")}),
    ],
)
def test_no_proposal_beats_the_exact_search(method: str, options: dict[str, Any]) -> None:
    found, exact = _search(method, **options), _search("exact", nested=False)
    assert exact.chosen.score >= found.chosen.score - 1e-12
    again = _search(method, **options)
    np.testing.assert_array_equal(again.predictions, found.predictions)


def test_pruned_proposals_keep_their_history_and_are_never_chosen() -> None:
    result = _search("random", prune=True, nested=False)
    given_up = [c for c in result.candidates if np.isnan(c.fold_scores).any()]
    assert given_up
    assert all(np.isfinite(c.fold_scores[0]) and np.isnan(c.score) for c in given_up)
    assert np.isfinite(result.chosen.score)


def test_a_joint_search_fits_what_it_scored() -> None:
    result = _search("random", joint=True)
    assert len(result.candidates) == 8
    assert len({(c.layer, c.n_features, c.encoder) for c in result.candidates}) > 4
    features, Y = simulated(60, 5, 8, 4, layers=2, noise=6.0)
    X = features[int(result.chosen.layer[-1])][:, : result.chosen.n_features]
    model = get_encoder(result.chosen.encoder).fit(X[:60], Y, result.chosen.params)
    np.testing.assert_allclose(result.predictions, model.predict(X[60:]), atol=1e-9)
    folds = make_folds(60, 4, 0)
    held_out = folds == 2
    again = get_encoder(result.chosen.encoder).fit(X[:60][~held_out], Y[~held_out], result.chosen.params)
    score = mean_pearson_r(Y[held_out], again.predict(X[:60][held_out]))
    assert result.chosen.fold_scores[2] == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("name", ["pls", "pls_canonical", "cca", "omp"])
def test_no_proposal_asks_for_more_components_than_the_rank(name: str, joint: bool) -> None:
    """Eight features of rank three, one of which varies in the last fold alone: training parts without it have two."""
    rng = np.random.default_rng(0)
    folds = np.repeat(np.arange(4), 15)
    parts = rng.standard_normal((60, 3)) * [1, 1, 0]
    parts[folds == 3, 2] = rng.standard_normal(15)
    X, Y = parts @ rng.standard_normal((3, 8)), rng.standard_normal((60, 9))
    result = search(Y, [Fixed(X)], [get_encoder(name)], folds, method="random", trials=10, joint=joint)
    assert {int(count) for c in result.candidates for count in c.params.values()} == {1, 2}


def test_a_joint_search_takes_a_component_at_all_delays_or_leaves_it() -> None:
    """The first two of six components, as they were two volumes before, drive the responses."""
    rng = np.random.default_rng(0)
    features, n_delays = rng.standard_normal((90, 6)), 4
    rows = np.arange(90)[:, None] - np.arange(n_delays)
    X = delay(features, np.where(rows < 0, BEFORE, rows))
    Y = X[:, [2, n_delays + 2]] @ rng.standard_normal((2, 5)) + 0.5 * rng.standard_normal((90, 5))
    result = search(
        Y,
        [Fixed(X)],
        [get_encoder("ridge")],
        make_folds(90, 3, 0),
        method="random",
        trials=12,
        joint=True,
        n_delays=n_delays,
    )
    assert {c.n_features for c in result.candidates} <= {n_delays * k for k in range(1, 7)}
    assert result.chosen.n_features == 2 * n_delays
    assert result.chosen.score > 0.7


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_joint_search_proposes_the_pool(sampler: str, tmp_path: Path) -> None:
    """Two layers in two pools, and a table that was never pooled; one layer in one pool drives the responses."""
    features, Y = simulated(60, 5, 8, 4, layers=5, true_layer=3, noise=1.0)
    names = [("early", "mean"), ("early", "max"), ("late", "mean"), ("late", "max"), ("table", "")]
    spaces = [Fixed(X, layer, pool=pool) for X, (layer, pool) in zip(features, names, strict=True)]
    options: dict[str, Any] = {"method": "bayes", "joint": True, "sampler": sampler, "seed": 1}
    folds, encoders = make_folds(60, 4, 0), [get_encoder("ridge")]
    with open_log(tmp_path) as log:
        result = search(Y, spaces, encoders, folds, trials=25, nested=False, log=log, **options)
    assert len(result.candidates) == 25
    assert {(c.layer, c.pool) for c in result.candidates} == set(names)
    assert (result.chosen.layer, result.chosen.pool) == ("late", "max")
    assert [(part.layer, part.pool) for part in result.parts] == [("late", "max")]
    logged = (tmp_path / "scores.jsonl").read_text()
    assert '["joint", "network", "late", "max", ' in logged
    assert re.search(r'\["joint", "network", "table", "\d+", ', logged)
    # Inside the outer folds too: there the pool of a layer is chosen without the fold that judges it.
    judged = search(Y, spaces[2:4], encoders, folds, trials=10, **options)
    assert {(c.layer, c.pool) for c in judged.nested_choices} == {("late", "max")}
    assert judged.voxel_scores is not None
    assert judged.voxel_scores.mean() > 0.5


def test_pools_of_a_layer_have_proposals_of_their_own() -> None:
    features, Y = simulated(60, 5, 8, 4)
    spaces = [Fixed(features[0], pool=pool) for pool in ("", "mean", "max")]
    result = search(Y, spaces, [get_encoder("ridge")], make_folds(60, 4, 0), method="random", trials=3)
    proposed = {pool: [c.params for c in result.candidates if c.pool == pool] for pool in ("", "mean", "max")}
    assert proposed["mean"] != proposed["max"]
    alone = search(Y, spaces[:1], [get_encoder("ridge")], make_folds(60, 4, 0), method="random", trials=3)
    assert proposed[""] == [c.params for c in alone.candidates]


class _Killed(Exception):
    """The process ends here."""


PER_VOXEL = SelectionSettings("voxel", "one_standard_error")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"joint": True},
        {"prune": True},
        {"selection": PER_VOXEL},
        {"selection": PER_VOXEL, "joint": True},
        {"selection": SelectionSettings("voxel"), "prune": True},
    ],
)
def test_a_killed_search_goes_on_where_it_was(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _search("bayes", **options)
    fit = Evaluator._evaluated
    left = [40]

    def counted(self: Evaluator, params: Params, fold: int) -> FloatArray:
        left[0] -= 1
        if left[0] < 0:
            raise _Killed
        return fit(self, params, fold)

    monkeypatch.setattr(Evaluator, "_evaluated", counted)
    with open_log(tmp_path / "scratch") as log, pytest.raises(_Killed):
        _search("bayes", log, **options)
    # The kill cut a line short.
    scores = tmp_path / "scratch" / "scores.jsonl"
    scores.write_text(scores.read_text() + '["torn')
    left[0] = 10**6
    with open_log(tmp_path / "scratch") as log:
        resumed = _search("bayes", log, **options)
    fresh = 10**6 - left[0]
    left[0] = 10**6
    _search("bayes", **options)
    assert fresh == 10**6 - left[0] - 40
    _assert_same(resumed, expected)
    # Of a study that is over, what the voxels chose is left.
    kept = {path.suffix for path in (tmp_path / "scratch").glob("voxels/*")}
    assert kept == ({".npz"} if "selection" in options else set())


def _assert_same(found: PairResult, expected: PairResult) -> None:
    np.testing.assert_array_equal(found.predictions, expected.predictions)
    np.testing.assert_array_equal(found.out_of_fold, expected.out_of_fold)
    np.testing.assert_array_equal(found.layer_weights, expected.layer_weights)
    assert [c.params for c in found.candidates] == [c.params for c in expected.candidates]
    scores = [[c.fold_scores for c in result.candidates] for result in (found, expected)]
    np.testing.assert_array_equal(*scores)


def _search_per_voxel(folder: Path) -> None:
    with open_log(folder) as log:
        _search("random", log, selection=PER_VOXEL)


@pytest.mark.parametrize("moment", [3, 20])
def test_a_process_that_is_killed_leaves_what_its_voxels_scored(moment: int, tmp_path: Path) -> None:
    """A moment is a number of files of single evaluations; after 20, some study is over."""
    expected = _search("random", selection=PER_VOXEL)
    process = multiprocessing.get_context("fork").Process(target=_search_per_voxel, args=(tmp_path,))
    process.start()
    seen: set[Path] = set()
    while len(seen) < moment:
        assert process.is_alive(), "the search was over before it could be killed"
        seen |= set(tmp_path.glob("voxels/*/*.npz"))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    scored = len((tmp_path / "scores.jsonl").read_text().splitlines())
    assert scored >= moment - 1
    assert not list(tmp_path.glob("voxels/*.part"))
    with open_log(tmp_path) as log:
        _assert_same(_search("random", log, selection=PER_VOXEL), expected)


def test_a_second_process_leaves_the_log_alone(tmp_path: Path) -> None:
    with open_log(tmp_path) as first, open_log(tmp_path) as second:
        first.put(("a",), 1.0)
        second.put(("b",), 2.0)
    with open_log(tmp_path) as again:
        assert again.get(("a",)) == 1.0
        assert again.get(("b",)) is None
