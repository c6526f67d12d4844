"""A real browser for the tests of pages: what was asked for, what went wrong, and an audit of accessibility.

Import both fixtures into a conftest.py: ``from tests.browser import browser, visit``. Tests that use them are skipped,
with the reason, where Playwright or Chromium is missing. VOXELCAST_CHROMIUM names a Chromium that is not on the PATH.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["Visit", "browser", "visit"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# WCAG 2.0 to 2.2, levels A and AA: contrast, names of controls, structure, labels.
_RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


@dataclass
class Visit:
    """A page that is open, and what happened while it was opened and used.

    Parameters
    ----------
    page : playwright.sync_api.Page
    requests : list of str
        Addresses that were asked for, the page's own first; data: addresses are no requests.
    problems : list of str
        Console errors and warnings, uncaught exceptions, failed requests and answers of 400 or above.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def first_content_ms(self) -> float:
        """Return the time from the start of the navigation to the first text or picture on the screen."""
        # Headless pages paint with the next frame after they are looked at. Playwright's own waiting needs eval, which
        # a page may forbid.
        look = """() => new Promise(found => {
            const look = () => {
                const [paint] = performance.getEntriesByName('first-contentful-paint');
                if (paint) found(paint.startTime); else requestAnimationFrame(look);
            };
            look();
        })"""
        return float(self.page.evaluate(look))

    def audit(self) -> list[str]:
        """Run axe-core over the page as it is now; return a line for each element that breaks a rule."""
        pytest.importorskip("axe_playwright_python", reason="axe-core is missing; pip install 'voxelcast[browser]'")
        found = importlib.util.find_spec("axe_playwright_python")
        assert found is not None
        assert found.origin is not None
        self.page.evaluate((Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
        result: dict[str, Any] = self.page.evaluate(
            "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", list(_RULES)
        )
        return [
            f"{violation['id']} ({violation['impact']}): {node['html'][:160]}: {node['failureSummary']}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium.

    One for each module: while it is open, Playwright's event loop runs in this thread and other modules may want one.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is missing; pip install 'voxelcast[browser]'"
    )
    found = os.environ.get("VOXELCAST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    with playwright.sync_playwright() as engine:
        if found is None and not Path(engine.chromium.executable_path).is_file():
            pytest.skip("no Chromium on the PATH; install one, run 'playwright install chromium', or set "
                        "VOXELCAST_CHROMIUM")  # fmt: skip
        # Tests run as root in containers, where Chromium's own sandbox cannot be made.
        opened = engine.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a file or an address: ``visit(path, width=390, offline=True, java_script_enabled=False, ...)``."""
    contexts = []

    def go(where: Path | str, *, width: int = 1280, height: int = 900, **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        visited = Visit(context.new_page())
        _watch(visited)
        visited.page.goto(where.resolve().as_uri() if isinstance(where, Path) else where)
        return visited

    yield go
    for context in contexts:
        context.close()


def _watch(visited: Visit) -> None:
    page, problems = visited.page, visited.problems

    def asked(request: Any) -> None:
        if not request.url.startswith("data:"):
            visited.requests.append(request.url)

    page.on("request", asked)
    page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}: {request.failure}"))
    page.on("response", lambda r: problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
    page.on("console", lambda m: problems.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
