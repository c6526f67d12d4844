"""The log of a search: after a kill, and where the file system knows no locks."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from voxelcast.search.evaluation_log import open_log


def test_scores_are_there_again_after_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.put(("layer", "0"), 0.5)
    with (tmp_path / "scores.jsonl").open("a") as file:
        file.write('["layer", "1", 0.')
    with open_log(tmp_path) as log:
        assert log.get(("layer", "0")) == 0.5
        assert log.get(("layer", "1")) is None
        log.put(("layer", "2"), 0.25)
    # A third process reads what the second one wrote behind the torn line.
    with open_log(tmp_path) as log:
        assert [log.get(("layer", name)) for name in ("0", "1", "2")] == [0.5, None, 0.25]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EAGAIN])
def test_without_the_lock_nothing_is_written_down(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with open_log(tmp_path / "log") as log:
        log.put(("layer", "0"), 0.5)
        assert log.get(("layer", "0")) == 0.5
    assert not (tmp_path / "log" / "scores.jsonl").exists()
