"""Miniature data sets for the tests of this room."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.datasets.series_files import SETTINGS, write_series
from voxelcast.datasets.folder_settings import FolderSettings
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS, SUBJECTS
from voxelcast.datasets.formats.simulated import SimulatedSettings, write_responses, write_videos
from voxelcast.datasets.simulation.plan import SimulationPlan
from voxelcast.datasets.time_series import TimeSeriesSettings

N_TRAIN, N_TEST = 6, 3
PLAN = SimulationPlan(
    seed=3,
    n_train=12,
    n_test=5,
    voxels={"sub01": {"V1": 4, "FFA": 3}, "sub02": {"V1": 5}},
    drivers={"V1": ("net", "early"), "FFA": ("net", "late")},
    fps=4,
    seconds=1.0,
    size=16,
)


def write_challenge(
    root: Path,
    *,
    subjects: Sequence[str] = SUBJECTS,
    rois: Sequence[str] = MINI_ROIS,
    full: bool = True,
    deep: str = "",
) -> dict[tuple[str, str], np.ndarray]:
    """Write the layout of Algonauts 2021 with 6 + 3 empty videos; return the responses written."""
    videos = root / deep / "AlgonautsVideos268_All_30fpsmax"
    videos.mkdir(parents=True)
    for number in range(N_TRAIN + N_TEST):
        (videos / f"{number + 1:04d}_0-0-1-{977 * (number + 3) % 1000}.mp4").touch()
    written = {}
    rng = np.random.default_rng(0)
    for place, subject in enumerate(subjects):
        for roi in (*rois, "WB") if full else rois:
            content: dict[str, np.ndarray] = {"train": rng.standard_normal((N_TRAIN, 3, 2 + place))}
            track = "mini_track"
            if roi == "WB":
                track = "full_track"
                content["voxel_mask"] = np.zeros((78, 93, 71))
                content["voxel_mask"].flat[:: 78 * 93 * 71 // (2 + place) + 1] = 1
            path = root / deep / "participants_data_v2021" / track / subject / f"{roi}.pkl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(content, protocol=2))
            written[subject, roi] = content["train"]
    return written


def write_images(folder: Path, names: Sequence[str]) -> None:
    """Write an 8 x 8 picture of each name."""
    folder.mkdir(parents=True, exist_ok=True)
    for level, name in enumerate(names):
        Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(folder / f"{name}.png")


def planted_features(plan: SimulationPlan) -> dict[tuple[str, str], np.ndarray]:
    """Random features of the driving layers."""
    rng = np.random.default_rng(plan.seed)
    return {driver: rng.standard_normal((plan.n_train + plan.n_test, 30)) for driver in set(plan.drivers.values())}


def make_folder(root: Path) -> FolderSettings:
    names = [f"img{number}" for number in (3, 1, 2, 5, 4)]
    write_images(root / "stimuli", names)
    (root / "responses").mkdir()
    for place, subject in enumerate(("ann", "bob")):
        np.save(root / "responses" / f"{subject}.npy", np.random.default_rng(place).standard_normal((5, 4 + place)))
    (root / "stimulus_ids.txt").write_text("\n".join(names))
    (root / "rois.csv").write_text("voxel,roi\n0,V1\n2,V1\n3,V4\n2,V4\n")
    (root / "split.csv").write_text(
        "stimulus_id,split\n" + "".join(f"{n},{'test' if n in ('img2', 'img5') else 'train'}\n" for n in names)
    )
    (root / "groups.csv").write_text("stimulus_id,group\n" + "".join(f"{n},g{i // 2}\n" for i, n in enumerate(names)))
    return FolderSettings(root)


def make_simulated(root: Path) -> SimulatedSettings:
    write_videos(PLAN, root)
    write_responses(PLAN, root, planted_features(PLAN))
    return SimulatedSettings(root)


def make_time_series(root: Path) -> TimeSeriesSettings:
    write_series(root)
    return TimeSeriesSettings(root, **SETTINGS, test_runs=["run2"], drop_first=2)


OPENED: dict[str, dict[str, Any]] = {
    "algonauts2021": {},
    "algonauts2023": {"subject": "subj02", "rois": ["lh", "V1", "rh_EBA"]},
    "algonauts2025": {},
    "bold_moments": {"rois": ["V1", "lEBA", "BMDgeneral"]},
}
"""How the shared miniatures are opened."""

MAKERS = {"folder": make_folder, "simulated": make_simulated, "time_series": make_time_series}
"""Datasets of the other kinds."""
