"""Reports of synthetic output folders, and a reader of their HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.browser import browser, visit
from voxelcast.report import optuna_figures, panels
from voxelcast.report.figures import Panel
from voxelcast.report.page import write_report
from voxelcast.testing.results import write_output

__all__ = ["browser", "visit"]

VOID = {"meta", "img", "link", "br", "hr", "input"} | {"line", "circle"}


@dataclass
class Page(HTMLParser):
    """What the tests ask of a page: tables by label, tags with their attributes, visible text."""

    html: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._rows: list[list[str]] | None = None
        self._label = ""
        self.feed(self.html)
        assert self._open == [], f"unclosed tags: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._label = [], attributes.get("aria-label", "")
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("td", "th") and self._rows is not None:
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another tag"
        if tag == "table" and self._rows is not None:
            self.tables[self._label.strip()] = self._rows
            self._rows = None

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in ("style", "title", "script"):
            return
        self.text += data
        if inside == "caption":
            self._label += data
        elif self._rows and self._rows[-1] and "tr" in self._open:
            self._rows[-1][-1] += data

    def attributes(self, tag: str) -> list[dict[str, str]]:
        """Attributes of every tag of that name."""
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, label: str) -> pd.DataFrame:
        """Return the table whose label or caption begins so, first row as header."""
        rows = next(rows for name, rows in self.tables.items() if name.startswith(label))
        return pd.DataFrame(
            [[*(cell.strip() for cell in row), *[""] * (len(rows[0]) - len(row))] for row in rows[1:]],
            columns=[c.strip().replace("\xa0", " ") for c in rows[0]],
        )


def read_page(output: Path) -> Page:
    """Write the report of a folder and read it."""
    return Page(write_report(output).read_text(encoding="utf-8"))


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures but turn none into SVG, which takes most of a report's time; for tests of what the page says."""

    def inline(figure: Figure, title: str, alt: str, table: pd.DataFrame | None = None) -> Panel:
        return Panel(title, "data:,", alt, 1, 1)

    for module in (panels, optuna_figures):
        monkeypatch.setattr(module, "inline", inline)


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects, three ROIs, two networks, a search in trials, held-out scores."""
    return write_output(
        tmp_path_factory.mktemp("several") / "output",
        subjects=["sub01", "sub02", "sub03"],
        rois=["LOC", "mine", "V1"],
        networks=["torchvision/resnet18", "torchvision/alexnet"],
        n_layers=4,
        n_settings=6,
        held_out=True,
        method="random",
    )


@pytest.fixture(scope="session")
def page(several: Path) -> Page:
    """Page of ``several``."""
    return read_page(several)
