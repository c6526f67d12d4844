from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLAIM = """
import sys
from voxelcast.core.errors import ExecutionError
from voxelcast.execution.machine import claim_gpu
import os
try:
    claim_gpu()
    claim_gpu()
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
except ExecutionError as error:
    print(error, flush=True)
sys.stdin.read()
"""


def claim(folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a worker that claims a GPU and lives until its input is closed."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("CUDA_VISIBLE_DEVICES",)}
    environment = inherited | {"TMPDIR": str(folder)} | variables
    return subprocess.Popen(
        [sys.executable, "-c", CLAIM], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def first_line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


@pytest.mark.parametrize("counted", [True, False])
def test_workers_share_out_the_gpus(counted: bool, tmp_path: Path) -> None:
    """Where Grid Engine only counts GPUs (nvidia-smi lists them), and where Slurm names a job's (a variable does)."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    smi.chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    if not counted:
        variables |= {"CUDA_VISIBLE_DEVICES": "4,7", "SLURM_JOB_ID": "1"}
    workers = [claim(tmp_path, **variables) for _ in range(3)]
    said = sorted(first_line(worker) for worker in workers)
    assert said[:2] == (["0", "1"] if counted else ["4", "7"])
    assert "found no free GPU (it sees 2)" in said[2]
    for worker in workers:
        worker.communicate()
    again = claim(tmp_path, **variables)  # the locks went with their processes
    assert first_line(again) in said[:2]
    again.communicate()
