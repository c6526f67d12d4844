"""Readers of files from outside: what NumPy, h5py, zipfile and csv wrote is read; damage and deceit are one line."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from voxelcast.core.errors import ConfigError, DataError, MissingFileError, UnsafeFileError, VoxelcastError
from voxelcast.datasets.readers.matlab import read_matlab
from voxelcast.store.readers import guard, hdf5
from voxelcast.store.readers.archives import opened_zip, unpack
from voxelcast.store.readers.arrays import open_npy, read_npz
from voxelcast.store.readers.guard import check_file, read_bytes, read_text, reading
from voxelcast.store.readers.hdf5 import dataset_of, opened_hdf5, read_hdf5
from voxelcast.store.readers.plain import parse_yaml, read_json, read_yaml
from voxelcast.store.readers.tables import number_of, original_cell, read_table, shown_cell

VALUES = np.random.default_rng(0).standard_normal((7, 5))


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


# --- arrays ---


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    "values",
    [VALUES, np.asfortranarray(VALUES), VALUES.astype(">f4"), np.zeros((0, 3)), np.array(3.0), np.array(["a", "bcd"])],
    ids=["C", "Fortran", "big-endian", "empty", "scalar", "text"],
)
def test_npy_and_npz_give_what_numpy_wrote(tmp_path: Path, values: np.ndarray, mapped: bool) -> None:
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(open_npy(tmp_path / "a.npy", "array", mapped=mapped), values)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", x=values, y=VALUES)
        found = read_npz(tmp_path / "a.npz", "arrays", ["x"])
        assert list(found) == ["x"]
        np.testing.assert_array_equal(found["x"], values)


def npy(shape: str, data: bytes, descr: str = "'<f8'") -> bytes:
    """Write a .npy file by hand."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", DataError),
        (b"\x93NUMPY", DataError),
        (npy("(2,)", bytes(16))[:-1], DataError),
        (npy("(2,)", bytes(24)), DataError),  # longer than its head says: the head may be what is damaged
        (npy("(10**15,)", b""), DataError),
        (npy("(1000000000000000,)", b""), DataError),
        (npy("(-1,)", bytes(8)), DataError),
        (npy("(True, 2)", bytes(16)), DataError),
        (npy("(2,)", bytes(16), "[('a', '<f8')]"), DataError),
        (npy("(10000000000,)", b"", "'<U0'"), DataError),
        (npy("(" * 60, b""), DataError),
        (npy("(1,)", b"cos\nsystem\n", "'|O'"), UnsafeFileError),
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_wrong_npy_is_one_line(tmp_path: Path, content: bytes, error: type[VoxelcastError], mapped: bool) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(error, match=r"a\.npy") as caught:
        open_npy(tmp_path / "a.npy", "array", mapped=mapped)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_flipped_byte_of_an_npz_is_told_or_changes_nothing(tmp_path: Path, save: Callable[..., None]) -> None:
    path = tmp_path / "a.npz"
    save(path, x=VALUES)
    whole, n_told = path.read_bytes(), 0
    for place in range(0, len(whole), 3):
        path.write_bytes(flipped(whole, place))
        try:
            found = read_npz(path, "arrays")
        except (DataError, UnsafeFileError):
            n_told += 1
        else:  # a date, say, or the name of the array
            np.testing.assert_array_equal(next(iter(found.values())), VALUES)
    assert n_told > len(whole) / 6


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "FREE_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(10**6))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(bytes(10**6)))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros(10**6), compression="gzip")
    scipy.io.savemat(tmp_path / "a.mat", {"x": np.zeros(10**6)}, do_compression=True)
    for read in (
        lambda: read_npz(tmp_path / "a.npz", "arrays"),
        lambda: read_bytes(tmp_path / "a.txt.gz", "text"),
        lambda: read_hdf5(tmp_path / "a.h5", "arrays", ("x",)),
        lambda: read_matlab(tmp_path / "a.mat", "arrays", ("x",)),
    ):
        with pytest.raises(UnsafeFileError, match="at most 100 times its size"):
            read()


# --- archives and packed files ---


