"""`voxelcast figures`: what a journal wants."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from voxelcast.cli.main import cli
from voxelcast.core.errors import OptionError, UnwritableError
from voxelcast.report.methods import bibtex, methods_paragraph
from voxelcast.report.paper import write_figures
from voxelcast.results.read import Results, read_results


def with_tests(output: Path) -> Results:
    """Results whose voxels were tested."""
    results = read_results(output)
    voxels = {pair: {**values, "q_value": np.full(40, 0.5)} for pair, values in results.voxels.items()}
    return replace(results, voxels=voxels)


def test_figures_have_their_fonts_and_the_width_of_a_column(several: Path, tmp_path: Path) -> None:
    results = read_results(several)
    written = write_figures(results, tmp_path / "figures", ("pdf", "svg", "png"))
    names = ["overview", "scores", *(f"{what}_{roi}" for what in ("layers", "voxels") for roi in results.rois)]
    assert {path.name for path in written} == {
        *("scores.tex", "methods.txt", "references.bib"),
        *(f"{name}.{suffix}" for name in names for suffix in ("pdf", "svg", "png")),
    }
    for name in ("overview", "scores", "layers_V1", "voxels_V1"):
        pdf = (tmp_path / "figures" / f"{name}.pdf").read_bytes()
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


def test_the_paragraph_says_what_the_settings_say(several: Path) -> None:
    results = with_tests(several)
    made = {"search": {"method": "bayes", "trials": 40}, "encoders": ["pls", "ridge"], "pool": "mean", "seed": 7}
    made |= {"compress": {"method": "pca", "components": 20, "fit": "folds"}, "folds": {"n": 9}}
    made |= {"ensemble": {"method": "stacking"}, "significance": {"permutations": 1000, "alpha": 0.05}}
    said = methods_paragraph(replace(results, config=made))
    for sentence in (
        "3 subjects in 3 regions of interest (V1, LOC and mine)",
        "compressed to 20 principal components, estimated anew in the training part of every fold.",
        "Models were pls and ridge; of their parameters 40 values were proposed one after another",
        "Several models were combined: stacked, with weights estimated in training parts.",
        "in each of 9 outer folds, which no choice saw",
        "tested by 1,000 permutations",
        "seed 7.",
    ):
        assert sentence in said
    plain = methods_paragraph(replace(results, config={"significance": {"permutations": 1000, "alpha": 0.05}}))
    assert "combined" not in plain
    assert "compressed" not in plain


def test_bibtex_has_software_data_networks_and_methods(several: Path) -> None:
    text = bibtex(with_tests(several))
    assert text.count("@misc{") == 3  # voxelcast, the data, the network that was chosen
    assert "benjamini1995" not in bibtex(read_results(several))
    assert "author = {{The voxelcast developers}}" in text
    assert "benjamini1995" in text
    assert text.count("{") == text.count("}")


def test_nothing_is_overwritten_and_wrong_options_are_refused(several: Path, tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match="choose another --to"):
        write_figures(read_results(several), tmp_path)
    with pytest.raises(OptionError, match="format must be one of"):
        write_figures(read_results(several), tmp_path / "new", ("eps",))
    assert not (tmp_path / "new").exists()
