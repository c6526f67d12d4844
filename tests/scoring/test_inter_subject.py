"""The inter-subject ceiling against a loop and against its closed form."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import DataError, ShapeError
from voxelcast.scoring.inter_subject import inter_subject_r


def test_equals_the_loop() -> None:
    values = np.random.default_rng(0).standard_normal((4, 30, 6)) + np.arange(6)
    z = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    expected = [
        [np.corrcoef(values[s, :, v], np.delete(z, s, axis=0)[:, :, v].mean(axis=0))[0, 1] for v in range(6)]
        for s in range(4)
    ]
    np.testing.assert_allclose(inter_subject_r(values), expected, atol=1e-12)


@pytest.mark.parametrize(("n_subjects", "signal"), [(2, 1.0), (4, 0.3), (10, 0.5)])
def test_recovers_the_closed_form(n_subjects: int, signal: float) -> None:
    rng = np.random.default_rng(1)
    values = np.sqrt(signal) * rng.standard_normal((1, 3000, 20)) + rng.standard_normal((n_subjects, 3000, 20))
    units = 10.0 ** np.arange(n_subjects)[:, None, None]  # no subject's unit must weigh more than another's
    expected = signal / np.sqrt((signal + 1) * (signal + 1 / (n_subjects - 1)))
    assert inter_subject_r(units * values).mean() == pytest.approx(expected, abs=0.01)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_missing_responses() -> None:
    rng = np.random.default_rng(2)
    values = rng.standard_normal((1, 200, 3)) + rng.standard_normal((3, 200, 3))
    values[0, :50], values[1, 40:60], values[2, 55:70] = np.nan, np.nan, np.nan
    z = (values - np.nanmean(values, axis=1, keepdims=True)) / np.nanstd(values, axis=1, keepdims=True)
    for subject in range(3):
        others = np.nanmean(np.delete(z, subject, axis=0), axis=0)
        for voxel in range(3):
            used = np.isfinite(values[subject, :, voxel]) & np.isfinite(others[:, voxel])
            expected = np.corrcoef(values[subject, used, voxel], others[used, voxel])[0, 1]
            assert inter_subject_r(values)[subject, voxel] == pytest.approx(expected, abs=1e-12)


def test_edges() -> None:
    values = np.random.default_rng(3).standard_normal((2, 20, 3))
    values[0, :, 1], values[1, :, 2] = 0.1, np.nan
    assert np.isnan(inter_subject_r(values)).tolist() == [[False, True, True], [False, True, True]]
    with pytest.raises(ShapeError, match="n_subjects"):
        inter_subject_r(np.ones((3, 4)))
    with pytest.raises(DataError, match="at least 2 subjects"):
        inter_subject_r(np.ones((1, 4, 5)))
