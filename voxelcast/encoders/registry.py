"""The encoders by name, of voxelcast and of packages that add to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from voxelcast.core.errors import OptionError
from voxelcast.core.registry import Registry
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.params import AutoMLSettings, ProblemSize

_MODULES = (
    *("automl", "autosklearn", "boosted_trees", "canonical", "elastic_net", "kernel_ridge", "mlp", "omp", "pls"),
    *("learned.encoders", "ridge"),
)
ENCODERS: Registry[type[Encoder]] = Registry(
    "encoder", "voxelcast.encoders", [f"voxelcast.encoders.{name}" for name in _MODULES]
)
"""Classes of encoders by name."""

T = TypeVar("T", bound=type[Encoder])


def register_encoder(encoder: T) -> T:
    """Enter a class of encoders under its ``name``; a decorator.

    Its objects are made as ``encoder(seed, automl)`` (see `Encoder`). A package of your own names the module of the
    class as an entry point of the group ``voxelcast.encoders``; `voxelcast.testing.encoders` tests the class.

    Raises
    ------
    OptionError
        If the name is taken.

    Examples
    --------
    >>> import voxelcast as vc
    >>> from voxelcast.encoders.ridge import Ridge
    >>> @vc.register_encoder
    ... class OurRidge(Ridge):
    ...     name = "our_ridge"
    >>> vc.list_encoders("our*")
    ('our_ridge',)
    """
    ENCODERS.add(encoder.name, encoder)
    return encoder


def list_encoders(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the encoders that match a shell pattern, sorted.

    Examples
    --------
    >>> import voxelcast as vc
    >>> vc.list_encoders("ridge*")
    ('ridge', 'ridge_per_voxel')
    """
    return ENCODERS.names(pattern)


def get_encoder(name: str, seed: int = 0, automl: AutoMLSettings = AutoMLSettings()) -> Encoder:
    """Return the encoder of that name.

    ``seed`` is for the encoders that leave something to chance, ``automl`` for automatic machine learning.

    Raises
    ------
    UnknownNameError
        If there is none; the message offers the nearest.
    """
    return ENCODERS.get(name)(seed, automl)


def can_be_exact(name: str) -> bool:
    """Say whether an encoder's whole grid can be tried, which ``method: exact`` needs."""
    return len(get_encoder(name).param_grid(ProblemSize(100, 10, 10))) > 0


def check_exact(names: Sequence[str], method: str) -> None:
    """Raise OptionError if the search method is exact and an encoder has too many hyper-parameters for that."""
    unlisted = [name for name in names if not can_be_exact(name)]
    if method == "exact" and unlisted:
        raise OptionError(
            f"search.method: exact tries every setting, which {unlisted[0]} has too many of; set search.method=bayes"
        )


def check_ready(names: Sequence[str]) -> None:
    """Raise MissingPackageError if an encoder of those names needs something that is not installed."""
    for name in names:
        get_encoder(name).check_ready()
