"""CORnet-S behind its first area: V2, V4, IT and the decoder.

References
----------
.. [1] Kubilius, J., Schrimpf, M. et al. (2019). Brain-like object recognition with high-performing shallow recurrent
   ANNs. NeurIPS 32. https://doi.org/10.48550/arXiv.1909.06161
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as functional
from torch import nn

_WIDENING = 4


class Area(nn.Module):
    """A recurrent area: the same bottleneck ``n_times`` times over, with a batch norm for each time.

    At the first time the middle convolution halves the resolution, and so does the shortcut's; later the area's own
    output is its input and shortcut.
    """

    def __init__(self, n_in: int, n_out: int, n_times: int) -> None:
        super().__init__()
        wide = n_out * _WIDENING
        self.conv_input = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.skip = nn.Conv2d(n_out, n_out, 1, stride=2, bias=False)
        self.norm_skip = nn.BatchNorm2d(n_out)
        self.conv1 = nn.Conv2d(n_out, wide, 1, bias=False)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(wide, n_out, 1, bias=False)
        for time in range(n_times):
            for k, n_channels in ((1, wide), (2, wide), (3, n_out)):
                self.add_module(f"norm{k}_{time}", nn.BatchNorm2d(n_channels))
        self._n_times = n_times

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (n_frames, n_in, height, width) to (n_frames, n_out, height / 2, width / 2)."""
        state: torch.Tensor = self.conv_input(inputs)
        for time in range(self._n_times):
            norms = [self.get_submodule(f"norm{k}_{time}") for k in (1, 2, 3)]
            shortcut = self.norm_skip(self.skip(state)) if time == 0 else state
            wide = functional.relu(norms[0](self.conv1(state)))
            # The same weights at both strides.
            wide = functional.conv2d(wide, self.conv2.weight, stride=2, padding=1) if time == 0 else self.conv2(wide)
            wide = functional.relu(norms[1](wide))
            state = functional.relu(norms[2](self.conv3(wide)) + shortcut)
        return state


def cornet_s_behind_v1(n_in: int = 64) -> nn.Sequential:
    """Build V2, V4, IT and the decoder for inputs of ``n_in`` channels."""
    decoder = OrderedDict(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(512, 1000))
    areas = OrderedDict[str, nn.Module](
        V2=Area(n_in, 128, 2), V4=Area(128, 256, 4), IT=Area(256, 512, 2), decoder=nn.Sequential(decoder)
    )
    return nn.Sequential(areas)
