"""Questions to planted models, whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.models.planted import SIZE, cell_weights, plant
from voxelcast.core.errors import OptionError, UnknownNameError, VoxelcastWarning
from voxelcast.models import insilico
from voxelcast.models.encoder import SavedEncoder, load_encoder
from voxelcast.scoring.novelty import fit_novelty
from voxelcast.scoring.prediction_intervals import prediction_intervals

N = 60


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> SavedEncoder:
    """Two ROIs of two voxels: ``left`` sees the left upper corner, ``right`` the right one; the second voxel, minus it.

    What was learnt from were uniform pictures.
    """
    rng = np.random.default_rng(0)
    corner, other = cell_weights(0, 0), cell_weights(0, 3)
    residuals = rng.standard_normal((2, N, 2))
    novelty = fit_novelty(rng.standard_normal((N, 2)) * 1e-3, np.arange(N) % 5)
    folder = plant(
        tmp_path_factory.mktemp("planted") / "models",
        {"left": np.stack([corner, -2 * corner], axis=1), "right": np.stack([other, -2 * other], axis=1)},
        nested=(residuals[0], residuals[1]),
        novelty=novelty,
        scores={"pearson_r": np.array([0.5, np.nan]), "q_value": np.array([0.01, np.nan])},
    )
    return load_encoder(folder)


def bright(row: int, column: int, level: int) -> np.ndarray:
    picture = np.full((SIZE, SIZE, 3), 100, dtype=np.uint8)
    quarter = SIZE // 4
    picture[row * quarter : (row + 1) * quarter, column * quarter : (column + 1) * quarter] = level
    return picture


def test_stimuli_are_ranked_by_the_response_that_predict_gives(planted: SavedEncoder, tmp_path: Path) -> None:
    for k, level in enumerate((0, 120, 60, 255, 180)):
        Image.fromarray(bright(0, 0, level)).save(tmp_path / f"p{k}.png")
    table = insilico.rank(planted, tmp_path, roi="left", voxel=0)
    predicted = planted.predict(tmp_path)["s1", "left"]
    best = predicted.sortby(-predicted[:, 0])
    assert table["stimulus_id"].tolist() == best["stimulus"].values.tolist()
    np.testing.assert_allclose(table["response"], best[:, 0].values)
    assert set(table["stimulus_id"].tolist()[:: len(table) - 1]) == {"p0", "p3"}  # the darkest and the brightest
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    of_roi = insilico.rank(planted, tmp_path, roi="left")
    assert of_roi["stimulus_id"].tolist() == table["stimulus_id"].tolist()[::-1]  # the mean is -1/2 times the first
    assert of_roi.attrs["score"] == 0.5
    assert table.attrs["target"] == "s1 left, voxel 0"


def test_intervals_are_those_of_the_residuals(planted: SavedEncoder) -> None:
    Y, P = np.random.default_rng(0).standard_normal((2, N, 2))
    pictures = {"a": bright(0, 0, 0), "b": bright(1, 1, 200)}
    for voxel in (0, 1, None):
        table = insilico.rank(planted, pictures, roi="left", voxel=voxel, level=0.9)
        y, p = (Y.mean(axis=1)[:, None], P.mean(axis=1)[:, None]) if voxel is None else (Y[:, [voxel]], P[:, [voxel]])
        half = float(prediction_intervals(y, p, 0.9).half_width[0])
        np.testing.assert_allclose(table["high"] - table["response"], half, rtol=1e-5)
        np.testing.assert_allclose(table["response"] - table["low"], half, rtol=1e-5)
    roi = P.mean(axis=1)
    np.testing.assert_allclose(table["standardised"], (table["response"] - roi.mean()) / roi.std(), rtol=1e-4)


def test_unlike_stimuli_are_told(planted: SavedEncoder) -> None:
    table = insilico.rank(planted, {"a": bright(0, 0, 255)}, roi="left")
    assert table["unlike"].tolist() == [True]
    assert table["novelty"].iloc[0] > 10
    assert table["novelty_p"].iloc[0] == pytest.approx(1 / (N + 1))
    with pytest.warns(VoxelcastWarning, match=r"^1 of 1 stimuli are unlike those that the model learnt from.*: a$"):
        planted.predict({"a": bright(0, 0, 255)})


def test_a_contrast_finds_what_was_planted(planted: SavedEncoder) -> None:
    rng = np.random.default_rng(1)

    def pictures(column: int, n: int) -> dict[str, np.ndarray]:
        noise = rng.integers(0, 40, (n, SIZE, SIZE, 3), dtype=np.uint8)
        return {f"{column}-{k}": bright(0, column, 255) // 2 + one for k, one in enumerate(noise)}

    table = insilico.contrast(planted, pictures(0, 8), pictures(1, 9), permutations=500)
    assert table[["roi", "voxel"]].to_numpy().tolist() == [["left", 0], ["left", 1], ["right", 0], ["right", 1]]
    assert (table["q_value"] <= 0.05).tolist() == [True, True, False, False]
    signs = np.sign(table["effect"])
    assert signs[0] == -signs[1]
    assert table.attrs["n_stimuli"] == [8, 9]
    np.testing.assert_array_equal(table["pearson_r"], [0.5, np.nan, 0.5, np.nan])


def test_responses_of_all_rois_to_one_stimulus(planted: SavedEncoder) -> None:
    table = insilico.responses(planted, {"one": bright(0, 3, 255)})
    predicted = planted.predict({"one": bright(0, 3, 255)})
    assert table["roi"].tolist() == ["left", "right"]
    np.testing.assert_allclose(table["response"], [predicted["s1", roi].values.mean() for roi in ("left", "right")])
    assert table["score"].tolist() == [0.5, 0.5]
    with pytest.raises(OptionError, match="give one stimulus; got 2"):
        insilico.responses(planted, np.stack([bright(0, 0, 0)] * 2))


def test_drivers_of_a_file_as_a_table(planted: SavedEncoder, tmp_path: Path) -> None:
    Image.fromarray(bright(0, 3, 255)).save(tmp_path / "p.png")
    found = insilico.drivers(planted, tmp_path / "p.png", roi="right", cells=4)
    table = found.table()
    assert isinstance(table, pd.DataFrame)
    assert found.gradient is not None
    top = table.loc[table["gradient"].idxmax()]
    assert (top["row"], top["column"]) == (0, 3)
    far = table[table["column"] < 2]
    assert far["gradient"].max() == 0
    np.testing.assert_array_equal(table["occlusion"].to_numpy().reshape(4, 4), found.occlusion)
    Image.fromarray(bright(0, 0, 0)).save(tmp_path / "q.png")
    with pytest.raises(OptionError, match="give one picture"):
        insilico.drivers(planted, tmp_path, roi="left")


def test_what_is_asked_for_must_be_there(planted: SavedEncoder) -> None:
    with pytest.raises(OptionError, match=r"say of which subject and ROI.*s1 left, s1 right"):
        insilico.rank(planted, {"a": bright(0, 0, 0)})
    with pytest.raises(UnknownNameError, match="no model of V9"):
        insilico.rank(planted, {"a": bright(0, 0, 0)}, roi="V9")
    with pytest.raises(OptionError, match="voxel must be from 0 to 1"):
        insilico.rank(planted, {"a": bright(0, 0, 0)}, roi="left", voxel=2)


def test_a_model_without_nested_scores_says_so(tmp_path: Path) -> None:
    encoder = load_encoder(plant(tmp_path / "models", {"left": cell_weights(0, 0)[:, None]}))
    table = insilico.rank(encoder, {"a": bright(0, 0, 0)})
    assert table[["low", "high", "novelty", "standardised"]].isna().all(axis=None)
    assert not table["unlike"].any()
    assert "folds.nested=true" in table.attrs["no_interval"]
    assert np.isnan(table.attrs["score"])
