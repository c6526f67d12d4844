from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import DataError, MissingFileError, ShapeError, UnsafeFileError
from voxelcast.features.matrix import FeatureMatrix, _opened


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
    assert isinstance(_opened(matrix._shards[0]), np.memmap)


def test_any_rows_of_shards_and_arrays(tmp_path, features):
    np.save(tmp_path / "a.npy", features[:4])
    matrix = FeatureMatrix([tmp_path / "a.npy", features[4:5], features[5:]])
    for start, stop in ((0, 11), (0, 4), (3, 6), (5, 9), (10, 40), (11, 12)):
        np.testing.assert_array_equal(matrix.rows(start, stop), features[start:stop])
    over_time = FeatureMatrix([features.reshape(11, 1, 23)[:, :, :22].reshape(11, 2, 11)]).over_time(
        np.array([2.0, -1.0])
    )
    wanted = 2 * features[:, :11].astype(float) - features[:, 11:22]
    np.testing.assert_allclose(over_time.rows(2, 7), wanted[2:7])


def test_no_file_stays_open(tmp_path, features):
    resource = pytest.importorskip("resource")
    paths = [tmp_path / f"{k}.npy" for k in range(150)]
    for path in paths:
        np.save(path, features[:1])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(100, before[0]), before[1]))
    try:
        matrix = FeatureMatrix(paths)
        assert matrix.columns(0, 2).shape == (150, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("content", [b"not an array", b"", np.array([{"a": 1}], dtype=object)])
def test_what_is_no_plain_array_is_refused(tmp_path, content):
    path = tmp_path / "a.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises((DataError, UnsafeFileError), match=r"a\.npy"):
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
