"""The demonstration, made small, on a real Slurm and Grid Engine, with workers and drivers killed: the same bytes.

The scripts beside this file install, start and stop both on this machine. They need root on Debian.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.experiment.miniature import ENERGY, contents, settings, write_settings, write_simulation
from tests.experiment.test_resume import done_steps, wait_until
from voxelcast.execution.jobs import Jobs, Scheduler
from voxelcast.execution.journal import read_journal

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
N_PAIRS = 90  # ten subjects with nine ROIs
N_STEPS = N_PAIRS + 6 + 3 + N_PAIRS + 2 + 1 + 10
"""Responses, shards of 32 clips, layers, fits; how layers are compressed, held-out clips so, predictions by subject."""
PATIENCE = 240.0  # seconds for what takes 20 on an idle machine


def script(name: str, *arguments: object) -> None:
    done = subprocess.run([HERE / f"{name}.sh", *map(str, arguments)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def environment(name: str) -> dict[str, str]:
    """Variables that the scheduler's commands need."""
    if name == "slurm":
        return {}
    text = subprocess.run(
        ["bash", "-c", f". {HERE}/grid_engine_env.sh; env"], capture_output=True, text=True, check=True
    ).stdout
    return dict(re.findall(r"^(SGE_\w+|PATH)=(.*)$", text, flags=re.M))


@dataclass(frozen=True)
class Cluster:
    """A batch system that is up, a profile for it, and an experiment's file and undisturbed local output."""

    scheduler: Scheduler
    folder: Path
    experiment: Path
    local: Path

    @property
    def profile(self) -> Path:
        return self.folder / "profile.yaml"

    def voxelcast(self, *arguments: object) -> subprocess.Popen[str]:
        """Start the command line as a user would."""
        return subprocess.Popen(
            [sys.executable, "-m", "voxelcast", *map(str, arguments)],
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, output: Path) -> subprocess.Popen[str]:
        return self.voxelcast("run", self.experiment, "--output", output, "--on", self.profile)

    def jobs(self, output: Path) -> list[str]:
        """Ids of a run's jobs."""
        name = json.loads((output / "jobs.json").read_text())["name"]
        return Jobs(self.scheduler, name).ids()

    def cancel(self, job: str) -> None:
        subprocess.run(["scancel" if self.scheduler == "slurm" else "qdel", job], check=True, capture_output=True)

    def kill(self, job: str) -> None:
        """Kill the processes of a worker as a machine that runs out of memory does; the scheduler has no part in it."""
        mark = f"{'SLURM_JOB_ID' if self.scheduler == 'slurm' else 'JOB_ID'}={job}".encode()
        killed = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                own = mark in (process / "environ").read_bytes().split(b"\0")
                if own and b"python" in (process / "cmdline").read_bytes().split(b"\0")[0]:
                    os.kill(int(process.name), signal.SIGKILL)
                    killed += 1
            except (OSError, IndexError):
                continue
        assert killed, f"no process of job {job} found"

    def foreign_job(self) -> str:
        """Submit somebody else's job."""
        command = (
            ["sbatch", "--output", "/dev/null", "--wrap", "sleep 600"]
            if self.scheduler == "slurm"
            else ["qsub", "-b", "y", "-o", "/dev/null", "-j", "y", "-N", "foreign", "sleep", "600"]
        )
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return str(re.findall(r"\d+", said)[0])

    def is_queued(self, job: str) -> bool:
        command = ["squeue", "--noheader", "--format", "%A"] if self.scheduler == "slurm" else ["qstat"]
        return job in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An experiment's file, and the output of running it on this machine."""
    folder = tmp_path_factory.mktemp("local")
    root = write_simulation(folder / "data", n_train=134, n_test=10)
    plain = settings(root, dataset={"kind": "simulated", "root": str(root)}, frames={"every": 1})
    plain["networks"] = [{"name": ENERGY, "layers": ["static.3", "motion.3", "colour"], "input_size": 64}]
    plain |= {"folds": {"n": 3}, "compress": {"components": 5}, "compute": {"workers": 2}}
    experiment = write_settings(folder / "x.yaml", plain)
    command = [sys.executable, "-m", "voxelcast", "run", str(experiment), "--output", str(folder / "output")]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    assert len(done_steps(folder / "output")) == N_STEPS
    return experiment, folder / "output"


