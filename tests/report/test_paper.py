"""`voxelcast figures`: what a journal wants."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from voxelcast.cli.main import cli
from voxelcast.core.errors import OptionError, UnwritableError
from voxelcast.report.paper import write_figures
from voxelcast.results.read import read_results


def test_figures_have_their_fonts_and_the_width_of_a_column(several: Path, tmp_path: Path) -> None:
    results = read_results(several)
    written = write_figures(results, tmp_path / "figures", ("pdf", "svg", "png"))
    assert {path.name for path in written} == {
        "scores.tex",
        *(
            f"{name}.{suffix}"
            for name in ("scores", *(f"{what}_{roi}" for what in ("layers", "voxels") for roi in results.rois))
            for suffix in ("pdf", "svg", "png")
        ),
    }
    pdf = (tmp_path / "figures" / "scores.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # embedded, as TrueType
    assert b"/Type3" not in pdf
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)
    assert box is not None
    assert abs(float(box[1]) / 72 * 25.4 - 85) < 1
    assert "<text" not in (tmp_path / "figures" / "scores.svg").read_text()
    assert Image.open(tmp_path / "figures" / "scores.png").width == 2010  # 600 dots per inch


def test_the_table_has_the_scores(several: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["figures", str(several), "--to", str(tmp_path / "f")]).exit_code == 0
    table = (tmp_path / "f" / "scores.tex").read_text()
    for row in read_results(several).scores.itertuples():
        assert f"{row.subject} & {row.roi} & {int(row.n_voxels)} & {row.score:.3f}" in table


def test_nothing_is_overwritten_and_wrong_options_are_refused(several: Path, tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match="choose another --to"):
        write_figures(read_results(several), tmp_path)
    with pytest.raises(OptionError, match="format must be one of"):
        write_figures(read_results(several), tmp_path / "new", ("eps",))
    assert not (tmp_path / "new").exists()
