"""Fixtures shared by all tests."""

from __future__ import annotations

import os
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
