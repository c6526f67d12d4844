"""How networks of transformers take frames: sizes and normalisation of their processors, and where tokens lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from voxelcast.core.errors import OptionError
from voxelcast.networks.base import Resize, Triple
from voxelcast.networks.settings import NetworkSettings

_TIME_LAST = {"timesformer"}
"""Models whose tokens follow each other in time first, then over the picture."""
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class FrameFacts:
    """Size in pixels, normalisation of RGB in [0, 1], and how frames are resized."""

    input_size: int
    mean: Triple
    std: Triple
    resize: Resize | None


def frame_facts(settings: NetworkSettings, own_size: int | None, processor: Any | None) -> FrameFacts:
    """Take over what a network's processor does with frames, changed by the user's settings.

    With (x * factor - offset - mean) / std of 8-bit x, mean and std for RGB in [0, 1] are (offset + mean) / (255
    factor) and std / (255 factor). Raises OptionError where there is no processor and a setting is missing, or the
    processor does what cannot be done here.
    """
    name, size, mean, std = settings.name, settings.input_size, settings.mean, settings.std
    if processor is None:
        size = size or own_size
        if size is None or mean is None or std is None:
            raise OptionError(f"'{name}' comes without a processor: say its input_size, mean and std")
        return FrameFacts(size, mean, std, None)
    given = processor.to_dict()
    crop, edges = given.get("crop_size"), given.get("size") or {}
    if given.get("max_num_patches") and not edges:  # a network of any aspect ratio gets a square
        side = given["patch_size"] * math.isqrt(given["max_num_patches"])
        edges = {"height": side, "width": side}
    target = crop if given.get("do_center_crop") and crop else edges
    height, width = (target.get(axis, target.get("shortest_edge")) for axis in ("height", "width"))
    interpolation = _INTERPOLATIONS.get(int(given.get("resample", 2)))
    if interpolation is None or not height or height != width or not given.get("do_resize", True):
        raise OptionError(
            f"the processor of '{name}' (size {edges}, crop {crop}, resample {given.get('resample')}) cannot be "
            "followed: frames are resized to squares, bilinearly or bicubically; choose another network"
        )
    edge = edges.get("shortest_edge")
    if edge and size:
        edge = max(round(edge * size / height), size)
    factor = 255 * (given["rescale_factor"] if given.get("do_rescale", True) else 1.0)
    offset = 1.0 if given.get("offset") else 0.0
    means, stds = (
        (given["image_mean"], given["image_std"]) if given.get("do_normalize", True) else ((0.0,) * 3, (1.0,) * 3)
    )
    return FrameFacts(
        size or int(height),
        mean or cast(Triple, tuple((offset + value) / factor for value in means)),
        std or cast(Triple, tuple(value / factor for value in stds)),
        Resize(edge, cast(Any, interpolation)),
    )


def frame_axes(config: Any, input_size: int, clip_length: int | None) -> dict[str, int] | None:
    """Give the axes of a network's tokens, from what its config says of patches; None where it has none."""
    patch, tube = getattr(config, "patch_size", None), getattr(config, "tubelet_size", 1)
    if isinstance(tube, Sequence):
        tube, *patch = tube
    if patch is None:
        return None
    height, width = patch if isinstance(patch, Sequence) else (patch, patch)
    space = {"height": input_size // height, "width": input_size // width}
    if clip_length is None:
        return space
    time = {"time": clip_length // tube}
    return space | time if config.model_type in _TIME_LAST else time | space


def patches(frames: torch.Tensor, size: int) -> dict[str, torch.Tensor]:
    """Cut frames (n, 3, h, w) into the patches that SigLIP2 takes, row by row, each with its channels last."""
    n, _, height, width = frames.shape
    rows, columns = height // size, width // size
    cut = frames[:, :, : rows * size, : columns * size].reshape(n, 3, rows, size, columns, size)
    return {
        "pixel_values": cut.permute(0, 2, 4, 3, 5, 1).reshape(n, rows * columns, -1),
        "pixel_attention_mask": torch.ones(n, rows * columns, dtype=torch.int64, device=frames.device),
        "spatial_shapes": torch.tensor([[rows, columns]] * n, device=frames.device),
    }
