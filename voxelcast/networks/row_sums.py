"""Sums over time of all layers of the stimuli of one batch: few, large operations instead of many for each stimulus."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch

from voxelcast.core.errors import ShapeError
from voxelcast.features.pooling import sum_parts


class RowLayout:
    """Where each layer lies in a row that has all of them, one after the other; ``sizes`` are their features."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        ends = list(itertools.accumulate(sizes.values(), initial=0))
        self.n_features = ends[-1]
        self.places = {layer: slice(*ends[k : k + 2]) for k, layer in enumerate(sizes)}


class RowSums:
    """The sums of a batch, a row for each stimulus; ``lengths`` are their frames in it, where they follow one another.

    Neighbours of one length are added up together.
    """

    def __init__(self, layout: RowLayout, lengths: Sequence[int], device: torch.device) -> None:
        self._places = layout.places
        self._lengths = [(length, len(list(group))) for length, group in itertools.groupby(lengths)]
        self._rows = [torch.empty((n, layout.n_features), device=device) for _, n in self._lengths]

    def take(self, layer: str, activations: torch.Tensor) -> None:
        """Add up a layer's activations, of shape (n_frames, ...)."""
        place, shape = self._places[layer], activations.shape[1:]
        if math.prod(shape) != place.stop - place.start:
            raise ShapeError(f"it must put out {place.stop - place.start} numbers for a frame; got {tuple(shape)}")
        first = 0
        for (length, n), rows in zip(self._lengths, self._rows, strict=True):
            sums = sum_parts(activations[first : first + length * n], length)
            # In C order: of channels that a network keeps last this is one pass for all stimuli.
            rows[:, place].view(sums.shape).copy_(sums)
            first += length * n

    def rows(self) -> list[torch.Tensor]:
        """Return each stimulus' row, float32 of shape (n_features,)."""
        return [row for rows in self._rows for row in rows]
