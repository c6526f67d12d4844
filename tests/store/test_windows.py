"""A store works where files that are open can be neither removed nor renamed, and there is no fcntl."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("windows.py")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to see which files are open")
def test_what_is_written_under_the_rules_of_windows_is_whole() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT],
        cwd=SCRIPT.parents[2],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("'")[1::2] == [
        ".lock",
        "a.txt",
        "log/.lock",
        "log/scores.jsonl",
        "steps/fit/x-00ff00ff00ff/DONE",
        "steps/fit/x-00ff00ff00ff/result.npz",
    ]
