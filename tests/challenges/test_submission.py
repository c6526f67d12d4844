"""Submissions: what is made is accepted, and every kind of mistake is refused in one line that names it."""

from __future__ import annotations

import collections
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from voxelcast.challenges import algonauts2021
from voxelcast.challenges.algonauts2021 import Algonauts2021
from voxelcast.challenges.registry import challenge_of_file
from voxelcast.core.errors import (
    DataError,
    MissingFileError,
    OptionError,
    ShapeError,
    UnknownNameError,
    UnsafeFileError,
    UnwritableError,
    VoxelcastError,
)
from voxelcast.datasets.base import Dataset

ROIS = ["LOC", "FFA", "STS", "EBA", "PPA", "V1", "V2", "V3", "V4"]
N_TEST = 6
VOXELS = {f"sub{s:02d}": {roi: 2 + s + i for i, roi in enumerate(ROIS)} for s in (1, 2, 3)}
CHALLENGE = Algonauts2021()
DATASET = cast(
    Dataset,
    SimpleNamespace(
        kind="test",
        test_stimuli=tuple(range(N_TEST)),
        submission_track="mini",
        submission_voxels=VOXELS,
    ),
)
Predictions = dict[tuple[str, str], np.ndarray]
Content = dict[str, dict[str, object]]


def _predictions() -> Predictions:
    rng = np.random.default_rng(0)
    pairs = [(subject, roi) for subject in VOXELS for roi in reversed(ROIS)]
    return {(s, r): rng.standard_normal((N_TEST, VOXELS[s][r])) for s, r in pairs}


def _make(folder: Path, predictions: Predictions | None = None) -> Path:
    return CHALLENGE.write(predictions or _predictions(), [DATASET], folder)


def _content() -> Content:
    return {roi: {s: np.zeros((N_TEST, VOXELS[s][roi]), np.float32) for s in VOXELS} for roi in ROIS}


def _write(folder: Path, content: object, protocol: int = 3) -> Path:
    path = folder / "mini_track.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _check(path: Path) -> object:
    return CHALLENGE.check(path, [DATASET])


def test_round_trip_keeps_numbers_and_the_challenges_order(tmp_path: Path) -> None:
    predictions = _predictions()
    path = _make(tmp_path, predictions)
    assert path == tmp_path / "mini_track.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["mini_track.pkl"]
        data = archive.read("mini_track.pkl")
    assert data == (tmp_path / "mini_track.pkl").read_bytes()
    content = pickle.loads(data)
    assert list(content) == ROIS
    for roi in ROIS:
        assert list(content[roi]) == sorted(VOXELS)
        for subject, array in content[roi].items():
            assert type(array) is np.ndarray
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, predictions[subject, roi].astype(np.float32))


@pytest.mark.parametrize("ending", ["zip", "pkl"])
def test_what_is_made_is_accepted(tmp_path: Path, ending: str) -> None:
    said = _check(_make(tmp_path).with_suffix(f".{ending}"))
    n_voxels = sum(sum(table.values()) for table in VOXELS.values())
    assert said == (
        f"mini_track.{ending}: mini track in order: 3 subjects x 9 ROIs, {N_TEST} stimuli, {n_voxels} voxels in all"
    )


