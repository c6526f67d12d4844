"""HDF5 files: data that lie in the file itself and were all written; links and storage elsewhere are refused."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import DataError, UnsafeFileError
from voxelcast.store.readers.guard import FREE_BYTES, MOST_RATIO, check_claim, check_file, reading


@contextmanager
def opened_hdf5(path: Path, what: str, remedy: str = "get or write it again", kind: str = "HDF5") -> Iterator[Any]:
    """Open an HDF5 file for reading; what goes wrong inside the block is one line. See `dataset_of`."""
    import h5py

    check_file(path, what, remedy)
    with reading(path, kind, remedy):
        facts = path.stat()
        if multiprocessing.parent_process() is None:  # for a worker, the process that drives has looked
            _check_survived(path.resolve(), facts.st_mtime_ns, facts.st_size)
        with h5py.File(path, "r", locking=False) as file:
            yield file


_LOOK = """
import sys, h5py
most = int(sys.argv[2])
def look(name, item):
    if isinstance(item, h5py.Dataset) and item.size and not item.external and not item.is_virtual:
        if item.size * item.dtype.itemsize <= most:
            for start in range(0, len(item) if item.shape else 1, 1000):
                item[start : start + 1000] if item.shape else item[()]
with h5py.File(sys.argv[1], "r", locking=False) as file:
    file.visititems(look)
"""


@lru_cache(maxsize=256)
def _check_survived(path: Path, mtime_ns: int, size: int) -> None:
    """Read a file in a process of its own: what is damaged can end the process that the HDF5 library is in.

    Raises OSError for a file that does so, or takes for ever; whatever else is wrong is said when it is read here.
    """
    command = [sys.executable, "-I", "-c", _LOOK, str(path), str(max(FREE_BYTES, MOST_RATIO * size))]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=60 + size / 1e6)
    except subprocess.TimeoutExpired:
        raise OSError("reading it does not end") from None
    if done.returncode < 0:
        raise OSError(f"damaged: reading it ends a process by signal {-done.returncode}")


def dataset_of(file: Any, name: str) -> Any:
    """Find the dataset of a name.

    Raises DataError where it is none, or parts of it were never written and would be read as 0; UnsafeFileError where
    it lies elsewhere (a link, external or virtual storage) or claims far more than there is.
    """
    import h5py

    shown = f"{name!r} in {file.filename}"
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise UnsafeFileError(f"{shown} is a link; only data in the file itself are read; copy them into it")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{shown} must be an array; got a {type(dataset).__name__.lower()}")
    if dataset.external or dataset.is_virtual:
        raise UnsafeFileError(f"{shown} lies in another file; only data in the file itself are read; copy them into it")
    check_claim(shown, dataset.size * dataset.dtype.itemsize if dataset.size else 0, dataset.id.get_storage_size())
    if dataset.size and dataset.chunks:
        n_chunks = prod(ceil(n / chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        there = dataset.id.get_num_chunks()
    else:
        n_chunks, there = int(bool(dataset.size)), int(bool(dataset.id.get_storage_size()))
    if there < n_chunks:
        raise DataError(f"{shown} was not written whole ({there} of {n_chunks} parts are there); write it again")
    return dataset


def read_hdf5(path: Path, what: str, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Read the named arrays that are there; raises as `dataset_of`."""
    with opened_hdf5(path, what, kind=path.suffix) as file:
        return {name: np.asarray(dataset_of(file, name)) for name in names if file.get(name, getlink=True) is not None}
