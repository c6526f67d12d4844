"""Arrays left in their pickle: the same values as in memory, and no more memory than asked for."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from voxelcast.core.errors import DataError, ShapeError, UnsafeFileError
from voxelcast.datasets.readers import pickled_arrays
from voxelcast.datasets.readers.pickled_arrays import Block, StoredArray, StoredImage
from voxelcast.datasets.readers.pickles import load_pickle, open_pickle

VALUES = np.random.default_rng(0).standard_normal((30, 3, 4000))
LAYOUTS = {
    "C": VALUES,
    "Fortran": np.asfortranarray(VALUES),
    "voxel in the middle": np.ascontiguousarray(VALUES.transpose(1, 2, 0)).transpose(2, 0, 1),
    "other axes": np.ascontiguousarray(VALUES.transpose(1, 0, 2)).transpose(1, 0, 2),
    "big endian": VALUES.astype(">f8"),
    "float32": VALUES.astype(np.float32),
}
VOXELS = np.array([1999, 0, 17, 17, 1234])


def _write(folder: Path, data: bytes) -> Path:
    (folder / "responses.pkl").write_bytes(data)
    return folder / "responses.pkl"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("values", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_all_and_some_voxels(
    tmp_path: Path, values: np.ndarray, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickled_arrays, "BUFFER_BYTES", 2**18)  # several pieces, none of whole rows
    path = _write(tmp_path, pickle.dumps({"train": values, "ids": ["a"]}, protocol=protocol))
    content = open_pickle(path)
    assert isinstance(content, dict)
    stored = content["train"]
    assert isinstance(stored, StoredArray)
    assert isinstance(stored._data, Block) == (protocol > 0)  # protocol 0 is text, of which nothing can be told
    assert stored.shape == values.shape
    for chosen in (VOXELS, np.arange(0), np.arange(4000)):
        assert np.array_equal(stored.read(chosen), values[..., chosen])
    assert np.array_equal(stored.read(), values)
    assert stored.read().dtype == stored.read(VOXELS).dtype == values.dtype.newbyteorder("=")
    loaded = load_pickle(path)
    assert isinstance(loaded, dict)
    assert np.array_equal(loaded["train"], values)


def test_python_2_block_is_left_in_the_file(tmp_path: Path) -> None:
    """Opcode for opcode what Python 2's cPickle, protocol 2, writes for an array with numpy 1."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    raw = VALUES.tobytes()
    data = (
        b"\x80\x02}q\x01" + short(b"train") + b"q\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
        b"K\x00\x85" + short(b"b") + b"\x87Rq\x05(K\x01K\x1eK\x03M\xa0\x0f\x87cnumpy\ndtype\nq\x06" + short(b"f8")
        + b"K\x00K\x01\x87Rq\x07(K\x03" + short(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(raw)) + raw + b"tbs."
    )  # fmt: skip
    assert np.array_equal(pickle.loads(data, encoding="latin1")["train"], VALUES)
    content = open_pickle(_write(tmp_path, data))
    assert isinstance(content, dict)
    assert isinstance(content["train"]._data, Block)
    assert np.array_equal(content["train"].read(VOXELS), VALUES[..., VOXELS])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_shortened_file_is_told(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps({"train": VALUES}, protocol=protocol)
    with pytest.raises(DataError, match="whole pickle"):
        open_pickle(_write(tmp_path, whole[: len(whole) // 2]))
    path = _write(tmp_path, whole)
    content = open_pickle(path)
    assert isinstance(content, dict)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="became shorter"):
        content["train"].read(VOXELS)


def test_escaped_bytes_that_do_not_fit_the_shape(tmp_path: Path) -> None:
    whole = pickle.dumps(np.full(2**19, 200, np.uint8), protocol=2)  # each byte escaped to two
    assert whole.count(b"\xc3\x88") == 2**19
    damaged = whole.replace(b"\xc3\x88", b"ab", 1)  # one character more
    stored = open_pickle(_write(tmp_path, damaged))
    assert isinstance(stored, StoredArray)
    with pytest.raises(DataError, match="does not fit its shape"):
        stored.read()
    with pytest.raises(DataError, match="does not fit its shape"):
        stored.read(np.array([1]))


def test_long_text_is_not_an_array(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="text of 2000000 bytes"):
        open_pickle(_write(tmp_path, pickle.dumps(["x" * 2_000_000])))


def test_shapes_are_refused_before_reading(tmp_path: Path) -> None:
    content = open_pickle(_write(tmp_path, pickle.dumps(VALUES)))
    assert isinstance(content, StoredArray)
    with pytest.raises(ShapeError, match=r"stimulus=31, repetition=3, voxel\); got \(30, 3, 4000\)"):
        content.check_shape("train", ("stimulus", "repetition", "voxel"), (31, 3, None))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "of a file"])
def test_images_are_read_without_nibabel_running(tmp_path: Path, protocol: int, in_memory: bool) -> None:
    nibabel = pytest.importorskip("nibabel")
    mask = np.random.default_rng(1).random((5, 6, 7)) > 0.5
    image = nibabel.Nifti1Image(mask.astype(np.float64), np.diag([2.0, 3.0, 4.0, 1.0]))
    if not in_memory:
        nibabel.save(image, tmp_path / "mask.nii")
        image = nibabel.load(tmp_path / "mask.nii")  # its pickle holds the path alone
    path = _write(tmp_path, pickle.dumps((VALUES[:2], ["vid0001"], image), protocol=protocol))
    content = open_pickle(path)
    assert isinstance(content, tuple)
    stored = content[2]
    assert isinstance(stored, StoredImage)
    assert np.array_equal(stored.affine, image.affine)
    if in_memory:
        assert np.array_equal(stored.mask(), mask)
    else:
        assert stored.mask() is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02cnibabel.loadsave\nload\nU\x08mask.nii\x85R.",  # called: the record stands in the place of an image
        b"\x80\x02cnibabel.nifti1\nNifti1Header\n)\x81.",  # no image
        b"\x80\x02cnibabelx\nload\n)\x81.",
        b"\x80\x02cnibabel.nifti1\nNifti1Image\n.",  # the class itself
    ],
)
def test_other_things_of_nibabel_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnsafeFileError):
        open_pickle(_write(tmp_path, data))


_READ = """
import resource, sys
import numpy as np
from pathlib import Path
from voxelcast.datasets.readers.pickles import open_pickle
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
stored = open_pickle(Path(sys.argv[1]))["train_data_allvoxel"]
stored.read(np.arange(2))  # what the first use of NumPy costs
before = peak()
values = stored.read(np.arange(0, stored.shape[2], 100))
print(peak() - before, values.nbytes, repr(float(values.sum())))
"""


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_is_that_of_the_voxels_and_the_buffers(tmp_path: Path, protocol: int, order: str) -> None:
    n_voxels = 9000  # 1000 x 3 x 9000 float64: 216 MB
    values = np.random.default_rng(0).standard_normal((1000, 3, n_voxels))
    stored = np.asfortranarray(values) if order == "F" else values
    path = tmp_path / "betas.pkl"
    with path.open("wb") as file:
        pickle.dump({"train_data_allvoxel": stored}, file, protocol=protocol)
    assert path.stat().st_size > 200e6
    expected = float(values[..., ::100].sum())
    del values, stored
    run = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True)
    used, asked, total = run.stdout.split()
    assert float(total) == pytest.approx(expected)
    assert int(used) < int(asked) + pickled_arrays.BUFFER_BYTES + 4e6