def test_the_default_table_is_the_challenges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of the whole-brain voxels as published."""
    full = {"sub01": 18222, "sub02": 21573, "sub03": 15225, "sub04": 19445, "sub05": 13340}
    full |= {"sub06": 19818, "sub07": 10836, "sub08": 12347, "sub09": 17570, "sub10": 12950}
    assert CHALLENGE.shapes((), "full") == {(subject, "WB"): (102, n) for subject, n in full.items()}
    monkeypatch.setattr(algonauts2021, "N_TEST", 2)  # writing all takes seconds
    shapes = CHALLENGE.shapes((), "full")
    predictions = {part: np.ones(shape) for part, shape in shapes.items()}
    path = CHALLENGE.write_arrays(predictions, shapes, tmp_path)
    said = challenge_of_file(path).check(path)
    assert said.endswith("full track in order: 10 subjects x 1 ROIs, 2 stimuli, 161326 voxels in all")
    predictions["sub03", "WB"] = predictions["sub03", "WB"][:, :-1]
    with pytest.raises(ShapeError, match=r"sub03 WB must have shape \(n_test=2, n_voxels=15225\); got \(2, 15224\)"):
        CHALLENGE.write_arrays(predictions, shapes, tmp_path)


def test_same_predictions_same_bytes_in_any_order(tmp_path: Path) -> None:
    first = _make(tmp_path / "a").read_bytes()
    second = _make(tmp_path / "b", dict(reversed(_predictions().items()))).read_bytes()
    assert first == second


def test_pickle_is_readable_by_the_software_of_2021(tmp_path: Path) -> None:
    """Protocol 3 at most, and only names that NumPy 1 has: NumPy 2 would write numpy._core.multiarray."""
    _make(tmp_path)
    operations = list(pickletools.genops((tmp_path / "mini_track.pkl").read_bytes()))
    assert max(opcode.proto for opcode, _, _ in operations) <= 3
    names = {argument for opcode, argument, _ in operations if opcode.name == "GLOBAL"}
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


def _change(key: tuple[str, str], value: np.ndarray | None) -> Callable[[Predictions], None]:
    def change(predictions: Predictions) -> None:
        if value is None:
            del predictions[key]
        else:
            predictions[key] = value

    return change


def _without_subject(predictions: Predictions) -> None:
    for roi in ROIS:
        del predictions["sub02", roi]


_N = VOXELS["sub02"]["V1"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_change(("sub02", "V1"), None), DataError, "ROI 'V1' must hold every subject; missing: sub02"),
        (_without_subject, DataError, r"missing: sub02; .* \(and 8 other problems\)"),
        (_change(("sub09", "V1"), np.zeros((N_TEST, 3))), UnknownNameError, "unknown subject: 'sub09'; allowed: sub01"),
        (_change(("sub02", "V9"), np.zeros((N_TEST, 3))), UnknownNameError, "unknown ROI: 'V9'; allowed: LOC, FFA"),
        (_change(("sub02", "V1"), np.zeros((N_TEST + 1, _N))), ShapeError, rf"sub02 V1 .*got \({N_TEST + 1}, {_N}\)"),
        (_change(("sub02", "V1"), np.zeros((_N, N_TEST))), ShapeError, "sub02 V1 must have shape"),
        (
            _change(("sub02", "V1"), np.full((N_TEST, _N), np.nan)),
            DataError,
            f"got {N_TEST * _N} of {N_TEST * _N} values",
        ),
        (_change(("sub02", "V1"), np.full((N_TEST, _N), 1e300)), DataError, "NaN or infinite"),
    ],
)
def test_make_refuses_and_writes_nothing(
    tmp_path: Path, change: Callable[[Predictions], None], error: type[VoxelcastError], message: str
) -> None:
    predictions = _predictions()
    change(predictions)
    with pytest.raises(error, match=message) as caught:
        _make(tmp_path / "new", predictions)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_an_unknown_track_and_a_dataset_without_its_rois_are_refused() -> None:
    with pytest.raises(OptionError, match="track must be one of mini, full; got 'maxi'"):
        CHALLENGE.shapes((), "maxi")
    with pytest.raises(OptionError, match="an ROI of the full track"):
        CHALLENGE.shapes([DATASET], "full")


def test_make_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UnwritableError, match="taken"):
        _make(tmp_path / "taken")


def _set(roi: str, subject: str, value: object) -> Callable[[Content], object]:
    return lambda content: content | {roi: content[roi] | {subject: value}}


def _drop(roi: str, subject: str | None = None) -> Callable[[Content], object]:
    if subject is None:
        return lambda content: {name: value for name, value in content.items() if name != roi}
    return lambda content: content | {roi: {s: value for s, value in content[roi].items() if s != subject}}


def _bad(value: float) -> np.ndarray:
    array = np.zeros((N_TEST, _N), np.float32)
    array[2, 1] = value
    return array


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_drop("FFA"), DataError, "must hold every ROI; missing: FFA"),
        (_drop("FFA", "sub03"), DataError, "ROI 'FFA' must hold every subject; missing: sub03"),
        (lambda c: c | {"V8": {}}, UnknownNameError, "unknown ROI: 'V8'"),
        (lambda c: c | {"WB": {}}, UnknownNameError, "unknown ROI: 'WB'"),
        (_set("V1", "sub2", _bad(0)), UnknownNameError, "ROI 'V1' holds an unknown subject: 'sub2'; allowed: sub01"),
        (_set("V1", "sub02", np.zeros((N_TEST, _N + 1))), ShapeError, rf"n_voxels={_N}\); got \({N_TEST}, {_N + 1}\)"),
        (_set("V1", "sub02", np.zeros(_N)), ShapeError, rf"sub02 V1 .*got \({_N},\)"),
        (_set("V1", "sub02", _bad(np.nan)), DataError, f"sub02 V1 must be finite; got 1 of {N_TEST * _N}"),
        (_set("V1", "sub02", _bad(-np.inf)), DataError, "sub02 V1 must be finite"),
        (_set("V1", "sub02", np.zeros((N_TEST, _N), int)), DataError, "sub02 V1 must be floating-point .* int64"),
        (_set("V1", "sub02", [[0.0] * _N] * N_TEST), DataError, "sub02 V1 must be a NumPy array; got list"),
        (lambda c: c | {"V1": [1, 2]}, DataError, "ROI 'V1' must hold a dict .* got list"),
        (lambda c: list(c), DataError, "must be a dict .* got list"),
        (lambda c: {}, DataError, "missing: LOC, FFA, STS"),
    ],
)
def test_check_refuses_content(
    tmp_path: Path, change: Callable[[Content], object], error: type[VoxelcastError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        _check(_write(tmp_path, change(_content())))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("mini_track.pkl: ")


def test_check_counts_the_other_problems(tmp_path: Path) -> None:
    content = _content()
    del content["V4"]
    content["V1"]["sub01"] = np.zeros((N_TEST, 99))
    content["V2"]["sub01"] = _bad(np.nan)
    with pytest.raises(DataError, match=r"missing: V4; .* \(and 2 other problems\)$"):
        _check(_write(tmp_path, content))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_check_accepts_what_other_software_writes(tmp_path: Path, protocol: int, dtype: type) -> None:
    content = {roi: {s: a.astype(dtype) for s, a in subjects.items()} for roi, subjects in _content().items()}
    assert _check(_write(tmp_path, content, protocol))


_PICKLE = pickle.dumps(_content(), protocol=3)


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"mini_track/mini_track.pkl": _PICKLE}, DataError, "in a sub-folder: 'mini_track/mini_track.pkl'"),
        ({"mini_track.pkl": _PICKLE, ".DS_Store": b""}, DataError, "got 2 files: mini_track.pkl, .DS_Store"),
        ({}, DataError, "is empty; it must hold mini_track.pkl"),
        ({"folder/": b""}, DataError, "is empty"),
        ({"predictions.pkl": _PICKLE}, DataError, "at its root; got 'predictions.pkl'; rename it"),
        ({"full_track.pkl": _PICKLE}, DataError, "must hold mini_track.pkl at its root; got 'full_track.pkl'"),
        ({"../mini_track.pkl": _PICKLE}, UnsafeFileError, "leads outside"),
        ({"/mini_track.pkl": _PICKLE}, UnsafeFileError, "leads outside"),
        ({"mini_track.pkl": b"no pickle"}, DataError, "mini_track.pkl"),
        ({"mini_track.pkl": _PICKLE[:-40]}, DataError, "mini_track.pkl"),
        ({"mini_track.pkl": pickle.dumps(collections.Counter)}, UnsafeFileError, "collections.Counter"),
        ({"mini_track.pkl": b"cos\nsystem\n(S'touch harm'\ntR."}, UnsafeFileError, "os.system"),
        ({"mini_track.pkl": b"\0" * (3 << 20)}, UnsafeFileError, r"at most \d+ bytes.* got 3145728 bytes; it was not"),
    ],
)
def test_check_refuses_archive(
    tmp_path: Path, members: dict[str, bytes], error: type[VoxelcastError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        _check(_zip(tmp_path / "mini_track.zip", members))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mini_track.zip"]


@pytest.mark.parametrize(
    ("name", "data", "error", "message"),
    [
        ("mini_track.zip", b"text", DataError, "it is no zip archive"),
        ("mini_track.pkl", b"text", DataError, "mini_track.pkl cannot be read as a whole pickle"),
        ("mini_track.npy", b"", DataError, "must be named mini_track or full_track with the ending .zip or .pkl"),
        ("submission.zip", b"", DataError, "got 'submission.zip'; rename it"),
    ],
)
def test_check_refuses_file(tmp_path: Path, name: str, data: bytes, error: type[VoxelcastError], message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=message):
        _check(tmp_path / name)


def test_check_refuses_a_damaged_zip_and_a_missing_one(tmp_path: Path) -> None:
    path = _make(tmp_path)
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"mini_track.zip cannot be read as a zip archive"):
        _check(path)
    with pytest.raises(MissingFileError, match="does not exist"):
        _check(tmp_path / "none" / "mini_track.zip")
