"""Exhaustive search of linear encoders on many layers and sets of folds at once, for small fits on a GPU.

A subject x ROI of 25 layers and 10 folds needs 1,375 training parts of 50 features and some hundred voxels. One after
the other they would leave a GPU waiting; as stacks, ``(n_layers, n_sets, ...)``, each operation is done for all of
them. What is tried, how it is scored and what is chosen are those of `voxelcast.search.exact`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray, device_bytes, like, namespace, products, put
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.linear import LinearEncoder
from voxelcast.encoders.moments import Moments, roi_scores
from voxelcast.encoders.params import Params
from voxelcast.encoders.path_scores import path_scores
from voxelcast.encoders.paths import LinearPath
from voxelcast.search.base import FeatureSpace
from voxelcast.search.exact import MOST_REFINEMENTS
from voxelcast.search.settings import PairSettings
from voxelcast.search.training import Training, training
from voxelcast.search.trials import Task, Trials, complexity, without

MOST_FEATURES = 128
"""Features of a layer, at most: of more, one fit is work enough for a GPU."""
FEW_VOXELS, FEW_STIMULI = 4_000, 3_000
"""Of fewer voxels, single fits are quicker on a core of the CPU; so are kernels of fewer stimuli."""
# Share of a GPU's memory for a stack: several processes may use it.
_SHARE = 1 / 40


class Stack:
    """Some layers' moments without each set of folds that a search leaves out, and their features.

    All layers have as many features. Holds ``n_layers * n_sets`` times ``3 n p + 4 p q`` numbers.
    """

    def __init__(self, trainings: Sequence[Training], task: Task) -> None:
        data, self._sets, self.n_features = task.data, sets(task), trainings[0].n_features
        self._data = data
        self._X = put(
            np.array([[one.all_features(left_out) for left_out in self._sets] for one in trainings]), data.device
        )
        xp, kept = namespace(self._X), np.array([~np.isin(data.fold_ids, one) for one in self._sets])
        keep, sizes = like(kept, self._X)[..., None], like(kept.sum(axis=1).astype(np.float64), self._X)
        self._x_mean = (self._X * keep).sum(-2) / sizes[:, None]
        Xc = xp.where(keep, self._X - self._x_mean[..., None, :], 0.0)
        S, C = Xc.mT @ Xc, products(Xc, data.Yc)
        parts = []
        for k, left_out in enumerate(self._sets):
            C[:, k][..., data.constant(left_out)] = 0.0
            parts.append(data.moments(left_out, self._x_mean[0, k], S[0, k], C[0, k]))
        self._y_mean, squares = (xp.stack([getattr(one, name) for one in parts]) for name in ("y_mean", "y_squares"))
        smallest = min(one.n for one in parts)
        self._moments = Moments(smallest, self._x_mean, self._y_mean, S, C, _not_stacked, _not_stacked, squares)
        self._holding = [[k for k, one in enumerate(self._sets) if fold in one] for fold in range(data.n_folds)]
        # Of each fold, the place of a set among those that hold it.
        self._places = [{self._sets[k]: place for place, k in enumerate(some)} for some in self._holding]

    def trials(self, encoder: LinearEncoder, task: Task) -> Iterator[tuple[int, int | None, Trials]]:
        """Score the whole grid, and what the encoder tries between; yield layer, outer fold and what was tried."""
        grid = encoder.param_grid(task.size(self.n_features))
        path = encoder.path(self._moments, grid)
        assert isinstance(path, LinearPath)
        folds = range(self._data.n_folds)
        scored = [self._scored(path.of_sets(self._holding[fold]), fold, task) for fold in folds]
        keys = [(layer, outer) for outer in task.outers for layer in range(len(self._X))]
        found = {key: (grid, self._gathered(scored, *key, task)) for key in keys}
        for _ in range(MOST_REFINEMENTS):
            more = {key: encoder.refined(params, scores.mean(axis=1)) for key, (params, scores) in found.items()}
            more = {key: params for key, params in more.items() if params}
            if not more:
                break
            scored = [self._scored(self._between(encoder, path, fold, more), fold, task) for fold in folds]
            for key, params in more.items():
                tried, scores = found[key]
                found[key] = (*tried, *params), np.concatenate([scores, self._gathered(scored, *key, task)])
        for (layer, outer), (params, scores) in found.items():
            order = None if len(params) == len(grid) else complexity(encoder, params)
            yield layer, outer, Trials(params, scores, complexity=order)

    def _scored(self, path: LinearPath, fold: int, task: Task) -> FloatArray:
        """Score on a fold the paths that were fitted without it: the ROI, (n_layers, n_sets, n_params)."""
        some, responses = self._holding[fold], self._data.held_out[fold]
        features = self._X[:, some][:, :, self._data.rows[fold]] - self._x_mean[:, some, None]
        scores = path_scores(path, [features], self._y_mean[some][:, None], [responses], task.metric)[0]
        return roi_scores(scores, responses)

    def _gathered(self, scored: Sequence[FloatArray], layer: int, outer: int | None, task: Task) -> FloatArray:
        """Return a layer's scores in the folds that an outer fold judges by, (n_params, n_inner_folds)."""
        inner = task.inner_folds(outer)
        return np.stack([scored[fold][layer, self._places[fold][without(fold, outer)]] for fold in inner], axis=1)

    def _between(
        self,
        encoder: LinearEncoder,
        path: LinearPath,
        fold: int,
        more: dict[tuple[int, int | None], tuple[Params, ...]],
    ) -> LinearPath:
        """Return the paths of what is to be scored on a fold, with one set of parameters of each search's own."""
        some, places = self._holding[fold], self._places[fold]
        some_params: list[list[Params]] = [[path.params_list[0]] * len(some) for _ in range(len(self._X))]
        for (layer, outer), (params,) in more.items():
            place = places.get(without(fold, outer))  # None where the outer fold's search does not judge by this one
            if place is not None:
                some_params[layer][place] = params
        return encoder.refined_path(path.of_sets(some), some_params)


