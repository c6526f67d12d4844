"""Linear encoding models Y = X B + b, which follow from the moments of the training data.

The training moments

    S = X'X  (p, p),   C = X'Y  (p, q)      X, Y centred on the training means

give the models of all parameters (number of components, penalty) in one go, as a solution path
(`voxelcast.encoders.paths`), and sums over the held-out stimuli give their scores (`voxelcast.encoders.path_scores`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray, blocks, like, on_cpu, to_numpy
from voxelcast.encoders.base import RATE, Encoder, FittedModel, FoldData, Picked
from voxelcast.encoders.moments import Moments, check_features, moments, standardised
from voxelcast.encoders.params import Distribution, Params, ProblemSize, checked_count
from voxelcast.encoders.path_scores import path_scores
from voxelcast.encoders.paths import LinearPath, SolutionPath

# Paths of so few features and voxels are solved together, as many as take so much memory.
_FEW_FEATURES, _FEW_VOXELS, _TOGETHER_BYTES = 128, 2048, 2**24
# Seconds that a path takes whatever the sizes.
_PATH_SECONDS = 1e-3
# A peak that is expected to raise the score by less is not worth a fit.
SMALLEST_GAIN = 1e-9


@dataclass(frozen=True)
class LinearModel:
    """A fitted linear encoding model: prediction = X @ coefficients (p, q) + intercept (q,); tensors where it was."""

    params: Params
    coefficients: FloatArray
    intercept: FloatArray

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, (n_samples, q), from features of shape (n_samples, p), and leave them where these are."""
        check_features(X, len(self.coefficients))
        return like(like(X, self.coefficients) @ self.coefficients + self.intercept, X)

    def arrays(self) -> dict[str, FloatArray]:
        """Return the arrays that make the model: ``coefficients`` and ``intercept``."""
        return {"coefficients": to_numpy(self.coefficients), "intercept": to_numpy(self.intercept)}


class LinearEncoder(Encoder):
    """An encoder whose models follow from the training moments, all parameters in one go."""

    unsaved: ClassVar[str] = ""
    stacks: ClassVar[bool] = False
    """Whether `path` takes the moments of a stack of training parts, too."""

    @abstractmethod
    def path(self, moments: Moments, params_list: Sequence[Params]) -> SolutionPath:
        """Solve all parameters from the training moments.

        Raises OptionError if parameters lie outside what the moments allow.
        """

    def paths(self, stats: Sequence[Moments], params_list: Sequence[Params]) -> Sequence[SolutionPath]:
        """Solve all parameters of several training parts in main memory, of equal shapes."""
        return [self.path(one, params_list) for one in stats]

    def refined_path(self, path: LinearPath, params: Sequence[Sequence[Params]]) -> LinearPath:
        """Return the path of a stack (n_layers, n_sets, ...) with one set of parameters for each, of `refined`."""
        raise NotImplementedError(f"{self.name} refines nothing, or takes no stacks")

    def order(self, params: Params) -> tuple[float, ...]:
        """Sort counts, of which fewer are simpler."""
        return tuple(params.values())

    def fit(self, X: FloatArray, Y: FloatArray, params: Params) -> LinearModel:
        """Fit one model; see `Encoder.fit`."""
        stats = moments(X, Y, rotated=self.rotates)
        return _model(params, stats, self.path(stats, [params]).coefficients(0))

    def evaluate(
        self,
        data: FoldData,
        params_list: Sequence[Params],
        excluded: tuple[int, ...],
        folds: Sequence[int],
        metric: str = "pearson_r",
    ) -> list[FloatArray]:
        """Score all parameters from one path, without predictions; see `Encoder.evaluate`."""
        return next(self.evaluate_sets(data, params_list, [(excluded, folds)], metric))

    def evaluate_sets(
        self,
        data: FoldData,
        params_list: Sequence[Params],
        sets: Sequence[tuple[tuple[int, ...], Sequence[int]]],
        metric: str = "pearson_r",
    ) -> Iterator[list[FloatArray]]:
        """Score as `evaluate` does; the paths of small moments are solved together."""
        p, q = data.n_features, data.held_out(0).mean.shape[0]
        most_bytes = _TOGETHER_BYTES if p <= _FEW_FEATURES and q <= _FEW_VOXELS else 0
        for some in blocks(len(sets), 8 * p * (6 * p + 2 * q), most_bytes):
            stats = [self._moments(data, excluded) for excluded, _ in sets[some]]
            paths = self.paths(stats, tuple(params_list))
            for (excluded, folds), one, path in zip(sets[some], stats, paths, strict=True):
                features = [one.coordinates(data.features(excluded, fold)) for fold in folds]
                held_out = [
                    data.held_out(fold) if self.takes_tensors else data.held_out(fold).numpy() for fold in folds
                ]
                yield [to_numpy(of_fold) for of_fold in path_scores(path, features, one.y_mean, held_out, metric)]

    def _moments(self, data: FoldData, excluded: tuple[int, ...]) -> Moments:
        """Return moments where this encoder can work on them."""
        stats = data.moments(excluded, rotated=self.rotates)
        return stats if self.takes_tensors else stats.numpy()

    def fit_members(
        self, data: FoldData, members: Sequence[Picked], excluded: tuple[int, ...] = ()
    ) -> list[FittedModel]:
        """Fit what was chosen; all members share one path."""
        distinct = list({tuple(params.items()): params for some, _ in members for params in some}.values())
        stats = self._moments(data, excluded)
        path = self.path(stats, distinct)
        models: list[FittedModel] = []
        for params_list, pick in members:
            indices = np.array([distinct.index(params) for params in params_list])
            models.append(_model(params_list[0], stats, path.picked_coefficients(indices[pick])))
        return models

    def fit_seconds(self, size: ProblemSize, rate: float = RATE) -> float:
        """Count a path and the products of moments."""
        return 2 * _PATH_SECONDS + 4.0 * size.n_features**2 * size.n_voxels / rate

    def fit_members_seconds(self, size: ProblemSize, n_models: int, rate: float = RATE) -> float:
        """Count one path, whatever the number of models."""
        return self.fit_seconds(size, rate)

    def evaluate_seconds(self, size: ProblemSize, n_held_out: int, rate: float = RATE, *, grid: bool = False) -> float:
        """Count the products of moments and of scoring: of one set of parameters, or of some 50."""
        p, q = size.n_features, size.n_voxels
        operations = (2.0 * size.n_train + 100.0 * n_held_out) * p * q if grid else 20.0 * p * q * (p + n_held_out)
        return _PATH_SECONDS + operations / rate

    def evaluate_bytes(self, size: ProblemSize) -> float:
        """Count the sums of two folds and their scores, of all parameters."""
        return 8.0 * 8 * len(self.param_grid(size)) * size.n_voxels


