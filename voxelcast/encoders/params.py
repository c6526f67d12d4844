"""Hyper-parameters, their ranges, the sizes that these depend on, and the budget of encoders that search themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeGuard

import numpy as np
from annotated_types import Ge

from voxelcast.core.errors import OptionError
from voxelcast.core.settings import settings

Params = Mapping[str, float | int]
"""Values of an encoder's hyper-parameters by name."""


@settings
class AutoMLSettings:
    """Time (wall-clock) and memory (units of 2**20 bytes) of one fit of automatic machine learning."""

    seconds: Annotated[float, Ge(1)] = 60.0
    memory_mb: Annotated[int, Ge(256)] = 3072


@dataclass(frozen=True)
class ProblemSize:
    """Sizes of what an encoder is fitted to: training stimuli (of the smallest part), features and voxels."""

    n_train: int
    n_features: int
    n_voxels: int

    @property
    def max_rank(self) -> int:
        """The most directions that centred features can vary in: min(n_train - 1, n_features)."""
        return max(min(self.n_train - 1, self.n_features), 0)


@dataclass(frozen=True)
class Distribution:
    """A hyper-parameter's range for a search: integers or floats, on a linear or logarithmic scale, ends included."""

    low: float
    high: float
    integer: bool = False
    log: bool = False


def check_params(encoder: str, params: Params, search_space: Mapping[str, Distribution]) -> None:
    """Raise OptionError unless every hyper-parameter of the search space is there, inside its range, and no other."""
    for name, bounds in search_space.items():
        value = params.get(name)
        if (
            not is_number(value)
            or not bounds.low * (1 - 1e-12) <= value <= bounds.high * (1 + 1e-12)
            or (bounds.integer and value != int(value))
        ):
            kind = "a whole number" if bounds.integer else "a number"
            raise OptionError(f"{encoder} needs {name}, {kind} in {bounds.low:g} to {bounds.high:g}; got {value!r}")
    extra = sorted(set(params) - set(search_space))
    if extra:
        raise OptionError(
            f"{encoder} has no hyper-parameter {extra[0]!r}; allowed: {', '.join(search_space) or 'none'}; leave it out"
        )


def checked_count(encoder: str, params: Params, name: str, most: int) -> int:
    """Return an encoder's one hyper-parameter, a whole number in 1 to ``most``.

    Raises OptionError if it is anything else; ``most`` is said to be what the training data allow.
    """
    value = params.get(name)
    if set(params) != {name} or not is_number(value) or value != int(value) or not 1 <= value <= most:
        raise OptionError(
            f"{encoder} needs {name}, a whole number in 1 to {most} (the rank that the training data can have); "
            f"got {dict(params)}; ask for fewer"
        )
    return int(value)


def is_number(value: object) -> TypeGuard[float]:
    """Say whether the value of a hyper-parameter is a finite number, Python's or NumPy's; a truth value is none."""
    return (
        isinstance(value, float | int | np.floating | np.integer)
        and not isinstance(value, bool)
        and bool(-math.inf < value < math.inf)
    )
