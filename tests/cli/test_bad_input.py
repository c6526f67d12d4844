"""Wrong input: one line that names what is wrong and what to do, an exit code, and nothing touched."""

from __future__ import annotations

import fcntl
import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import yaml

from tests.cli.conftest import Call, Done
from tests.experiment.miniature import (
    ENERGY,
    contents,
    settings,
    stimulus_ids,
    write_dataset,
    write_settings,
    write_table,
)
from voxelcast.datasets.algonauts2021 import MINI_ROIS, N_TEST, N_TRAIN, SUBJECTS

PROGRESS = re.compile(r"\d+ training and \d+ held-out|estimate: |(read responses|extract features|compress layers|fit)")


def check_refusal(done: Done, *said: str, code: int = 1) -> None:
    """Hold an error to its form: one last line that says everything asked for, only progress before it."""
    assert done.code == code, done.err
    *before, last = done.err.splitlines()
    assert last.startswith("voxelcast: ")
    for part in said:
        assert part in last
    assert "Traceback" not in done.err + done.out
    assert [line for line in before if not PROGRESS.match(line)] == []


def begun(done: Done) -> list[str]:
    """Names of the work that was begun before the error."""
    return re.findall(r"^([a-z ]+): \d+ to do", done.err, flags=re.M)


def change_responses(root: Path, change: Callable[[np.ndarray], Any]) -> None:
    path = root / "responses" / "ann.npy"
    np.save(path, change(np.load(path)))


