"""Given folds, groups and the unit of exchange of `evaluate` and `EncodingModel`, and the warnings of both."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

import voxelcast as vc
from tests.scoring.permuted import explicit_p_values
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import AlignmentError, DataError, ShapeError, VoxelcastWarning
from voxelcast.core.seeds import derive_seed
from voxelcast.scoring.settings import SignificanceSettings
from voxelcast.search.settings import FoldSettings, SelectionSettings

TESTED = vc.EvaluationSettings(significance=SignificanceSettings(permutations=60))


def _data(n: int = 48) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 8))
    return X, X @ rng.standard_normal((8, 6)) + 2 * rng.standard_normal((n, 6))


def _frames(n: int = 120) -> tuple[FloatArray, FloatArray]:
    """Features and responses that follow in time, and have nothing to do with each other."""
    noise = np.random.default_rng(1).standard_normal((n + 100, 35))
    series = lfilter([1], [1, -0.95], noise, axis=0)[100:]
    return series[:, :20], series[:, 20:]


@pytest.mark.parametrize("grouped", [False, True])
def test_given_folds_leave_the_unit_to_the_groups(grouped: bool) -> None:
    X, Y = _data()
    named = [f"part {k // 16}" for k in range(48)]
    groups = [f"movie {k // 4}" for k in range(48)] if grouped else None
    scores = vc.evaluate(X, Y, folds=named, groups=groups, settings=TESTED)
    seed, P = derive_seed(0, "significance", ""), scores["prediction"].to_numpy()
    expected = explicit_p_values(Y, P, np.arange(48) // 16, 60, seed, groups, np.sqrt(2))
    np.testing.assert_array_equal(scores["p_value"], expected)
    said = "whole groups within each of 3 folds" if grouped else "single stimuli within each of 3 folds"
    assert said in scores.attrs["exchanged"]
    by_id = pd.DataFrame(Y, index=[f"s{k}" for k in range(48)])
    folds = {f"s{k}": 10 * (k // 16) for k in reversed(range(48))}
    again = vc.evaluate(X, by_id, folds=folds, groups=groups, settings=TESTED)
    np.testing.assert_array_equal(again["p_value"], expected)


def test_groups_may_stay_together_and_stimuli_be_exchanged() -> None:
    X, Y = _data()
    groups = [f"category {k % 6}" for k in range(48)]
    by_group = vc.evaluate(X, Y, folds=FoldSettings(n=3), groups=groups, settings=TESTED)
    by_stimulus = vc.evaluate(X, Y, folds=FoldSettings(n=3, unit="stimulus"), groups=groups, settings=TESTED)
    np.testing.assert_array_equal(by_group["prediction"], by_stimulus["prediction"])
    assert "whole groups" in by_group.attrs["exchanged"]
    assert "single stimuli" in by_stimulus.attrs["exchanged"]
    assert by_stimulus["p_value"].min() < by_group["p_value"].min()


def test_what_cannot_be_significant_is_warned_of() -> None:
    X, Y = _data()
    runs = [f"run {k // 16}" for k in range(48)]
    with pytest.warns(VoxelcastWarning, match="there are 6 arrangements of whole folds"):
        scores = vc.evaluate(X, Y, folds=runs, groups=runs, settings=TESTED)
    assert "No voxel can be significant" in scores.attrs["warnings"]
    assert scores["p_value"].min() == pytest.approx(1 / 6)
    assert scores.attrs["n_significant_voxels"] == 0


def test_choosing_voxels_are_told_of_the_bound() -> None:
    X, Y = _data()
    settings = vc.EvaluationSettings(selection=SelectionSettings(per="voxel"))
    scores = vc.evaluate({"a": X[:, :4], "b": X[:, 4:]}, Y, folds=3, settings=settings)
    assert "3 to 8 % of noise voxels have p below .05" in scores.attrs["exchanged"]


def test_autocorrelated_rows_are_warned_of() -> None:
    X, Y = _frames()
    with pytest.warns(VoxelcastWarning, match="follow each other in the order given"):
        scores = vc.evaluate(X, Y, folds=5)
    assert "kind: time_series" in scores.attrs["warnings"]
    assert scores.attrs["score"] > 0.3  # of noise: that is what the warning is for
    with pytest.warns(VoxelcastWarning, match="follow each other in the order given"):
        vc.EncodingModel(folds=5).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stretches = vc.evaluate(X, Y, folds=np.arange(120) // 24)
        vc.EncodingModel().fit(X, Y, fold_ids=np.arange(120) // 24)
        shuffled = np.random.default_rng(2).permutation(120)
        vc.evaluate(X, Y[shuffled], folds=5)
    assert stretches.attrs["warnings"] == ""
    assert stretches.attrs["score"] < scores.attrs["score"] - 0.2


def test_the_folds_of_a_fit_are_those_given() -> None:
    X, Y = _data()
    names = np.array(["b", "a", "c"])[np.arange(48) % 3]
    given = vc.EncodingModel(seed=3).fit(X, Y, fold_ids=names)
    other = vc.EncodingModel(seed=3).fit(X, Y, fold_ids=names.tolist(), groups=np.arange(48) % 6)
    assert all(len(candidate.fold_scores) == 3 for candidate in given.candidates_)
    np.testing.assert_array_equal(given.predict(X), other.predict(X))
    first = given.candidates_[0]
    held = names == "a"
    fitted = vc.EncodingModel(params=first.params).fit(X[~held], Y[~held]).predict(X[held])
    expected = np.mean([np.corrcoef(Y[held, v], fitted[:, v])[0, 1] for v in range(6)])
    assert first.fold_scores[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("folds", "error", "message"),
    [
        (np.arange(47) % 3, ShapeError, "folds must have shape"),
        (np.arange(48) % 2, DataError, "given folds must be at least 3"),
        (np.minimum(np.arange(48), 3), DataError, r"smallest \(0\) of 1"),
        ({"s0": 1}, AlignmentError, "folds"),
    ],
)
def test_wrong_folds_are_refused(folds: Any, error: type[Exception], message: str) -> None:
    X, Y = _data()
    with pytest.raises(error, match=message):
        vc.evaluate(X, pd.DataFrame(Y, index=[f"s{k}" for k in range(48)]), folds=folds)


def test_a_group_in_two_folds_is_refused() -> None:
    X, Y = _data()
    groups = [f"movie {k // 4}" for k in range(48)]
    with pytest.raises(DataError, match="group 'movie 0' in folds 0 and 1"):
        vc.evaluate(X, Y, folds=np.arange(48) % 3, groups=groups)
    with pytest.raises(DataError, match="group 'movie 0' in folds 0 and 1"):
        vc.EncodingModel().fit(X, Y, groups, np.arange(48) % 3)
    with pytest.raises(ShapeError, match="fold_ids must have shape"):
        vc.EncodingModel().fit(X, Y, fold_ids=np.arange(47) % 3)
