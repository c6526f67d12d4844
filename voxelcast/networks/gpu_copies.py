"""Work beside a GPU's forward passes: frames on their way to it, pooled features on their way to main memory."""

from __future__ import annotations

import itertools
import math
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import VoxelcastError
from voxelcast.networks.decode_ahead import FrameSource, put

_CHUNKS_AHEAD = 32
MOST_COPIES = 8
"""Stimuli whose features may be on their way from a GPU: page-locked memory takes long to get."""
Feature = tuple[str, str]  # layer and pool


@dataclass(frozen=True)
class DeviceChunk:
    """Some consecutive frames of one stimulus, prepared for the network on its device, and their times (k,)."""

    frames: torch.Tensor
    times: FloatArray


@dataclass(frozen=True)
class _End:
    """The end of a stimulus, and what was wrong with it."""

    error: BaseException | None = None


class DeviceFrames:
    """Frames of n stimuli on a GPU, in their order, copied and prepared by a thread that runs ahead.

    Its kernels, which leave much of a GPU idle, run beside those of the forward pass. Use it in a ``with`` block.
    """

    def __init__(
        self, source: FrameSource, n: int, device: torch.device, prepare: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        self._source, self._n, self._device, self._prepare = source, n, device, prepare
        self._queue: queue.Queue[tuple[torch.Tensor, torch.cuda.Event, FloatArray] | _End] = queue.Queue(_CHUNKS_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._copy_all, name="copy-frames", daemon=True)
        self._before = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def __enter__(self) -> DeviceFrames:
        self._before.record(torch.cuda.current_stream(self._device))
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopped.set()
        self._thread.join()

    def chunks(self, position: int) -> Iterator[DeviceChunk]:
        """Give the chunks of a stimulus; see `FrameSource`."""
        stream = torch.cuda.current_stream(self._device)
        while not isinstance(given := self._queue.get(), _End):
            frames, prepared, times = given
            stream.wait_event(prepared)
            frames.record_stream(stream)
            yield DeviceChunk(frames, times)
        if given.error is not None:
            raise given.error

    def _copy_all(self) -> None:
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_event(self._before)  # what preparing takes, means say, may have been made a moment ago
        for position in range(self._n):
            try:
                for chunk in self._source.chunks(position):
                    locked = torch.empty(chunk.frames.shape, dtype=torch.uint8, pin_memory=True)
                    # Not by torch: its many threads, spinning beside busy decoders, were measured to take 3 times as
                    # long for everything.
                    np.copyto(locked.numpy(), chunk.frames)
                    with torch.cuda.stream(stream):
                        there = self._prepare(locked.to(self._device, non_blocking=True))
                        prepared = torch.cuda.Event()  # type: ignore[no-untyped-call]
                        prepared.record(stream)
                    if not put(self._queue, (there, prepared, chunk.times), self._stopped):
                        return
                end = _End()
            except (VoxelcastError, OSError, RuntimeError) as error:
                end = _End(error)
            if not put(self._queue, end, self._stopped):
                return


class Delivery:
    """The features of one stimulus on their way to main memory, or, with ``stay``, there on the device.

    ``shapes`` are those of the features, which lie one after the other, flattened, in the ``pieces`` (float32, on the
    device). From a GPU they come in one copy once :meth:`send` asked for it.
    """

    def __init__(
        self,
        shapes: Mapping[Feature, Sequence[int]],
        pieces: Sequence[torch.Tensor],
        name: str,
        *,
        stay: bool = False,
    ) -> None:
        self._shapes, self._name, self._stay = shapes, name, stay
        self._there = pieces[0] if len(pieces) == 1 else torch.cat(list(pieces))
        self._finite = self._there.sum().isfinite()  # one pass; where it is not, each number is looked at
        self._copy: _Copy | None = None
        if self._there.is_cuda:
            self._computed = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._computed.record(torch.cuda.current_stream(self._there.device))

    def send(self) -> None:
        """Have the features copied beside what else the GPU is doing, once they are computed."""
        if self._there.is_cuda:
            self._copy = _Copy(self._there, self._finite, self._computed, stay=self._stay)

    @property
    def n_bytes(self) -> int:
        """Bytes of the features."""
        return self._there.nbytes

    def ready(self) -> bool:
        """Whether the features, which were sent, are there."""
        return self._copy is None or self._copy.ready()

    def features(self) -> Mapping[Feature, Any]:
        """Wait for the features, float32, of shape (n_features,), or (n_times, n_features) where time is kept.

        They are tensors where they stay on the device, else ndarrays; those from a GPU lie in page-locked memory, of
        which there is less than of other memory: to keep those of many stimuli, copy them. Raises DataError, which
        names stimulus and layer, if one is not finite.
        """
        here, finite = (self._there, self._finite) if self._copy is None else self._copy.arrived()
        parts = torch.split(here, [math.prod(shape) for shape in self._shapes.values()])
        features = {
            feature: part.view(shape) for (feature, shape), part in zip(self._shapes.items(), parts, strict=True)
        }
        if not finite:
            for (layer, _), values in features.items():
                check_finite(
                    f"features of {self._name}, layer {layer},",
                    values.cpu().numpy(),
                    "check the weights and mean and std",
                )
        return features if self._stay else {feature: values.numpy() for feature, values in features.items()}


class _Copy:
    """A tensor of a GPU, there or, by a stream of its own, in main memory, and whether it is finite."""

    def __init__(self, there: torch.Tensor, finite: torch.Tensor, computed: torch.cuda.Event, *, stay: bool) -> None:
        self._here = there if stay else torch.empty(there.shape, dtype=torch.float32, pin_memory=True)
        self._finite = torch.empty((), dtype=torch.bool, pin_memory=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        stream = next(_streams(there.device))
        stream.wait_event(computed)
        with torch.cuda.stream(stream):
            if not stay:
                self._here.copy_(there, non_blocking=True)
            self._finite.copy_(finite, non_blocking=True)
            self._arrived.record(stream)
        for used in (there, finite):
            used.record_stream(stream)

    def ready(self) -> bool:
        return bool(self._arrived.query())  # type: ignore[no-untyped-call]

    def arrived(self) -> tuple[torch.Tensor, torch.Tensor]:
        self._arrived.synchronize()
        return self._here, self._finite


@lru_cache(maxsize=16)
def _streams(device: torch.device) -> Iterator[torch.cuda.Stream]:
    """Give streams in turn: page-locked memory is free again when its stream has no more to do, not when all have."""
    return itertools.cycle([torch.cuda.Stream(device) for _ in range(2 * MOST_COPIES)])  # type: ignore[no-untyped-call]
