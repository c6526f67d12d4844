"""Pooling over time: the activations of a stimulus' frames become one feature vector.

A pool is fed chunk by chunk, so that a whole clip's activations are never held. What it returns does not depend on
where the chunks were cut (to 1e-6 relative). Chunks are NumPy arrays or torch tensors on any device; this room does
not import torch, it only calls what both kinds of array offer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import lru_cache, partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.core.registry import Registry
from voxelcast.features.hrf import KERNELS, DoubleGamma, Kernel, MeasuredResponse, parse_parameters, parse_response


class TemporalPool(ABC):
    """Reduces the activations of one layer to one stimulus over time; made anew for each stimulus and layer."""

    @abstractmethod
    def update(self, chunk: Any, times: FloatArray) -> None:
        """Take in the next stretch of activations.

        Parameters
        ----------
        chunk : ndarray or tensor of shape (n_times, ...)
            Activations, in the order of time; every chunk has the same trailing shape, or ShapeError is raised.
        times : ndarray of shape (n_times,)
            When each was shown, in seconds from the stimulus' start.
        """

    @abstractmethod
    def pooled(self) -> Any:
        """Return what is left after time where it was computed: a tensor on its device or an ndarray, not flattened.

        Raises DataError if nothing was taken in.
        """

    keeps_time: ClassVar[bool] = False
    """Whether features are there of every time step."""

    def features(self) -> Any:
        """Return the features where they were computed: float32, (n_features,), or (n_times, n_features) with time.

        They are what is left of each time step's axes, flattened in C order.
        """
        pooled = self.pooled()
        flat = pooled.reshape((len(pooled), -1) if self.keeps_time else (-1,))
        return flat.astype(np.float32) if isinstance(flat, np.ndarray) else flat.float()

    def result(self) -> FloatArray:
        """Return the features in main memory."""
        features = self.features()
        return features if isinstance(features, np.ndarray) else np.asarray(features.cpu())

    def content(self) -> object:
        """Return what determines the features where the pool's name does not."""
        return None


POOLS: Registry[Callable[..., TemporalPool]] = Registry("pool", "voxelcast.pools")
PoolT = TypeVar("PoolT", bound=Callable[..., TemporalPool])


def register_pool(name: str) -> Callable[[PoolT], PoolT]:
    """Return a decorator that enters a pool over time: a `TemporalPool`, or a function that makes one.

    Of ``"name(...)"`` the function takes the text in the brackets. Raises OptionError if the name is taken.

    Examples
    --------
    >>> import voxelcast as vc
    >>> from voxelcast.features.pooling import TemporalPool, list_pools
    >>> @vc.register_pool("last")
    ... class LastPool(TemporalPool):
    ...     def update(self, chunk, times):
    ...         self.chunk = chunk
    ...
    ...     def pooled(self):
    ...         return self.chunk[-1]
    >>> list_pools("last")
    ('last',)
    """
    return POOLS.register(name)


@register_pool("mean")
class MeanPool(TemporalPool):
    """The mean over time.

    A chunk is summed in single precision where it is a tensor, on its device, reading it once; sums of chunks are added
    in double precision.
    """

    def __init__(self) -> None:
        self._total: Any = None
        self._n_times = 0

    def update(self, chunk: Any, times: FloatArray) -> None:
        """Add a chunk of shape (n_times, ...) to the sum."""
        _check_times(chunk, times)
        total = chunk.sum(0, dtype=np.float64) if isinstance(chunk, np.ndarray) else _reduce(chunk, _sum)
        if self._total is not None:
            _check_shape(total, self._total)
        self._total = total if self._total is None else _double(self._total) + total
        self._n_times += len(chunk)

    def pooled(self) -> Any:
        """Return the mean, of the shape of one time."""
        _check_fed(self._n_times)
        return self._total if self._n_times == 1 else self._total / self._n_times


@register_pool("max")
class MaxPool(TemporalPool):
    """The largest value over time; exact, whatever the order and the chunks."""

    def __init__(self) -> None:
        self._largest: Any = None

    def update(self, chunk: Any, times: FloatArray) -> None:
        """Compare a chunk of shape (n_times, ...) with what was largest so far."""
        _check_times(chunk, times)
        largest = chunk.max(0) if isinstance(chunk, np.ndarray) else _reduce(chunk, lambda values: values.amax(0))
        if self._largest is not None:
            _check_shape(largest, self._largest)
            both = (largest, self._largest)
            largest = np.maximum(*both) if isinstance(largest, np.ndarray) else largest.maximum(self._largest)
        self._largest = largest

    def pooled(self) -> Any:
        """Return the maximum, of the shape of one time."""
        _check_fed(0 if self._largest is None else 1)
        return self._largest


