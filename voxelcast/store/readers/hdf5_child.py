"""What the process runs that reads HDF5 for `voxelcast.store.readers.hdf5`: it may crash, and takes nothing with it.

It is started as a script, by itself. A request is a line of JSON, ``[what, path, ...]``; the answer is a line of JSON
and, of values, their bytes. Every path stays open until another is asked for.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

_BLOCK_BYTES = 16 * 2**20


def names(file: Any) -> list[str]:
    """List what lies at the root."""
    return list(file)


def facts(file: Any, name: str) -> dict[str, Any] | None:
    """Describe what is at a name: whether the file itself holds it, what it is, and how much of it was written."""
    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        return {"link": True}
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        return {"link": False, "class": type(item).__name__.lower()}
    size = int(item.size or 0)
    text, reference = h5py.check_string_dtype(item.dtype), h5py.check_ref_dtype(item.dtype)
    kind = "text" if text is not None and text.length is None else "reference" if reference is not None else "plain"
    return {
        "link": False,
        "class": "dataset",
        "elsewhere": bool(item.external or item.is_virtual),
        "shape": list(item.shape or ()),
        "dtype": item.dtype.str if kind == "plain" and item.dtype.names is None else "",
        "kind": kind,
        "bytes": size * item.dtype.itemsize,
        "stored": int(item.id.get_storage_size()),
        "chunks": list(item.chunks) if item.chunks and size else None,
        "n_chunks": int(item.id.get_num_chunks()) if item.chunks and size else 0,
        "matlab": str(np.bytes_(item.attrs.get("MATLAB_class", b"")).decode("latin-1")),
    }


def targets(file: Any, name: str) -> list[str]:
    """Name what the references of a dataset point to, in the order in which they are stored."""
    return [str(file[reference].name) for reference in np.asarray(file[name][()]).ravel()]


def texts(file: Any, name: str) -> list[str]:
    """Return text of any length, each as the hexadecimal digits of its bytes."""
    return [bytes(item).hex() for item in np.asarray(file[name][()]).ravel()]


def send_rows(file: Any, name: str, start: int, stop: int) -> None:
    """Write the bytes of some rows, or of all that a number alone is, in C order, some whole chunks at a time."""
    dataset = file[name]
    if not dataset.shape:
        _send(np.asarray(dataset[()]))
        return
    chunk = dataset.chunks[0] if dataset.chunks else 1
    row = max(dataset.dtype.itemsize * int(np.prod(dataset.shape[1:])), 1)
    step = max(_BLOCK_BYTES // (row * chunk), 1) * chunk
    while start < stop:
        end = min(start - start % chunk + step, stop)
        _send(dataset[start:end])
        start = end


def _send(values: Any) -> None:
    if values.nbytes:
        _write({"bytes": values.nbytes})
        sys.stdout.buffer.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def serve() -> None:
    """Answer requests until there are no more."""
    answers: dict[str, Callable[..., Any]] = {
        "names": names,
        "facts": facts,
        "targets": targets,
        "texts": texts,
        "rows": send_rows,
    }
    opened: dict[str, Any] = {}
    for line in sys.stdin.buffer:
        what, path, *arguments = json.loads(line)
        try:
            if path not in opened or what == "close":
                for file in opened.values():
                    file.close()
                opened.clear()
            if what == "close":
                _write({"answer": None})
                continue
            if not opened:
                opened[path] = h5py.File(path, "r", locking=False)
            _write({"answer": answers[what](opened[path], *arguments)})
        except Exception as error:
            _write({"error": str(error) or type(error).__name__})


def _write(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
