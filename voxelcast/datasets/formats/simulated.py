"""Simulated data sets: real videos and responses in the layout of the Algonauts 2021 challenge, with a known truth.

A simulation is written in two steps, since a network has to look at the videos in between: :func:`write_videos`, then
:func:`write_responses` with the features of the layers that drive the ROIs. :func:`write_simulation` does both.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from numpy.typing import NDArray

from voxelcast.core.errors import DataError, MissingFileError, ShapeError, StoreError
from voxelcast.core.progress import SILENT, Progress
from voxelcast.core.seeds import derive_seed
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets.base import Dataset, DatasetFacts, ResponseSet, Split
from voxelcast.datasets.formats import algonauts2021 as layout
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS, SUBJECTS
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.settings import DatasetSettings, Names, select_names
from voxelcast.datasets.simulation.plan import Driver, SimulationPlan
from voxelcast.datasets.simulation.responses import add_noise, driving_components, planted_signal
from voxelcast.datasets.simulation.videos import draw_clip
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.atomic import atomic_path, save_array, write_bytes, write_json
from voxelcast.store.readers.arrays import open_npy
from voxelcast.store.readers.plain import read_json

Extract = Callable[[tuple[Stimulus, ...], frozenset[Driver]], Mapping[Driver, NDArray[Any]]]
"""Features of driving layers for some stimuli: each an array of shape (n_stimuli, n_features)."""

_PLAN, _TRUTH = Path("truth") / "plan.json", Path("truth") / "truth.json"


def write_simulation(
    root: Path, plan: SimulationPlan, extract: Extract, *, progress: Progress = SILENT, threads: int = 1
) -> None:
    """Write the videos, have the driving features extracted from them, and write the responses.

    ``extract`` is given the stimuli and the (network, layer) pairs needed. Raises StoreError where ``root`` already
    holds another simulation.
    """
    stimuli = write_videos(plan, root, progress=progress, threads=threads)
    needed = frozenset(plan.drivers[roi] for roi in plan.rois)
    write_responses(plan, root, extract(stimuli, needed), progress=progress)


def write_videos(
    plan: SimulationPlan, root: Path, *, progress: Progress = SILENT, threads: int = 1
) -> tuple[Stimulus, ...]:
    """Write the videos that are not there yet, and return them: training videos, then test videos.

    Each is whole or absent, so an interrupted call can be repeated; ``threads`` of them at a time. Raises StoreError
    where ``root`` already holds another simulation, or other data.
    """
    from voxelcast.stimuli.encode import write_video  # needs PyAV, which reading a simulation of responses does not

    folder = root / layout.VIDEO_FOLDER
    if not (root / _PLAN).is_file():
        if any((root / name).exists() for name in (layout.VIDEO_FOLDER, layout.RESPONSE_FOLDER, Path(_PLAN).parts[0])):
            raise StoreError(f"{root} holds data that are no simulation; nothing was written; choose another folder")
        write_json(root / _PLAN, asdict(plan))
    elif not _holds(root, plan):
        raise StoreError(f"{root} holds another simulation; nothing was written; choose another folder or remove that")
    n_videos = plan.n_train + plan.n_test

    def write(number: int) -> None:
        path = folder / f"{number:04d}_simulated-{derive_seed(plan.seed, 'name', number)}.mp4"
        if not path.is_file():
            with atomic_path(path) as temporary:
                write_video(temporary, draw_clip(plan.seed, number, plan.n_frames, plan.size), plan.fps)

    progress.start("writing videos", n_videos, "video")
    with ThreadPoolExecutor(threads) as pool:
        try:
            for _ in pool.map(write, range(1, n_videos + 1)):
                progress.advance()
        finally:
            pool.shutdown(cancel_futures=True)
    progress.finish()
    stimuli = layout.list_videos(root, plan.n_train, plan.n_test)
    return stimuli["train"] + stimuli["test"]


def write_responses(
    plan: SimulationPlan, root: Path, signals: Mapping[Driver, NDArray[Any]], *, progress: Progress = SILENT
) -> None:
    """Write the responses that the driving features give, and the truth.

    Training responses go to ``participants_data_v2021/mini_track/<subject>/<ROI>.pkl`` as the challenge's do (float32);
    test responses to ``truth/<subject>_<ROI>_test.npy`` of shape (n_test, n_test_repetitions, n_voxels); what was
    planted to ``truth/truth.json``. The model stands in :mod:`voxelcast.datasets.simulation.responses`.

    ``signals`` are the features (n_train + n_test, n_features) of every layer that drives an ROI, for the videos in
    sorted order. Raises StoreError where ``root`` holds another simulation or none, ShapeError, DataError where
    features are missing, or do not fit the number of videos.
    """
    if not (root / _PLAN).is_file() or not _holds(root, plan):
        raise StoreError(f"{root} holds no videos of this plan; write the videos first, with the same plan")
    components = _components(plan, signals)
    pairs = [(subject, roi) for subject in plan.subjects for roi in plan.voxels[subject]]
    progress.start("writing responses", len(pairs), "subject x ROI")
    for subject, roi in pairs:
        seed = derive_seed(plan.seed, "responses", subject, roi)
        signal = planted_signal(components[plan.drivers[roi]], plan.voxels[subject][roi], seed=seed)
        shares = {"signal_share": plan.signal_share(roi), "shared_noise": plan.shared_noise}
        train = add_noise(signal[: plan.n_train], plan.n_repetitions, seed=seed, part="train", **shares)
        test = add_noise(signal[plan.n_train :], plan.n_test_repetitions, seed=seed, part="test", **shares)
        path = layout.response_path(root / layout.RESPONSE_FOLDER, subject, roi)
        write_bytes(path, pickle.dumps({"train": train}, protocol=4))
        save_array(layout.true_test_path(root, subject, roi), test)
        progress.advance()
    progress.finish()
    write_json(root / _TRUTH, _truth(plan, pairs))


def _holds(root: Path, plan: SimulationPlan) -> bool:
    return bool(_read_json(root / _PLAN) == json.loads(json.dumps(asdict(plan))))


def _components(plan: SimulationPlan, signals: Mapping[Driver, NDArray[Any]]) -> dict[Driver, NDArray[Any]]:
    components = {}
    for driver in sorted({plan.drivers[roi] for roi in plan.rois}):
        if driver not in signals:
            raise DataError(f"signals must hold the features of {driver}, which drives an ROI; got {sorted(signals)}")
        if len(signals[driver]) != plan.n_train + plan.n_test:
            raise ShapeError(
                f"signals of {driver} must have shape (n_train + n_test={plan.n_train + plan.n_test}, n_features); "
                f"got {signals[driver].shape}"
            )
        components[driver] = driving_components(signals[driver], plan.n_train, plan.n_components)
    return components


def _truth(plan: SimulationPlan, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "plan": asdict(plan),
        "pairs": [
            {
                "subject": subject,
                "roi": roi,
                "network": plan.drivers[roi][0],
                "layer": plan.drivers[roi][1],
                "n_voxels": plan.voxels[subject][roi],
                "signal_share": plan.signal_share(roi),
                "noise_ceiling_r_train": plan.noise_ceiling_r(roi, plan.n_repetitions),
                "noise_ceiling_r_test": plan.noise_ceiling_r(roi, plan.n_test_repetitions),
            }
            for subject, roi in pairs
        ],
    }


def _read_json(path: Path) -> Any:
    try:
        return read_json(path, "simulation", "remove the simulation")
    except DataError as error:
        raise StoreError(str(error)) from error


@settings
class SimulatedSettings(DatasetSettings):
    """Settings of `SimulatedDataset`."""

    _: KW_ONLY
    kind: Literal["simulated"] = "simulated"
    subjects: Annotated[Names, NO_EFFECT] = "all"


@register_dataset
class SimulatedDataset(Dataset):
    """A simulation written by :func:`write_simulation`; its test responses and its truth are known."""

    Settings = SimulatedSettings
    facts: ClassVar[DatasetFacts] = DatasetFacts(
        title="Simulated responses to synthetic videos, with a planted truth",
        unit="standard deviation of one presentation",
        licence="made by voxelcast, free to use",
        citation="none",
    )

    def __init__(self, settings: SimulatedSettings) -> None:
        self._root = settings.root
        if not (self._root / _TRUTH).is_file():
            raise MissingFileError(
                f"simulation not found: {self._root / _TRUTH} does not exist; write one with voxelcast simulate"
            )
        self._truth: dict[str, Any] = _read_json(self._root / _TRUTH)
        plan = self._truth["plan"]
        self._repetitions = {"train": int(plan["n_repetitions"]), "test": int(plan["n_test_repetitions"])}
        self._voxels: dict[str, dict[str, int]] = plan["voxels"]
        self._subjects = select_names("subject", settings.subjects, tuple(self._voxels), f"in {self._root}")
        known_rois = tuple(dict.fromkeys(roi for named in self._voxels.values() for roi in named))
        chosen = select_names("ROI", settings.rois, known_rois, f"in {self._root}")
        self._rois = {name: [roi for roi in chosen if roi in self._voxels[name]] for name in self._subjects}
        sizes, again = (int(plan["n_train"]), int(plan["n_test"])), "remove the folder and simulate it again"
        self._stimuli = layout.list_videos(self._root, *sizes, remedy=again)
        layout.check_response_files(self)

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Read the responses; values of shape (n_stimuli, n_repetitions, n_voxels), float32."""
        train_path, test_path = self.response_files(subject, roi)
        if split == "train":
            values = layout.read_train_responses(
                train_path, subject, roi, len(self.train_stimuli), self._repetitions["train"]
            )
        else:
            values = open_npy(test_path, "test responses")
        return ResponseSet(subject, roi, self.stimulus_ids(split), values, self.facts.unit)

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the pickle of training responses and the array of test responses."""
        self.check_roi(subject, roi)
        return (
            layout.response_path(self._root / layout.RESPONSE_FOLDER, subject, roi),
            layout.true_test_path(self._root, subject, roi),
        )

    @property
    def has_test_responses(self) -> bool:
        """Whether there are test videos; their responses are part of the truth."""
        return bool(self.test_stimuli)

    def truth(self) -> dict[str, Any]:
        """Return what was planted: the plan, and per subject and ROI the driver, signal share and noise ceilings."""
        return self._truth

    @property
    def submission_track(self) -> Literal["mini", "full"] | None:
        """Track ``mini`` where subjects and ROIs are the challenge's, as they must be in a submission."""
        fits = self._subjects == SUBJECTS and all(set(self.rois(subject)) == set(MINI_ROIS) for subject in SUBJECTS)
        return "mini" if fits else None

    @property
    def submission_voxels(self) -> Mapping[str, Mapping[str, int]] | None:
        """Voxels per subject and ROI of the simulation, also of those not chosen."""
        return self._voxels
