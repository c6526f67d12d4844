"""The log of a search: after a kill, and where the file system knows no locks."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from voxelcast.search.choice import Choice
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


def test_damaged_scores_are_computed_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with open_log(tmp_path) as log:
        for name in "abc":
            log.put((name,), 0.125)
        log.of_voxels(("running",)).put(("a",), np.arange(4.0))
        log.of_voxels(("over",)).finish(Choice(np.arange(4.0), np.arange(4)))
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.stat().st_size]
    assert len(files) == 3
    found = 0
    for path in files:
        whole = path.read_bytes()
        for place in rng.choice(len(whole), min(len(whole), 100), replace=False):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(place) % 8]) + whole[place + 1 :])
            with open_log(tmp_path) as log:
                scores = [log.get((name,)) for name in "abc"]
                running, over = log.of_voxels(("running",)).get(("a",)), log.of_voxels(("over",)).choice()
            assert set(scores) <= {0.125, None}
            assert running is None or running.tolist() == [0, 1, 2, 3]
            assert over is None or (over.score.tolist(), over.pick.tolist()) == ([0, 1, 2, 3], [0, 1, 2, 3])
            found += None in scores or running is None or over is None
            path.write_bytes(whole)
    assert found > 100  # the other bits lie between the parts
