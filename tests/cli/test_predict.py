"""``voxelcast predict``: what it takes, prints, writes and refuses."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.cli.conftest import Call
from tests.models.build import build
from tests.models.planted import cell_weights, plant
from voxelcast.core.arrays import FloatArray
from voxelcast.execution.status import read_statuses
from voxelcast.models.encoder import SavedEncoder, load_encoder

NAMES = ("b", "a", "c")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that sees a corner of pictures in ``seen``, one of ready features in ``ready``; pictures in ``new``."""
    monkeypatch.chdir(tmp_path)
    plant(tmp_path / "seen", {"V1": cell_weights(0, 0)[:, None], "V2": cell_weights(3, 3)[:, None]})
    build(tmp_path / "ready")
    (tmp_path / "new").mkdir()
    for k, name in enumerate(NAMES):
        Image.fromarray(np.full((64, 64, 3), 60 + 50 * k, dtype=np.uint8)).save(tmp_path / "new" / f"{name}.png")
    return tmp_path


def by_hand(folder: Path, names: str) -> FloatArray:
    """Predict pictures from memory."""
    frames = {name: np.asarray(Image.open(folder / "new" / f"{name}.png")) for name in names}
    return load_encoder(folder / "seen").predict(frames).arrays["s1", "V1"]


def test_a_folder_a_file_an_archive_and_a_list(call: Call, here: Path) -> None:
    done = call("predict", "seen", "new", "--to", "folder.npz")
    assert (done.code, done.out) == (0, "wrote folder.npz\n"), done.err
    with zipfile.ZipFile(here / "new.zip", "w") as archive:
        for name in NAMES:
            archive.write(here / "new" / f"{name}.png", f"{name}.png")
    assert call("predict", "seen", "new.zip", "--to", "archive.npz").code == 0
    assert call("predict", "seen", "new/c.png", "--to", "one.npz").code == 0
    assert call("predict", "seen", "new/c.png", "new/a.png", "--to", "list.npz").code == 0
    for name, ids in (("folder", "abc"), ("archive", "abc"), ("one", "c"), ("list", "ca")):
        found = np.load(here / f"{name}.npz")
        assert "".join(found["stimulus_ids"]) == ids
        np.testing.assert_allclose(found["s1_V1"], by_hand(here, ids), rtol=1e-5)


def test_status_tells_how_far_it_is(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, respond = [], SavedEncoder.respond

    def looked(encoder: SavedEncoder, components: Any, pair: Any) -> FloatArray:
        told.append(read_statuses(here / "new.npz")[""])
        return respond(encoder, components, pair)

    monkeypatch.setattr(SavedEncoder, "respond", looked)
    assert call("predict", "seen", "new", "--to", "new.npz").code == 0
    assert {(one.state, one.stages[0].line()) for one in told} == {
        ("running", "predict responses     0 of 3 done, 3 waiting")
    }
    done = call("status", "new.npz")
    assert done.out.splitlines()[0].startswith("finished; on this machine")
    assert done.out.splitlines()[1] == "predict responses     3 of 3 done"


def test_without_a_file_the_mean_of_each_roi_is_printed(call: Call, here: Path) -> None:
    done = call("predict", "seen", "new", "--roi", "V1")
    mean = by_hand(here, "abc").mean(axis=1)
    lines = [f"{name}\t{value:.4f}" for name, value in zip("abc", mean, strict=True)]
    assert (done.code, done.out.splitlines()) == (0, ["stimulus_id\ts1 V1 (mean)", *lines])


def test_ready_features(call: Call, here: Path) -> None:
    features = np.random.default_rng(0).standard_normal((3, 12)).astype(np.float32)
    expected = load_encoder(here / "ready").predict(features).arrays["ann", "V2"]
    np.save(here / "f.npy", features)
    np.savez(here / "f.npz", stimulus_ids=np.array(NAMES), conv=features)
    for name, ids in (("f.npy", "012"), ("f.npz", "bac")):
        to = f"of_{name[2:]}.csv"
        assert call("predict", "ready", name, "--to", to, "--roi", "V2").code == 0
        table = pd.read_csv(here / to, dtype={"stimulus_id": str})
        assert "".join(table["stimulus_id"].unique()) == ids
        np.testing.assert_array_equal(table["response"].to_numpy().reshape(3, 2), expected)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("seen", "empty"), "no video or image in empty; looked for files ending in"),
        (("seen", "nowhere"), "nowhere does not exist"),
        (("seen", "notes.txt"), "must be a folder or a .zip archive; got notes.txt"),
        (("seen", "new/a.png", "notes.txt"), "notes.txt: cannot be opened as a video"),
        (("seen", "new/a.png", "new"), "new is a folder among files; give one folder alone, or files alone"),
        (("seen", "new/a.png", "new/a.png"), "stimulus ids must be unique; got 'a' several times"),
        (("seen", "short.npy"), "ready features must have those of layer"),
        (("ready", "new"), "give those of the stimuli, as an .npz or a dict with an array of each"),
        (("ready", "short.npy"), "must have shape (n_stimuli, n_features=12); got (3, 5)"),
        (("ready", "nan.npz"), "features of net conv must be finite"),
        (("ready", "fewer.npz"), "features have 3 stimuli, and there are 2 ids"),
        (("seen", "broken.png"), "broken.png"),
        (("new", "new"), "new holds no saved models"),
        (("seen", "new", "--roi", "V9"), "no model of V9; there are s1 V1, s1 V2"),
        (("seen", "new", "--to", "p.mat"), "--to must end in one of"),
        (("seen", "new", "--to", "notes.txt"), "--to must end in one of"),
        (("seen", "new", "--to", "there.npz"), "there.npz is there already; choose another --to"),
        (("seen", "new", "--to", "p.npz", "--intervals", "0.9"), "--intervals go into a .csv file; got --to p.npz"),
        (("seen", "new", "--device", "cuda:99"), "device 'cuda:99' is not there"),
        (("ready", "fewer.npz", "--device", "cuda:99"), "device 'cuda:99' is not there"),
        (("seen", "new", "--device", "gpu"), "device must be like cpu, cuda or cuda:1; got 'gpu'"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(call: Call, here: Path, arguments: tuple[str, ...], said: str) -> None:
    (here / "empty").mkdir()
    (here / "notes.txt").write_text("not a picture")
    (here / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    np.save(here / "short.npy", np.zeros((3, 5)))
    np.savez(here / "nan.npz", conv=np.full((3, 12), np.nan))
    np.savez(here / "fewer.npz", conv=np.zeros((3, 12)), stimulus_ids=np.array(["a", "b"]))
    np.savez(here / "there.npz", mine=np.zeros(1))
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    done = call("predict", *arguments)
    assert (done.code, done.out) == (1, "")
    *begun, last = done.err.splitlines()
    assert said in last
    assert all(line.startswith("predict responses: ") for line in begun)
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before
