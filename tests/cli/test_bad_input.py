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
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS, N_TEST, N_TRAIN, SUBJECTS

PROGRESS = re.compile(
    r"\d+ training and \d+ held-out|estimate: |(read responses|extract|compress layers|fit)|warning: The smallest fold"
    r"|\w+: \d+ stimuli"  # of a subject
)


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
    "ids that do not match": (rename_id, {}, ("'nobody'", "correct the ids")),
    "an id twice": (repeat_id, {}, ("must be unique", "more than once")),
    "rows missing": (lambda root: change_responses(root, lambda y: y[:-1]), {}, ("must have 48", "(47, 5)")),
    "axes the wrong way round": (nothing, {"dataset": folder(axes=["voxel", "stimulus"])}, ("must have 48", "axes")),
    "an unknown axis": (nothing, {"dataset": folder(axes=["stimulus", "vertex"])}, ("axes", "vertex")),
    "NaN in a voxel": (
        lambda root: change_responses(root, set_column(np.nan)),
        {},
        ("ann all: 1 of 5 voxels", "voxel 2: no response (NaN) to 48 of 48", "invalid_voxels=exclude"),
    ),
    "infinity in a voxel": (
        lambda root: change_responses(root, set_column(np.inf)),
        {},
        ("ann.npy", "48 infinite", "correct them"),
    ),
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
    "fewer stimuli than folds": (nothing, {"folds": {"n": 60}}, ("48 stimuli and 60 folds",)),
    "folds of one stimulus": (nothing, {"folds": {"n": 40}}, ("at least 3 stimuli", "ask for fewer folds")),
    "fewer groups than folds": (split_group, {}, ("1 groups and 4 folds", "fewer folds")),
    "two nested folds": (nothing, {"folds": {"n": 2}}, ("folds", "at least 3", "nested=false")),
    "more components than stimuli": (
        nothing,
        {"compress": {"components": 24}},
        ("compress.components must be below 24", "got 24", "compress.fewer=allow"),
    ),
    "an unknown layer": (
        nothing,
        {"networks": energy(layers=["static.9"])},
        ("'static.9'", "static.5", "voxelcast networks layers"),
    ),
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


def test_more_components_than_features(images: Path, tmp_path: Path, call: Call) -> None:
    plain = settings(images, networks=energy(layers=["static.4"]), compress={"components": 300, "fit": "once"})
    write_dataset(tmp_path / "many", n=310)
    plain["dataset"]["root"] = str(tmp_path / "many")
    done = call("run", write_settings(tmp_path / "x.yaml", plain), "--output", tmp_path / "out")
    check_refusal(done, "compress.components must be at most 288", "static.4", "got 300")
    assert "extract features" not in begun(done)


def write_experiment(folder: Path, root: Path, **changes: Any) -> Path:
    return write_settings(folder / "x.yaml", settings(root, **changes))