def test_a_member_is_read_to_its_check_sum(tmp_path: Path) -> None:
    content = os.urandom(3 * 2**20)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", content)
    with opened_zip(path) as archive:
        assert b"".join(unpack(archive, archive.getinfo("one"), "one")) == content
    path.write_bytes(flipped(path.read_bytes(), 2**20))
    with pytest.raises(DataError, match=r"a\.zip cannot be read as a zip archive"), opened_zip(path) as archive:
        for _ in unpack(archive, archive.getinfo("one"), "one"):
            pass


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:-12], lambda d: flipped(d, len(d) - 6), lambda d: d + b"more"]
)
def test_a_gz_is_read_through_its_trailer(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    text = "a\tb\n" + "".join(f"{k}\t{k * k}\n" for k in range(500))
    path = tmp_path / "t.tsv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert read_table(path).numbers(["b"])[:, 0].tolist() == [k * k for k in range(500)]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"t\.tsv\.gz cannot be read as gzip"):
        read_table(path)


def test_pipes_devices_and_folders_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a named pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(UnsafeFileError, match=kind):
            read_text(path, "table")
    with pytest.raises(MissingFileError, match="is a folder"):
        check_file(tmp_path, "table")
    for name in ("none", "x" * 5000, "nul\0"):
        with pytest.raises((MissingFileError, DataError)):
            check_file(tmp_path / name, "table")
    (tmp_path / "cafe\u0301.csv").write_text("a\n1\n")
    with pytest.raises(MissingFileError, match="composed Unicode, but does in decomposed"):
        check_file(tmp_path / "caf\u00e9.csv", "table")


@pytest.mark.parametrize(
    "error",
    [zlib.error("x"), zipfile.BadZipFile("x"), NotImplementedError("x"), RuntimeError("x"), KeyError("x"),
     TypeError("x"), OverflowError("x"), StopIteration(), IndexError("x"), RecursionError("x"), MemoryError(),
     EOFError("x"), UnicodeError("x"), OSError(5, "Input/output error"), struct.error("x"), AssertionError()],
)  # fmt: skip
def test_whatever_a_library_raises_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(DataError, match=r"^f\.x cannot be read as X \(.+\); get or write it again$"),
        reading("f.x", "X"),
    ):
        raise error


# --- HDF5 and MATLAB ---


def test_hdf5_that_lies_elsewhere_or_was_not_written_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", VALUES)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = VALUES
    layout = h5py.VirtualLayout((7, 5), "f8")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", (7, 5))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["whole"] = VALUES
        file.create_dataset("packed", data=VALUES, chunks=(2, 2), compression="gzip")
        file["soft"] = h5py.SoftLink("/whole")
        file["link"] = h5py.ExternalLink("other.h5", "x")
        file.create_dataset("external", (7, 5), external=[(str(tmp_path / "other.npy"), 128, 280)])
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("never", (7, 5))
        file.create_dataset("part", (8, 5), chunks=(2, 5))[:3] = 1.0
        file.create_group("group")
    path = tmp_path / "a.h5"
    for name in ("whole", "packed"):
        np.testing.assert_array_equal(read_hdf5(path, "arrays", (name,))[name], VALUES)
    for name in ("soft", "link", "external", "virtual"):
        with pytest.raises(UnsafeFileError, match="only data in the file itself"):
            read_hdf5(path, "arrays", (name,))
    for name, said in (("never", "0 of 1"), ("part", "2 of 4"), ("group", "must be an array")):
        with pytest.raises(DataError, match=said):
            read_hdf5(path, "arrays", (name,))


def test_a_file_that_would_end_the_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = VALUES
    script = tmp_path / "child.py"
    monkeypatch.setattr(hdf5, "_SCRIPT", script)
    monkeypatch.setattr(hdf5, "_SECONDS", 1.0)
    monkeypatch.setattr(hdf5, "_children", {})
    for code, said in (
        ("import os; os.abort()", "ends a process by signal 6"),
        ("while True: pass", "does not end"),
        ("print('[]')", "damaged"),
        ("print('{}'); print('x' * 9); print()", "damaged"),
    ):
        script.write_text(code)
        with pytest.raises(DataError, match=rf"a\.h5 cannot be read as .*{said}"):
            read_hdf5(path, "arrays", ("x",))
    monkeypatch.undo()
    np.testing.assert_array_equal(read_hdf5(path, "arrays", ("x",))["x"], VALUES)


