"""Pictures and an array of responses to them."""

from __future__ import annotations

from dataclasses import KW_ONLY
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from voxelcast.core.checks import check_known
from voxelcast.core.errors import MissingFileError
from voxelcast.core.settings import settings
from voxelcast.datasets.base import Dataset, DatasetFacts, ResponseSet, Split
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.stimuli.stimulus import Stimulus


@settings
class LabSettings(DatasetSettings):
    """``held_out``: how many of the last pictures are predicted."""

    _: KW_ONLY
    kind: Literal["lab"] = "lab"
    held_out: int = 8


@register_dataset
class LabDataset(Dataset):
    """``pictures/*.png`` and ``responses.npy`` (n_pictures, n_repetitions, n_voxels) of one animal."""

    Settings = LabSettings
    challenge = "lab"
    facts = DatasetFacts(title="Our recordings", unit="spikes/s", licence="ours", citation="in preparation")
    subjects = ("monkey",)
    has_test_responses = True
    submission_track = "lab"

    def __init__(self, settings: LabSettings) -> None:
        self._path, self._held_out = settings.root / "responses.npy", settings.held_out
        if not self._path.is_file():
            raise MissingFileError(f"responses not found: {self._path} does not exist")
        self._stimuli = list_stimuli(settings.root / "pictures")

    @classmethod
    def expected_files(cls, settings: LabSettings) -> tuple[Expected, ...]:
        return (Expected("responses", settings.root / "responses.npy"),)

    @property
    def train_stimuli(self) -> tuple[Stimulus, ...]:
        return self._stimuli[: -self._held_out]

    @property
    def test_stimuli(self) -> tuple[Stimulus, ...]:
        return self._stimuli[-self._held_out :]

    def rois(self, subject: str) -> tuple[str, ...]:
        check_known("subject", subject, self.subjects)
        return ("IT",)

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        self.check_roi(subject, roi)
        values = np.load(self._path)
        part = values[: -self._held_out] if split == "train" else values[-self._held_out :]
        return ResponseSet(subject, roi, self.stimulus_ids(split), part, self.facts.unit)

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        self.check_roi(subject, roi)
        return (self._path,)


def write_miniature(root: Path, seed: int) -> LabSettings:
    """Forty pictures of one colour each, which drives the responses."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (40, 3))
    (root / "pictures").mkdir(parents=True)
    for number, colour in enumerate(colours):
        picture = np.broadcast_to(colour.astype(np.uint8), (32, 32, 3))
        Image.fromarray(np.ascontiguousarray(picture)).save(root / "pictures" / f"{number:02d}.png")
    driven = (colours / 255.0) @ rng.standard_normal((3, 5))
    np.save(root / "responses.npy", driven[:, None] + 0.1 * rng.standard_normal((40, 4, 5)))
    return LabSettings(root)
