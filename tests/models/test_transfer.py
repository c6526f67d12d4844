"""A new subject of whom there is little: from saved models and responses to models, a table and predictions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxelcast as vc
from tests.experiment.miniature import read_table, run, settings, stimulus_ids, write_dataset
from tests.models.helpers import files
from voxelcast.cli.main import cli
from voxelcast.core.errors import OptionError, UnwritableError
from voxelcast.datasets.registry import open_dataset
from voxelcast.experiment import transfer as module
from voxelcast.experiment.settings_file import parse_dataset
from voxelcast.scoring.correlation import pearson_r
from voxelcast.search.transfer import transfer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_process", "unrendered")]
FEW = 30


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A dataset of ann and bob with their models' run, and one of cat, who saw 30 of the 96 pictures."""
    root = write_dataset(tmp_path / "images", n=96, subjects=("ann", "bob", "cat"))
    few = tmp_path / "few"
    (few / "responses").mkdir(parents=True)
    (few / "stimuli").mkdir()
    ids = stimulus_ids(root)
    for name in ids[:FEW]:
        shutil.copy(root / "stimuli" / f"{name}.png", few / "stimuli")
    (few / "stimulus_ids.txt").write_text("\n".join(ids[:FEW]) + "\n")
    responses = np.load(root / "responses" / "cat.npy")
    responses[:, 3] = 2.0  # a voxel that cannot be analysed
    np.save(few / "responses" / "cat.npy", responses[:FEW])
    np.save(tmp_path / "rest.npy", responses[FEW:])
    (root / "responses" / "cat.npy").unlink()
    plain = settings(root, encoders=["ridge"], ensemble={"method": "stacking"})
    plain["networks"][0]["layers"] = ["colour", "static.3"]
    run(plain, tmp_path / "others")
    return root, few


def test_from_saved_models_and_few_responses_to_models(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root, few), fitted = folders, {}

    def watched(Xs: Any, Ps: Any, *more: Any) -> Any:
        fitted["found"] = transfer(Xs, Ps, *more)
        fitted["predicted"] = fitted["found"].model.predict(Xs, Ps)
        return fitted["found"]

    monkeypatch.setattr(module, "transfer", watched)
    dataset = open_dataset(parse_dataset("folder", few, ()))
    to, valid = tmp_path / "new", [0, 1, 2, 4]
    rows = vc.transfer(tmp_path / "others", dataset, to, folds=5)
    assert rows[["subject", "roi", "n_voxels", "n_stimuli", "n_others"]].values.tolist() == [["cat", "all", 4, FEW, 2]]
    assert rows["share"][0] > 0
    (said,) = read_table(to / "transfer.csv")
    assert float(said["score"]) == pytest.approx(rows["score"][0])
    assert float(said["difference"]) == pytest.approx(float(said["score"]) - float(said["score_alone"]))
    assert float(said["difference_low"]) < float(said["difference"]) < float(said["difference_high"])

    # The others' part is in the layers' coefficients: pixels in, responses out.
    encoder = vc.load_encoder(to)
    assert encoder.pairs == (("cat", "all"),)
    pictures = files(root, list(dataset.responses("cat", "all").stimulus_ids))
    np.testing.assert_allclose(encoder.predict(pictures).arrays["cat", "all"][:, valid], fitted["predicted"], atol=1e-4)
    found = encoder.predict(files(root, stimulus_ids(root)[FEW:])).arrays["cat", "all"]
    measured = np.load(tmp_path / "rest.npy")
    r = pearson_r(measured[:, valid], found[:, valid])
    assert r.mean() == pytest.approx(rows["score"][0], abs=0.15)
    np.testing.assert_allclose(found[:, 3], 2.0)

    given = ["transfer", str(tmp_path / "others"), f"folder:{few}", "--to", str(tmp_path / "again"), "--folds", "5"]
    cli(given, standalone_mode=False)
    assert capsys.readouterr().out.startswith(f"cat all: r {rows['score'][0]:.3f}, alone ")
    assert (tmp_path / "again" / "transfer.csv").read_bytes() == (to / "transfer.csv").read_bytes()
    with pytest.raises(UnwritableError, match="is there already"):
        vc.transfer(tmp_path / "others", dataset, to)
    monkeypatch.setattr(module, "LinearModel", dict)  # as if they were of another class
    with pytest.raises(OptionError, match="a transfer needs linear models, and ann all has one of ridge"):
        vc.transfer(tmp_path / "others", dataset, tmp_path / "third")
    assert not (tmp_path / "third").exists()
