"""A new subject from few stimuli: what models of other subjects predict for these is one band, own features another.

With the other subjects' coefficients B (p, m), their predictions for the new subject's stimuli are P = X B. Ridge
regression on P gives the new subject's coefficients the prior covariance B B', the one that the others show: empirical
Bayes. Its components are those of P, at most one per training stimulus, and the strong ones are shrunk least. Beside
it stands a band of the features X themselves, for what no other subject has. Both are divided by their mean squared
norms and weighted (`voxelcast.encoders.banded_ridge`): weight ``share`` for P, 1 - ``share`` for X. Share and penalty
are chosen by cross-validation within the training stimuli, for all voxels together; share 0 is the fit to the new
subject alone, which is judged beside it by the same folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError
from voxelcast.encoders.banded_ridge import fit_weighted_ridge
from voxelcast.encoders.moments import mean_squared_norm
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.scoring.intervals import Interval, Judged, difference_interval

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Weights of the other subjects that are tried; 0 is the fit to the new subject alone."""
_TINY = 1e-12
_FEWEST_FOLDS = 3


@dataclass(frozen=True, eq=False)
class SharedRidge:
    """A new subject's model: prediction = intercept + X @ own + P @ axes @ shared.

    Parameters
    ----------
    own : ndarray of shape (p, q)
        Coefficients of the features, layers side by side.
    axes : ndarray of shape (m, k)
        Components of the other subjects' predictions, side by side, for the training stimuli.
    shared : ndarray of shape (k, q)
        Coefficients of these components.
    intercept : ndarray of shape (q,)
    share, alpha : float
        The weight of the other subjects and the penalty that were chosen.
    """

    own: FloatArray
    axes: FloatArray
    shared: FloatArray
    intercept: FloatArray
    share: float
    alpha: float

    def predict(self, Xs: Sequence[FloatArray], Ps: Sequence[FloatArray]) -> FloatArray:
        """Predict responses (n, q) from layers' features and the other subjects' predictions."""
        return np.asarray(self.intercept + np.hstack(Xs) @ self.own + (np.hstack(Ps) @ self.axes) @ self.shared)


@dataclass(frozen=True, eq=False)
class Transfer:
    """A new subject's model, and how well it does beside one that knows no other subject.

    Parameters
    ----------
    model : SharedRidge
        Fitted to all stimuli.
    out_of_fold, alone : ndarray of shape (n, q)
        Predictions of every fold by models whose share, penalty and coefficients were estimated on the other folds;
        ``alone`` with share 0.
    scores, scores_alone : ndarray of shape (q,)
        Their r (`voxelcast.scoring.correlation.cross_validated_r`).
    fold_shares : tuple of float
        The share that was chosen for each fold.
    difference : float
        Mean over voxels of ``scores`` minus ``scores_alone``.
    interval : Interval
        Of the difference.
    """

    model: SharedRidge
    out_of_fold: FloatArray
    alone: FloatArray
    scores: FloatArray
    scores_alone: FloatArray
    fold_shares: tuple[float, ...]
    difference: float
    interval: Interval


