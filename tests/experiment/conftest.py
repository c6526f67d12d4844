"""Fixtures of the tests that run whole experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.experiment.miniature import write_dataset, write_simulation
from voxelcast.core.progress import Progress
from voxelcast.execution.steps import Step, run_one
from voxelcast.experiment.builders import dataset_from_json, network_from_json
from voxelcast.store.steps import StepStore


def _run_here(steps: Sequence[Step], store: StepStore, workers: int, progress: Progress) -> None:
    for step in steps:
        run_one(step, store.root)
        progress.advance(step.size)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run steps in this process: the same functions, without the seconds that starting workers takes.

    That worker processes give the same bytes is a test of its own.
    """
    dataset_from_json.cache_clear()
    network_from_json.cache_clear()
    monkeypatch.setattr("voxelcast.execution.steps._run_in_processes", _run_here)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Forty-eight pictures and one subject's responses."""
    return write_dataset(tmp_path / "images")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Twenty-four clips and one subject's responses."""
    return write_dataset(tmp_path / "clips", n=24, videos=True)


@pytest.fixture(scope="session")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small challenge, not to be changed."""
    return write_simulation(tmp_path_factory.mktemp("simulation") / "data")
