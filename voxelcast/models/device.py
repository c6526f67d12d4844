"""Where a model computes: NumPy on a CPU, torch elsewhere; one thread on a CPU, so that sums have one order."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from voxelcast.core.arrays import device_bytes, put, to_numpy


@dataclass(frozen=True)
class Device:
    """A device by torch's name, e.g. ``"cpu"`` or ``"cuda"``; arrays are ndarrays on a CPU and tensors elsewhere."""

    name: str = "cpu"

    @property
    def kind(self) -> str:
        """``"cpu"`` or ``"gpu"``."""
        return "cpu" if self.name == "cpu" else "gpu"

    @property
    def memory(self) -> int:
        """Bytes that a GPU has."""
        return device_bytes(self.name)

    def put(self, array: NDArray[Any], *, half: bool = False) -> Any:
        """Put an array there; ``half``: in single precision what has half."""
        if self.kind == "cpu":
            return array.astype(np.float32) if half else array
        there: Any = put(array, self.name)
        return there.float() if half else there

    def numpy(self, values: Any) -> NDArray[Any]:
        """Bring values to main memory."""
        return to_numpy(values)

    def tensor(self, values: NDArray[Any] | Any) -> Any:
        """Return values as a tensor there."""
        import torch

        return torch.from_numpy(np.require(values, requirements=["C", "W"])) if self.kind == "cpu" else values

    def of_tensor(self, values: Any) -> Any:
        """Return a tensor as what values are there."""
        return values.numpy() if self.kind == "cpu" else values

    def half(self, values: Any) -> Any:
        """Return values in half precision."""
        return values.astype(np.float16, copy=False) if self.kind == "cpu" else values.half()

    def single(self, values: Any) -> Any:
        """Return values in single precision."""
        return values.astype(np.float32, copy=False) if self.kind == "cpu" else values.float()

    def double(self, values: Any) -> Any:
        """Return values in double precision."""
        return values.astype(np.float64, copy=False) if self.kind == "cpu" else values.double()

    def over_time(self, weights: Any, values: Any) -> Any:
        """Weigh the time steps of values (n, n_times, n_units) and add them: (n, n_units)."""
        if self.kind == "cpu":
            return np.tensordot(weights, values.astype(np.float64), axes=(0, 1))
        return (weights[:, None] * values.double()).sum(dim=1)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Compute on one thread of a CPU, as the steps of a run do; elsewhere without reduced precision."""
        torch: Any = sys.modules.get("torch")
        if self.kind != "cpu":
            import torch

            allowed = torch.backends.cuda.matmul.allow_tf32
            torch.backends.cuda.matmul.allow_tf32 = False
            try:
                yield
            finally:
                torch.backends.cuda.matmul.allow_tf32 = allowed
            return
        threads = torch.get_num_threads() if torch else 1
        with threadpool_limits(1):
            if torch:
                torch.set_num_threads(1)
            try:
                yield
            finally:
                if torch:
                    torch.set_num_threads(threads)
