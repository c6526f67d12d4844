from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import DataError, MissingFileError, ShapeError
from voxelcast.features.matrix import FeatureMatrix


@pytest.fixture
def features():
    return np.random.default_rng(0).standard_normal((11, 23)).astype(np.float32)


@pytest.mark.parametrize("width", [1, 5, 23, 100])
def test_mapped_shards_equal_memory(tmp_path, features, width):
    paths = []
    for k, rows in enumerate(np.array_split(features, [3, 4, 9])):
        np.save(tmp_path / f"{k}.npy", rows)
        paths.append(tmp_path / f"{k}.npy")
    matrix = FeatureMatrix(paths)
    assert matrix.shape == features.shape
    np.testing.assert_array_equal(np.hstack(list(matrix.blocks(width))), features)
    np.testing.assert_array_equal(FeatureMatrix([features[:5], paths[0]]).columns(2, 7)[5:], features[:3, 2:7])


def test_files_are_mapped_not_read(tmp_path, features):
    np.save(tmp_path / "a.npy", features)
    matrix = FeatureMatrix([tmp_path / "a.npy"])
    assert isinstance(matrix._shards[0], np.memmap)


@pytest.mark.parametrize("content", [b"not an array", b"", np.array([{"a": 1}], dtype=object)])
def test_what_is_no_plain_array_is_refused(tmp_path, content):
    path = tmp_path / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy"):
        FeatureMatrix([path])


def test_misfits_are_named(tmp_path, features):
    with pytest.raises(MissingFileError, match=r"gone\.npy does not exist"):
        FeatureMatrix([tmp_path / "gone.npy"])
    with pytest.raises(ShapeError, match="got 22, 23"):
        FeatureMatrix([features, features[:, 1:]])
    with pytest.raises(ShapeError, match=r"got \(11,\)"):
        FeatureMatrix([features[:, 0]])
    with pytest.raises(DataError, match="int64"):
        FeatureMatrix([features.astype(np.int64)])
    with pytest.raises(ShapeError, match="at least one shard"):
        FeatureMatrix([])