def _not_stacked() -> FloatArray:
    raise NotImplementedError("encoders that need the responses take no stacks")


def sets(task: Task) -> list[tuple[int, ...]]:
    """List the sets of folds that a search leaves out."""
    singles: list[tuple[int, ...]] = [(fold,) for fold in range(task.data.n_folds)]
    nested = [outer for outer in task.outers if outer is not None]
    return singles + sorted({without(i, j) for j in nested for i in task.inner_folds(j)})


def stacked_search(
    spaces: Sequence[FeatureSpace], encoders: Sequence[Encoder], task: Task
) -> dict[tuple[int, str], list[tuple[int | None, Trials]]]:
    """Search what can be searched in stacks: by index of the feature space and name of the encoder, what was tried.

    That is linear encoders that take stacks, where responses are on a GPU, are of this subject alone, and choose
    together. Nothing of a layer of more than `MOST_FEATURES` features.
    """
    able = [encoder for encoder in encoders if isinstance(encoder, LinearEncoder) and encoder.stacks]
    data, found = task.data, dict[tuple[int, str], list[tuple[int | None, Trials]]]()
    if data.device == "cpu" or data.sharing is not None or task.voxel_rule is not None:
        return found
    waiting: list[tuple[int, Training]] = []

    def done() -> None:
        if waiting:
            stack = Stack([one for _, one in waiting], task)
            for encoder in able:
                for layer, outer, tried in stack.trials(encoder, task):
                    found.setdefault((waiting[layer][0], encoder.name), []).append((outer, tried))
            waiting.clear()

    for index, space in enumerate(spaces if able else ()):
        if getattr(space, "trained_by", ""):
            continue
        one = training(space, data)
        at_once = _layers_at_once(able, one.n_features, task)
        if waiting and (len(waiting) >= at_once or waiting[0][1].n_features != one.n_features):
            done()
        if at_once:
            waiting.append((index, one))
    done()
    return found


def few(encoders: Sequence[type[Encoder] | Encoder], n_stimuli: int, n_voxels: int) -> bool:
    """Whether single fits are too small for a GPU, which they would leave waiting."""
    return n_voxels < FEW_VOXELS and not (
        n_stimuli >= FEW_STIMULI and any(encoder.takes_tensors and encoder.dual for encoder in encoders)
    )


def can_stack(settings: PairSettings, encoders: Sequence[type[Encoder]]) -> bool:
    """Whether a search on a GPU will be one of stacks, if layers have few features."""
    ours = any(getattr(encoder, "stacks", False) for encoder in encoders)
    return ours and settings.search.method == "exact" and settings.selection.per == "roi"


def _layers_at_once(encoders: Sequence[Encoder], n_features: int, task: Task) -> int:
    """Return how many layers of so many features to search at once; 0 where there are too many."""
    if n_features > MOST_FEATURES:
        return 0
    n, q = task.data.Y.shape
    n_params = max(len(encoder.param_grid(task.size(n_features))) for encoder in encoders)
    each = 8 * len(sets(task)) * (3 * n * n_features + 4 * n_features * q + n_params * q)
    return int(device_bytes(task.data.device) * _SHARE // each)
