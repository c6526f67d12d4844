"""HDF5 files: data that lie in the file itself and were all written; links and storage elsewhere are refused.

The HDF5 library may crash over a damaged file, so it runs in a process of its own, which sends values as plain bytes.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from math import ceil, prod
from pathlib import Path
from threading import Lock, Timer
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import DataError, UnsafeFileError
from voxelcast.store.readers.guard import FREE_BYTES, MOST_RATIO, check_claim, check_file, reading

_SCRIPT = Path(__file__).with_name("hdf5_child.py")
_KINDS: Final = "biufcS"
_SECONDS = 60.0


class _Child:
    """The process that reads; it serves one request at a time, and ends with this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, request: list[Any], size: int, into: NDArray[Any] | None = None) -> Any:
        """Send a request about a file of ``size`` bytes and return the answer; values are read ``into`` an array.

        Raises OSError for what the library finds wrong, or where it crashes or takes for ever.
        """
        timer = Timer(_SECONDS + size / 1e6, self._process.kill)
        timer.daemon = True
        with self._lock:
            timer.start()
            try:
                return self._answer(request, 2 * max(FREE_BYTES, MOST_RATIO * size), into)
            except (EOFError, BrokenPipeError):
                self.end()
                raise OSError("reading it does not end" if timer.finished.is_set() else self._how()) from None
            except _Refused:
                raise
            except (ValueError, TypeError, KeyError) as error:
                self.end()
                raise OSError("damaged: reading it ends in no answer") from error
            except BaseException:
                self.end()  # what is left of its answer must not be taken for the next one
                raise
            finally:
                timer.cancel()

    def _how(self) -> str:
        code = self._process.returncode
        return (
            f"damaged: reading it ends a process by signal {-code}"
            if code < 0
            else "damaged: reading it ended too early"
        )

    def _answer(self, request: list[Any], most: int, into: NDArray[Any] | None) -> Any:
        given, taken = self._process.stdin, cast(BufferedReader, self._process.stdout)
        assert given is not None
        given.write(json.dumps(request).encode() + b"\n")
        given.flush()
        left = memoryview(b"") if into is None else into.reshape(-1).view(np.uint8).data
        while True:
            line = taken.readline(most)
            if not line.endswith(b"\n"):
                raise EOFError
            answer = json.loads(line)
            if "error" in answer:
                raise _Refused(answer["error"])
            if "answer" in answer:
                if len(left):
                    raise EOFError
                return answer["answer"]
            n = int(answer["bytes"])
            if not 0 < n <= len(left):
                raise EOFError
            while n:
                done = taken.readinto(left[:n])
                if not done:
                    raise EOFError
                left, n = left[done:], n - done

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


class _Refused(OSError):
    """What the library finds wrong with a file, having read to the end of its request."""


_children: dict[int, _Child] = {}  # by the process that they belong to: one that was forked needs its own
_starting = Lock()


def _child() -> _Child:
    with _starting:
        child = _children.get(os.getpid())
        if child is None or child.ended:
            child = _children[os.getpid()] = _Child()
        return child


@atexit.register
def _end() -> None:
    if child := _children.get(os.getpid()):
        child.end()


@dataclass(frozen=True)
class Hdf5File:
    """An HDF5 file that another process reads."""

    path: Path
    size: int

    def ask(self, what: str, *arguments: Any, into: NDArray[Any] | None = None) -> Any:
        """Ask the process that reads; see `voxelcast.store.readers.hdf5_child`."""
        return _child().ask([what, str(self.path.resolve()), *arguments], self.size, into)

    def names(self) -> list[str]:
        """List what lies at the root."""
        return [str(name) for name in self.ask("names")]

    def holds(self, name: str) -> bool:
        """Whether there is something of that name, be it a link."""
        return self.ask("facts", name) is not None


