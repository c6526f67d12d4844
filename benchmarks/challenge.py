"""The whole 2021 challenge in one command, from mp4 to ``mini_track.zip`` and report: time, memory, disk and files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from voxelcast.challenges import challenge_of
from voxelcast.core.cost import readable_bytes
from voxelcast.core.errors import VoxelcastError
from voxelcast.datasets.formats.simulated import SimulatedDataset, SimulatedSettings
from voxelcast.execution.journal import read_journal

_EVERY = 0.5  # seconds between two looks at disk and memory
_PROC = Path("/proc")


@dataclass(frozen=True)
class Challenge:
    """What is simulated and how it is analysed; None: as many as the challenge has (10 subjects, 1,102 videos).

    ``layers``: names or patterns of the network's, or a named set; ``size`` and ``seconds`` are of the videos,
    ``input_size`` is the network's.
    """

    subjects: int | None = None
    videos: int | None = None
    voxels: int | None = None
    network: str = "torchvision/resnet50"
    layers: tuple[str, ...] = ("algonauts2021",)
    every: int = 4
    encoders: tuple[str, ...] = ("pls", "ridge")
    components: int = 50
    features_as: str = "float16"
    device: str = "cpu"
    workers: int | None = None
    input_size: int | None = None
    size: int | None = None

    def simulate(self, root: Path) -> list[str]:
        """Return the command that writes the data."""
        n_test = None if self.videos is None else max(2, self.videos // 10)
        sizes = {"subjects": self.subjects, "voxels": self.voxels, "size": self.size, "test": n_test}
        sizes["train"] = None if n_test is None or self.videos is None else self.videos - n_test
        given = [text for name, n in sizes.items() if n is not None for text in (f"--{name}", str(n))]
        return ["simulate", str(root), "--preset", "challenge", *given]

    def experiment(self, root: Path) -> dict[str, Any]:
        """Return the settings of the experiment."""
        network = {"name": self.network, "layers": list(self.layers), "weights": "random"}
        workers = {} if self.workers is None else {"workers": self.workers}
        return {
            "name": "challenge",
            "dataset": {"kind": "simulated", "root": str(root)},
            "networks": [network | ({} if self.input_size is None else {"input_size": self.input_size})],
            "frames": {"every": self.every},
            "features_as": self.features_as,
            "compress": {"method": "pca", "components": self.components},
            "encoders": list(self.encoders),
            "folds": {"n": 10, "nested": True},
            "compute": {"device": self.device, **workers},
        }


@dataclass(frozen=True)
class StageFacts:
    """A stage of the run: seconds announced (None: not) and taken, and what its steps added to the disk.

    ``processor``: seconds that all processes computed meanwhile, which other programs on the machine disturb less.
    """

    what: str
    announced: float | None
    seconds: float
    processor: float
    n_bytes: int
    n_files: int

    def line(self) -> str:
        """Say it side by side."""
        said = f"{'-':>8}" if self.announced is None else f"{self.announced:8.1f}"
        ratio = f"{self.seconds / self.announced:6.2f}" if self.announced else f"{'-':>6}"
        added = f"  {readable_bytes(self.n_bytes)} in {self.n_files} files" if self.n_files else ""
        return f"{self.what:28} {said} {self.seconds:8.1f} {ratio} {self.processor:10.1f}{added}"


@dataclass(frozen=True)
class ChallengeRun:
    """What the run took and left; ``seconds`` from the start of the command to its end, memory of all processes."""

    seconds: float
    processor: float
    stages: tuple[StageFacts, ...]
    peak_disk: int
    peak_files: int
    peak_memory: int
    left: dict[str, tuple[int, int]]
    mean_score: float
    submission: str = ""

    def lines(self) -> list[str]:
        """Return the result in words: a line for each stage, for what lies before and between, and for the whole."""
        taken, computed = (sum(getattr(one, what) for one in self.stages) for what in ("seconds", "processor"))
        others = StageFacts("start, plan, estimate, ends", None, self.seconds - taken, self.processor - computed, 0, 0)
        announced = sum(stage.announced or 0.0 for stage in self.stages)
        stages = StageFacts("all stages", announced, taken, computed, 0, 0)
        whole = StageFacts("whole run", announced, self.seconds, self.processor, 0, 0)
        n_bytes, n_files = (sum(each) for each in zip(*self.left.values(), strict=True))
        return [
            f"{'seconds':28} {'said':>8} {'taken':>8} {'ratio':>6} {'processors':>10}",
            *(stage.line() for stage in (*self.stages, stages, others, whole)),
            f"disk at the peak: {readable_bytes(self.peak_disk)} in {self.peak_files} files",
            f"disk at the end: {readable_bytes(n_bytes)} in {n_files} files",
            *(f"  {name}: {readable_bytes(size)} in {n} files" for name, (size, n) in sorted(self.left.items())),
            f"memory at the peak, of all processes: {readable_bytes(self.peak_memory)}",
            f"mean score {self.mean_score:.4f}; {self.submission}",
        ]


def benchmark_challenge(case: Challenge, folder: Path) -> ChallengeRun:
    """Simulate the challenge in ``folder/data`` and run it in ``folder/output``, each by its command.

    Data that are there stay; an output that is there is refused, as its stages would be done before. Raises
    VoxelcastError where a command fails.
    """
    data, output = folder / "data", folder / "output"
    if output.exists():
        raise VoxelcastError(f"{output} is there; remove it, or choose another --scratch")
    folder.mkdir(parents=True, exist_ok=True)
    _command(case.simulate(data))
    (folder / "experiment.yaml").write_text(yaml.safe_dump(case.experiment(data), sort_keys=False))
    run = measure_run(folder / "experiment.yaml", output)
    dataset = SimulatedDataset(SimulatedSettings(data))
    checked = challenge_of([dataset]).check(output / "submission" / "mini_track.zip", [dataset])
    return replace(run, submission=checked)


def measure_run(experiment: Path, output: Path) -> ChallengeRun:
    """Run an experiment by its command in a new folder, and watch it. Raises VoxelcastError where it fails."""
    started = time.monotonic()
    with watching(output) as watch:
        said = _command(["run", str(experiment), "--output", str(output)], watch)
    seconds = time.monotonic() - started
    found = re.search(r"mean score over subject x ROI: (-?[\d.]+)", said)
    left = {
        "models": _size(output / "models"),
        "steps": _size(output / "steps"),
        "results and report": _size(output, without=("models", "steps")),
    }
    score = float(found[1]) if found else float("nan")
    stages = read_stages(output, watch.processor)
    return ChallengeRun(seconds, watch.computed, stages, watch.disk, watch.files, watch.memory, left, score)


def read_stages(output: Path, processor: Mapping[float, float]) -> tuple[StageFacts, ...]:
    """Read what the last run in a folder says of its stages, and what their finished steps say of themselves.

    ``processor`` has the seconds computed so far, by time since the epoch.
    """
    lines = read_journal(output)
    begin: Any = lines[0]
    ends = {line["what"]: float(str(line["time"])) for line in lines if line["event"] == "stage_end"}
    found = []
    for line in (line for line in lines if line["event"] == "stage"):
        steps: Any = line["steps"]
        marks = [json.loads((Path(begin["root"]) / step / "DONE").read_bytes()) for step in steps]
        n_bytes = sum(file["bytes"] for mark in marks for file in mark["files"].values())
        n_bytes += sum(mark.get("released", 0) for mark in marks)
        n_files = sum(1 + len(mark["files"]) + ("released" in mark) for mark in marks)
        times = float(str(line["time"])), ends[line["what"]]
        computed = np.diff(np.interp(times, list(processor), list(processor.values())))[0] if processor else 0.0
        what, seconds = str(line["what"]), times[1] - times[0]
        found.append(StageFacts(what, begin["stages"].get(what), seconds, float(computed), n_bytes, n_files))
    return tuple(found)


@dataclass
class _Watch:
    """The most that a folder and a process with all its children took at a time."""

    folder: Path
    pid: int = 0
    disk: int = 0
    files: int = 0
    memory: int = 0
    processor: dict[float, float] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Look now and then, until it is over."""
        while not self.over.wait(_EVERY):
            n_bytes, n_files = _size(self.folder)
            self.disk, self.files = max(self.disk, n_bytes), max(self.files, n_files)
            if self.pid:
                memory, self.processor[time.time()] = tree_use(self.pid)
                self.memory = max(self.memory, memory)

    @property
    def computed(self) -> float:
        """Seconds that the processes computed in all."""
        return max(self.processor.values(), default=0.0)


