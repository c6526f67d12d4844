"""The page in a real browser: first content, by keyboard, on a phone, without script, for everyone, and live."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.app.conftest import serving, write_outputs
from tests.browser import Visit
from tests.experiment.miniature import settings, write_settings
from voxelcast.execution.journal import Journal
from voxelcast.report.page import write_report
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId, StepStore
from voxelcast.testing.results import write_output

pytest.importorskip("playwright.sync_api", reason="Playwright is missing; pip install 'voxelcast[browser]'")
pytest.importorskip("uvicorn", reason="uvicorn is missing; pip install 'voxelcast[app]'")

from playwright.sync_api import expect

Visiting = Callable[..., Visit]
Serving = Callable[[Path], str]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Forty experiments of 10 subjects x 9 ROIs x 25 layers, a small one with a report, and one that is broken."""
    root = write_outputs(tmp_path_factory.mktemp("many") / "outputs", 40)
    write_report(write_output(root / "reported", name="reported"))
    (root / "broken").mkdir()
    (root / "broken" / "config.yaml").write_text("name: [")
    with serving(root) as address:
        yield address


def names(visited: Visit) -> list[str]:
    return [text.strip() for text in visited.page.locator("tbody th a").all_inner_texts()]


def faults(visited: Visit) -> list[str]:
    """What went wrong, without the questions that were under way when a link was followed."""
    return [problem for problem in visited.problems if "ERR_ABORTED" not in problem]


def tab_to(visited: Visit, selector: str) -> None:
    for _ in range(100):
        visited.page.keyboard.press("Tab")
        if visited.page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"{selector} cannot be reached with the Tab key")


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_is_without_a_fault_and_for_everyone(visit: Visiting, many: str, width: int) -> None:
    """No request beyond the page's own address, nothing on the console, no rule of WCAG 2.2 AA broken."""
    visited = visit(many, width=width)
    page, here = visited.page, many.partition("?")[0]
    assert "key=" not in page.url
    page.goto(here)
    assert visited.first_content_ms() < 1000
    keys = [page.locator("input[type=checkbox]").nth(k).get_attribute("value") for k in range(4)]
    compared = "compare?" + "&".join(f"e={key}" for key in keys)
    for address in ("", f"e/{keys[0]}", compared, "?text=nowhere", "?state=unreadable"):
        page.goto(here + address)
        assert visited.audit() == [], address
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
    assert all(request.startswith(here) for request in visited.requests)
    assert faults(visited) == []


def test_filter_sort_and_compare_by_keyboard(visit: Visiting, many: str) -> None:
    visited = visit(many)
    page = visited.page
    everything = names(visited)
    assert len(everything) == 42
    assert everything[-1] == "broken"
    tab_to(visited, "input[name=text]")
    page.keyboard.type("motion_energy")
    expect(page.locator("tbody tr")).to_have_count(10)
    assert set(names(visited)) == {name for name in everything if name.startswith("motion_energy")}
    assert page.evaluate("document.activeElement.name") == "text"  # and typing goes on
    assert "text=motion_energy" in page.url
    tab_to(visited, "input[type=checkbox]")
    page.keyboard.press("Space")
    tab_to(visited, "tbody tr:nth-child(3) input")
    page.keyboard.press("Space")
    chosen = [names(visited)[k] for k in (0, 2)]
    page.locator("#sort-name").focus()
    page.keyboard.press("Enter")
    expect(page.locator("th[aria-sort=ascending] a")).to_have_id("sort-name")
    assert names(visited) == sorted(names(visited))
    assert page.evaluate("document.activeElement.id") == "sort-name"
    assert page.locator("input:checked").count() == 2  # the rows have moved; the ticks have stayed with them
    page.locator("#compare button").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?*")
    assert sorted(page.locator("table.compare thead a").all_inner_texts()) == sorted(chosen)
    page.get_by_role("link", name="Every voxel counts the same").press("Enter")
    page.wait_for_url("**by=voxel")
    assert faults(visited) == []


def test_reports_and_comparisons_open_with_their_scripts(visit: Visiting, many: str) -> None:
    visited = visit(many)
    page = visited.page
    first, second = (page.locator("input[type=checkbox]").nth(k).get_attribute("value") for k in (0, 1))
    page.get_by_role("link", name="Report of").click()
    page.wait_for_url("**/report")
    assert page.locator("form#pick").is_visible()  # hidden without script
    assert page.evaluate("origin") == "null"
    page.goto(f"{many.partition('?')[0]}compare/figures?e={first}&e={second}")
    assert page.locator("form#pick").is_visible()
    assert faults(visited) == []


