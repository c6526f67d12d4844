"""The exhaustive search: refinement between the settings of the list, and its memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from voxelcast.encoders.moments import roi_scores
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.exact import exact_trials
from voxelcast.search.folds import make_folds
from voxelcast.search.training import PairData, training
from voxelcast.search.trials import Task, without

from .spaces import Fixed, search, simulated


@pytest.mark.parametrize("outer", [None, 0, 3])
@pytest.mark.parametrize("name", ["ridge", "lasso", "elastic_net"])
def test_no_penalty_in_between_scores_better(name: str, outer: int | None) -> None:
    features, Y = simulated(160, 0, 8, 60, noise=6.0)
    folds = make_folds(160, 4, 0)
    data, encoder = PairData(Y, folds, 4), get_encoder(name)
    source = training(Fixed(features[0]), data)
    tried = dict(exact_trials(encoder, source, Task(data)))[outer]
    scores = tried.scores.mean(axis=1)
    best = tried.params_list[int(scores.argmax())]
    near = tuple(best | {"relative_alpha": best["relative_alpha"] * factor} for factor in np.geomspace(0.7, 1.4, 21))
    allowed = tuple(setting for setting in near if name == "ridge" or 1e-3 <= setting["relative_alpha"] <= 1)
    parts = [fold for fold in range(4) if fold != outer]
    columns = []
    for fold in parts:
        (found,) = encoder.evaluate(source, allowed, without(fold, outer), (fold,))
        columns.append(roi_scores(found, data.held_out[fold]))
    dense = np.mean(columns, axis=0)
    # The score of the lasso jumps where a voxel's first feature comes in; no polynomial follows that.
    assert scores.max() >= dense.max() - (1e-8 if name == "ridge" else 2e-3)
    if tried.complexity is not None:
        ranked = [tried.params_list[place] for place in np.argsort(tried.complexity)]
        assert [s["relative_alpha"] for s in ranked] == sorted((s["relative_alpha"] for s in ranked), reverse=True)


@pytest.mark.parametrize("sizes", [(3, 10, 7, 5), (10, 3, 5, 7), (5, 7, 3, 10)])
def test_settings_suit_the_smallest_training_part_of_unequal_folds(sizes: tuple[int, ...]) -> None:
    folds = np.repeat(np.arange(4), sizes)
    data, n = PairData(np.random.default_rng(0).standard_normal((25, 2)), folds, 4), 25
    assert Task(data, nested=False).size(12).n_train == min(n - sizes[i] for i in range(4)) == 15
    assert Task(data).size(12).n_train == min(n - sizes[i] - sizes[j] for i in range(4) for j in range(i)) == 8
    # With more features than that, so many numbers of components are tried, and each has a score in every part.
    features = np.random.default_rng(1).standard_normal((25, 12))
    for _, tried in exact_trials(get_encoder("pls"), training(Fixed(features), data), Task(data)):
        assert [setting["n_components"] for setting in tried.params_list] == list(range(1, 8))
        assert np.isfinite(tried.scores).all()


@pytest.mark.parametrize("name", ["pls", "ridge"])
def test_memory_of_many_voxels_is_bounded(name: str) -> None:
    n, p, q = 300, 10, 4000
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((n, p)), rng.standard_normal((n, q))
    folds = make_folds(n, 5, 0)
    tracemalloc.start()
    data = PairData(Y, folds, 5)
    source = training(Fixed(X), data)
    before = tracemalloc.get_traced_memory()[0]
    for _ in exact_trials(get_encoder(name), source, Task(data)):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The responses three times and the folds' products; then a few arrays (settings, voxels) and 16 moments (p, q).
    # A copy of the responses per training part would be 16 times 9.6 MB.
    assert before < 3.5 * Y.nbytes
    assert peak - before < (16 * p + 8 * 51) * q * 8


@pytest.mark.parametrize("nested", [False, True])
def test_stopping_past_the_peak_chooses_as_going_through_all(nested: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (X,), Y = simulated(200, 0, 90, 8, noise=6.0)
    monkeypatch.setattr("voxelcast.search.exact._STAGES", (40,))
    folds = make_folds(200, 4)
    stopped, whole = (
        search(Y, [Fixed(X)], [get_encoder("pls")], folds, nested=nested, stop=stop) for stop in (True, False)
    )
    assert (len(stopped.candidates), len(whole.candidates)) == (40, 90)
    assert stopped.chosen.params == whole.chosen.params
    assert [one.params for one in stopped.nested_choices] == [one.params for one in whole.nested_choices]
    np.testing.assert_array_equal(stopped.chosen.fold_scores, whole.chosen.fold_scores)


def test_a_score_that_still_rises_is_followed_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).standard_normal((150, 90)) * np.geomspace(1, 1e-2, 90)
    Y = X[:, -3:] / X[:, -3:].std(axis=0)  # in the directions of least variance, which come last
    monkeypatch.setattr("voxelcast.search.exact._STAGES", (40,))
    found = search(Y, [Fixed(X)], [get_encoder("pls")], make_folds(150, 3), nested=False)
    assert len(found.candidates) == 90
    assert found.chosen.params["n_components"] > 40


@pytest.mark.parametrize("name", ["pls", "pls_scaled", "ridge"])
def test_sets_solved_together_are_those_solved_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some layers of low rank, a voxel that is constant outside of a fold, and folds of unequal size."""
    (X, Z), Y = simulated(83, 5, 6, 7, layers=2)
    Z[:, 4:] = Z[:, :2]
    folds = np.sort(make_folds(83, 5))
    Y[folds != 2, 3] = 2.0
    spaces = [Fixed(X, "a"), Fixed(Z, "b")]
    found = search(Y, spaces, [get_encoder(name)], folds)
    monkeypatch.setattr("voxelcast.encoders.linear._FEW_FEATURES", 0)
    wanted = search(Y, spaces, [get_encoder(name)], folds)
    for one, other in zip(found.candidates, wanted.candidates, strict=True):
        assert one.params == pytest.approx(other.params, rel=1e-6)
        np.testing.assert_allclose(one.fold_scores, other.fold_scores, rtol=0, atol=1e-9)
    choices = [[(c.layer, c.params) for c in (one.chosen, *one.nested_choices)] for one in (found, wanted)]
    assert [layer for layer, _ in choices[0]] == [layer for layer, _ in choices[1]]
    for (_, params), (_, expected) in zip(*choices, strict=True):
        assert params == pytest.approx(expected, rel=1e-6)
