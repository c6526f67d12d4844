"""Copies beside what a GPU is doing: frames on their way to it, pooled features on their way to main memory."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import VoxelcastError
from voxelcast.features.pooling import KeepingPool, TemporalPool
from voxelcast.networks.decode_ahead import FrameSource, put

_CHUNKS_AHEAD = 32
Feature = tuple[str, str]  # layer and pool


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
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopped.set()
        self._thread.join()

    def chunks(self, position: int) -> Iterator[DeviceChunk]:
        """Give the chunks of a stimulus; see `FrameSource`."""
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
                end = _End()
            except (VoxelcastError, OSError, RuntimeError) as error:
                end = _End(error)
            if not put(self._queue, end, self._stopped):
                return


class Delivery:
    """The features of one stimulus, whose pools have all its frames; from a GPU they come in one copy.

    Raises DataError if a pool has nothing to give.
    """

    def __init__(self, pools: Mapping[Feature, TemporalPool], name: str) -> None:
        self._name = name
        self._copy: _Copy | None = None
        self._features: dict[Feature, FloatArray] = {}
        if pools and not any(isinstance(pool, KeepingPool) for pool in pools.values()):
            pooled = {feature: pool.pooled() for feature, pool in pools.items()}
            if all(isinstance(values, torch.Tensor) and values.is_cuda for values in pooled.values()):
                self._copy = _Copy(pooled)
                return
        self._features = {feature: pool.result() for feature, pool in pools.items()}

    def ready(self) -> bool:
        """Whether the features are there."""
        return self._copy is None or self._copy.ready()

    def features(self) -> Mapping[Feature, FloatArray]:
        """Wait for the features, each an ndarray of shape (n_features,), float32.

        From a GPU they lie in page-locked memory, of which there is less than of other memory: to keep those of many
        stimuli, copy them. Raises DataError, which names stimulus and layer, if one is not finite.
        """
        features = self._features if self._copy is None else self._copy.features()
        if self._copy is None or not self._copy.all_finite:
            for (layer, _), values in features.items():
                check_finite(f"features of {self._name}, layer {layer},", values, "check the weights and mean and std")
        return features


class _Copy:
    """Tensors of one GPU, copied to main memory by a stream of its own."""

    def __init__(self, pooled: Mapping[Feature, torch.Tensor]) -> None:
        device = next(iter(pooled.values())).device
        self._sizes = {feature: math.prod(values.shape) for feature, values in pooled.items()}
        there = torch.empty(sum(self._sizes.values()), dtype=torch.float32, device=device)
        for values, part in zip(pooled.values(), torch.split(there, list(self._sizes.values())), strict=True):
            part.view(values.shape).copy_(values)
        finite = there.isfinite().all()
        self._here = torch.empty(there.shape, dtype=torch.float32, pin_memory=True)
        self._finite = torch.empty((), dtype=torch.bool, pin_memory=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        stream = _stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            self._here.copy_(there, non_blocking=True)
            self._finite.copy_(finite, non_blocking=True)
            self._arrived.record(stream)
        for used in (there, finite):
            used.record_stream(stream)

    def ready(self) -> bool:
        return bool(self._arrived.query())  # type: ignore[no-untyped-call]

    @property
    def all_finite(self) -> bool:
        self._arrived.synchronize()
        return bool(self._finite)

    def features(self) -> dict[Feature, FloatArray]:
        self._arrived.synchronize()
        parts = torch.split(self._here, list(self._sizes.values()))
        return {feature: part.numpy() for feature, part in zip(self._sizes, parts, strict=True)}


@lru_cache(maxsize=16)
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
