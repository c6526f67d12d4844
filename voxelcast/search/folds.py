"""Folds of cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import derive_seed, generator
from voxelcast.search.settings import FoldSettings

_FEWEST = 3  # With two stimuli a correlation is 1 or -1 whatever the model.


def make_folds(n: int, n_folds: int, seed: int = 0, groups: Sequence[str] | None = None) -> IntArray:
    """Divide stimuli into shuffled folds of equal size; a group never straddles two folds.

    Groups are shuffled, then given out from the largest to the smallest, each to the fold that is smallest so far.
    Raises OptionError if there are fewer than 2 folds; DataError if there are fewer stimuli or groups than folds, or a
    fold would get fewer than three stimuli.

    Parameters
    ----------
    n : int
        Number of stimuli.
    n_folds : int
        At least 2.
    groups : sequence of str, optional
        The group of each stimulus: the movie of a frame, the run of a volume. None: each stimulus by itself.

    Returns
    -------
    fold_ids : ndarray of shape (n,), int
        In 0 to ``n_folds`` - 1.
    """
    if n_folds < 2:
        raise OptionError(f"the number of folds must be at least 2; got {n_folds}; give e.g. 10")
    if n < n_folds:
        raise DataError(f"there must be at least as many stimuli as folds; got {n} stimuli and {n_folds} folds")
    rng = generator(seed, "folds", n, n_folds)
    fold_ids = np.empty(n, dtype=np.intp)
    if groups is None:
        fold_ids[rng.permutation(n)] = np.arange(n) % n_folds
    else:
        names, group_of_row = np.unique(np.asarray(groups), return_inverse=True)
        check_shape("groups", group_of_row, ("n_stimuli",), (n,))
        if len(names) < n_folds:
            raise DataError(
                f"there must be at least as many groups as folds; got {len(names)} groups and {n_folds} folds; "
                "ask for fewer folds"
            )
        fold_ids[:] = _folds_of_groups(np.bincount(group_of_row), n_folds, rng)[group_of_row]
    return _sized(fold_ids, n_folds)


def folds_2021(n: int, n_folds: int, repeat: int = 0) -> IntArray:
    """Divide stimuli as in 2021, by scikit-learn's ``RepeatedKFold(n_folds, random_state=1)``.

    Raises DataError if a fold would get fewer than three stimuli.

    Parameters
    ----------
    n : int
        Number of stimuli, in the order of 2021: sorted by their names.
    n_folds : int
        At least 2.
    repeat : int
        From 0; 2021 had no others.

    Returns
    -------
    fold_ids : ndarray of shape (n,), int
        In 0 to ``n_folds`` - 1.
    """
    fold_ids = np.arange(n, dtype=np.intp) % n_folds
    if n >= n_folds:
        from sklearn.model_selection import RepeatedKFold

        splits = RepeatedKFold(n_splits=n_folds, n_repeats=repeat + 1, random_state=1).split(fold_ids)
        for fold, (_, held_out) in enumerate(list(splits)[-n_folds:]):
            fold_ids[held_out] = fold
    return _sized(fold_ids, n_folds)


def _sized(fold_ids: IntArray, n_folds: int) -> IntArray:
    """Return folds, or raise DataError if one has too few stimuli."""
    fewest = int(np.bincount(fold_ids, minlength=n_folds).min())
    if fewest < _FEWEST:
        raise DataError(
            f"every fold needs at least {_FEWEST} stimuli; got {fewest} in the smallest of {n_folds} folds of "
            f"{len(fold_ids)} stimuli; ask for fewer folds"
        )
    return fold_ids


def group_folds(groups: Sequence[str], fewest: int = 2) -> IntArray:
    """Make each group a fold of its own: leave one run, movie or session out.

    Raises DataError if there are too few groups, or one has fewer than three stimuli.

    Parameters
    ----------
    groups : sequence of str
        The group of each stimulus.
    fewest : int
        The least number of folds.

    Returns
    -------
    fold_ids : ndarray of shape (n,), int
        Groups are numbered in the order of their names.
    """
    names, fold_ids = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < fewest:
        raise DataError(
            f"each group is a fold, and there must be at least {fewest}; got {len(names)} groups; divide the stimuli "
            "into more groups, or make folds of stimuli"
        )
    sizes = np.bincount(fold_ids)
    if int(sizes.min()) < _FEWEST:
        raise DataError(
            f"each group is a fold and needs at least {_FEWEST} stimuli; got {sizes.min()} in group "
            f"{names[sizes.argmin()]}; join groups, or make folds of stimuli"
        )
    return np.asarray(fold_ids, dtype=np.intp)


def segment_folds(positions: Sequence[tuple[str, int]], n_folds: int, gap: int = 0) -> IntArray:
    """Divide each run into as many contiguous segments as there are folds; the k-th of every run make fold k.

    Raises DataError if a segment is left with fewer than three volumes.

    Parameters
    ----------
    positions : sequence of (str, int)
        Run of each volume, and where it lies in it.
    gap : int
        Volumes left out between two segments, half of them on either side: so that no two volumes in different folds
        are nearer.

    Returns
    -------
    fold_ids : ndarray of shape (n,), int
        In 0 to ``n_folds`` - 1; -1 for what is left out.

    Examples
    --------
    >>> segment_folds([("run", k) for k in range(12)], 2, gap=2).tolist()
    [0, 0, 0, 0, 0, -1, -1, 1, 1, 1, 1, 1]
    """
    fold_ids = np.full(len(positions), -1, dtype=np.intp)
    runs: dict[str, list[int]] = {}
    for row in sorted(range(len(positions)), key=positions.__getitem__):
        runs.setdefault(positions[row][0], []).append(row)
    for run, rows in runs.items():
        for fold, segment in enumerate(np.array_split(rows, n_folds)):
            first = gap // 2 if fold else 0
            last = len(segment) - (gap - gap // 2 if fold < n_folds - 1 else 0)
            kept = segment[first:last]
            if len(kept) < _FEWEST:
                raise DataError(
                    f"every segment needs at least {_FEWEST} volumes; got {len(kept)} in run {run} of {len(rows)} with "
                    f"{n_folds} folds and a gap of {gap}; ask for fewer folds or a smaller gap"
                )
            fold_ids[kept] = fold
    return fold_ids


def given_folds(folds: Sequence[Any] | NDArray[Any], groups: Sequence[str] | None = None, fewest: int = 2) -> IntArray:
    """Give numbers to folds that were made elsewhere.

    Raises DataError if there are too few folds, one has fewer than three stimuli, or a group lies in two of them.

    Parameters
    ----------
    folds : sequence of shape (n,)
        Name or number of the fold of each stimulus.
    groups : sequence of str, optional
        The group of each stimulus.
    fewest : int
        The least number of folds.

    Returns
    -------
    fold_ids : ndarray of shape (n,), int
        Folds are numbered in the order of their names or numbers.
    """
    names, fold_ids = np.unique(np.asarray(folds), return_inverse=True)
    sizes = np.bincount(fold_ids)
    if len(names) < fewest or int(sizes.min()) < _FEWEST:
        raise DataError(
            f"given folds must be at least {fewest}, each of at least {_FEWEST} stimuli; got {len(names)} folds, the "
            f"smallest ({names[sizes.argmin()]}) of {sizes.min()}; join folds, or leave them out to have them made"
        )
    fold_of_group: dict[str, int] = {}
    for group, fold in zip(groups or (), fold_ids.tolist(), strict=groups is not None):
        if fold_of_group.setdefault(group, fold) != fold:
            raise DataError(
                f"a group must lie in one fold; got group {group!r} in folds {names[fold_of_group[group]]} and "
                f"{names[fold]}; correct the folds or the groups"
            )
    return np.asarray(fold_ids, dtype=np.intp)


def choose_folds(
    settings: FoldSettings,
    n: int,
    seed: int,
    groups: Sequence[str] | None = None,
    repeat: int = 0,
    given: Sequence[str] | None = None,
) -> IntArray:
    """Divide stimuli into folds as the settings say, or as ``given``; each repeat divides anew.

    Raises OptionError where the settings do not go with groups or given folds, else as `make_folds`, `group_folds` and
    `given_folds`.

    Parameters
    ----------
    n : int
        Number of stimuli.
    seed : int
        Of the experiment.
    groups : sequence of str, optional
        The group of each stimulus.
    repeat : int
        From 0.
    given : sequence of str, optional
        The fold of each stimulus.
    """
    fewest = 3 if settings.nested else 2
    if given is not None:
        for name, default in (("n", None), ("by", "stimulus"), ("repeats", 1)):
            if getattr(settings, name) != default:
                raise OptionError(
                    f"folds.{name} does not go with given folds; got {getattr(settings, name)}; leave it out, or the "
                    "given folds"
                )
        return given_folds(given, groups, fewest)
    if settings.by == "stimulus":
        return make_folds(
            n, settings.number(n, groups), derive_seed(seed, "folds", *([repeat] if repeat else [])), groups
        )
    if settings.by == "stimulus_2021":
        if groups is not None:
            raise OptionError(
                "folds.by=stimulus_2021 pays no heed to groups, and the dataset has some; set by=stimulus"
            )
        return folds_2021(n, settings.number(n), repeat)
    if groups is None:
        raise OptionError("folds.by=group needs groups of stimuli; give dataset.groups, or set folds.by=stimulus")
    return group_folds(groups, fewest)


def _folds_of_groups(sizes: IntArray, n_folds: int, rng: np.random.Generator) -> IntArray:
    shuffled = rng.permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fold_of_group = np.empty(len(sizes), dtype=np.intp)
    filled = np.zeros(n_folds, dtype=np.intp)
    for group in order:
        fold_of_group[group] = np.argmin(filled)
        filled[fold_of_group[group]] += sizes[group]
    return fold_of_group


def check_folds(fold_ids: IntArray, n: int) -> int:
    """Return the number of folds of a partition made elsewhere, or raise an error.

    Raises ShapeError if there is not one fold per stimulus; DataError if the folds are not numbered 0 to n_folds - 1,
    or one has fewer than three stimuli.
    """
    check_shape("fold_ids", fold_ids, ("n_train",), (n,))
    if n == 0 or not np.issubdtype(fold_ids.dtype, np.integer) or int(fold_ids.min()) < 0:
        raise DataError(f"fold_ids must hold fold numbers from 0; got {fold_ids[:5]}...; use make_folds")
    sizes = np.bincount(fold_ids)
    if len(sizes) < 2 or int(sizes.min()) < _FEWEST:
        raise DataError(
            f"there must be at least 2 folds, each of at least {_FEWEST} stimuli; got sizes {sizes.tolist()}; "
            "use make_folds"
        )
    return len(sizes)
