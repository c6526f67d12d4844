"""Jobs of a batch system: which are there, cancelling them, what their logs say.

All jobs of a run bear one name that no other run has, so that they can be found and cancelled without touching
anybody else's, even after the process that started them was killed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from voxelcast.core.errors import ExecutionError

Scheduler = Literal["slurm", "grid-engine"]
_COMMAND_SECONDS = 60.0
_LOG_LINES = 3
_STAMP = re.compile(r"^[-\d]+ [:,\d]+ - distributed[.\w]* - [A-Z]+ - ")  # what Dask begins its lines with
_LOG_PATIENCE_SECONDS = 3.0  # a scheduler writes its last words a moment after it ends a job
_NEEDED = {"slurm": ("sbatch", "squeue", "scancel"), "grid-engine": ("qsub", "qstat", "qdel")}


@dataclass(frozen=True)
class Jobs:
    """The jobs of one name."""

    scheduler: Scheduler
    name: str

    def check_commands(self) -> None:
        """Raise ExecutionError unless the batch system's commands are on this machine."""
        for command in _NEEDED[self.scheduler]:
            if shutil.which(command) is None:
                raise ExecutionError(
                    f"command {command} of {self.scheduler} is not on this machine's PATH; run voxelcast on a login "
                    "node of the cluster, or load the module that brings it"
                )

    def ids(self) -> list[str]:
        """Ids of the jobs that wait or run."""
        if self.scheduler == "slurm":
            return _run("squeue", "--noheader", "--name", self.name, "--format", "%A").split()
        # qstat cuts names off at ten characters unless it is asked for every job's resources.
        rows = _run("qstat", "-r").splitlines()
        found, job = [], ""
        for row in rows:
            words = row.split()
            if words and words[0].isdigit():
                job = words[0]
            elif words[:2] == ["Full", "jobname:"] and words[2:] == [self.name]:
                found.append(job)
        return found

    def cancel(self) -> int:
        """End the jobs, if there are any, and return how many there were."""
        ids = self.ids()
        if ids:
            _run("scancel" if self.scheduler == "slurm" else "qdel", *ids)
        return len(ids)


def last_lines(logs: Path, job: str, name: str) -> str:
    """Return the last lines that a job and its batch system wrote, joined by ``" | "``; empty if there are none."""
    end = time.monotonic() + _LOG_PATIENCE_SECONDS
    lines: list[str] = []
    while time.monotonic() < end:
        lines = []
        for path in (logs / f"{name}-{job}.out", logs / f"{name}-{job}.err", logs / f"{name}.o{job}"):
            if path.is_file():
                lines += path.read_text(errors="replace").splitlines()
        if re.search("error|killed|cancelled|budget", " ".join(lines[-_LOG_LINES:]), flags=re.I):
            break
        time.sleep(0.2)
    said = [_STAMP.sub("", line).strip() for line in lines if "Restarting worker (status" not in line]
    return " | ".join(line for line in said[-_LOG_LINES:] if line)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExecutionError(f"{command[0]} did not answer: {error}; is the batch system up?") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise ExecutionError(f"{command[0]} failed ({said}); is the batch system up?")
    return done.stdout