@pytest.fixture(scope="module", params=["slurm", "grid_engine"])
def cluster(
    request: pytest.FixtureRequest, undisturbed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    name: str = request.param
    pytest.importorskip("dask_jobqueue", reason="needs pip install 'voxelcast[cluster]'")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("Slurm and Grid Engine can only be installed and started by root on Debian")
    folder = tmp_path_factory.mktemp(name)
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment(name).items():
            patch.setenv(variable, value)
        if shutil.which("sbatch" if name == "slurm" else "qsub") is None:
            try:
                script(f"{name}_install")
            except AssertionError as error:
                pytest.skip(f"Debian's packages of {name} could not be installed: {error}")
        script(f"{name}_up", folder / "system")
        try:
            yield _cluster(name, folder, undisturbed)
        finally:
            script(f"{name}_down", folder / "system")


def _cluster(name: str, folder: Path, undisturbed: tuple[Path, Path]) -> Cluster:
    scheduler: Scheduler = "slurm" if name == "slurm" else "grid-engine"
    workers = {"jobs": 2, "cores": 1, "memory": "2GB", "time": "00:20:00"}
    profile = {
        "scheduler": scheduler,
        "shared_folder": str(folder / "shared"),
        "interface": "lo",
        "local_folder": str(folder / "scratch"),
        "workers": workers | ({} if name == "slurm" else {"queue": "all.q"}),
    }
    (folder / "profile.yaml").write_text(yaml.safe_dump(profile))
    return Cluster(scheduler, folder, *undisturbed)


def times(marks: dict[str, tuple[int, int]]) -> dict[str, int]:
    """When steps were done: marks are written anew, with the same time, where features are removed."""
    return {name: mark[1] for name, mark in marks.items()}


def check_same(cluster: Cluster, output: Path) -> None:
    """The output is complete and identical to the local one."""
    there, here = contents(cluster.local), contents(output)
    same = [
        name
        for name in there
        if name in ("scores.csv", "search.csv", "layers.csv")
        or name.startswith(("predictions/", "voxels/", "submission/"))
    ]
    assert len(same) == 3 + 3 * N_PAIRS + 2
    for name in same:
        assert here[name] == there[name], name
    assert len(done_steps(output)) == N_STEPS
    assert list((output / "steps").glob("*/.*")) == []  # what kills left half done is cleared away


def until(condition: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    """Wait for something that must come before the run is over."""
    assert wait_until(lambda: condition() or driver.poll() is not None, PATIENCE)
    assert driver.poll() is None, f"the run was over too soon: {driver.communicate()[0]}"


def extracting(output: Path) -> bool:
    """Whether a run has finished its first extraction and is at the next."""
    return any(name.startswith("steps/extract/") for name in done_steps(output))


def n_extractions_begun(output: Path) -> int:
    """How many extractions are being worked on: their folders have names of their own until they are whole."""
    return len(list((output / "steps" / "extract").glob(".*.*")))


def finish(driver: subprocess.Popen[str], code: int = 0) -> str:
    said, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == code, said
    return said


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_a_worker_ends(cluster: Cluster, how: str) -> None:
    output = cluster.folder / how
    driver = cluster.run(output)
    until(lambda: (output / "jobs.json").is_file() and len(cluster.jobs(output)) == 2, driver)
    jobs = cluster.jobs(output)
    until(lambda: extracting(output) and n_extractions_begun(output) == 2, driver)  # both workers have work to lose
    before = done_steps(output)
    (cluster.cancel if how == "cancelled" else cluster.kill)(jobs[0])
    said = finish(driver)
    assert f"job {jobs[0]}" in said, said
    assert "trying again (1 of 2)" in said
    assert any(line["event"] == "lost" for line in read_journal(output))
    assert times(before).items() <= times(done_steps(output)).items()  # nothing that was finished was done again
    check_same(cluster, output)
    assert not cluster.is_queued(jobs[1])


def killed(
    cluster: Cluster, driver: subprocess.Popen[str], output: Path
) -> tuple[list[str], dict[str, tuple[int, int]], str]:
    """Kill a driver while features are extracted; return the jobs left, the steps done, and what the status says."""
    until(lambda: extracting(output), driver)
    left = cluster.jobs(output)
    driver.kill()
    driver.wait()
    before = done_steps(output)
    status = finish(cluster.voxelcast("status", output))
    assert "not running" in status
    assert re.search(r"extract features +[1-6] of 6 done", status), status  # workers end what they had begun
    return left, before, status


def test_the_driver_is_interrupted_and_killed(cluster: Cluster) -> None:
    output, foreign = cluster.folder / "driver", cluster.foreign_job()
    driver = cluster.run(output)
    until(lambda: (output / "jobs.json").is_file() and len(cluster.jobs(output)) == 2, driver)
    jobs = cluster.jobs(output)
    driver.send_signal(signal.SIGINT)
    assert "stopped; run the same command again" in finish(driver, 130)
    assert wait_until(lambda: not any(map(cluster.is_queued, jobs)), 60), "Ctrl-C left jobs"
    assert cluster.is_queued(foreign), "Ctrl-C cancelled somebody else's job"

    driver = cluster.run(output)
    left, before, status = killed(cluster, driver, output)
    assert "run the same command again" in status
    assert len(before) < N_STEPS

    finish(cluster.run(output))
    assert times(before).items() <= times(done_steps(output)).items()
    check_same(cluster, output)
    assert wait_until(lambda: not any(map(cluster.is_queued, left)), 60)
    assert cluster.is_queued(foreign)
    cluster.cancel(foreign)
    assert "finished" in finish(cluster.voxelcast("status", output))


def test_a_sweep_is_killed_and_goes_on(cluster: Cluster) -> None:
    rois = "dataset.subjects=[sub01]", "dataset.rois=[V1, LOC]"
    command = ["sweep", cluster.experiment, "encoders=[ridge, pls]", *rois]
    here, there = cluster.folder / "sweep-here", cluster.folder / "sweep-there"
    finish(cluster.voxelcast(*command, "--output", here))
    driver = cluster.voxelcast(*command, "--output", there, "--on", cluster.profile)
    left, before, _ = killed(cluster, driver, there)
    said = finish(cluster.voxelcast(*command, "--output", there, "--on", cluster.profile))
    assert f"{cluster.scheduler}: 2 jobs asked for" in said
    assert times(before).items() <= times(done_steps(there)).items()
    for name in (
        "leaderboard.csv",
        "differences.csv",
        "ridge_sub01_V1/scores.csv",
        "pls_sub01_V1/predictions/sub01_V1.npy",
    ):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    for folder in (there, there / "pls_sub01_V1"):
        assert "finished" in finish(cluster.voxelcast("status", folder))
    assert wait_until(lambda: not any(map(cluster.is_queued, left)), 60)


def test_features_alone_are_extracted_there(cluster: Cluster) -> None:
    clips = cluster.experiment.parent / "data"
    command = ["extract", clips, "--recursive", "--layers", "static.3,colour", "--input-size", 64, "--every", 2]
    here, there = cluster.folder / "features-here", cluster.folder / "features-there"
    finish(cluster.voxelcast(*command, "--output", here))
    said = finish(cluster.voxelcast(*command, "--output", there, "--on", cluster.profile))
    assert f"{cluster.scheduler}: 2 jobs asked for" in said
    assert "144 of 144 stimuli read" in said
    for name in ("static.3.npy", "colour.npy", "stimuli.csv"):
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    assert "5 of 5 done" in finish(cluster.voxelcast("status", there))
    assert not (there / "jobs.json").exists()


def test_the_profile_is_checked_end_to_end(cluster: Cluster) -> None:
    right = yaml.safe_load(cluster.profile.read_text())
    path = cluster.folder / "right.yaml"
    if cluster.scheduler == "slurm":  # which hands out the GPUs that are not there; Grid Engine only counts them
        right["gpu_workers"] = right["workers"] | {"jobs": 1, "gpus": 1}
    path.write_text(yaml.safe_dump(right))
    said = finish(cluster.voxelcast("execution", "check", path))
    assert "cpu workers: a step ran on" in said
    assert ("gpu workers: a step ran on" in said) == (cluster.scheduler == "slurm")
    assert "works" in said
    wrong = yaml.safe_load(cluster.profile.read_text())
    wrong["workers"]["queue"] = "nowhere"
    path = cluster.folder / "wrong.yaml"
    path.write_text(yaml.safe_dump(wrong))
    started = time.monotonic()
    said = finish(cluster.voxelcast("execution", "check", path), 1)
    assert f"{cluster.scheduler} refused a job" in said, said
    assert time.monotonic() - started < PATIENCE / 2
