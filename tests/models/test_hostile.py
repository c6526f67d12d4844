"""Damaged, foreign and hostile models are one line each, and nothing is made of them."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from click.testing import CliRunner

from tests.models.build import build
from tests.models.planted import cell_weights, plant
from voxelcast.api.prediction_files import save_predictions
from voxelcast.cli.main import cli
from voxelcast.core.errors import VoxelcastError
from voxelcast.models.card import Card, read_card
from voxelcast.models.encoder import load_encoder
from voxelcast.models.hub import check_models, pull, push
from voxelcast.models.readme import card_lines
from voxelcast.models.tensors import file_sha256

FEATURES = np.random.default_rng(5).standard_normal((4, 12))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one layer of twelve features and two ROIs."""
    return build(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be spoiled."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def change(folder: Path, edit: Callable[[Any], object]) -> None:
    """Change the card."""
    plain = json.loads((folder / "card.json").read_text())
    edit(plain)
    (folder / "card.json").write_text(json.dumps(plain))


def rewrite(folder: Path, name: str, edit: Callable[[dict[str, np.ndarray]], object]) -> None:
    """Change arrays of a file, and have the card say its new size and hash."""
    arrays = safetensors.numpy.load_file(folder / name)
    edit(arrays)
    safetensors.numpy.save_file(arrays, folder / name)
    pin(folder, name)


def pin(folder: Path, name: str) -> None:
    """Have the card say the size and hash of a file."""

    def pinned(plain: Any) -> None:
        of_layers = [layer["file"] for layer in plain["layers"].values() if layer["file"]]
        for file in (*of_layers, *(pair["file"] for pair in plain["pairs"])):
            if file["name"] == name:
                file |= {"size": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}

    change(folder, pinned)


def predicts(folder: Path) -> Any:
    """Load and predict."""
    return load_encoder(folder).predict(FEATURES).arrays


def refused(folder: Path) -> str:
    """Return the line with which a model is refused."""
    with pytest.raises(VoxelcastError) as refusal:
        predicts(folder)
    said = str(refusal.value)
    assert "\n" not in said
    assert len(said) < 1000
    return said


def first(plain: Any) -> Any:
    """Return the card of the first layer."""
    return next(iter(plain["layers"].values()))


CARDS: dict[str, tuple[Callable[[Any], object], str]] = {
    "another format": (lambda c: c.update(format="pickle"), "no card of models that this version reads"),
    "no pairs": (lambda c: c.update(pairs=[]), "pairs"),
    "an unknown field": (lambda c: c.update(code="import os"), "code is not a setting"),
    "a path outside": (lambda c: c["pairs"][0]["file"].update(name="../../etc/passwd"), "leads outside its folder"),
    "an absolute path": (lambda c: c["pairs"][0]["file"].update(name="/etc/passwd"), "leads outside its folder"),
    "a file that is not there": (lambda c: c["pairs"][0]["file"].update(name="x.safetensors"), "does not exist"),
    "another size": (lambda c: c["pairs"][0]["file"].update(size=7), "must have 7 bytes"),
    "another hash": (lambda c: first(c)["file"].update(sha256="0" * 64), "has not the SHA-256"),
    "no hash": (lambda c: first(c)["file"].update(sha256="zz"), "sha256"),
    "huge features": (lambda c: first(c).update(n_features=2**31), "must have shape"),
    "beyond all features": (lambda c: first(c).update(n_features=10**18), "n_features"),
    "negative voxels": (lambda c: c["pairs"][0].update(n_voxels=-3), "n_voxels"),
    "more voxels in a part": (lambda c: c["pairs"][0]["parts"][0].update(n_voxels=999), "more voxels than there are"),
    "a part of no layer": (lambda c: c["pairs"][0]["parts"][0].update(layer="none"), "which is no layer"),
    "more features than the layer": (lambda c: c["pairs"][0]["parts"][0].update(n_features=99), "more features"),
    "an unknown form": (lambda c: c["pairs"][0]["parts"][0].update(form="pickle"), "kind of model 'pickle'"),
    "an unknown input": (lambda c: first(c).update(input="other"), "must be one of the inputs"),
    "impossible facts": (
        lambda c: c["pairs"][0]["parts"][0].update(form="kernel", facts={"n_train": 10**30}),
        "whole number from 1",
    ),
    "missing facts": (lambda c: c["pairs"][0]["parts"][0].update(form="mlp", facts={}), "damaged: 'widths'"),
    "a pair twice": (lambda c: c.update(pairs=[c["pairs"][0], c["pairs"][0]]), "twice"),
    "a key that is a path": (lambda c: c["layers"].update({"../x": first(c)}), "layers"),
    "layers that join themselves": (lambda c: first(c).update(kind="joined", members=list(c["layers"])), "must join"),
    "a name that is too long": (lambda c: c["pairs"][0]["file"].update(name="a" * 399), "File name too long"),
    "a name that ends early": (lambda c: c["pairs"][0]["file"].update(name="a\0b"), "leads outside its folder"),
    "the folder itself": (lambda c: c["pairs"][0]["file"].update(name="."), "leads outside its folder"),
    "a huge projection": (
        lambda c: first(c).update(kind="random", n_components=2**31, file=None),
        "random projection must be at most",
    ),
    "a seed that is none": (lambda c: first(c).update(kind="random", seed=-1, file=None), "seed"),
    "volumes of no length": (lambda c: (c.update(tr_seconds=1e-300), first(c).update(delays="double_gamma")), "tr_sec"),
    "a name that drives terminals": (lambda c: c["pairs"][0].update(subject="\x1b[2Jann"), "subject"),
    "a unit without end": (lambda c: c["pairs"][0].update(unit="x" * 10**6), "unit"),
    "numbers without end": (lambda c: first(c).update(rounding=float("nan")), "rounding"),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_that_claims_what_is_not_so(model: Path, name: str) -> None:
    edit, said = CARDS[name]
    change(model, edit)
    assert said in refused(model)


TENSORS: dict[str, tuple[str, Callable[[dict[str, np.ndarray]], object], str]] = {
    "NaN in axes": ("layers/net-conv.safetensors", lambda a: a["axes"].fill(np.nan), "axes must be finite"),
    "other axes": ("layers/net-conv.safetensors", lambda a: a.update(axes=a["axes"][:, :5]), "must have shape (3, 12)"),
    "no mean": ("layers/net-conv.safetensors", lambda a: a.pop("mean"), "misses 'mean'"),
    "one more": ("layers/net-conv.safetensors", lambda a: a.update(x=np.zeros(3, np.float32)), "holds 'x'"),
    "wrong coefficients": (
        "ann.safetensors",
        lambda a: a.update({"V1/0.coefficients": np.zeros((3, 9), np.float32)}),
        "must have shape",
    ),
    "infinite weights": ("ann.safetensors", lambda a: a["V1/0.weights"].fill(np.inf), "must be finite"),
    "axes that overflow": ("layers/net-conv.safetensors", lambda a: a["axes"].fill(3e38), "must be finite"),
    "voxels beyond": ("ann.safetensors", lambda a: a["V1/0.voxels"].fill(77), "rising numbers below"),
    "other voxels valid": ("ann.safetensors", lambda a: a["V1/valid"].fill(False), "as valid"),
    "whole numbers of a kind that is not ours": (
        "ann.safetensors",
        lambda a: a.update({"V1/rest": a["V1/rest"].astype(np.int64)}),
        "must have shape",
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_arrays_that_are_not_what_the_card_says(model: Path, name: str) -> None:
    file, edit, said = TENSORS[name]
    rewrite(model, file, edit)
    assert said in refused(model)


VOLUME = {"kind": "volume", "shape": [3, 4, 5], "space": "", "has_affine": False}
SURFACE = {"kind": "surface", "mesh": "", "n_vertices": [9, 9], "has_order": True}
PLACES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a huge volume": (VOLUME | {"shape": [10**9] * 3}, {}, "must lie in a volume"),
    "a volume that fills the memory": (VOLUME | {"shape": [4000] * 3}, {}, "must lie in a volume"),
    "a plane": (VOLUME | {"shape": [9, 9]}, {}, "must lie in a volume"),
    "no shape": ({"kind": "volume", "has_affine": False}, {}, "cannot be read as the places of voxels"),
    "a shape of words": (VOLUME | {"shape": "abc"}, {}, "cannot be read as the places of voxels"),
    "voxels outside": (VOLUME, {"indices": [9, 9, 9]}, "must lie in a volume"),
    "a huge mesh": (SURFACE | {"n_vertices": [2**50, 9]}, {}, "must lie on meshes"),
    "three hemispheres": (SURFACE | {"n_vertices": [9, 9, 9]}, {}, "cannot be read as the places of voxels"),
    "vertices outside": (SURFACE, {"left": 12}, "must lie on meshes"),
    "an order beyond": (SURFACE, {"order": 99}, "the order of vertices must be numbers below"),
}


@pytest.mark.parametrize("name", PLACES)
def test_voxels_that_lie_nowhere(tmp_path: Path, name: str) -> None:
    facts, spoiled, said = PLACES[name]
    places = {}
    for roi, n in (("V1", 5), ("V2", 2)):
        arrays = {"left": np.arange(n), "right": np.zeros(0), "elsewhere": np.zeros(0), "order": np.arange(n)}
        if facts["kind"] == "volume":
            arrays = {"indices": np.zeros((n, 3))}
        arrays |= {key: np.full_like(arrays[key], value) for key, value in spoiled.items()}
        own = facts if facts["kind"] == "volume" else facts | {"n": [n, 0, 0]}
        places[roi] = own, {key: array.astype(np.int32) for key, array in arrays.items()}
    encoder = load_encoder(build(tmp_path / "model", places=places))
    with pytest.raises(VoxelcastError, match=said):
        save_predictions(encoder.predict(FEATURES), tmp_path / "p.gii", encoder)


NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "code from elsewhere": (
        {"name": "hf:nobody/model", "trust_remote_code": True, "revision": "a" * 40},
        {},
        "loading a model does not run",
    ),
    "weights that are a path": ({"weights": "/etc/passwd"}, {}, "weights that are no path in the card"),
    "weights from elsewhere": ({"weights": "https://example.org/x.pt"}, {}, "weights that are no path in the card"),
    "frames that fill the memory": ({"input_size": 10**6}, {}, "input_size must be at most 4096"),
    "more frames than there are": ({}, {"frames": {"n": 10**10}}, "frames.n must be at most"),
    "cells without number": ({}, {"spatial_pool": "grid(1000000000)"}, "spatial_pool must be at most 512"),
    "a pool that reads files": ({}, {"pools": ["hrf(/etc/passwd)"]}, "cannot be read as a network by the card"),
    "a seed that is none": ({}, {"seed": "x"}, "cannot be read as a network by the card"),
    "a network that is none": ({"name": "torchvision/none"}, {}, "network 'torchvision/none' does not exist"),
    "another network": ({"name": "torchvision/squeezenet1_0"}, {}, "is not the network that the model was fitted with"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_that_ask_for_too_much(planted: Path, tmp_path: Path, name: str) -> None:
    network, facts, said = NETWORKS[name]
    folder = Path(shutil.copytree(planted, tmp_path / "model"))

    def edit(plain: Any) -> None:
        there = next(iter(plain["inputs"].values()))["facts"]
        there |= facts
        there["network"] |= network

    change(folder, edit)
    with pytest.raises(VoxelcastError, match=said) as refusal:
        load_encoder(folder).predict(np.zeros((1, 8, 8, 3), dtype=np.uint8))
    assert "\n" not in str(refusal.value)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that sees pictures through a network."""
    return plant(tmp_path_factory.mktemp("planted") / "whole", {"V1": cell_weights(0, 0)[:, None]})


def test_what_a_card_tells_people_drives_no_terminal(model: Path) -> None:
    def edit(plain: Any) -> None:
        plain["about"] = {"dataset": {"title": "\x1b[2Jmade up"}, "networks": 3}
        plain["pairs"][0]["scores"] = {"score": "high", "score_low": [1]}

    change(model, edit)
    for verb in ("show", "list"):
        done = CliRunner().invoke(cli, ["models", verb, str(model)])
        assert done.exit_code == 0
        assert "\x1b" not in done.output


@pytest.mark.parametrize("file", ["ann.safetensors", "layers/net-conv.safetensors"])
def test_every_damaged_byte_is_noticed(model: Path, file: str) -> None:
    whole, rng = (model / file).read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 20).tolist():
        (model / file).write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert "has not the SHA-256" in refused(model)
    (model / file).write_bytes(whole[:-1])
    assert "bytes by the card" in refused(model)


def _claim(entry: dict[str, Any]) -> bytes:
    head = json.dumps(entry).encode()
    return struct.pack("<Q", len(head)) + head


FOREIGN = {
    "a pickle": b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",
    "a huge head": struct.pack("<Q", 2**62) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"nope",
    "a huge array": _claim({"mean": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
    "offsets behind each other": _claim({"mean": {"dtype": "F32", "shape": [12], "data_offsets": [48, 0]}}) + bytes(48),
    "nothing": b"\0",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file(model: Path, name: str) -> None:
    file = "layers/net-conv.safetensors"
    (model / file).write_bytes(FOREIGN[name])
    pin(model, file)
    assert "cannot be read as safetensors" in refused(model)


def test_links_are_not_followed(model: Path, tmp_path: Path) -> None:
    file = model / "ann.safetensors"
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in refused(model)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"a": 1, "a": 2}', "[" * 100_000])
def test_a_card_that_is_none(model: Path, text: str) -> None:
    (model / "card.json").write_text(text)
    refused(model)
    done = CliRunner().invoke(cli, ["models", "show", str(model)])
    assert isinstance(done.exception, VoxelcastError)


def test_the_card_holds_what_it_says(whole: Path) -> None:
    card = read_card(whole)
    assert Card.model_validate_json(card.text()) == card
    found = predicts(whole)
    assert {pair: values.shape for pair, values in found.items()} == {("ann", "V1"): (4, 5), ("ann", "V2"): (4, 2)}


def test_models_go_to_a_folder_and_come_back(whole: Path, tmp_path: Path) -> None:
    push(whole, str(tmp_path / "pushed"))
    pulled = tmp_path / "pulled"
    pull(str(tmp_path / "pushed"), pulled, file_sha256(whole / "card.json"))
    assert {p.relative_to(pulled) for p in pulled.rglob("*")} == {p.relative_to(whole) for p in whole.rglob("*")}
    for pair, values in predicts(whole).items():
        np.testing.assert_array_equal(predicts(pulled)[pair], values)
    with pytest.raises(VoxelcastError, match="is there already"):
        push(whole, str(tmp_path / "pushed"))
    with pytest.raises(VoxelcastError, match="another version"):
        pull(str(tmp_path / "pushed"), tmp_path / "other", "0" * 64)
    assert not (tmp_path / "other").exists()
    (tmp_path / "pushed" / "ann.safetensors").write_bytes(b"spoiled")
    with pytest.raises(VoxelcastError, match="bytes by the card"):
        pull(str(tmp_path / "pushed"), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_hub_is_asked_only_by_its_name(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub stands in a folder: what huggingface_hub is asked to do is done there."""
    hub = pytest.importorskip("huggingface_hub")
    there = tmp_path / "hub"

    class Api:
        def create_repo(self, name: str, exist_ok: bool) -> None:
            assert (name, exist_ok) == ("lab/v1", True)

        def upload_folder(self, repo_id: str, folder_path: str, allow_patterns: list[str]) -> str:
            for name in allow_patterns:
                (there / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(folder_path) / name, there / name)
            return f"https://example.org/{repo_id}"

    def download(name: str, revision: str | None, local_dir: str, allow_patterns: list[str]) -> None:
        assert (name, revision) == ("lab/v1", "abc")
        shutil.copytree(there, local_dir, dirs_exist_ok=True)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", download)
    assert push(whole, "hub:lab/v1") == "https://example.org/lab/v1"
    pull("hub:lab/v1@abc", tmp_path / "pulled")
    check_models(tmp_path / "pulled")
    (there / "ann.safetensors").write_bytes(b"spoiled")
    with pytest.raises(VoxelcastError, match="bytes by the card"):
        pull("hub:lab/v1@abc", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    for wrong in ("hub:lab", "hub:/x", "hub:a/b/c"):
        with pytest.raises(VoxelcastError, match="OWNER/NAME"):
            push(whole, wrong)


def test_the_hub_can_read_the_card_for_people(whole: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(whole / "README.md")
    assert card.data.library_name == "voxelcast"
    assert "fmri" in card.data.tags
    assert "| ann | V1 | 5 |" in card.text
    shown = CliRunner().invoke(cli, ["models", "show", str(whole)])
    assert file_sha256(whole / "card.json") in shown.output
    listed = CliRunner().invoke(cli, ["models", "list", str(whole)])
    rows = json.loads(CliRunner().invoke(cli, ["models", "list", str(whole), "--json"]).output)
    assert len(rows) == len(listed.output.splitlines())
    assert all(isinstance(row["n_voxels"], int) for row in rows)
    assert [line.split("\t")[:2] for line in listed.output.splitlines()] == [["ann", "V1"], ["ann", "V2"]]


def test_the_card_for_people_has_the_unit_of_the_responses(whole: Path) -> None:
    card = read_card(whole)
    pairs = tuple(pair.model_copy(update={"unit": "spikes in 100 ms"}) for pair in card.pairs)
    assert "unit of responses: spikes in 100 ms." in "\n".join(card_lines(card.model_copy(update={"pairs": pairs})))


def test_code_is_not_run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_net.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)

    def own(plain: Any) -> None:
        network = {"name": "module:evil_net:Net", "weights": None}
        facts = {"network": network, "card": {}, "seed": 0, "frames": {"every": 1}, "pools": ["mean"]}
        plain["inputs"]["input1"] = {"kind": "network", "facts": facts | {"spatial_pool": "none"}}

    change(model, own)
    with pytest.raises(VoxelcastError, match="loading a model does not run"):
        load_encoder(model).predict(np.zeros((1, 8, 8, 3), dtype=np.uint8))
