"""What README and docs say is true: their Python runs, their experiment files are understood, their links lead on."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest
import yaml

import voxelcast
from tests.experiment.conftest import in_process
from tests.walk import walk
from voxelcast.core.progress import Silent
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import parse_config
from voxelcast.store.readers.tables import read_table

__all__ = ["in_process"]

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIAL, ASK = DOCS / "tutorial.md", DOCS / "ask.md"
WALKED = (TUTORIAL, ASK)  # their blocks follow from each other
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SCRIPTS = sorted((DOCS / "figures").glob("*.py"))
GALLERY = sorted((ROOT / "examples" / "gallery").glob("*.py"))  # run where the site is built


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.M | re.S)


def experiments() -> list[tuple[str, str]]:
    found = [(page.name, block) for page in PAGES for block in blocks(page, "yaml")]
    return [(name, block) for name, block in found if block.startswith("name:")]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in (*WALKED, README)], ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {})


def test_the_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (study,) = blocks(DOCS / "datasets.md", "python")
    exec(compile(study, "datasets.md", "exec"), {})  # makes the folder my_study
    (lines,) = blocks(README, "python")
    assert len([line for line in lines.splitlines() if line.strip()]) <= 10
    # The released weights would have to be downloaded.
    offline = lines.replace('"torchvision/resnet18"', '"torchvision/resnet18", weights="random"')
    exec(compile(offline, README.name, "exec"), {})


@pytest.mark.parametrize("script", GALLERY, ids=lambda script: script.stem)
def test_an_example_asks_a_question_and_checks_its_answer(script: Path) -> None:
    text = script.read_text()
    _, title, line, *rest = text.splitlines()
    assert title.endswith("?")
    assert line == "=" * len(title)
    assert len([one for one in rest if one.strip()]) <= 50
    assert text.splitlines()[-1].startswith("assert ")
    assert "plt.subplots(" in text


def test_the_gallery_has_the_questions_that_the_index_page_promises() -> None:
    assert len(GALLERY) == 12
    assert "answers twelve questions" in (DOCS / "index.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_figures_are_drawn_by_their_scripts(script: Path, tmp_path: Path) -> None:
    walk(script, tmp_path)
    assert (tmp_path / f"{script.stem}.png").is_file()
    assert (DOCS / "images" / f"{script.stem}.png").is_file()


@pytest.mark.slow
def test_the_tutorial_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    walk(TUTORIAL, tmp_path)
    assert (tmp_path / "outputs" / "first" / "report.html").is_file()
    assert (tmp_path / "tutorial.png").is_file()


@pytest.mark.slow
def test_each_region_of_the_movie_follows_its_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    walk(DOCS / "movie.md", tmp_path)
    rows = read_table(tmp_path / "outputs" / "movie" / "variance_partitioning.csv").rows
    explained = {(roi, part): float(r2) for _, roi, kind, part, r2, *_ in rows if kind == "unique"}
    streams = {"visual": "sight", "auditory": "sound", "language": "speech"}
    for roi, stream in streams.items():
        assert max(streams.values(), key=lambda part: explained[roi, part]) == stream
        assert explained[roi, stream] > 0.1


@pytest.mark.slow
def test_the_page_of_questions_runs_and_its_answers_are_those_planted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    walk(ASK, tmp_path)
    answers = tmp_path / "answers"
    drivers = pd.read_csv(answers / "drivers" / "drivers.csv")
    assert (drivers.nlargest(4, "gradient")[["row", "column"]] < 3).all(axis=None)
    contrast = pd.read_csv(answers / "contrast" / "contrast.csv").set_index("roi")
    assert (contrast.loc["red", "q_value"] <= 0.05).all()
    assert contrast.loc["red", "effect"].min() > 2 * contrast.loc["corner", "effect"].abs().max()


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
    assert set(shown["networks"][0]) == {field.name for field in fields(said.networks[0])}


def test_the_example_from_scratch_gives_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / "datasets.md"
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
    for target, section in re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", page.read_text()):
        if target.startswith("http"):
            continue
        found = page.parent / target if target else page
        assert found.exists(), target
        assert not section or section in sections(found), f"{target}#{section}"


def sections(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_site_leads_to_every_page() -> None:
    listed = set((DOCS / "index.md").read_text().split())
    pages = {page.stem for page in DOCS.glob("*.md")} - {"index"}
    assert pages <= listed


def test_the_documentation_is_short() -> None:
    words = {page.name: len(page.read_text().split()) for page in PAGES if page.is_relative_to(DOCS)}
    assert sum(words.values()) <= 24_500
    assert max(words[name] for name in ("selection.md", "encoders.md", "results.md")) < 1_000


def test_the_way_through_names_files_that_exist() -> None:
    way = (DOCS / "architecture.md").read_text().partition("## The way through")[2]
    files = re.findall(r"^\d+\. `([\w/.]+\.py)`", way, flags=re.M)
    assert 1 < len(files) <= 12
    assert files[-1].endswith("write.py")  # which writes scores.csv
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_public_names_in_the_pages_exist() -> None:
    used = {name for page in PAGES for name in re.findall(r"\bvc\.([A-Za-z]\w*)", page.read_text())}
    if public := getattr(voxelcast, "__all__", None):
        assert used <= set(public)
