"""Kills, damaged files, a full disk and too few file handles: a run ends with the same bytes, and says what was wrong.

Runs are forked from this process, drivers and workers both, so that dozens of them take a minute; that processes which
are started anew behave alike is a test of `test_resume`.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.experiment.miniature import ENERGY, contents, settings, write_dataset, write_settings
from tests.golden.inside import call, in_process
from voxelcast.cli.main import main
from voxelcast.datasets.registry import close_all
from voxelcast.store import provenance

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for worker processes in /proc"),
]


@pytest.fixture(scope="module", autouse=True)
def one_commit() -> Iterator[None]:
    """A model's card has the commit, which is another where someone commits, or git does not answer, meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "_git", lambda *arguments: "")
        yield


FORK = multiprocessing.get_context("fork")
TELL_THE_TIME = ("provenance.json", "progress.jsonl", "report.html", "DONE", ".lock")


@dataclass
class Command:
    """A command line, and what it leaves when nothing disturbs it."""

    arguments: list[str]
    output: Path
    expected: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0

    def start(self, limit: Callable[[], None] = lambda: None) -> multiprocessing.process.BaseProcess:
        """Start it in a process group of its own."""
        process = FORK.Process(target=_run, args=(self, limit))
        process.start()
        return process

    def finish(self, limit: Callable[[], None] = lambda: None) -> int:
        """Run it to its end and return the exit code."""
        process = self.start(limit)
        process.join(120)
        assert process.exitcode is not None, "it hangs"
        return process.exitcode

    @property
    def said(self) -> str:
        """What the last one said on standard error."""
        return self.output.with_suffix(".err").read_text()

    def left(self) -> dict[str, bytes]:
        """Return every file by its path, but those that tell the time; not what was set aside."""
        found = contents(self.output)
        return {name: text for name, text in found.items() if not name.endswith(TELL_THE_TIME) and "/.d" not in name}


def _run(command: Command, limit: Callable[[], None]) -> None:
    os.setsid()
    with command.output.with_suffix(".err").open("w") as said:
        os.dup2(said.fileno(), 2)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["voxelcast", *command.arguments]
    close_all()
    limit()
    main()


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork workers, too, and write no report, which tells the time and takes most of it."""
    monkeypatch.setattr("voxelcast.execution.workers.multiprocessing.get_context", lambda _: FORK)
    monkeypatch.setattr("voxelcast.report.page.write_report", lambda _: None)


@pytest.fixture
def commands(tmp_path: Path) -> list[Command]:
    """A run and an extraction, both of which were done once."""
    root = write_dataset(tmp_path / "data", n=40, subjects=("ann", "bob"))
    plain = settings(root, encoders=["ridge"], folds={"n": 3}, interval={"resamples": 100}, compute={"workers": 2})
    experiment = write_settings(tmp_path / "x.yaml", plain)
    wanted = {
        "run": ["run", str(experiment)],
        "extract": ["extract", str(root / "stimuli"), "--network", ENERGY, "--layers", "colour,static.4"],
    }
    made = []
    for name, arguments in wanted.items():
        command = Command([*arguments, "--output", str(tmp_path / name)], tmp_path / name)
        with in_process():  # what is imported here is there in every fork
            assert call(*command.arguments).code == 0
        shutil.rmtree(command.output)
        started = time.monotonic()
        assert command.finish() == 0, command.said
        command.seconds = time.monotonic() - started
        command.expected = command.left()
        made.append(command)
    return made


def workers_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def wait_for_group(group: int) -> None:
    """Wait until no process of a group is left: workers end when their driver is gone."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError("workers outlive their driver")


@pytest.mark.parametrize(("index", "kills"), [(0, 30), (1, 12)], ids=["run", "extract"])
def test_killed_at_any_moment_it_ends_with_the_same_bytes(commands: list[Command], index: int, kills: int) -> None:
    command, rng = commands[index], np.random.default_rng(index)
    killed = {"driver": 0, "worker": 0, "group": 0}
    shutil.rmtree(command.output)
    while sum(killed.values()) < kills:
        process = command.start()
        assert process.pid is not None
        time.sleep(rng.uniform(0.02, command.seconds))
        who = min(killed, key=lambda name: killed[name])
        workers = workers_of(process.pid)
        if process.is_alive() and (who != "worker" or workers):
            if who == "group":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(process.pid if who == "driver" else int(rng.choice(workers)), signal.SIGKILL)
            killed[who] += 1
        process.join(120)
        wait_for_group(process.pid)
        if process.exitcode == 0:  # it was over, or went on without the worker
            assert command.left() == command.expected
            shutil.rmtree(command.output)
    assert command.finish() == 0, command.said
    assert command.left() == command.expected
    assert not list((command.output / "steps").glob("*/.*"))


