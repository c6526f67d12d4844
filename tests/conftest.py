"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

_DEFAULT_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real videos, pictures, weights and responses; the test is skipped where it is absent."""
    folder = Path(os.environ.get("VOXELCAST_TEST_DATA", _DEFAULT_DATA))
    if not folder.is_dir():
        pytest.skip(f"real test data not found at {folder}; set VOXELCAST_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a kind's miniature of seed 0, written once and not to be changed: copy it first."""

    @cache
    def written(kind: str) -> Path:
        from voxelcast.testing.miniatures import write_miniature

        return write_miniature(kind, tmp_path_factory.mktemp("miniature") / kind).root

    return written


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as ``alone`` the tests that set up a cluster, or time pages in a browser."""
    for item in items:
        fixtures: tuple[str, ...] = getattr(item, "fixturenames", ())
        if item.path.parent.name == "clusters" or ("browser" in fixtures and item.get_closest_marker("slow")):
            item.add_marker("alone")


def pytest_collection_finish() -> None:
    """Let Ctrl-C interrupt: importing dask_jobqueue, as some test files do, sets handlers that exit in silence."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
