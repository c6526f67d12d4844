"""Peak memory of a step, against an array of known size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from voxelcast.store.steps import StepId, StepStore

_STEPS = """
import sys
from pathlib import Path

import numpy as np

from voxelcast.store.memory import peak_mb, reset_peak
from voxelcast.store.steps import StepId, StepStore

store = StepStore(Path(sys.argv[1]))
for name, n_mb in (("small", 1), ("large", 200), ("after", 1)):
    step = StepId("fit", name, "0" * 32)
    with store.writing(step):
        np.ones(n_mb * 125_000).sum()
    print(store.facts(step)["peak_mb"])
print(peak_mb() if reset_peak() else None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can measure the peak anew")
def test_peak_counts_what_a_step_holds_and_forgets_earlier_ones(tmp_path: Path) -> None:
    # In a process of its own: what other tests have freed would serve the step without a new page.
    command = [sys.executable, "-c", _STEPS, str(tmp_path / "store")]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    small, large, after, last = map(float, shown.split())
    assert large - small == pytest.approx(200, abs=40)
    assert after < large - 100
    assert last > 10


def test_where_it_cannot_be_measured_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxelcast.store.memory._CLEAR", tmp_path / "none" / "clear_refs")
    step = StepId("fit", "a", "0" * 32)
    with StepStore(tmp_path / "store").writing(step):
        pass
    assert json.loads((tmp_path / "store" / step.folder / "DONE").read_text())["peak_mb"] is None
