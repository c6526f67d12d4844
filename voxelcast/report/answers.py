"""Answers of a saved model as a table, figures and one small page: `voxelcast ask`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.report import summary
from voxelcast.report.figures import CEILING_COLOUR, PALETTE, PANEL_INCHES, STYLE, SUBJECT_COLOUR, inline
from voxelcast.report.page import environment, scripts, write_page
from voxelcast.store.atomic import atomic_path, write_text
from voxelcast.store.readers.tables import shown_cell

ALPHA: Final = 0.05
SHOWN: Final = 6
"""Stimuli at each end of a ranking that are shown as pictures."""
_MOST_ROWS, _MOST_ROIS = 200, 12
_DOTS_PER_INCH: Final = 150
_ROI_HEIGHT: Final = 0.24
_NO_SCORE: Final = "It is not known how well the model predicts these responses: its run was not nested."


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure, the name of its file, its title, and what a reader who does not see it should know."""

    name: str
    figure: Figure
    title: str
    alt: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What was asked, the answer in a sentence, what to know before believing it, figures and a table."""

    name: str
    title: str
    lead: str
    notes: Sequence[str]
    figures: Sequence[Drawn]
    table: pd.DataFrame
    model: str

    def write(self, folder: Path) -> Path:
        """Write the table as CSV, the figures as PNG and the page; return the page's path."""
        folder.mkdir(parents=True, exist_ok=True)
        texts = self.table.map(lambda value: shown_cell(value) if isinstance(value, str) else value)
        write_text(folder / f"{self.name}.csv", texts.to_csv(index=False, lineterminator="\n"))
        with matplotlib.rc_context(STYLE):
            for drawn in self.figures:
                with atomic_path(folder / f"{drawn.name}.png") as path:
                    drawn.figure.savefig(path, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
            panels = [inline(drawn.figure, drawn.title, drawn.alt) for drawn in self.figures]
        shown = self.table.head(_MOST_ROWS)
        content = {
            **{"answer": self, "panels": panels, "columns": list(shown.columns)},
            **{"rows": [[_cell(value) for value in row] for row in shown.itertuples(index=False)]},
            **{"numeric": [shown[name].dtype.kind in "if" for name in shown.columns], "n_rows": len(self.table)},
        }
        page = folder / f"{self.name}.html"
        write_page(page, environment().get_template("ask.html.j2").render(content | scripts("save")))
        return page


def _cell(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """Show a number with three decimals, or two digits where it is small, with a true minus sign; a dash for NaN."""
    small = 0 < abs(value) < 0.05
    return f"{value:.2g}".replace("-", "−") if small else summary.number(value)


def _stimuli(n: int) -> str:
    return "1 stimulus" if n == 1 else f"{n:,} stimuli"


def _about(table: pd.DataFrame) -> Mapping[str, Any]:
    return {str(name): value for name, value in table.attrs.items()}


def believe(about: Mapping[str, Any]) -> list[str]:
    """Say how well the model predicts what was asked for."""
    score, ceiling = about["score"], about["noise_ceiling_r"]
    if not np.isfinite(score):
        return [_NO_SCORE]
    most = f", of at most {number(ceiling)} that the noise allows" if np.isfinite(ceiling) else ""
    return [f"On stimuli that it had not seen, the model predicts {about['target']} with r = {number(score)}{most}."]


def unlike_note(n_unlike: int, n: int) -> list[str]:
    """Say how many stimuli are unlike the training stimuli."""
    if not n_unlike:
        return []
    return [
        f"{n_unlike} of {_stimuli(n)} {'is' if n_unlike == 1 else 'are'} unlike what the model "
        "learnt from: scores and intervals say nothing of them."
    ]


def ranking(table: pd.DataFrame, thumbnails: Mapping[str, ByteArray], model: str) -> Answer:
    """Lay out a ranking (`voxelcast.models.insilico.rank`); ``thumbnails`` are pictures by stimulus id."""
    about, ids, response = _about(table), table["stimulus_id"].tolist(), table["response"].tolist()
    best, last, k = ids[0], ids[-1], min(SHOWN, len(ids) // 2) or 1
    notes = believe(about) + unlike_note(int(table["unlike"].sum()), len(table))
    if about["no_interval"]:
        notes.append(f"No intervals: {about['no_interval']}.")
    with matplotlib.rc_context(STYLE):
        figures = [_curve(table)]
        if all(name in thumbnails for name in (*ids[:k], *ids[-k:])):
            ends = (("highest", table.head(k)), ("lowest", table.tail(k).iloc[::-1]))
            figures = [_sheet(name, rows, thumbnails) for name, rows in ends] + figures
    lead = (
        f"Of {_stimuli(len(ids))}, {best} has the largest predicted response of {about['target']}, "
        f"{number(response[0])} {about['unit']}; {last} the smallest, {number(response[-1])}."
    )
    return Answer("rank", f"What drives {about['target']}?", lead, notes, figures, table, model)


def _sheet(name: str, rows: pd.DataFrame, thumbnails: Mapping[str, ByteArray]) -> Drawn:
    n_lines = -(-len(rows) // 3)
    figure = Figure(figsize=(PANEL_INCHES[0], 1.35 * n_lines))
    for place, row in enumerate(rows.to_dict("records")):
        ax = figure.add_subplot(n_lines, 3, place + 1)
        ax.imshow(thumbnails[row["stimulus_id"]])
        ax.set_title(f"{row['rank']}. {_short(row['stimulus_id'])}\n{number(row['response'])}", fontsize=7)
        ax.set_axis_off()
    named = zip(rows["stimulus_id"].tolist(), rows["response"].tolist(), strict=True)
    said = ", ".join(f"{stimulus_id} ({number(response)})" for stimulus_id, response in named)
    return Drawn(name, figure, f"{name.capitalize()} responses", f"Stimuli of the {name} predicted responses: {said}.")


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _curve(table: pd.DataFrame) -> Drawn:
    about, figure = table.attrs, Figure(figsize=PANEL_INCHES)
    ax = figure.add_subplot(xlabel="rank", ylabel=f"response ({about['unit']})")
    at, unlike = table["rank"].to_numpy(), table["unlike"].to_numpy()
    said = ""
    if table["low"].notna().any():
        ax.fill_between(at, table["low"], table["high"], color=PALETTE[0], alpha=0.15, linewidth=0)
        said = f" The band is the {100 * about['level']:g} % interval of a measured response."
    ax.plot(at, table["response"], color=PALETTE[0], marker="o" if len(at) < 60 else "", markersize=3)
    if unlike.any():
        ax.plot(at[unlike], table["response"][unlike], "s", color=CEILING_COLOUR, markersize=4, label="unlike")
        ax.legend(loc="upper right", fontsize=7)
    return Drawn("curve", figure, "All responses, sorted", f"Predicted responses of all stimuli, largest first.{said}")


def contrast_answer(table: pd.DataFrame, first: str, second: str, model: str) -> Answer:
    """Lay out a contrast (`voxelcast.models.insilico.contrast`) of two sets that are called so."""
    rois, told = list(dict.fromkeys(table["roi"])), []
    significant = table["q_value"] <= ALPHA
    for roi in rois:
        own = table["roi"] == roi
        up, down = (int((own & significant & (table["effect"] * sign > 0)).sum()) for sign in (1, -1))
        told.append(f"{roi}: {up} voxels prefer {first}, {down} prefer {second}, of {int(own.sum())}")
    notes = [
        "p and q say how surely the model's predictions differ between such stimuli; the voxel's nested score says how "
        "far they are to be believed."
    ]
    sets = ((first, table.attrs["n_stimuli"][0]), (second, table.attrs["n_stimuli"][1]))
    for (name, n), n_unlike in zip(sets, table.attrs["n_unlike"], strict=True):
        notes += [f"{name}: {said}" for said in unlike_note(n_unlike, n)]
    with matplotlib.rc_context(STYLE):
        figures = [_effects(table[table["roi"] == roi], roi, first, second) for roi in rois[:_MOST_ROIS]]
    lead = f"{'; '.join(told[:4])}{'; ...' if len(told) > 4 else ''} (false discovery rate {ALPHA:g})."
    return Answer("contrast", f"{first} against {second}", lead, notes, figures, table, model)


def _effects(table: pd.DataFrame, roi: str, first: str, second: str) -> Drawn:
    figure = Figure(figsize=PANEL_INCHES)
    ax = figure.add_subplot(xlabel=f"effect: {_short(second)} ← → {_short(first)}")
    found = (table["q_value"] <= ALPHA).to_numpy()
    scored = bool(table["pearson_r"].notna().any())
    y = table["pearson_r"] if scored else -np.log10(table["p_value"])
    ax.set_ylabel("nested score r" if scored else "-log10 p")
    for chosen, colour, name in ((~found, SUBJECT_COLOUR, "not significant"), (found, PALETTE[1], f"q ≤ {ALPHA:g}")):
        ax.plot(table["effect"][chosen], y[chosen], ".", color=colour, markersize=4, label=name, rasterized=True)
    ax.axvline(0, color="#9aa1a8", linewidth=0.7)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.legend(fontsize=7, loc="best")
    alt = f"Each voxel of {roi} by its effect and its score: {int(found.sum())} of {len(table)} are significant."
    return Drawn(f"effects_{_file_name(roi)}", figure, roi, alt)


def _file_name(text: str) -> str:
    return "".join(one if one.isalnum() or one in "-_." else "_" for one in text)


def responses_answer(table: pd.DataFrame, picture: ByteArray | None, model: str) -> Answer:
    """Lay out the responses of all ROIs to one stimulus (`voxelcast.models.insilico.responses`)."""
    name = table.attrs["stimulus_id"]
    standard = bool(table["standardised"].notna().all())
    column = "standardised" if standard else "response"
    top = table.iloc[int(table[column].to_numpy().argmax())]
    with matplotlib.rc_context(STYLE):
        figures = [_bars(table, column)]
        if picture is not None:
            figures = [_shown("stimulus", picture, name, f"The stimulus {name}."), *figures]
    unit = "deviations from its mean prediction" if standard else str(top["unit"])
    lead = f"{name} drives {top['subject']} {top['roi']} most: {number(float(top[column]))} {unit}."
    notes = [] if table["score"].notna().any() else [_NO_SCORE]
    notes += unlike_note(int(table["unlike"].any()), 1)
    return Answer("responses", f"Responses to {name}", lead, notes, figures, table, model)


def _bars(table: pd.DataFrame, column: str) -> Drawn:
    several = table["subject"].nunique() > 1
    names = [f"{row.subject} {row.roi}" if several else str(row.roi) for row in table.itertuples()]
    figure = Figure(figsize=(PANEL_INCHES[0], 0.7 + _ROI_HEIGHT * len(table)))
    label = "response, in deviations of training predictions" if column == "standardised" else "response"
    ax = figure.add_subplot(xlabel=label)
    at = np.arange(len(table))[::-1]
    ax.barh(at, table[column], height=0.7, color=[PALETTE[0] if value >= 0 else PALETTE[1] for value in table[column]])
    ax.set_yticks(at, names)
    ax.grid(visible=False, axis="y")
    ax.axvline(0, color="#9aa1a8", linewidth=0.7)
    said = ", ".join(f"{name} {number(float(value))}" for name, value in zip(names, table[column], strict=True))
    return Drawn("rois", figure, "Responses by ROI", f"Predicted responses: {said}.")


def drivers_answer(
    about: Mapping[str, Any],
    picture: ByteArray,
    maps: Mapping[str, FloatArray],
    table: pd.DataFrame,
    model: str,
) -> Answer:
    """Lay out what of a picture drives a response (`voxelcast.models.insilico.drivers`).

    ``maps`` are ``occlusion`` and, where there is one, ``gradient``; ``about`` also has the ``name`` of the picture,
    its ``response``, and ``no_gradient``.
    """
    occlusion = maps["occlusion"]
    row, column = np.unravel_index(int(occlusion.argmax()), occlusion.shape)
    where = (
        f"{_third(int(row), len(occlusion), 'top', 'bottom')} {_third(int(column), len(occlusion), 'left', 'right')}"
    )
    where = where.replace("middle middle", "middle")
    with matplotlib.rc_context(STYLE):
        figures = [_shown("picture", picture, about["name"], f"The picture {about['name']}.")]
        if "gradient" in maps:
            figures.append(_overlay("gradient", picture, maps["gradient"], "Where small changes count", about["unit"]))
        figures.append(_overlay("occlusion", picture, occlusion, "Fall when covered", about["unit"]))
    lead = (
        f"Covering the {where} of {about['name']} lowers the predicted response of {about['target']} most: by "
        f"{number(float(occlusion.max()))} of {number(about['response'])} {about['unit']}."
    )
    notes = believe(about) + unlike_note(int(about["unlike"]), 1)
    notes += [f"No gradient: {about['no_gradient']}."] * bool(about["no_gradient"])
    notes.append(
        "Covered pictures are unlike what the model learnt from; the maps speak of the model, not of the brain."
    )
    return Answer("drivers", f"What in {about['name']} drives {about['target']}?", lead, notes, figures, table, model)


def _third(place: int, n: int, low: str, high: str) -> str:
    return (low, "middle", high)[min(3 * place // n, 2)]


def _shown(name: str, picture: ByteArray, title: str, alt: str) -> Drawn:
    figure, ax = _frame(picture)
    ax.imshow(picture)
    return Drawn(name, figure, title, alt)


def _frame(picture: ByteArray) -> tuple[Figure, Axes]:
    figure = Figure(figsize=PANEL_INCHES)
    ax = figure.add_subplot()
    ax.set_axis_off()
    return figure, ax


def _overlay(name: str, picture: ByteArray, values: FloatArray, title: str, unit: str) -> Drawn:
    """Draw a map over the grey picture: one that is never negative from pale to dark, another around 0."""
    figure, ax = _frame(picture)
    height, width = picture.shape[:2]
    ax.imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    signed = bool((values < 0).any())
    top = float(np.abs(values).max()) if signed else float(np.quantile(values, 0.995))
    top = top or 1.0
    strength = np.clip(np.abs(values) / top, 0, 1)
    drawn = ax.imshow(
        values,
        cmap="RdBu_r" if signed else "inferno",
        vmin=-top if signed else 0,
        vmax=top,
        alpha=0.15 + 0.65 * strength,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="nearest",
    )
    bar = figure.colorbar(drawn, ax=ax, shrink=0.8)
    bar.set_label(f"{unit} per grey level" if name == "gradient" else unit)
    bar.solids.set_alpha(1)  # type: ignore[union-attr]
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    down, across = 100 * (row + 0.5) / len(values), 100 * (column + 0.5) / values.shape[1]
    alt = f"Map over the picture; largest {down:.0f} % from the top, {across:.0f} % from the left."
    return Drawn(name, figure, title, alt)
