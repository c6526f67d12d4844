"""One search over layer, pool, number of principal components and encoder together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.search.base import FeatureSpace, PairContext, space_names
from voxelcast.search.proposals import Evaluator, Proposal, nearest_params, run_study, suggest_range
from voxelcast.search.settings import SearchSettings
from voxelcast.search.training import training, truncated
from voxelcast.search.trials import Task, Trials, usable_features

Found = tuple[int | None, int, Encoder, Trials]
"""Outer fold, index of the layer, encoder, and what was tried of them."""


class _Choice(NamedTuple):
    """What a proposal is about, besides the encoder's parameters."""

    space_index: int
    n_features: int
    encoder: int


class JointSearch:
    """Search of all layers, pools, numbers of components and encoders in one study, and in one more per outer fold.

    Parameters
    ----------
    spaces : sequence of FeatureSpace
        The layers, once for each pool over time; the training data of all are held at once.
    context : PairContext
        Whether the number of components is searched (not where components have no order), and how many features are
        one component at several delays.
    """

    def __init__(
        self, spaces: Sequence[FeatureSpace], encoders: Sequence[Encoder], task: Task, context: PairContext
    ) -> None:
        self._spaces, self._encoders, self._task, self._context = spaces, encoders, task, context
        self._trainings = [training(space, task.data) for space in spaces]
        most = max(source.n_features for source in self._trainings)
        self._most_components = -(-most // context.n_delays)
        self._ranges = [encoder.search_space(task.size(most)) for encoder in encoders]
        self._layers = _indices_by_pool(spaces)
        self._pools = list(dict.fromkeys(space.pool for space in spaces if space.pool))
        self._usable: dict[tuple[int, int], int] = {}

    def trials(self, search: SearchSettings, seed: int) -> Iterator[Found]:
        """Yield what was tried in each outer fold, gathered by layer, pool, number of features and encoder."""
        for outer in self._task.outers:
            evaluators: dict[_Choice, Evaluator] = {}

            def score(
                proposal: Proposal,
                fold: int,
                evaluators: dict[_Choice, Evaluator] = evaluators,
                outer: int | None = outer,
            ) -> float:
                choice = proposal["choice"]
                if choice not in evaluators:
                    evaluators[choice] = self._evaluator(choice, outer)
                return evaluators[choice].score(proposal["params"], fold)

            gathered: dict[_Choice, list[tuple[Params, FloatArray]]] = {}
            for proposal, scores in run_study(search, seed, outer, self._suggest, score, self._task.inner_folds(outer)):
                gathered.setdefault(proposal["choice"], []).append((proposal["params"], scores))
            for choice, tried in sorted(gathered.items(), key=lambda item: item[0]):
                encoder = self._encoders[choice.encoder]
                trials = evaluators[choice].trials(tried, encoder.param_grid(self._size(choice)))
                kept = choice.n_features if self._context.truncate else None
                yield outer, choice.space_index, encoder, replace(trials, n_features=kept)

    def _suggest(self, trial: Any) -> Proposal:
        layers, encoders, most = self._layers, self._encoders, self._most_components
        by_pool = layers[int(trial.suggest_categorical("layer", range(len(layers)))) if len(layers) > 1 else 0]
        pool = str(trial.suggest_categorical("pool", self._pools)) if self._pools else ""
        index = by_pool[pool if pool in by_pool else ""]  # features that come with the dataset have no pool
        components = int(trial.suggest_int("components", 1, most, log=True)) if self._context.truncate else most
        which = int(trial.suggest_categorical("encoder", range(len(encoders)))) if len(encoders) > 1 else 0
        n_features = min(components * self._context.n_delays, self._trainings[index].n_features)
        encoder, choice = encoders[which], _Choice(index, n_features, which)
        proposal = {
            name: suggest_range(trial, f"{encoder.name}.{name}", bounds) for name, bounds in self._ranges[which].items()
        }
        # An encoder's ranges follow the number of features: what is out of range moves to the nearest inside.
        size = self._size(choice)
        params = nearest_params(proposal, encoder.param_grid(size), encoder.search_space(size))
        return {"choice": choice, "params": params}

    def _size(self, choice: _Choice) -> ProblemSize:
        key = (choice.space_index, choice.encoder)
        if key not in self._usable:  # it takes the moments of all training parts, so of what is proposed alone
            encoder, source = self._encoders[choice.encoder], self._trainings[choice.space_index]
            self._usable[key] = usable_features(encoder, source, self._task)
        return self._task.size(min(choice.n_features, self._usable[key]))

    def _evaluator(self, choice: _Choice, outer: int | None) -> Evaluator:
        encoder = self._encoders[choice.encoder]
        source = truncated(self._trainings[choice.space_index], choice.n_features)
        names = space_names(self._spaces[choice.space_index])
        label = ("joint", *names, str(choice.n_features), encoder.name, str(outer))
        return Evaluator(encoder, source, self._task, outer, label)


def _indices_by_pool(spaces: Sequence[FeatureSpace]) -> list[dict[str, int]]:
    """Gather the spaces of each layer: their indices among all, by pool."""
    layers: dict[tuple[str, str], dict[str, int]] = {}
    for index, space in enumerate(spaces):
        layers.setdefault((space.network, space.layer), {})[space.pool] = index
    return list(layers.values())
