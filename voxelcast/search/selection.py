"""The record of a search: every candidate tried, and the best of each layer for the ROI or for each voxel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.errors import DataError
from voxelcast.encoders.base import Encoder
from voxelcast.search.base import Candidate, FeatureSpace
from voxelcast.search.choice import TIE, Choice, choose, first_best, simplest_first
from voxelcast.search.settings import SelectionSettings
from voxelcast.search.trials import Trials


@dataclass(frozen=True)
class Member:
    """One encoder on one layer (or on some of its components), with the candidate that each voxel takes of it.

    Parameters
    ----------
    index : int
        Of the layer in the list of feature spaces.
    pick : ndarray of shape (q,)
        Index in ``candidates``; 0 where ``used`` is False.
    used : ndarray of shape (q,), bool
        Voxels that take this encoder of the layer.
    """

    index: int
    encoder: Encoder
    candidates: tuple[Candidate, ...]
    pick: IntArray
    used: BoolArray

    @property
    def n_features(self) -> int | None:
        """How many of the layer's features its models are given; None: all."""
        return self.candidates[0].n_features


class SearchRecord:
    """What was tried, and the best so far of every layer: in the plain search (outer None) and in every outer fold.

    Parameters
    ----------
    n_layers : int
        Number of layers.
    singles : sequence of int
        Layers that `single` chooses among.
    """

    def __init__(
        self,
        outers: Sequence[int | None],
        n_layers: int,
        n_voxels: int,
        selection: SelectionSettings,
        singles: Sequence[int],
    ) -> None:
        self.candidates: list[Candidate] = []
        self._selection, self._n_voxels, self._singles = selection, n_voxels, tuple(singles)
        self._roi = {outer: [_Best(1) for _ in range(n_layers)] for outer in outers}
        self._voxel = (
            {outer: [_Best(n_voxels) for _ in range(n_layers)] for outer in outers}
            if selection.per == "voxel"
            else self._roi
        )

    def enter(self, outer: int | None, index: int, space: FeatureSpace, encoder: Encoder, tried: Trials) -> None:
        """Note the candidates of one layer and encoder; only a strictly better one replaces the best."""
        made = [
            Candidate(space.network, space.layer, encoder.name, params, scores, tried.n_features, space.pool)
            for params, scores in zip(tried.params_list, tried.scores, strict=True)
        ]
        if outer is None:
            self.candidates += made
        if not made:
            return
        mean = tried.scores.mean(axis=1)[:, None]
        error = tried.scores.std(axis=1, ddof=1)[:, None] / np.sqrt(tried.scores.shape[1])
        order = simplest_first(tried.complexity, len(made))
        self._roi[outer][index].offer(made, encoder, choose(mean, error, order, self._selection.rule))
        if tried.voxels is not None:
            self._voxel[outer][index].offer(made, encoder, tried.voxels)

    def single(self, outer: int | None) -> Member:
        """Return the best candidate for the mean over voxels, or raise DataError if none has a score."""
        scores = np.array([self._roi[outer][index].score[0] for index in self._singles])
        if not len(scores) or np.isneginf(scores).all():
            where = "" if outer is None else f" outside fold {outer}"
            raise DataError(
                f"no candidate has a score{where}: in some fold all responses or all predictions are constant; "
                "leave out constant voxels and layers, or ask for fewer folds"
            )
        index = self._singles[int(first_best(scores))]
        return self._roi[outer][index].members(index, self._n_voxels)[0]

    def members(self, outer: int | None, index: int) -> tuple[Member, ...]:
        """Return what a layer enters with; nothing where none of its candidates has a score."""
        return self._voxel[outer][index].members(index, self._n_voxels)

    def layer_scores(self, outer: int | None) -> FloatArray:
        """Return each layer's best score, ndarray of shape (n_layers, n_voxels); -inf where it has none."""
        scores = np.stack([best.score for best in self._voxel[outer]])
        return np.broadcast_to(scores, (len(scores), self._n_voxels))


class _Best:
    """The best candidate so far of one layer, for each of several units (voxels, or the ROI as one)."""

    def __init__(self, n_units: int) -> None:
        self.score: FloatArray = np.full(n_units, -np.inf)
        self._pick: IntArray = np.full(n_units, -1)
        self._known: list[tuple[Encoder, Candidate]] = []

    def offer(self, made: Sequence[Candidate], encoder: Encoder, choice: Choice) -> None:
        """Compare what the units chose among the candidates of one encoder with the best so far."""
        better = choice.score > self.score + TIE
        chosen, local = np.unique(choice.pick[better], return_inverse=True)
        self._pick[better] = len(self._known) + local
        self._known += [(encoder, made[k]) for k in chosen]
        self.score[better] = choice.score[better]

    def members(self, index: int, n_voxels: int) -> tuple[Member, ...]:
        """Gather the candidates in use by encoder."""
        pick = np.broadcast_to(self._pick, (n_voxels,))
        kept = [int(k) for k in np.unique(self._pick) if k >= 0]
        members = []
        groups = {k: (self._known[k][0].name, self._known[k][1].n_features) for k in kept}
        for group in dict.fromkeys(groups.values()):
            indices = [k for k in kept if groups[k] == group]
            used = np.isin(pick, indices)
            local = np.where(used, np.searchsorted(indices, pick), 0)
            candidates = tuple(self._known[k][1] for k in indices)
            members.append(Member(index, self._known[indices[0]][0], candidates, local, used))
        return tuple(members)
