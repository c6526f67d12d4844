"""Heat maps as tables: the numbers stay text, for readers, screen readers and copying."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from voxelcast.core.arrays import FloatArray
from voxelcast.report.depth import Depth, network_of
from voxelcast.report.summary import mean_or_nan, network_label, number
from voxelcast.results.read import Results
from voxelcast.results.schema import Pair

COLORMAP: Final = "viridis"
# One of the two has a contrast of at least 4.58 on any colour; with a softer black that does not hold.
_DARK, _LIGHT = "#000000", "#ffffff"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, its colours (empty where there is no number), and what hovering over it tells."""

    text: str
    background: str
    ink: str
    title: str = ""


@dataclass(frozen=True)
class Heatmap:
    """A table of ROI x subject whose cells are coloured by value.

    Parameters
    ----------
    subjects : tuple of str
    rows : tuple of (roi, cells, mean)
        The mean over subjects is a cell of its own, or None for a single subject.
    low, high : str
        Ends of the colour scale.
    gradient : str
        CSS colours of the scale, low to high.
    n_missing : int
        Cells without a number.
    """

    subjects: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...], Cell | None], ...]
    low: str
    high: str
    gradient: str
    n_missing: int

    @property
    def has_mean(self) -> bool:
        """Whether there is a column of means over subjects."""
        return any(mean is not None for _, _, mean in self.rows)


def heatmap(
    scores: pd.DataFrame,
    column: str,
    rois: Sequence[str],
    subjects: Sequence[str],
    *,
    top: float | None = None,
    titles: Mapping[Pair, str] | None = None,
    show: Callable[[float], str] = number,
) -> Heatmap | None:
    """Lay out one column of scores.csv as ROI x subject.

    Parameters
    ----------
    scores : DataFrame
    column : str
    rois, subjects : sequence of str
        In the order to be shown.
    top : float, optional
        Least upper end of the colour scale, e.g. 1 for noise-normalised scores.
    titles : mapping of (subject, roi) to str, optional
        What hovering over a cell tells.
    show : callable
        Turns a value into a cell's text.

    Returns
    -------
    heatmap : Heatmap or None
        None if the column holds no finite value.
    """
    values = (
        scores.pivot(index="roi", columns="subject", values=column)
        .reindex(index=list(rois), columns=list(subjects))
        .to_numpy(dtype=np.float64)
    )
    if not np.isfinite(values).any():
        return None
    names = {} if titles is None else titles
    hints = [[names.get((subject, roi), f"{roi}, {subject}") for subject in subjects] for roi in rois]
    return _layout(rois, subjects, values, hints, top, show, with_mean=len(subjects) > 1)


def mean_map(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> Heatmap:
    """Lay out numbers that are means already, e.g. ROI x experiment."""
    hints = [[f"{row}, {column}" for column in columns] for row in rows]
    return _layout(rows, columns, np.asarray(values, dtype=np.float64), hints, None, number, with_mean=False)


def _layout(
    rois: Sequence[str],
    subjects: Sequence[str],
    values: FloatArray,
    hints: Sequence[Sequence[str]],
    top: float | None,
    show: Callable[[float], str],
    *,
    with_mean: bool,
) -> Heatmap:
    finite = values[np.isfinite(values)]
    low, high = min(0.0, float(finite.min(initial=0.0))), max(float(finite.max(initial=0.0)), top or 0.0)
    high = high if high > low else low + 1.0

    def cell(value: float, title: str) -> Cell:
        if not np.isfinite(value):
            return Cell(show(value), "", "", title)
        return coloured(show(value), (value - low) / (high - low), title)

    rows = []
    for roi, line, titles in zip(rois, values, hints, strict=True):
        mean = cell(mean_or_nan(line.tolist()), f"{roi}: mean over subjects") if with_mean else None
        rows.append((roi, tuple(map(cell, line.tolist(), titles)), mean))
    return Heatmap(
        subjects=tuple(subjects),
        rows=tuple(rows),
        low=show(low),
        high=show(high),
        gradient=GRADIENT,
        n_missing=int(values.size - finite.size),
    )


def layer_map(results: Results, depth: Depth) -> Heatmap:
    """Lay out the number of the chosen layer, by depth; with several networks a letter before it names the network.

    The colour is the layer's position between the first layer searched (low) and the last (high) of its network.
    """
    letters, rois, subjects = depth.letters, results.rois, results.subjects
    cells: dict[Pair, Cell] = {}
    for row in results.scores.to_dict("records"):
        network, index = network_of(row), depth.index(row)
        named = f"{network_label(*network)}, layer {index + 1} of {len(depth.layers[network])}, {row['layer']}"
        text = f"{letters[network]}\N{NO-BREAK SPACE}{index + 1}" if letters[network] else f"{index + 1}"
        position = float(np.nan_to_num(depth.position(row)))
        pair = str(row["subject"]), str(row["roi"])
        cells[pair] = coloured(text, position, f"{row['roi']}, {row['subject']}: {named}")
    missing = Cell("—", "", "")
    rows = tuple((roi, tuple(cells.get((subject, roi), missing) for subject in subjects), None) for roi in rois)
    return Heatmap(subjects, rows, "first layer", "last layer", GRADIENT, len(rois) * len(subjects) - len(cells))


def coloured(text: str, position: float, title: str = "") -> Cell:
    """Make a cell in the colour of a position between 0 and 1 on the scale, with ink that can be read on it."""
    background = _colour(position)
    return Cell(text, background, _ink(background), title)


def _colour(position: float) -> str:
    return to_hex(matplotlib.colormaps[COLORMAP](float(position)))


GRADIENT: Final = ", ".join(_colour(position) for position in np.linspace(0, 1, 9))


def _ink(background: str) -> str:
    """Choose the text colour of higher contrast (WCAG 2 relative luminance)."""
    luminance = _luminance(background)
    contrast = {ink: _contrast(luminance, _luminance(ink)) for ink in (_DARK, _LIGHT)}
    return max(contrast, key=lambda ink: contrast[ink])


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)