def test_more_components_than_the_rank(images: Path, tmp_path: Path, call: Call) -> None:
    """Known only from the features: eight pictures, shown under 48 names."""
    files = sorted((images / "stimuli").iterdir())
    for place, path in enumerate(files[8:]):
        shutil.copyfile(files[place % 8], path)
    experiment = write_experiment(tmp_path, images, compress={"components": 10})
    done = call("run", experiment, "--output", tmp_path / "out")
    check_refusal(done, "components", "colour", "got 10", "compress.fewer=allow")
    assert not list((tmp_path / "out").rglob("*.csv"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda good: good[: len(good) // 2], ()),
        (lambda good: good[: len(good) - 200], ()),
        (lambda good: b"these are words, not a film\n", ()),
        (lambda good: b"", ()),
    ],
    ids=["cut in half", "without its end", "text", "empty"],
)
def test_a_broken_video_is_named(
    content: Callable[[bytes], bytes], said: tuple[str, ...], clips: Path, tmp_path: Path, call: Call
) -> None:
    path = clips / "stimuli" / "s007.mp4"
    path.write_bytes(content(path.read_bytes()))
    before = contents(clips)
    done = call("run", write_experiment(tmp_path, clips), "--output", tmp_path / "out")
    check_refusal(done, "s007.mp4", "broken_stimuli=skip", *said)
    done = call("extract", clips / "stimuli", "--layers", "colour", "--output", tmp_path / "features")
    check_refusal(done, "s007.mp4")
    assert contents(clips) == before


def test_a_broken_image_is_named(images: Path, tmp_path: Path, call: Call) -> None:
    path = images / "stimuli" / "s005.png"
    path.write_bytes(path.read_bytes()[:60])
    check_refusal(
        call("run", write_experiment(tmp_path, images), "--output", tmp_path / "out"), "s005.png", "broken_stimuli=skip"
    )


def test_no_readable_stimulus(images: Path, tmp_path: Path, call: Call) -> None:
    for path in (images / "stimuli").iterdir():
        path.write_bytes(b"")
    experiment = write_experiment(tmp_path, images, broken_stimuli="skip")
    check_refusal(call("run", experiment, "--output", tmp_path / "out"), "none of 48", "check the files")


def test_responses_that_are_constant_in_a_fold(images: Path, tmp_path: Path, call: Call) -> None:
    """Known only from the fit, which then costs its own subject x ROI alone: here there is no other."""
    change_responses(images, lambda y: np.eye(len(y))[:, 7:8])
    done = call("run", write_experiment(tmp_path, images), "--output", tmp_path / "out")
    assert done.code == 1
    assert "Traceback" not in done.err + done.out
    last = done.err.splitlines()[-1]
    assert last.startswith("voxelcast: 1 of 1 subject x ROI failed: ann all: no candidate has a score")
    assert f"(log: {tmp_path / 'out' / 'failures'}/fit-ann_all-" in last
    assert "run the same command again" in last
    assert not list((tmp_path / "out").rglob("*.csv"))


# --- the challenge ---


def write_challenge(root: Path, n_videos: int = N_TRAIN + N_TEST) -> None:
    """Lay out the mini track with empty files."""
    (root / "AlgonautsVideos268_All_30fpsmax").mkdir(parents=True)
    for number in range(n_videos):
        (root / "AlgonautsVideos268_All_30fpsmax" / f"{number + 1:04d}_0.mp4").touch()
    for subject in SUBJECTS:
        (root / "participants_data_v2021" / "mini_track" / subject).mkdir(parents=True)
        for roi in MINI_ROIS:
            (root / "participants_data_v2021" / "mini_track" / subject / f"{roi}.pkl").touch()


def challenge_experiment(folder: Path, root: Path, kind: str = "algonauts2021", **changes: Any) -> Path:
    return write_experiment(folder, root, dataset={"kind": kind, "root": str(root)}, **changes)


def test_a_missing_roi_file(tmp_path: Path, call: Call) -> None:
    write_challenge(tmp_path / "data")
    missing = tmp_path / "data" / "participants_data_v2021" / "mini_track" / "sub03" / "EBA.pkl"
    missing.unlink()
    done = call("run", challenge_experiment(tmp_path, tmp_path / "data"), "--output", tmp_path / "out")
    check_refusal(done, "sub03", "EBA", str(missing), "unpack the data there")


def test_the_wrong_number_of_videos(tmp_path: Path, call: Call) -> None:
    write_challenge(tmp_path / "data", N_TRAIN + N_TEST - 1)
    done = call("run", challenge_experiment(tmp_path, tmp_path / "data"), "--output", tmp_path / "out")
    check_refusal(done, "must hold 1102 videos", "got 1101", "unpack the whole archive")


def test_a_pickle_that_runs_code(simulation: Path, tmp_path: Path, call: Call) -> None:
    shutil.copytree(simulation, tmp_path / "data")
    (path,) = (tmp_path / "data").rglob("mini_track/sub02/V1.pkl")
    path.write_bytes(pickle.dumps({"train": RunsCode(tmp_path / "witness")}))
    before = contents(tmp_path / "data")
    experiment = challenge_experiment(tmp_path, tmp_path / "data", "simulated", networks=energy())
    done = call("run", experiment, "--output", tmp_path / "out")
    check_refusal(done, str(path), "mkdir", "nothing of it was run")
    assert not (tmp_path / "witness").exists()
    assert contents(tmp_path / "data") == before
    assert begun(done) == ["read responses"]


def test_responses_to_another_number_of_videos(simulation: Path, tmp_path: Path, call: Call) -> None:
    shutil.copytree(simulation, tmp_path / "data")
    (path,) = (tmp_path / "data").rglob("mini_track/sub02/V1.pkl")
    path.write_bytes(pickle.dumps({"train": np.ones((29, 3, 2))}))
    experiment = challenge_experiment(tmp_path, tmp_path / "data", "simulated", networks=energy())
    done = call("run", experiment, "--output", tmp_path / "out")
    check_refusal(done, "sub02 V1", "stimulus=30", "got (29, 3, 2)")
    assert begun(done) == ["read responses"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: pickle.dumps({"sub01": RunsCode(folder / "witness")}), ("mini_track.pkl", "mkdir")),
        (lambda folder: pickle.dumps({"sub01": {"V1": np.zeros((102, 232))}}), ("missing: LOC", "other problem")),
        (lambda folder: b"nothing", ("mini_track.pkl",)),
    ],
    ids=["runs code", "subjects missing", "no pickle"],
)
def test_a_submission_that_is_not_in_order(
    make: Callable[[Path], bytes], said: tuple[str, ...], tmp_path: Path, call: Call
) -> None:
    (tmp_path / "mini_track.pkl").write_bytes(make(tmp_path))
    check_refusal(call("submission", "check", tmp_path / "mini_track.pkl"), *said)
    assert not (tmp_path / "witness").exists()
    check_refusal(call("submission", "check", tmp_path / "full_track.zip"), "full_track.zip")


