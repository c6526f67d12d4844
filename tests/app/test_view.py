"""``voxelcast view``: where it listens, and what it says when it cannot."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call, call
from voxelcast.app.server import listen

__all__ = ["call"]


def test_it_listens_on_the_loopback_address_alone() -> None:
    with listen(0) as listener:
        assert listener.family == socket.AF_INET
        assert listener.getsockname()[0] == "127.0.0.1"


def test_it_says_what_is_wrong(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = call("view", tmp_path / "nowhere", "--port", 0)
    assert (missing.code, missing.out) == (1, "")
    assert missing.err.startswith(
        f"voxelcast: {tmp_path / 'nowhere'} does not exist or is no folder; give output folders"
    )
    with listen(0) as listener:
        busy = call("view", tmp_path, "--port", listener.getsockname()[1])
    assert busy.code == 1
    assert "is in use, perhaps by another voxelcast view; choose another with --port" in busy.err
    assert "cannot be had" in call("view", tmp_path, "--port", 70000).err
    assert call("view").code == 2
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    lacking = call("view", tmp_path)
    assert (lacking.code, lacking.err) == (
        1,
        "voxelcast: voxelcast view needs the package uvicorn, which is not installed; pip install 'voxelcast[app]'\n",
    )
