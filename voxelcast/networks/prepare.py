"""Frames resized and normalised for a network, whatever decoded them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as functional

from voxelcast.core.arrays import ByteArray
from voxelcast.core.errors import ShapeError
from voxelcast.networks.base import Triple


def prepare_frames(
    frames: ByteArray | torch.Tensor, input_size: int, mean: Triple, std: Triple, device: torch.device
) -> torch.Tensor:
    """Resize frames to a square, without cropping, and normalise them: ``(rgb / 255 - mean) / std``.

    Bilinear with antialiasing, in single precision on the device. Each frame is treated alone, so that chunking changes
    nothing. Frames are uint8 of shape (n_frames, height, width, 3), else ShapeError is raised; mean and std are per
    channel of RGB in [0, 1]. The result is float32, (n_frames, 3, input_size, input_size).
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype not in (np.uint8, torch.uint8) or 0 in frames.shape:
        raise ShapeError(
            f"frames must be uint8 of shape (n_frames, height, width, 3); got {frames.dtype} of shape {frames.shape}"
        )
    if isinstance(frames, np.ndarray):
        # torch shares the memory and wants to be allowed to write to it.
        frames = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
    pixels = frames.to(device).permute(0, 3, 1, 2).float()
    size = (input_size, input_size)
    resized = functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)
    return (resized - _per_channel(mean, device)) / _per_channel(std, device)


@lru_cache(maxsize=16)
def _per_channel(values: Triple, device: torch.device) -> torch.Tensor:
    """Give values for RGB in [0, 1] as a tensor of shape (3, 1, 1) for RGB in [0, 255]; made once for all chunks."""
    return torch.tensor(values, device=device).view(3, 1, 1) * 255
