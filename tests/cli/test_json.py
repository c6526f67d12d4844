"""Every listing verb prints JSON with the same names as its lines."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from voxelcast.cli.main import cli


@pytest.mark.parametrize(
    "command",
    [
        ["datasets", "list"],
        ["networks", "list", "voxelcast/*"],
        ["networks", "layers", "voxelcast/motion_energy"],
        ["encoders", "list"],
    ],
    ids=" ".join,
)
def test_json_says_what_the_lines_say(command: list[str]) -> None:
    runner = CliRunner()
    lines = runner.invoke(cli, command, catch_exceptions=False).output.splitlines()
    rows = json.loads(runner.invoke(cli, [*command, "--json"], catch_exceptions=False).output)
    assert rows
    first = [line.split("\t")[0] for line in lines if not line.startswith("total")]
    assert [next(iter(row.values())) for row in rows] == first
