"""What all figures share: axes to draw into, and colours of what is no data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from voxelcast.core.checks import check_known
from voxelcast.report.figures import PANEL_INCHES, STYLE
from voxelcast.results.read import Results

LINE: Final = "#9aa1a8"
INK: Final = "#1b1f24"
GREY: Final = "#57606a"


@contextmanager
def drawing(ax: Axes | None, inches: tuple[float, float] = PANEL_INCHES, **labels: str) -> Iterator[Axes]:
    """Draw into ``ax``, or into new axes in the report's style; ``labels`` are ``xlabel`` and ``ylabel``."""
    if ax is not None:
        ax.set(**labels)
        yield ax
        return
    from matplotlib import pyplot

    # The first figure starts the backend, which may set parameters for good (a notebook's shows figures), so the style
    # begins after it.
    figure = pyplot.figure(figsize=inches, layout="constrained")
    with matplotlib.rc_context(STYLE):
        axes = figure.add_subplot()
        axes.set(**labels)
        yield axes


def check_roi(results: Results, roi: str) -> None:
    """Raise UnknownNameError where the results have no such ROI."""
    check_known("ROI", roi, results.rois, where=f"in the results of {results.name}")


def from_zero(axes: Axes) -> None:
    """Begin the vertical axis of scores at zero, or at the lowest score where that is below."""
    axes.set_ylim(bottom=None if axes.dataLim.y0 < 0 else 0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
