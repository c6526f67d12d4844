"""Fits of voxelcast, himalaya and scikit-learn on the same data and device, in one run.

Both sides get ndarrays and give predictions of held-out stimuli as ndarrays, in double precision; the mean held-out r
of both is printed beside the times. Each is run once at a small size first, and timed by the faster of two rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np
from sklearn.cross_decomposition import PLSRegression

from benchmarks.simulation import simulate_features, simulate_responses
from voxelcast.core.arrays import FloatArray, IntArray, put
from voxelcast.encoders.banded_ridge import ALPHAS, band_weights, fit_weighted_ridge
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.kernel_ridge import RBFKernelRidge
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.encoders.pls import PLS
from voxelcast.encoders.ridge import OLS, Ridge
from voxelcast.scoring.correlation import pearson_r
from voxelcast.scoring.permutation import Exchange, permutation_p_values
from voxelcast.search.base import GivenFeatures, PairResult
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import EnsembleSettings, PairSettings, Precision, SearchSettings, SelectionSettings
from voxelcast.search.training import PairData, training

WORKS = ("roi", "brain", "ridge", "kernel", "stacking", "pls", "stop", "joint", "permutation", "precision")
"""Ridge of an ROI, a whole brain and an NSD subject; kernel ridge; stacking; PLS and where it stops; and more."""
_PRECISION = ((1000, 50, 200, 1), (1000, 50, 200, 1e4), (1000, 50, 200, 1e6), (2000, 500, 2000, 1))
"""Stimuli, features, voxels, and the factor by which the deviations of the features' directions differ."""
_N_TEST, _ROUNDS, _LOOPED = 200, 2, 3


class Penalties(Ridge):
    alphas: ClassVar[tuple[float, ...]] = tuple(float(alpha) for alpha in np.geomspace(1e5, 1e-5, 20))


class _Kernel(RBFKernelRidge):
    def param_grid(self, size: ProblemSize) -> tuple[Params, ...]:
        return tuple({"relative_gamma": 1.0, "relative_alpha": alpha} for alpha in Penalties.alphas)


class _Components(PLS):
    def most(self, size: ProblemSize) -> int:
        return min(100, size.max_rank)


@dataclass(frozen=True)
class PeerRace:
    """What is timed where.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"``, of both sides.
    scale : float
        Stimuli, features and voxels are multiplied by it.
    works : tuple of str
        Of `WORKS`.
    weights : int
        How many weights of the bands joint ridge tries.
    """

    device: str = "cpu"
    scale: float = 1.0
    works: tuple[str, ...] = WORKS
    weights: int = 3
    seed: int = 0


def benchmark_peers(race: PeerRace) -> Iterator[str]:
    """Give a line for each side of each work as soon as it is done, and their ratio."""
    works: dict[str, Callable[[PeerRace], Iterator[str]]] = {
        "roi": lambda race: _ridge(race, (1000, 50, 232), 10),
        "brain": lambda race: _ridge(race, (1000, 50, 18_222), 10),
        "ridge": lambda race: _ridge(race, (9000, 1000, 20_000), 5),
        "kernel": _kernel,
        "stacking": _stacking,
        "pls": _pls,
        "stop": _stop,
        "joint": _joint,
        "permutation": _permutation,
        "precision": _precision,
    }
    for name in race.works:
        yield from works[name](race)


@dataclass(frozen=True)
class _Data:
    X: FloatArray  # of training stimuli, then of held-out ones
    Y: FloatArray
    fold_ids: IntArray
    held_out: FloatArray

    @property
    def size(self) -> str:
        return f"{len(self.Y)} x {self.X.shape[1]} features, {self.Y.shape[1]} voxels, {self.fold_ids.max() + 1} folds"

    def r(self, predictions: FloatArray) -> float:
        return float(np.nanmean(pearson_r(self.held_out, predictions)))


def _data(race: PeerRace, size: Sequence[int], n_folds: int) -> _Data:
    n, p, q = (max(least, round(each * race.scale)) for each, least in zip(size, (60, 6, 6), strict=True))
    X = simulate_features(n + _N_TEST, p, race.seed, 0)
    Y = simulate_responses(X, q, race.seed)
    return _Data(X, Y[:n], make_folds(n, n_folds, race.seed), Y[n:])


def _timed(work: Callable[[_Data], Any], data: _Data, rounds: int = _ROUNDS) -> tuple[float, Any]:
    """Return the seconds of the fastest round, after one at a small size, and what it gave."""
    few = np.arange(len(data.Y)) < 60
    test = np.arange(len(data.X)) >= len(data.Y)
    kept = np.append(few, test[len(few) :])
    work(_Data(data.X[kept], data.Y[few, :20], np.arange(few.sum()) % 3, data.held_out[:, :20]))
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        found = work(data)
        seconds.append(time.perf_counter() - started)
    return min(seconds), found


