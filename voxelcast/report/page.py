"""Put the report together: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
import markupsafe
import matplotlib
import numpy as np

from voxelcast.core.errors import UnwritableError
from voxelcast.report.depth import Depth, layer_order
from voxelcast.report.facts import (
    MOST_LAYERS,
    citations,
    duration,
    exclusion_rows,
    flatten,
    gain_rows,
    layer_rows,
    memory,
    step_rows,
    weight_rows,
)
from voxelcast.report.figures import (
    CEILING_COLOUR,
    HELD_OUT_COLOUR,
    PALETTE,
    STYLE,
    SUBJECT_COLOUR,
    Panel,
    jpeg,
    picture,
)
from voxelcast.report.heatmap import GRADIENT, Heatmap, heatmap, layer_map, roi_table, significance
from voxelcast.report.optuna_figures import optuna_panels
from voxelcast.report.panels import (
    example_panels,
    in_trials,
    layer_profiles,
    overview_panel,
    partition_panel,
    search_histories,
    voxel_histograms,
)
from voxelcast.report.plot_data import explorer_data
from voxelcast.report.summary import (
    Measure,
    Row,
    choose_measure,
    findings,
    network_label,
    number,
    overall_row,
    plural,
    roi_rows,
    strip_axis,
)
from voxelcast.report.training_panels import training
from voxelcast.report.variance_parts import SHARED_COLOUR, group_colours, group_rows, part_rows
from voxelcast.results.read import Results, extreme_stimuli, read_results
from voxelcast.results.schema import Pair
from voxelcast.store.atomic import write_text

_OURS: Final = re.compile("<title>[^<]*· voxelcast(?: report)?</title>".encode())

_SOURCES: Final = {"nested_cv": "nested CV", "held_out": "held-out stimuli", "none": "not measured"}
MOST_PANELS: Final = 60
"""ROIs that get figures of their own; beyond, the tables and CSV files have the numbers and the report says so."""


def write_report(output: Path) -> Path:
    """Write ``report.html`` into an experiment's output folder and return its path.

    The folder holds config.yaml, provenance.json, scores.csv, search.csv, exclusions.csv, layers.csv, notes.json and
    voxels/; the same folder gives the same bytes. Raises MissingFileError or DataError if a file is missing or cannot
    be understood, UnwritableError if the folder cannot be written to.
    """
    output = Path(output)
    results = read_results(output)
    path = output / "report.html"
    content = _content(results) | scripts("pick", "chart", "save")
    write_page(path, environment().get_template("report.html.j2").render(content))
    return path


def write_page(path: Path, text: str) -> None:
    """Write a page; raises UnwritableError where a file lies there that is no page of ours."""
    if path.is_file() and not _OURS.search(path.read_bytes()[:5000]):
        raise UnwritableError(f"{path} is there already, and no page of voxelcast's; choose another name, or move it")
    write_text(path, text)


def scripts(*names: str) -> dict[str, Any]:
    """Read the page's scripts and the hashes that allow them, and no others, to run, for the template."""
    folder = importlib.resources.files("voxelcast.report") / "templates"
    texts = [(folder / f"{name}.js").read_text(encoding="utf-8") for name in names]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    # They are ours: no text from outside is in them.
    return {
        "scripts": [markupsafe.Markup(text) for text in texts],
        "script_hashes": markupsafe.Markup(" ".join(f"'sha256-{digest}'" for digest in hashes)),
    }


def environment() -> jinja2.Environment:
    """Return the templates' environment: everything from outside is escaped, unknown names are errors."""
    folder = importlib.resources.files("voxelcast.report") / "templates"
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["gradient"] = GRADIENT
    made.filters |= {
        "number": number,
        "duration": duration,
        "memory": memory,
        "whole": _whole,
        "plural": plural,
        "setting": _setting,
        "slug": _slug,
    }
    return made


def _content(results: Results) -> dict[str, Any]:
    measure = choose_measure(results.scores)
    rows = roi_rows(results, measure)
    overall = overall_row(rows)
    depth = layer_order(results)
    scores = results.scores.sort_values("roi", kind="stable", key=lambda column: column.map(results.rois.index))
    return _figures(results, depth, measure, rows) | {
        "results": results,
        "measure": measure,
        "rows": rows,
        "overall": overall,
        "axis": strip_axis(rows),
        "findings": findings(results, measure, rows, overall),
        "score_map": _map(results, measure.column, titles=_pair_titles(results, measure)),
        "normalised_map": _map(results, "noise_normalised_r", top=1.0),
        "has_ceiling": bool(results.scores["noise_ceiling_r"].notna().any()),
        "has_unscored": bool((results.scores["n_voxels_without_score"] > 0).any()),
        "has_tests": bool(results.scores["n_significant_voxels"].notna().any()),
        "has_held_out": bool(results.scores["held_out_score"].notna().any()),
        "has_held_out_ceiling": bool(results.scores["held_out_noise_ceiling_r"].notna().any()),
        "has_pools": any(pool for *_, pool in depth.layers),
        "pairs": scores.to_dict("records"),
        "score_sources": {name: _SOURCES.get(name, name) for name in dict.fromkeys(scores["score_from"])},
        "networks": [(network_label(*network), colour) for network, colour in depth.colours.items()],
        "layers": layer_rows(results, depth),
        "chosen_map": layer_map(results, depth),
        "letters": [(letter, network_label(*network)) for network, letter in depth.letters.items()],
        "tested": significance(results),
        "weights": weight_rows(results),
        "weights_shown": MOST_LAYERS,
        "gains": gain_rows(results),
        "citations": citations(results),
        "explorer": explorer_data(results, depth),
        "network_label": network_label,
        "partition_colours": {"shared": SHARED_COLOUR, "ink": "#1b1f24"},
        "exclusions": exclusion_rows(results),
        "steps": step_rows(results.provenance),
        "provenance": flatten(results.provenance),
        "colours": {
            "mean": PALETTE[0],
            "chosen": PALETTE[1],
            "subject": SUBJECT_COLOUR,
            "neutral": "#57606a",
            "ceiling": CEILING_COLOUR,
            "held_out": HELD_OUT_COLOUR,
        },
    }


