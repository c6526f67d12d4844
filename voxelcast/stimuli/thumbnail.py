"""A small picture of a stimulus, to be shown in a table or figure."""

from __future__ import annotations

import numpy as np
from PIL import Image

from voxelcast.core.arrays import ByteArray
from voxelcast.stimuli.decode import iter_frames
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus


def thumbnail(stimulus: Stimulus | ByteArray, side: int = 160) -> ByteArray:
    """Return an image, or the middle frame of a video, no larger than ``side`` pixels: (height, width, 3), uint8.

    A stimulus may be given as its frames, (n_frames, height, width, 3). Raises StimulusError if it cannot be read.
    """
    if isinstance(stimulus, np.ndarray):
        frame = stimulus[len(stimulus) // 2]
    else:
        frame = next(iter_frames(stimulus, FrameSampling(n=1))).frames[0]
    image = Image.fromarray(frame)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)
