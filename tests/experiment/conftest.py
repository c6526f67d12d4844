"""Fixtures of the tests that run whole experiments."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.experiment.miniature import write_dataset, write_simulation
from voxelcast.core.errors import VoxelcastError
from voxelcast.datasets.registry import close_all


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
