"""The scripts that Slurm and Grid Engine are given. That they work is shown in tests/clusters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from voxelcast.core.errors import ExecutionError
from voxelcast.execution.jobs import Jobs, last_lines
from voxelcast.execution.profile import GridEngineProfile, SlurmProfile

pytest.importorskip("dask_jobqueue", reason="needs pip install 'voxelcast[cluster]'")

WORKERS: dict[str, Any] = {
    "jobs": 3,
    "cores": 2,
    "memory": "8GB",
    "time": "01:00:00",
    "queue": "short",
    "account": "lab",
    "setup": ["module load conda"],
    "directives": ["--qos=low"],
}


def script(profile: SlurmProfile | GridEngineProfile, kind: Any, folder: Path) -> str:
    from dask_jobqueue.sge import SGEJob
    from dask_jobqueue.slurm import SLURMJob

    from voxelcast.execution.batch_system import job_options

    job = SLURMJob if isinstance(profile, SlurmProfile) else SGEJob
    return str(job("tls://head:1", "w", **job_options(profile, kind, "voxelcast-1", folder)).job_script())


def test_slurm_is_asked_for_what_the_profile_says(tmp_path: Path) -> None:
    gpu = WORKERS | {"cores": 8, "gpus": 2, "queue": "gpu"}
    profile = SlurmProfile(scheduler="slurm", shared_folder=tmp_path, workers=WORKERS, gpu_workers=gpu)
    lines = script(profile, "cpu", tmp_path).splitlines()
    for line in (
        "#SBATCH -J voxelcast-1",
        "#SBATCH -p short",
        "#SBATCH -A lab",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --mem=8G",
        "#SBATCH -t 01:00:00",
        "#SBATCH --qos=low",
        "export OMP_NUM_THREADS=1",
        "export VOXELCAST_CORES=1",
    ):
        assert line in lines
    assert lines.index("module load conda") < lines.index("export OMP_NUM_THREADS=1")
    assert lines[-1].startswith(f"{sys.executable} -m distributed.cli.dask_worker tls://head:1")
    assert "--nworkers 2 --nanny" in lines[-1]
    assert "--nthreads 1 --memory-limit 3.73GiB" in lines[-1]  # half of 8 GB
    lines = script(profile, "gpu", tmp_path).splitlines()
    for line in ("#SBATCH -p gpu", "#SBATCH --cpus-per-task=8", "#SBATCH --gres=gpu:2", "export VOXELCAST_CORES=4"):
        assert line in lines
    assert "--nworkers 2" in lines[-1]


def test_grid_engine_is_asked_for_what_the_profile_says(tmp_path: Path) -> None:
    gpu = WORKERS | {"cores": 1, "gpus": 1}
    profile = GridEngineProfile(
        scheduler="grid-engine",
        shared_folder=tmp_path,
        memory_resource="mem_free",
        workers=WORKERS | {"directives": []},
        gpu_workers=gpu,
    )
    lines = script(profile, "cpu", tmp_path).splitlines()
    for line in ("#$ -N voxelcast-1", "#$ -q short", "#$ -P lab", "#$ -pe smp 2", "#$ -l h_rt=01:00:00"):
        assert line in lines
    assert "#$ -l mem_free=3815M" in lines  # of each core
    assert "#$ -l mem_free=7630M,gpu=1" in script(profile, "gpu", tmp_path).splitlines()


def test_missing_commands_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutionError, match="command sbatch of slurm is not on this machine's PATH"):
        Jobs("slurm", "x").check_commands()


def test_full_names_are_read_from_qstat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = """job-ID  prior   name       user         state submit/start at     queue
-----------------------------------------------------------------
      7 0.55500 voxelcast- root         r     11/22/2026 14:49:26 all.q@vm
       Full jobname:     voxelcast-749f26be
       Hard Resources:   h_rt=600 (0.000000)
      8 0.55500 voxelcast- root         qw    11/22/2026 14:49:26
       Full jobname:     voxelcast-00000000
