"""Frames as a network is shown them, before they are normalised: what networks are trained on."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from voxelcast.core.arrays import ByteArray
from voxelcast.networks.prepare import prepare_frames
from voxelcast.stimuli.decode import FrameChunk


def network_pixels(chunks: Iterable[FrameChunk], side: int) -> ByteArray:
    """Resize frames to a square, to the nearest of 256 levels: uint8 of shape (n_frames, side, side, 3).

    Raises StimulusError for a broken stimulus.
    """
    how = side, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), torch.device("cpu")
    frames = torch.cat([prepare_frames(chunk.frames, *how) for chunk in chunks])
    pixels: ByteArray = (frames * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return pixels
