"""Are stimuli exchangeable between folds? Neighbours in time and look-alikes make cross-validation too optimistic.

What is judged are pairs of stimuli in *different* folds: where neighbours or look-alikes lie in one, nothing leaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_shape
from voxelcast.core.seeds import generator
from voxelcast.scoring.correlation import constant_columns

_SHUFFLES = 999
_LEVEL = 0.004  # of each of two orders: at most 1 % false alarms, and fewer where both tests must agree
_LAGS = 3
_LEAST_R = 0.05  # between neighbours, responses and features: what is less can hardly be seen in a score
_FEWEST = 20  # stretches of stimuli in one fold; of fewer, little can leak
_MOST = 2000  # stretches that are looked at, the middle ones
_FAR = 10
_COLUMNS = 500
_SKETCH = 64
_QUERIES = 1000
_LABELS = 5  # stimuli for each distinct row of features, from which on features are labels


def dependence_warnings(
    Y: FloatArray, X: FloatArray, fold_ids: IntArray, ids: Sequence[str] | None = None
) -> list[str]:
    """Say in a sentence or two each why scores are too good, if stimuli of different folds depend on each other.

    **Neighbours.** Stimuli that follow each other have like responses *and* like features: the mean correlation of
    neighbours in different folds, at lags 1 to 3 (weighted by 1 / lag), is compared with 999 shuffles of the order. It
    must be higher than all but .4 % for responses and for features, and at lag 1 at least .05. Orders are that of the
    rows and, if another, that of the numbers in the ids (``frame_2`` before ``frame_10``).

    **Look-alikes.** Features are nearly those of a stimulus in another fold: nearer than 60 % of what the 1 % quantile
    of nearest neighbours would be, were the columns (and the principal components) independent, in 5 % of the stimuli,
    and five; or nearer than 6 % of it in 1 %, and four. Features with more than five stimuli to each distinct row are
    labels, and not judged.

    On exchangeable stimuli each has at most 1 % false alarms. Raises ShapeError if the numbers of stimuli differ.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Responses, finite.
    X : ndarray of shape (n_stimuli, n_features)
        Features, finite; see `sketch` for many.
    fold_ids : ndarray of shape (n_stimuli,), int
    ids : sequence of str, optional
        Of the stimuli.

    Returns
    -------
    warnings : list of str
        Empty where nothing was found.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> walk = lambda columns: np.cumsum(rng.standard_normal((120, columns)), axis=0)
    >>> folds = rng.permutation(120) % 5
    >>> [text[:25] for text in dependence_warnings(walk(10), walk(8), folds)]
    ['Stimuli that follow each ']
    >>> dependence_warnings(walk(10), walk(8), np.arange(120) // 24)
    []
    """
    n = len(fold_ids)
    check_shape("responses", Y, ("n_stimuli", "n_voxels"), (n, None))
    check_shape("features", X, ("n_stimuli", "n_features"), (n, None))
    names = [str(k) for k in range(n)] if ids is None else list(ids)
    orders = {"in the order given": np.arange(n)}
    numbered = np.array(sorted(range(n), key=lambda k: _numbers(names[k])))
    if (numbered != orders["in the order given"]).any():
        orders["in the order of the numbers in their ids"] = numbered
    found = (_neighbours(Y, X, fold_ids, order, shown) for shown, order in orders.items())
    return [*[text for text in found if text][:1], *_look_alikes(X, fold_ids, names)]


def response_warnings(Y: FloatArray, fold_ids: IntArray) -> list[str]:
    """Say where responses alone follow each other, before features are known; see `dependence_warnings`.

    Only where the correlation of neighbours is at least .2: a slow drift, without features that follow it, harms less.
    """
    steps = _steps(fold_ids, np.arange(len(fold_ids)))
    lags = None if steps is None else _lag_correlations(_standardised(Y), *steps)
    if lags is None or lags[0] < 0.2:
        return []
    return [
        f"Responses to stimuli that follow each other are alike {_said(lags)} and lie in different folds; if their "
        f"features are alike too, scores will be too good. {_REMEDY}"
    ]


_REMEDY = (
    "Likeness that falls with the distance in the order is one of time: frames or volumes of a recording are no "
    "independent stimuli; set kind: time_series, give groups that stay together (a movie, a run), or folds of unbroken "
    "stretches. Likeness that stays the same within a category and ends with it comes from rows sorted by content (all "
    "faces first); if they were shown in another order, nothing is wrong."
)


def _neighbours(Y: FloatArray, X: FloatArray, fold_ids: IntArray, order: IntArray, shown: str) -> str:
    steps = _steps(fold_ids, order)
    if steps is None:
        return ""
    of_responses = _lag_correlations(_standardised(Y), *steps)
    if of_responses is None:
        return ""
    of_features = _lag_correlations(_centred(X), *steps)
    if of_features is None:
        return ""
    return (
        f"Stimuli that follow each other {shown} lie in different folds, and their responses {_said(of_responses)} and "
        f"features {_said(of_features)} are alike: score, interval and p-values are too good if the order is one of "
        f"time. {_REMEDY}"
    )


def _steps(fold_ids: IntArray, order: IntArray) -> tuple[IntArray, IntArray] | None:
    """Return the first and the last stimulus of each unbroken stretch in one fold; None if these are few."""
    in_order = fold_ids[order]
    first = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
    last = np.r_[first[1:] - 1, len(order) - 1]
    if len(first) < _FEWEST:
        return None
    some = slice(max(0, (len(first) - _MOST) // 2), max(0, (len(first) - _MOST) // 2) + _MOST)
    return order[first[some]], order[last[some]]


def _lag_correlations(Z: FloatArray, first: IntArray, last: IntArray) -> FloatArray | None:
    """Correlate the end of each stretch with the beginning of those 1, ..., 10 further on; None if it is chance.

    ``Z`` has centred columns whose mean variance is 1; None, too, where it has none.
    """
    if not Z.shape[1]:
        return None
    likeness = Z[last] @ Z[first].T / Z.shape[1]
    n = len(first)
    along = np.array([np.diagonal(likeness, lag).mean() for lag in range(1, min(_FAR, n - 1) + 1)])
    weights = 1.0 / np.arange(1, _LAGS + 1)
    rng, reached, measured = generator(0, "exchangeability"), 0, float(weights @ along[:_LAGS])
    if along[0] < _LEAST_R:
        return None
    for _ in range(_SHUFFLES):
        order = rng.permutation(n)
        drawn = sum(w * likeness[order[:-lag], order[lag:]].mean() for lag, w in enumerate(weights, start=1))
        reached += drawn >= measured
    return along if (reached + 1) / (_SHUFFLES + 1) <= _LEVEL else None


def _said(lags: FloatArray) -> str:
    return f"(r = {lags[0]:.2f} at lag 1, {lags[-1]:.2f} at lag {len(lags)})"


def _standardised(Y: FloatArray) -> FloatArray:
    """Give some columns mean 0 and variance 1, evenly spread over all that vary."""
    varying = np.flatnonzero(~constant_columns(Y))
    columns = varying[np.unique(np.linspace(0, len(varying) - 1, min(len(varying), _COLUMNS)).astype(int))]
    centred = Y[:, columns] - Y[:, columns].mean(axis=0)
    return np.asarray(centred / centred.std(axis=0))


def _centred(X: FloatArray) -> FloatArray:
    """Centre columns and give them a mean variance of 1; they keep their variances' ratios."""
    centred = X - X.mean(axis=0)
    scale = float(np.sqrt(np.mean(centred**2)))
    return np.asarray(centred / scale if scale > 0 else centred)


def sketch(parts: Iterable[FloatArray]) -> FloatArray:
    """Reduce the features of several layers to at most 64 columns in which stimuli keep their distances.

    Each layer is centred and has the same total variance. A single one of few columns is kept, others are projected on
    random directions and added [1]_.

    Parameters
    ----------
    parts : iterable of ndarray of shape (n_stimuli, n_features)

    Returns
    -------
    X : ndarray of shape (n_stimuli, n_columns)

    References
    ----------
    .. [1] Johnson, W. B. & Lindenstrauss, J. Extensions of Lipschitz mappings into a Hilbert space. Contemporary
       Mathematics 26, 189-206 (1984). doi:10.1090/conm/026/737400
    """
    total, only, n_parts = np.zeros((0, 0)), np.zeros((0, 0)), 0
    for n_parts, part in enumerate(parts, start=1):
        only = np.asarray(part, dtype=np.float64)
        size = only.shape[1]
        directions = generator(0, "sketch", n_parts).standard_normal((size, _SKETCH)) / np.sqrt(_SKETCH)
        added = _centred(only) @ directions / np.sqrt(max(size, 1))
        total = total + added if total.size else added
    return only if n_parts == 1 and only.shape[1] <= _SKETCH else total


def _look_alikes(X: FloatArray, fold_ids: IntArray, names: Sequence[str]) -> list[str]:
    n, X = len(X), _centred(X)
    if len(np.unique(X, axis=0)) * _LABELS <= n:
        return []
    rng = generator(0, "look-alikes")
    queries = np.sort(rng.permutation(n)[:_QUERIES])
    components = np.linalg.svd(X, full_matrices=False)
    bases = (X, components[0] * components[1])
    chance = min(float(np.quantile(_nearest(rng.permuted(B, axis=0), fold_ids, queries)[0], 0.01)) for B in bases)
    distances, twins = _nearest(X, fold_ids, queries)
    near, same = (int(np.count_nonzero(distances < share * chance)) for share in (0.6, 0.06))
    if near < max(5, 0.05 * len(queries)) and same < max(4, 0.01 * len(queries)):
        return []
    closest = int(np.argmin(distances))
    pair = names[queries[closest]], names[int(twins[closest])]
    return [
        f"{near} of {len(queries)} stimuli look almost the same as one in another fold ({pair[0]} as {pair[1]}, say): "
        "a model that was fitted to its twin need not generalise to predict it, so score, interval and p-values are "
        "too good. Frames of one movie, or one picture under several ids, belong in one group: give groups."
    ]


def _nearest(X: FloatArray, fold_ids: IntArray, queries: IntArray) -> tuple[FloatArray, IntArray]:
    """Find the nearest stimulus in another fold, and how far it is, of each query."""
    squares = np.einsum("ij,ij->i", X, X)
    distances = squares[queries, None] - 2 * X[queries] @ X.T + squares
    distances[fold_ids[queries][:, None] == fold_ids] = np.inf
    twins = distances.argmin(axis=1)
    exact = np.linalg.norm(X[queries] - X[twins], axis=1)  # the difference of large squares is not
    return exact, twins


def _numbers(name: str) -> list[tuple[int, int, str]]:
    """Make a key by which ``frame_2`` comes before ``frame_10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]
