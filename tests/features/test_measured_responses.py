from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import DataError, MissingFileError, OptionError, UnknownNameError
from voxelcast.features.hrf import DoubleGamma, MeasuredResponse, read_response
from voxelcast.features.pooling import make_pool, pool_key

FRAMES = np.array([0.0, 0.1, 0.9, 1.0, 2.2])


def test_weights_are_those_of_a_convolution_on_a_fine_grid():
    response = MeasuredResponse(np.array([0.25, 0.5, 1.5, 2.0]), np.array([0.5, 2.0, 1.0, 0.25]))
    end, step = 3.4, 0.0005
    fine = np.arange(step / 2, end, step)
    shown = np.searchsorted(FRAMES, fine, side="right") - 1
    convolved = np.cumsum(response(fine)) * step
    expected = np.array([convolved[::-1][shown == k].sum() for k in range(len(FRAMES))])
    np.testing.assert_allclose(response.frame_weights(FRAMES), expected / expected.sum(), atol=2e-3)


def test_a_finely_sampled_double_gamma_is_the_double_gamma():
    times = np.arange(0, 40, 0.01)
    measured = MeasuredResponse(times, 3 * DoubleGamma()(times))
    np.testing.assert_allclose(measured.frame_weights(FRAMES), DoubleGamma().frame_weights(FRAMES), atol=1e-4)


def test_measured_responses_pool_a_clip(real_data):
    table = real_data / "hrf" / "getcanonicalhrflibrary.tsv"
    values = np.loadtxt(table)
    activations = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    results = []
    for column in (0, 7, 19):
        pool = make_pool(f"hrf({table}, column={column}, step=0.1)")
        pool.update(activations, FRAMES * 6)
        results.append(pool.result())
        weights = MeasuredResponse(np.arange(501) * 0.1, values[:, column]).frame_weights(FRAMES * 6)
        np.testing.assert_allclose(results[-1], weights @ activations, rtol=1e-5)
    assert np.abs(results[0] - results[2]).max() > 0.01


TABLE = "time,V1,V2\n0,0,0\n1,2,1\n3,1,2\n"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "npy"])
def test_kinds_of_tables_agree(tmp_path, suffix):
    times, values = np.arange(3) * 0.5, np.array([[0.0, 0], [2, 1], [1, 2]])
    path = tmp_path / f"hrf.{suffix}"
    if suffix == "npy":
        np.save(path, values)
    else:
        separator = "," if suffix == "csv" else "\t"
        path.write_text("\n".join(separator.join(map(str, row)) for row in values))
    response = read_response(path, "1", 0.5)
    np.testing.assert_array_equal(response.times, times)
    np.testing.assert_array_equal(response.values, values[:, 1])


def test_a_column_of_times(tmp_path):
    path = tmp_path / "hrf.csv"
    path.write_text(TABLE)
    response = read_response(path, "V2")
    np.testing.assert_array_equal(response.times, [0, 1, 3])
    np.testing.assert_array_equal(response([0.5, 2, 3.5, -1]), [0.5, 1.5, 0, 0])
    assert response.latency == 3


def test_the_key_is_what_the_table_says_not_where_it_is(tmp_path):
    keys = []
    for name, text in (("a", TABLE), ("b", TABLE), ("c", TABLE.replace("3,1,2", "3,1,4"))):
        (tmp_path / f"{name}.csv").write_text(text)
        keys.append(pool_key(f"hrf({tmp_path / name}.csv, column=V2)"))
    assert keys[0] == keys[1] != keys[2]
    (tmp_path / "a.csv").write_text(TABLE.replace("3,1,2", "3,1,4"))
    assert pool_key(f"hrf({tmp_path / 'a.csv'}, column=V2)") == keys[2]
    assert pool_key("mean") == "mean"


@pytest.mark.parametrize(
    ("text", "pool", "error", "message"),
    [
        (TABLE, "hrf(no.csv, column=V1)", MissingFileError, "no.csv does not exist"),
        (TABLE, "hrf()", OptionError, "needs a table"),
        (TABLE, "hrf({})", OptionError, "needs column=NAME or NUMBER, since the table has 2: V1, V2"),
        (TABLE, "hrf({}, column=V3)", UnknownNameError, "'V3' does not exist in hrf.csv; allowed: V1, V2"),
        (TABLE, "hrf({}, column=V1, step=0.1)", OptionError, "either step=SECONDS above 0, or a column named time"),
        (TABLE, "hrf({}, columns=V1)", OptionError, "must be one of column, step; got 'columns'"),
        (TABLE, "hrf({}, column=V1, step=soon)", OptionError, "must be a number of seconds; got 'soon'"),
        ("1,2\n3\n", "hrf({}, column=0, step=1)", DataError, "must have 2 cells in every row"),
        ("", "hrf({}, column=0, step=1)", DataError, "it is empty"),
        ("time,a\n0,1\n0,2\n", "hrf({})", DataError, "times that rise"),
        ("time,a\n0,1\n1,nan\n", "hrf({})", DataError, "finite values"),
    ],
)
def test_what_cannot_be_used(tmp_path, monkeypatch, text, pool, error, message):
    (tmp_path / "hrf.csv").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        make_pool(pool.format("hrf.csv"))


def test_a_clip_in_which_the_response_is_never_positive(tmp_path):
    response = MeasuredResponse(np.array([0.0, 1.0, 9.0]), np.array([0.0, -1.0, 5.0]))
    with pytest.raises(DataError, match=r"of 2 s ends before the BOLD kernel \(largest near 9 s\)"):
        response.frame_weights(np.arange(4) * 0.5)
