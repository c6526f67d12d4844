"""Copies beside what a GPU is doing: frames on their way to it, pooled features on their way to main memory."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import VoxelcastError
from voxelcast.features.pooling import TemporalPool
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
    """The features of one stimulus, whose pools have all its frames, as tensors on the device or in main memory.

    From a GPU they come in one copy. Raises DataError if a pool has nothing to give.
    """

    def __init__(
        self, pools: Mapping[Feature, TemporalPool], name: str, device: torch.device, *, stay: bool = False
    ) -> None:
        self._name, self._stay = name, stay
        found = {feature: torch.as_tensor(pool.features(), device=device) for feature, pool in pools.items()}
        self._copy = None if device.type == "cpu" or not found else _Copy(found, stay=stay)
        self._features = found if self._copy is None else {}

    def ready(self) -> bool:
        """Whether the features are there."""
        return self._copy is None or self._copy.ready()

    def features(self) -> Mapping[Feature, Any]:
        """Wait for the features, float32, of shape (n_features,), or (n_times, n_features) where time is kept.

        They are tensors where they stay on the device, else ndarrays; those from a GPU lie in page-locked memory, of
        which there is less than of other memory: to keep those of many stimuli, copy them. Raises DataError, which
        names stimulus and layer, if one is not finite.
        """
        features = self._features if self._copy is None else self._copy.features()
        if self._copy is None or not self._copy.all_finite:
            for (layer, _), values in features.items():
                here = values.cpu().numpy()
                check_finite(f"features of {self._name}, layer {layer},", here, "check the weights and mean and std")
        return features if self._stay else {feature: values.numpy() for feature, values in features.items()}


class _Copy:
    """Tensors of one GPU in one piece, there or, by a stream of its own, in main memory."""

    def __init__(self, found: Mapping[Feature, torch.Tensor], *, stay: bool) -> None:
        device = next(iter(found.values())).device
        self._shapes = {feature: values.shape for feature, values in found.items()}
        self._sizes = [math.prod(shape) for shape in self._shapes.values()]
        there = torch.cat([values.reshape(-1) for values in found.values()])
        finite = there.isfinite().all()
        self._here = there if stay else torch.empty(there.shape, dtype=torch.float32, pin_memory=True)
        self._finite = torch.empty((), dtype=torch.bool, pin_memory=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        stream = _stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            if not stay:
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

    def features(self) -> dict[Feature, torch.Tensor]:
        self._arrived.synchronize()
        parts = torch.split(self._here, self._sizes)
        return {feature: part.view(shape) for (feature, shape), part in zip(self._shapes.items(), parts, strict=True)}


@lru_cache(maxsize=16)
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