def transfer(
    Xs: Sequence[FloatArray], Ps: Sequence[FloatArray], Y: FloatArray, judged: Judged, level: float = 0.95
) -> Transfer:
    """Fit a new subject with the help of others, and judge it by nested cross-validation.

    Raises ShapeError if rows do not match; DataError if a value is NaN or infinite, or there are fewer than 3 folds.

    Parameters
    ----------
    Xs : sequence of ndarray of shape (n, p_l)
        Features of the new subject's stimuli, of each layer; each is scaled to the same mean squared norm.
    Ps : sequence of ndarray of shape (n, m_s)
        What each other subject's models predict for these; likewise.
    Y : ndarray of shape (n, q)
        Responses of the new subject.
    judged : Judged
        Folds, and what of them would be drawn anew.
    level : float
        Of the interval.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X, others = rng.standard_normal((60, 80)), rng.standard_normal((80, 4))
    >>> Y = X @ others @ rng.standard_normal((4, 6)) + 10 * rng.standard_normal((60, 6))
    >>> found = transfer([X], [X @ others], Y, Judged(np.arange(60) % 5))
    >>> found.model.share > 0.5, found.difference > 0.05
    (True, True)
    """
    _check(Xs, Ps, Y)
    fold_ids = np.asarray(judged.fold_ids)
    folds = np.unique(fold_ids)
    if len(folds) < _FEWEST_FOLDS:
        raise DataError(
            f"a transfer is judged by at least {_FEWEST_FOLDS} folds, of which the others choose; got {len(folds)}; "
            "give more folds"
        )
    out_of_fold, alone, chosen = np.empty(Y.shape), np.empty(Y.shape), []
    for fold in folds:
        held = fold_ids == fold
        for predicted, shares in ((out_of_fold, SHARES), (alone, (0.0,))):
            model = fit_shared_ridge([X[~held] for X in Xs], [P[~held] for P in Ps], Y[~held], fold_ids[~held], shares)
            predicted[held] = model.predict([X[held] for X in Xs], [P[held] for P in Ps])
            if predicted is out_of_fold:
                chosen.append(model.share)
    with_others, by_itself = (
        cross_validated_r(Y, predicted, fold_ids, own_baseline=judged.own_baseline)
        for predicted in (out_of_fold, alone)
    )
    both = np.isfinite(with_others) & np.isfinite(by_itself)
    return Transfer(
        fit_shared_ridge(Xs, Ps, Y, fold_ids),
        out_of_fold,
        alone,
        with_others,
        by_itself,
        tuple(chosen),
        float((with_others - by_itself)[both].mean()) if both.any() else float("nan"),
        difference_interval(Y, out_of_fold, alone, judged, level),
    )


def fit_shared_ridge(
    Xs: Sequence[FloatArray],
    Ps: Sequence[FloatArray],
    Y: FloatArray,
    fold_ids: IntArray,
    shares: Sequence[float] = SHARES,
) -> SharedRidge:
    """Choose the share of the other subjects and the penalty by cross-validation, and fit.

    Raises ShapeError if rows do not match; DataError if a value is NaN or infinite.

    Parameters
    ----------
    Xs, Ps, Y
        As of `transfer`.
    fold_ids : ndarray of shape (n,)
    shares : sequence of float
        To try, in [0, 1]; of equal errors the first wins. Where all predictions are constant, 0 alone.
    """
    _check(Xs, Ps, Y)
    (X, scales), (P, units) = _side_by_side(Xs), _side_by_side(Ps)
    mean = P.mean(axis=0)
    axes = _components(P - mean)
    weights = np.array([(1.0 - share, share) for share in (shares if axes.size else (0.0,))])
    model = fit_weighted_ridge([X, (P - mean) @ axes], Y, fold_ids, weights, per="roi")
    own, shared = model.coefficients
    intercept = model.intercept - (mean @ axes) @ shared
    own, axes = own * scales[:, None], axes * units[:, None]
    return SharedRidge(own, axes, shared, intercept, float(model.weights[1, 0]), float(model.alphas[0]))


def _side_by_side(parts: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Scale parts (n, p_l) to mean squared norm 1 and join them, (n, p); and each column's factor, (p,)."""
    norms = [mean_squared_norm(part - part.mean(axis=0)) for part in parts]
    factors = np.concatenate([np.full(part.shape[1], norm**-0.5) for part, norm in zip(parts, norms, strict=True)])
    return np.hstack(parts) * factors, factors


def _check(Xs: Sequence[FloatArray], Ps: Sequence[FloatArray], Y: FloatArray) -> None:
    for name, several in (("features", Xs), ("predictions of the other subjects", Ps)):
        for values in several:
            check_shape(name, values, ("n_stimuli", "n_columns"), (len(Y), None))
            check_finite(name, values)


def _components(centred: FloatArray) -> FloatArray:
    """Return the principal axes of predictions, ndarray of shape (m, k); they lose nothing of these."""
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(axes[values > _TINY * values.max(initial=0.0)].T)