def test_hdf5_values_come_through_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rng = tmp_path / "a.h5", np.random.default_rng(0)
    arrays = {
        "f4": rng.standard_normal((7, 3, 2)).astype("<f4"),
        "big": np.arange(12, dtype=">i8").reshape(4, 3),
        "flags": np.array([True, False]),
        "complex": rng.standard_normal((2, 2)) + 1j,
        "short": np.array([b"ab", b"c"]),
        "number": np.array(2.5),
        "none": np.empty((0, 3)),
    }
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file.create_dataset("packed", data=arrays["f4"], chunks=(2, 3, 1), compression="gzip")
        file["text"] = ["é", "", "long text"]
        file["pair"] = np.zeros(3, dtype=[("x", "f8"), ("y", "i4")])
        file["reference"] = np.array([file["f4"].ref], dtype=h5py.ref_dtype)
    found = read_hdf5(path, "arrays", (*arrays, "packed", "text", "absent"))
    assert list(found) == [*arrays, "packed", "text"]
    for name, values in {**arrays, "packed": arrays["f4"]}.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(found[name], values)
    assert [item.decode() for item in found["text"]] == ["é", "", "long text"]
    with opened_hdf5(path, "arrays") as file:
        assert "f4" in file.names()
        np.testing.assert_array_equal(dataset_of(file, "packed").read(range(3, 6)), arrays["f4"][3:6])
        assert dataset_of(file, "reference").targets() == ["/f4"]
    for name in ("pair", "reference"):
        with pytest.raises(DataError, match="must be numbers or text"):
            read_hdf5(path, "arrays", (name,))
    with h5py.File(path, "w") as file:  # another file of the same name
        file["f4"] = arrays["f4"] + 1
    np.testing.assert_array_equal(read_hdf5(path, "arrays", ("f4",))["f4"], arrays["f4"] + 1)


