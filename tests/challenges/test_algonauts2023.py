"""Submissions of 2023: what is made is accepted, and what the challenge would refuse is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxelcast.challenges import algonauts2023
from voxelcast.challenges.algonauts2023 import Algonauts2023
from voxelcast.challenges.registry import challenge_of_file
from voxelcast.core.errors import (
    DataError,
    MissingFileError,
    ShapeError,
    UnknownNameError,
    UnsafeFileError,
    VoxelcastError,
)

SHAPES = {(s, side): (5 + i, 3 + j) for i, s in enumerate(("subj01", "subj02")) for j, side in enumerate(("lh", "rh"))}
CHALLENGE = Algonauts2023()
Predictions = dict[tuple[str, str], np.ndarray]


def _predictions() -> Predictions:
    rng = np.random.default_rng(0)
    return {part: rng.standard_normal(shape) for part, shape in reversed(SHAPES.items())}


def test_what_is_made_is_read_back_as_float32_from_zip_and_folder(tmp_path: Path) -> None:
    path = CHALLENGE.write_arrays(_predictions(), SHAPES, tmp_path)
    assert path == tmp_path / "algonauts2023.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [
            f"{s}/{side}_pred_test.npy" for s in ("subj01", "subj02") for side in ("lh", "rh")
        ]
        assert np.load(io.BytesIO(archive.read("subj01/lh_pred_test.npy"))).dtype == np.float32
    for source in (path, tmp_path):
        read = CHALLENGE.read(source, SHAPES)
        assert list(read) == list(SHAPES)
        for part, values in _predictions().items():
            np.testing.assert_array_equal(read[part], values.astype(np.float32))
    (tmp_path / "subj01" / "mine.npy").touch()
    CHALLENGE.remove(tmp_path, "2023")
    assert [left.name for left in tmp_path.rglob("*") if left.is_file()] == ["mine.npy"]


def test_same_predictions_same_bytes(tmp_path: Path) -> None:
    first = CHALLENGE.write_arrays(_predictions(), SHAPES, tmp_path / "a").read_bytes()
    assert CHALLENGE.write_arrays(dict(reversed(_predictions().items())), SHAPES, tmp_path / "b").read_bytes() == first


def test_the_real_challenges_shapes_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = CHALLENGE.shapes((), "2023")
    assert len(shapes) == 16
    assert shapes["subj01", "lh"] == (159, 19004)
    monkeypatch.setattr(algonauts2023, "N_TEST", dict.fromkeys(algonauts2023.N_TEST, 1))  # writing all takes seconds
    shapes = CHALLENGE.shapes((), "2023")
    path = CHALLENGE.write_arrays({part: np.ones(shape) for part, shape in shapes.items()}, shapes, tmp_path)
    assert "Algonauts 2023 in order: subj01, subj02" in challenge_of_file(path).check(path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: p.pop(("subj02", "rh")), DataError, "'subj02' must hold every hemisphere; missing: rh"),
        (lambda p: p.update({("subj02", "mh"): p["subj02", "lh"]}), UnknownNameError, "unknown hemisphere: 'mh'"),
        (lambda p: p.update({("subj01", "lh"): np.zeros((3, 5))}), ShapeError, "subj01 lh must have shape"),
        (lambda p: p["subj01", "lh"].fill(np.nan), DataError, "subj01 lh must be finite"),
    ],
)
def test_make_refuses_and_writes_nothing(
    tmp_path: Path, change: Callable[[Predictions], object], error: type[VoxelcastError], message: str
) -> None:
    predictions = _predictions()
    change(predictions)
    with pytest.raises(error, match=message):
        CHALLENGE.write_arrays(predictions, SHAPES, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.pop("subj01/rh_pred_test.npy"), DataError, "must hold 4 files; missing: subj01/rh_pred_test.npy"),
        (lambda m: m.update({"notes.txt": b""}), DataError, "nothing else; got 5 files"),
        (lambda m: m.update({"../x.npy": b""}), UnsafeFileError, "leads outside"),
        (lambda m: m.update({"subj01/lh_pred_test.npy": b"text"}), DataError, "cannot be read as .npy"),
        (lambda m: m.update({"subj01/lh_pred_test.npy": _npy(np.array({}))}), UnsafeFileError, "Python objects"),
        (lambda m: m.update({"subj01/lh_pred_test.npy": bytes(2 << 20)}), UnsafeFileError, "it was not read"),
        (
            lambda m: m.update({"subj01/lh_pred_test.npy": _npy(np.ones((5, 4)))}),
            ShapeError,
            "subj01 lh must have shape",
        ),
        (lambda m: m.update({"subj01/lh_pred_test.npy": _npy(np.ones((5, 3), int))}), DataError, "floating-point"),
    ],
)
def test_read_refuses(
    tmp_path: Path, change: Callable[[dict[str, bytes]], object], error: type[VoxelcastError], message: str
) -> None:
    CHALLENGE.write_arrays(_predictions(), SHAPES, tmp_path)
    with zipfile.ZipFile(tmp_path / "algonauts2023.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(tmp_path / "changed.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(error, match=message) as caught:
        CHALLENGE.read(tmp_path / "changed.zip", SHAPES)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.zip", tmp_path):
        with pytest.raises(MissingFileError, match="does not exist"):
            CHALLENGE.read(path, SHAPES)
