"""Inputs of users that went wrong once, each with the command of its README and what is right.

They lie beside the real test data (``$VOXELCAST_TEST_DATA/../cases``).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import Call

DRY = "run case.yaml --dry-run"
EXTRACT = "extract {} --layers colour --output out"


@dataclass(frozen=True)
class Case:
    """A command in a folder of cases; what standard error's last line must say, and other lines anywhere."""

    folder: str
    command: str
    refused: tuple[str, ...] = ()
    said: tuple[str, ...] = ()


CASES = [
    Case("bids_sessions", DRY, said=("240 training",)),
    Case("brain_files_damaged", "run gifti_cut.yaml --dry-run", ("sub01.func.gii",)),
    Case("brain_files_damaged", "run gifti_mask_empty.yaml --dry-run", ("mask.shape.gii",)),
    Case("brain_files_damaged", "run nifti_bad_header.yaml --dry-run", ("sub01.nii",)),
    Case("brain_files_damaged", "run npy_mask_object.yaml --dry-run", ("mask.npy", "Python objects")),
    Case("events_none_na", DRY),
    Case("gz_bit_flip", "run case.yaml", ("bold.nii.gz",)),
    Case("image_bad_exif", EXTRACT.format("stimuli") + " --broken-stimuli skip", said=("10 of 10 stimuli read",)),
    Case("media_passed_over", EXTRACT.format("study/stimuli"), said=("warning: ", ".heic", "img0001.heic")),
    Case("name_not_utf8", EXTRACT.format("study/stimuli"), (r"caf\xe9.png", "not UTF-8")),
    Case("nan_in_a_run", "run case.yaml", ("1 of ", "voxel 0", "NaN")),
    Case("nuisance_text", "run case.yaml", ("confounds.tsv", "column ", "'error'", "line ")),
    Case("rdm_is_similarity", "rsa case.yaml", ("rdms.npy", "looks like similarities")),
    Case("tr_differs_from_header", DRY, said=("warning: ", "1.5", "2")),
    Case("truncated_nii_gz", "run case.yaml", ("bold.nii.gz",)),
    Case("video_damaged_inside", EXTRACT.format("stimuli"), ("1_a_hole_of_zeros.mp4",)),
    Case("wrong_hemisphere_gifti", DRY, ("CortexLeft", "CortexRight")),
]


@pytest.fixture
def cases(real_data: Path) -> Path:
    """Folder of the cases; the test is skipped where it is absent."""
    folder = real_data.resolve().parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"cases not found at {folder}; they lie beside the test data")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[f"{case.folder} {case.command.split()[1]}" for case in CASES])
def test_a_case_ends_as_it_should(
    case: Case, cases: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "case"
    shutil.copytree(cases / case.folder, there)
    for folder, _, _ in os.walk(there):
        Path(folder).chmod(0o755)
    if case.folder == "name_not_utf8":
        stimuli = there / "study" / "stimuli"
        shutil.copy(stimuli / "img0001.png", os.path.join(os.fsencode(stimuli), b"caf\xe9.png"))
    before = sorted(there.rglob("*"))
    monkeypatch.chdir(there)
    done = call(*case.command.split())
    assert "Traceback" not in done.err
    *_, last = done.err.splitlines() or [""]
    assert done.code == (1 if case.refused else 0), done.err
    assert all(part in last for part in case.refused), last
    assert all(part in done.err + done.out for part in case.said), done.err + done.out
    if case.refused and case.folder != "video_damaged_inside":
        assert sorted(there.rglob("*")) == before  # nothing is left behind


@pytest.mark.slow
def test_every_case_has_its_command(cases: Path) -> None:
    folders = {path.name for path in cases.iterdir() if (path / "README.md").is_file()}
    assert folders <= {case.folder for case in CASES}
