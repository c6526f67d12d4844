"""The elastic net's coefficients for a path of penalties, all voxels side by side.

Of a voxel's objective (see `voxelcast.encoders.elastic_net`), times n, only b'Hb / 2 - c'b + t |b|_1 matters, with
H = S + n alpha (1 - l1_ratio) I, c its column of C and t = n alpha l1_ratio. It is minimised by Peaceman-Rachford
splitting [1]_ after the features were scaled to a diagonal of ones. It ends with b = v - clip(v, t / r)::

    w = v - 2 clip(v, t / r)                       clip(v, t) = min(max(v, -t), t)
    v <- 2 (H + r I)^-1 (c + r w) - w

With eigenvalues of H between l and L and r = sqrt(l L), a step brings v nearer to its limit by at least the factor
(sqrt(L) - sqrt(l)) / (sqrt(L) + sqrt(l)) [2]_, and a step of all voxels is one matrix product, where coordinate descent
would go through the features one by one. The error of the coefficients is at most about 1e-9 of the largest. Where
features are so nearly dependent that this takes long, the equations of the features in use are solved directly, and
the solution is kept if it meets the optimality conditions. Which features are in use is taken from the steps so far or,
where these have not found them, from following the voxel's path from the largest penalty (LARS [3]_).

References
----------
.. [1] Boyd, S., Parikh, N., Chu, E., Peleato, B. & Eckstein, J. Distributed optimization and statistical learning via
   the alternating direction method of multipliers. Foundations and Trends in Machine Learning 3, 1-122 (2011).
   doi:10.1561/2200000016
.. [2] Giselsson, P. & Boyd, S. Linear convergence and metric selection for Douglas-Rachford splitting and ADMM. IEEE
   Transactions on Automatic Control 62, 532-544 (2017). doi:10.1109/TAC.2016.2564160
.. [3] Efron, B., Hastie, T., Johnstone, I. & Tibshirani, R. Least angle regression. Annals of Statistics 32, 407-499
   (2004). doi:10.1214/009053604000000067
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray, blocks
from voxelcast.core.errors import DataError

_TOLERANCE = 1e-9
_DIRECT_TOLERANCE = 1e-12
_TINY = float(np.finfo(np.float64).tiny)
_BLOCK_BYTES = 16 * 2**20
_LOWEST_SHARE = 1e-3
_DIRECT_ROUNDS = 10
_LATEST_FIRST_CHECK = 16
_FIRST_DIRECT, _FIRST_FOLLOWED, _MOST_STEPS = 24, 64, 65_536
# Features with less than this share of the largest variance are constant but for rounding.
_VARIANCE_TOLERANCE = 1e-14


def elastic_net_path(S: FloatArray, C: FloatArray, penalties: Sequence[tuple[float, float]]) -> FloatArray:
    """Solve the elastic net for several penalties, ndarray of shape (n_penalties, q, p), each from the one before.

    They are solved from the largest to the smallest, the next l1_ratio after the last one's. Raises DataError if a
    voxel's coefficients do not converge.

    Parameters
    ----------
    S, C : ndarray of shape (p, p) and (p, q)
        See `voxelcast.encoders.base.Moments`.
    penalties : sequence of (float, float)
        n * alpha * l1_ratio and n * alpha * (1 - l1_ratio) of each set of parameters, in any order.
    """
    p, q = C.shape
    coefficients = np.zeros((len(penalties), q, p))
    variances = np.diag(S)
    vary = variances > _VARIANCE_TOLERANCE * variances.max(initial=0.0)
    if not vary.any():
        return coefficients
    kept: IntArray | slice = slice(None) if vary.all() else np.flatnonzero(vary)
    S, Ct, variances = S[kept][:, kept], np.ascontiguousarray(C[kept].T), variances[kept]
    roots = np.sqrt(variances)
    eigenvalues = np.linalg.eigvalsh(S / np.outer(roots, roots))
    b = np.zeros(Ct.shape)
    # Rounded, so that penalties of one l1_ratio stay together.
    shares = [round(absolute / max(absolute + square, _TINY), 9) for absolute, square in penalties]
    for place in sorted(range(len(penalties)), key=lambda place: (-shares[place], -penalties[place][0])):
        absolute, square = penalties[place]
        scale = 1 / np.sqrt(variances + square)
        # The scaled S has eigenvalues between these two; the square penalty draws both towards 1.
        towards_one = float(square * np.square(scale).min())
        lowest = max(float(eigenvalues[0]), 0.0) * (1 - towards_one) + towards_one
        highest = float(eigenvalues[-1]) * (1 - towards_one) + towards_one
        H = S * np.outer(scale, scale) + np.diag(square * np.square(scale))
        b = _minimise(_Problem(H, Ct * scale, absolute * scale, lowest, highest), b / scale) * scale
        coefficients[place][:, kept] = b
    return coefficients


@dataclass(frozen=True)
class _Problem:
    """Minimise x'Hx / 2 - c'x + sum(t |x|) for every voxel, with H (p, p), c (q, p) and t (p,).

    H has a diagonal of ones, and eigenvalues between ``lowest`` and ``highest``.
    """

    H: FloatArray
    c: FloatArray
    t: FloatArray
    lowest: float
    highest: float


def _minimise(problem: _Problem, x: FloatArray) -> FloatArray:
    """Return the minimum of every voxel, shape (q, p), starting from x.

    Raises DataError if a voxel does not converge.
    """
    # Without a lower bound the steps would be endlessly small; there, the direct solution ends the search.
    lowest = max(problem.lowest, _LOWEST_SHARE * problem.highest)
    r = float(np.sqrt(lowest * problem.highest))
    factor = (problem.highest - r) / (problem.highest + r)
    # Where a step need not bring v nearer it may go round in circles; a part of a step does not.
    stay = 0.1 if problem.lowest < lowest else 0.0
    tolerance = _TOLERANCE * (1 - factor)
    inverse = np.linalg.inv(problem.H + r * np.eye(len(problem.t)))
    found = np.zeros(x.shape)
    # Where no product exceeds the penalty, all coefficients are zero.
    todo = np.flatnonzero((np.abs(problem.c) > problem.t).any(axis=1))
    c = problem.c[todo] @ (2 * inverse)
    # Bounds of the shape of v, as to repeat a row in every operation would take twice as long.
    upper = np.tile(problem.t / r, (len(todo), 1))
    lower = -upper
    v = x[todo] + _clip((problem.c[todo] - x[todo] @ problem.H) / r, lower, upper, np.empty_like(c))
    reflection = 2 * r * inverse - np.eye(len(problem.t))
    before, clipped = np.empty_like(v), np.empty_like(v)
    # The first look is not long before all voxels may be done.
    check = int(np.clip(np.log10(_TOLERANCE) / np.log10(max(factor, 0.1)), 1, _LATEST_FIRST_CHECK))
    direct, follow = _FIRST_DIRECT, max(_FIRST_FOLLOWED, 2 * len(problem.t))
    for step in range(1, _MOST_STEPS + 1):
        if not len(todo):
            return found
        before, v = v, before
        _clip(before, lower, upper, clipped)
        np.multiply(clipped, -2, out=clipped)
        clipped += before
        np.matmul(clipped, reflection, out=v)
        v += c
        if stay:
            v += stay * (before - v)
        if step == check:
            x = v - _clip(v, lower, upper, clipped)
            size = tolerance * np.abs(x).max(axis=1)
            moved = np.abs(np.subtract(v, before, out=clipped), out=clipped).max(axis=1)
            done = moved <= size
            # A direct solution of k of p features takes as long as some 2 k^3 / p^2 steps.
            if step >= max(direct, 2 * float((x != 0).sum(axis=1).max()) ** 3 / len(problem.t) ** 2):
                direct = 2 * step
                done |= _solve_directly(problem, problem.c[todo], x)
                left_over = np.flatnonzero(~done)
                if len(left_over) and step >= follow:
                    followed = _follow_path(problem, problem.c[todo[left_over]])
                    done[left_over] = _solve_directly(problem, problem.c[todo[left_over]], followed)
                    x[left_over] = np.where(done[left_over, None], followed, x[left_over])
            # To look costs more than a step, so the next look is when the steps should have become small enough.
            decades = np.log10(moved[~done]) - np.log10(np.maximum(size[~done], _TINY))
            left = float(decades.max(initial=0.0)) / -np.log10(max(factor, 0.1))
            check += int(np.clip(left, 1, step if direct <= step else min(step, direct - step)))
            if done.any():
                found[todo[done]] = x[done]
                v, c, todo = v[~done], c[~done], todo[~done]
                n = len(todo)
                before, clipped, lower, upper = before[:n], clipped[:n], lower[:n], upper[:n]
    raise DataError(
        f"the elastic net of {len(todo)} of {len(found)} voxels must converge; it did not in {_MOST_STEPS} steps; "
        "use a larger relative_alpha, or fewer or less dependent features"
    )


def _clip(values: FloatArray, lower: FloatArray, upper: FloatArray, out: FloatArray) -> FloatArray:
    """Clip into ``out``, in half the time of `numpy.clip`."""
    np.maximum(values, lower, out=out)
    np.minimum(out, upper, out=out)
    return out


def _solve_directly(problem: _Problem, c: FloatArray, x: FloatArray) -> BoolArray:
    """Solve H x = c - t sign(x) on the features in use, and a few times more with those that should be in use.

    Where a solution is the minimum it is written to ``x``, shape (m, p). Returns for which voxels it is, shape (m,).
    """
    solved = np.zeros(len(x), dtype=bool)
    for voxels in blocks(len(x), 8 * problem.H.size, _BLOCK_BYTES):
        todo = np.arange(voxels.start, voxels.stop)
        signs = np.sign(x[todo])
        for _ in range(_DIRECT_ROUNDS):
            solution, slope = _solve_signed(problem, c[todo], signs)
            used = signs != 0
            excess = np.where(used, np.abs(slope - problem.t * signs), np.abs(slope) - problem.t).max(axis=1)
            size_of_terms = np.abs(c[todo]).max(axis=1) + problem.highest * np.abs(solution).max(axis=1)
            fits = (excess <= _DIRECT_TOLERANCE * size_of_terms) & (solution * signs >= 0).all(axis=1)
            x[todo[fits]] = solution[fits]
            solved[todo[fits]] = True
            # A feature whose coefficient changed its sign leaves, one whose product exceeds the penalty enters.
            entering = np.where(np.abs(slope) > problem.t, np.sign(slope), 0.0)
            signs = np.where(used, np.where(solution * signs > 0, signs, 0.0), entering)[~fits]
            todo = todo[~fits]
            if not len(todo):
                break
    return solved


def _follow_path(problem: _Problem, c: FloatArray) -> FloatArray:
    """Follow the solution of each voxel from the penalty that leaves nothing down to its own (LARS [3]_).

    One voxel at a time, but it ends however dependent the features are. With more features than stimuli and a weak
    penalty, the steps would go on for very long.
    """
    from sklearn.exceptions import ConvergenceWarning  # scikit-learn takes a second to import
    from sklearn.linear_model import lars_path_gram

    found = np.zeros(c.shape)
    if not (problem.t > 0).all():
        return found
    # In units of the penalties all features have the penalty 1.
    gram = problem.H / np.outer(problem.t, problem.t)
    with warnings.catch_warnings():
        # It warns where features depend on each other; whether its solution is the minimum is checked afterwards.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for voxel in range(len(c)):
            found[voxel] = lars_path_gram(
                c[voxel] / problem.t, gram, n_samples=1, alpha_min=1.0, method="lasso", max_iter=8 * len(gram),
                return_path=False,
            )[2]  # fmt: skip
    return found / problem.t


def _solve_signed(problem: _Problem, c: FloatArray, signs: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return x with H x = c - t signs on the features with a sign and 0 on the others, and c - H x."""
    used = signs != 0
    # Of each voxel the features in use, then others, which get the rows and columns of the identity.
    most = int(used.sum(axis=1).max(initial=0))
    places = np.argsort(~used, axis=1, kind="stable")[:, :most]
    mine = np.take_along_axis(used, places, axis=1)
    equations = problem.H[places[:, :, None], places[:, None, :]] * (mine[:, :, None] & mine[:, None, :])
    diagonal = np.arange(most)
    # With features in use that depend on each other, as duplicates do, the small addition picks one of the solutions;
    # it is checked like any other.
    equations[:, diagonal, diagonal] = 1 + _DIRECT_TOLERANCE
    right = np.where(mine, np.take_along_axis(c - problem.t * signs, places, axis=1), 0.0)
    solution = np.zeros_like(c)
    np.put_along_axis(solution, places, np.linalg.solve(equations, right[:, :, None])[:, :, 0], axis=1)
    slope: FloatArray = c - solution @ problem.H
    return solution, slope
