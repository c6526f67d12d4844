"""Progress as the user of a terminal sees it."""

from __future__ import annotations

import sys

from voxelcast.core.progress import LineProgress, TerminalProgress


def make_progress() -> TerminalProgress | LineProgress:
    """Return bars where standard error is a terminal, plain lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()