@dataclass(frozen=True)
class Hdf5Array:
    """A dataset that lies in the file itself and was written whole.

    Parameters
    ----------
    dtype : dtype or None
        Of numbers and of text of one length; None for text of any length and references.
    matlab_class : str
        What MATLAB says it is, e.g. ``"char"``; else empty.
    """

    file: Hdf5File
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    is_reference: bool
    matlab_class: str

    def read(self, rows: range | None = None) -> NDArray[Any]:
        """Read all, or some rows that follow each other; text of any length as byte strings."""
        if self.is_reference:
            raise DataError(
                f"{self.name!r} in {self.file.path} must be numbers or text; got references to other arrays"
            )
        if self.dtype is None:
            items = [bytes.fromhex(item) for item in self.file.ask("texts", self.name)]
            whole = np.array(items, dtype=np.object_).reshape(self.shape)
            return whole if rows is None else whole[rows.start : rows.stop]
        n = self.shape[0] if self.shape else 1
        start, stop = (0, n) if rows is None else (min(rows.start, n), min(rows.stop, n))
        shape = (max(stop - start, 0), *self.shape[1:]) if self.shape else ()
        values = np.empty(shape, dtype=self.dtype)
        if values.size:
            self.file.ask("rows", self.name, start, stop, into=values)
        return values

    def targets(self) -> list[str]:
        """Name the datasets that references point to."""
        return [str(name) for name in self.file.ask("targets", self.name)]


@contextmanager
def opened_hdf5(path: Path, what: str, remedy: str = "get or write it again", kind: str = "HDF5") -> Iterator[Hdf5File]:
    """Open an HDF5 file for reading; what goes wrong inside the block is one line. See `dataset_of`."""
    check_file(path, what, remedy)
    with reading(path, kind, remedy):
        file = Hdf5File(path, path.stat().st_size)
        file.ask("close")  # what another file of that name held
        yield file
        file.ask("close")


def dataset_of(file: Hdf5File, name: str) -> Hdf5Array:
    """Find the dataset of a name.

    Raises DataError where it is none, or parts of it were never written and would be read as 0; UnsafeFileError where
    it lies elsewhere (a link, external or virtual storage) or claims far more than there is.
    """
    shown, facts = f"{name!r} in {file.path}", file.ask("facts", name)
    if facts is None:
        raise DataError(f"{shown} is not there")
    if facts["link"]:
        raise UnsafeFileError(f"{shown} is a link; only data in the file itself are read; copy them into it")
    if facts["class"] != "dataset":
        raise DataError(f"{shown} must be an array; got a {facts['class']}")
    if facts["elsewhere"]:
        raise UnsafeFileError(f"{shown} lies in another file; only data in the file itself are read; copy them into it")
    check_claim(shown, facts["bytes"], min(facts["stored"], file.size))
    shape = tuple(int(n) for n in facts["shape"])
    if facts["chunks"] is not None:
        n_chunks, there = (
            prod(ceil(n / chunk) for n, chunk in zip(shape, facts["chunks"], strict=True)),
            facts["n_chunks"],
        )
    else:
        n_chunks, there = int(bool(facts["bytes"])), int(bool(facts["stored"]))
    if there < n_chunks:
        raise DataError(f"{shown} was not written whole ({there} of {n_chunks} parts are there); write it again")
    dtype = np.dtype(facts["dtype"] or "V") if facts["kind"] == "plain" else None
    if dtype is not None and (dtype.kind not in _KINDS or prod(shape) * dtype.itemsize != facts["bytes"]):
        raise DataError(f"{shown} must be numbers or text; got {dtype}")
    return Hdf5Array(file, name, shape, dtype, facts["kind"] == "reference", facts["matlab"])


def read_hdf5(path: Path, what: str, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read the named arrays that are there; raises as `dataset_of`."""
    with opened_hdf5(path, what, kind=path.suffix) as file:
        return {name: dataset_of(file, name).read() for name in names if file.holds(name)}
