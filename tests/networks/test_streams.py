"""Texts and sound reach the networks that take them, in an experiment too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experiment.miniature import run, settings, stimulus_ids, write_dataset, write_table
from tests.networks.tiny_transformers import write_tiny
from voxelcast.core.errors import AlignmentError, OptionError
from voxelcast.models.encoder import load_encoder
from voxelcast.networks.extract import extract
from voxelcast.networks.registry import load_network
from voxelcast.networks.streams import with_texts
from voxelcast.stimuli.stimulus import Stimulus

STIMULI = [Stimulus(name, Path(f"{name}.mp4")) for name in ("a", "b")]


def test_texts_are_joined_by_id_and_count_by_their_content(tmp_path):
    write_table(tmp_path / "texts.csv", ["stimulus_id", "text"], [["b", "a cat"], ["a", "the dog, red"], ["c", "x"]])
    found = with_texts(STIMULI, str(tmp_path / "texts.csv"))
    assert [stimulus.text for stimulus in found] == ["the dog, red", "a cat"]
    write_table(tmp_path / "other.csv", ["stimulus_id", "text"], [["a", "the dog, red"], ["b", "a dog"]])
    other = with_texts(STIMULI, str(tmp_path / "other.csv"))
    assert found[0].content() == other[0].content()
    assert found[1].content() != other[1].content()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", "dog"]], r"1 have no text \(first 'b'\)"),
        ([["a", "dog"], ["b", ""]], r"1 have no text \(first 'b'\)"),
        ([["a", "dog"], ["b", "x"], ["a", "cat"]], r"1 have several texts \(first 'a'\)"),
    ],
)
def test_texts_that_do_not_fit_are_refused(rows, message, tmp_path):
    write_table(tmp_path / "texts.csv", ["stimulus_id", "text"], rows)
    with pytest.raises(AlignmentError, match=message):
        with_texts(STIMULI, str(tmp_path / "texts.csv"))


@pytest.fixture
def reader(tmp_path):
    pytest.importorskip("transformers")
    return write_tiny("gpt2", tmp_path)


def test_a_network_that_takes_text_needs_some(reader):
    with pytest.raises(OptionError, match="takes text and stimulus 'a' has none; set texts to a table"):
        list(extract(load_network(f"hf:{reader}", layers="0"), STIMULI))


@pytest.mark.slow
def test_captions_and_frames_meet_in_one_experiment(reader, tmp_path):
    """Responses follow what captions say: the network that reads them is chosen over the one that sees noise."""
    root = write_dataset(tmp_path / "data", n=60, n_voxels=4)
    ids, rng = stimulus_ids(root), np.random.default_rng(0)
    words = ("dog", "cat", "red", "blue")
    said = rng.integers(0, 4, (len(ids), 3))
    captions = [[name, " ".join(words[k] for k in line)] for name, line in zip(ids, said, strict=True)]
    write_table(tmp_path / "captions.csv", ["stimulus_id", "text"], captions)
    counts = np.stack([(said == k).sum(1) for k in range(3)], 1).astype(float)
    (file,) = root.rglob("*.npy")
    responses = counts @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(len(ids), 4))
    np.save(file, responses.astype(np.load(file).dtype))
    energy = {"name": "voxelcast/motion_energy", "layers": ["colour"], "input_size": 64}
    text = {"name": f"hf:{reader}", "layers": [0], "texts": str(tmp_path / "captions.csv")}
    plain = settings(root, networks=[energy, text], encoders=["ridge"], compress={"components": 3}, ensemble={})
    summary = run(plain, tmp_path / "out")
    assert summary.mean_score > 0.7

    encoder = load_encoder(tmp_path / "out")
    pairs = {card.parts[0].layer for card in encoder.card.pairs}
    assert {encoder.card.layers[key].network for key in pairs} == {f"hf/{reader.name}"}
    assert str(tmp_path / "captions.csv") not in (tmp_path / "out" / "models" / "card.json").read_text()
    new = {"p": "dog dog red", "q": "blue cat"}
    expected = encoder.predict(new).arrays["ann", "all"]
    write_table(tmp_path / "new.csv", ["stimulus_id", "text"], [[name, new[name]] for name in "qp"])
    folder = tmp_path / "data" / "stimuli"
    shown = [Stimulus(name, folder / f"{ids[0]}.png") for name in "pq"]
    for given, texts in ((tmp_path / "new.csv", None), (shown, tmp_path / "new.csv"), (shown, new)):
        found = encoder.predict(given, texts=texts)
        order = [found.ids.index(name) for name in "pq"]
        np.testing.assert_allclose(found.arrays["ann", "all"][order], expected, rtol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    with pytest.raises(
        OptionError, match=r"reads texts, and there is none of stimulus .*; give a table stimulus_id,text"
    ):
        encoder.predict(folder)
    with pytest.raises(AlignmentError, match=r"new\.csv must have one text for each stimulus; 60 have no text"):
        encoder.predict(folder, texts=tmp_path / "new.csv")
    with pytest.raises(AlignmentError, match=r"1 have none \(first 'q'\)"):
        encoder.predict(shown, texts={"p": "dog"})
