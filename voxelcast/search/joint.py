"""One search over layer, pool, number of principal components and encoder together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import Params
from voxelcast.encoders.sample import AnyEncoder
from voxelcast.search.base import FeatureSpace, space_names
from voxelcast.search.evaluation_log import EvaluationLog
from voxelcast.search.exact import Trials, smallest_training, usable_features
from voxelcast.search.judge import Evaluator
from voxelcast.search.proposals import nearest_setting, new_study
from voxelcast.search.settings import Rule, SearchSettings
from voxelcast.search.study import suggest_range
from voxelcast.search.training import PairData, Training
from voxelcast.search.truncated import truncated

Found = tuple[int | None, int, AnyEncoder, Trials]
_Choice = tuple[int, int, int]  # place among the spaces, number of features, encoder


def joint_trials(
    spaces: Sequence[FeatureSpace],
    trainings: Sequence[Training],
    encoders: Sequence[AnyEncoder],
    data: PairData,
    nested: bool,
    search: SearchSettings,
    seed: int,
    *,
    truncate: bool = True,
    n_delays: int = 1,
    voxel_rule: Rule | None = None,
    log: EvaluationLog | None = None,
) -> Iterator[Found]:
    """Search all layers, pools, numbers of components and encoders in one study, and in one more per outer fold.

    Parameters
    ----------
    spaces, trainings
        The layers, once for each pool over time, and their training moments, which are all held at once.
    truncate : bool
        Whether the number of components is searched; not where components have no order.
    n_delays : int
        How many features, one behind the other, are the same component at other delays.
    encoders, data, nested, search, seed, voxel_rule, log
        As for `voxelcast.search.proposals.proposed_trials`.

    Yields
    ------
    outer, place, encoder, trials
        The trials of an outer fold (None: plain cross-validation), gathered by layer, pool, features and encoder.
    """
    n_train, q = smallest_training(data, nested), data.Y.shape[1]
    most = max(training.n_features for training in trainings)
    most_components = -(-most // n_delays)
    ranges = [encoder.space(n_train, most, q) for encoder in encoders]
    layers = _places_by_pool(spaces)
    pools = list(dict.fromkeys(space.pool for space in spaces if space.pool))

    @cache  # of the layers that are proposed, once each: it takes the moments of all training parts
    def usable(place: int, which: int) -> int:
        return usable_features(encoders[which], trainings[place], data, nested)

    def sizes(place: int, k: int, which: int) -> tuple[int, int, int]:
        return n_train, min(k, usable(place, which)), q

    def suggest(trial: Any) -> Mapping[str, Any]:
        own = layers[int(trial.suggest_categorical("layer", range(len(layers)))) if len(layers) > 1 else 0]
        pool = str(trial.suggest_categorical("pool", pools)) if pools else ""
        place = own[pool if pool in own else ""]  # features that come with the dataset have no pool
        wanted = int(trial.suggest_int("components", 1, most_components, log=True)) if truncate else most_components
        which = int(trial.suggest_categorical("encoder", range(len(encoders)))) if len(encoders) > 1 else 0
        k = min(wanted * n_delays, trainings[place].n_features)
        encoder = encoders[which]
        proposal = {
            name: suggest_range(trial, f"{encoder.name}.{name}", bounds) for name, bounds in ranges[which].items()
        }
        # An encoder's ranges follow the number of features: what is out of range moves to the nearest setting inside.
        own_sizes = sizes(place, k, which)
        setting = nearest_setting(proposal, encoder.settings(*own_sizes), encoder.space(*own_sizes))
        return {"place": place, "features": k, "encoder": which, "setting": setting}

    for outer in (None, *range(data.n_folds if nested else 0)):
        folds = [fold for fold in range(data.n_folds) if fold != outer]
        judges: dict[_Choice, Evaluator] = {}

        def score(
            proposal: Mapping[str, Any],
            fold: int,
            judges: dict[_Choice, Evaluator] = judges,
            outer: int | None = outer,
        ) -> float:
            choice = (proposal["place"], proposal["features"], proposal["encoder"])
            place, k, which = choice
            if choice not in judges:
                source = truncated(trainings[place], k)
                label = ("joint", *space_names(spaces[place]), str(k), encoders[which].name, str(outer))
                judges[choice] = Evaluator(encoders[which], source, data, search.metric, outer, voxel_rule, log, label)
            return judges[choice].score(proposal["setting"], fold)

        tried = new_study(search, seed, suggest, outer).run(search.trials, score, folds)
        gathered: dict[_Choice, list[tuple[Params, FloatArray]]] = {}
        for proposal, scores in tried:
            choice = (proposal["place"], proposal["features"], proposal["encoder"])
            gathered.setdefault(choice, []).append((proposal["setting"], scores))
        for (place, k, which), own in sorted(gathered.items()):
            listed = encoders[which].settings(*sizes(place, k, which))
            trials = judges[place, k, which].trials(own, listed, folds)
            yield outer, place, encoders[which], replace(trials, n_features=k if truncate else None)


def _places_by_pool(spaces: Sequence[FeatureSpace]) -> list[dict[str, int]]:
    """Gather the spaces of each layer: their places among all, by pool."""
    layers: dict[tuple[str, str], dict[str, int]] = {}
    for place, space in enumerate(spaces):
        layers.setdefault((space.network, space.layer), {})[space.pool] = place
    return list(layers.values())