"""
    qstat = tmp_path / "qstat"
    qstat.write_text(f"#!/bin/sh\ncat <<'END'\n{said}END\n")
    qstat.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert Jobs("grid-engine", "voxelcast-749f26be").ids() == ["7"]


def test_jobs_that_a_killed_run_left_are_cancelled_by_their_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The batch system's commands are scripts that write down what they were asked."""
    from voxelcast.execution.batch_system import BatchSystemEngine

    for command in ("sbatch", "squeue", "scancel"):
        file = tmp_path / command
        file.write_text(
            f'#!/bin/sh\necho "$(basename $0) $@" >> {tmp_path}/asked\n[ $(basename $0) = squeue ] && echo 41 42\n:'
        )
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    profile = SlurmProfile(scheduler="slurm", shared_folder=tmp_path, workers=WORKERS)
    notes: list[str] = []
    killed = BatchSystemEngine(profile, tmp_path / "out", notes.append)
    assert not (tmp_path / "asked").exists()
    BatchSystemEngine(profile, tmp_path / "out", notes.append)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [f"squeue --noheader --name {killed.jobs.name} --format %A", "scancel 41 42"]
    assert notes == ["slurm: 2 jobs that an earlier run left were cancelled"]


def test_the_last_lines_of_a_job_are_found(tmp_path: Path) -> None:
    (tmp_path / "vc-7.out").write_text("".join(f"{k}\n" for k in range(20)))
    (tmp_path / "vc-7.err").write_text("slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***\n")
    assert last_lines(tmp_path, "7", "vc") == "18 | 19 | slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***"


@pytest.mark.parametrize(
    ("said", "directives", "expected"),
    [
        ("sbatch: unrecognized option '--nosuch=1'", ["--qos=low", "--nosuch=1"], "check the directive --nosuch=1 of"),
        (
            "sbatch: error: Invalid qos specification",
            ["--qos=low"],
            "check queue, account, time, memory and directives",
        ),
        (
            "sbatch: error: Invalid constraint: gpu80",
            ["--qos=low", "--constraint=gpu80"],
            "directive --constraint=gpu80 of",
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid node name specified",
            ["--qos=low", "--exclude=cognition13"],
            "--exclude=cognition13 of the profile; it names machines that this cluster does not have",
        ),
        ("sbatch: error: Invalid partition", [], "check queue, account, time, memory and directives of the profile"),
    ],
)
def test_a_refusal_names_the_directive(said: str, directives: list[str], expected: str, tmp_path: Path) -> None:
    from voxelcast.execution.batch_system import refused

    profile = SlurmProfile(scheduler="slurm", shared_folder=tmp_path, workers=WORKERS | {"directives": directives})
    message = refused("slurm", said, profile.of("cpu"))
    assert message.startswith(f"slurm refused a job: {said}; ")
    assert expected in message
    assert "\n" not in message


@pytest.mark.slow
@pytest.mark.parametrize("cancels", [True, False])
def test_a_refused_directive_is_the_one_line_of_the_error(cancels: bool, tmp_path: Path) -> None:
    """Slurm's commands are stand-ins: what is tested is that nothing of Dask, nor the cleanup, hides the refusal."""
    commands = tmp_path / "bin"
    commands.mkdir()
    refusal = "echo \"sbatch: unrecognized option '--nosuch=1'\" >&2; exit 1"
    for name, does in {"sbatch": refusal, "squeue": "exit 0" if cancels else "echo 7", "scancel": "exit 1"}.items():
        (commands / name).write_text(f"#!/bin/sh\n{does}\n")
        (commands / name).chmod(0o755)
    workers = {key: value for key, value in WORKERS.items() if key not in ("queue", "account", "setup")}
    profile = {"scheduler": "slurm", "shared_folder": str(tmp_path / "shared")}
    profile["workers"] = workers | {"jobs": 1, "directives": ["--nosuch=1"]}
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(profile))
    done = subprocess.run(
        [sys.executable, "-m", "voxelcast", "execution", "check", str(tmp_path / "slurm.yaml")],
        env=os.environ | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (
        done.stderr.rstrip()
        .splitlines()[-1]
        .startswith(
            "voxelcast: slurm refused a job: sbatch: unrecognized option '--nosuch=1'; check the directive --nosuch=1"
        )
    )
