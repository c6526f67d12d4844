"""Every source of chance takes its seed from the experiment's one seed and a name of its own."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive a seed in [0, 2**32) from the experiment's seed and the name of what needs it.

    The same seed and names give the same number on every machine, and other names an unrelated one.
    """
    text = "/".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return NumPy's generator for ``derive_seed(seed, *names)``."""
    return np.random.default_rng(derive_seed(seed, *names))
