"""The package as it would be published: complete, and at work where only its wheel is installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
GALLERY = ("examples/gallery/01_which_layer.py", "notebooks/own_network.ipynb", "docs/images/report.png")
BESIDE = (".git", ".venv", "build", "outputs", "demo")


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_wheel_alone_does_the_work(tmp_path: Path) -> None:
    pytest.importorskip("build")
    pytest.importorskip("twine")
    dist = tmp_path / "dist"
    source = tmp_path / "source"
    source.mkdir()
    for path in ROOT.iterdir():
        if path.name not in BESIDE:
            (source / path.name).symlink_to(path)
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source, cwd=tmp_path)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert "PASSED" in _run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=tmp_path)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "docs/index.md",
        "examples/v4_stacking.yaml",
        *GALLERY,
    ):
        assert name in names, name

    # A clean environment that has the wheel and, for its dependencies, this one's packages behind it.
    clean = tmp_path / "clean"
    _run(sys.executable, "-m", "venv", "--without-pip", clean, cwd=tmp_path)
    (own,) = clean.glob("lib/python*/site-packages")
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", own, wheel, cwd=tmp_path)
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = clean / "bin" / "python"
    where = _run(python, "-c", "import voxelcast; print(voxelcast.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(clean)

    study = tmp_path / "my_study"
    (study / "stimuli").mkdir(parents=True)
    (study / "responses").mkdir()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(study / "stimuli" / f"im{number:02}.png")
    np.save(study / "responses" / "sub01.npy", rng.standard_normal((20, 3)))
    (study / "stimulus_ids.txt").write_text("\n".join(f"im{number:02}" for number in range(20)))
    program = (python, "-m", "voxelcast")
    _run(*program, "init", "my_study", cwd=tmp_path)
    small = ("networks=[{name: voxelcast/motion_energy, layers: [colour]}]", "compress.components=2", "folds.n=3")
    _run(*program, "run", "my_study.yaml", *small, "compute.workers=1", cwd=tmp_path)
    assert (tmp_path / "outputs" / "my_study" / "report.html").is_file()
