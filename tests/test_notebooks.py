"""Notebooks are stored with what they show, and show it again when they run from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.notebooks import NOTEBOOKS, execute, texts

NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all: what one notebook simulated or ran, the next one uses."""
    return tmp_path_factory.mktemp("notebooks")


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "explore_responses",
        "inspect_experiments",
        "make_submission",
        "own_network",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_small(path: Path) -> None:
    assert path.stat().st_size < 250_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_shows_again_what_is_stored(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stored, now = texts(nbformat.read(path, as_version=4)), texts(execute(path, folder))
    assert any("picture" in text for text in now) or path.stem == "make_submission"
    assert [NUMBER.sub("#", text).split() for text in now] == [NUMBER.sub("#", text).split() for text in stored]
    for here, there in zip(now, stored, strict=True):
        numbers = [[float(found) for found in NUMBER.findall(text)] for text in (here, there)]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.02, abs=0.01)
