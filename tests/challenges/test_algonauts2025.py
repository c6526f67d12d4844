"""Submissions of 2025: what is made is accepted, and what the challenge would refuse is refused."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxelcast.challenges.algonauts2025 import Algonauts2025
from voxelcast.core.errors import DataError, MissingFileError, ShapeError, UnknownNameError, UnsafeFileError

SHAPES = {(s, run): (6 + i, 4) for s in ("sub-01", "sub-02") for i, run in enumerate(("s07e01a", "s07e01b"))}
STEM = "fmri_predictions_friends_s7"
CHALLENGE = Algonauts2025()
Predictions = dict[tuple[str, str], np.ndarray]


def _predictions() -> Predictions:
    rng = np.random.default_rng(0)
    return {part: rng.standard_normal(shape) for part, shape in reversed(SHAPES.items())}


def test_what_is_made_is_what_numpy_reads_and_so_do_we(tmp_path: Path) -> None:
    path = CHALLENGE.write_arrays(_predictions(), SHAPES, tmp_path)
    assert path == tmp_path / f"{STEM}.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [f"{STEM}.npy"]
        content = np.load(io.BytesIO(archive.read(f"{STEM}.npy")), allow_pickle=True).item()
    assert [(s, run) for s, runs in content.items() for run in runs] == list(SHAPES)
    for source in (path, tmp_path / f"{STEM}.npy"):
        read = CHALLENGE.read(source, SHAPES)
        for (subject, run), values in _predictions().items():
            assert content[subject][run].dtype == np.float32
            np.testing.assert_array_equal(content[subject][run], values.astype(np.float32))
            np.testing.assert_array_equal(read[subject, run], values.astype(np.float32))
    (tmp_path / "mine.zip").touch()
    CHALLENGE.remove(tmp_path, "2025")
    assert [left.name for left in tmp_path.iterdir()] == ["mine.zip"]


def test_bytes_are_the_same_and_of_names_that_numpy_1_knows(tmp_path: Path) -> None:
    first = CHALLENGE.write_arrays(_predictions(), SHAPES, tmp_path / "a").read_bytes()
    assert CHALLENGE.write_arrays(dict(reversed(_predictions().items())), SHAPES, tmp_path / "b").read_bytes() == first
    data = (tmp_path / "a" / f"{STEM}.npy").read_bytes()
    names = {argument for opcode, argument, _ in pickletools.genops(data[128:]) if opcode.name == "GLOBAL"}
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


def test_other_movies_are_the_second_phase(tmp_path: Path) -> None:
    shapes = {("sub-01", "chaplin1"): (5, 4)}
    path = CHALLENGE.write_arrays({("sub-01", "chaplin1"): np.ones((5, 4))}, shapes, tmp_path)
    assert path.name == "fmri_predictions_ood.zip"
    assert list(CHALLENGE.read(path, shapes)) == list(shapes)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda p: p.pop(("sub-02", "s07e01b")), DataError, "'sub-02' must hold every run; missing: s07e01b"),
        (lambda p: p.update({("sub-02", "s07e09a"): np.ones((6, 4))}), UnknownNameError, "unknown run: 's07e09a'"),
        (
            lambda p: p.update({("sub-09", "s07e01a"): np.ones((6, 4))}),
            UnknownNameError,
            "the submission holds an unknown subject: 'sub-09'; allowed: sub-01, sub-02",
        ),
        (lambda p: p.update({("sub-01", "s07e01a"): np.ones((6, 5))}), ShapeError, "sub-01 s07e01a must have shape"),
        (lambda p: p["sub-01", "s07e01a"].fill(np.inf), DataError, "sub-01 s07e01a must be finite"),
    ],
)
def test_make_refuses_and_writes_nothing(
    tmp_path: Path, change: Callable[[Predictions], object], error: type[Exception], message: str
) -> None:
    predictions = _predictions()
    change(predictions)
    with pytest.raises(error, match=message):
        CHALLENGE.write_arrays(predictions, SHAPES, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ({"sub-01": [1, 2]}, DataError, "'sub-01' must hold a dict"),
        ({"sub-01": {}}, DataError, "missing: s07e01a, s07e01b"),
        ({"sub-01": {"s07e01a": [[0.0] * 4] * 6, "s07e01b": np.ones((7, 4))}}, DataError, "must be a NumPy array"),
        ([1], DataError, r"must hold one dict, as np.save writes it; got object of shape \(1,\)"),
        ({"sub-01": print}, UnsafeFileError, "asks for builtins.print"),
    ],
)
def test_read_refuses(tmp_path: Path, content: object, error: type[Exception], message: str) -> None:
    box = np.empty(() if isinstance(content, dict) else (1,), dtype=object)
    box[...] = content
    np.save(tmp_path / f"{STEM}.npy", box, allow_pickle=True)
    with pytest.raises(error, match=message):
        CHALLENGE.read(tmp_path / f"{STEM}.npy", {part: shape for part, shape in SHAPES.items() if part[0] == "sub-01"})


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        CHALLENGE.read(tmp_path / "none.zip", SHAPES)
