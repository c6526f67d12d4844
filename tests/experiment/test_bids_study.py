"""From a lab's BIDS study to derivatives: what `voxelcast init` finds, and the whole way as a new user goes it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from tests.datasets.bids_study import (
    AFFINE,
    DRIVERS,
    GRID,
    N_VOXELS,
    SUBJECTS,
    planted_values,
    random_values,
    write_study,
)
from voxelcast.cli.main import cli
from voxelcast.core.errors import AlignmentError, MissingFileError, UnwritableError
from voxelcast.datasets.registry import open_dataset
from voxelcast.experiment.first_file import first_experiment
from voxelcast.experiment.settings_file import load_config
from voxelcast.report.bids_maps import write_derivatives


def _validator() -> str | None:
    """Find the validator of BIDS (PyPI ``bids-validator-deno``), in the path or beside this Python."""
    name = "bids-validator-deno"
    beside = Path(sys.executable).with_name(name)
    return shutil.which(name) or (str(beside) if beside.is_file() else None)


def check_bids(root: Path) -> None:
    """Raise AssertionError where a BIDS data set has what the standard does not admit."""
    about = json.loads((root / "dataset_description.json").read_text())
    assert {"Name", "BIDSVersion", "DatasetType"} <= about.keys()
    assert about["DatasetType"] == "raw" or about["GeneratedBy"][0]["Name"]
    assert (root / "README").stat().st_size > 150
    entities = r"(_[a-z]+-[A-Za-z0-9]+)*_[A-Za-z0-9]+\.(nii\.gz|func\.gii|json|tsv)"
    for path in root.glob("sub-*/**/*.*"):
        subject = path.relative_to(root).parts[0]
        assert re.fullmatch(re.escape(subject) + entities, path.name), path.name
        if about["DatasetType"] == "derivative" and not path.name.endswith(".json"):
            beside = json.loads(path.with_name(path.name.partition(".")[0] + ".json").read_text())
            assert beside["SpatialReference"]
            assert beside["Description"]
    if (validator := _validator()) is not None:
        done = subprocess.run([validator, str(root), "--json"], capture_output=True, text=True, timeout=100)
        issues = json.loads(done.stdout)["issues"]["issues"]
        assert [issue for issue in issues if issue.get("severity") == "error"] == []
        assert done.returncode == 0


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_study(tmp_path / "study", random_values())
    return tmp_path / "study"


def test_init_finds_sessions_events_masks_and_stimuli(study: Path) -> None:
    text = first_experiment(study, "study")
    said = yaml.safe_load(text)
    stem = "{subject}/{session}/func/{subject}_{session}_task-videos_{run}"
    assert said["dataset"] == {
        "kind": "folder",
        "root": str(study),
        "responses": f"derivatives/glmsingle/{stem}_space-T1w_desc-singletrial_betas.nii.gz",
        "stimulus_ids": f"{stem}_events.tsv",
        "stimuli": "stimuli",
        "masks": "derivatives/rois/{subject}/anat/{subject}_space-T1w_label-{roi}_mask.nii.gz",
        "unit": "beta",
    }
    assert "a BIDS study of 2 subjects; sessions ses-01, ses-02; task videos" in text
    assert "ROIs EBA, V1, V4" in text
    assert "40 files in column stim_file" in text
    assert said["compress"]["components"] == 23  # of 24 stimuli in the smallest training part
    assert said["frames"] == {"every": 2}


def test_init_takes_preprocessed_runs_where_there_are_no_betas(study: Path) -> None:
    shutil.rmtree(study / "derivatives" / "glmsingle")
    with pytest.raises(MissingFileError, match=r"neither betas .* nor preprocessed runs"):
        first_experiment(study, "study")
    for path in sorted(study.glob("sub-*/ses-*/func/*_bold.nii.gz")):
        folder = study / "derivatives" / "fmriprep" / path.parent.relative_to(study)
        folder.mkdir(parents=True, exist_ok=True)
        stem = path.name.removesuffix("_bold.nii.gz")
        shutil.copy(path, folder / f"{stem}_space-T1w_desc-preproc_bold.nii.gz")
        (folder / f"{stem}_space-T1w_desc-preproc_bold.json").write_text('{"RepetitionTime": 2.0}')
        rows = "\n".join(["\t".join(["0.1"] * 6)] * 44)
        head = "trans_x\ttrans_y\ttrans_z\trot_x\trot_y\trot_z"
        (folder / f"{stem}_desc-confounds_timeseries.tsv").write_text(f"{head}\n{rows}\n")
    said = yaml.safe_load(first_experiment(study, "study"))
    assert said["dataset"]["kind"] == "time_series"
    assert said["dataset"]["tr"] == 2.0
    assert said["features"] == ["conditions"]
    path = study.parent / "said.yaml"
    path.write_text(yaml.safe_dump(said))
    assert open_dataset(load_config(path).dataset).rois("sub-01") == ("EBA", "V1", "V4")


def test_derivatives_hold_the_values_where_the_voxels_are(study: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load(first_experiment(study, "study"))["dataset"]
    dataset = open_dataset(settings.pop("kind"), **settings)
    rng = np.random.default_rng(0)
    values = {s: {roi: {"pearson_r": rng.standard_normal(N_VOXELS)} for roi in DRIVERS} for s in SUBJECTS}
    folder = tmp_path / "derivatives" / "voxelcast"
    written = write_derivatives(folder, tmp_path, dataset, values, ["pearson_r"])
    assert len(written) == len(SUBJECTS) * len(DRIVERS) * 2  # a mask and a map each
    start = folder / "sub-02" / "func" / "sub-02_task-videos_space-T1w"
    image = nib.load(f"{start}_roi-V4_stat-r_statmap.nii.gz")
    np.testing.assert_allclose(image.affine, AFFINE)
    given = np.asarray(nib.load(study / settings["masks"].format(subject="sub-02", roi="V4")).dataobj) != 0
    np.testing.assert_allclose(image.get_fdata()[given], values["sub-02"]["V4"]["pearson_r"], rtol=1e-6)
    assert np.isnan(image.get_fdata()[~given]).all()
    mask = nib.load(f"{start}_label-V4_mask.nii.gz")
    assert (np.asarray(mask.dataobj) == given).all()
    assert mask.shape == GRID
    side = json.loads(Path(f"{start}_roi-V4_stat-r_statmap.json").read_text())
    assert (side["ROI"], side["Quantity"], len(side["Sources"])) == ("V4", "pearson_r", 4)
    source = json.loads((folder / "dataset_description.json").read_text())["DatasetLinks"]["source"]
    first = side["Sources"][0].removeprefix("bids:source:")
    assert (folder / source / first).resolve().is_file()
    check_bids(study)
    check_bids(folder)
    with pytest.raises(UnwritableError, match="choose another --bids"):
        write_derivatives(folder, tmp_path, dataset, values, ["pearson_r"])
    values["sub 02"] = values["sub-02"]
    with pytest.raises(AlignmentError, match="sub-02 and sub 02 both give 'sub-02'"):
        write_derivatives(tmp_path / "other", tmp_path, dataset, values, ["pearson_r"])


@pytest.mark.slow
def test_the_whole_way_of_a_new_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None) -> None:
    values, videos = planted_values(tmp_path / "work")
    write_study(tmp_path / "study", values, videos)
    monkeypatch.chdir(tmp_path)

    def voxelcast(*arguments: str) -> str:
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    voxelcast("init", "study")
    # The one edit: a network that needs no weights from the internet.
    text = Path("study.yaml").read_text()
    network = "{name: voxelcast/motion_energy, layers: [static.1, motion.4, colour]}"
    edited, n_edits = re.subn(r"\{name: torchvision/resnet18.*\}", network, text)
    assert n_edits == 1
    Path("study.yaml").write_text(edited)
    assert "4 files, first sub-01_ses-01" in voxelcast("run", "study.yaml", "--dry-run")
    voxelcast("run", "study.yaml")
    scores = pd.read_csv("outputs/study/scores.csv")
    assert len(scores) == 6
    assert (scores.layer == [DRIVERS[roi][1] for roi in scores.roi]).all()
    assert (scores.score > 0.3).all()
    assert (tmp_path / "outputs" / "study" / "report.html").is_file()
    voxelcast("figures", "outputs/study")
    assert list(Path("outputs/study/figures").glob("*.pdf"))
    voxelcast("maps", "outputs/study", "--bids", "study/derivatives/voxelcast")
    check_bids(tmp_path / "study" / "derivatives" / "voxelcast")
    check_bids(tmp_path / "study")
    again = yaml.safe_load(first_experiment(Path("study"), "study"))  # its own maps are not taken for responses
    assert again["dataset"] == yaml.safe_load(text)["dataset"]