def _figures(results: Results, depth: Depth, measure: Measure, rows: Sequence[Row]) -> dict[str, Any]:
    """Draw everything that is a picture."""
    rois = results.rois[:MOST_PANELS]
    with matplotlib.rc_context(STYLE):
        return {
            "overview": overview_panel(rows, measure) if any(row.values for row in rows) else None,
            "stimuli": _stimuli(results),
            "profiles": layer_profiles(results, depth, rois),
            "histories": search_histories(results, rois),
            "in_trials": in_trials(results),
            "histograms": voxel_histograms(results, rois),
            "studies": optuna_panels(results, depth, rois),
            "examples": example_panels(results, rois),
            "brain_maps": [picture(path, f"Brain map: {path.stem.replace('_', ' ')}.") for path in results.brain_maps],
            "partition": _partition(results, rois),
            "training": training(results),
            "n_without_figures": len(results.rois) - len(rois),
        }


def _stimuli(results: Results) -> list[tuple[str, list[Panel]]]:
    """Gather the pictures of the stimuli predicted best and worst, each told in words too."""
    titles = {"best": "Best", "worst": "Worst"}
    shown: dict[str, list[Panel]] = {end: [] for end in titles}
    for name, stimulus_id, r in extreme_stimuli(results.stimuli) if results.thumbnails else ():
        if name in results.thumbnails:
            end = name.partition("-")[0]
            alt = f"Stimulus {stimulus_id}, of those predicted {end}: pattern correlation {number(r)}."
            shown[end].append(jpeg(results.thumbnails[name].tobytes(), f"{stimulus_id}: r = {number(r)}", alt))
    return [(titles[end], pictures) for end, pictures in shown.items() if pictures]


def _partition(results: Results, rois: Sequence[str]) -> dict[str, Any] | None:
    """Lay out unique and shared variance and draw those of some ROIs; None where variance was not divided."""
    if results.partition.empty:
        return None
    divided = set(results.partition["roi"])
    rows = [row for roi in results.rois for row in part_rows(results, roi)]
    return {
        "groups": list(group_colours(results).items()),
        "rows": rows,
        "preferences": [row for roi in results.rois for row in group_rows(results, roi)],
        "panels": {roi: partition_panel(results, roi) for roi in rois if roi in divided},
        "n_negative": sum(row.kind != "model" and row.r2 < 0 for row in rows),
    }


def _map(results: Results, column: str, **options: Any) -> Heatmap | None:
    """Lay out a column of scores.csv by ROI and subject; None if it holds no finite value."""
    table = roi_table(results, results.scores[column])
    return heatmap(table, **options) if np.isfinite(table).any(axis=None) else None


def _pair_titles(results: Results, measure: Measure) -> dict[Pair, str]:
    """Say in one line what was found for each subject and ROI."""
    titles = {}
    named = ("network", "layer", "pool", "encoder")
    for row in results.scores.to_dict("records"):
        low, high, ceiling = (number(row[name]) for name in ("score_low", "score_high", "noise_ceiling_r"))
        interval = "" if measure.is_selection else f" ({low} to {high})"
        titles[str(row["subject"]), str(row["roi"])] = (
            f"{row['roi']}, {row['subject']}: {number(row[measure.column])}{interval}, noise ceiling {ceiling}; "
            f"{', '.join(row[name] for name in named if row[name])}"
        )
    return titles


def _setting(text: str) -> str:
    """Show long decimals of ``"relative_alpha=0.49417133613238384"`` with four digits; scores.csv has them all."""
    return re.sub(r"\d+\.\d{4,}(?:e[-+]?\d+)?", lambda found: f"{float(found[0]):.4g}", text)


def _slug(text: str) -> str:
    """Make a name of a file: letters, digits and hyphens."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.") or "figure"


def _whole(value: float) -> str:
    """Show a count; a dash where it is not known."""
    return "—" if value != value else f"{value:,.0f}"
