"""Put the report together: one HTML file that needs nothing else."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path
from typing import Any, Final

import jinja2
import matplotlib

from voxelcast.report.facts import duration, exclusion_rows, flatten, layer_rows, step_rows
from voxelcast.report.figures import PALETTE, STYLE, SUBJECT_COLOUR
from voxelcast.report.heatmap import heatmap
from voxelcast.report.layer_profile import layer_order, layer_profiles
from voxelcast.report.results import Results, read_results
from voxelcast.report.search_history import search_histories
from voxelcast.report.strips import strip, strip_axis
from voxelcast.report.summary import (
    choose_measure,
    chosen_counts,
    findings,
    network_label,
    number,
    overall_row,
    plural,
    roi_rows,
)
from voxelcast.report.voxel_histogram import CEILING_COLOUR, HELD_OUT_COLOUR, SCORE_COLOUR, voxel_histograms
from voxelcast.store.atomic import write_text

MOST_PANELS: Final = 60
"""ROIs that get figures of their own; beyond, the tables and CSV files have the numbers and the report says so."""


def write_report(output: Path) -> Path:
    """Write ``report.html`` into an experiment's output folder.

    The same folder gives the same bytes.

    Parameters
    ----------
    output : Path
        Folder with config.yaml, provenance.json, scores.csv, search.csv, exclusions.csv, layers.csv, notes.json and
        voxels/.

    Returns
    -------
    path : Path
        Of the report.

    Raises
    ------
    MissingFileError
        If the folder or one of its files is missing.
    DataError
        If a file cannot be understood.
    UnwritableError
        If the folder cannot be written to.
    """
    output = Path(output)
    results = read_results(output)
    path = output / "report.html"
    write_text(path, _environment().get_template("report.html.j2").render(_content(results)))
    return path


def _environment() -> jinja2.Environment:
    folder = importlib.resources.files("voxelcast.report") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "duration": duration,
        "whole": _whole,
        "plural": plural,
        "setting": _setting,
    }
    return environment


def _content(results: Results) -> dict[str, Any]:
    measure = choose_measure(results.scores)
    rows = roi_rows(results, measure)
    overall = overall_row(rows)
    axis = strip_axis(rows)
    depth = layer_order(results)
    panel_rois = results.rois[:MOST_PANELS]
    with matplotlib.rc_context(STYLE):
        profiles = layer_profiles(results, depth, panel_rois)
        histories = search_histories(results, panel_rois)
        histograms = voxel_histograms(results, panel_rois)
    in_order = results.scores.assign(place=[results.rois.index(roi) for roi in results.scores["roi"]])
    scores = in_order.sort_values("place", kind="stable")
    return {
        "results": results,
        "measure": measure,
        "rows": rows,
        "overall": overall,
        "axis": axis,
        "strips": [strip(row, axis) for row in rows],
        "findings": findings(results, measure, rows, overall),
        "score_map": heatmap(results.scores, measure.column, results.rois, results.subjects),
        "normalised_map": heatmap(results.scores, "noise_normalised_r", results.rois, results.subjects, top=1.0),
        "has_ceiling": bool(results.scores["noise_ceiling_r"].notna().any()),
        "has_unscored": bool((results.scores["n_voxels_without_score"] > 0).any()),
        "has_tests": bool(results.scores["n_significant_voxels"].notna().any()),
        "has_held_out": bool(results.scores["held_out_score"].notna().any()),
        "pairs": scores.to_dict("records"),
        "counts": chosen_counts(results),
        "networks": [(network_label(*network), colour) for network, colour in depth.colours.items()],
        "layers": layer_rows(results, depth),
        "profiles": profiles,
        "histories": histories,
        "histograms": histograms,
        "n_without_figures": len(results.rois) - len(panel_rois),
        "n_candidates": len(results.search),
        "n_without_voxels": len(results.scores) - len(results.voxels),
        "exclusions": exclusion_rows(results),
        "steps": step_rows(results.provenance),
        "provenance": flatten(results.provenance),
        "colours": {
            "mean": PALETTE[0],
            "chosen": PALETTE[1],
            "subject": SUBJECT_COLOUR,
            "neutral": "#57606a",
            "score": SCORE_COLOUR,
            "ceiling": CEILING_COLOUR,
            "held_out": HELD_OUT_COLOUR,
        },
    }


def _setting(text: str) -> str:
    """Show long decimals of ``"relative_alpha=0.49417133613238384"`` with four digits; scores.csv has them all."""
    return re.sub(r"\d+\.\d{4,}(?:e[-+]?\d+)?", lambda found: f"{float(found[0]):.4g}", text)


def _whole(value: float) -> str:
    """Show a count; a dash where it is not known."""
    return "—" if value != value else f"{value:,.0f}"
