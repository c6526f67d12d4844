"""Hundreds of hostile, damaged and odd inputs over all commands and readers: a line and an exit code, nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.hostile_inputs import projects

WORKERS = 2


@pytest.mark.slow
def test_hostile_inputs_end_in_a_line(tmp_path: Path) -> None:
    projects(tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path), "MPLBACKEND": "agg"}
    command = [sys.executable, "-m", "tests.cli.hostile_worker", str(tmp_path)]
    started = [
        subprocess.Popen([*command, str(k), str(WORKERS)], stdout=subprocess.PIPE, text=True, env=environment)
        for k in range(WORKERS)
    ]
    lines = [json.loads(line) for worker in started for line in worker.communicate()[0].splitlines()]
    assert [worker.returncode for worker in started] == [0] * WORKERS
    assert len(lines) >= 400
    problems = [f"{line['name']}: {line['problem']} ({line['last']})" for line in lines if line["problem"]]
    assert problems == []