@contextmanager
def watching(folder: Path) -> Iterator[_Watch]:
    """Watch a folder, and the process that is named meanwhile, until the block ends."""
    watch = _Watch(folder)
    thread = threading.Thread(target=watch.look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.over.set()
        thread.join()


def tree_use(pid: int) -> tuple[int, float]:
    """Return resident bytes, shared pages counted in each, and seconds computed, of a process and all that it started.

    Seconds of those that have ended count where their parent waited for them. 0 and 0 off Linux.
    """
    parents, uses = dict[int, int](), dict[int, tuple[int, float]]()
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if entry.name.isdigit():
            try:
                stat, statm = (entry / "stat").read_text(), (entry / "statm").read_text()
            except OSError:
                continue  # it has ended meanwhile
            number, facts = int(entry.name), stat.rpartition(")")[2].split()
            parents[number] = int(facts[1])
            seconds = sum(map(int, facts[11:15])) / os.sysconf("SC_CLK_TCK")  # user, system, and those of children
            uses[number] = int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE"), seconds
    tree = {pid}
    while more := {child for child, parent in parents.items() if parent in tree} - tree:
        tree |= more
    there = [uses[number] for number in tree if number in uses]
    return sum(memory for memory, _ in there), sum(seconds for _, seconds in there)


def _size(folder: Path, without: Sequence[str] = ()) -> tuple[int, int]:
    """Return the bytes and the number of files in a folder and below."""
    n_bytes = n_files = 0
    try:
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                below = _size(Path(entry.path)) if entry.name not in without else (0, 0)
                n_bytes, n_files = n_bytes + below[0], n_files + below[1]
            else:
                n_bytes, n_files = n_bytes + entry.stat(follow_symlinks=False).st_size, n_files + 1
    except FileNotFoundError:
        pass  # it was renamed or removed meanwhile
    return n_bytes, n_files


def _command(arguments: Sequence[str], watch: _Watch | None = None) -> str:
    """Run a command of voxelcast, whose progress goes to standard error, and return what it printed."""
    with subprocess.Popen(
        [sys.executable, "-m", "voxelcast", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        if watch is not None:
            watch.pid = process.pid
        said, _ = process.communicate()
    if process.returncode:
        raise VoxelcastError(f"voxelcast {arguments[0]} failed; it says why above")
    return said
