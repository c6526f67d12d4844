"""Folds: balanced, shuffled, seeded, and true to groups."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.model_selection import RepeatedKFold

from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.search.folds import check_folds, choose_folds, folds_2021, group_folds, make_folds, segment_folds
from voxelcast.search.settings import FoldSettings


@pytest.mark.parametrize(("n", "k"), [(1000, 10), (103, 10), (30, 10), (6, 2), (17, 5)])
def test_folds_are_balanced_and_shuffled(n: int, k: int) -> None:
    folds = make_folds(n, k, seed=0)
    sizes = np.bincount(folds)
    assert folds.shape == (n,)
    assert len(sizes) == k
    assert sizes.max() - sizes.min() <= 1
    assert not np.array_equal(folds, np.sort(folds))
    assert not np.array_equal(folds, np.arange(n) % k)
    np.testing.assert_array_equal(folds, make_folds(n, k, seed=0))
    assert not np.array_equal(folds, make_folds(n, k, seed=1))


@pytest.mark.parametrize("seed", range(5))
def test_groups_never_straddle_folds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [f"movie {k}" for k in rng.integers(0, 40, 300)]
    folds = make_folds(300, 5, seed, groups)
    for group in set(groups):
        assert len({int(fold) for fold, name in zip(folds, groups, strict=True) if name == group}) == 1
    sizes = np.bincount(folds, minlength=5)
    assert sizes.min() >= 300 / 5 - 5
    assert sizes.max() <= 300 / 5 + 5


def test_one_stimulus_per_group_is_like_no_groups() -> None:
    sizes = np.bincount(make_folds(103, 10, 0, [str(k) for k in range(103)]))
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(
    ("n", "k", "groups", "error", "message"),
    [
        (5, 10, None, DataError, "got 5 stimuli and 10 folds"),
        (20, 10, None, DataError, "got 2 in the smallest of 10 folds"),
        (20, 1, None, OptionError, "at least 2; got 1"),
        (20, 5, ["a", "b", "c", "d"] * 5, DataError, "got 4 groups and 5 folds"),
        (20, 2, ["a"] * 18 + ["b"] * 2, DataError, "got 2 in the smallest of 2 folds"),
        (20, 2, ["a", "b"], ShapeError, "groups"),
    ],
)
def test_refuses_too_few(n: int, k: int, groups: list[str] | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_folds(n, k, 0, groups)


@pytest.mark.parametrize(
    ("folds", "error"),
    [
        (np.repeat([0, 2], 5), DataError),
        (np.repeat([0, 1], [8, 2]), DataError),
        (np.zeros(10, dtype=int), DataError),
        (np.repeat([-1, 0], 5), DataError),
        (np.repeat([0.0, 1.0], 5), DataError),
        (np.repeat([0, 1], 4), ShapeError),
    ],
)
def test_refuses_partitions_that_are_none(folds: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_folds(folds, 10)


def test_each_group_is_a_fold() -> None:
    groups = ["run 2"] * 3 + ["run 1"] * 4 + ["run 3"] * 3
    np.testing.assert_array_equal(group_folds(groups), np.repeat([1, 0, 2], [3, 4, 3]))
    with pytest.raises(DataError, match="at least 4; got 3 groups"):
        group_folds(groups, fewest=4)
    with pytest.raises(DataError, match="got 2 in group run 4"):
        group_folds([*groups, "run 4", "run 4"])


@pytest.mark.parametrize(("n", "k"), [(1000, 10), (103, 10), (17, 5)])
def test_folds_of_2021_are_scikit_learns(n: int, k: int) -> None:
    repeated = list(RepeatedKFold(n_splits=k, n_repeats=2, random_state=1).split(np.zeros(n)))
    for repeat in (0, 1):
        folds = choose_folds(FoldSettings(n=k, by="stimulus_2021", repeats=2), n, 5, None, repeat)
        for fold, (_, held_out) in enumerate(repeated[repeat * k : (repeat + 1) * k]):
            np.testing.assert_array_equal(np.flatnonzero(folds == fold), np.sort(held_out))


def test_folds_of_2021_refuse_groups_and_too_few_stimuli() -> None:
    with pytest.raises(OptionError, match="pays no heed to groups"):
        choose_folds(FoldSettings(n=3, by="stimulus_2021"), 12, 0, ["a"] * 12)
    for n in (1, 8):
        with pytest.raises(DataError, match="at least 3 stimuli"):
            folds_2021(n, 3)


def test_the_number_of_folds_follows_from_the_number_of_stimuli() -> None:
    assert [FoldSettings().number(n) for n in (20, 99, 100, 1000)] == [5, 5, 10, 10]
    assert FoldSettings(n=7).number(1000) == 7
    of_groups = {4: 3, 6: 3, 8: 4, 12: 5, 99: 5, 100: 10}
    for n_groups, folds in of_groups.items():
        groups = [f"g{row % n_groups}" for row in range(600)]
        assert FoldSettings().number(600, groups) == folds
        assert len(np.unique(choose_folds(FoldSettings(), 600, 0, groups))) == folds


def test_segments_keep_their_distance() -> None:
    positions = [("b", k) for k in range(31)] + [("a", k) for k in range(5, 35)]
    for gap in (0, 1, 4):
        found = segment_folds(positions, 3, gap)
        for run in ("a", "b"):
            rows = [k for k, one in enumerate(positions) if one[0] == run]
            kept = [(positions[k][1], found[k]) for k in rows if found[k] >= 0]
            assert [fold for _, fold in kept] == sorted(fold for _, fold in kept)
            apart = [b - a for (a, one), (b, other) in pairwise(kept) if one != other]
            assert apart == [gap + 1, gap + 1]
            assert len(kept) == len(rows) - 2 * gap
    with pytest.raises(DataError, match="at least 3 volumes; got 2 in run a of 8 with 2 folds and a gap of 3"):
        segment_folds([("a", k) for k in range(8)], 2, 3)