def _searched(
    race: PeerRace, data: _Data, encoder: Encoder, *, per_voxel: bool = False, stop: bool = True, layers: int = 1
) -> PairResult:
    """Search by one encoder; several layers are stacked."""
    ensemble = EnsembleSettings("stacking", sum_to_one=False) if layers > 1 else EnsembleSettings()
    selection = SelectionSettings("voxel" if per_voxel else "roi")
    settings = PairSettings(SearchSettings(stop=stop), selection, ensemble, nested=False, device=race.device)
    spaces = [GivenFeatures("given", f"{k}", X) for k, X in enumerate(np.array_split(data.X, layers, axis=1))]
    return search_pair(data.Y, spaces, [encoder], data.fold_ids, settings)


def _lines(what: str, sides: Sequence[tuple[str, float, float]]) -> Iterator[str]:
    """Say what each side took and how well it predicts, and the ratios to the first."""
    for name, seconds, r in sides:
        yield f"{what}: {name} {seconds:.3f} s, held-out r {r:.4f}"
    for name, seconds, _ in sides[1:]:
        yield f"{what}: ratio to {name} {seconds / sides[0][1]:.2f}"


def _backend(device: str) -> Any:
    from himalaya.backend import set_backend

    return set_backend("torch_cuda" if device == "cuda" else "numpy", on_error="raise")


def _ridge(race: PeerRace, size: Sequence[int], n_folds: int) -> Iterator[str]:
    """Ridge with a penalty for each voxel, the best of 20 by cross-validation."""
    from himalaya.ridge import RidgeCV
    from sklearn.model_selection import PredefinedSplit

    data, backend = _data(race, size, n_folds), _backend(race.device)

    def theirs(given: _Data) -> FloatArray:
        n = len(given.Y)
        model = RidgeCV(Penalties.alphas, cv=PredefinedSplit(given.fold_ids)).fit(given.X[:n], given.Y)
        return np.asarray(backend.to_numpy(model.predict(given.X[n:])))

    own, found = _timed(lambda given: _searched(race, given, Penalties(), per_voxel=True), data)
    other, predicted = _timed(theirs, data)
    sides = [("voxelcast", own, data.r(found.predictions)), ("himalaya", other, data.r(predicted))]
    yield from _lines(f"ridge {data.size}, 20 penalties, {race.device}", sides)


def _kernel(race: PeerRace) -> Iterator[str]:
    """Kernel ridge with radial basis functions of one width and a penalty for each voxel, the best of 20."""
    from himalaya.kernel_ridge import KernelRidgeCV
    from sklearn.model_selection import PredefinedSplit

    data, backend = _data(race, (4000, 500, 20_000), 5), _backend(race.device)

    def theirs(given: _Data) -> Any:
        n = len(given.Y)
        X, mean = given.X - given.X[:n].mean(axis=0), given.Y.mean(axis=0)
        gamma = 0.5 / float(np.square(X[:n]).sum(axis=1).mean())
        # The mean eigenvalue of the centred kernel, in units of which our penalties are.
        K = RBFKernelRidge().kernel(X[:n], X[:n], {"relative_gamma": 1.0})
        alphas = np.array(Penalties.alphas) * (1.0 - float(K.mean()))
        model = KernelRidgeCV(
            alphas, kernel="rbf", kernel_params={"gamma": gamma}, cv=PredefinedSplit(given.fold_ids), warn=False
        )
        return np.asarray(backend.to_numpy(model.fit(X[:n], given.Y - mean).predict(X[n:]))) + mean

    own, found = _timed(lambda given: _searched(race, given, _Kernel(), per_voxel=True), data)
    other, predicted = _timed(theirs, data)
    sides = [("voxelcast", own, data.r(found.predictions)), ("himalaya", other, data.r(predicted))]
    yield from _lines(f"kernel ridge {data.size}, 20 penalties, {race.device}", sides)


