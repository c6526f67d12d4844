"""Pickles that old and new software reads: NumPy 1 and 2, any Python 3."""

from __future__ import annotations

import pickle
import pickletools
from typing import Final

PICKLE_PROTOCOL: Final = 3
"""The challenge's development kit wrote whatever protocol was Python 3's default in 2021, which is 3 or 4, and the
server read it. 3 is the older of the two: any Python 3 reads it, and unlike 2 it keeps an array's bytes as they are."""


def pickled(content: object) -> bytes:
    """Pickle arrays by the module name that every NumPy knows.

    NumPy 2 names ``numpy._core.multiarray``, which the NumPy of 2021 cannot import; all versions know
    ``numpy.core.multiarray``. Protocol 3 writes names as plain lines, so one is replaced where it stands.
    """
    data = pickle.dumps(content, protocol=PICKLE_PROTOCOL)
    parts, start = [], 0
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name == "GLOBAL" and position is not None and str(argument).startswith("numpy._core."):
            module, name = str(argument).split(" ")
            parts += [data[start:position], f"c{module.replace('numpy._core.', 'numpy.core.')}\n{name}\n".encode()]
            start = position + len(f"c{module}\n{name}\n".encode())
    return b"".join([*parts, data[start:]])
