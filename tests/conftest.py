"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as ``alone`` the tests that set up a cluster, or time pages in a browser."""
    for item in items:
        fixtures: tuple[str, ...] = getattr(item, "fixturenames", ())
        if item.path.parent.name == "clusters" or ("browser" in fixtures and item.get_closest_marker("slow")):
            item.add_marker("alone")


def pytest_collection_finish() -> None:
    """Let Ctrl-C interrupt: importing dask_jobqueue, as some test files do, sets handlers that exit in silence."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