def _stacking(race: PeerRace) -> Iterator[str]:
    """Five layers stacked by weights of each voxel; himalaya has ridge of each layer and fold, SciPy the weights."""
    from himalaya.ridge import RidgeCV
    from scipy.optimize import nnls
    from sklearn.model_selection import PredefinedSplit

    data, backend = _data(race, (4000, 500, 20_000), 5), _backend(race.device)

    def predicted(X: FloatArray, Y: FloatArray, folds: IntArray, test: FloatArray) -> FloatArray:
        split = PredefinedSplit(np.unique(folds, return_inverse=True)[1])
        model = RidgeCV(Penalties.alphas, cv=split).fit(X, Y)
        return np.asarray(backend.to_numpy(model.predict(test)))

    def theirs(given: _Data) -> FloatArray:
        n, Y, folds, mean = len(given.Y), given.Y, given.fold_ids, given.Y.mean(axis=0)
        layers = np.array_split(given.X, 5, axis=1)
        own, y = np.empty((5, *Y.shape)), np.empty(Y.shape)
        for fold in np.unique(folds):
            held = folds == fold
            y[held] = Y[held] - Y[held].mean(axis=0)
            for P, X in zip(own, layers, strict=True):
                P[held] = predicted(X[:n][~held], Y[~held], folds[~held], X[:n][held])
                P[held] -= P[held].mean(axis=0)
        weights = np.stack([nnls(own[:, :, v].T, y[:, v])[0] for v in range(Y.shape[1])], axis=1)
        final = [predicted(X[:n], Y, folds, X[n:]) for X in layers]
        return np.asarray(mean + sum(w * (P - mean) for w, P in zip(weights, final, strict=True)))

    own, found = _timed(lambda given: _searched(race, given, Penalties(), per_voxel=True, layers=5), data)
    other, predictions = _timed(theirs, data, 1)
    sides = [("voxelcast", own, data.r(found.predictions)), ("himalaya and SciPy", other, data.r(predictions))]
    yield from _lines(f"stacking {data.size} in 5 layers, {race.device}", sides)


def _pls(race: PeerRace) -> Iterator[str]:
    """PLS of every number of components: an ROI beside scikit-learn, and an NSD subject to 100 components alone."""

    def theirs(given: _Data) -> FloatArray:
        scores = []
        fewest = len(given.Y) - max(np.bincount(given.fold_ids))
        most = int(min(given.X.shape[1], given.Y.shape[1], fewest, 50))
        for fold in np.unique(given.fold_ids):
            held, n = given.fold_ids == fold, len(given.Y)
            X, Y = given.X[:n], given.Y
            model = PLSRegression(most, scale=False).fit(X[~held], Y[~held])
            test = X[held] - X[~held].mean(axis=0)
            each = [test @ model.x_rotations_[:, :k] @ model.y_loadings_[:, :k].T for k in range(1, most + 1)]
            scores.append([np.nanmean(pearson_r(Y[held], P)) for P in each])
        best = int(np.mean(scores, axis=0).argmax()) + 1
        return np.asarray(PLSRegression(best, scale=False).fit(X, Y).predict(given.X[n:]))

    data = _data(race, (1000, 50, 232), 10)
    own, found = _timed(lambda given: _searched(race, given, PLS()), data)
    other, predicted = _timed(theirs, data, 1)
    sides = [("voxelcast", own, data.r(found.predictions)), ("scikit-learn, cpu", other, data.r(predicted))]
    yield from _lines(f"pls {data.size}, every count, {race.device}", sides)
    data = _data(race, (9000, 1000, 20_000), 5)
    own, found = _timed(lambda given: _searched(race, given, _Components()), data)
    sides = [("voxelcast", own, data.r(found.predictions))]
    yield from _lines(f"pls {data.size}, 100 components, {race.device}", sides)


def _stop(race: PeerRace) -> Iterator[str]:
    """PLS of an NSD subject that stops long past the peak, and that goes through all components."""
    data = _data(race, (9000, 1000, 20_000), 5)
    own, stopped = _timed(lambda given: _searched(race, given, PLS()), data, 1)
    whole, found = _timed(lambda given: _searched(race, given, PLS(), stop=False), data, 1)
    sides = [(f"stopped after {len(stopped.candidates)}", own, data.r(stopped.predictions))]
    sides += [(f"all {len(found.candidates)}", whole, data.r(found.predictions))]
    what = f"pls {data.size}, {race.device}"
    yield from _lines(what, sides)
    same = stopped.chosen.params == found.chosen.params
    yield f"{what}: same choice {'yes' if same else 'NO'}, {stopped.chosen.params}"


