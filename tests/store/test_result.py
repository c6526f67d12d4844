"""What is written into a result is read back, by this process and by NumPy; damage is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxelcast.core.errors import ShapeError, StoreError
from voxelcast.store.result import ResultWriter, StepResult

RNG = np.random.default_rng(0)
ARRAYS: dict[str, Any] = {
    "float64": RNG.standard_normal((7, 3)),
    "columns first": np.asfortranarray(RNG.standard_normal((7, 3))),
    "every other": RNG.standard_normal((8, 6))[::2, ::3],
    "bool": np.array([True, False]),
    "text": np.array(["a", "größer"]),
    "empty": np.zeros((0, 4)),
    "number": np.array(3),
    "group/three axes": RNG.standard_normal((2, 3, 4)).astype(np.float32),
    "größe": np.arange(5),
}


def write(path: Path) -> StepResult:
    writer = ResultWriter(path)
    for name, array in ARRAYS.items():
        writer.array(name, array)
    writer.json("facts", {"n": 1, "x": None})
    writer.text("rows.csv", "a,1\r\nb,2\n")
    writer.close()
    return StepResult(path)


def test_everything_reads_back_in_memory_mapped_and_by_numpy(tmp_path: Path) -> None:
    result = write(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        for name, array in ARRAYS.items():
            for found in (result.array(name), result.mapped(name), archive[name]):
                np.testing.assert_array_equal(found, array)
                assert (found.dtype, found.shape) == (array.dtype, array.shape)
                assert found.flags.f_contiguous == array.flags.f_contiguous or name == "every other"
    assert result.json("facts") == {"n": 1, "x": None}
    assert result.text("rows.csv") == "a,1\r\nb,2\n"
    assert list(result.arrays("group")) == ["three axes"]
    assert ("float64" in result, "float32" in result) == (True, False)


def test_a_large_array_is_mapped_at_an_aligned_place(tmp_path: Path) -> None:
    result = write(tmp_path / "x.npz")
    mapped = result.mapped("group/three axes")
    assert isinstance(mapped, np.memmap)
    assert {result.stored(name).offset % 64 for name in ARRAYS} == {0}


def test_the_same_content_has_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "x.npz")
    write(tmp_path / "y.npz")
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "y.npz").read_bytes()


def test_size_and_hash_are_those_of_the_file(tmp_path: Path) -> None:
    import hashlib

    writer = ResultWriter(tmp_path / "x.npz")
    writer.array("x", RNG.standard_normal(1000))
    ((size, digest),) = (file.values() for file in writer.close().values())
    content = (tmp_path / "x.npz").read_bytes()
    assert (size, digest) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("n", [0, 1, 9, 1000])
@pytest.mark.parametrize("shape", [(3,), (2, 5)])
def test_arrays_are_written_row_by_row_side_by_side(tmp_path: Path, n: int, shape: tuple[int, ...]) -> None:
    expected = RNG.standard_normal((2, n, *shape)).astype(np.float32)
    writer = ResultWriter(tmp_path / "x.npz")
    for a, b in zip(*expected, strict=True):
        writer.rows("a", shape).append(a)
        writer.rows("b", shape).append(b)
    if n == 0:
        writer.rows("a", shape)
        writer.rows("b", shape)
    writer.close()
    for name, rows in zip("ab", expected, strict=True):
        found = StepResult(tmp_path / "x.npz").array(name)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, rows)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path / "x.npz")
    with pytest.raises(ShapeError, match=r"must have shape \(3,\)"):
        writer.rows("a", (3,)).append(np.zeros(4, np.float32))
    writer.array("b", np.zeros(2))
    with pytest.raises(StoreError, match=r"got b\.npy twice"):
        writer.array("b", np.ones(2))
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        writer.array("c", np.array([{}], dtype=object))
    writer.abandon()


def test_every_flipped_bit_of_what_is_read_is_noticed(tmp_path: Path) -> None:
    """Wherever it is: in an array, its head, a name, or the list of parts."""
    write(tmp_path / "x.npz")
    content = (tmp_path / "x.npz").read_bytes()
    changed = 0
    for place in np.random.default_rng(1).choice(len(content), 200, replace=False):
        path = tmp_path / f"{place}.npz"
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << int(place) % 8]) + content[place + 1 :])
        damaged = StepResult(path)
        try:
            found = {name: damaged.array(name) for name in ARRAYS}
            texts = damaged.json("facts"), damaged.text("rows.csv")
        except StoreError:
            changed += 1
            continue
        assert texts == ({"n": 1, "x": None}, "a,1\r\nb,2\n")
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
    assert changed > 50  # the others lie between the parts


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_or_missing_file_is_named(tmp_path: Path, keep: int) -> None:
    write(tmp_path / "x.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:keep])
    for name in ("cut.npz", "none.npz"):
        with pytest.raises(StoreError, match=f"{name} is damaged"):
            StepResult(tmp_path / name).array("float64")
