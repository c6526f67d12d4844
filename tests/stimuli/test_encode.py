from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.stimuli.clips import chunks, header, ramp
from voxelcast.core.errors import DataError, OptionError, ShapeError, UnwritableError
from voxelcast.stimuli.encode import write_video


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:48, :64]
    smooth = np.stack([np.stack([columns * 3, rows * 4, 60 + 4 * k + 0 * rows], -1) for k in range(20)]).astype(
        np.uint8
    )
    write_video(tmp_path / "a.mp4", smooth, 15)
    (chunk,) = chunks(tmp_path / "a.mp4", every=1, chunk=32)
    assert np.abs(chunk.frames.astype(int) - smooth).mean() < 2
    assert np.allclose(chunk.times, np.arange(20) / 15)
    stream = header(tmp_path / "a.mp4")
    codec = stream.codec_context
    assert (codec.name, codec.width, codec.height, stream.average_rate, stream.frames) == ("h264", 64, 48, 15, 20)
    assert float(stream.duration * stream.time_base) == pytest.approx(20 / 15)


def test_same_frames_give_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    written = set()
    for size in rng.integers(1, 200_000, 40):
        rng.random(int(size))  # so that freed memory differs from call to call
        write_video(tmp_path / "a.mp4", frames, 15)
        written.add((tmp_path / "a.mp4").read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize(
    ("frames", "fps", "error", "words"),
    [
        (ramp(2, 31, 32), 10, ShapeError, "even height and width"),
        (ramp(2)[0], 10, ShapeError, "shape"),
        (ramp(0), 10, ShapeError, "shape"),
        (ramp(2).astype(float), 10, DataError, "uint8"),
        (ramp(2), 0, OptionError, "fps"),
    ],
)
def test_frames_that_cannot_be_written(
    tmp_path: Path, frames: np.ndarray, fps: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        write_video(tmp_path / "a.mp4", frames, fps)
    assert not (tmp_path / "a.mp4").exists()


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match="No such file or directory"):
        write_video(tmp_path / "absent" / "a.mp4", ramp(2), 10)
