"""What a run keeps of how far its models' predictions are to be believed, and how predictions say it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.experiment.miniature import run, settings, stimulus_ids
from tests.models.helpers import files, held_out
from voxelcast.api.prediction_files import save_predictions
from voxelcast.core.errors import DataError, VoxelcastWarning
from voxelcast.models import insilico
from voxelcast.models.encoder import SavedEncoder, load_encoder
from voxelcast.scoring.novelty import fit_novelty
from voxelcast.scoring.prediction_intervals import prediction_intervals

PAIR = ("ann", "all")
pytestmark = pytest.mark.usefixtures("in_process")


def test_what_is_known_of_a_run(images: Path, tmp_path: Path) -> None:
    """One run, for all that is asked of it."""
    output = tmp_path / "output"
    run(settings(images, encoders=["ridge"]), output)
    encoder = load_encoder(output)
    check_scores_intervals_and_novelty(encoder, images, output)
    check_table_and_warning(encoder, images, tmp_path)
    check_that_covering_needs_no_gradient(encoder, images)


def check_scores_intervals_and_novelty(encoder: SavedEncoder, images: Path, output: Path) -> None:
    ids = stimulus_ids(images)
    found = encoder.predict(files(images, ids[:6]), intervals=0.9)[PAIR]
    voxels = np.load(output / "voxels" / "ann_all.npz")
    for name in ("pearson_r", "q_value"):
        np.testing.assert_allclose(found[name], voxels[name], rtol=1e-6)
    shown = pd.read_csv(output / "predictions" / "ann_all_stimuli.csv")["stimulus_id"].astype(str)
    out_of_fold, responses = np.load(output / "predictions" / "ann_all.npy"), np.load(images / "responses" / "ann.npy")
    measured = responses[[ids.index(name) for name in shown]]
    expected = prediction_intervals(measured, out_of_fold, 0.9).half_width
    np.testing.assert_allclose(found["half_width"], expected, rtol=1e-6)
    assert found.attrs["level"] == 0.9
    honesty = encoder.honesty(PAIR)
    np.testing.assert_allclose(
        honesty.intervals(0.9, roi=True).half_width,
        prediction_intervals(measured.mean(axis=1)[:, None], out_of_fold.mean(axis=1)[:, None], 0.9).half_width,
        rtol=1e-6,
    )
    assert found["unlike"].dtype == bool
    assert 0.3 < float(found["novelty"].median()) < 2

    # Distances by the components that the loaded layer gives; all but the reference, which the folds' components make.
    key = encoder.pair(PAIR).heaviest.card.layer
    parts = [encoder.scores(features)[key] for _, features in encoder.features(files(images, list(shown)))]
    train = np.concatenate(parts)
    again = fit_novelty(train, np.arange(len(train)) % 4)
    assert honesty.novelty is not None
    np.testing.assert_allclose(honesty.novelty.mean, again.mean, atol=1e-4 * np.abs(train).max())
    gram = honesty.novelty.root @ honesty.novelty.root.T
    np.testing.assert_allclose(gram, again.root @ again.root.T, rtol=1e-2, atol=1e-3 * np.abs(gram).max())
    assert len(honesty.novelty.reference) == len(train)


def check_table_and_warning(encoder: SavedEncoder, images: Path, tmp_path: Path) -> None:
    halves = np.zeros((32, 32, 3), dtype=np.uint8)
    halves[:, 16:] = 255  # what was learnt from are blocks near grey
    Image.fromarray(halves).save(tmp_path / "halves.png")
    predictions = encoder.judged(encoder.shown(tmp_path / "halves.png"), 0.95)
    save_predictions(predictions, tmp_path / "p.csv", encoder)
    table = pd.read_csv(tmp_path / "p.csv")
    assert table.columns.tolist() == [
        *("stimulus_id", "subject", "roi", "voxel", "response", "pearson_r", "noise_ceiling_r", "q_value"),
        *("half_width", "novelty", "novelty_p", "unlike"),
    ]
    np.testing.assert_array_equal(table["response"], predictions[PAIR].values[0])
    np.testing.assert_allclose(table["half_width"], predictions[PAIR]["half_width"])
    np.testing.assert_allclose(table["novelty"], float(predictions[PAIR]["novelty"][0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", VoxelcastWarning)
        encoder.predict(files(images, stimulus_ids(images)))


def test_without_nesting_nothing_is_promised(images: Path, tmp_path: Path) -> None:
    held_out(images)
    output = tmp_path / "output"
    run(settings(images, encoders=["ridge"], folds={"n": 4, "nested": False}), output)
    encoder, ids = load_encoder(output), stimulus_ids(images)
    assert "pearson_r" not in encoder.predict(files(images, ids[:2]))[PAIR].coords
    with pytest.raises(DataError, match=r"no prediction intervals: .* folds.nested=true"):
        encoder.predict(files(images, ids[:2]), intervals=0.95)
    assert "folds.nested=true" in insilico.rank(encoder, files(images, ids[:5])).attrs["no_interval"]


def check_that_covering_needs_no_gradient(encoder: SavedEncoder, images: Path) -> None:
    found = insilico.drivers(encoder, files(images, stimulus_ids(images)[:1]), cells=4)
    assert found.gradient is None
    assert "gives no gradients of a picture" in found.no_gradient
    assert np.abs(found.occlusion).max() > 0
