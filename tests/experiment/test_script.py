"""A plain Python script, without ``if __name__ == "__main__":``, that runs an experiment in worker processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiment.miniature import read_table, settings, write_dataset

_SCRIPT = """
import json
from pathlib import Path

from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings_file import parse_config

print("begin")
plain = json.loads(Path("settings.json").read_text())
summary = run_experiment(parse_config(plain, "script"), Path("out"))
print("end", summary.steps_run)
"""


@pytest.mark.slow
def test_a_script_without_a_main_guard_runs_an_experiment_once(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", n=24)
    plain = settings(root, compute={"workers": 2}, compress={"components": 4})
    (tmp_path / "settings.json").write_text(json.dumps(plain))
    (tmp_path / "script.py").write_text(_SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["begin", "end", "6"]
    assert read_table(tmp_path / "out" / "scores.csv")[0]["subject"] == "ann"