# --- weights ---


def network(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "torchvision/squeezenet1_1", "layers": ["features.0"], "input_size": 32} | changes]


def weights_that_run_code(folder: Path) -> Path:
    torch.save({"a": RunsCode(folder / "witness")}, folder / "weights.pth")
    return folder / "weights.pth"


def weights_of_another_network(folder: Path) -> Path:
    torch.save({"fc.weight": torch.zeros(3, 3)}, folder / "weights.pth")
    return folder / "weights.pth"


def weights_that_are_text(folder: Path) -> Path:
    (folder / "weights.pth").write_text("words")
    return folder / "weights.pth"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "weights.pth", ("does not exist", "weights=random")),
        (weights_that_are_text, ("no torch checkpoint",)),
        (weights_that_run_code, ("not loaded", "state_dict")),
        (weights_of_another_network, ("torchvision/squeezenet1_1", "fc.weight")),
    ],
    ids=["missing", "text", "runs code", "another network's"],
)
def test_wrong_weights(
    make: Callable[[Path], Path], said: tuple[str, ...], images: Path, tmp_path: Path, call: Call
) -> None:
    weights = make(tmp_path)
    done = call("run", write_experiment(tmp_path, images, networks=network(weights=str(weights))))
    check_refusal(done, "weights.pth", *said)
    assert begun(done) == []
    assert not (tmp_path / "witness").exists()


