"""The command line, called in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.experiment.conftest import clips, images, in_process, simulation
from voxelcast.cli.main import main

__all__ = ["clips", "images", "in_process", "simulation"]


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_process: None) -> Call:
    """Run ``voxelcast ARGUMENTS`` in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["voxelcast", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        written = capsys.readouterr()
        return Done(code, written.out, written.err)

    return run
