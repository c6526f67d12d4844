"""``voxelcast report`` of one and of several outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.report.conftest import unrendered
from voxelcast.testing.results import write_output

__all__ = ["unrendered"]


@pytest.mark.usefixtures("unrendered")
def test_one_output_and_several(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_output(tmp_path / name, n_layers=1, n_settings=2, name=name)
    done = call("report", "a")
    assert (done.code, done.out) == (0, "report: a/report.html\n")
    assert call("report", "a", "b").out == "comparison: comparison.html\n"
    assert call("report", "b", "a", "--output", "pages/both.html").out == "comparison: pages/both.html\n"
    assert (tmp_path / "pages" / "both.html").is_file()
    done = call("report", "a", "--output", "x.html")
    assert done.code == 2
    assert "the report of one experiment lies in its own folder" in done.err
    done = call("report", "a", "a")
    assert done.code == 1
    assert "twice: name each once" in done.err
