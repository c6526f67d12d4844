"""Runs golden experiments by the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.golden import inside
from tests.golden.data import GoldenData
from tests.golden.experiments import EXPERIMENTS
from tests.golden.outputs import Record, read_output


class Workshop:
    """A folder with datasets, finished steps that experiments share, and their outputs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = GoldenData(root / "data")
        self.data.root.mkdir()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run from the datasets' folder, all steps in this process."""
        before = Path.cwd()
        os.chdir(self.data.root)
        try:
            with inside.in_process():
                yield
        finally:
            os.chdir(before)

    def prepare(self, name: str, output: str = "outputs", store: str = "store") -> list[str]:
        """Write what an experiment needs and return the command that runs it, without ``voxelcast``."""
        golden, folder = EXPERIMENTS[name], self.root / output / name
        self.data.make(golden.data)
        if golden.command == "extract":
            return ["extract", *golden.arguments, "--output", str(folder)]
        file = self.root / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"name": name.replace("_", "-"), **golden.settings}, sort_keys=False))
        stored = ["--store", str(self.root / store)] if golden.command == "run" else []
        return [golden.command, str(file), *golden.arguments, "--output", str(folder), *stored]

    def read(self, name: str, output: str = "outputs") -> Record:
        """Read what an experiment left."""
        return read_output(self.root / output / name)

    def run(self, name: str) -> Record:
        """Run an experiment and read what it left.

        Raises
        ------
        RuntimeError
            If the command fails, with what it said.
        """
        with self.entered():
            command = self.prepare(name)
            done = inside.call(*command)
        if done.code:
            raise RuntimeError(f"{name}: exit code {done.code}: {done.err}")
        return self.read(name)
