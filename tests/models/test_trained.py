"""Saved models of trained encoders: a readout and a fine-tuned network, from pixels to responses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from tests.experiment.miniature import run, settings, write_dataset
from tests.experiment.test_trainings import NET, QUICK
from tests.models.helpers import files, held_out, written
from voxelcast.core.errors import DataError, OptionError
from voxelcast.models.encoder import load_encoder
from voxelcast.models.tensors import file_sha256

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process")]
OPEN = {"own_code": True}
KINDS: dict[str, dict[str, Any]] = {
    "stacked": {"encoders": ["ridge", "readout"], "ensemble": {"method": "stacking"}, "readout": {"seeds": 2}},
    "places": {"encoders": ["readout"], "readout": {"places": "point", "time": "learned", "apart": True, "seeds": 2}},
    "tuned": {"encoders": ["finetuned"], "finetuned": {"release": 0, "variants": [{}, {"lora": 2}]}},
}


@pytest.fixture(params=KINDS)
def asked(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a small experiment with held-out pictures, two subjects and a network of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "training_nets.py").write_text(NET)
    network = {"name": "module:training_nets:Net", "layers": ["first", "second"], "version": "1", "input_size": 24}
    network |= {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    root = write_dataset(tmp_path / "data", n=28, n_voxels=3, subjects=("ann", "bob"))
    held_out(root)
    given = KINDS[request.param]
    learned = {name: {**QUICK, "shift": 1} | given.get(name, {}) for name in ("finetuned",)}
    learned["readout"] = QUICK | given.get("readout", {})
    plain = {"networks": [network], "folds": {"n": 3, "nested": False}, "ensemble": {"method": "mean"}}
    return settings(root, **plain | given | learned)


def test_a_trained_encoder_is_saved_and_predicts(asked: dict[str, Any], tmp_path: Path) -> None:
    output, data = tmp_path / "output", tmp_path / "data"
    run(asked, output)
    card = json.loads((output / "models" / "card.json").read_text())
    trained = [layer for layer in card["layers"].values() if layer["kind"] == "trained"]
    assert len(trained) == 2 * (2 if asked["readout"].get("apart") else 1)
    assert not any("not saved" in note for note in json.loads((output / "notes.json").read_text()))
    encoder = load_encoder(output, **OPEN)
    for subject in ("ann", "bob"):
        ids, predictions = written(output, f"{subject}_all")
        found = load_encoder(output, subject=subject, **OPEN).predict(files(data, ids))
        np.testing.assert_array_equal(found.arrays[subject, "all"], predictions)
    frames = {i: np.asarray(Image.open(data / "stimuli" / f"{i}.png").convert("RGB"))[None] for i in ids}
    again = encoder.predict(frames)
    np.testing.assert_array_equal(again.arrays["bob", "all"], predictions)
    assert np.isfinite(again.arrays["ann", "all"]).all()
    assert not (again.arrays["ann", "all"] == predictions).any()
    spoiled(output / "models", ids, frames)


def spoiled(folder: Path, ids: list[str], frames: Any) -> None:
    """A card that claims another trained encoder than the file holds is refused in one line."""
    plain = json.loads((folder / "card.json").read_text())
    key, layer = next((key, one) for key, one in plain["layers"].items() if one["kind"] == "trained")
    facts = layer["facts"]
    for wrong in (
        {"shapes": [[2**20, 2**20, 2**20]] * len(facts["shapes"])},
        {"members": [*facts["members"], facts["members"][0]]},
        {"members": [{"points": True}]},
        {"n_times": []},
        {"pixels": None if facts["pixels"] else [1, 8]},
    ):
        layer["facts"] = facts | wrong
        (folder / "card.json").write_text(json.dumps(plain))
        with pytest.raises(DataError) as error:
            load_encoder(folder, **OPEN).predict(frames)
        assert "\n" not in str(error.value)
        layer["facts"] = facts
    path = folder / layer["file"]["name"]
    arrays = safetensors.numpy.load_file(path)
    name = next(name for name in arrays if name.endswith("head.bias"))
    arrays[name] = np.full_like(arrays[name], np.finfo(np.float32).max)
    safetensors.numpy.save_file(arrays, path)
    layer["file"] |= {"size": path.stat().st_size, "sha256": file_sha256(path)}
    (folder / "card.json").write_text(json.dumps(plain))
    subject = next(pair["subject"] for pair in plain["pairs"] if any(p["layer"] == key for p in pair["parts"]))
    with pytest.raises(OptionError, match="own code"):
        load_encoder(folder, subject=subject).predict(frames)
