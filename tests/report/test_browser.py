"""The pages in a real browser: offline, by keyboard, on a phone, on paper, and for everyone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.browser import Visit
from voxelcast.report.comparison_page import write_comparison
from voxelcast.report.page import write_report
from voxelcast.testing.results import ROIS, write_output

Visiting = Callable[..., Visit]


@pytest.fixture(scope="module")
def pages(several: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report and a comparison."""
    root = tmp_path_factory.mktemp("pages")
    outputs = [
        write_output(root / name, subjects=["sub01", "sub02"], rois=ROIS, n_layers=2, n_settings=2, name=name, seed=k)
        for k, name in enumerate(("pca-50", "umap-50", "none"))
    ]
    return {"report": write_report(several), "comparison": write_comparison(outputs, root / "comparison.html")}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_offline_without_a_fault_and_for_everyone(
    visit: Visiting, pages: dict[str, Path], name: str, width: int
) -> None:
    """No request but the file, nothing on the console, no rule of WCAG 2.2 AA broken, no sideways scrolling."""
    visited = visit(pages[name], width=width, offline=True, color_scheme="dark" if width == 390 else "light")
    assert visited.requests == [pages[name].resolve().as_uri()]
    assert visited.audit() == []
    assert visited.page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    assert visited.page.evaluate(broken) == 0
    assert visited.problems == []


def _tab_to(visited: Visit, selector: str) -> None:
    for _ in range(200):
        visited.page.keyboard.press("Tab")
        if visited.page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"{selector} cannot be reached with the Tab key")


def test_picking_by_keyboard(visit: Visiting, pages: dict[str, Path]) -> None:
    page = (visited := visit(pages["report"])).page
    rows = page.locator("table:has(caption:text('The model chosen')) tbody tr:visible")
    everything = page.locator("img:visible").count()
    assert rows.count() == 9
    _tab_to(visited, "select[name=roi]")
    page.keyboard.type("LOC")
    assert page.locator("select[name=roi]").input_value() == "LOC"
    assert rows.count() == 3
    assert page.locator("img:visible").count() == 1 + (everything - 1) / 3  # all ROIs are in one figure
    assert "Shown: LOC, all subjects, all networks." in page.locator("[role=status]").inner_text()
    _tab_to(visited, "select[name=subject]")
    page.keyboard.type("sub02")
    assert rows.all_inner_texts()[0].split()[:2] == ["LOC", "sub02"]
    assert rows.count() == 1
    heads = page.locator("table.heatmap").first.locator("thead th:visible").all_inner_texts()
    assert heads == ["ROI", "sub02", "mean"]
    _tab_to(visited, "button[type=reset]")
    page.keyboard.press("Enter")
    # Playwright's wait_for_function needs eval, which the page forbids.
    page.locator("[role=status]", has_text="all ROIs").wait_for()
    assert rows.count() == 9
    assert page.locator("img:visible").count() == everything
    assert visited.problems == []


def test_chart_by_keyboard_and_pointer(visit: Visiting, pages: dict[str, Path], several: Path) -> None:
    """What the chart reads out are means of search.csv."""
    search = pd.read_csv(several / "search.csv")
    best = search.groupby(["roi", "subject", "network", "layer"])["score"].max()
    page = (visited := visit(pages["report"])).page
    chart, said = page.locator("#chart svg").first, page.locator("#chart output")
    _tab_to(visited, "#chart svg")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    mean = best.unstack("layer").groupby("network").mean().loc["torchvision/resnet18", "layer1.1.conv"]
    assert said.inner_text().startswith(f"torchvision/resnet18 (random), layer 2 of 4 (layer1.1.conv): {mean:.3f}.")
    page.keyboard.press("ArrowDown")
    assert said.inner_text().startswith("torchvision/alexnet (random), layer 2 of 4")
    page.keyboard.press("ArrowLeft")
    assert "layer 1 of 4" in said.inner_text()

    page.locator("select[name=roi]").select_option("V1")
    page.locator("select[name=network]").select_option("torchvision/alexnet (random)")
    assert page.locator("#chart li").all_inner_texts() == ["mean over subjects", "sub01", "sub02", "sub03"]
    page.locator("select[name=subject]").select_option("sub03")
    score = best["V1", "sub03", "torchvision/alexnet", "layer1.3.conv"]
    chart.hover()  # brings it into view
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 15, box["y"] + box["height"] / 2)  # the last layer is at the right
    assert said.inner_text().startswith(f"sub03, layer 4 of 4 (layer1.3.conv): {score:.3f}.")
    assert visited.problems == []


