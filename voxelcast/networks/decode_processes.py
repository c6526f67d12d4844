"""Decode stimuli ahead of the network in processes, for devices that take frames faster than threads can make them.

Frames come back through memory that is shared with each process, in a ring of slots; only their shapes, indices and
times go through a pipe. Stimulus ``i`` of a list is decoded by process ``i`` modulo the number of processes, each in
the order of the list, so that the stimulus that is due next never waits for room that later ones take.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from voxelcast.core.arrays import ByteArray, FloatArray, IntArray
from voxelcast.core.errors import ExecutionError, VoxelcastError
from voxelcast.stimuli.decode import FrameChunk, iter_frames
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

_SLOT_BYTES = 8 << 20
_SLOTS = 4
_PATIENCE = 1.0  # seconds between looks at whether the process that wants frames is still there


@dataclass(frozen=True)
class _Work:
    """What a process is to decode, in order."""

    stimuli: tuple[Stimulus, ...]
    sampling: FrameSampling
    chunk: int


@dataclass(frozen=True)
class _Filled:
    """What is in the next slot, or the frames themselves where they are too large for one."""

    shape: tuple[int, ...]
    indices: IntArray
    times: FloatArray
    frames: ByteArray | None = None


@dataclass(frozen=True)
class _File:
    fileno: int

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self.fileno)


class _Process:
    """A decoding process, its pipe and its ring of slots."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        size = _SLOT_BYTES * _SLOTS
        with _nameless_file(size) as descriptor:
            self.memory = mmap.mmap(descriptor.fileno, size)
            self.room = context.Semaphore(_SLOTS)
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(
                target=_work, args=(theirs, DupFd(descriptor.fileno), self.room), daemon=True, name="decode"
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
            if received.frames is not None:
                yield FrameChunk(received.frames, received.indices, received.times)
                continue
            offset = self._next * _SLOT_BYTES
            frames = np.frombuffer(self.memory, np.uint8, int(np.prod(received.shape)), offset).reshape(received.shape)
            self._next = (self._next + 1) % _SLOTS
            try:
                yield FrameChunk(frames, received.indices, received.times)
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
            worker.pipe.send(_Work(tuple(stimuli[first::n]), sampling, chunk))

    def chunks(self, position: int) -> Iterator[FrameChunk]:
        """Give the chunks of a stimulus; see `voxelcast.networks.device_frames.FrameSource`.

        Raises ExecutionError if the process died.
        """
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


def _nameless_file(size: int) -> _File:
    """Open memory that other processes can map and that is gone with the last of them, however they end."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("voxelcast-frames")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return _File(descriptor)


def _work(pipe: Connection, shared: Any, room: Any) -> None:
    """Decode what is asked for until nobody asks any more: what a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _File(shared.detach()) as descriptor:
        memory = mmap.mmap(descriptor.fileno, _SLOT_BYTES * _SLOTS)
    slot = 0
    try:
        while True:
            work: _Work = pipe.recv()
            for stimulus in work.stimuli:
                try:
                    for chunk in iter_frames(stimulus, work.sampling, chunk=work.chunk):
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
    size = max(1, _SLOT_BYTES // chunk.frames[0].nbytes)
    for start in range(0, len(chunk.frames), size):
        part = slice(start, start + size)
        yield FrameChunk(chunk.frames[part], chunk.indices[part], chunk.times[part])


def _hand_over(chunk: FrameChunk, slot: int, memory: mmap.mmap, pipe: Connection, room: Any) -> int:
    """Put frames into a slot when there is room and say so; return the next slot."""
    if chunk.frames.nbytes > _SLOT_BYTES:
        pipe.send(_Filled(chunk.frames.shape, chunk.indices, chunk.times, chunk.frames))
        return slot
    while not room.acquire(timeout=_PATIENCE):
        parent = multiprocessing.parent_process()
        if parent is None or not parent.is_alive():
            raise EOFError
    there = np.frombuffer(memory, np.uint8, chunk.frames.nbytes, slot * _SLOT_BYTES)
    there[:] = chunk.frames.reshape(-1)
    pipe.send(_Filled(chunk.frames.shape, chunk.indices, chunk.times))
    return (slot + 1) % _SLOTS
