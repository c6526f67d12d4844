"""What the command line does with errors that nobody foresaw, with files of the user's, and with names."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Call
from tests.experiment.miniature import contents, settings, stimulus_ids, write_settings
from voxelcast.store.readers.tables import read_table
from voxelcast.testing.results import write_output

EXTRACT = ("--layers", "colour", "--input-size", "64")


@pytest.mark.parametrize("error", [EOFError("no more"), RuntimeError("odd\nlines"), KeyError("x"), MemoryError()])
def test_what_nobody_foresaw_is_a_line_and_a_log(
    error: Exception, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("voxelcast.execution.status.read_status", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = call("status", tmp_path)
    assert done.code == 1
    (line,) = done.err.strip().splitlines()
    assert line.startswith(f"voxelcast: unforeseen error ({type(error).__name__}: ")
    assert "stopped" not in line
    log = Path(line.rpartition(": ")[2])
    assert log.parent == tmp_path
    assert log.stat().st_mode & 0o077 == 0
    assert "Traceback" in log.read_text()
    assert "in fail" in log.read_text()


def test_control_characters_do_not_reach_the_terminal(call: Call, tmp_path: Path) -> None:
    done = call("status", tmp_path / "\x1b[2Jx")
    assert done.code == 1
    assert "\x1b" not in done.err
    assert r"\x1b[2Jx" in done.err


def test_a_refused_run_leaves_no_name_behind(call: Call, images: Path, tmp_path: Path) -> None:
    whole = np.load(images / "responses" / "ann.npy")
    np.save(images / "responses" / "ann.npy", np.where(np.arange(5) == 2, np.nan, whole))
    experiment = write_settings(tmp_path / "x.yaml", settings(images))
    out = tmp_path / "deep" / "out"
    assert call("run", experiment, "--output", out).code == 1
    assert not out.parent.exists()
    np.save(images / "responses" / "ann.npy", whole)
    out.mkdir(parents=True)
    assert call("run", experiment, "--output", out, "networks.0.weights=nowhere.pth").code == 1
    assert list(out.iterdir()) == []


def test_what_was_finished_is_kept_when_a_later_step_fails(
    call: Call, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("voxelcast.experiment.run.folded_layers", fail)
    experiment, out = write_settings(tmp_path / "x.yaml", settings(images)), tmp_path / "out"
    done = call("run", experiment, "--output", out)
    assert done.code == 1
    said = done.err.splitlines()[-1]
    assert said.startswith("voxelcast: ")
    assert "(No space left on device)" in said
    assert (out / "config.yaml").is_file()
    assert list(out.glob("steps/extract/*/DONE"))


def test_files_of_the_user_are_not_overwritten(call: Call, images: Path, tmp_path: Path) -> None:
    experiment = write_settings(tmp_path / "config.yaml", settings(images))
    (tmp_path / "page.html").write_text("<title>my page about voxelcast</title>")
    one, two = write_output(tmp_path / "one"), write_output(tmp_path / "two", name="other")
    (one / "report.html").write_text("mine")
    before = contents(tmp_path)
    for arguments in (
        ("run", experiment, "--output", tmp_path),
        ("run", experiment, "--output", tmp_path, "--dry-run"),
        ("extract", images / "stimuli", *EXTRACT, "--output", tmp_path),
        ("report", one, two, "--output", tmp_path / "page.html"),
        ("report", one),
        ("score", one, "--dataset", f"folder:{images}", "--output", tmp_path),
        ("datasets", "metadata", "folder", images, "--output", tmp_path / "page.html"),
        ("execution", "init", "slurm", "--output", tmp_path / "page.html"),
    ):
        assert call(*arguments).code == 1, arguments
        assert contents(tmp_path) == before
    assert call("report", one, two, "--output", tmp_path / "new.html").code == 0
    assert call("report", one, two, "--output", tmp_path / "new.html").code == 0  # a page of ours


def test_the_home_folder_is_found_by_its_sign(
    call: Call, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(images.parent))
    write_settings(images.parent / "x.yaml", settings(images, dataset={"kind": "folder", "root": "~/images"}))
    done = call("run", "~/x.yaml", "--output=~/out", "--dry-run")
    assert done.code == 0, done.err


def test_names_are_joined_in_either_unicode_form(call: Call, images: Path, tmp_path: Path) -> None:
    composed = "caf\u00e9"
    first = stimulus_ids(images)[0]
    (images / "stimuli" / f"{first}.png").rename(images / "stimuli" / f"{unicodedata.normalize('NFD', composed)}.png")
    ids = (images / "stimulus_ids.txt").read_text().replace(first, composed)
    (images / "stimulus_ids.txt").write_text(ids)
    done = call("run", write_settings(tmp_path / "x.yaml", settings(images)), "--output", tmp_path / "out", "--dry-run")
    assert done.code == 0, done.err


def test_names_that_a_spreadsheet_would_run_are_marked_and_joined(call: Call, tmp_path: Path) -> None:
    names = ["=cmd", "+1", "-x", "@y", "plain"]
    for name in names:
        picture = np.random.default_rng(len(name)).integers(0, 256, (16, 16, 3), np.uint8)
        (tmp_path / "stimuli").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "stimuli" / f"{name}.png")
    assert call("extract", tmp_path / "stimuli", *EXTRACT, "--output", tmp_path / "out").code == 0
    with (tmp_path / "out" / "stimuli.csv").open(newline="") as file:
        cells = [row["stimulus_id"] for row in csv.DictReader(file)]
    assert not any(re.match(r"[=+\-@]", cell) for cell in cells)
    assert sorted(read_table(tmp_path / "out" / "stimuli.csv").column("stimulus_id")) == sorted(names)


@pytest.mark.parametrize("on_broken", ["stop", "skip"])
def test_a_damaged_member_of_a_zip_is_a_broken_stimulus(
    call: Call, images: Path, tmp_path: Path, on_broken: str
) -> None:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for picture in sorted((images / "stimuli").iterdir())[:4]:
            archive.write(picture, picture.name)
        place = archive.infolist()[2].header_offset + 100
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    done = call("extract", path, *EXTRACT, "--output", tmp_path / "out", "--broken-stimuli", on_broken)
    assert "s002.png" in done.err + done.out
    assert done.code == (1 if on_broken == "stop" else 0)
    assert (tmp_path / "out").exists() == (on_broken == "skip")


def test_a_pipe_among_stimuli_is_refused(call: Call, images: Path, tmp_path: Path) -> None:
    os.mkfifo(images / "stimuli" / "pipe.png")
    done = call("extract", images / "stimuli", *EXTRACT, "--output", tmp_path / "out")
    assert done.code == 1
    assert "pipe.png is no plain file" in done.err
