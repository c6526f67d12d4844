"""Frames on their way to a GPU: through page-locked memory, beside what the GPU is doing."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import VoxelcastError
from voxelcast.networks.prefetch import put
from voxelcast.stimuli.decode import FrameChunk

_CHUNKS_AHEAD = 32


class FrameSource(Protocol):
    """Whatever has the frames of stimuli, in their order."""

    def chunks(self, position: int) -> Iterator[FrameChunk]:
        """Give the chunks of the stimulus at a position; to be asked for in order, each once and to its end.

        A chunk need not outlast the next one. Raises StimulusError if the stimulus is broken: chunks given before are
        to be thrown away.
        """


@dataclass(frozen=True)
class DeviceChunk:
    """Some consecutive frames of one stimulus on a device, uint8 (k, h, w, 3), and their times (k,)."""

    frames: torch.Tensor
    times: FloatArray


@dataclass(frozen=True)
class _End:
    """The end of a stimulus, and what was wrong with it."""

    error: BaseException | None = None


class DeviceFrames:
    """Frames of n stimuli on a GPU, in their order, copied by a thread that runs ahead; use it in a ``with`` block."""

    def __init__(self, source: FrameSource, n: int, device: torch.device) -> None:
        self._source, self._n, self._device = source, n, device
        self._queue: queue.Queue[tuple[torch.Tensor, torch.cuda.Event, FloatArray] | _End] = queue.Queue(_CHUNKS_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._copy_all, name="copy-frames", daemon=True)

    def __enter__(self) -> DeviceFrames:
        """Start copying."""
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop copying."""
        self._stopped.set()
        self._thread.join()

    def chunks(self, position: int) -> Iterator[DeviceChunk]:
        """Give the chunks of a stimulus; see `FrameSource`."""
        del position
        stream = torch.cuda.current_stream(self._device)
        while not isinstance(given := self._queue.get(), _End):
            frames, copied, times = given
            stream.wait_event(copied)
            frames.record_stream(stream)
            yield DeviceChunk(frames, times)
        if given.error is not None:
            raise given.error

    def _copy_all(self) -> None:
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        for position in range(self._n):
            try:
                for chunk in self._source.chunks(position):
                    locked = torch.empty(chunk.frames.shape, dtype=torch.uint8, pin_memory=True)
                    # Not by torch: its many threads, spinning beside busy decoders, were measured to take 3 times as
                    # long for everything.
                    np.copyto(locked.numpy(), chunk.frames)
                    with torch.cuda.stream(stream):
                        there = locked.to(self._device, non_blocking=True)
                        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
                        copied.record(stream)
                    if not put(self._queue, (there, copied, chunk.times), self._stopped):
                        return
            except (VoxelcastError, OSError, RuntimeError) as error:
                end = _End(error)
            else:
                end = _End()
            if not put(self._queue, end, self._stopped):
                return
