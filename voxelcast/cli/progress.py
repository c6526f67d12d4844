"""Progress as the user of a terminal sees it."""

from __future__ import annotations

import sys
from pathlib import Path

from voxelcast.core.progress import LineProgress, TerminalProgress
from voxelcast.execution.journal import Told


def make_progress() -> TerminalProgress | LineProgress:
    """Return bars where standard error is a terminal, plain lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()


def progress_in(folder: Path) -> Told:
    """Return a context that gives the same progress, noted in a folder for ``voxelcast status``."""
    return Told(folder, make_progress())