def flip(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def zeros(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    start = int(rng.integers(len(content)))
    path.write_bytes(content[:start] + bytes(len(content) - start))


DAMAGE: dict[str, Callable[[Path, np.random.Generator], object]] = {
    "a flipped bit": flip,
    "zeros": zeros,
    "truncated": lambda path, rng: os.truncate(path, int(rng.integers(path.stat().st_size))),
    "empty": lambda path, _: os.truncate(path, 0),
    "deleted": lambda path, _: path.unlink(),
    "garbage": lambda path, rng: path.write_bytes(rng.bytes(300)),
    "folder emptied": lambda path, _: [each.unlink() for each in path.parent.iterdir() if each.is_file()],
}


def test_sixty_damaged_files_heal(commands: list[Command]) -> None:
    rng, n_steps = np.random.default_rng(0), 0
    for number in range(80):
        command = commands[number % 4 == 3]
        steps = sorted((command.output / "steps").glob("[!.]*/[!.]*/*"))
        others = sorted(path for path in command.output.rglob("*") if path.is_file() and "steps" not in path.parts)
        others = [path for path in others if path.name not in ("config.yaml", "settings.json", ".lock")]
        files = others if number % 5 == 4 else steps
        path = files[rng.integers(len(files))]
        kind = list(DAMAGE)[number % (len(DAMAGE) if files is steps else len(DAMAGE) - 1)]
        before = path.read_bytes()
        DAMAGE[kind](path, rng)
        changed = not path.is_file() or path.read_bytes() != before
        assert command.finish() == 0, (kind, path, command.said)
        assert command.left() == command.expected, (kind, path)
        if files is steps and changed:
            n_steps += 1
            (line,) = [line for line in command.said.splitlines() if "is damaged" in line]
            assert f"{path.parent.parent.name}/{path.parent.name} is damaged" in line
        else:
            assert "is damaged" not in command.said
    assert n_steps >= 60


def test_damaged_settings_are_said_in_a_line_and_nothing_is_touched(commands: list[Command]) -> None:
    names = ("config.yaml", "settings.json")
    for (command, name), damage in product(zip(commands, names, strict=True), ("", "{", "\0" * 50, "name: [1,")):
        path = command.output / name
        path.write_text(damage)
        before = contents(command.output)
        assert command.finish() == 1
        (line,) = command.said.splitlines()
        assert str(path) in line
        assert contents(command.output) == before


def check_ends_with_a_line(command: Command, limit: Callable[[], None], words: str) -> bool:
    """Run within a limit from the beginning; say whether it failed, with one line at the end, and goes on without."""
    shutil.rmtree(command.output)
    code = command.finish(limit)
    said = command.said
    assert "Traceback" not in said, said
    if code:
        assert code == 1, said
        assert words in said.splitlines()[-1], said
        assert command.finish() == 0, command.said
    assert command.left() == command.expected
    return bool(code)


@pytest.mark.parametrize("index", [0, 1], ids=["run", "extract"])
def test_files_that_may_not_grow(commands: list[Command], index: int) -> None:
    sizes = (300, 1500, 5000, 12000, 10**8)
    failed = [
        check_ends_with_a_line(
            commands[index], lambda n=n: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)), "File too large"
        )
        for n in sizes
    ]
    assert failed[0]
    assert not failed[-1]


@pytest.mark.parametrize("index", [0, 1], ids=["run", "extract"])
def test_too_few_file_handles(commands: list[Command], index: int) -> None:
    there = len(list(Path("/proc/self/fd").iterdir()))
    failed = [
        check_ends_with_a_line(
            commands[index],
            lambda n=there + more: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)),
            "Too many open files",
        )
        for more in (2, 4, 6, 9, 12, 400)
    ]
    assert failed[0]
    assert not failed[-1]


@pytest.mark.parametrize("index", [0, 1], ids=["run", "extract"])
def test_a_full_disk(commands: list[Command], index: int, tmp_path: Path) -> None:
    command, failed = commands[index], []
    for kilobytes in (8, 40, 100, 180, 4000):
        shutil.rmtree(command.output)
        command.output.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(command.output)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        try:
            code = command.finish()
            said = command.said
            assert "Traceback" not in said, said
            failed.append(bool(code))
            if code:
                words = os.strerror(errno.ENOSPC), "its disk has"  # found full, or seen to be too small
                assert any(each in said.splitlines()[-1] for each in words), said
                subprocess.run(["mount", "-o", "remount,size=64m", str(command.output)], check=True)
                assert command.finish() == 0, command.said
            assert command.left() == command.expected
        finally:
            subprocess.run(["umount", "-l", str(command.output)], check=True)
    assert failed[0]
    assert not failed[-1]
