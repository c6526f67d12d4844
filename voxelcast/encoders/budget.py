"""How much an encoder that searches by itself may use."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from voxelcast.core.settings import settings


@settings
class AutoMLSettings:
    """Time (wall-clock) and memory (units of 2**20 bytes) of one fit of automatic machine learning."""

    seconds: Annotated[float, Ge(1)] = 60.0
    memory_mb: Annotated[int, Ge(256)] = 3072
