"""BIDS studies and the outputs of GLMsingle, SPM, FSL and nilearn, against what was written."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import scipy.io

from tests.datasets.bids_study import AFFINE, DRIVERS, GRID, RUNS, SUBJECTS, VIDEOS, Values, random_values, write_study
from tests.datasets.miniatures import write_images
from voxelcast.core.errors import (
    AlignmentError,
    MissingFileError,
    OptionError,
    ShapeError,
    UnknownNameError,
    VoxelcastWarning,
)
from voxelcast.datasets.base import VoxelIndices
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.folder_settings import FolderSettings
from voxelcast.datasets.registry import open_dataset

STEM = "{subject}/{session}/func/{subject}_{session}_task-videos_{run}"
BETAS = f"derivatives/glmsingle/{STEM}_space-T1w_desc-singletrial_betas.nii.gz"
EVENTS = f"{STEM}_events.tsv"
MASKS = "derivatives/rois/{subject}/anat/{subject}_space-T1w_label-{roi}_mask.nii.gz"
SETTINGS: dict[str, Any] = {"responses": BETAS, "stimulus_ids": EVENTS, "masks": MASKS}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Values]:
    root, values = tmp_path_factory.mktemp("bids") / "study", random_values()
    write_study(root, values)
    return root, values


def test_patterns_find_runs_and_events_name_their_rows(written: tuple[Path, Values]) -> None:
    root, values = written
    dataset = FolderDataset(FolderSettings(root, **SETTINGS))
    assert dataset.subjects == SUBJECTS
    for subject in SUBJECTS:
        assert set(dataset.rois(subject)) == set(DRIVERS)
        assert dataset.extent(subject).shown().endswith(f"4 files, first {subject}_ses-01_task-videos_run-1_space-T1w_"
                                                        "desc-singletrial_betas.nii.gz")  # fmt: skip
        for roi in DRIVERS:
            got = dataset.responses(subject, roi)
            assert got.stimulus_ids == VIDEOS
            np.testing.assert_array_equal(got.values, values[subject, roi])  # sessions are the repetitions
        names = [path.name for path in dataset.response_files(subject, "V1")]
        assert sum(name.endswith("_events.tsv") for name in names) == 4
        assert sum(name.endswith("_betas.nii.gz") for name in names) == 4


def test_lists_globs_and_subjects_by_name(written: tuple[Path, Values]) -> None:
    root, values = written
    folder = "derivatives/glmsingle/sub-01/ses-02/func"
    given = {"ann": [f"{folder}/*_{run}_*_betas.nii.gz" for run in reversed(RUNS)]}
    ids = [f"sub-01/ses-02/func/*_{run}_events.tsv" for run in reversed(RUNS)]
    masks = {"both": ["derivatives/rois/sub-01/anat/*_label-V[14]_mask.nii.gz".replace("[14]", n) for n in "14"]}
    dataset = FolderDataset(FolderSettings(root, responses=given, stimulus_ids=ids, masks=masks))
    got = dataset.responses("ann", "both").values
    assert got.shape == (40, 1, 40)
    order = np.argsort(_columns(root, "V1") + _columns(root, "V4"))
    both = np.concatenate([values["sub-01", "V1"], values["sub-01", "V4"]], axis=2)[:, 1:]
    np.testing.assert_array_equal(got, both[:, :, order])


def _columns(root: Path, roi: str) -> list[int]:
    path = root / MASKS.replace("{subject}", "sub-01").replace("{roi}", roi)
    return np.flatnonzero(np.asarray(nib.load(path).dataobj)).tolist()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"responses": BETAS.replace("T1w", "MNI")},
            MissingFileError,
            "fits .*space-MNI.*nearest: .*T1w",
        ),
        ({"stimulus_ids": EVENTS.replace("{run}", "run_{run}")}, MissingFileError, "stimulus_ids not found.*nearest"),
        ({"masks": MASKS.replace("rois", "areas")}, MissingFileError, "masks not found: .*areas.*nearest: "),
        ({"responses": "{sub}/x.nii"}, OptionError, r"may have the fields .*got \{sub\}"),
        ({"id_column": "trial_type"}, ShapeError, "must have 25 maps, one per stimulus id in .*events.tsv"),
        ({"id_column": "name"}, UnknownNameError, "column 'name'"),
        ({"conditions": "names.txt"}, OptionError, "stimulus_ids or by conditions; got both"),
    ],
)
def test_what_is_missing_is_said(
    written: tuple[Path, Values], change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        FolderDataset(FolderSettings(written[0], **(SETTINGS | change)))


def test_trial_types_say_which_events_have_a_row(tmp_path: Path) -> None:
    write_images(tmp_path / "stimuli", ("a", "b"))
    rows = ["6\t1\tcatch\tb.png", "4\t1\tmain\tsub/a.png", "2\t1\tmain\tb.png", "0\t1\trest\tn/a"]
    (tmp_path / "events.tsv").write_text("\n".join(["onset\tduration\ttrial_type\tstim_file", *rows]) + "\n")
    np.save(tmp_path / "x.npy", np.array([[1.0], [2.0]]))
    settings: dict[str, Any] = {"responses": {"ann": "x.npy"}, "stimulus_ids": "events.tsv"}
    got = open_dataset("folder", tmp_path, trial_types="main", **settings).responses("ann", "all").values
    assert got.ravel().tolist() == [2.0, 1.0]  # by onset, b came first
    with pytest.raises(ShapeError, match=r"must have 3 maps.*got 2.*trial_types"):
        open_dataset("folder", tmp_path, **settings)


def test_subjects_that_saw_different_stimuli(tmp_path: Path) -> None:
    write_images(tmp_path / "stimuli", ("a", "b", "c"))
    values = {"ann": {"a": 1.0, "b": 2.0}, "bob": {"c": 3.0, "b": 4.0}}
    for subject, seen in values.items():
        (tmp_path / f"{subject}_ids.txt").write_text("\n".join(seen))
        np.save(tmp_path / f"{subject}.npy", np.array([[value] for value in seen.values()]))
    settings: dict[str, Any] = {"responses": "{subject}.npy", "stimulus_ids": "{subject}_ids.txt"}
    left_out = r"leaves out 1 of ann's 2 stimuli, 1 of bob's 2 stimuli; .*'dataset\.subjects=\[ann,bob\]'"
    with pytest.raises(AlignmentError, match=rf"1 of 3 training stimuli, first 'c'.*shared_stimuli: true.*{left_out}"):
        open_dataset("folder", tmp_path, **settings)
    with pytest.warns(VoxelcastWarning, match=left_out):
        dataset = open_dataset("folder", tmp_path, shared_stimuli=True, **settings)
    assert [dataset.responses(subject, "all").values.item() for subject in ("ann", "bob")] == [2.0, 4.0]
    with warnings.catch_warnings(action="error"):
        alone = open_dataset("folder", tmp_path, shared_stimuli=True, subjects="bob", **settings)
    assert alone.responses("bob", "all").values.ravel().tolist() == [4.0, 3.0]


def _study(root: Path, ids: tuple[str, ...] = ("c", "a", "d", "b", "a")) -> np.ndarray:
    """Write stimuli and a mask; return betas (x, y, z, trial)."""
    write_images(root / "stimuli", sorted(set(ids)))
    nib.save(nib.Nifti1Image((np.arange(24).reshape(4, 3, 2) % 5 == 0).astype(np.uint8), AFFINE), root / "mask.nii")
    return RNG.standard_normal((4, 3, 2, len(ids))).astype(np.float32)


def _design(root: Path, order: list[int], suffix: str) -> None:
    if suffix == ".mat":
        with h5py.File(root / "DESIGNINFO.mat", "w", userblock_size=512) as file:
            file["stimorder"] = np.array(order, float)[:, None] + 1
        _matlab_header(root / "DESIGNINFO.mat")
    else:
        np.save(root / "DESIGNINFO.npy", {"stimorder": order, "stimdur": 1.0, "params": {"x": [1]}})  # type: ignore[arg-type]


def _matlab_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize("form", ["npy", "npy-fortran", "hdf5", "mat"])
def test_glmsingle_with_the_order_of_its_design(tmp_path: Path, form: str) -> None:
    betas, suffix = _study(tmp_path), f".{form.partition('-')[0]}"
    path = tmp_path / f"TYPED_FITHRF_GLMDENOISE_RR{suffix}"
    if form.startswith("npy"):
        stored = np.asfortranarray(betas) if form.endswith("fortran") else betas
        np.save(path, {"betasmd": stored, "R2": betas[..., 0], "pcnum": 3, "glmbadness": None})  # type: ignore[arg-type]
    elif form == "hdf5":
        with h5py.File(path, "w") as file:
            file["betasmd"] = betas
    else:
        with h5py.File(path, "w", userblock_size=512) as file:
            file["modelmd"] = betas.T
        _matlab_header(path)
    _design(tmp_path, [2, 0, 3, 1, 0], suffix)
    (tmp_path / "conditions.txt").write_text("a\nb\nc\nd\n")
    settings = {"responses": {"ann": path.name}, "conditions": "conditions.txt", "masks": {"some": "mask.nii"}}
    dataset = open_dataset("folder", tmp_path, **settings)
    inside = np.arange(24) % 5 == 0
    expected = betas.reshape(24, 5).T[:, inside]
    got = dataset.responses("ann", "some").values
    np.testing.assert_array_equal(got[:, 0], expected[[1, 3, 0, 2]])
    np.testing.assert_array_equal(got[0, 1], expected[4])
    assert np.isnan(got[1:, 1]).all()
    read = {file.stem for file in dataset.response_files("ann", "some")}
    assert read == {path.stem, "DESIGNINFO", "conditions", "mask"}
    places = dataset.voxel_indices("ann", "some")
    assert isinstance(places, VoxelIndices)
    np.testing.assert_allclose(places.affine, AFFINE)  # type: ignore[arg-type]
    # Events in another order contradict the design.
    (tmp_path / "events.tsv").write_text("onset\ttrial_type\n" + "".join(f"{k}\t{n}\n" for k, n in enumerate("acdba")))
    with pytest.raises(AlignmentError, match="trials must repeat as in DESIGNINFO"):
        open_dataset("folder", tmp_path, responses={"ann": path.name}, stimulus_ids="events.tsv")


def test_a_glmsingle_file_without_betas_or_design_says_so(tmp_path: Path) -> None:
    _study(tmp_path)
    (tmp_path / "names.txt").write_text("a\nb")
    np.save(tmp_path / "TYPEB_FITHRF.npy", {"R2": np.zeros(3)})  # type: ignore[arg-type]
    settings = {"responses": {"ann": "TYPEB_FITHRF.npy"}, "conditions": "names.txt"}
    with pytest.raises(ValueError, match=r"must hold GLMsingle's betas.*got R2"):
        open_dataset("folder", tmp_path, **settings)
    np.save(tmp_path / "TYPEB_FITHRF.npy", {"betasmd": np.zeros((3, 1, 1, 2), np.float32)})  # type: ignore[arg-type]
    with pytest.raises(MissingFileError, match=r"DESIGNINFO.npy or DESIGNINFO.mat"):
        open_dataset("folder", tmp_path, **settings)


def test_spm_betas_by_the_names_in_spm_mat(tmp_path: Path) -> None:
    betas = _study(tmp_path)
    names = ["Sn(1) c*bf(1)", "Sn(1) c*bf(2)", "Sn(1) a*bf(1)", "Sn(1) R1", "Sn(2) d*bf(1)", "Sn(2) b*bf(1)",
             "Sn(2) a*bf(1)", "Sn(2) constant"]  # fmt: skip
    regressors = np.array(names, dtype=object)[None]
    scipy.io.savemat(tmp_path / "SPM.mat", {"SPM": {"xX": {"name": regressors, "X": np.eye(8)}, "nscan": 3.0}})
    maps = iter(betas.transpose(3, 0, 1, 2))
    for number, name in enumerate(names, 1):
        values = next(maps) if name.endswith("*bf(1)") else np.full((4, 3, 2), 99, np.float32)
        nib.save(nib.Nifti1Image(values, AFFINE), tmp_path / f"beta_{number:04d}.nii")
    dataset = open_dataset("folder", tmp_path, responses={"ann": "beta_*.nii"}, stimulus_ids="SPM.mat")
    got = dataset.responses("ann", "all").values
    np.testing.assert_array_equal(got[:, 0], betas.reshape(24, 5).T[[1, 3, 0, 2]])
    np.testing.assert_array_equal(got[0, 1], betas[..., 4].ravel())  # session 2 of a


def test_fsl_copes_by_the_names_of_contrasts(tmp_path: Path) -> None:
    ids = tuple("abcdefghijk")
    betas = _study(tmp_path, ids)
    (tmp_path / "r.feat" / "stats").mkdir(parents=True)
    lines = [f"/ContrastName{number}\t{name}" for number, name in enumerate(reversed(ids), 1)]
    (tmp_path / "r.feat" / "design.con").write_text("\n".join([*lines, "/NumWaves 11", "/Matrix", "1 0"]))
    for number in range(1, 12):  # cope10 sorts before cope2
        image = nib.Nifti1Image(betas[..., 11 - number], AFFINE)
        nib.save(image, tmp_path / "r.feat" / "stats" / f"cope{number}.nii.gz")
    settings = {"responses": {"ann": "r.feat/stats/cope*.nii.gz"}, "stimulus_ids": "r.feat/design.con"}
    got = open_dataset("folder", tmp_path, **settings).responses("ann", "all").values
    np.testing.assert_array_equal(got[:, 0], betas.reshape(24, 11).T)


def test_nilearn_maps_that_are_named_by_their_condition(tmp_path: Path) -> None:
    betas = _study(tmp_path, ("a", "b"))
    for number, name in enumerate("ab"):
        image = nib.Nifti1Image(betas[..., number], AFFINE)
        nib.save(image, tmp_path / f"sub-01_contrast-{name}_stat-effect_statmap.nii.gz")
    pattern = "sub-{subject}_contrast-{stimulus}_stat-effect_statmap.nii.gz"
    got = open_dataset("folder", tmp_path, responses=pattern).responses("01", "all").values
    np.testing.assert_array_equal(got[:, 0], betas.reshape(24, 2).T)


def test_atlases_of_nilearn_are_read_where_they_are_and_never_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nilearn")
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "atlases"))
    monkeypatch.setenv("NILEARN_SHARED_DATA", str(tmp_path / "none"))
    monkeypatch.setattr("requests.Session.send", lambda *_, **__: pytest.fail("downloads"))
    write_images(tmp_path / "stimuli", ("a", "b"))
    (tmp_path / "stimulus_ids.txt").write_text("a\nb")
    values = RNG.standard_normal((*GRID, 2)).astype(np.float32)
    (tmp_path / "responses").mkdir()
    image = tmp_path / "responses" / "sub-01_space-MNI152NLin2009cAsym_betas.nii.gz"
    nib.save(nib.Nifti1Image(values, AFFINE), image)
    mask = "nilearn:schaefer_2018(n_rois=100, resolution_mm=2)[7Networks_LH_*; 2]"
    settings: dict[str, Any] = {"masks": {"left": mask}}
    with pytest.raises(MissingFileError, match=r"fetch it with python -c .*fetch_atlas_schaefer_2018.*n_rois=100"):
        open_dataset("folder", tmp_path, **settings)
    folder = tmp_path / "atlases" / "schaefer_2018"
    folder.mkdir(parents=True)
    labels = RNG.integers(0, 4, (20, 20, 20)).astype(np.int16)
    finer = AFFINE @ np.diag([0.5, 0.5, 0.5, 1.0])
    stem = "Schaefer2018_100Parcels_7Networks_order"
    nib.save(nib.Nifti1Image(labels, finer), folder / f"{stem}_FSLMNI152_2mm.nii.gz")
    rows = ["1\t7Networks_LH_Vis_1\t1\t1\t1\t0", "2\t7Networks_RH_Vis_1\t1\t1\t1\t0", "3\tother\t1\t1\t1\t0"]
    (folder / f"{stem}.txt").write_text("\n".join(rows) + "\n")
    got = open_dataset("folder", tmp_path, **settings)
    subject = got.subjects[0]
    inside = np.isin(labels[::2, ::2, ::2][: GRID[0], : GRID[1], : GRID[2]], (1, 2))
    expected = np.zeros(GRID, bool)
    expected[: inside.shape[0], : inside.shape[1], : inside.shape[2]] = inside
    np.testing.assert_array_equal(got.responses(subject, "left").values[:, 0], values[expected].T)
    assert any(path.name.startswith("Schaefer") for path in got.response_files(subject, "left"))
    image.rename(image.with_name("sub-01_space-T1w_betas.nii.gz"))
    with pytest.raises(AlignmentError, match=r"lies in MNI coordinates; got .*T1w"):
        open_dataset("folder", tmp_path, **settings)
