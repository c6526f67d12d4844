"""``data/tiny.ckpt-7`` was written by TensorFlow 2.21: the k-th variable holds ``arange / 2 + k``."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.networks.tensor_bundle_writer import write_bundle
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.networks.families.tensor_bundle import find_bundle, read_bundle

TINY = Path(__file__).parent / "data" / "tiny.ckpt-7"
SPECS = [
    ("base_model/conv2d/kernel", (3, 3, 2, 4), np.float32),
    ("base_model/conv2d/kernel/Momentum", (3, 3, 2, 4), np.float32),
    ("base_model/conv2d_1/kernel", (1, 1, 4, 2), np.float32),
    ("base_model/batch_normalization/gamma", (4,), np.float32),
    ("head_supervised/linear_layer/dense/bias", (300,), np.float32),
    ("global_step", (), np.int64),
    ("other/double", (2, 3), np.float64),
    ("other/int", (5,), np.int32),
    ("other/empty", (0, 3), np.float32),
    *((f"base_model/batch_normalization_{k + 1}/moving_variance", (k % 4 + 1,), np.float32) for k in range(60)),
]


@pytest.mark.parametrize("path", [TINY, TINY.with_name("tiny.ckpt-7.index")])
def test_every_tensor_is_what_tensorflow_wrote(path):
    tensors = read_bundle(find_bundle(path))
    assert set(tensors) == {name for name, _, _ in SPECS if not name.endswith("/Momentum")}
    for k, (name, shape, dtype) in enumerate(SPECS):
        if name in tensors:
            expected = (np.arange(np.prod(shape)).reshape(shape) * 0.5 + k).astype(dtype)
            assert tensors[name].numpy().dtype == dtype
            np.testing.assert_array_equal(tensors[name].numpy(), expected)


def test_what_the_tests_write_is_read_as_what_tensorflow_wrote(tmp_path):
    tensors = read_bundle(find_bundle(TINY))
    write_bundle(tmp_path / "model.ckpt-1", tensors)
    again = read_bundle(find_bundle(tmp_path / "model.ckpt-1"))
    assert list(again) == list(tensors)
    assert all(
        torch.equal(again[name], tensor) and again[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )


@pytest.fixture
def copy(tmp_path):
    for part in TINY.parent.glob("tiny.ckpt-7.*"):
        shutil.copy(part, tmp_path / part.name)
    return tmp_path / "tiny.ckpt-7.index"


def test_a_missing_or_short_data_file_is_told(copy):
    data = copy.with_name("tiny.ckpt-7.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"must have \d+ bytes; got"):
        read_bundle(copy)
    data.unlink()
    with pytest.raises(MissingFileError, match=r"data-00000-of-00001 does not exist"):
        read_bundle(copy)


@pytest.mark.parametrize("keep", [0, 30, 1000, 2863])
def test_a_torn_index_is_told(copy, keep):
    copy.write_bytes(copy.read_bytes()[:keep])
    with pytest.raises(DataError, match="index of a TensorFlow checkpoint"):
        read_bundle(copy)


def test_a_spoilt_index_never_ends_in_another_error(copy):
    """Bytes changed at random: read, or refused in one line."""
    rng, whole = np.random.default_rng(0), copy.read_bytes()
    refused = 0
    for _ in range(300):
        spoilt = bytearray(whole)
        for place in rng.integers(0, len(whole), 8):
            spoilt[place] = rng.integers(256)
        copy.write_bytes(bytes(spoilt))
        try:
            read_bundle(copy)
        except (DataError, MissingFileError):
            refused += 1
    assert refused > 100


def test_where_there_is_no_checkpoint(tmp_path):
    assert find_bundle(tmp_path / "model.ckpt-1") is None
