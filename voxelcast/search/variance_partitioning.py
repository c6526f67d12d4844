"""Explained variance divided between groups of layers: which layers are meant, and the predictions that it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Annotated

import numpy as np
from annotated_types import Ge

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_file_name, check_known
from voxelcast.core.errors import OptionError
from voxelcast.core.seeds import derive_seed
from voxelcast.core.settings import settings
from voxelcast.encoders.banded_ridge import fit_banded_ridge
from voxelcast.encoders.moments import mean_squared_norm
from voxelcast.scoring.variance_partitioning import Sets
from voxelcast.search.base import FeatureSpace
from voxelcast.search.ensemble import StackingSums, stacking_weights
from voxelcast.search.training import checked_scores

_PARTS = 3
MOST_GROUPS = 4
"""Four groups have fifteen combinations, each a model; five would have thirty-one."""

Layer = tuple[str, str]
"""Network, as it is shown, and layer."""


@settings
class VariancePartitioningSettings:
    """Groups of layers between which the variance that they explain is divided; without groups nothing is.

    Parameters
    ----------
    groups : mapping of str to str or tuple of str
        Layers or patterns (of any network; ``NETWORK:LAYER`` of one) and networks (all their layers).
    draws : int
        How many weights of a model's groups are drawn for voxels to choose from (banded ridge); 0: equal ones.
    """

    groups: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    draws: Annotated[int, Ge(0)] = 10

    def __post_init__(self) -> None:
        several = {name: (members,) if isinstance(members, str) else members for name, members in self.groups.items()}
        object.__setattr__(self, "groups", several)
        if len(several) == 1 or len(several) > MOST_GROUPS:
            raise OptionError(
                f"variance_partitioning.groups: variance is divided between 2 to {MOST_GROUPS} groups (or none)"
            )
        for name, members in several.items():
            check_file_name(name, "variance_partitioning.groups: the name")
            if "+" in name or name.endswith(("_low", "_high")):
                raise OptionError(
                    "variance_partitioning.groups: a name must have no '+', which joins groups in the results, and not "
                    f"end with _low or _high, as the ends of intervals do; rename {name!r}"
                )
            if not members:
                raise OptionError(
                    f"variance_partitioning.groups.{name} must name at least one layer or network; it names none"
                )


def resolve_groups(
    groups: Mapping[str, Sequence[str]], layers: Sequence[Layer], setting: str = "variance_partitioning.groups"
) -> dict[str, tuple[Layer, ...]]:
    """Find the layers that each group means.

    Raises UnknownNameError for a member that no layer of the experiment matches; OptionError if a layer is in two
    groups.

    Parameters
    ----------
    groups : mapping of str to sequence of str
        Each member is a network (all its layers), a layer or shell pattern of layers (in every network that has it), or
        ``NETWORK:LAYER``.
    layers : sequence of (network, layer)
        Those of the experiment.
    setting : str
        That names the groups, for messages.

    Returns
    -------
    resolved : dict of str to tuple of (network, layer)
        In the order of ``layers``.
    """
    known = list(dict.fromkeys([*(layer for _, layer in layers), *(network for network, _ in layers)]))
    group_of_layer: dict[Layer, str] = {}
    for group, members in groups.items():
        for member in members:
            meant = [layer for layer in layers if _means(member, layer)]
            if not meant:
                full = [f"{network}:{layer}" for network, layer in layers] if ":" in member else []
                where = f"among those of the experiment ({setting}.{group})"
                check_known("layer or network", member, [*full, *known], where=where)
            for layer in meant:
                first = group_of_layer.setdefault(layer, group)
                if first != group:
                    raise OptionError(
                        f"{setting} must have no layer in common; got "
                        f"{' '.join(layer)} in {first} and in {group}; take it out of one of them"
                    )
    return {group: tuple(layer for layer in layers if group_of_layer.get(layer) == group) for group in groups}


def _means(member: str, layer: Layer) -> bool:
    network, name = layer
    return member in (network, name) or fnmatchcase(name, member) or fnmatchcase(f"{network}:{name}", member)


@dataclass(frozen=True, eq=False)
class NestedPredictions:
    """Out-of-fold predictions, each of shape (n_train, n_voxels).

    Parameters
    ----------
    combined : dict of frozenset of str to ndarray
        By every combination of groups, smallest first.
    lesioned : dict of str to ndarray
        By all groups, where the features of one are replaced by their training means.
    """

    combined: dict[Sets, FloatArray]
    lesioned: dict[str, FloatArray]


def nested_predictions(
    groups: Mapping[str, Sequence[FeatureSpace]], Y: FloatArray, fold_ids: IntArray, *, draws: int = 0, seed: int = 0
) -> NestedPredictions:
    """Predict every fold by ridge regressions on each combination of groups.

    Fold j is predicted by models whose compression, scaling, penalties and coefficients were estimated on the other
    folds alone; penalties are chosen by cross-validation over these. A group that adds nothing costs the regression on
    it more than it gives. So a combination is predicted by stacking [1]_ the regressions on it and on all its parts:
    non-negative weights, the same for all voxels, estimated on predictions of three parts of the other folds, each by
    models fitted to the rest of them.

    Parameters
    ----------
    groups : mapping of str to sequence of FeatureSpace
        The layers of a group stand side by side, each scaled to the same mean squared norm.
    Y : ndarray of shape (n_train, n_voxels)
    fold_ids : ndarray of shape (n_train,)
    draws : int
        0: the groups of a model weigh the same; else how many weights are drawn for voxels to choose from.

    Returns
    -------
    predictions : NestedPredictions

    References
    ----------
    .. [1] Lin, R., Naselaris, T., Kay, K. & Wehbe, L. Stacked regressions and structured variance partitioning for
       interpretable brain maps. NeuroImage 298, 120772 (2024). doi:10.1016/j.neuroimage.2024.120772
    """
    combined = [frozenset(some) for size in range(1, len(groups) + 1) for some in combinations(groups, size)]
    predictions: dict[Sets, FloatArray] = {sets: np.empty(Y.shape) for sets in combined}
    lesioned: dict[str, FloatArray] = {name: np.empty(Y.shape) for name in groups}
    for fold in np.unique(fold_ids).tolist():
        held = fold_ids == fold
        features = {name: _side_by_side(spaces, fold, ~held) for name, spaces in groups.items()}
        fold_seed = derive_seed(seed, "variance partitioning", fold)

        def predicted(
            fitted: BoolArray,
            judged: BoolArray,
            lesions: Sequence[str] = (),
            features: Mapping[str, FloatArray] = features,
            fold_seed: int = fold_seed,
        ) -> FloatArray:
            """Predict rows by the regressions on each combination, (1 + n_lesions, n_combined, n_judged, n_voxels)."""
            found, folds = [], fold_ids[fitted]
            if len(np.unique(folds)) == 1:  # of three folds: penalties are chosen by its halves
                folds = 2 * np.arange(len(folds)) // len(folds)
            for sets in combined:
                Xs = {name: X for name, X in features.items() if name in sets}
                training = [X[fitted] for X in Xs.values()], Y[fitted], folds
                model = fit_banded_ridge(*training, n_draws=draws, seed=fold_seed, average_over="stimuli")
                shown = {name: X[judged] for name, X in Xs.items()}
                of_model = [model.predict([*shown.values()])]
                for lost in lesions:
                    mean = {lost: np.tile(Xs[lost][fitted].mean(axis=0), (len(shown[lost]), 1))} if lost in sets else {}
                    of_model.append(model.predict([*(shown | mean).values()]) if mean else of_model[0])
                found.append(np.stack(of_model))
            return np.stack(found, axis=1)

        sums = StackingSums(len(combined), Y.shape[1], "roi", Y[~held].std(axis=0))
        others = np.unique(fold_ids[~held])
        for part in (others[k::_PARTS] for k in range(min(_PARTS, len(others)))):
            (inner,) = predicted(~held & ~np.isin(fold_ids, part), ~held)
            for other in part:
                rows, responses = fold_ids[~held] == other, Y[fold_ids == other]
                sums.add(inner[:, rows], responses - responses.mean(axis=0))
        mean, (alone, *without) = Y[~held].mean(axis=0), predicted(~held, held, tuple(groups))
        for sets, own in predictions.items():
            within = [k for k, part in enumerate(combined) if part <= sets]
            (weights,) = stacking_weights(sums.G[:, within][..., within], sums.c[:, within], sums.squares)
            own[held] = mean + np.einsum("lnv,l->nv", alone[within] - mean, weights)
        for lesion, left in zip(lesioned.values(), without, strict=True):  # the last weights are those of all groups
            lesion[held] = mean + np.einsum("lnv,l->nv", left - mean, weights)
    return NestedPredictions(predictions, lesioned)


def _side_by_side(spaces: Sequence[FeatureSpace], fold: int, kept: BoolArray) -> FloatArray:
    """Join layers as compressed without a fold, scaled by their training stimuli, ndarray of shape (n_train, p)."""
    scaled = []
    for space in spaces:
        X = checked_scores(space, (fold,), len(kept))[: len(kept)]
        centred = X[kept] - X[kept].mean(axis=0)
        scaled.append(X / np.sqrt(mean_squared_norm(centred)))
    return np.hstack(scaled)
