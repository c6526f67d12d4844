"""A lab's package adds one of each family by its entry points, without editing voxelcast."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

LAB = Path(__file__).parent / "lab"


def install(target: Path) -> None:
    """Put the lab's package where Python finds it, with its entry points, as an installer does."""
    shutil.copytree(LAB / "lab_voxelcast", target / "lab_voxelcast")
    project = tomllib.loads((LAB / "pyproject.toml").read_text())["project"]
    described = target / f"lab_voxelcast-{project['version']}.dist-info"
    described.mkdir()
    name, version = project["name"], project["version"]
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{entry} = {target}" for entry, target in points.items())]
    (described / "entry_points.txt").write_text("\n".join(lines))


@pytest.mark.slow
def test_a_labs_package_adds_one_of_each(tmp_path: Path) -> None:
    install(tmp_path / "site")
    shutil.copy(LAB / "checks.py", tmp_path)
    path = os.pathsep.join([str(tmp_path / "site"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "checks.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
