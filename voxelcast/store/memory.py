"""The most memory that this process has held since a moment of our choosing."""

from __future__ import annotations

import sys
from pathlib import Path

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak() -> bool:
    """Begin to measure anew; return False where the system (any but Linux) only knows the peak of the whole process."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def peak_mb() -> float:
    """Return the peak resident memory since `reset_peak`, in MB (10**6 bytes), this process's libraries included.

    On macOS, the peak of the whole process; 0 on Windows, which is not asked.
    """
    if _STATUS.is_file():
        return _mb("VmHWM")
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round((peak if sys.platform == "darwin" else peak * 1024) / 1e6, 1)


def resident_mb() -> float:
    """Return the resident memory of this process in MB (10**6 bytes); 0 on any system but Linux."""
    return _mb("VmRSS") if _STATUS.is_file() else 0.0


def _mb(name: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return round(int(line.split()[1]) * 1024 / 1e6, 1)
