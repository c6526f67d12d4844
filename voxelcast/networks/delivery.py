"""Pooled features on their way from where they were computed to main memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.features.pooling import KeepingPool, TemporalPool

Feature = tuple[str, str]
"""Layer and pool."""


class Delivery:
    """The features of one stimulus, whose pools have all its frames.

    From a GPU they come in one copy, beside what the GPU is doing. Raises DataError if a pool has nothing to give.
    """

    def __init__(self, pools: Mapping[Feature, TemporalPool], name: str) -> None:
        self._name = name
        self._copy: _Copy | None = None
        self._features: dict[Feature, FloatArray] = {}
        if pools and not any(isinstance(pool, KeepingPool) for pool in pools.values()):
            pooled = {feature: pool.pooled() for feature, pool in pools.items()}
            if all(isinstance(values, torch.Tensor) and values.is_cuda for values in pooled.values()):
                self._copy = _Copy(pooled)
                return
        self._features = {feature: pool.result() for feature, pool in pools.items()}

    def ready(self) -> bool:
        """Whether the features are there."""
        return self._copy is None or self._copy.ready()

    def features(self) -> Mapping[Feature, FloatArray]:
        """Wait for the features.

        Returns
        -------
        features : mapping from layer and pool to ndarray of shape (n_features,), float32
            From a GPU they lie in page-locked memory, of which there is less than of other memory: to keep those of
            many stimuli, copy them.

        Raises
        ------
        DataError
            If one is not finite; the message names stimulus and layer.
        """
        features = self._features if self._copy is None else self._copy.features()
        if self._copy is None or not self._copy.all_finite:
            for (layer, _), values in features.items():
                check_finite(f"features of {self._name}, layer {layer},", values, "check the weights and mean and std")
        return features


class _Copy:
    """Tensors of one GPU, copied to main memory by a stream of its own."""

    def __init__(self, pooled: Mapping[Feature, torch.Tensor]) -> None:
        device = next(iter(pooled.values())).device
        self._sizes = {feature: math.prod(values.shape) for feature, values in pooled.items()}
        there = torch.empty(sum(self._sizes.values()), dtype=torch.float32, device=device)
        for values, part in zip(pooled.values(), torch.split(there, list(self._sizes.values())), strict=True):
            part.view(values.shape).copy_(values)
        finite = there.isfinite().all()
        self._here = torch.empty(there.shape, dtype=torch.float32, pin_memory=True)
        self._finite = torch.empty((), dtype=torch.bool, pin_memory=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        stream = _stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            self._here.copy_(there, non_blocking=True)
            self._finite.copy_(finite, non_blocking=True)
            self._arrived.record(stream)
        for used in (there, finite):
            used.record_stream(stream)

    def ready(self) -> bool:
        return bool(self._arrived.query())  # type: ignore[no-untyped-call]

    @property
    def all_finite(self) -> bool:
        self._arrived.synchronize()
        return bool(self._finite)

    def features(self) -> dict[Feature, FloatArray]:
        self._arrived.synchronize()
        parts = torch.split(self._here, list(self._sizes.values()))
        return {feature: part.numpy() for feature, part in zip(self._sizes, parts, strict=True)}


@lru_cache(maxsize=16)
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
