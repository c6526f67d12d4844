"""Which stimuli are looked at together: what shares a forward pass decides the last bits of its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

SHARD: Final = 32
"""Stimuli that are extracted together: a kill loses at most this much extraction per worker."""


def divide(ids: Sequence[str], known: Sequence[Sequence[str]] = (), size: int = SHARD) -> list[list[int]]:
    """Divide stimuli into shards, lists of positions in ``ids``: the known ones that are there whole, then the others.

    So stimuli that come later never change what earlier ones share a forward pass with.

    >>> divide(["a", "b", "c", "d"], [["b", "d"]], size=1)
    [[1, 3], [0], [2]]
    """
    position = {name: number for number, name in enumerate(ids)}
    shards, used = [], set[str]()
    for names in known:
        if names and all(name in position and name not in used for name in names):
            shards.append([position[name] for name in names])
            used.update(names)
    left = [number for number, name in enumerate(ids) if name not in used]
    return shards + [left[start : start + size] for start in range(0, len(left), size)]
