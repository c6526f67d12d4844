"""How every figure of the report looks and how it gets into the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which stay apart under every common colour blindness."""

CEILING_COLOUR: Final = PALETTE[1]
HELD_OUT_COLOUR: Final = PALETTE[2]
SUBJECT_COLOUR: Final = "#8a929b"
_INK: Final = "#3c434a"
PANEL_INCHES: Final = (3.5, 2.35)
_DOTS_PER_INCH: Final = 150  # of what is drawn as dots inside an SVG, because there is too much of it for lines

STYLE: Final[Any] = {
    "svg.fonttype": "none",  # text stays text: a third of the size, and sharp on every screen
    "svg.hashsalt": "voxelcast",  # the same ids, hence the same bytes, for the same figure
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1a8",
    "axes.linewidth": 0.7,
    "axes.labelcolor": _INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ea",
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": "#9aa1a8",
    "ytick.color": "#9aa1a8",
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "axes.unicode_minus": True,
    "path.simplify": True,
}
"""Applied with ``matplotlib.rc_context`` around everything that draws."""

_FONTS: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Panel:
    """One figure as the page needs it; width and height in CSS pixels."""

    title: str
    uri: str
    """The SVG (or PNG) as a data URI: nothing is fetched, and the ids of two figures cannot clash."""
    alt: str
    """What a reader who does not see the figure should know."""
    width: int
    height: int
    table: str = ""
    """The numbers drawn, as a data URI of a CSV file; empty where there is none."""
    viewer: str = ""
    """Address of an interactive view, from the page's folder; empty where there is none."""


def inline(figure: Figure, title: str, alt: str, table: pd.DataFrame | None = None) -> Panel:
    """Turn a figure, and the numbers in it, into a panel; the same figure gives the same bytes."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, dpi=_DOTS_PER_INCH, metadata={"Date": None, "Creator": None})
    # Laid out with a font that comes with matplotlib, shown in the reader's own, which is narrower if different.
    svg = buffer.getvalue().replace("'DejaVu Sans'", _FONTS)
    uri = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Panel(title, uri, alt, width, height, "" if table is None else table_uri(table))


def table_uri(table: pd.DataFrame) -> str:
    """Write a table as a data URI of a CSV file, numbers with six digits."""
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return "data:text/csv;charset=utf-8," + quote(text, safe=" ,:;/()=.")


def picture(path: Path, alt: str) -> Panel:
    """Turn a PNG file into a panel, named as the file is, with the interactive view that lies beside it."""
    with Image.open(path) as image:
        width, height = image.size
    uri = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    viewer = path.with_suffix(".html")
    link = quote(f"{path.parent.name}/{viewer.name}") if viewer.is_file() else ""
    return Panel(path.stem.replace("_", " "), uri, alt, width, height, viewer=link)


def jpeg(picture: bytes, title: str, alt: str) -> Panel:
    """Turn a JPEG file's bytes into a panel."""
    with Image.open(io.BytesIO(picture)) as image:
        width, height = image.size
    return Panel(title, "data:image/jpeg;base64," + base64.b64encode(picture).decode(), alt, width, height)