def test_without_script_the_forms_and_links_do_it(visit: Visiting, many: str) -> None:
    visited = visit(many, java_script_enabled=False)
    page = visited.page
    assert len(names(visited)) == 42
    page.locator("input[name=text]").fill("alexnet")
    page.locator("select[name=roi]").select_option("V4")
    page.get_by_role("button", name="Show").click()
    assert len(names(visited)) == 10
    assert "numbers are of V4 alone" in page.locator("#summary").inner_text()
    page.locator("#sort-name").click()
    assert names(visited) == sorted(names(visited))
    page.locator("input[type=checkbox]").nth(0).check()
    page.locator("input[type=checkbox]").nth(1).check()
    page.get_by_role("button", name="Compare").click()
    assert page.locator("h1").inner_text() == "2 experiments side by side"


def test_progress_is_followed_without_reloading(visit: Visiting, served: Serving, tmp_path: Path) -> None:
    steps = [StepId("fit", f"s{k}", content_key(k)) for k in range(3)]
    output = tmp_path / "outputs" / "mine"
    store, journal = StepStore(output / "steps"), Journal(output)
    (output / "config.yaml").write_text("name: mine\n")
    visited = visit(served(tmp_path / "outputs"))
    page = visited.page
    assert "stopped before its end" not in page.locator("td.state").inner_text()
    page.evaluate("window.same = true")
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with journal.run(store.root, "local", {"fit": 60.0}):
            journal.stage("fit", [step.folder for step in steps], [1] * 3)
            page.get_by_text("fit: 0 of 3 done, 3 waiting").wait_for()
            with store.writing(steps[0]):
                page.get_by_text("fit: 0 of 3 done, 1 running").wait_for()
            page.get_by_text("fit: 1 of 3 done").wait_for()
            assert page.locator("progress").get_attribute("value") == "1"
            assert page.locator("#summary").inner_text() == "1 of 1 experiment, 1 running"
            assert page.evaluate("window.same")
            assert visited.audit() == []
            page.get_by_role("link", name="mine").click()
            page.get_by_text("Running; on this machine").wait_for()
            with store.writing(steps[1]):
                pass
            page.get_by_text("2 of 3 done").wait_for()
            assert visited.audit() == []
            journal.failed(steps[2].folder, "out of memory", MemoryError())
            page.get_by_text(f"failed: {steps[2].folder}: out of memory").wait_for()
            unfinished = (output / "progress.jsonl").read_text()
        (output / "progress.jsonl").write_text(unfinished)  # as after a kill
    page.get_by_text("the run was stopped before its end").wait_for()
    assert faults(visited) == []


def test_the_end_of_the_server_is_told(visit: Visiting, few: Path) -> None:
    with serving(few) as address:
        page = visit(address).page
        assert page.locator("#connection").is_hidden()
    page.locator("input[name=text]").fill("high")
    page.get_by_text("No answer: voxelcast view has ended").wait_for()
    assert page.locator("tbody tr").count() == 5  # what was shown stays


@pytest.mark.slow
def test_a_real_run_is_watched_from_its_beginning_to_its_scores(
    visit: Visiting, served: Serving, images: Path, tmp_path: Path
) -> None:
    root = tmp_path / "outputs"
    root.mkdir()
    visited = visit(served(root))
    page = visited.page
    page.get_by_text("No experiments here yet").wait_for()
    file = write_settings(tmp_path / "experiment.yaml", settings(images))
    command = [sys.executable, "-m", "voxelcast", "run", str(file), "--output", str(root / "miniature")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        end = time.monotonic() + 120
        while page.locator(".badge.running").count() == 0 and time.monotonic() < end:
            page.reload()  # the page by itself looks for new experiments every ten seconds, and this run takes five
        expect(page.locator(".badge.running")).to_be_visible()
        page.get_by_role("link", name="miniature").click()
        page.locator(".badge.finished").wait_for(timeout=120_000)
        assert running.wait(60) == 0, running.stderr
    assert page.locator("progress").count() == 7
    page.get_by_text("The mean nested cross-validated Pearson r is").wait_for()
    page.get_by_role("link", name="Report", exact=True).click()
    page.wait_for_url("**/report")
    assert faults(visited) == []
