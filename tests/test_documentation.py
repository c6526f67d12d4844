"""What README and docs say is true: their Python runs, their experiment files are understood, their links lead on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.walk import walk
from voxelcast.core.progress import Silent
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import parse_config

ROOT = Path(__file__).resolve().parents[1]
WALKED = ROOT / "docs" / "tutorial.md"  # its blocks follow from each other
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.M | re.S)


def experiments() -> list[tuple[str, str]]:
    found = [(page.name, block) for page in PAGES for block in blocks(page, "yaml")]
    return [(name, block) for name, block in found if block.startswith("name:")]


@pytest.mark.parametrize("page", [page for page in PAGES if page != WALKED], ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {})


@pytest.mark.slow
def test_the_tutorial_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    walk(WALKED, tmp_path)
    assert (tmp_path / "outputs" / "first" / "report.html").is_file()
    assert (tmp_path / "tutorial.png").is_file()


@pytest.mark.parametrize(("page", "text"), experiments(), ids=[name for name, _ in experiments()])
def test_experiment_files_are_understood(page: str, text: str) -> None:
    assert parse_config(yaml.safe_load(text), page).name


def test_the_settings_page_shows_every_setting_with_its_default() -> None:
    (text,) = [block for name, block in experiments() if name == "settings.md"]
    shown = yaml.safe_load(text)
    defaults = ExperimentSettings.model_validate({key: shown[key] for key in ("name", "dataset", "networks")})
    assert set(shown) == set(ExperimentSettings.model_fields)
    said = parse_config(shown, "settings.md")
    assert said.model_dump(exclude={"networks"}) == defaults.model_dump(exclude={"networks"})
    assert set(shown["networks"][0]) == set(type(said.networks[0]).model_fields)


def test_the_example_from_scratch_gives_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "datasets.md"
    (code,) = blocks(page, "python")
    exec(compile(code, page.name, "exec"), {})
    (text,) = [block for name, block in experiments() if name == "datasets.md"]
    config = parse_config(yaml.safe_load(text), page.name)
    summary = run_experiment(config, tmp_path / "out", progress=Silent())
    # Every voxel is brightness (variance .27) plus noise of variance .25, so about .72 is the most a model can reach.
    assert summary.mean_score is not None
    assert 0.5 < summary.mean_score < 0.9


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_site_leads_to_every_page() -> None:
    listed = set((ROOT / "docs" / "index.md").read_text().split())
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= listed
