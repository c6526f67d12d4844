"""A BIDS study as a lab has it: raw data with events, single-trial betas and ROI masks as derivatives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from voxelcast.core.progress import Silent
from voxelcast.datasets.formats.simulated import SimulatedDataset, SimulatedSettings
from voxelcast.datasets.simulation.plan import SimulationPlan
from voxelcast.experiment.simulation import simulate
from voxelcast.stimuli.sampling import FrameSampling

ENERGY = "voxelcast/motion_energy"
DRIVERS = {"V1": (ENERGY, "static.1"), "V4": (ENERGY, "colour"), "EBA": (ENERGY, "motion.4")}
SUBJECTS, SESSIONS, RUNS = ("sub-01", "sub-02"), ("ses-01", "ses-02"), ("run-1", "run-2")
GRID, N_VOXELS = (8, 9, 7), 20
AFFINE = np.array([[2.0, 0, 0, -8], [0, 2, 0, -9], [0, 0, 2, -7], [0, 0, 0, 1]])


N_VIDEOS = 40
VIDEOS = tuple(f"vid{number:02d}" for number in range(1, N_VIDEOS + 1))

Values = dict[tuple[str, str], np.ndarray]
"""Betas by subject and ROI, (n_videos, n_sessions, n_voxels)."""


def random_values(seed: int = 0) -> Values:
    """Betas that are noise."""
    rng = np.random.default_rng(seed)
    shape = N_VIDEOS, len(SESSIONS), N_VOXELS
    return {(subject, roi): rng.standard_normal(shape).astype(np.float32) for subject in SUBJECTS for roi in DRIVERS}


def planted_values(work: Path, seed: int = 1) -> tuple[Values, list[Path]]:
    """Betas driven by layers (`DRIVERS`), and the videos."""
    voxels = {subject: dict.fromkeys(DRIVERS, N_VOXELS) for subject in SUBJECTS}
    plan = SimulationPlan(
        seed, N_VIDEOS, 0, voxels, DRIVERS, fps=6, size=32, n_repetitions=len(SESSIONS), signal=0.5, n_components=5
    )
    simulate(work, plan, (), sampling=FrameSampling(every=1), seed=seed, progress=Silent())
    simulated = SimulatedDataset(SimulatedSettings(work))
    values = {(subject, roi): simulated.responses(subject, roi).values for subject in SUBJECTS for roi in DRIVERS}
    return values, [stimulus.path for stimulus in simulated.train_stimuli]


def write_study(root: Path, values: Values, videos: list[Path] | None = None, seed: int = 1) -> None:
    """Write 2 subjects x 2 sessions x 2 runs, each video once a session; without ``videos`` empty files."""
    (root / "stimuli").mkdir(parents=True)
    for place, name in enumerate(VIDEOS):
        if videos is None:
            (root / "stimuli" / f"{name}.mp4").touch()
        else:
            shutil.copy(videos[place], root / "stimuli" / f"{name}.mp4")
    _write_top(root)
    rng = np.random.default_rng(seed)
    places = rng.permutation(np.prod(GRID))[: N_VOXELS * len(DRIVERS)].reshape(len(DRIVERS), N_VOXELS)
    anatomy = rng.normal(100, 9, GRID).astype(np.int16)
    for subject in SUBJECTS:
        _write_masks(root / "derivatives" / "rois", subject, places)
        for number, session in enumerate(SESSIONS):
            _image(root / subject / session / "anat" / f"{subject}_{session}_T1w.nii.gz", anatomy)
            for run, shown in zip(RUNS, np.split(rng.permutation(N_VIDEOS), len(RUNS)), strict=True):
                stem = f"{subject}_{session}_task-videos_{run}"
                func = root / subject / session / "func"
                _image(func / f"{stem}_bold.nii.gz", rng.normal(100, 1, (*GRID, 44)).astype(np.int16), tr=2.0)
                _write_events(func / f"{stem}_events.tsv", [VIDEOS[video] for video in shown])
                betas = rng.standard_normal((len(shown), np.prod(GRID))).astype(np.float32)
                for at, roi in zip(places, DRIVERS, strict=True):
                    betas[:, np.sort(at)] = values[subject, roi][shown, number]
                folder = root / "derivatives" / "glmsingle" / subject / session / "func"
                _image(folder / f"{stem}_space-T1w_desc-singletrial_betas.nii.gz", betas.T.reshape(*GRID, -1))


def _write_top(root: Path) -> None:
    about = "A simulated study: short videos, two sessions of two runs, each video once a session, 2 s after another. "
    (root / "README").write_text(about * 3)
    _json(root / "dataset_description.json", Name="Videos", BIDSVersion="1.10.0", DatasetType="raw", Authors=["A", "B"])
    _json(root / "task-videos_bold.json", TaskName="videos", RepetitionTime=2.0)
    events = {"stim_file": {"Description": "The video that was shown"}, "response_time": {"Units": "s"}}
    _json(root / "task-videos_events.json", **events)
    (root / "participants.tsv").write_text("\n".join(["participant_id\tsex", *(f"{s}\tF" for s in SUBJECTS)]) + "\n")
    _json(root / "participants.json", sex={"Description": "self-reported", "Levels": {"F": "female"}})
    for name in ("glmsingle", "rois"):
        (root / "derivatives" / name).mkdir(parents=True)
        made = [{"Name": name}]
        about = root / "derivatives" / name / "dataset_description.json"
        _json(about, Name=name, BIDSVersion="1.10.0", DatasetType="derivative", GeneratedBy=made)


def _write_events(path: Path, shown: list[str]) -> None:
    """Write a row per video, and between them rows without one, in the order of BIDS: by onset."""
    lines = ["onset\tduration\ttrial_type\tresponse_time\tstim_file", "0.0\t4.0\tfixation\tn/a\tn/a"]
    for place, name in enumerate(shown):
        lines.append(f"{4 + 4 * place:.1f}\t1.0\tvideo\tn/a\t{name}.mp4")
        if place % 5 == 0:
            lines.append(f"{6.2 + 4 * place}\t0\tbutton\t0.61\tn/a")
    path.write_text("\n".join(lines) + "\n")


def _write_masks(root: Path, subject: str, places: np.ndarray) -> None:
    for at, roi in zip(places, DRIVERS, strict=True):
        mask = np.zeros(np.prod(GRID), np.uint8)
        mask[at] = 1
        stem = root / subject / "anat" / f"{subject}_space-T1w_label-{roi}_mask"
        _image(stem.with_name(stem.name + ".nii.gz"), mask.reshape(GRID))
        _json(stem.with_name(stem.name + ".json"), Type="ROI", SpatialReference="orig", Sources=[])


def _image(path: Path, values: np.ndarray, tr: float | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, AFFINE)
    if tr is not None:
        image.header.set_zooms((2.0, 2.0, 2.0, tr))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


def _json(path: Path, **content: Any) -> None:
    path.write_text(json.dumps(content, indent=2))
