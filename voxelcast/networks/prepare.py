"""Frames resized and normalised for a network, whatever decoded them, and as pixels, which networks are trained on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as functional

from voxelcast.core.arrays import ByteArray
from voxelcast.core.errors import ShapeError
from voxelcast.networks.base import Resize, Triple
from voxelcast.stimuli.decode import FrameChunk


def prepare_frames(
    frames: ByteArray | torch.Tensor,
    input_size: int,
    mean: Triple,
    std: Triple,
    device: torch.device,
    resize: Resize | None = None,
) -> torch.Tensor:
    """Resize frames to a square, without cropping, and normalise them: ``(rgb / 255 - mean) / std``.

    Bilinear with antialiasing, in single precision on the device; or as ``resize`` says. Each frame is treated
    alone, so that chunking changes nothing. Frames are uint8 of shape (n_frames, height, width, 3), else ShapeError
    is raised; mean and std are per channel of RGB in [0, 1]. The result is float32, (n_frames, 3, input_size,
    input_size).
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype not in (np.uint8, torch.uint8) or 0 in frames.shape:
        raise ShapeError(
            f"frames must be uint8 of shape (n_frames, height, width, 3); got {frames.dtype} of shape {frames.shape}"
        )
    if isinstance(frames, np.ndarray):
        # torch shares the memory and wants to be allowed to write to it.
        frames = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
    pixels = frames.to(device).permute(0, 3, 1, 2).float()
    size, mode = (input_size, input_size), "bilinear" if resize is None else resize.interpolation
    if resize is not None and resize.edge is not None:
        shorter = min(pixels.shape[2:])
        height, width = (length * resize.edge // shorter for length in pixels.shape[2:])
        size = (height, width)
    resized = functional.interpolate(pixels, size=size, mode=mode, align_corners=False, antialias=True)
    if resize is not None:
        resized = _cropped(resized, input_size).round().clamp(0, 255)
    return (resized - _per_channel(mean, device)) / _per_channel(std, device)


def _cropped(frames: torch.Tensor, size: int) -> torch.Tensor:
    """Take the middle of frames (n, 3, height, width), which are no smaller."""
    top, left = ((length - size) // 2 for length in frames.shape[2:])
    return frames[:, :, top : top + size, left : left + size]


@lru_cache(maxsize=16)
def _per_channel(values: Triple, device: torch.device) -> torch.Tensor:
    """Give values for RGB in [0, 1] as a tensor of shape (3, 1, 1) for RGB in [0, 255]; made once for all chunks."""
    return torch.tensor(values, device=device).view(3, 1, 1) * 255


def network_pixels(chunks: Iterable[FrameChunk], side: int) -> ByteArray:
    """Resize frames to a square, to the nearest of 256 levels: uint8 of shape (n_frames, side, side, 3).

    Raises StimulusError for a broken stimulus.
    """
    how = side, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), torch.device("cpu")
    frames = torch.cat([prepare_frames(chunk.frames, *how) for chunk in chunks])
    return np.asarray((frames * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
