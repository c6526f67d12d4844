"""The page needs nothing else, can be read by everyone, and is the same each time."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.report.conftest import Page, read_page
from voxelcast.report.page import write_report
from voxelcast.testing.results import ROIS, write_output


def _svgs(page: Page) -> list[str]:
    prefix = "data:image/svg+xml;base64,"
    return [base64.b64decode(a["src"].removeprefix(prefix)).decode() for a in page.attributes("img")]


def test_nothing_is_fetched(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "srcset", "poster", "action", "data", "xlink:href"):
            if tag != "form":
                assert attributes.get(name, "data:").startswith("data:"), (tag, name)
        assert attributes.get("href", "#").startswith(("#", "data:text/csv"))
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in page.html
    assert "url(" not in page.html
    policy = next(a["content"] for a in page.attributes("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    for svg in _svgs(page):
        assert not re.search(r'(href|src)="(?!#|data:image/png)', svg)
        assert "@import" not in svg
        assert not re.search(r"url\((?!#)", svg)


def test_only_our_scripts_may_run(page: Page) -> None:
    policy = next(a["content"] for a in page.attributes("meta") if a.get("http-equiv") == "Content-Security-Policy")
    scripts = re.findall(r"<script>(.*?)</script>", page.html, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert policy.split("script-src ")[1] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert len(scripts) == 3


def test_every_figure_says_what_it_shows(page: Page) -> None:
    images = page.attributes("img")
    # Of all ROIs the overview; per ROI: profile, best so far, two settings, voxels, measured against predicted.
    assert len(images) == 1 + 3 * 6
    alts = [attributes["alt"] for attributes in images]
    assert all(len(alt) > 40 for alt in alts)
    assert len(set(alts)) == len(alts)


def test_figures_hold_no_date_and_use_the_readers_font(page: Page) -> None:
    for svg in _svgs(page):
        assert "<dc:date>" not in svg
        assert "system-ui" in svg
        assert "DejaVu" not in svg


def test_structure(page: Page) -> None:
    assert page.html.startswith("<!DOCTYPE html>")
    assert page.attributes("html")[0]["lang"] == "en"
    assert any("width=device-width" in a.get("content", "") for a in page.attributes("meta"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in page.attributes("a") if a.get("href", "").startswith("#")]
    assert set(links) <= set(ids)
    assert len(links) >= 8
    assert all("scope" in a for a in page.attributes("th"))
    assert len(page.tables) == len(page.attributes("table"))
    assert "" not in page.tables


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_contrast_of_heatmap_cells(page: Page) -> None:
    """WCAG 2 level AA: at least 4.5 to 1."""
    pairs = [re.findall(r"#[0-9a-f]{6}", a["style"]) for a in page.attributes("td") if "heat" in a.get("class", "")]
    # Scores, noise-normalised ones and significance with a column of means, and the layers chosen.
    assert len(pairs) == 3 * 3 * 4 + 3 * 3
    for background, ink in pairs:
        light, dark = sorted((_luminance(background), _luminance(ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.slow
def test_same_folder_same_bytes(tmp_path: Path) -> None:
    output = write_output(tmp_path / "output", subjects=["sub01", "sub02"], n_layers=1, n_settings=2)
    first = write_report(output).read_bytes()
    assert write_report(output).read_bytes() == first
    code = (
        "import sys, pathlib; from voxelcast.report.page import write_report; write_report(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(output)], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert (output / "report.html").read_bytes() == first
    assert sorted(path.name for path in output.iterdir() if path.name.startswith(".")) == []


@pytest.mark.usefixtures("unrendered")
def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    output = write_output(tmp_path / "output", rois=["<b>V1&"], subjects=['"><img src=x>'])
    (output / "config.yaml").write_text(f"name: '{evil}'\n")
    (output / "notes.json").write_text(f'["{evil}"]')
    page = read_page(output)
    assert len(page.attributes("script")) == 4  # the numbers and our three scripts
    assert page.text.count(evil) == 3
    assert all(a["src"].startswith("data:") for a in page.attributes("img"))
    assert "<b>V1&" in page.text


@pytest.mark.slow
def test_size_at_full_scale(tmp_path: Path) -> None:
    """10 subjects x 9 ROIs x 25 layers x 100 settings: 225,000 candidates."""
    subjects = [f"sub{i:02d}" for i in range(1, 11)]
    output = write_output(tmp_path / "output", subjects=subjects, rois=ROIS, n_layers=25, n_settings=100, n_voxels=300)
    page = read_page(output)
    assert len(page.html) < 15e6
    assert "225,000 candidates were tried in all" in page.text