@register_pool("std")
class StdPool(TemporalPool):
    r"""The standard deviation over time (over n, so that one frame gives 0).

    Count, mean and sum of squared deviations of two stretches combine to those of both,

        d = mean_b - mean_a,    mean = mean_a + d n_b / n,    M = M_a + M_b + d^2 n_a n_b / n,    std = sqrt(M / n),

    in double precision, so that a large mean costs no digits [1]_.

    References
    ----------
    .. [1] Chan, T. F., Golub, G. H. & LeVeque, R. J. (1983). Algorithms for computing the sample variance. Am. Stat.
       37, 242-247. https://doi.org/10.1080/00031305.1983.10483115
    """

    def __init__(self) -> None:
        self._n_times = 0
        self._mean: Any = None
        self._squares: Any = None

    def update(self, chunk: Any, times: FloatArray) -> None:
        """Combine a chunk of shape (n_times, ...) with what came before."""
        _check_times(chunk, times)
        values = chunk.astype(np.float64) if isinstance(chunk, np.ndarray) else chunk.double()
        n = len(values)
        mean = values.mean(0)
        squares = ((values - mean) ** 2).sum(0)
        if self._n_times:
            _check_shape(mean, self._mean)
            total = self._n_times + n
            gap = mean - self._mean
            squares = squares + self._squares + gap**2 * (self._n_times * n / total)
            mean = self._mean + gap * (n / total)
        self._n_times, self._mean, self._squares = self._n_times + n, mean, squares

    def pooled(self) -> Any:
        """Return the standard deviation, of the shape of one time."""
        _check_fed(self._n_times)
        return (self._squares / self._n_times) ** 0.5


class KeepingPool(TemporalPool):
    """Keeps all activations of a stimulus: ``4 * n_times * n_features`` bytes, in main memory.

    Those that came from a GPU stay there, in the precision in which they came.
    """

    def __init__(self) -> None:
        self._chunks: list[Any] = []
        self._times: list[FloatArray] = []
        self._in_main_memory = False

    def update(self, chunk: Any, times: FloatArray) -> None:
        """Keep a chunk of shape (n_times, ...)."""
        _check_times(chunk, times)
        # A copy: the chunk may be a view of a batch that others share.
        if getattr(chunk, "is_cuda", False) and not self._in_main_memory:
            kept = chunk.detach().clone()
        else:
            kept = np.array(chunk if isinstance(chunk, np.ndarray) else _array(chunk.float()), dtype=np.float32)
        if self._chunks:
            _check_shape(kept[0], self._chunks[0][0])
        self._chunks.append(kept)
        self._times.append(times)

    def leave_gpu(self) -> None:
        """Keep in main memory what was kept on a GPU, and what follows."""
        self._in_main_memory = True
        self._chunks = [chunk if isinstance(chunk, np.ndarray) else _array(chunk.float()) for chunk in self._chunks]

    def _kept(self) -> Any:
        _check_fed(len(self._chunks))
        if isinstance(self._chunks[0], np.ndarray):
            return np.concatenate(self._chunks)
        whole = self._chunks[0].new_empty((sum(map(len, self._chunks)), *self._chunks[0].shape[1:]))
        start = 0
        for chunk in self._chunks:
            whole[start : start + len(chunk)] = chunk
            start += len(chunk)
        return whole


def _array(values: Any) -> FloatArray:
    return np.asarray(values.detach().cpu().numpy())


@register_pool("median")
class MedianPool(KeepingPool):
    """The median over time; of an even number of times the mean of the two in the middle."""

    def pooled(self) -> Any:
        """Return the median, of the shape of one time."""
        return median_over_time(self._kept())


def median_over_time(values: Any) -> Any:
    """Return the median of values (n_times, ...), an ndarray, which is overwritten, or a tensor; NaN stays."""
    if isinstance(values, np.ndarray):
        return np.asarray(np.median(values, axis=0, overwrite_input=True))
    ordered, middle = values.sort(0).values, len(values) // 2
    median, last = ordered[middle].float(), ordered[-1].float()
    if len(values) % 2 == 0:
        median = (ordered[middle - 1].float() + median) / 2
    return median.where(~last.isnan(), last)  # NaN is last


# Of pc1 the compression fits the axis over time to training stimuli.
@register_pool("pc1")
@register_pool("none")
class TimePool(KeepingPool):
    """No pooling: the activations of every time step."""

    keeps_time = True

    def pooled(self) -> Any:
        """Return the activations, of shape (n_times, ...)."""
        return self._kept()

    def content(self) -> object:
        """Return one name for the two pools: they store the same."""
        return "none"


class BoldPool(KeepingPool):
    """What a voxel driven by the activation would show on average over the clip.

    Activations are convolved with a haemodynamic response in real seconds and averaged over the clip; see
    :meth:`voxelcast.features.hrf.Kernel.frame_weights`. Earlier frames weigh more, for their response has had
    more time.
    """

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel

    def pooled(self) -> Any:
        """Return the weighted mean, of the shape of one time."""
        kept = self._kept()
        return weigh_over_time(self._kernel.frame_weights(np.concatenate(self._times)), kept)

    def content(self) -> object:
        """Return the values of a measured response."""
        if not isinstance(self._kernel, MeasuredResponse):
            return None
        return {"times": self._kernel.times.tolist(), "values": self._kernel.values.tolist()}


