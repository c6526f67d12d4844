"""Decode stimuli ahead of the network: in threads, or in processes for devices that are faster than threads.

Threads never hold more than a few chunks of each stimulus. From processes frames come back through memory that is
shared with each of them, in a ring of slots; only their shapes, indices and times go through a pipe. Stimulus ``i`` of
a list is decoded by process ``i`` modulo the number of processes, each in the order of the list, so that the stimulus
that is due next never waits for room that later ones take.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import queue
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from typing import IO, Any, Protocol, TypeVar

import numpy as np

from voxelcast.core.arrays import blocks
from voxelcast.core.errors import ExecutionError, VoxelcastError
from voxelcast.stimuli.decode import FrameChunk, iter_frames
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

T = TypeVar("T")

_CHUNKS_AHEAD = 4
_SLOT_BYTES = 8 << 20
_SLOTS = 4
# Seconds between looks at whether anybody still wants frames.
_PATIENCE = 0.1
_PATIENCE_OF_PROCESSES = 1.0


class FrameSource(Protocol):
    """Whatever has the frames of stimuli, in their order."""

    def chunks(self, position: int) -> Iterator[FrameChunk]:
        """Give the chunks of the stimulus at a position; to be asked for in order, each once and to its end.

        A chunk need not outlast the next one. Raises StimulusError if the stimulus is broken: chunks given before are
        to be thrown away.
        """


class Prefetcher(AbstractContextManager["Prefetcher"]):
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
        self._futures = [
            self._executor.submit(self._decode, stimulus, waiting)
            for stimulus, waiting in zip(stimuli, self._queues, strict=True)
        ]

    def __exit__(self, *_exception: object) -> None:
        """Stop the threads and wait for them."""
        self._stopped.set()
        self._executor.shutdown(cancel_futures=True)

    def chunks(self, position: int) -> Iterator[FrameChunk]:
        """Give the chunks of a stimulus; see `FrameSource`."""
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


class _Process:
    """A decoding process, its pipe and its ring of slots."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        size = _SLOT_BYTES * _SLOTS
        with _nameless_file(size) as file:
            self.memory = mmap.mmap(file.fileno(), size)
            self.room = context.Semaphore(_SLOTS)
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(
                target=_work, args=(theirs, DupFd(file.fileno()), self.room), daemon=True, name="decode"
            )
            self.process.start()
        theirs.close()
        self._next = 0

    def receive(self) -> Iterator[FrameChunk]:
        """Give the chunks of the next stimulus; a chunk's frames are there until the next is asked for."""
        while True:
            try:
                received = self.pipe.recv()
            except EOFError as error:
                raise ExecutionError(
                    "a decoding process died (killed, or out of memory); run the same command again, with fewer "
                    "workers if memory was short"
                ) from error
            if isinstance(received, VoxelcastError):
                raise received
            if received is None:
                return
            if isinstance(received, FrameChunk):  # frames that are too large for a slot
                yield received
                continue
            shape, indices, times = received
            frames = np.frombuffer(self.memory, np.uint8, int(np.prod(shape)), self._next * _SLOT_BYTES).reshape(shape)
            self._next = (self._next + 1) % _SLOTS
            try:
                yield FrameChunk(frames, indices, times)
            finally:
                self.room.release()


class DecodeProcesses:
    """Processes, each of which holds 32 MiB of frames, that decode lists of stimuli, one list after the other."""

    def __init__(self, n: int) -> None:
        self._processes = [_Process() for _ in range(n)]

    def begin(self, stimuli: Sequence[Stimulus], sampling: FrameSampling, *, chunk: int) -> None:
        """Have the processes decode a list of stimuli, at most ``chunk`` frames at a time."""
        n = len(self._processes)
        for first, worker in enumerate(self._processes):
            worker.pipe.send((tuple(stimuli[first::n]), sampling, chunk))

    def chunks(self, position: int) -> Iterator[FrameChunk]:
        """Give the chunks of a stimulus, see `FrameSource`; raises ExecutionError if the process died."""
        return self._processes[position % len(self._processes)].receive()

    def end(self) -> None:
        """End the processes."""
        for worker in self._processes:
            worker.process.terminate()
        for worker in self._processes:
            worker.process.join()
            worker.pipe.close()


@contextmanager
def decoding(
    stimuli: Sequence[Stimulus], sampling: FrameSampling, *, chunk: int, workers: int
) -> Iterator[DecodeProcesses]:
    """Decode a list of stimuli in processes that are kept for the next list, unless this one was not read to its end.

    Starting processes takes a second, which otherwise every step of an experiment would pay. Their number stays that of
    the first call until they are ended.
    """
    processes = _KEPT.pop() if _KEPT else DecodeProcesses(workers)
    whole = False
    try:
        processes.begin(stimuli, sampling, chunk=chunk)
        yield processes
        whole = True
    finally:
        if whole and not _KEPT:
            _KEPT.append(processes)
        else:
            processes.end()


_KEPT: list[DecodeProcesses] = []


def _nameless_file(size: int) -> IO[bytes]:
    """Open memory that other processes can map and that is gone with the last of them, however they end."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("voxelcast-frames"), "r+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    file.truncate(size)
    return file


def _work(pipe: Connection, shared: Any, room: Any) -> None:
    """Decode what is asked for until nobody asks any more: what a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(shared.detach(), "r+b") as file:
        memory = mmap.mmap(file.fileno(), _SLOT_BYTES * _SLOTS)
    slot = 0
    try:
        while True:
            stimuli, sampling, size = pipe.recv()
            for stimulus in stimuli:
                try:
                    for chunk in iter_frames(stimulus, sampling, chunk=size):
                        for part in _fitting(chunk):
                            slot = _hand_over(part, slot, memory, pipe, room)
                except VoxelcastError as error:
                    pipe.send(error)
                else:
                    pipe.send(None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the process that wanted frames is gone


def _fitting(chunk: FrameChunk) -> Iterator[FrameChunk]:
    """Cut a chunk so that each part fits into a slot, if a frame does."""
    for part in blocks(len(chunk.frames), chunk.frames[0].nbytes, _SLOT_BYTES):
        yield FrameChunk(chunk.frames[part], chunk.indices[part], chunk.times[part])


def _hand_over(chunk: FrameChunk, slot: int, memory: mmap.mmap, pipe: Connection, room: Any) -> int:
    """Put frames into a slot when there is room and say so; return the next slot."""
    if chunk.frames.nbytes > _SLOT_BYTES:
        pipe.send(chunk)
        return slot
    while not room.acquire(timeout=_PATIENCE_OF_PROCESSES):
        parent = multiprocessing.parent_process()
        if parent is None or not parent.is_alive():
            raise EOFError
    there = np.frombuffer(memory, np.uint8, chunk.frames.nbytes, slot * _SLOT_BYTES)
    there[:] = chunk.frames.reshape(-1)
    pipe.send((chunk.frames.shape, chunk.indices, chunk.times))
    return (slot + 1) % _SLOTS
