"""A folder of pictures as one stimulus with many frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from voxelcast.core.errors import StimulusError
from voxelcast.stimuli.decode import iter_frames
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """Two conditions of pictures, whose grey is the number in their name; 10 is larger than the others."""
    for condition, levels in (("faces", (1, 2, 10)), ("houses", (7,))):
        (tmp_path / condition).mkdir()
        for level in levels:
            side = 6 if level == 10 else 4
            Image.fromarray(np.full((side, side, 3), level, np.uint8)).save(tmp_path / condition / f"p{level}.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "faces" / "notes.txt").write_text("x")
    return tmp_path


def _greys(stimulus: Stimulus, sampling: FrameSampling) -> list[int]:
    return [int(frame[0, 0, 0]) for chunk in iter_frames(stimulus, sampling) for frame in chunk.frames]


def test_each_folder_is_a_stimulus_and_its_pictures_are_frames(shown: Path) -> None:
    faces, houses = list_stimuli(shown)
    assert (faces.stimulus_id, houses.stimulus_id) == ("faces", "houses")
    assert not faces.is_image
    assert _greys(faces, FrameSampling(every=1)) == [1, 2, 10]  # in natural order
    assert _greys(faces, FrameSampling(every=2)) == [1, 10]
    assert _greys(faces, FrameSampling(n=1)) == [2]
    assert _greys(houses, FrameSampling(every=1)) == [7]


def test_its_content_is_that_of_its_pictures(shown: Path) -> None:
    faces, _ = list_stimuli(shown)
    before = faces.content_hash()
    assert Stimulus("other", shown / "faces").content_hash() == before
    (shown / "faces" / "p2.png").write_bytes((shown / "houses" / "p7.png").read_bytes())
    assert Stimulus("faces", shown / "faces").content_hash() != before


def test_a_damaged_picture_is_named(shown: Path) -> None:
    (shown / "faces" / "p2.png").write_bytes(b"no picture")
    with pytest.raises(StimulusError, match=r"p2\.png: cannot be read as an image"):
        _greys(list_stimuli(shown)[0], FrameSampling(every=1))


def test_files_go_before_folders(shown: Path) -> None:
    (shown / "one.png").write_bytes((shown / "houses" / "p7.png").read_bytes())
    assert [stimulus.stimulus_id for stimulus in list_stimuli(shown)] == ["one"]
