"""Fixtures of the tests that run whole experiments."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from tests.experiment.miniature import write_dataset, write_simulation
from voxelcast.core.errors import VoxelcastError
from voxelcast.datasets.registry import close_all
from voxelcast.report import optuna_figures, panels
from voxelcast.report.figures import Panel


class _Here:
    """An executor that does the work in this process when it is handed in."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        close_all()  # a worker process would open the dataset anew

    def submit(self, function: Callable[..., None], *arguments: Any) -> Future[None]:
        done: Future[None] = Future()
        try:
            done.set_result(function(*arguments))
        except (VoxelcastError, OSError, ArithmeticError) as error:
            done.set_exception(error)
        return done

    def shutdown(self, **options: Any) -> None:
        """There is nothing to end."""


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run steps in this process: the same functions, without the seconds that starting workers takes.

    That worker processes give the same bytes is a test of its own.
    """
    monkeypatch.setattr("voxelcast.execution.workers.ProcessPoolExecutor", _Here)


@pytest.fixture(autouse=True)
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the figures of reports but turn none into SVG, which takes most of a small run's time."""

    def inline(figure: Figure, title: str, alt: str, table: object = None) -> Panel:
        return Panel(title, "data:,", alt, 1, 1)

    for module in (panels, optuna_figures):
        monkeypatch.setattr(module, "inline", inline)


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
