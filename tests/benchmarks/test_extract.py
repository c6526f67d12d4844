"""The extraction benchmarks at a small size: that both sides do the same, not how long it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import memory
from benchmarks.clips import ClipFrames, make_clips
from benchmarks.extract import Extraction, benchmark_extract, frame_by_frame
from voxelcast.core.errors import OptionError
from voxelcast.networks.extract import StimulusFeatures, extract
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.encode import write_video
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

SMALL = ("features.3", "features.12")


@pytest.mark.slow
def test_both_sides_see_the_same_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", make_clips(1)[0][:20], 30)
    extraction = Extraction("torchvision/squeezenet1_1", SMALL, precision="float32")
    network, stimulus, sampling = extraction.load(), Stimulus("a", tmp_path / "a.mp4"), FrameSampling(every=5)
    (ours,) = extract(network, [stimulus], ExtractionSettings(sampling))
    (theirs,) = frame_by_frame(network, [stimulus], sampling)
    assert isinstance(ours, StimulusFeatures)
    for layer in network.layers:
        # Pillow rounds the resized pixels to bytes.
        assert np.abs(ours.features[layer] - theirs[layer]).max() < 2e-2 * np.abs(theirs[layer]).max(), layer
        assert np.corrcoef(ours.features[layer], theirs[layer])[0, 1] > 0.9999, layer


@pytest.mark.slow
def test_says_rates_and_errors() -> None:
    found = benchmark_extract(
        Extraction("torchvision/squeezenet1_1", SMALL, every=45, clips=2, reference_clips=1, workers=1)
    )
    assert found.least_correlation > 0.9999
    assert 0 < found.largest_error < 0.05
    assert min(found.reference, found.forward, found.from_memory, found.from_files) > 0
    assert "2 layers pooled over time, 2 clips" in found.lines()[0]
    assert found.by_gpus == {}


@pytest.mark.slow
def test_memory_is_announced_as_it_is_taken() -> None:
    said: list[str] = []
    extraction = memory.Extraction("torchvision/squeezenet1_1", SMALL, every=45, stimuli=5, components=3)
    found = memory.benchmark_memory(extraction, announce=said.append)
    features = sum(found.features.values())
    assert found.disk_bytes == 4 * 5 * features
    assert 0 <= found.used_bytes - found.disk_bytes <= 2 * 512  # the heads of two containers
    assert "of scratch disk" in said[0]
    assert found.components == 3


def test_clips_repeat_and_shift() -> None:
    clips = [clip[::45] for clip in make_clips(1)]
    assert clips[0].shape == (2, 268, 268, 3)
    assert clips[0].dtype == np.uint8
    plain, shifted = ClipFrames(clips, 30), ClipFrames(clips, 30, shifted=True)
    ((again,), (moved,)) = plain.chunks(1), shifted.chunks(1)
    np.testing.assert_array_equal(again.frames, clips[0])
    np.testing.assert_array_equal(moved.frames, np.roll(clips[0], 1, axis=2))


def test_bad_options_are_refused() -> None:
    with pytest.raises(OptionError, match="device"):
        Extraction(device="tpu")
    with pytest.raises(OptionError, match="at least 1"):
        Extraction(every=0)
