"""Low-rank additions to the weights of a network, which alone are trained.

References
----------
.. [1] Hu, E. J. et al. LoRA: low-rank adaptation of large language models. ICLR (2022). arXiv:2106.09685
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization


class LowRank(nn.Module):
    """``W + B A``, with A random and B 0 at first, of rank r."""

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        super().__init__()
        n_out, n_in = weight.shape[0], weight.numel() // weight.shape[0]
        self.lora_a = nn.Parameter(torch.randn(rank, n_in, device=weight.device) / n_in**0.5)
        self.lora_b = nn.Parameter(torch.zeros(n_out, rank, device=weight.device))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weights that are used."""
        return weight + (self.lora_b @ self.lora_a).view(weight.shape)


def add_lora(module: nn.Module, rank: int) -> None:
    """Add to the weights of all linear maps and ungrouped 1 x 1 convolutions of a module, in place."""
    for part in list(module.modules()):
        pointwise = isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and part.groups == 1
        if pointwise or type(part) is nn.Linear:
            assert isinstance(part.weight, torch.Tensor)
            register_parametrization(part, "weight", LowRank(part.weight, rank))
