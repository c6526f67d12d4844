"""Damaged brain files of every kind: one line that names the file, whoever reads it; what is whole is read right."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxelcast.core.errors import DataError, MissingFileError, ShapeError, VoxelcastError
from voxelcast.datasets.readers.brain_images import open_image
from voxelcast.datasets.readers.brain_masks import read_masks

SHAPE = (5, 4, 3)
VOLUMES = np.random.default_rng(0).standard_normal((*SHAPE, 6)).astype(np.float32)
ROWS = VOLUMES.reshape(-1, 6).T
EVERY = np.arange(60)


def _nifti(dtype: type = np.float32) -> bytearray:
    return bytearray(nib.Nifti1Image(VOLUMES.astype(dtype), np.eye(4)).to_bytes())


def _with(offset: int, form: str, *values: float) -> Callable[[], bytes]:
    """A NIfTI file with other values at an offset of its header."""

    def make() -> bytes:
        data = _nifti()
        struct.pack_into(f"<{form}", data, offset, *values)
        return bytes(data)

    return make


def _cifti() -> bytes:
    series, models = (
        nib.cifti2.SeriesAxis(0, 2, 6),
        nib.cifti2.BrainModelAxis.from_mask(np.ones(60), name="thalamus_left"),
    )
    return nib.Cifti2Image(ROWS, (series, models)).to_bytes()


def _gifti(maps: np.ndarray = ROWS) -> bytes:
    arrays = [nib.gifti.GiftiDataArray(row) for row in maps]
    return nib.gifti.GiftiImage(darrays=arrays).to_bytes()


def _flipped(data: bytes, place: float) -> bytes:
    changed = bytearray(data)
    changed[int(place * len(data))] ^= 0x10
    return bytes(changed)


def _npy_of_objects() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}, []], dtype=object))
    return buffer.getvalue()


def _trailer(data: bytes, crc: int = 0, length: int = 0) -> bytes:
    packed = gzip.compress(data)
    there = struct.unpack("<II", packed[-8:])
    return packed[:-8] + struct.pack("<II", there[0] ^ crc, there[1] + length)


def _gz(data: Callable[[], bytes | bytearray]) -> Callable[[], bytes]:
    return lambda: gzip.compress(bytes(data()))


DAMAGED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty": (".nii", lambda: b""),
    "empty gz": (".nii.gz", lambda: b""),
    "gz of nothing": (".nii.gz", lambda: gzip.compress(b"")),
    "no gz": (".nii.gz", lambda: bytes(_nifti())),
    "gz cut in the data": (".nii.gz", lambda: gzip.compress(bytes(_nifti()))[:-200]),
    "gz cut in the trailer": (".nii.gz", lambda: gzip.compress(bytes(_nifti()))[:-3]),
    "gz without trailer": (".nii.gz", lambda: gzip.compress(bytes(_nifti()))[:-8]),
    "wrong checksum": (".nii.gz", lambda: _trailer(_nifti(), crc=1)),
    "wrong length in the trailer": (".nii.gz", lambda: _trailer(_nifti(), length=4)),
    "garbage behind the gz": (".nii.gz", lambda: gzip.compress(bytes(_nifti())) + b"more"),
    "second gz member damaged": (
        ".nii.gz",
        lambda: gzip.compress(bytes(_nifti()[:900])) + _trailer(_nifti()[900:], crc=1),
    ),
    "one bit of the gz": (".nii.gz", lambda: _flipped(gzip.compress(bytes(_nifti())), 0.6)),
    "one bit of a stored gz": (".nii.gz", lambda: _flipped(gzip.compress(bytes(_nifti()), 0), 0.6)),
    "nii cut": (".nii", lambda: bytes(_nifti())[:-1]),
    "nii cut to its header": (".nii", lambda: bytes(_nifti())[:348]),
    "header claims more": (".nii", _with(48, "h", 7)),
    "header claims much more": (".nii", _with(42, "hhhh", 30000, 30000, 30000, 30000)),
    "gz header claims more": (".nii.gz", _gz(_with(48, "h", 7))),
    "gz header claims much more": (".nii.gz", _gz(_with(42, "hhhh", 30000, 30000, 30000, 30000))),
    "header claims fewer maps": (".nii", _with(48, "h", 4)),
    "gz header claims fewer maps": (".nii.gz", _gz(_with(48, "h", 4))),
    "no dimension": (".nii", _with(40, "h", 0)),
    "eight dimensions": (".nii", _with(40, "h", 8)),
    "negative size": (".nii", _with(44, "h", -4)),
    "no voxel": (".nii", _with(42, "h", 0)),
    "data begin nowhere": (".nii", _with(108, "f", float("nan"))),
    "data begin behind the end": (".nii", _with(108, "f", 1e9)),
    "unknown data type": (".nii", _with(70, "h", 9999)),
    "slope is NaN": (".nii", _with(112, "f", float("nan"))),
    "slope is infinite": (".nii", _with(112, "f", float("inf"))),
    "intercept is NaN": (".nii", _with(112, "ff", 2.0, float("nan"))),
    "gz slope is NaN": (".nii.gz", _gz(_with(112, "f", float("nan")))),
    "affine is NaN": (".nii", _with(280, "f", float("nan"))),
    "affine is flat": (".nii", _with(280, "ffff", 0, 0, 0, 0)),
    "complex": (".nii", lambda: nib.Nifti1Image(VOLUMES.astype(np.complex64), np.eye(4)).to_bytes()),
    "complex gz": (".nii.gz", _gz(lambda: nib.Nifti1Image(VOLUMES.astype(np.complex64), np.eye(4)).to_bytes())),
    "colours": (
        ".nii",
        lambda: nib.Nifti1Image(
            np.zeros((*SHAPE, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4)
        ).to_bytes(),
    ),
    "another format": (".nii", lambda: nib.MGHImage(VOLUMES, np.eye(4)).to_bytes()),
    "text": (".nii", lambda: b"version https://git-lfs.github.com/spec/v1\n" * 20),
    "cifti cut": (".dtseries.nii", lambda: _cifti()[:-1]),
    "cifti cut in the xml": (".dtseries.nii", lambda: _cifti()[:700]),
    "cifti xml damaged": (".dtseries.nii", lambda: _cifti().replace(b"<Matrix>", b"<Matri>")),
    "cifti describes other sizes": (
        ".dtseries.nii",
        lambda: _cifti().replace(b'NumberOfSeriesPoints="6"', b'NumberOfSeriesPoints="5"'),
    ),
    "cifti gz damaged": (".dtseries.nii.gz", lambda: _flipped(gzip.compress(_cifti(), 0), 0.95)),
    "cifti gz cut": (".dtseries.nii.gz", lambda: gzip.compress(_cifti())[:-20]),
    "cifti with axes swapped": (
        ".dtseries.nii",
        lambda: nib.Cifti2Image(
            ROWS.T,
            (nib.cifti2.BrainModelAxis.from_mask(np.ones(60), name="thalamus_left"), nib.cifti2.SeriesAxis(0, 2, 6)),
        ).to_bytes(),
    ),
    "gifti cut": (".func.gii", lambda: _gifti()[:-30]),
    "gifti empty": (".func.gii", lambda: b""),
    "gifti without maps": (".func.gii", lambda: nib.gifti.GiftiImage().to_bytes()),
    "gifti damaged": (".func.gii", lambda: _flipped(_gifti(), 0.5).replace(b"</Data>", b"!</Data>", 1)),
    "gifti in another file": (
        ".func.gii",
        lambda: _gifti().replace(b'Encoding="GZipBase64Binary"', b'Encoding="ExternalFileBinary"'),
    ),
    "gifti with maps of two shapes": (
        ".func.gii",
        lambda: nib.gifti.GiftiImage(
            darrays=[nib.gifti.GiftiDataArray(ROWS[0]), nib.gifti.GiftiDataArray(ROWS[0, :9])]
        ).to_bytes(),
    ),
    "gifti of points": (
        ".func.gii",
        lambda: nib.gifti.GiftiImage(darrays=[nib.gifti.GiftiDataArray(ROWS[:, :3].copy())]).to_bytes(),
    ),
    "objects": (".npy", _npy_of_objects),
    "npy cut": (".npy", lambda: b"\x93NUMPY\x01\x00"),
}  # fmt: skip


@pytest.mark.parametrize("what", ["responses", "mask"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_one_line_that_names_it(damage: str, what: str, tmp_path: Path) -> None:
    suffix, make = DAMAGED[damage]
    path = tmp_path / f"some{suffix}"
    path.write_bytes(make())
    with pytest.raises(VoxelcastError) as caught:
        open_image(path, what).read(EVERY)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".func.gii", ".dtseries.nii", ".npy"])
def test_what_is_no_file_is_refused_at_once(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"not found: .* does not exist"):
        open_image(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    for name in ("folder", "pipe", "device"):
        with pytest.raises(VoxelcastError, match=name):
            open_image(tmp_path / f"{name}{suffix}")


def test_two_gzip_members_padding_and_other_levels_are_whole(tmp_path: Path) -> None:
    data = bytes(_nifti())
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    for number, packed in enumerate(
        (
            gzip.compress(data[:400]) + gzip.compress(data[400:]),
            gzip.compress(data) + bytes(512),  # as tapes pad
            gzip.compress(data, 0),
            packer.compress(data) + packer.flush(),
            gzip.compress(data + bytes(100)),  # less than a volume behind the numbers
        )
    ):
        path = tmp_path / f"whole{number}.nii.gz"
        path.write_bytes(packed)
        (values,) = open_image(path).read(EVERY)
        np.testing.assert_array_equal(values, ROWS)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_is_read_to_its_last_digit(dtype: type, order: str, tmp_path: Path) -> None:
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    draws = np.random.default_rng(1).uniform(0, 1, (*SHAPE, 6)) * min(float(limits.max), 2.0**52)
    stored = draws.astype(dtype)
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype))
    image = nib.Nifti1Image(stored, np.eye(4), header, dtype=np.dtype(dtype))
    nib.save(image, tmp_path / "x.nii.gz")
    (values,) = open_image(tmp_path / "x.nii.gz").read(EVERY[::-1])
    np.testing.assert_array_equal(values.astype(np.float64), stored.reshape(60, 6).T[:, ::-1].astype(np.float64))


def test_all_rois_are_read_as_nibabel_reads_them(tmp_path: Path) -> None:
    draws = np.random.default_rng(2)
    rois = [draws.permutation(60)[:n] for n in (1, 17, 60)]
    image = nib.Nifti1Image((VOLUMES * 1000).astype(np.int16), np.diag([2.0, 2, 2, 1]))
    image.header.set_slope_inter(0.01, -3.5)
    nib.save(image, tmp_path / "x.nii.gz")
    (tmp_path / "x.dtseries.nii").write_bytes(_cifti())
    (tmp_path / "y.dtseries.nii.gz").write_bytes(gzip.compress(_cifti()))
    (tmp_path / "x.func.gii").write_bytes(_gifti())
    np.save(tmp_path / "x.npy", ROWS)
    whole = np.asarray(nib.load(tmp_path / "x.nii.gz").dataobj).reshape(60, 6).T
    for name, expected in (
        ("x.nii.gz", whole.astype(np.float32)),
        ("x.dtseries.nii", ROWS),
        ("y.dtseries.nii.gz", ROWS),
        ("x.func.gii", ROWS),
        ("x.npy", ROWS),
    ):
        opened = open_image(tmp_path / name)
        assert (opened.n_maps, opened.n_voxels) == (6, 60)
        for roi, values in zip(rois, opened.read(*rois), strict=True):
            np.testing.assert_array_equal(values, expected[:, roi])


def test_a_mask_is_one_map(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOLUMES, np.eye(4)), tmp_path / "bold.nii.gz")
    image = open_image(tmp_path / "bold.nii.gz")
    inside = np.zeros(SHAPE, np.uint8)
    inside[1, 2, 0] = inside[4, 0, 2] = 1
    nib.save(nib.Nifti1Image(inside[..., None], np.eye(4)), tmp_path / "one.nii.gz")
    found = read_masks(tmp_path, {"V1": "one.nii.gz"}, image)
    assert found["V1"].tolist() == [1 * 12 + 2 * 3, 4 * 12 + 2]
    nib.save(nib.Nifti1Image(np.stack([inside, inside], axis=3), np.eye(4)), tmp_path / "two.nii.gz")
    with pytest.raises(ShapeError, match=r"mask .*two.nii.gz must be one volume .* got shape \(5, 4, 3, 2\)"):
        read_masks(tmp_path, {"V1": "two.nii.gz"}, image)
    (tmp_path / "bold.func.gii").write_bytes(_gifti())
    with pytest.raises(ShapeError, match="must hold one map; got 6"):
        read_masks(tmp_path, {"V1": "bold.func.gii"}, open_image(tmp_path / "bold.func.gii"))
    (tmp_path / "bad.nii.gz").write_bytes(_trailer(nib.Nifti1Image(inside, np.eye(4)).to_bytes(), crc=2))
    with pytest.raises(DataError, match=r"mask .*bad.nii.gz cannot be read .*CRC check failed"):
        read_masks(tmp_path, {"V1": "bad.nii.gz"}, image)