def weigh_over_time(weights: FloatArray, values: Any) -> Any:
    """Return the sum over time, in double precision, of values (n_times, ...), ndarray or tensor, times weights."""
    if isinstance(values, np.ndarray):
        return np.asarray(np.tensordot(weights, values.astype(np.float64), axes=1))
    wide = values.double()
    return (wide.new_tensor(weights) @ wide.reshape(len(wide), -1)).reshape(wide.shape[1:])


def _check_times(chunk: Any, times: FloatArray) -> None:
    if len(chunk) != len(times):
        raise ShapeError(f"activations must have one time each; got {len(chunk)} activations and {len(times)} times")


def _check_shape(new: Any, earlier: Any) -> None:
    if new.shape != earlier.shape:
        raise ShapeError(
            "activations of one layer must keep their shape over a stimulus; "
            f"got {tuple(new.shape)} after {tuple(earlier.shape)}"
        )


def _check_fed(n_times: int) -> None:
    if n_times == 0:
        raise DataError("a pool needs at least one frame; got none; check the sampling of frames")


def sum_parts(chunk: Any, length: int) -> Any:
    """Sum each ``length`` neighbours along the first axis of a tensor, in single precision, where it is."""
    return _reduce(chunk.unflatten(0, (-1, length)), lambda values: _sum(values, 1), 2)


def _reduce(chunk: Any, reduction: Callable[[Any], Any], n_first: int = 1) -> Any:
    """Reduce a tensor over the last of its ``n_first`` first axes in the order in which the others lie in memory.

    Networks keep channels last in memory but second among the axes; in the axes' order the same sum takes 30 times as
    long on a CPU.
    """
    there, back = _orders(chunk.stride()[n_first:], n_first)
    return reduction(chunk.permute(there)).permute(back)


@lru_cache(maxsize=1024)
def _orders(strides: tuple[int, ...], n_first: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give the order of axes in memory, after the first, and the way back with one of the first axes less."""
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    there = (*range(n_first), *(axis + n_first for axis in order))
    back = (*range(n_first - 1), *(order.index(axis) + n_first - 1 for axis in range(len(order))))
    return there, back


def _sum(values: Any, axis: int = 0) -> Any:
    """Sum a tensor over an axis in single precision; a GPU reads half precision as it is."""
    if not values.is_cuda:
        return values.float().sum(axis)
    return values.sum(axis, dtype=values[:0].float().dtype)


def _double(values: Any) -> Any:
    return values if isinstance(values, np.ndarray) else values.double()


for _name, _kernel in KERNELS.items():
    POOLS.add(_name, partial(BoldPool, _kernel))


@register_pool("bold(...)")
def _bold(text: str) -> BoldPool:
    """Make a pool of a double-gamma response, e.g. ``bold(peak=5, under=12)``."""
    values: dict[str, float] = {}
    for name, value in parse_parameters(text, [field.name for field in fields(DoubleGamma)], "bold(...)").items():
        try:
            values[name] = float(value)
        except ValueError as error:
            raise OptionError(f"{name} of pool bold(...) must be a number; got {value!r}") from error
    return BoldPool(DoubleGamma(**values))


@register_pool("hrf(...)")
def _hrf(text: str) -> BoldPool:
    """Make a pool of a measured response, e.g. ``hrf(my_hrf.csv, column=V1)``."""
    return BoldPool(parse_response(text))


def list_pools(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the pools without parameters that match a shell pattern, sorted."""
    return tuple(name for name in POOLS.names(pattern) if not name.endswith("(...)"))


def make_pool(name: str) -> TemporalPool:
    """Make a fresh pool.

    Its name is one of :func:`list_pools`; a BOLD kernel with any of the parameters of
    `voxelcast.features.hrf.DoubleGamma`, e.g. ``"bold(peak=5, under=12)"``; or a measured response from a table, e.g.
    ``"hrf(my_hrf.csv, column=V1)"``, see `voxelcast.features.hrf.parse_response`.

    Raises UnknownNameError, which lists what there is, if there is none of that name; OptionError, DataError or
    MissingFileError if a kernel's parameters cannot be understood, or a table cannot be used.
    """
    base, bracket, text = name.partition("(")
    if name in POOLS and not bracket:
        return POOLS.get(name)()
    if text.endswith(")") and f"{base}(...)" in POOLS:
        return POOLS.get(f"{base}(...)")(text[:-1])
    check_known("pool", name, list_pools())
    raise AssertionError(name)


def check_pools(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of pools, each of which must exist and differ from the others.

    Raises OptionError if there is none, or two give the same features; other errors as :func:`make_pool`.
    """
    if not names:
        raise OptionError("pool must name at least one pool over time; got none")
    seen: dict[str, str] = {}
    for name in names:
        make_pool(name)
        key = repr((pool_key(name), name == "pc1"))  # pc1 keeps time like none, and weighs it later
        if key in seen:
            raise OptionError(
                f"pool must name different pools; {name} gives the same features as {seen[key]} before it; take one out"
            )
        seen[key] = name
    return tuple(names)


def pool_key(name: str) -> object:
    """Return what of a pool's name determines the features: of a measured response its values, not its file."""
    return make_pool(name).content() or name
