"""Unique and shared variance on the page: the numbers of the file, for everyone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.browser import Visit
from tests.report.conftest import Page, read_page
from voxelcast.report.panels import partition_panel
from voxelcast.report.variance_parts import group_colours, part_rows
from voxelcast.testing.results import example_results, write_output

SMALL: Any = {"subjects": ("sub01", "sub02"), "rois": ("LOC", "V1"), "n_layers": 2, "n_settings": 2}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_output(tmp_path_factory.mktemp("divided") / "output", **SMALL, groups=("early", "late"))


@pytest.fixture(scope="module")
def page(output: Path) -> Page:
    return read_page(output)


def test_the_table_has_the_means_of_the_file(page: Page, output: Path) -> None:
    table = page.table("Unique and shared variance")
    labels = ["explained by early", "explained by late", "explained by early and late"]
    labels += ["unique to early", "unique to late", "shared by early and late"]
    assert list(table["part"]) == 2 * labels
    assert list(table["ROI"]) == 6 * ["V1"] + 6 * ["LOC"]
    rows = pd.read_csv(output / "variance_partitioning.csv")
    means = rows[rows["roi"] == "V1"].groupby(["kind", "part"], sort=False)[["r2", "low", "high"]].mean()
    shown = [f"{value:.3f}".replace("-", "−") for value in means["r2"]]
    assert list(table["R²"][:6]) == shown
    low, high = (f"{means[end].iloc[0]:.3f}" for end in ("low", "high"))
    assert table["95 % interval"][0] == f"{low} to {high}"
    assert set(table["subjects"]) == {"2"}


def test_the_figures_say_what_they_show(page: Page) -> None:
    alts = [a["alt"] for a in page.attributes("img") if a["alt"].startswith("Unique and shared variance in V1")]
    assert len(alts) == 1
    for said in ("all together 0.", "unique to early 0.", "unique to late −0.", "noise ceiling 0.500"):
        assert said in alts[0]
    assert "below 0" in page.text
    assert "#variance" in [a.get("href") for a in page.attributes("a")]


@pytest.mark.usefixtures("unrendered")
def test_without_the_file_there_is_no_section(tmp_path: Path) -> None:
    page = read_page(write_output(tmp_path / "output"))
    assert "Unique and shared" not in page.html
    assert "#variance" not in [a.get("href") for a in page.attributes("a")]


@pytest.mark.usefixtures("unrendered")
@pytest.mark.parametrize("groups", [("a", "b", "c"), ("a", "b", "c", "d")])
def test_more_groups_have_every_part(groups: tuple[str, ...]) -> None:
    results = example_results(**SMALL, groups=groups, partition_ceiling=np.nan)
    rows, colours = part_rows(results, "V1"), group_colours(results)
    assert len(rows) == 2 * (2 ** len(groups) - 1)
    assert colours.keys() == set(groups)
    assert len(set(colours.values())) == len(groups)
    assert "shared by a, b and c" in [row.label for row in rows]
    assert "noise ceiling" not in partition_panel(results, "V1").alt


@pytest.mark.parametrize("width", [1280, 390])
def test_for_everyone(visit: Callable[..., Visit], output: Path, page: Page, width: int) -> None:
    visited = visit(output / "report.html", width=width, offline=True)
    assert visited.audit() == []
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visited.problems == []
    panels = visited.page.locator("#variance img:visible")
    assert panels.count() == 2
    visited.page.locator("select[name=roi]").select_option("LOC")
    assert panels.count() == 1
    assert visited.page.locator("#variance tbody tr:visible").count() == 6 + 2
