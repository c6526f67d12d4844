"""What each page shows, as HTML."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import jinja2
import numpy as np

from voxelcast.app.experiment import STATES, Experiment
from voxelcast.app.library import Library
from voxelcast.app.plots import HEIGHT, WIDTH, parallel_coordinates, score_by_setting, varying
from voxelcast.app.side_by_side import side_by_side
from voxelcast.app.table import GROUPS, Query, choices, grouped, table_lines
from voxelcast.execution.status import RunStatus, StageStatus
from voxelcast.report.heatmap import roi_table
from voxelcast.report.page import environment
from voxelcast.report.summary import Measure, choose_measure, chosen_counts, findings, overall_row, roi_rows, strip_axis
from voxelcast.results.read import Results

_CHOSEN_SHOWN: Final = 5  # the report lists them all
_SHADES: Final = 10  # of the table by ROI and subject: .h0 to .h9 in app.css


def read_asset(name: str) -> bytes:
    """Read a style sheet, the script or the icon; ``report.css`` is the report's own."""
    if name == "report.css":
        return (importlib.resources.files("voxelcast.report") / "templates" / "style.css").read_bytes()
    return (importlib.resources.files("voxelcast.app") / "templates" / name).read_bytes()


def app_environment() -> jinja2.Environment:
    """Return the report's templates' environment with our templates before its own."""
    made = environment()
    ours = jinja2.PackageLoader("voxelcast.app", "templates")
    made.loader = jinja2.ChoiceLoader([ours, made.loader] if made.loader else [ours])
    made.filters |= {"stage_now": _stage_now, "local": _local, "short": _short}
    return made


class Pages:
    """The pages over a library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._environment = app_environment()

    def index(self, query: Query) -> str:
        """Show the table of experiments."""
        everything = self._library.experiments()
        lines = table_lines(everything, query)
        rois, subjects = choices(everything)
        settings = varying(everything)
        x = query.x if query.x in settings else next(iter(settings), "")
        n_running = sum(experiment.state == "running" for experiment in everything)
        return self._render(
            "index.html.j2",
            query=query,
            lines=lines,
            groups=grouped(lines, query),
            group_by=list(GROUPS),
            settings=list(settings),
            x=x,
            by_setting=score_by_setting(lines, x, settings[x]) if x else None,
            parallel=parallel_coordinates(lines, settings),
            size=(WIDTH, HEIGHT),
            axis=strip_axis([line.mean for line in lines]),
            total=len(everything),
            n_running=n_running,
            running=n_running > 0,
            states=STATES,
            rois=rois,
            subjects=subjects,
            roots=[str(root) for root in self._library.roots],
        )

    def experiment(self, key: str) -> str:
        """Show one experiment."""
        experiment = self._library.get(key)
        content: dict[str, Any] = {"e": experiment, "running": experiment.state == "running", "settings": ""}
        if experiment.results:
            content |= _scores(experiment.results)
        return self._render("experiment.html.j2", **content)

    def compare(self, experiments: Sequence[Experiment], *, by_voxel: bool) -> str:
        """Show experiments side by side."""
        asked = "?" + "&".join(f"e={experiment.key}" for experiment in experiments)
        return self._render(
            "compare.html.j2",
            **side_by_side(experiments, by_voxel=by_voxel),
            by_voxel=by_voxel,
            here=f"/compare{asked}",
            figures=f"/compare/figures{asked}",
            running=False,
        )

    def problem(self, title: str, message: str) -> str:
        """Say what is wrong."""
        return self._render("problem.html.j2", title=title, message=message, running=False)

    def _render(self, template: str, **content: Any) -> str:
        return self._environment.get_template(template).render(content)


def _scores(results: Results) -> dict[str, Any]:
    measure = choose_measure(results.scores)
    rows = roi_rows(results, measure)
    overall = overall_row(rows)
    return {
        "measure": measure,
        "rows": [*rows, overall],
        "axis": strip_axis([*rows, overall]),
        "findings": findings(results, measure, rows, overall),
        # What was chosen most often of each kind, and how many more there are.
        "chosen": [
            (what, names[:_CHOSEN_SHOWN], len(names[_CHOSEN_SHOWN:])) for what, names in chosen_counts(results).items()
        ],
        "map": {"subjects": results.subjects, "rows": _shades(results, measure)},
        "settings": results.config_text,
    }


def _shades(results: Results, measure: Measure) -> list[tuple[str, list[tuple[float, int]]]]:
    """Lay the scores out by ROI and subject, each with how dark it is: the highest the darkest, white 0 or less."""
    scores = roi_table(results, results.scores[measure.column]).to_numpy()
    top = float(np.max(scores, initial=0.0, where=np.isfinite(scores)))
    shares = np.nan_to_num(scores / top) if top > 0 else np.zeros_like(scores)
    steps = np.clip(shares * _SHADES, 0, _SHADES - 1).astype(int)
    rows = zip(results.rois, scores.tolist(), steps.tolist(), strict=True)
    return [(roi, list(zip(*of_roi, strict=True))) for roi, *of_roi in rows]


def _stage_now(status: RunStatus | None) -> StageStatus | None:
    """Return the last stage that has begun."""
    begun = [stage for stage in status.stages if stage.done is not None] if status else []
    return begun[-1] if begun else None


def _short(names: str) -> str:
    """Leave out of networks' names where they come from, and that weights are the default ones."""
    return ", ".join(name.rpartition("/")[2].removesuffix(" (default)") for name in names.split(", "))


def _local(when: datetime) -> str:
    """Show a time in this machine's zone."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M")