def write_matlab_73(path: Path, values: np.ndarray, ids: list[str]) -> None:
    """Write as MATLAB does with -v7.3: HDF5 behind 512 bytes, axes in reverse, cells of UTF-16 text by reference."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["responses"] = values.T
        file["responses"].attrs["MATLAB_class"] = np.bytes_("double")
        references = np.empty((1, len(ids)), dtype=h5py.ref_dtype)
        for number, name in enumerate(ids):
            cell = file.create_dataset(f"#refs#/{number}", data=np.frombuffer(name.encode("utf-16-le"), "<u2")[:, None])
            cell.attrs["MATLAB_class"] = np.bytes_("char")
            references[0, number] = cell.ref
        file["stimulus_id"] = references
        file["stimulus_id"].attrs["MATLAB_class"] = np.bytes_("cell")
    data = bytearray(path.read_bytes())
    data[:128] = b"MATLAB 7.3 MAT-file, made by hand".ljust(124) + b"\x00\x02IM"
    path.write_bytes(data)


@pytest.mark.parametrize("version", ["5", "5 packed", "7.3"])
def test_matlab_files_of_both_kinds(tmp_path: Path, version: str) -> None:
    path, ids = tmp_path / "a.mat", ["0001", "caf\u00e9", "1e3"]
    values = np.arange(24.0).reshape(3, 2, 4)
    if version == "7.3":
        write_matlab_73(path, values, ids)
    else:
        variables = {"responses": values, "stimulus_id": np.array(ids, dtype=object)}
        scipy.io.savemat(path, variables, do_compression=version == "5 packed")
    found = read_matlab(path, "responses", ("responses", "stimulus_id"))
    np.testing.assert_array_equal(found["responses"], values)
    assert np.asarray(found["stimulus_id"]).ravel().tolist() == ids
    if version == "5 packed":
        whole = path.read_bytes()
        for place in range(140, len(whole), 5):
            path.write_bytes(flipped(whole, place))
            with pytest.raises((DataError, UnsafeFileError)):
                read_matlab(path, "responses", ("responses", "stimulus_id"))


# --- text ---


def test_cells_stay_what_they_were(tmp_path: Path) -> None:
    cells = [
        "0001",
        "1e3",
        "2021-01-01",
        "on",
        "None",
        "NA",
        "null",
        "n/a",
        "1_000",
        "\u0661\u0662",
        "a,b",
        'q"q',
        "'x",
    ]
    rows = "".join('"{}",{}\n'.format(cell.replace('"', '""'), k) for k, cell in enumerate(cells))
    (tmp_path / "t.csv").write_bytes(f"\ufeff id , n\r\n{rows}\r\n".encode())
    table = read_table(tmp_path / "t.csv", ("id", "n"))
    assert table.column("id") == cells
    assert table.numbers(["n"])[:, 0].tolist() == list(range(len(cells)))


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1.0), (" -2.5e-3", None), ("-2.5e-3", -0.0025), (".5", 0.5), ("5.", 5.0), ("1_000", None), ("0,12", None),
     ("error", None), ("inf", None), ("-Infinity", None), ("1e999", None), ("0x10", None), ("\u0661\u0662", None),
     ("1 2", None), ("--1", None), ("NA", None), ("None", None)],
)  # fmt: skip
def test_what_is_a_number(text: str, number: float | None) -> None:
    assert number_of(text) == number


def test_what_is_missing_is_not_a_number() -> None:
    assert all(np.isnan(number_of(text)) for text in ("", "n/a", "N/A", "nan", "NaN"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it is empty"),
        (b"a,a\n1,2\n", "names the column 'a' twice"),
        (b"a,b\n1\n", "2 cells in every row, as in its head; got 1 in line 2"),
        (b"a,b\n1,2\n1,2,3\n", "got 3 in line 3"),
        (b'a,b\n"1,2\n', "unexpected end of data"),
        (b'a,b\n"1"x,2\n', "expected after"),
        (b"a,b\n\xff,2\n", "cannot be read as text"),
        ("a,b\n1,2\n".encode("utf-16"), "cannot be read as text"),
        (b"a,b\n1,\0\n", "no text"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "t.csv")


def test_what_a_spreadsheet_would_run_is_marked_and_comes_back() -> None:
    for text in ("=1+1", "+1", "-1", "@x", "'=1", "''-x", "\t=1"):
        assert shown_cell(text) == f"'{text}"
        assert original_cell(shown_cell(text)) == text
    for text in ("a=1", "", "'a", "0001", "sub-01"):
        assert shown_cell(text) == original_cell(text) == text


# --- JSON and YAML ---


def test_yaml_keeps_text_and_refuses_what_stands_twice(tmp_path: Path) -> None:
    text = (
        "a: [0001, 1e3, 2021-01-01, on, no, 1_000, 1:30, 0b1, 08]\nb: [1, -2, 0x1f, 1.5, 1.0e-3, .inf, true, null, ~]\n"
    )
    found = parse_yaml(text, "f.yaml")
    assert found["a"] == ["0001", "1e3", "2021-01-01", "on", "no", "1_000", "1:30", "0b1", "08"]
    assert found["b"] == [1, -2, 31, 1.5, 0.001, float("inf"), True, None, None]
    assert parse_yaml("x: &a {p: 1}\ny: {<<: *a, q: 2}", "f.yaml") == {"x": {"p": 1}, "y": {"p": 1, "q": 2}}
    (tmp_path / "f.yaml").write_text("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n")
    with pytest.raises(ConfigError, match=r"f\.yaml: the key 'c' stands twice, in line 3 and in line 5"):
        read_yaml(tmp_path / "f.yaml", "settings")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 1000, "nested too deep"),
        ("{a: " * 200 + "1" + "}" * 200, "nests more than 100 deep"),
        ("a: &a [*a]", "in a circle"),
        ("a0: &a0 [1]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 9)), "aliases"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: [", "is not YAML"),
        ("a: \x07", "cannot be read as YAML"),
        ("? [a]\n: 1", "found unhashable key"),
    ],
)  # fmt: skip
def test_wrong_yaml_is_one_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse_yaml(text, "f.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"a": 1, "a": 2}', "1" * 10_000, '"\ud800'.encode("utf-8", "surrogatepass")]
)
def test_wrong_json_is_one_line(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "f.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=r"f\.json cannot be read as"):
        read_json(tmp_path / "f.json", "note")


def test_zip_names_and_passwords(tmp_path: Path) -> None:
    def write(name: str, flags: int = 0) -> Any:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, b"x")
        data = buffer.getvalue()
        if flags:
            place = data.index(b"PK\x01\x02") + 8
            data = data[:place] + bytes([flags]) + data[place + 1 :]
        (tmp_path / "a.zip").write_bytes(data)
        return opened_zip(tmp_path / "a.zip")

    for name in ("../x", "/x", "C:\\x", "a/../../x"):
        with pytest.raises(UnsafeFileError, match="leads outside"), write(name):
            pass
    with pytest.raises(DataError, match="encrypted"), write("x", 1):
        pass
