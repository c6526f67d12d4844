"""Where a result came from: versions, machine, git state, time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import voxelcast

_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "torchvision", "av", "optuna", "pandas", "pillow")


def _git(*arguments: str) -> str | None:
    source = Path(voxelcast.__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def collect_provenance() -> dict[str, object]:
    """Collect what is known of software and machine.

    Returns
    -------
    provenance : dict
        ``voxelcast`` version, ``git`` (commit and whether files were changed; None outside a checkout), ``python``,
        ``packages``, ``platform``, ``cpu_count``, ``command``, ``time`` (UTC).
    """
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return {
        "voxelcast": voxelcast.__version__,
        "git": None if commit is None else {"commit": commit, "changed": bool(changed)},
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu_count": os.cpu_count(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
