"""What the writers of miniatures share: the note, clips, and responses that the clips drive."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.errors import StoreError
from voxelcast.core.seeds import derive_seed
from voxelcast.datasets.miniature import NOTE
from voxelcast.datasets.simulation.responses import add_noise, driving_components, planted_signal
from voxelcast.datasets.simulation.videos import draw_clip
from voxelcast.store.atomic import atomic_path, write_json

FPS = 12
SIGNAL_SHARE = 0.5
"""Share of signal in the variance of one presentation."""


def begin_miniature(root: Path, kind: str, seed: int, **sizes: Any) -> None:
    """Write ``miniature.json`` into a new or empty folder; called before anything else is written.

    Raises StoreError where ``root`` holds anything but the same miniature.
    """
    miniature = {"kind": kind, "seed": seed, "sizes": sizes}
    if (root / NOTE).is_file():
        if (root / NOTE).read_text(encoding="utf-8") != json.dumps(miniature, indent=2) + "\n":
            raise StoreError(f"{root} holds another miniature; nothing was written; choose another folder")
    elif root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise StoreError(f"{root} holds other data; nothing was written; choose a new folder")
    write_json(root / NOTE, miniature)


def write_dict(path: Path, content: dict[Any, Any]) -> None:
    """Write a dict as ``np.save`` does: pickled, in an array of one Python object."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.array(content, dtype=object), allow_pickle=True)


def write_clips(paths: Sequence[Path], seed: int) -> FloatArray:
    """Write a synthetic video of a second to each path, or a picture where it ends in ``.png``; 32 x 32 pixels.

    Returns what drives the responses, (n_clips, 80), float64: see :func:`look`.
    """
    from voxelcast.stimuli.encode import write_video  # needs PyAV, which reading a miniature's responses does not

    looks = []
    for number, path in enumerate(paths, start=1):
        frames = draw_clip(seed, number, 1 if path.suffix == ".png" else FPS, 32)
        with atomic_path(path) as temporary:
            if path.suffix == ".png":
                Image.fromarray(frames[0]).save(temporary, format="png")
            else:
                write_video(temporary, frames, FPS)
        looks.append(look(frames))
    return np.stack(looks)


def look(frames: ByteArray, cells: int = 4) -> FloatArray:
    """Describe a clip by plain numbers that features of many networks carry too.

    Per cell of a grid over the picture, with ``cells`` along each side: mean colour, contrast and change from frame to
    frame; shape (5 * cells**2,). Frames (n_frames, height, width, 3) have a height and width divisible by ``cells``.
    """
    n_frames, height, width, _ = frames.shape
    picture = frames.reshape(n_frames, cells, height // cells, cells, width // cells, 3) / 255.0
    grey = picture.mean(axis=-1)
    change = np.abs(np.diff(grey, axis=0)).mean(axis=(0, 2, 4)) if n_frames > 1 else np.zeros((cells, cells))
    parts = (picture.mean(axis=(0, 2, 4)), grey.std(axis=(2, 4)).mean(axis=0), change)
    return np.concatenate([part.ravel() for part in parts])


def plant_responses(
    looks: FloatArray, n_train: int, n_voxels: int, repetitions: tuple[int, int], seed: int, *names: str
) -> tuple[FloatArray, FloatArray]:
    """Make responses that the looks of the stimuli drive (model: :mod:`voxelcast.datasets.simulation.responses`).

    ``looks`` (n_stimuli, n_features) are those of the training stimuli first; ``repetitions`` those of the training and
    of the test stimuli; ``names`` say whose responses, e.g. subject and ROI. Returns those to the training and to the
    test stimuli, each (n_stimuli, n_repetitions, n_voxels), float32.
    """
    own = derive_seed(seed, "miniature", *names)
    signal = planted_signal(driving_components(looks, n_train, 5), n_voxels, seed=own)
    parts = ((signal[:n_train], repetitions[0], "train"), (signal[n_train:], repetitions[1], "test"))
    train, test = (
        add_noise(part, n, signal_share=SIGNAL_SHARE, shared_noise=0.2, seed=own, part=name) for part, n, name in parts
    )
    return train, test
