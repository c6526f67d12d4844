"""The factorised readout: where each voxel reads, and what.

::

    prediction_v = b_v + sum_l s_vl sum_p a_vlp sum_c w_vlc F_lcp

F are the maps of layer l, every channel standardised (batch normalisation without gain and shift); a_vl is a
distribution over places p: a softmax, or the four places around a learned point by bilinear weights; w are free; s is
1, or a softmax over the L layers times L. Maps with time are weighed by a softmax over steps first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import nn

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.learned.settings import ReadoutSettings

Shape = tuple[int, int, int]
"""Channels, rows and columns of a layer's maps."""
_FIRST = 0.01


@dataclass(frozen=True)
class HeadSize:
    """Shapes of the layers' maps, steps of time of each (0: no axis of time), and number of voxels."""

    shapes: tuple[Shape, ...]
    n_times: tuple[int, ...]
    n_voxels: int


class Head(nn.Module):
    """The readout; see this module. Random numbers come from torch's generator."""

    def __init__(self, size: HeadSize, settings: ReadoutSettings) -> None:
        super().__init__()
        self.size, self.points = size, settings.places == "point"
        q = size.n_voxels
        first = [torch.zeros(q, h * w) if not self.points else torch.randn(q, 2) * 0.1 for _, h, w in size.shapes]
        self.places = nn.ParameterList(nn.Parameter(values) for values in first)
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(q, c) * _FIRST) for c, _, _ in size.shapes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, affine=False) for c, _, _ in size.shapes)
        learned = settings.time == "learned"
        self.times = nn.ParameterList(
            nn.Parameter(torch.zeros(n), requires_grad=learned and n > 1) for n in size.n_times
        )
        self.layers = nn.Parameter(torch.zeros(q, len(size.shapes)), requires_grad=settings.select_layers)
        self.bias = nn.Parameter(torch.zeros(q))
        for k, (_, h, w) in enumerate(size.shapes):
            grid = torch.stack(torch.meshgrid(_axis(h), _axis(w), indexing="ij"), dim=-1).reshape(-1, 2)
            self.register_buffer(f"grid{k}", grid, persistent=False)
            self.register_buffer(f"step{k}", torch.tensor([2 / max(h - 1, 1), 2 / max(w - 1, 1)]), persistent=False)

    def forward(self, maps: Sequence[torch.Tensor], kept: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """Predict standardised responses, (n, q).

        Parameters
        ----------
        maps : sequence of tensor
            Of each layer, (n, c, h, w), or (n, n_times, c, h, w).
        kept : sequence of tensor or None
            Factors of the channels of each stimulus, (n, c): 0 for those left out.
        """
        shares = functional.softmax(self.layers, dim=1) * self.layers.shape[1]
        total: torch.Tensor = self.bias
        for k, values in enumerate(maps):
            if values.ndim == 5:
                time = functional.softmax(self.times[k], dim=0).to(values.dtype)
                values = torch.einsum("ntchw,t->nchw", values, time)
            values = self.norms[k](values.float())
            if (factors := kept[k]) is not None:
                values = values * factors[:, :, None, None]
            total = total + shares[:, k] * self._read(values.flatten(2), self.weights[k], self.where(k))
        return total

    def _read(self, values: torch.Tensor, weights: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Sum over channels and places, (n, q); whichever leaves less is summed first."""
        if values.is_cuda:
            values, weights, places = values.bfloat16(), weights.bfloat16(), places.bfloat16()
        n, c, p = values.shape
        if p <= c:
            summed = functional.linear(values.transpose(1, 2).reshape(n * p, c), weights).view(n, p, -1)
            return (summed * places.T).sum(1, dtype=torch.float32)
        summed = functional.linear(values.reshape(n * c, p), places).view(n, c, -1)
        return (summed * weights.T).sum(1, dtype=torch.float32)

    def where(self, k: int) -> torch.Tensor:
        """Return the distribution over places of each voxel in layer k, (q, h * w)."""
        if not self.points:
            return functional.softmax(self.places[k], dim=1)
        grid, step = self.get_buffer(f"grid{k}"), self.get_buffer(f"step{k}")
        points = torch.tanh(self.places[k])
        near = (1 - (points[:, None] - grid).abs() / step).clamp(min=0)
        return near.prod(dim=2)

    def pictures(self) -> list[FloatArray]:
        """Return where each voxel reads in each layer, weighed by what it reads there: (q, h, w)."""
        return [
            self.where(k).detach().double().cpu().numpy().reshape(-1, h, w)
            for k, (_, h, w) in enumerate(self.size.shapes)
        ]


def _axis(n: int) -> torch.Tensor:
    return torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1)


def head_arrays(head: Head, y_mean: FloatArray, y_scale: FloatArray) -> dict[str, FloatArray]:
    """Return the arrays that a trained head is rebuilt from, by name."""
    state = {f"head.{name}": tensor.detach().double().cpu().numpy() for name, tensor in head.state_dict().items()}
    return state | {"y_mean": y_mean, "y_scale": y_scale}
