"""How much an encoder that searches by itself may use."""

from __future__ import annotations

from dataclasses import dataclass

from voxelcast.core.errors import OptionError


@dataclass(frozen=True)
class Budget:
    """Time and memory of one fit of automatic machine learning.

    Parameters
    ----------
    seconds : float
        Of wall-clock time.
    memory_mb : int
        In units of 2**20 bytes.
    """

    seconds: float = 60.0
    memory_mb: int = 3072

    def __post_init__(self) -> None:
        if not self.seconds >= 1 or self.memory_mb < 256:
            raise OptionError(
                f"automl needs at least 1 second and 256 MB; got {self.seconds:g} seconds and {self.memory_mb} MB"
            )


DEFAULT_BUDGET = Budget()
