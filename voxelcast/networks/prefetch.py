"""Decode stimuli ahead of the network, in threads, never holding more than a few chunks of each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from voxelcast.stimuli.decode import FrameChunk, iter_frames
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

T = TypeVar("T")

_CHUNKS_AHEAD = 4
_PATIENCE = 0.1  # seconds between looks at whether anybody still wants frames


class Prefetcher:
    """Frames of stimuli, in their order, decoded by threads that run ahead.

    Each of ``workers`` threads works on one stimulus and is at most 4 chunks ahead in it, of at most ``chunk`` frames.
    """

    def __init__(self, stimuli: Sequence[Stimulus], sampling: FrameSampling, *, chunk: int, workers: int) -> None:
        self._sampling = sampling
        self._chunk = chunk
        self._stopped = threading.Event()
        # None follows the last chunk of a stimulus, also of a broken one.
        self._queues: list[queue.Queue[FrameChunk | None]] = [queue.Queue(_CHUNKS_AHEAD) for _ in stimuli]
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._futures: list[Future[None]] = [
            self._executor.submit(self._decode, stimulus, waiting)
            for stimulus, waiting in zip(stimuli, self._queues, strict=True)
        ]

    def __enter__(self) -> Prefetcher:
        """Return itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop the threads and wait for them."""
        self._stopped.set()
        self._executor.shutdown(cancel_futures=True)

    def chunks(self, position: int) -> Iterator[FrameChunk]:
        """Give the chunks of a stimulus; see `voxelcast.networks.device_frames.FrameSource`."""
        while (chunk := self._queues[position].get()) is not None:
            yield chunk
        # Raises here what was raised in the thread.
        self._futures[position].result()

    def _decode(self, stimulus: Stimulus, waiting: queue.Queue[FrameChunk | None]) -> None:
        try:
            for chunk in iter_frames(stimulus, self._sampling, chunk=self._chunk):
                if not put(waiting, chunk, self._stopped):
                    return
        finally:
            put(waiting, None, self._stopped)


def put(waiting: queue.Queue[T], item: T, stopped: threading.Event) -> bool:
    """Put an item into a queue when there is room; return False if reading was stopped."""
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=_PATIENCE)
        except queue.Full:
            continue
        return True
    return False
