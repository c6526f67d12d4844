"""Saved models predict what the run predicted, to the last bit, and what the features say by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.datasets.series_files import N_VOLUMES, RUNS, SETTINGS, write_series
from tests.experiment.miniature import run, settings, stimulus_ids, write_dataset
from tests.models.helpers import files, held_out, split, written
from voxelcast.core.errors import VoxelcastError
from voxelcast.datasets.registry import open_dataset
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import parse_config
from voxelcast.models.card import LayerCard
from voxelcast.models.encoder import load_encoder
from voxelcast.models.inputs import Needs
from voxelcast.models.network_input import NetworkInput, network_facts
from voxelcast.networks.base import NetworkCard
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.encode import write_video
from voxelcast.stimuli.sampling import SoundSampling
from voxelcast.store.result import StepResult

pytestmark = pytest.mark.usefixtures("in_process")
PAIR = ("ann", "all")
KINDS: dict[str, dict[str, Any]] = {
    "scaled": {"compress": {"components": 8, "scale": True}},
    "whitened": {"compress": {"components": 8, "whiten": True}},
    "uncompressed": {"compress": {"method": "none", "scale": True, "whiten": True}, "encoders": ["ridge"]},
    "projected": {"compress": {"method": "random_projection", "components": 30, "scale": True, "whiten": True}},
    "joined": {"ensemble": {"method": "stacking", "joined": True}, "encoders": ["ridge"]},
    "banded": {"ensemble": {"method": "banded_ridge", "draws": 3}, "encoders": ["ridge"]},
    "kernel": {"encoders": ["kernel_ridge_rbf", "kernel_ridge_linear"], "ensemble": {"method": "stacking"}},
    "picked": {"encoders": ["kernel_ridge_polynomial", "pls"], "selection": {"per": "voxel"}},
    "mlp": {"encoders": ["mlp"], "search": {"method": "random", "trials": 2}, "folds": {"n": 4, "nested": False}},
    "truncated": {"search": {"method": "bayes", "trials": 5, "joint": True}, "folds": {"n": 4, "nested": False}},
    "trunk": {
        "trunks": {
            "plain": {"kind": "linear"},
            "deep": {"kind": "mlp", "width": 4, "epochs": 2, "streams": ["colour"]},
        },
        **{"ensemble": {"method": "mean", "joined": True}, "encoders": ["ridge"]},
    },
    "repeated": {"folds": {"n": 4, "repeats": 2}},
}


def test_held_out_predictions_come_out_to_the_bit(images: Path, tmp_path: Path) -> None:
    held_out(images)
    output = tmp_path / "output"
    run(settings(images), output)
    ids, predictions = written(output, "ann_all")
    found = load_encoder(output / "models").predict(files(images, ids))
    assert list(found) == [PAIR]
    assert found.ids == tuple(ids)
    np.testing.assert_array_equal(found.arrays[PAIR], predictions)
    assert found[PAIR].dims == ("stimulus", "voxel")
    assert found[PAIR].coords["stimulus"].values.tolist() == ids
    again = load_encoder(output, subject="ann", roi="all").predict(files(images, ids[::-1]))  # put in any order
    np.testing.assert_array_equal(again.arrays[PAIR][::-1], predictions)


def test_stimuli_held_out_later_are_predicted_and_nothing_else_is_done(images: Path, tmp_path: Path) -> None:
    """What a run fitted and predicted before stays, to the bit, and to the minute."""
    ids = stimulus_ids(images)
    late, responses = sorted(ids)[1::12], np.load(images / "responses" / "ann.npy")
    early, aside = [i for i in ids if i not in late], tmp_path / "aside"
    aside.mkdir()
    for name in late:
        shutil.move(images / "stimuli" / f"{name}.png", aside)
    np.save(images / "responses" / "ann.npy", responses[[ids.index(i) for i in early]])
    (images / "stimulus_ids.txt").write_text("\n".join(early) + "\n")
    split(images, sorted(early)[::4])
    output = tmp_path / "output"
    run(settings(images), output)
    there, before = written(output, "ann_all")
    marks = {mark: mark.stat().st_mtime_ns for mark in (output / "steps").rglob("DONE")}
    for name in late:
        shutil.move(aside / f"{name}.png", images / "stimuli")
    np.save(images / "responses" / "ann.npy", responses)
    (images / "stimulus_ids.txt").write_text("\n".join(ids) + "\n")
    split(images, [*there, *late])
    summary = run(settings(images), output)
    assert summary.steps_run == 4  # responses, the features and the components of the new stimuli, predictions
    assert all(mark.stat().st_mtime_ns == time for mark, time in marks.items())
    kinds = {mark.parent.parent.name for mark in (output / "steps").rglob("DONE") if mark not in marks}
    assert kinds == {"responses", "extract", "project", "predict"}
    now, after = written(output, "ann_all")
    assert sorted(now) == sorted([*there, *late])
    np.testing.assert_array_equal(after[[now.index(i) for i in there]], before)
    found = load_encoder(output).predict(files(images, now))
    np.testing.assert_array_equal(found.arrays[PAIR], after)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_compression_and_encoder_that_is_saved(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """To the bit what the run wrote, and but for rounding what a fit says that sees held-out features itself."""
    held_out(images)
    plain = settings(images, significance={"permutations": 0}, **KINDS[kind])
    run(plain, tmp_path / "output")
    ids, predictions = written(tmp_path / "output", "ann_all")
    found = load_encoder(tmp_path / "output").predict(files(images, ids))
    np.testing.assert_array_equal(found.arrays[PAIR], predictions)
    monkeypatch.setattr(ExperimentSettings, "unsaved", "so that the fit predicts")
    run(plain, tmp_path / "by_the_fit")
    _, by_the_fit = written(tmp_path / "by_the_fit", "ann_all")
    # Of kernels 3e-5 were seen on a processor of another maker.
    np.testing.assert_allclose(predictions, by_the_fit, atol=5e-5 * np.abs(by_the_fit).max())
    assert not (tmp_path / "by_the_fit" / "models").exists()


@pytest.mark.slow
def test_an_axis_over_time_is_part_of_the_model(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held_out(clips)
    plain = settings(clips, frames={"n": 4}, pool=["pc1", "none"], compress={"components": 5})
    run(plain | {"ensemble": {"method": "stacking"}}, tmp_path / "output")
    ids, predictions = written(tmp_path / "output", "ann_all")
    encoder = load_encoder(tmp_path / "output")
    found = encoder.predict(files(clips, ids, ".mp4"))
    np.testing.assert_array_equal(found.arrays[PAIR], predictions)
    assert {layer.n_times for layer in encoder.card.layers.values()} == {4, None}


@pytest.mark.slow
def test_an_excluded_voxel_is_predicted_by_its_mean(images: Path, tmp_path: Path) -> None:
    test = held_out(images)
    path, ids = images / "responses" / "ann.npy", stimulus_ids(images)
    values = np.load(path)
    values[[i not in test for i in ids], 2] = 5.0
    np.save(path, values)
    run(settings(images, invalid_voxels="exclude"), tmp_path / "output")
    there, predictions = written(tmp_path / "output", "ann_all")
    assert (predictions[:, 2] == 5.0).all()
    found = load_encoder(tmp_path / "output").predict(files(images, there))
    np.testing.assert_array_equal(found.arrays[PAIR], predictions)


@pytest.mark.slow
def test_models_of_other_regions_take_part(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    (tmp_path / "data").mkdir()
    write_series(tmp_path / "data")
    dataset = {"kind": "time_series", "root": str(tmp_path / "data"), **SETTINGS, "subjects": "ann"}
    dataset |= {"test_runs": ["run-2"]} if "test_runs" in SETTINGS else {}
    plain: dict[str, Any] = {
        "name": "series",
        "dataset": dataset,
        "features": ["onoff"],
        "delays": [0, 1, 2, 3],
        "compress": {"method": "none"},
        "encoders": ["ridge"],
        "ensemble": {"method": "experts", "experts": ["four"]},
        "folds": {"n": 3},
        "significance": {"permutations": 0},
        "compute": {"workers": 1},
    }
    run(plain, tmp_path / "output")
    encoder = load_encoder(tmp_path / "output")
    assert set(encoder.pairs) == {("ann", "four"), ("ann", "all_voxels")}
    source = open_dataset(parse_config(plain, "series").dataset)
    rows = source.features("onoff")[:20]
    found = encoder.predict({"onoff": rows})
    assert found.arrays["ann", "four"].shape == (20, 4)
    (fit,) = (tmp_path / "output" / "steps" / "fit").glob("ann_four-*/result.npz")
    model = StepResult(fit).arrays("model")
    delayed = np.zeros((20, 4 * rows.shape[1]))
    for k in range(4):
        delayed[k:, k::4] = rows[: 20 - k]
    assert set(model) >= {"0.coefficients"}
    by_hand = model["rest"] + model["0.weights"] * (delayed @ model["0.coefficients"] + model["0.intercept"])
    np.testing.assert_allclose(found.arrays["ann", "four"], by_hand, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"compress": {"method": "mds", "components": 4}}, "compress.method mds"),
        ({"compress": {"components": 8, "fit": "once", "whiten": True, "scale_apart": True}}, "compress.scale_apart"),
        (
            {"encoders": ["boosted_trees"], "search": {"method": "random", "trials": 1}, "folds": {"nested": False}},
            "encoder boosted_trees: scikit-learn has no open format",
        ),
    ],
)
def test_what_cannot_be_saved_says_so_and_predicts_all_the_same(
    images: Path, tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    held_out(images)
    run(settings(images, **changes), tmp_path / "output")
    ids, predictions = written(tmp_path / "output", "ann_all")
    assert predictions.shape == (len(ids), 5)
    assert why in (tmp_path / "output" / "notes.json").read_text()
    with pytest.raises(VoxelcastError, match="holds no saved models"):
        load_encoder(tmp_path / "output")


@pytest.mark.slow
def test_none_roi_all(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxelcast.experiment.planning.held_out.WHOLE_BRAIN", 4)
    output = tmp_path / "output"
    plain = settings(images, encoders=["ridge"])
    for models, there in (("all", True), ("roi", False), ("none", False)):
        run(plain | {"models": models}, output)
        assert (output / "models" / "card.json").exists() == there
        assert (output / "models" / "ann.safetensors").exists() == there


def test_other_ways_to_give_stimuli(images: Path, tmp_path: Path) -> None:
    """A folder, a file, frames, and the features themselves come to the same, but for rounding."""
    from PIL import Image

    write_dataset(tmp_path / "new", n=5, seed=3)
    run(settings(images, encoders=["ridge"], folds={"n": 4, "nested": False}), tmp_path / "output")
    encoder = load_encoder(tmp_path / "output")
    folder = tmp_path / "new" / "stimuli"
    found = encoder.predict(folder)
    expected, ids = found.arrays[PAIR], list(found.ids)
    frames = {name: np.asarray(Image.open(folder / f"{name}.png").convert("RGB")) for name in ids}
    ready: dict[str, Any] = {}
    for positions, features in encoder.features(folder):
        for key, values in features.items():
            ready.setdefault(encoder.card.layers[key].layer, np.empty((5, *values.shape[1:])))[positions] = values
    np.savez(tmp_path / "ready.npz", stimulus_ids=np.array(ids), **ready)
    for given in (np.stack(list(frames.values())), frames, ready, tmp_path / "ready.npz"):
        np.testing.assert_allclose(encoder.predict(given).arrays[PAIR], expected, rtol=1e-5, atol=1e-6)
    one = encoder.predict(folder / f"{ids[2]}.png")
    np.testing.assert_allclose(one.arrays[PAIR], expected[2:3], rtol=1e-5, atol=1e-6)
    for wrong, said in (
        ({"nothing": np.zeros((2, 3))}, "ready features must have those of layer"),
        ({name: values[:, :3] for name, values in ready.items()}, "must have shape"),
        ({name: np.full_like(values, np.nan) for name, values in ready.items()}, "must be finite"),
        (tmp_path / "nowhere", "does not exist"),
        (3, "stimuli must be"),
    ):
        with pytest.raises(VoxelcastError, match=said):
            encoder.predict(wrong)


@pytest.mark.slow
def test_a_movie_is_predicted_volume_by_volume(tmp_path: Path) -> None:
    """To the bit what the run wrote for a held-out run whose movie is given, and each movie is a run of its own."""
    pytest.importorskip("nibabel")
    root = tmp_path / "data"
    root.mkdir()
    write_series(root, ("ann",))
    rng = np.random.default_rng(1)
    for run_name in RUNS:
        levels = rng.integers(0, 256, (N_VOLUMES * 2, 1, 1, 3)) + rng.integers(-20, 20, (1, 32, 32, 3))
        write_video(root / f"{run_name}.mp4", levels.clip(0, 255).astype(np.uint8), 1)  # two frames a volume
    dataset = {"kind": "time_series", "root": str(root), **SETTINGS, "movies": "{run}.mp4", "rois": ["four"]}
    plain: dict[str, Any] = {
        "name": "movies",
        "dataset": dataset | {"test_runs": ["run2"], "drop_first": 2},
        "networks": [{"name": "voxelcast/motion_energy", "layers": ["colour"], "input_size": 64}],
        "delays": [1, 3],
        "compress": {"components": 5},
        "encoders": ["ridge"],
        "folds": {"by": "group", "nested": False},
        "significance": {"permutations": 0},
        "compute": {"workers": 1},
    }
    run(plain, tmp_path / "output")
    ids, predictions = written(tmp_path / "output", "ann_four")
    assert ids == [f"run2/tr{volume:04d}" for volume in range(2, N_VOLUMES)]
    encoder = load_encoder(tmp_path / "output")
    found = encoder.predict(root / "run2.mp4")
    assert list(found.ids) == [f"run2/tr{volume:04d}" for volume in range(N_VOLUMES)]
    responses = found.arrays["ann", "four"]
    np.testing.assert_array_equal(responses[2:], predictions)

    both = encoder.predict([root / "run2.mp4", root / "run1.mp4"])
    np.testing.assert_allclose(both.arrays["ann", "four"][:N_VOLUMES], responses, atol=1e-5 * np.abs(responses).max())
    alone = encoder.predict(root / "run1.mp4").arrays["ann", "four"]  # nothing of run2 is its past
    np.testing.assert_allclose(both.arrays["ann", "four"][N_VOLUMES:], alone, atol=1e-5 * np.abs(alone).max())

    short = np.full((5, 32, 32, 3), 90, np.uint8)  # 5 s of volumes of 2 s
    write_video(tmp_path / "short.mp4", short, 1)
    assert encoder.predict(tmp_path / "short.mp4").ids == ("short/tr0000", "short/tr0001", "short/tr0002")
    Image.fromarray(short[0]).save(tmp_path / "picture.png")
    with pytest.raises(VoxelcastError, match="volumes must all be named <run>/tr<number>, or none of them"):
        encoder.predict([tmp_path / "short.mp4", tmp_path / "picture.png"])
    (tmp_path / "broken.mp4").write_bytes(b"no movie")
    with pytest.raises(VoxelcastError, match=r"broken\.mp4: how long it lasts cannot be read"):
        encoder.predict(tmp_path / "broken.mp4")


def test_a_models_card_keeps_how_sound_and_tokens_are_read() -> None:
    given = NetworkSettings("voxelcast/mel", "mel", sound=SoundSampling(hz=4, missing="silence"), tokens={"height": 2})
    card = NetworkCard("voxelcast/mel", "sound", 0, (0.0,) * 3, (1.0,) * 3, "none", "hash")
    facts = json.loads(json.dumps(network_facts(given, 0, card, ExtractionSettings())))
    layer = LayerCard.model_construct(layer="mel", pool="")
    assert NetworkInput("input1", facts, {"layer1": layer}, Needs()).settings == given
