"""Searches by proposals against the exhaustive search, pruned, joint, killed and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxelcast.encoders.base import Setting
from voxelcast.encoders.registry import ENCODERS, get_encoder
from voxelcast.scoring.correlation import mean_pearson_r
from voxelcast.search.base import PairResult
from voxelcast.search.evaluation_log import EvaluationLog, open_log
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.proposals import Judge
from voxelcast.search.selection import Selection

from .spaces import Fixed, layer_names, simulated


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@pytest.mark.parametrize("seed", range(3))
def test_the_exact_optimum_is_never_worse(encoder: str, seed: int) -> None:
    features, Y = simulated(80, 5, 15, 6, noise=6.0, seed=seed)
    folds = make_folds(80, 5, seed)
    found = {
        method: search_pair(
            Y, [Fixed(features[0])], [get_encoder(encoder)], folds, method=method, trials=12, seed=seed, nested=False
        )
        for method in ("exact", "bayes")
    }
    exact, bayes = found["exact"], found["bayes"]
    assert exact.chosen.score >= bayes.chosen.score - 1e-12
    assert len(bayes.candidates) == (12 if get_encoder(encoder).space(64, 5, 6) else 1)
    by_setting = {tuple(c.setting.items()): c.fold_scores for c in exact.candidates}
    for candidate in bayes.candidates:
        np.testing.assert_allclose(candidate.fold_scores, by_setting[tuple(candidate.setting.items())], atol=1e-10)


def test_all_trials_of_a_small_space_find_the_exact_optimum() -> None:
    features, Y = simulated(80, 5, 4, 6)
    folds = make_folds(80, 5, 0)
    exact, bayes = (
        search_pair(Y, [Fixed(features[0])], [get_encoder("pls")], folds, method=method, trials=40)
        for method in ("exact", "bayes")
    )
    assert bayes.chosen.setting == exact.chosen.setting
    assert [c.setting for c in bayes.nested_choices] == [c.setting for c in exact.nested_choices]
    np.testing.assert_allclose(bayes.predictions, exact.predictions, atol=1e-10)
    np.testing.assert_allclose(bayes.voxel_scores, exact.voxel_scores, atol=1e-10)


def test_proposals_depend_on_the_seed_and_on_the_pair() -> None:
    features, Y = simulated(80, 5, 15, 6)
    folds = make_folds(80, 5, 0)

    def proposed(seed: int, *names: str) -> list[object]:
        result = search_pair(
            Y, [Fixed(features[0])], [get_encoder("ridge")], folds, method="bayes", trials=6, seed=seed, names=names,
            nested=False,
        )  # fmt: skip
        return [c.setting for c in result.candidates]

    assert proposed(0, "sub01", "V1") == proposed(0, "sub01", "V1")
    assert proposed(0, "sub01", "V1") != proposed(1, "sub01", "V1")
    assert proposed(0, "sub01", "V1") != proposed(0, "sub01", "V2")


def test_a_layer_without_scores_leaves_the_search_to_the_others() -> None:
    features, Y = simulated(60, 5, 6, 4)
    result = search_pair(
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
    return search_pair(Y, spaces, encoders, folds, method=method, trials=8, log=log, **options)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("random", {}),
        ("grid", {}),
        ("bayes", {"sampler": "gp", "nested": False}),
        ("bayes", {"prune": True}),
        ("random", {"selection": Selection("voxel")}),
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
    assert len({(c.layer, c.n_components, c.encoder) for c in result.candidates}) > 4
    features, Y = simulated(60, 5, 8, 4, layers=2, noise=6.0)
    X = features[int(result.chosen.layer[-1])][:, : result.chosen.n_components]
    model = get_encoder(result.chosen.encoder).fit(X[:60], Y, result.chosen.setting)
    np.testing.assert_allclose(result.predictions, model.predict(X[60:]), atol=1e-9)
    folds = make_folds(60, 4, 0)
    held_out = folds == 2
    again = get_encoder(result.chosen.encoder).fit(X[:60][~held_out], Y[~held_out], result.chosen.setting)
    score = mean_pearson_r(Y[held_out], again.predict(X[:60][held_out]))
    assert result.chosen.fold_scores[2] == pytest.approx(score, abs=1e-9)


class _Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("options", [{}, {"joint": True}, {"prune": True}])
def test_a_killed_search_goes_on_where_it_was(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _search("bayes", **options)
    fit = Judge._fit_and_score
    left = [40]

    def counted(self: Judge, setting: Setting, fold: int) -> float:
        left[0] -= 1
        if left[0] < 0:
            raise _Killed
        return fit(self, setting, fold)

    monkeypatch.setattr(Judge, "_fit_and_score", counted)
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
    np.testing.assert_array_equal(resumed.predictions, expected.predictions)
    np.testing.assert_array_equal(resumed.out_of_fold, expected.out_of_fold)
    assert [c.setting for c in resumed.candidates] == [c.setting for c in expected.candidates]


def test_a_second_process_leaves_the_log_alone(tmp_path: Path) -> None:
    with open_log(tmp_path) as first, open_log(tmp_path) as second:
        first.put(("a",), 1.0)
        second.put(("b",), 2.0)
    with open_log(tmp_path) as again:
        assert again.get(("a",)) == 1.0
        assert again.get(("b",)) is None