def test_default_weights_without_a_connection(
    images: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    done = call("run", write_experiment(tmp_path, images, networks=network(weights="default")))
    check_refusal(done, "squeezenet1_1", "no route to host", "put it there", "random")


def test_a_layer_of_another_network(images: Path, tmp_path: Path, call: Call) -> None:
    experiment = write_experiment(tmp_path, images, networks=network(weights="random", layers=["layer4"]))
    done = call("run", experiment, "--output", tmp_path / "out")
    check_refusal(done, "layer 'layer4' does not exist", "voxelcast networks layers torchvision/squeezenet1_1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there(images: Path, tmp_path: Path, call: Call) -> None:
    done = call("run", write_experiment(tmp_path, images), "compute.device=cuda", "--output", tmp_path / "out")
    check_refusal(done, "device 'cuda' is not there", "set device to cpu")


# --- the output ---


def test_an_output_that_cannot_be_written(images: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "file").write_text("mine")
    experiment = write_experiment(tmp_path, images)
    for arguments in (
        ("run", experiment, "--output", tmp_path / "file" / "out"),
        ("run", experiment, "--output", tmp_path / "file"),
        ("run", experiment, "--output", tmp_path / "out", "--store", tmp_path / "file" / "steps"),
        ("run", experiment, "--output", tmp_path / "file" / "out", "--dry-run"),
        ("extract", images / "stimuli", "--layers", "colour", "--output", tmp_path / "file" / "out"),
        ("simulate", tmp_path / "file" / "simulation"),
        ("demo", tmp_path / "file" / "demo"),
    ):
        done = call(*arguments)
        check_refusal(done, str(tmp_path / "file"))
        assert begun(done) == []
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_that_holds_another_experiment(images: Path, tmp_path: Path, call: Call) -> None:
    experiment = write_experiment(tmp_path, images)
    assert call("run", experiment, "--output", tmp_path / "out").code == 0
    before = contents(tmp_path / "out")
    for options in ((), ("--dry-run",)):
        done = call("run", experiment, "seed=1", "--output", tmp_path / "out", *options)
        check_refusal(done, "seed is 0 there and 1 here", "--output")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("name", "text"),
    [("thesis.txt", "mine"), ("config.yaml", "- mine"), ("config.yaml", "mine: ["), ("config.yaml", "name: mine")],
)
def test_an_output_that_holds_other_files(name: str, text: str, images: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(text)
    done = call("run", write_experiment(tmp_path, images), "--output", tmp_path / "out")
    check_refusal(done, str(tmp_path / "out"), "--output")
    assert contents(tmp_path / "out") == {name: text.encode()}


def test_extraction_into_other_files(images: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    done = call("extract", images / "stimuli", "--layers", "colour", "--output", tmp_path / "out")
    check_refusal(done, "thesis.txt", "choose an empty or new folder")
    assert contents(tmp_path / "out") == {"thesis.txt": b"mine"}


def test_two_runs_at_once(images: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = call("run", write_experiment(tmp_path, images), "--output", tmp_path / "out")
    check_refusal(done, "another run is under way", "wait for it")


def test_a_stored_step_of_another_key_is_done_again(images: Path, tmp_path: Path, call: Call) -> None:
    experiment = write_experiment(tmp_path, images)
    assert call("run", experiment, "--output", tmp_path / "out").code == 0
    (done_file,) = (tmp_path / "out" / "steps").glob("fit/*/DONE")
    scores = (tmp_path / "out" / "scores.csv").read_bytes()
    done_file.write_text(done_file.read_text().replace('"key": "', '"key": "0'))
    again = call("run", experiment, "--output", tmp_path / "out")
    assert again.code == 0
    assert f"fit/{done_file.parent.name} is damaged (DONE is not as it was written); it is done again" in again.err
    assert (tmp_path / "out" / "scores.csv").read_bytes() == scores


# --- the experiment file and the command line ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, ("x.yaml does not exist", "examples/")),
        ("name: [", ("x.yaml is not YAML",)),
        ("- a list", ("x.yaml must hold settings", "got list")),
        ("", ("x.yaml must hold settings",)),
        ("nmae: x", ("nmae is not a setting", "did you mean name")),
        (b"\xff\xfe\x00", ("x.yaml cannot be read as text",)),
    ],
    ids=["missing", "not YAML", "a list", "empty", "misspelt", "bytes"],
)
def test_a_wrong_experiment_file(text: str | bytes | None, said: tuple[str, ...], tmp_path: Path, call: Call) -> None:
    if text is not None:
        (tmp_path / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    check_refusal(call("run", tmp_path / "x.yaml", "--output", tmp_path / "out"), *said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"folds": {"nn": 3}}, ("folds.nn is not a setting", "allowed here: n, nested")),
        ({"encoders": ["plss"]}, ("encoders", "'plss'", "ridge")),
        ({"pool": "maen"}, ("pool", "'maen'", "mean")),
        ({"frames": {"every": 0}}, ("frames.every", "got 0")),
        ({"seed": "one"}, ("seed", "'one'")),
    ],
)
def test_a_wrong_setting(
    section: dict[str, Any], said: tuple[str, ...], images: Path, tmp_path: Path, call: Call
) -> None:
    done = call("run", write_experiment(tmp_path, images, **section), "--output", tmp_path / "out")
    check_refusal(done, "x.yaml", *said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("frobnicate",), 2, ("'frobnicate'", "voxelcast --help")),
        (("run",), 2, ("EXPERIMENT", "voxelcast run --help")),
        (("run", "x.yaml", "--ouput", "y"), 2, ("--ouput", "--output")),
        (("simulate", "x", "--fps", "many"), 2, ("--fps", "'many'")),
        (("simulate", "x", "--driver", "V1=static"), 1, ("--driver must be ROI=NETWORK:LAYER", "'V1=static'")),
        (("simulate", "x", "--driver", "V1=resnet:layer1"), 1, ("'resnet'", "voxelcast networks list")),
        (("networks", "layers", "resnet"), 1, ("'resnet'", "voxelcast networks list")),
        (("extract", "none", "--output", "out"), 1, ("stimuli not found: none", "give a folder")),
        (("extract", "empty", "--output", "out"), 1, ("no video or image in empty",)),
        (
            ("extract", "empty", "--every", "2", "--frames", "3", "--output", "out"),
            1,
            ("every=2, n=3", "set exactly one"),
        ),
        (("extract", "empty", "--output", "out", "--on", "nowhere"), 1, ("profile 'nowhere'", "execution init")),
        (("report", "empty"), 1, ("empty",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and value and value[0].islower() else None,
)
def test_a_wrong_command(
    arguments: tuple[str, ...],
    code: int,
    said: tuple[str, ...],
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    check_refusal(call(*arguments), *said, code=code)
    assert contents(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["components", "video"])
def test_the_real_command_says_the_same(case: str, clips: Path, tmp_path: Path) -> None:
    """Through the interpreter and worker processes, as a user would."""
    changes: dict[str, Any] = {}
    said = "s003.mp4"
    if case == "components":
        changes, said = {"compress": {"components": 40}}, "compress.components must be below 12"
    else:
        (clips / "stimuli" / "s003.mp4").write_text("words")
    command = [sys.executable, "-m", "voxelcast", "run", str(write_experiment(tmp_path, clips, **changes))]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")], capture_output=True, text=True, timeout=300, check=False
    )
    check_refusal(Done(done.returncode, done.stdout, done.stderr), said)
