"""Names of the array types that pass between rooms, blocks of large arrays, and the seam between NumPy and torch.

The algebra of linear models takes ndarrays, or torch tensors of double precision where it is done on a GPU: functions
use the `namespace` of what they are given, so there is one copy of each solver. What the two libraries call by other
names is here. Where the algebra says `FloatArray`, a tensor may stand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import OptionError

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]

_GPU_BYTES = 2**28
_STAGE_BYTES = 2**26


def blocks(n: int, each_bytes: int, most_bytes: int) -> Iterator[slice]:
    """Divide n items of ``each_bytes`` into slices of at most ``most_bytes``, at least one item in each."""
    size = max(1, most_bytes // max(each_bytes, 1))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def on_cpu(array: Any) -> bool:
    """Whether an array is NumPy's."""
    return isinstance(array, np.ndarray)


def namespace(array: Any) -> Any:
    """Return the library of an array, ``numpy`` or ``torch``."""
    return np if isinstance(array, np.ndarray) else sys.modules["torch"]


def put(array: FloatArray, device: str) -> FloatArray:
    """Put an ndarray on a device by torch's name, as a tensor; ``"cpu"`` leaves it as it is.

    Raises OptionError where this machine does not have the device.

    Examples
    --------
    >>> type(put(np.zeros(3), "cpu")).__name__, type(put(np.zeros(3), "cpu:0")).__name__
    ('ndarray', 'Tensor')
    """
    if device == "cpu":
        return array
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise OptionError(f"device {device!r} is not there: torch finds no CUDA device; set device to cpu")
    here = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    if not device.startswith("cuda") or array.nbytes < 4 * _STAGE_BYTES:
        return here.clone() if device.startswith("cpu") else here.to(device)  # type: ignore[return-value]
    # By way of memory that cannot be paged out, of which one half is filled while the other is on its way.
    there, flat = torch.empty(here.shape, dtype=here.dtype, device=device), here.reshape(-1)
    stages = [torch.empty(_STAGE_BYTES // here.itemsize, dtype=here.dtype, pin_memory=True) for _ in range(2)]
    ready: list[Any] = [torch.cuda.Event() for _ in stages]  # type: ignore[no-untyped-call]
    for number, part in enumerate(blocks(flat.numel(), here.itemsize, _STAGE_BYTES)):
        ready[number % 2].synchronize()
        stage = stages[number % 2][: len(flat[part])]
        stage.copy_(flat[part])
        there.view(-1)[part].copy_(stage, non_blocking=True)
        ready[number % 2].record()
    return there  # type: ignore[return-value]


def device_bytes(device: str) -> int:
    """Return the memory of a device by torch's name; of a CPU, 16 GiB are taken for granted."""
    if not device.startswith("cuda"):
        return 2**34
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory)


def to_numpy(array: Any) -> NDArray[Any]:
    """Bring an array to main memory."""
    return array if isinstance(array, np.ndarray) else np.asarray(array.cpu().numpy())


def like(array: Any, other: Any) -> Any:
    """Bring an array to where another one is."""
    if on_cpu(other):
        return to_numpy(array)
    if not on_cpu(array):
        return array.to(other.device)
    return namespace(other).tensor(np.ascontiguousarray(array), device=other.device)  # torch knows no negative strides


def zeros(shape: tuple[int, ...], other: Any, dtype: Any = None) -> Any:
    """Return zeros where another array is, of its type, or of ``bool`` or ``float``, which is double precision."""
    if on_cpu(other):
        return np.zeros(shape, dtype or other.dtype)
    xp = namespace(other)
    return other.new_zeros(shape, dtype={None: other.dtype, bool: xp.bool, float: xp.float64}[dtype])


def column_products(A: Any, B: Any) -> Any:
    """Return sum_i A_ij B_ij of each column j, of matrices or stacks of them."""
    return np.einsum("...ij,...ij->...j", A, B) if on_cpu(A) else (A * B).sum(-2)


def column_norms(A: Any) -> Any:
    """Return the length of each column."""
    return np.linalg.norm(A, axis=0) if on_cpu(A) else namespace(A).linalg.vector_norm(A, dim=0)


def deviations(A: Any) -> Any:
    """Return the standard deviation of each column."""
    return A.std(axis=0) if on_cpu(A) else A.std(dim=0, correction=0)


def contiguous(A: Any) -> Any:
    """Return an array whose last dimension is contiguous; a GPU's library sees to that itself."""
    return np.ascontiguousarray(A) if on_cpu(A) else A


def double(array: Any) -> Any:
    """Return an array, or what NumPy makes one of, in double precision; the same where it is so already."""
    return array.double() if hasattr(array, "double") else np.asarray(array, dtype=np.float64)


def single(array: Any) -> Any:
    """Return an array in single precision."""
    return array.astype(np.float32) if on_cpu(array) else array.float()


def products(A: Any, B: Any) -> Any:
    """Return A'B in double precision, of stacks too; where B is in single precision, the products are, too."""
    return A.mT @ B if B.itemsize == 8 else double(single(A).mT @ B)


def triangle(A: Any) -> Any:
    """Return R of the QR decomposition of a matrix."""
    return np.linalg.qr(A, mode="r") if on_cpu(A) else namespace(A).linalg.qr(A, mode="r")[1]


def nonzero(A: Any) -> tuple[Any, ...]:
    """Return the places where an array is not 0, an array of each dimension."""
    return np.nonzero(A) if on_cpu(A) else A.nonzero(as_tuple=True)


def block_bytes(array: Any, cached: int) -> int:
    """Return how many bytes to work on at a time: ``cached`` on a CPU, which stay in its cache, and 2 GiB on a GPU."""
    return cached if on_cpu(array) else _GPU_BYTES