class CountEncoder(LinearEncoder):
    """A linear encoder whose one hyper-parameter counts directions of the features, as many as their rank allows.

    Where the moments have a smaller rank (constant or duplicate features), a model that asks for more *is* the model
    with the last direction that exists. The scores are then equal to the bit, and a tie goes to the smaller count, so a
    search never chooses a direction that adds nothing.
    """

    counted: ClassVar[str] = "n_components"
    limited_by_rank: ClassVar[bool] = True

    def most(self, size: ProblemSize) -> int:
        """Return the largest count."""
        return size.max_rank

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        """Return the range of the count, from 1."""
        return {self.counted: Distribution(1, self.most(size), integer=True)}

    def param_grid(self, size: ProblemSize) -> tuple[Params, ...]:
        """List every count, the smallest first."""
        return tuple({self.counted: k} for k in range(1, self.most(size) + 1))

    def counts(self, moments: Moments, params_list: Sequence[Params]) -> IntArray:
        """Return the counts of some parameters; raises OptionError if one is not a whole number in its range."""
        most = self.most(ProblemSize(moments.n, moments.x_mean.shape[-1], moments.C.shape[-1]))
        counts = [checked_count(self.name, params, self.counted, most) for params in params_list]
        return np.array(counts, dtype=np.intp)


class ComponentEncoder(CountEncoder):
    """A linear encoder whose model of k components keeps the first k latent variables."""

    scale: ClassVar[bool] = False
    """Whether features and responses are brought to standard deviation 1 over the training part."""
    together: ClassVar[bool] = False
    """Whether `components` takes S and C of several training parts at once, (n, p, p) and (n, p, q)."""

    @abstractmethod
    def components(self, moments: Moments, most: int) -> tuple[FloatArray, FloatArray]:
        """Return directions, ndarray of shape (p, r), and loadings, (r, q), of at most ``most`` components."""

    def path(self, moments: Moments, params_list: Sequence[Params]) -> LinearPath:
        """Solve every number of components from the training moments."""
        counts = self.counts(moments, params_list)
        most = min(int(counts.max(initial=0)), moments.S.shape[-1])
        if self.scale:
            scaled, x_scale, y_scale = standardised(moments)
            directions, loadings = self.components(scaled, most)
            directions, loadings = directions / x_scale[:, None], loadings * y_scale
        else:
            directions, loadings = self.components(moments, most)
        return _component_path(params_list, counts, directions, loadings)

    def paths(self, stats: Sequence[Moments], params_list: Sequence[Params]) -> Sequence[SolutionPath]:
        """Solve them together where `together` says so."""
        if not self.together or len(stats) == 1 or not on_cpu(stats[0].S):
            return super().paths(stats, params_list)
        counts = self.counts(min(stats, key=lambda one: one.n), params_list)
        one = np.ones(1)
        scaled = [standardised(each) if self.scale else (each, one, one) for each in stats]
        S, C = (np.stack([getattr(each, name) for each, _, _ in scaled]) for name in "SC")
        directions, loadings = self.components(
            replace(stats[0], S=S, C=C), min(int(counts.max(initial=0)), S.shape[-1])
        )
        return [
            _component_path(params_list, counts, R / x_scale[:, None], Q * y_scale)
            for R, Q, (_, x_scale, y_scale) in zip(directions, loadings, scaled, strict=True)
        ]


