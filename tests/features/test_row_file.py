from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import ShapeError
from voxelcast.features.matrix import RowFile


@pytest.mark.parametrize("n", [0, 1, 9, 1000])
@pytest.mark.parametrize("shape", [(3,), (2, 5)])
def test_reads_back_as_an_array(tmp_path, n, shape):
    expected = np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)
    with RowFile(tmp_path / "x.npy", shape) as file:
        for row in expected:
            file.append(row)
    found = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_rows_of_another_shape_are_refused(tmp_path):
    with RowFile(tmp_path / "x.npy", (3,)) as file, pytest.raises(ShapeError, match=r"must have shape \(3,\)"):
        file.append(np.zeros(4, np.float32))