def set_column(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[:, 2] = value
        return values

    return change


class RunsCode:
    """A pickle of it writes a file when it is loaded."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.witness),)


# --- what is wrong in a folder of images: (what spoils it, settings, what is said) ---


def drop_ids(root: Path) -> None:
    (root / "stimulus_ids.txt").unlink()


def rename_id(root: Path) -> None:
    ids = stimulus_ids(root)
    (root / "stimulus_ids.txt").write_text("\n".join(["nobody", *ids[1:]]))


def repeat_id(root: Path) -> None:
    ids = stimulus_ids(root)
    (root / "stimulus_ids.txt").write_text("\n".join([ids[1], *ids[1:]]))


def evil_zip(root: Path) -> None:
    with zipfile.ZipFile(root / "stimuli.zip", "w") as archive:
        for path in sorted((root / "stimuli").iterdir()):
            archive.write(path, path.name)
        archive.writestr("../outside.png", b"x")
    shutil.rmtree(root / "stimuli")


def no_zip(root: Path) -> None:
    shutil.rmtree(root / "stimuli")
    (root / "stimuli.zip").write_bytes(b"PK no archive")


def objects(root: Path) -> None:
    np.save(root / "responses" / "ann.npy", np.array([RunsCode(root / "witness")] * 48, dtype=object))


def truncate_png(root: Path) -> None:
    path = sorted((root / "stimuli").iterdir())[5]
    path.write_bytes(path.read_bytes()[:60])


def split_group(root: Path) -> None:
    write_table(root / "groups.csv", ("stimulus_id", "group"), [(i, "one movie") for i in stimulus_ids(root)])


def nothing(root: Path) -> None:
    """Leave the data as they are."""


def energy(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": ENERGY, "layers": ["colour"], "input_size": 64} | changes]


def folder(**changes: Any) -> dict[str, Any]:
    return {"kind": "folder", "root": "ROOT", **changes}


IMAGE_CASES: dict[str, tuple[Callable[[Path], None], dict[str, Any], tuple[str, ...]]] = {
    "no stimulus ids": (drop_ids, {}, ("ann.npy", "stimulus_ids.txt")),
    "ids that do not match": (rename_id, {}, ("'nobody'", "mend the ids")),
    "an id twice": (repeat_id, {}, ("must be unique", "more than once")),
    "rows missing": (lambda root: change_responses(root, lambda y: y[:-1]), {}, ("must have 48", "(47, 5)")),
    "axes the wrong way round": (nothing, {"dataset": folder(axes=["voxel", "stimulus"])}, ("must have 48", "axes")),
    "an unknown axis": (nothing, {"dataset": folder(axes=["stimulus", "vertex"])}, ("axes", "vertex")),
    "NaN in a voxel": (
        lambda root: change_responses(root, set_column(np.nan)),
        {},
        ("ann all: 1 of 5 voxels", "voxel 2: no response (NaN) to 48 of 48", "invalid_voxels=exclude"),
    ),
    "infinity in a voxel": (lambda root: change_responses(root, set_column(np.inf)), {}, ("voxel 2", "exclude")),
    "a constant voxel": (
        lambda root: change_responses(root, set_column(3.0)),
        {},
        ("voxel 2: the same response to all 48", "invalid_voxels=exclude"),
    ),
    "no usable voxel": (
        lambda root: change_responses(root, np.zeros_like),
        {"invalid_voxels": "exclude"},
        ("none of 5 voxels", "leave this ROI out"),
    ),
    "no responses": (lambda root: (root / "responses" / "ann.npy").unlink(), {}, ("responses not found", "set resp")),
    "text named .npy": (
        lambda root: (root / "responses" / "ann.npy").write_text("voxel"),
        {},
        ("ann.npy",),
    ),
    "an array of objects": (objects, {}, ("ann.npy", "objects")),
    "a zip that leads outside": (evil_zip, {}, ("stimuli.zip", "'../outside.png'", "nothing was read")),
    "no zip archive": (no_zip, {}, ("stimuli.zip", "neither")),
    "a cut image": (truncate_png, {}, ("s005.png",)),
    "fewer stimuli than folds": (nothing, {"folds": {"n": 60}}, ("48 stimuli and 60 folds",)),
    "folds of one stimulus": (nothing, {"folds": {"n": 40}}, ("at least 3 stimuli", "ask for fewer folds")),
    "fewer groups than folds": (split_group, {}, ("1 groups and 4 folds", "fewer folds")),
    "two nested folds": (nothing, {"folds": {"n": 2}}, ("folds", "at least 3", "nested=false")),
    "more components than stimuli": (
        nothing,
        {"compress": {"components": 24}},
        ("compress.components must be below 24", "got 24", "compress.fewer=allow"),
    ),
    "an unknown layer": (nothing, {"networks": energy(layers=["static.9"])}, ("'static.9'", "static.1", "networks")),
    "an unknown network": (
        nothing,
        {"networks": [{"name": "torchvision/mobilnet_v2", "layers": ["features.1"]}]},
        ("'torchvision/mobilnet_v2'", "mobilenet_v2", "voxelcast networks list"),
    ),
    "too small an input": (nothing, {"networks": energy(input_size=32)}, ("input_size", "at least 64", "got 32")),
    "weights of a built-in": (nothing, {"networks": energy(weights="random")}, ("weights", "built in", "leave it out")),
    "an unknown device": (nothing, {"compute": {"device": "tpu"}}, ("device must be", "'tpu'")),
    "an unknown subject": (nothing, {"dataset": folder(subjects=["bob"])}, ("subject 'bob' does not exist", "ann")),
    "an unknown ROI": (nothing, {"dataset": folder(rois=["V9"])}, ("ROI 'V9' does not exist", "all")),
    "a label twice": (nothing, {"networks": energy() * 2}, (ENERGY, "twice", "label")),
    "a label that is a path": (nothing, {"networks": energy(label="../up")}, ("'../up'", "file name")),
    "a missing table": (nothing, {"dataset": folder(split="parts.csv")}, ("parts.csv", "does not exist")),
    "no such folder": (nothing, {"dataset": {"kind": "folder", "root": "ROOT/none"}}, ("dataset not found", "none")),
}


@pytest.mark.parametrize("case", IMAGE_CASES)
def test_wrong_data_or_settings(case: str, images: Path, tmp_path: Path, call: Call) -> None:
    spoil, changes, said = IMAGE_CASES[case]
    spoil(images)
    before = contents(images)
    plain = settings(images, **changes)
    plain["dataset"]["root"] = plain["dataset"]["root"].replace("ROOT", str(images))
    done = call("run", write_settings(tmp_path / "x.yaml", plain), "--output", tmp_path / "out")
    check_refusal(done, *said)
    assert "extract features" not in begun(done)
    assert contents(images) == before
    assert not (images / "witness").exists()
    assert not list((tmp_path / "out").rglob("*.csv"))


def test_components_than_features(images: Path, tmp_path: Path, call: Call) -> None:
    plain = settings(images, networks=energy(layers=["static.4"]), compress={"components": 300, "fit": "once"})
    write_dataset(tmp_path / "many", n=310)
    plain["dataset"]["root"] = str(tmp_path / "many")
    done = call("run", write_settings(tmp_path / "x.yaml", plain), "--output", tmp_path / "out")
    check_refusal(done, "compress.components must be at most 288", "static.4", "got 300")
    assert "extract features" not in begun(done)
