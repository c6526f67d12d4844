"""The shell completes commands and options, by the lines that README gives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from voxelcast.cli.main import cli

README = Path(__file__).resolve().parents[2] / "README.md"
SHELLS = {"bash": "complete", "zsh": "compdef", "fish": "complete"}


def asked(**variables: str) -> str:
    """What the program answers a shell."""
    code = "from voxelcast.cli.main import cli; cli(prog_name='voxelcast')"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.stdout


def test_the_reference_has_every_command_in_the_order_of_use() -> None:
    (listed,) = re.findall(r":commands: (\S+)", (README.parent / "docs" / "reference" / "cli.md").read_text())
    assert listed.split(",") == list(cli.commands)


def test_readme_names_each_shell() -> None:
    assert set(re.findall(r"(\w+)_source", README.read_text())) == set(SHELLS)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(shell: str) -> None:
    script = asked(_VOXELCAST_COMPLETE=f"{shell}_source")
    assert SHELLS[shell] in script
    assert f"_VOXELCAST_COMPLETE={shell}_complete" in script


def test_commands_and_options_are_completed() -> None:
    asks = {"_VOXELCAST_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    assert {"plain,run", "plain,rsa"} <= set(asked(**asks, COMP_WORDS="voxelcast r").split())
    found = asked(**asks | {"COMP_CWORD": "2"}, COMP_WORDS="voxelcast sweep --dry")
    assert found.split() == ["plain,--dry-run"]