def _joint(race: PeerRace) -> Iterator[str]:
    """Ridge on five bands with weights of their own, of which both sides try the same, and the same penalties."""
    from himalaya.ridge import solve_group_ridge_random_search
    from sklearn.model_selection import PredefinedSplit

    data, backend = _data(race, (9000, 5000, 20_000), 5), _backend(race.device)
    weights = band_weights(5, max(race.weights - 6, 1), race.seed)[: race.weights]
    weights = np.maximum(weights, 1e-12)  # of weights that are 0 himalaya's solver makes NaN
    weights /= weights.sum(axis=1, keepdims=True)

    def bands(given: _Data) -> list[FloatArray]:
        n = len(given.Y)
        found = np.array_split(given.X, 5, axis=1)
        centred = [X - X[:n].mean(axis=0) for X in found]
        return [X / np.sqrt(np.square(X[:n]).sum() / n) for X in centred]

    def ours(given: _Data) -> FloatArray:
        n, Xs = len(given.Y), bands(given)
        there = [put(values, race.device) for values in (*(X[:n] for X in Xs), given.Y)]
        return fit_weighted_ridge(there[:-1], there[-1], given.fold_ids, weights).predict([X[n:] for X in Xs])

    def theirs(given: _Data) -> FloatArray:
        n, Xs = len(given.Y), bands(given)
        mean = given.Y.mean(axis=0)
        _, coefficients, *_ = solve_group_ridge_random_search(
            [backend.asarray(X[:n]) for X in Xs],
            backend.asarray(given.Y - mean),
            n_iter=backend.asarray(weights),
            alphas=backend.asarray(np.array(ALPHAS)),
            cv=PredefinedSplit(given.fold_ids),
            fit_intercept=False,
            return_weights=True,
            n_targets_batch_refit=2000,
            n_alphas_batch=1,
            progress_bar=False,
        )
        return np.asarray(np.hstack([X[n:] for X in Xs]) @ backend.to_numpy(coefficients) + mean)

    own, found = _timed(ours, data, 1)
    other, predicted = _timed(theirs, data, 1)
    sides = [("voxelcast", own, data.r(found)), ("himalaya", other, data.r(predicted))]
    yield from _lines(f"joint ridge {data.size} in 5 bands, {len(weights)} weights, {race.device}", sides)


def _permutation(race: PeerRace) -> Iterator[str]:
    """1,023 permutations of every voxel, and the loop that one would write with NumPy."""
    n, q = (max(60, round(size * race.scale)) for size in (1000, 20_000))
    rng = np.random.default_rng(race.seed)
    P = rng.standard_normal((n, q))
    Y, folds = 0.05 * P + rng.standard_normal((n, q)), np.arange(n) % 10

    def ours(Y: FloatArray, P: FloatArray, folds: IntArray) -> None:
        permutation_p_values(put(Y, race.device), put(P, race.device), Exchange(folds), 1000)

    ours(Y[:60, :20], P[:60, :20], folds[:60])
    started = time.perf_counter()
    ours(Y, P, folds)
    own = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(_LOOPED):
        pearson_r(Y, P[rng.permutation(n)])
    loop = (time.perf_counter() - started) / _LOOPED * 1023
    what = f"1023 permutations, {n} stimuli, {q} voxels, {race.device}"
    yield f"{what}: voxelcast {own:.3f} s"
    yield f"{what}: ratio to a loop on the CPU {loop / own:.1f} ({loop:.1f} s, {_LOOPED} permutations scaled up)"


def _precision(race: PeerRace) -> Iterator[str]:
    """Linear encoders in single precision against double: time, scores of all parameters, and each voxel's choice."""
    for n, p, q, condition in _PRECISION:
        data = _data(race, (n, p, q), 5)
        n_features = data.X.shape[1]
        rotation = np.linalg.qr(np.random.default_rng(race.seed).standard_normal((n_features, n_features)))[0]
        X = (data.X * np.geomspace(1, 1 / condition, n_features)) @ rotation
        for encoder in (Ridge(), OLS(), _Components()):
            found: dict[str, tuple[float, FloatArray]] = {}
            for precision in get_args(Precision):
                started = time.perf_counter()
                pair = PairData(data.Y, data.fold_ids, 5, device=race.device, precision=precision)
                source = training(GivenFeatures("given", "features", X), pair)
                grid = encoder.param_grid(ProblemSize(pair.size((0,)), n_features, data.Y.shape[1]))
                scores = [encoder.evaluate(source, grid, (fold,), (fold,))[0] for fold in range(5)]
                found[precision] = time.perf_counter() - started, np.mean(scores, axis=0)
            (double_s, double), (single_s, single) = found.values()
            changed = double.argmax(axis=0) != single.argmax(axis=0)
            gap = np.abs(single - double).max()
            yield (
                f"precision {data.size}, deviations 1 to {condition:g}, {encoder.name}, {race.device}: float64 "
                f"{double_s:.3f} s, float32 {single_s:.3f} s; scores differ by at most {gap:.1e}; "
                f"{100 * changed.mean():.2f} % of voxels choose another"
            )
