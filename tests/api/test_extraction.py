"""Features of stimuli in files and in memory, labelled."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import voxelcast as vc
from tests.experiment.miniature import ENERGY, write_dataset
from voxelcast.core.errors import AlignmentError, DataError, OptionError, ShapeError, StimulusError
from voxelcast.core.progress import LineProgress, TerminalProgress, python_progress
from voxelcast.networks.base import Network
from voxelcast.stimuli.decode import iter_frames
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.stimuli.sampling import FrameSampling


@pytest.fixture(scope="module")
def network() -> Network:
    return vc.load_network(ENERGY, layers=["colour"], input_size=64)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("clips") / "data", n=4, videos=True)


def test_all_layers_are_not_the_letters_of_all() -> None:
    assert len(vc.load_network(ENERGY, layers="all", input_size=64).layers) > 3
    assert vc.load_network(ENERGY, layers="colour", input_size=64).layers == ("colour",)


def test_files_folders_and_frames_in_memory_give_the_same_features(clips: Path, network: Network) -> None:
    dataset = vc.open_dataset("folder", clips)
    stimuli = list_stimuli(clips / "stimuli")
    of_dataset = vc.extract(dataset, network)["colour"]
    assert of_dataset.dims == ("stimulus", "feature")
    assert of_dataset.dtype == np.float32
    assert of_dataset.attrs["layer"] == "colour"
    frames = {
        stimulus.stimulus_id: np.concatenate([chunk.frames for chunk in iter_frames(stimulus, FrameSampling(every=1))])
        for stimulus in stimuli
    }
    for given in (clips / "stimuli", str(clips / "stimuli"), [s.path for s in stimuli], stimuli, frames):
        np.testing.assert_allclose(vc.extract(given, network)["colour"].sel(stimulus=of_dataset.stimulus), of_dataset)
    stacked = vc.extract(np.stack(list(frames.values())), network)["colour"]
    assert "stimulus" not in stacked.coords
    np.testing.assert_allclose(stacked, of_dataset.sel(stimulus=list(frames)))
    chosen = {"frames": FrameSampling(n=2), "pool": "none", "spatial_pool": "mean"}
    timed = vc.extract(frames, network, **chosen)["colour"]
    assert timed.dims == ("stimulus", "time", "feature")
    assert timed.sizes["time"] == 2


def test_a_broken_stimulus_is_left_out_where_that_is_asked_for(clips: Path, network: Network, tmp_path: Path) -> None:
    files = [next((clips / "stimuli").iterdir()), tmp_path / "broken.mp4"]
    files[1].write_bytes(b"nothing")
    with pytest.raises(StimulusError):
        vc.extract(files, network)
    assert list(vc.extract(files, network, on_broken="skip")["colour"].stimulus.values) == [files[0].stem]
    with pytest.raises(DataError, match="none of 1 stimuli"):
        vc.extract(files[1:], network, on_broken="skip")


@pytest.mark.parametrize(
    ("stimuli", "error"),
    [
        (np.zeros((2, 8, 8), dtype=np.uint8), ShapeError),
        ({"a": np.zeros((8, 8, 3))}, DataError),
        (np.zeros((2, 8, 8, 3)), OptionError),
        ([], OptionError),
        (["a/x.png", "b/x.png"], AlignmentError),
    ],
    ids=["grey", "floats", "floats in one array", "nothing", "one name twice"],
)
def test_other_stimuli_are_refused(stimuli: Any, error: type[Exception], network: Network) -> None:
    with pytest.raises(error):
        vc.extract(stimuli, network)


def test_progress_goes_to_bars_or_to_logging(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    pictures = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    with caplog.at_level(logging.INFO, "voxelcast"):
        vc.extract(pictures, network)
        assert not caplog.messages
        vc.extract(pictures, network, progress=True)
    assert caplog.messages[0] == f"features of {ENERGY}: 2 to do (unit: stimulus)"
    assert {record.name for record in caplog.records} == {"voxelcast.extract"}
    own = LineProgress(lambda line: None)
    assert python_progress(own, "voxelcast") is own


def test_there_are_bars_in_a_notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ipykernel", object())
    bars = python_progress(True, "voxelcast")
    assert isinstance(bars, TerminalProgress)
    bars.start("work", 2, "step")
    bars.advance()
    bars.note("a note")
    bars.finish()
    assert "a note" in capsys.readouterr().err
