"""Clips to time extraction with: drifting textures, made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import ByteArray
from voxelcast.core.seeds import generator
from voxelcast.stimuli.decode import FrameChunk

_SIZE, _FRAMES, _RATE = 268, 90, 30


def make_clips(n: int, seed: int = 0) -> list[ByteArray]:
    """Make clips of 3 s at 30 frames a second: two textures, one drifting over the other, with some noise.

    As mp4 they take 0.1 to 0.2 bits a pixel, as videos from the web do.

    Returns
    -------
    clips : list of ndarray of uint8, shape (90, 268, 268, 3)
    """
    clips = []
    for number in range(n):
        rng = generator(seed, "benchmark", "clips", number)
        still, moving = (
            np.kron(rng.normal(0, 40, (20, 20, 3)), np.ones((14, 14, 1)))[:_SIZE, :_SIZE]
            + rng.normal(0, 4, (_SIZE, _SIZE, 1))
            for _ in range(2)
        )
        in_front = np.kron(rng.random((5, 5, 1)) < 0.4, np.ones((56, 56, 1), bool))[:_SIZE, :_SIZE]
        step, drift = int(rng.integers(1, 4)), int(rng.integers(-2, 3))
        frames = []
        for t in range(_FRAMES):
            shift = ((drift * t, step * t), (0, 1))
            scene = np.where(np.roll(in_front, *shift), np.roll(moving, *shift), still)
            frames.append(128 + scene + rng.normal(0, 0.8, (_SIZE, _SIZE, 1)))
        clips.append(np.clip(frames, 0, 255).astype(np.uint8))
    return clips


def write_clips(clips: Sequence[ByteArray], folder: Path) -> list[Path]:
    """Write clips as mp4 files and return their paths."""
    from voxelcast.stimuli.encode import write_video

    paths = []
    for number, clip in enumerate(clips):
        path = folder / f"clip{number:04d}.mp4"
        write_video(path, clip, _RATE)
        paths.append(path)
    return paths


class ClipFrames:
    """Decoded clips in memory, as a source of frames; after the last comes the first again.

    Parameters
    ----------
    clips : sequence of ndarray of uint8, shape (n_frames, height, width, 3)
    rate : float
        Frames a second.
    shifted : bool
        Shift each clip by its number of pixels, so that no two are the same.
    """

    def __init__(self, clips: Sequence[ByteArray], rate: float, *, shifted: bool = False) -> None:
        self._clips = [np.ascontiguousarray(clip) for clip in clips]
        self._rate = rate
        self._shifted = shifted

    def chunks(self, position: int) -> Iterator[FrameChunk]:
        """Give the frames of a clip in one chunk."""
        clip = self._clips[position % len(self._clips)]
        if self._shifted:
            clip = np.roll(clip, (position, position // len(clip[0])), (2, 1))
        indices = np.arange(len(clip))
        yield FrameChunk(clip, indices, indices / self._rate)
