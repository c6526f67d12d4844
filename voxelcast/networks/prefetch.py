"""Decode stimuli ahead of the network, in threads, never holding more than a few chunks of each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from voxelcast.stimuli.decode import FrameChunk, iter_frames
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

_CHUNKS_AHEAD = 4
_PATIENCE = 0.1  # seconds between looks at whether anybody still wants frames


class Prefetcher:
    """Frames of stimuli, in their order, decoded by threads that run ahead.

    Parameters
    ----------
    stimuli : sequence of Stimulus
    sampling : FrameSampling
    chunk : int
        The most frames per chunk.
    workers : int
        Threads; each works on one stimulus and is at most 4 chunks ahead in it.
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
        """Give the chunks of the stimulus at a position; to be asked for in order, each once.

        Raises
        ------
        StimulusError
            If it is broken; chunks given before are to be thrown away.
        """
        while (chunk := self._queues[position].get()) is not None:
            yield chunk
        # Raises here what was raised in the thread.
        self._futures[position].result()

    def _decode(self, stimulus: Stimulus, waiting: queue.Queue[FrameChunk | None]) -> None:
        try:
            for chunk in iter_frames(stimulus, self._sampling, chunk=self._chunk):
                if not self._put(waiting, chunk):
                    return
        finally:
            self._put(waiting, None)

    def _put(self, waiting: queue.Queue[FrameChunk | None], item: FrameChunk | None) -> bool:
        """Hand over an item when there is room; return False if nobody wants it any more."""
        while not self._stopped.is_set():
            try:
                waiting.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue
            return True
        return False
