"""The maps of stimuli, or their frames, as trainings read them: in the memory of the device, or on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from voxelcast.core.arrays import IntArray


class Maps(Protocol):
    """What has the maps of stimuli, or their frames."""

    def __len__(self) -> int:
        """Return the number of stimuli."""

    @property
    def resident(self) -> bool:
        """Whether all of it is in the memory of the device."""

    def batch(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return maps of each layer, or frames as the one member, of some stimuli, on the device."""


@dataclass(frozen=True)
class Resident:
    """Maps of each layer, (n, ...), or frames as the one member, in the device's memory."""

    layers: tuple[torch.Tensor, ...]
    resident: bool = True

    def __len__(self) -> int:
        return len(self.layers[0])

    def batch(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return some stimuli."""
        return [values.index_select(0, rows) for values in self.layers]


@dataclass(frozen=True)
class Mapped:
    """Maps of each layer as shards on disk, of which rows are read when they are needed."""

    layers: tuple[tuple[np.ndarray, ...], ...]
    starts: IntArray
    device: torch.device
    resident: bool = False

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batch(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Read some stimuli."""
        wanted = rows.cpu().numpy()
        shard = np.searchsorted(self.starts, wanted, side="right") - 1
        return [
            torch.from_numpy(
                np.stack([layer[s][row - self.starts[s]] for s, row in zip(shard, wanted, strict=True)])
            ).to(self.device)
            for layer in self.layers
        ]
