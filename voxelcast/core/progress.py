"""What long work says while it runs: a protocol that rooms call and the command line fills in."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told how much of a piece of work is done."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin a piece of work of ``total`` units."""

    def advance(self, n: int = 1) -> None:
        """Say that ``n`` more units are done."""

    def note(self, message: str) -> None:
        """Tell the user something in one line."""

    def finish(self) -> None:
        """End the piece of work begun last."""


class Silent:
    """A Progress that says nothing: the default where voxelcast is used from Python."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Ignore the beginning."""

    def advance(self, n: int = 1) -> None:
        """Ignore the advance."""

    def note(self, message: str) -> None:
        """Ignore the note."""

    def finish(self) -> None:
        """Ignore the end."""
