"""An experiment that is killed and run again ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.experiment.miniature import ENERGY, contents, settings, write_dataset, write_settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for worker processes in /proc"),
]

PATIENCE = 15.0  # seconds in which orphaned workers must end


def start(experiment: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start a run as a user would, in a process group of its own."""
    command = [sys.executable, "-m", "voxelcast", "run", str(experiment), "--output", str(output)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def done_steps(output: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of the mark of every finished step."""
    marks = (output / "steps").glob("[!.]*/[!.]*/DONE")
    return {str(mark.relative_to(output)): (mark.stat().st_ino, mark.stat().st_mtime_ns) for mark in marks}


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        here = waiting.pop()
        for children in Path(f"/proc/{here}/task").glob("*/children"):
            try:
                new = set(map(int, children.read_text().split())) - found
            except (FileNotFoundError, ProcessLookupError):
                continue
            found |= new
            waiting += new
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # dead, but nobody has asked how it ended


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_killed_three_times_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    subjects = ("ann", "bob", "cat", "dan")
    root = write_dataset(tmp_path / "data", n=120, videos=True, subjects=subjects)
    plain = settings(root, compute={"workers": 2}, frames={"every": 1})
    plain["networks"] = [{"name": ENERGY, "layers": ["static.*", "colour"], "input_size": 64}]
    experiment = write_settings(tmp_path / "x.yaml", plain)
    assert start(experiment, tmp_path / "undisturbed").wait(timeout=300) == 0
    n_steps = len(done_steps(tmp_path / "undisturbed"))
    assert n_steps == 4 + 4 + 6 + 4 + 1  # responses, shards of 32 clips, layers, fits, and how layers are compressed

    output = tmp_path / "killed"
    rng = np.random.default_rng(20210719)
    moments = sorted(rng.choice(np.arange(1, n_steps - 1), 3, replace=False))
    n_workers = 0
    finished: dict[str, tuple[int, int]] = {}
    for moment in moments:
        driver = start(experiment, output)
        assert wait_until(lambda m=moment, d=driver: len(done_steps(output)) >= m or d.poll() is not None, 300)
        time.sleep(rng.uniform(0, 0.5))
        workers = descendants(driver.pid)
        assert driver.poll() is None, "the run was over before it could be killed"
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        n_workers += len(workers)
        assert wait_until(lambda w=workers: not any(map(is_alive, w)), PATIENCE), "workers outlive their driver"
        now = done_steps(output)
        assert finished.items() <= now.items()
        finished = now
    assert n_workers > 0
    assert start(experiment, output).wait(timeout=300) == 0

    # Nothing that was finished was done again: marks are written anew where features were removed, with the same time.
    times, before = ({name: mark[1] for name, mark in marks.items()} for marks in (done_steps(output), finished))
    assert before.items() <= times.items()
    assert len(done_steps(output)) == n_steps
    assert list((output / "steps").glob("*/.*")) == []  # what kills left half done is cleared away
    undisturbed, killed = contents(tmp_path / "undisturbed"), contents(output)
    same = [n for n in undisturbed if n in ("scores.csv", "search.csv") or n.startswith(("predictions/", "voxels/"))]
    assert len(same) == 2 + 3 * len(subjects)
    for name in same:
        assert killed[name] == undisturbed[name], name


def test_a_search_in_which_voxels_choose_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", n=60, n_voxels=8)
    search = {"method": "bayes", "trials": 20}
    plain = settings(root, search=search, selection={"per": "voxel"}, ensemble={"method": "stacking"})
    experiment = write_settings(tmp_path / "x.yaml", plain)
    assert start(experiment, tmp_path / "undisturbed").wait(timeout=300) == 0
    output = tmp_path / "killed"

    def known() -> dict[Path, int]:
        """What is known of voxels: a file of each study that is over."""
        return {path: path.stat().st_mtime_ns for path in output.glob("steps/fit/.scratch*/voxels/*.npz")}

    driver = start(experiment, output)
    assert wait_until(lambda: len(known()) >= 4 or driver.poll() is not None, 300)
    workers = descendants(driver.pid)
    assert driver.poll() is None, "the run was over before it could be killed"
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert wait_until(lambda: not any(map(is_alive, workers)), PATIENCE), "workers outlive their driver"
    before = known()
    driver = start(experiment, output)
    assert wait_until(lambda: len(known()) > len(before) or driver.poll() is not None, 300)
    assert before.items() <= known().items()  # nothing that was over was done again
    assert driver.wait(timeout=300) == 0
    assert not list(output.glob("steps/fit/.scratch*"))
    undisturbed, killed = contents(tmp_path / "undisturbed"), contents(output)
    same = [n for n in undisturbed if n.endswith(".csv") or n.startswith(("predictions/", "voxels/", "weights/"))]
    assert {"scores.csv", "search.csv", "weights/ann_all.npy"} <= set(same)
    for name in same:
        assert killed[name] == undisturbed[name], name


def test_sigterm_ends_a_run_in_good_order(tmp_path: Path) -> None:
    """No worker is left, nothing is said of semaphores, and the same command goes on."""
    data = write_dataset(tmp_path / "data", n=200)
    plain = settings(
        data, encoders=["boosted_trees"], search={"method": "random", "trials": 50}, compute={"workers": 2}
    )
    experiment, output = write_settings(tmp_path / "e.yaml", plain), tmp_path / "output"
    command = [sys.executable, "-m", "voxelcast", "run", str(experiment), "--output", str(output)]
    driver = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while not (output / "steps").is_dir() or len(done_steps(output)) < 3:
        assert driver.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    workers = descendants(driver.pid)
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert said.decode().splitlines()[-1] == "voxelcast: stopped; run the same command again to go on"
    assert b"semaphore" not in said
    assert wait_until(lambda: not any(map(is_alive, workers)), PATIENCE), "workers outlive their driver"
