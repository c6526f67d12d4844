"""What long work says while it runs: nothing, bars on a terminal or in a notebook, or lines elsewhere."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

_SECONDS_BETWEEN_LINES = 10.0


class TimeLeft:
    """How long a piece of work will take, told anew as its units are done, without jumps.

    A forecast counts as much as a tenth of the units. Of units under way half are taken to be done: else the first of
    many side by side would stand for all. What passed before the first were done, where processes start and networks
    are loaded, no longer counts once as many more are done. The expected end moves towards what a look at it asks for,
    the further the longer the last look is ago, measured by the time past and left.

    Parameters
    ----------
    total : int
        Units.
    forecast : float, optional
        Seconds that all are thought to take; None: not known.

    Examples
    --------
    >>> left = TimeLeft(10, forecast=100.0)
    >>> round(left.seconds(0.0, done=0))
    100
    >>> round(left.seconds(20.0, done=2))
    80
    """

    def __init__(self, total: int, forecast: float | None = None) -> None:
        self._total, self._forecast = total, forecast
        self._weight = 0.0 if forecast is None else max(1.0, total / 10)
        self._first: tuple[float, float] | None = None  # seconds and units
        self._last, self._end = 0.0, float("nan")

    def seconds(self, elapsed: float, done: float, running: int = 0) -> float | None:
        """Return the seconds left, at least 0, when so many units are done; None where nothing tells them.

        ``elapsed`` seconds since the beginning; times must not fall from call to call.
        """
        known = done + running / 2 if done else 0.0
        if not known + self._weight:
            return None
        if self._first is None and known:
            self._first = elapsed, known
        start, before = self._first or (0.0, 0.0)
        if known < 2 * before:
            start, before = 0.0, 0.0
        prior = self._weight * (self._forecast or 0.0) / max(1, self._total)
        each = (prior + (elapsed - start if known else 0.0)) / (known - before + self._weight)
        left = max(0.0, each * (self._total - known) if known else (self._forecast or 0.0) - elapsed)
        kept = math.exp((self._last - elapsed) / (min(left, elapsed) / 3)) if left and elapsed else 0.0
        self._end = elapsed + left if math.isnan(self._end) else kept * self._end + (1 - kept) * (elapsed + left)
        self._last = elapsed
        return max(0.0, self._end - elapsed)


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


SILENT: Final[Progress] = Silent()


class TerminalProgress:
    """A tqdm bar for each piece of work; notes go above it."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, what: str, total: int, unit: str) -> None:
        """Open a bar."""
        from tqdm.auto import tqdm

        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True, file=sys.stderr)

    def advance(self, n: int = 1) -> None:
        """Move the bar."""
        self._bar.update(n)

    def note(self, message: str) -> None:
        """Write a line above the bar."""
        from tqdm.auto import tqdm

        tqdm.write(message, file=sys.stderr)

    def finish(self) -> None:
        """Close the bar."""
        self._bar.close()


class LineProgress:
    """Plain lines for logs and pipes: the beginning, now and then how far, the end.

    ``say`` takes each line; None prints it to standard error.
    """

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._say = say or _print
        self._what, self._unit, self._total, self._done = "", "", 0, 0
        self._time_left = TimeLeft(0)
        self._started = self._said = 0.0

    def start(self, what: str, total: int, unit: str) -> None:
        """Say what begins."""
        self._what, self._unit, self._total, self._done = what, unit, total, 0
        self._time_left = TimeLeft(total)
        self._started = self._said = time.monotonic()
        self.note(f"{what}: {total} to do (unit: {unit})")

    def advance(self, n: int = 1) -> None:
        """Say how far it is, at most every ten seconds."""
        self._done += n
        now = time.monotonic()
        if now - self._said >= _SECONDS_BETWEEN_LINES and self._done < self._total:
            self._said = now
            left = self._time_left.seconds(now - self._started, self._done)
            self.note(f"{self._what}: {self._done} of {self._total}, about {left:.0f} s left")

    def note(self, message: str) -> None:
        """Say a line."""
        self._say(message)

    def finish(self) -> None:
        """Say how long it took."""
        seconds = time.monotonic() - self._started
        self.note(f"{self._what}: {self._done} of {self._total} in {seconds:.1f} s")


def python_progress(wanted: Progress | bool, logger: str) -> Progress:
    """Return the progress of a call from Python, for True one that is shown, for False one that says nothing.

    Bars are shown on a terminal and in a notebook, else lines go to the ``logger`` of that name at level INFO.
    """
    if not isinstance(wanted, bool):
        return wanted
    if not wanted:
        return Silent()
    bars = sys.stderr.isatty() or "ipykernel" in sys.modules
    return TerminalProgress() if bars else LineProgress(logging.getLogger(logger).info)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
