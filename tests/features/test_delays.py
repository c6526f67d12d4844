"""Delayed features against explicit loops."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import AlignmentError, OptionError
from voxelcast.features.delays import BEFORE, delay, delayed_rows


def test_equals_a_loop_and_never_crosses_a_run() -> None:
    rng = np.random.default_rng(0)
    series = {f"{run}{k}": (run, k) for run in "ab" for k in range(6)}
    ids = [str(name) for name in rng.permutation(list(series))]
    ids.remove("b2")  # could not be read
    wanted = [name for name in series if name not in ("a0", "b2")]
    features = rng.standard_normal((len(ids), 3))
    delays = [0, 1, 4]
    got = delay(features, delayed_rows(ids, wanted, series, delays))
    for row, name in enumerate(wanted):
        for place, lag in enumerate(delays):
            run, k = series[name]
            before = f"{run}{k - lag}"
            expected = features[ids.index(before)] if before in ids else np.zeros(3)
            assert (got[row, place::3] == expected).all()


def test_refuses_no_delays_and_unknown_volumes() -> None:
    series = {"a": ("r", 0)}
    assert delayed_rows(["a"], ["a"], series, [-1, 0, 1]).tolist() == [[BEFORE, 0, BEFORE]]
    with pytest.raises(OptionError, match="delays must be at least one whole number of TR"):
        delayed_rows(["a"], ["a"], series, [])
    with pytest.raises(AlignmentError, match="volume 'b' has no position in a run"):
        delayed_rows(["a"], ["b"], series, [1])
