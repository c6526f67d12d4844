from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import DataError, ShapeError
from voxelcast.features.matrix import FeatureMatrix, _opened
from voxelcast.store.result import ResultWriter, StepResult


@pytest.fixture
def features():
    return np.random.default_rng(0).standard_normal((11, 23)).astype(np.float32)


def stored(path, rows):
    writer = ResultWriter(path)
    writer.array("x", rows)
    writer.close()
    return StepResult(path).stored("x")


@pytest.mark.parametrize("width", [1, 5, 23, 100])
def test_mapped_shards_equal_memory(tmp_path, features, width):
    shards = [stored(tmp_path / f"{k}.npz", rows) for k, rows in enumerate(np.array_split(features, [3, 4, 9]))]
    matrix = FeatureMatrix(shards)
    assert matrix.shape == features.shape
    np.testing.assert_array_equal(np.hstack(list(matrix.blocks(width))), features)
    np.testing.assert_array_equal(FeatureMatrix([features[:5], shards[0]]).columns(2, 7)[5:], features[:3, 2:7])


def test_files_are_mapped_not_read(tmp_path, features):
    matrix = FeatureMatrix([stored(tmp_path / "a.npz", features)])
    assert isinstance(_opened(matrix._shards[0]), np.memmap)


def test_any_rows_of_shards_and_arrays(tmp_path, features):
    matrix = FeatureMatrix([stored(tmp_path / "a.npz", features[:4]), features[4:5], features[5:]])
    for start, stop in ((0, 11), (0, 4), (3, 6), (5, 9), (10, 40), (11, 12)):
        np.testing.assert_array_equal(matrix.rows(start, stop), features[start:stop])
    over_time = FeatureMatrix([features.reshape(11, 1, 23)[:, :, :22].reshape(11, 2, 11)]).over_time(
        np.array([2.0, -1.0])
    )
    wanted = 2 * features[:, :11].astype(float) - features[:, 11:22]
    np.testing.assert_allclose(over_time.rows(2, 7), wanted[2:7])


def test_no_file_stays_open(tmp_path, features):
    resource = pytest.importorskip("resource")
    shards = [stored(tmp_path / f"{k}.npz", features[:1]) for k in range(150)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(100, before[0]), before[1]))
    try:
        matrix = FeatureMatrix(shards)
        assert matrix.columns(0, 2).shape == (150, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_misfits_are_named(features):
    with pytest.raises(ShapeError, match="got 22, 23"):
        FeatureMatrix([features, features[:, 1:]])
    with pytest.raises(ShapeError, match=r"got \(11,\)"):
        FeatureMatrix([features[:, 0]])
    with pytest.raises(DataError, match="int64"):
        FeatureMatrix([features.astype(np.int64)])
    with pytest.raises(ShapeError, match="at least one shard"):
        FeatureMatrix([])
