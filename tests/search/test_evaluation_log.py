"""The log of a search where the file system knows no locks."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from voxelcast.search.evaluation_log import open_log


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EAGAIN])
def test_without_the_lock_nothing_is_written_down(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with open_log(tmp_path / "log") as log:
        log.put(("layer", "0"), 0.5)
        assert log.get(("layer", "0")) == 0.5
    assert not (tmp_path / "log" / "scores.jsonl").exists()