def test_every_figure_can_be_saved(visit: Visiting, pages: dict[str, Path], several: Path) -> None:
    """As SVG and PNG, and its numbers as CSV."""
    page = (visited := visit(pages["report"])).page
    assert page.locator("figure").count() == page.locator("figure a[download$='.csv']:visible").count() == 19
    saved = {}
    for kind in ("svg", "png", "csv"):
        with page.expect_download() as waiting:
            page.locator(f"a[download='layers-V1.{kind}']").click()
        assert waiting.value.suggested_filename == f"layers-V1.{kind}"
        saved[kind] = waiting.value.path()
    assert "</svg>" in saved["svg"].read_text()
    with Image.open(saved["png"]) as picture:
        assert picture.size == (3 * 336, 3 * 226)
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    numbers = pd.read_csv(saved["csv"]).set_index(["network", "layer"])
    search = pd.read_csv(several / "search.csv")
    best = search[search["roi"] == "V1"].groupby(["network", "layer", "subject"])["score"].max().unstack()
    best.index = best.index.set_levels([f"{name} (random)" for name in best.index.levels[0]], level=0)
    pd.testing.assert_frame_equal(numbers, best.reindex(numbers.index), check_names=False, atol=1e-6)
    assert visited.problems == []


def test_on_a_phone_the_graphic_of_each_roi_is_whole(visit: Visiting, pages: dict[str, Path]) -> None:
    page = visit(pages["report"], width=390).page
    for strip in page.locator(".rois svg.strip").all():
        box = strip.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert 300 <= box["width"] <= 390 - box["x"]


def test_comparison_by_keyboard(visit: Visiting, pages: dict[str, Path]) -> None:
    page = (visited := visit(pages["comparison"])).page
    _tab_to(visited, "select[name=subject]")
    page.keyboard.type("umap")
    rows = page.locator("table.heatmap").first.locator("tbody th:visible").all_inner_texts()
    assert rows == ["umap-50"]


def test_without_script_everything_can_be_read(visit: Visiting, pages: dict[str, Path]) -> None:
    page = visit(pages["report"], java_script_enabled=False).page
    assert not page.locator("#pick").is_visible()
    assert not page.locator("#chart").is_visible()
    assert page.locator("table:has(caption:text('The model chosen')) tbody tr:visible").count() == 9
    assert page.locator("img:visible").count() == 19


def test_on_paper(visit: Visiting, pages: dict[str, Path]) -> None:
    """Controls are not printed, figures are, and no table is cut off at the margin of A4."""
    page = visit(pages["report"], width=718).page  # A4 less margins of 1 cm, at 96 dots per inch
    page.emulate_media(media="print")
    assert not page.locator("#pick").is_visible()
    assert not page.locator("#chart").is_visible()
    assert page.locator("img:visible").count() == 19
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.slow
def test_full_scale(visit: Visiting, tmp_path: Path) -> None:
    """10 subjects x 9 ROIs x 25 layers: below 15 MB, first content within a second (the best of three)."""
    subjects = [f"sub{i:02d}" for i in range(1, 11)]
    path = write_report(write_output(tmp_path / "o", subjects=subjects, rois=ROIS, n_layers=25, n_settings=20))
    assert path.stat().st_size < 15e6
    visits = [visit(path) for _ in range(3)]
    assert np.min([visited.first_content_ms() for visited in visits]) < 1000
    assert visits[0].audit() == []
    assert visits[0].problems == []