def _component_path(
    params_list: Sequence[Params], counts: IntArray, directions: FloatArray, loadings: FloatArray
) -> LinearPath:
    """Return the path of some counts of components; of a stack, too."""
    filters = (np.arange(loadings.shape[-2]) < counts[:, None]).astype(np.float64)
    kept = counts.clip(max=loadings.shape[-2])
    return LinearPath(tuple(params_list), directions, like(filters, loadings), loadings, kept)


class PenaltyEncoder(LinearEncoder):
    """A linear encoder whose one hyper-parameter is a penalty, ``relative_alpha``."""

    bounds: ClassVar[tuple[float, float]]
    alphas: ClassVar[tuple[float, ...]]
    """Penalties of the exhaustive search, largest first; the best is refined between them."""
    window: ClassVar[int]
    """Penalties around the best from which the peak in between is estimated."""

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        """Return the range of ``relative_alpha``, logarithmic."""
        return {"relative_alpha": Distribution(*self.bounds, log=True)}

    def param_grid(self, size: ProblemSize) -> tuple[Params, ...]:
        """List the penalties, largest first."""
        return tuple({"relative_alpha": alpha} for alpha in self.alphas)

    def refined(self, params_list: Sequence[Params], scores: FloatArray) -> tuple[Params, ...]:
        """Return the penalty at the peak of a polynomial through the best scores, in the logarithm of the penalty."""
        found = peak(np.log([params["relative_alpha"] for params in params_list]), scores, self.window)
        return () if found is None else ({"relative_alpha": float(np.exp(found[0]))},)

    def order(self, params: Params) -> tuple[float, ...]:
        """Sort the largest penalty first."""
        return (-params["relative_alpha"],)


def peak(
    places: Sequence[float] | FloatArray, scores: Sequence[float] | FloatArray, window: int = 11
) -> tuple[float, float] | None:
    """Find the peak of a smooth curve of which some points are known.

    The polynomial goes through the best point and its nearest neighbours, up to ``window`` points in all, and its
    peak is sought between the neighbours of the best point.

    Parameters
    ----------
    places, scores : sequence of float, of equal length
        In any order; a score that is NaN is left out.
    window : int
        Few for a curve with kinks, as that of the lasso, whose features come and go.

    Returns
    -------
    place, score : float or None
        None where the best point is the peak already, or the first or last of all and the curve falls from there.
    """
    x, y = np.asarray(places, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    known = np.argsort(x)
    known = known[np.isfinite(y[known])]
    x, y = x[known], y[known]
    if len(x) < 3:
        return None
    best = int(y.argmax())
    before, after = max(best - 1, 0), min(best + 1, len(x) - 1)
    start = int(np.clip(best - window // 2, 0, max(len(x) - window, 0)))
    used = slice(start, start + window)
    # Centred on the best point and scaled by its neighbours, the powers of the places stay of one size.
    unit = (x[after] - x[before]) / (after - before)
    at = (x[used] - x[best]) / unit
    curve = np.polynomial.Polynomial.fit(at, y[used] - y[best], len(at) - 1)
    roots = curve.deriv().roots()
    roots = roots[np.isreal(roots)].real
    inside = roots[(roots > (x[before] - x[best]) / unit) & (roots < (x[after] - x[best]) / unit)]
    if not len(inside):
        return None
    top = float(inside[np.argmax(curve(inside))])
    gain = float(curve(top))
    return None if gain < SMALLEST_GAIN else (float(x[best] + top * unit), float(y[best] + gain))


def _model(params: Params, stats: Moments, coefficients: FloatArray) -> LinearModel:
    B = coefficients if stats.rotation is None else stats.rotation @ coefficients
    return LinearModel(params, B, stats.y_mean - stats.x_mean @ B)
