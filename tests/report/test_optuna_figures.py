"""Optuna's pictures: only of Bayesian searches, true, and without a trace in the user's session."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

from tests.report.conftest import read_page
from voxelcast.testing.results import write_output


@pytest.fixture(scope="module")
def bayes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search in which one parameter decides, a second hardly matters, and a subject is better throughout."""
    output = write_output(
        tmp_path_factory.mktemp("bayes") / "o", subjects=["a", "b"], method="bayes", n_layers=2, n_settings=60
    )
    search = pd.read_csv(output / "search.csv")
    alpha = pd.Series([10.0 ** (k % 7 - 3) for k in range(len(search))])
    width = pd.Series([float(k % 5) for k in range(len(search))])
    score = -abs(alpha.map(lambda a: len(f"{a:g}"))) * 0.01 + width * 1e-4 + 0.5 * (search["subject"] == "a")
    setting = [f"alpha={a:g}; width={w:g}" for a, w in zip(alpha, width, strict=True)]
    search.assign(encoder="ridge", hyperparameters=setting, score=score).to_csv(output / "search.csv", index=False)
    scores = pd.read_csv(output / "scores.csv")
    scores.assign(encoder="ridge", hyperparameters=setting[0]).to_csv(output / "scores.csv", index=False)
    return output


@pytest.mark.slow
def test_importance_and_contours(bayes: Path) -> None:
    before, backend = dict(mpl.rcParams), mpl.get_backend()
    page = read_page(bayes)
    assert {key: value for key, value in mpl.rcParams.items() if before[key] != value} == {}
    assert mpl.get_backend() == backend
    alts = [a["alt"] for a in page.attributes("img")]
    importance = next(alt for alt in alts if alt.startswith("Importance of each parameter in V1, ridge"))
    values = {part.rpartition(" ")[0]: float(part.rpartition(" ")[2])
              for part in importance.partition("candidates: ")[2].rstrip(".").split(", ")
              if part.partition(" ")[0] in ("alpha", "width")}  # fmt: skip
    assert values["alpha"] > 0.9
    assert values["width"] < 0.05
    assert any(alt.startswith("Contours of the selection score in V1, ridge over alpha and ") for alt in alts)


@pytest.mark.usefixtures("unrendered")
def test_exhaustive_searches_have_none(tmp_path: Path) -> None:
    page = read_page(write_output(tmp_path / "o", n_settings=6))
    assert not any("Importance" in a["alt"] or "Contours" in a["alt"] for a in page.attributes("img"))


@pytest.mark.usefixtures("unrendered")
def test_one_parameter_has_an_importance_and_no_contours(tmp_path: Path) -> None:
    output = write_output(tmp_path / "o", method="bayes", n_layers=1, n_settings=8)
    alts = [a["alt"] for a in read_page(output).attributes("img")]
    assert not any("Contours" in alt for alt in alts)
