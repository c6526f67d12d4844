"""Walk through a page of the documentation as its reader does, from top to bottom, in an empty folder.

``python -m tests.walk docs/tutorial.md docs/figures/*.py`` does so and keeps the figures that pages and scripts draw in
``docs/images``.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
BLOCK = re.compile(r"^```(bash|yaml|python)\n(.*?)^```", flags=re.M | re.S)
FILE_NAME = re.compile(r"`([\w/]+\.yaml)`:\s*$")


def walk(page: Path, folder: Path) -> None:
    """Run a page's blocks in ``folder``: shell commands, experiment files that the text names, Python; or a script.

    A YAML block is written to the file whose name ends the line before it. Of the shell, lines that begin with
    ``voxelcast`` are run.
    """
    text = page.read_text(encoding="utf-8")
    with contextlib.chdir(folder):
        if page.suffix == ".py":
            exec(compile(text, page.name, "exec"), {})
            return
        for block in BLOCK.finditer(text):
            language, code = block.groups()
            if language == "python":
                exec(compile(code, page.name, "exec"), {})
            elif language == "yaml":
                named = FILE_NAME.search(text[: block.start()])
                if named:
                    Path(named[1]).write_text(code)
            else:
                for line in code.splitlines():
                    if line.startswith("voxelcast "):
                        command(line)


def command(line: str) -> None:
    """Run a command of voxelcast as a process of its own; a comment may follow it."""
    words = shlex.split(line, comments=True)[1:]
    done = subprocess.run([sys.executable, "-m", "voxelcast", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{line} exits with {done.returncode}: {done.stderr}")


def main(pages: list[str]) -> None:
    """Walk the pages and scripts, one folder for each, and copy what they draw to docs/images."""
    os.environ["MPLBACKEND"] = "agg"
    for page in map(Path, pages):
        with tempfile.TemporaryDirectory() as folder:
            walk(page.resolve(), Path(folder))
            for figure in sorted(Path(folder).glob("*.png")):
                shutil.copy(figure, IMAGES / figure.name)
                print(IMAGES / figure.name)


if __name__ == "__main__":
    main(sys.argv[1:])
