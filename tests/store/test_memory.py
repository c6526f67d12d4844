"""Peak memory of a step, against an array of known size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from voxelcast.store.memory import peak_mb, reset_peak
from voxelcast.store.steps import StepId, StepStore


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can measure the peak anew")
def test_peak_counts_what_a_step_holds_and_forgets_earlier_ones(tmp_path: Path) -> None:
    store = StepStore(tmp_path / "store")
    peaks = []
    for name, n_mb in (("small", 1), ("large", 200), ("after", 1)):
        step = StepId("fit", name, "0" * 32)
        with store.writing(step):
            np.ones(n_mb * 125_000).sum()
        peaks.append(float(str(store.facts(step)["peak_mb"])))
    assert peaks[1] - peaks[0] == pytest.approx(200, abs=40)
    assert peaks[2] < peaks[1] - 100
    assert reset_peak()
    assert peak_mb() > 10


def test_where_it_cannot_be_measured_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxelcast.store.memory._CLEAR", tmp_path / "none" / "clear_refs")
    step = StepId("fit", "a", "0" * 32)
    with StepStore(tmp_path / "store").writing(step):
        pass
    assert json.loads((tmp_path / "store" / step.folder / "DONE").read_text())["peak_mb"] is None
