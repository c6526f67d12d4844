"""Where auto-sklearn's environment is, and how it is made."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from voxelcast.core.errors import MissingPackageError, UnwritableError

VARIABLE = "VOXELCAST_AUTOSKLEARN"
PINS = Path(__file__).parent / "requirements.txt"
_COMMAND = "voxelcast encoders install-autosklearn"


def environment_folder() -> Path:
    """Return where the environment is looked for: ``$VOXELCAST_AUTOSKLEARN``, or a folder in the user's cache."""
    if asked := os.environ.get(VARIABLE):
        return Path(asked)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "voxelcast" / "autosklearn"


def environment_python() -> Path:
    """Return the environment's interpreter.

    Raises MissingPackageError if there is none.
    """
    python = environment_folder() / "bin" / "python"
    if not python.is_file():
        raise MissingPackageError(
            f"the encoder autosklearn needs an environment of its own, and there is none at {environment_folder()}; "
            f"make it with: {_COMMAND}"
        )
    return python


def find_python39(asked: str | None = None) -> Path:
    """Return an interpreter of Python 3.9: the one asked for, or one from the search path or pyenv.

    Raises MissingPackageError if there is none.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [asked] if asked else [shutil.which("python3.9"), *sorted(map(str, pyenv.glob("3.9*/bin/python")))]
    for candidate in found:
        if candidate and _version(candidate) == "3.9":
            return Path(candidate)
    raise MissingPackageError(
        f"auto-sklearn 0.15 needs Python 3.9; got {asked or 'none on the search path'}; install one (conda create -n "
        f"python39 python=3.9, or pyenv install 3.9) and say where it is: {_COMMAND} --python PATH"
    )


def _version(python: str) -> str:
    command = [python, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()
    except OSError:
        return ""


def install_environment(folder: Path, python: Path, say: Callable[[str], None]) -> None:
    """Make the environment: Python 3.9 with the pinned packages, each checked against its hash.

    Raises UnwritableError if the folder exists already or cannot be made; MissingPackageError if a package cannot be
    installed; the message ends with pip's last line.

    Parameters
    ----------
    folder : Path
        Must not exist.
    python : Path
        An interpreter of Python 3.9.
    say : callable
        Gets a line of text when something begins.
    """
    if folder.exists():
        raise UnwritableError(f"{folder} exists already; delete it, or give another folder")
    say(f"making {folder} with {python}")
    _run([str(python), "-m", "venv", str(folder)], folder)
    inside = str(folder / "bin" / "python")
    say("installing auto-sklearn 0.15.0 and what it needs (43 packages, about half a gigabyte)")
    _run([inside, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(PINS)], folder)
    _run([inside, "-I", "-W", "ignore", "-c", "import autosklearn.regression"], folder)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:] or ["no message"]
        raise MissingPackageError(f"auto-sklearn's environment could not be made at {folder}: {said[0]}")
