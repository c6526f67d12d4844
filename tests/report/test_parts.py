"""Small parts of the report against brute force."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxelcast.report import page
from voxelcast.report.depth import layer_order
from voxelcast.report.facts import duration, flatten, memory, step_rows
from voxelcast.report.plot_data import parse_hyperparameters, staircase
from voxelcast.report.summary import Mean, mean_or_nan, number, strip_axis
from voxelcast.results.read import read_results
from voxelcast.testing.results import write_output


@given(st.lists(st.one_of(st.floats(-1, 1), st.just(float("nan"))), min_size=1, max_size=30))
def test_staircase_is_the_running_best(scores: list[float]) -> None:
    steps = staircase(np.array(scores))
    for place, value in enumerate(steps):
        there = [score for score in scores[: place + 1] if np.isfinite(score)]
        assert value == max(there) if there else np.isnan(value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("n_components=4", {"n_components": 4.0}),
        ("relative_alpha=1e-05; n_components=12", {"relative_alpha": 1e-5, "n_components": 12.0}),
        ("kernel=rbf; width=2.5", {"width": 2.5}),
        ("", {}),
    ],
)
def test_parse_hyperparameters(text: str, values: dict[str, float]) -> None:
    assert parse_hyperparameters(text) == values


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (-0.5, "−0.500"), (-0.0001, "0.000"), (float("nan"), "—"), (float("inf"), "—")],
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.123, "0.12 s"),
        (12.4, "12 s"),
        (61.0, "1 min 1 s"),
        (3599.7, "1 h 0 min"),
        (7384.0, "2 h 3 min"),
        (59.8, "1 min 0 s"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_mean_leaves_out_what_is_not_finite() -> None:
    assert mean_or_nan([0.25, float("nan"), 0.75, float("inf")]) == 0.5
    assert np.isnan(mean_or_nan([float("nan")]))
    assert np.isnan(mean_or_nan([]))


def test_flatten_and_steps() -> None:
    tree = {"a": {"b": 1, "c": [1, 2]}, "d": None, "e": {"x": {"y": 3, "z": None}, "w": {"v": {"u": 2}}}, "f": []}
    assert flatten(tree) == [
        ("a.b", "1"),
        ("a.c", "1 2"),
        ("d", "—"),
        ("e.x", "y: 3, z: —"),
        ("e.w.v", "u: 2"),
        ("f", "—"),
    ]
    steps = {
        "fit/a": {"seconds": 2, "peak_mb": 5.0},
        "pca/b": {"seconds": 8.0, "peak_mb": None},
        "fit/c/d": {"seconds": 4, "peak_mb": 7.0},
        "odd/e": {"key": "1"},
    }
    rows = step_rows({"steps": steps})
    assert [(*row[:4], memory(row[4]), row[5]) for row in rows] == [
        ("fit", 2, 6.0, 4.0, "7 MB", 0.75),
        ("pca", 1, 8.0, 8.0, "—", 1.0),
    ]
    assert step_rows({}) == []


def test_strips_share_one_axis() -> None:
    rows = [Mean(0.2, 0.1, 0.3, 0.8, (0.1, 0.3)), Mean(-0.2, values=(-0.2,))]
    axis = strip_axis(rows)
    assert (axis.low, axis.high, axis.labels) == (-0.2, 0.8, ("−0.200", "0.800"))
    macros: Any = page.environment().get_template("macros.html.j2").module
    # zero, subjects, interval, mean, ceiling: 2 + 96 * (value + 0.2) / 1.0
    for row, wanted in zip(
        rows,
        (["21.2", "21.2", "30.8", "50.0", "30.8", "50.0", "40.4", "98.0", "98.0"], ["21.2", "21.2", "2.0"]),
        strict=True,
    ):
        assert re.findall(r'[cx][x12]="([\d.]+)%"', macros.strip_svg(row, axis)) == wanted
    assert axis.position(float("nan")) is None


def test_layers_go_by_depth_not_by_order_of_search(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", n_layers=3)
    search = pd.read_csv(output / "search.csv")
    pd.concat([search.iloc[::-1], search.iloc[:1].assign(layer="late", weights="default")]).to_csv(
        output / "search.csv", index=False
    )
    depth = layer_order(read_results(output))
    assert depth.layers["torchvision/resnet18", "random", ""] == ("layer1.0.conv", "layer1.1.conv", "layer1.2.conv")
    assert depth.layers["torchvision/resnet18", "default", ""] == ("late",)
    assert len(set(depth.colours.values())) == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("relative_alpha=0.49417133613238384", "relative_alpha=0.4942"),
        ("relative_alpha=1.2067926406393288e-05; n_components=12", "relative_alpha=1.207e-05; n_components=12"),
        ("relative_alpha=0.01", "relative_alpha=0.01"),
    ],
)
def test_settings_are_shown_with_four_digits(text: str, shown: str) -> None:
    assert page._setting(text) == shown
