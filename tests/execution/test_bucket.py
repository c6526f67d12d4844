"""Buckets, by fsspec's file system in memory: the same calls as for gs://, which was not reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxelcast.core.errors import MissingFileError
from voxelcast.execution.bucket import fetch_folder, send_folder

fsspec = pytest.importorskip("fsspec")


def test_what_is_sent_can_be_fetched_and_only_what_is_new_is(tmp_path: Path) -> None:
    source = tmp_path / "out"
    (source / "predictions").mkdir(parents=True)
    (source / "steps").mkdir()
    (source / "scores.csv").write_text("a,b")
    (source / "predictions" / "x.npy").write_bytes(b"1234")
    (source / "steps" / "big").write_text("stays")
    assert send_folder(source, "memory://bucket/study", without=frozenset({"steps"})) == 2
    target = tmp_path / "shared"
    assert fetch_folder("memory://bucket/study", target) == 2
    assert sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()) == [
        "predictions/x.npy",
        "scores.csv",
    ]
    assert (target / "predictions" / "x.npy").read_bytes() == b"1234"
    fsspec.filesystem("memory").pipe("/bucket/study/scores.csv", b"a,b,c")
    assert fetch_folder("memory://bucket/study", target) == 1
    assert (target / "scores.csv").read_text() == "a,b,c"


def test_an_empty_bucket_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="check bucket_inputs"):
        fetch_folder("memory://nothing/here", tmp_path)
