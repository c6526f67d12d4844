from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.stimuli.clips import as_stimulus, chunks, count, header, kept_of, numbers, ramp, remux
from voxelcast.core.errors import MissingFileError, OptionError, StimulusError
from voxelcast.stimuli.decode import iter_frames
from voxelcast.stimuli.encode import write_video
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.stimuli.sampling import FrameSampling


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mp4", ramp(40), 20)
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize(("option", "value"), [("every", 1), ("every", 7), ("n", 1), ("n", 6), ("n", 100)])
@pytest.mark.parametrize("chunk", [1, 4, 64])
def test_sampled_frames_are_the_right_ones(clip: Path, option: str, value: int, chunk: int) -> None:
    got = chunks(clip, **{option: value, "chunk": chunk})
    wanted = kept_of(FrameSampling(**{option: value}), 40).tolist()
    assert np.concatenate([part.indices for part in got]).tolist() == wanted
    assert [number for part in got for number in numbers(part.frames)] == wanted
    assert np.allclose(np.concatenate([part.times for part in got]), np.array(wanted) / 20)
    assert all(len(part.indices) == chunk for part in got[:-1])


def test_video_in_a_zip_is_the_same(clip: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.write(clip, "deep/clip.mp4")
    (member,) = list_stimuli(tmp_path / "s.zip")
    (inside,) = iter_frames(member, FrameSampling(n=5))
    (outside,) = chunks(clip, n=5)
    assert np.array_equal(inside.frames, outside.frames)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_rotation_is_applied(tmp_path: Path, quarters: int) -> None:
    frames = ramp(3, 32, 48)
    frames[:, :16, :16] = 200  # bright top left corner
    write_video(tmp_path / "a.mp4", frames, 10)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    # The track header's matrix maps (x right, y down) to (a x + c y, b x + d y): a turn clockwise by quarters.
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    struct.pack_into(">iiiiii", data, data.index(b"tkhd") + 44, cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0)
    (tmp_path / "turned.mp4").write_bytes(data)
    (plain,), (turned,) = chunks(tmp_path / "a.mp4", every=1), chunks(tmp_path / "turned.mp4", every=1)
    assert np.array_equal(turned.frames, np.rot90(plain.frames, -quarters, axes=(1, 2)))


def test_transparent_gif_is_on_mid_grey(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[:4] = (255, 0, 0, 255)
    other = picture.copy()
    other[:4, :4] = (0, 255, 0, 255)
    Image.fromarray(picture).save(tmp_path / "a.gif", save_all=True, append_images=[Image.fromarray(other)], disposal=2)
    (chunk,) = chunks(tmp_path / "a.gif", every=1)
    assert chunk.frames.shape == (2, 8, 8, 3)
    assert chunk.frames[0, 0, 0].tolist() == [255, 0, 0]
    assert chunk.frames[0, 7, 7].tolist() == [128, 128, 128]


def test_frames_hidden_by_an_edit_list_are_not_missing(clip: Path, tmp_path: Path) -> None:
    remux(clip, tmp_path / "cut.mp4", shift_s=-0.5, avoid_negative_ts="disabled")
    assert header(tmp_path / "cut.mp4").frames == 40
    assert count(tmp_path / "cut.mp4", tolerate_shortfall=0) == 30


def test_a_chunk_ends_where_the_frame_size_changes(tmp_path: Path) -> None:
    parts = []
    for size in (32, 64):
        with av.open(str(tmp_path / "part.h264"), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            for frame in ramp(3, size, size):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        parts.append((tmp_path / "part.h264").read_bytes())
    (tmp_path / "both.h264").write_bytes(b"".join(parts))
    got = chunks(tmp_path / "both.h264", every=1)
    assert [part.frames.shape[1] for part in got] == [32, 64]
    assert np.concatenate([part.indices for part in got]).tolist() == list(range(6))
    assert all(np.isnan(part.times).all() for part in got)  # a raw stream has no clock


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_cut_off_file_says_what_was_claimed_and_decoded(clip: Path, tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 48, 3), dtype=np.uint8)
    write_video(clip, noise, 20)
    whole = tmp_path / f"whole{suffix}"
    remux(clip, whole, movflags="+faststart")
    assert count(whole) == 40
    broken = tmp_path / f"cut{suffix}"
    broken.write_bytes(whole.read_bytes()[: int(0.6 * whole.stat().st_size)])
    claim = r"40 frames" if suffix == ".mp4" else r"2\.\d\d s"
    with pytest.raises(
        StimulusError, match=rf"^cut{suffix}: container claims {claim}, [12]\d decoded \(.*broken_stimuli=skip$"
    ):
        chunks(broken, every=1)
    if suffix == ".mkv":  # in the .mp4 a packet is cut in two, which no tolerance makes whole
        assert 10 < sum(len(part.indices) for part in chunks(broken, every=1, tolerate_shortfall=30)) < 30


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"this is text, not a video\n" * 50,
        b"#EXTM3U\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile clip.mp4\n",
        b"\x00" * 4096,
    ],
    ids=["empty", "text", "playlist", "script", "zeros"],
)
def test_what_is_no_video(clip: Path, tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.mp4").write_bytes(content)
    for act in (header, count):
        with pytest.raises(StimulusError, match=r"^bad\.mp4: .*0 frames decoded; .*broken_stimuli=skip$") as caught:
            act(tmp_path / "bad.mp4")
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_wrong_use(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        chunks(tmp_path / "absent.mp4", every=1)
    with pytest.raises(OptionError, match="chunk must be"):
        chunks(clip, every=1, chunk=0)
    with pytest.raises(OptionError, match=r"stream must be one of \[0\]"):
        chunks(clip, every=1, stream=3)


def _probed(real_data: Path) -> list[dict[str, object]]:
    records: list[dict[str, object]] = json.loads((real_data / "videos" / "probe.json").read_text())
    return records


@pytest.mark.parametrize(
    "most_bytes", [100_000, pytest.param(10**9, marks=pytest.mark.slow)], ids=["small files", "all files"]
)
def test_every_real_video_gives_its_frames_or_a_reason(
    real_data: Path, capfd: pytest.CaptureFixture[str], most_bytes: int
) -> None:
    records = _probed(real_data)
    assert len(records) == 76
    wrong, reasons = [], {}
    for record in records:
        if int(str(record["size"])) > most_bytes and record.get("frames"):
            continue
        stimulus = as_stimulus(real_data / "videos" / str(record["file"]))
        expected = 0 if record["err"] else record["frames"]
        try:
            got = sum(len(part.indices) for part in iter_frames(stimulus, FrameSampling(every=1)))
        except StimulusError as error:
            got = 0
            reasons[stimulus.name] = str(error)
        if got != expected:
            wrong.append((record["file"], expected, got))
    assert wrong == []
    assert len(reasons) == 6
    assert all(text.startswith(f"{name}: ") and "\n" not in text for name, text in reasons.items())
    assert capfd.readouterr().err == ""


def test_headers_of_real_videos(real_data: Path) -> None:
    for record in _probed(real_data):
        if "codec" not in record:
            continue
        stream = header(real_data / "videos" / str(record["file"]))
        assert stream.codec_context.name == record["codec"]
        assert f"{stream.codec_context.width}x{stream.codec_context.height}" == record["wh"]
        assert stream.frames == record["hdr"]


def test_real_clip_equals_reference_frames_and_times(real_data: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = real_data / "videos" / "pytorch+torchcodec"
    listed = json.loads((folder / "nasa_13013.mp4.stream3.all_frames_info.json").read_text())
    times = [float(frame["pts_time"]) for frame in listed]
    got = chunks(folder / "nasa_13013.mp4", every=1, stream=3, chunk=512)
    assert len(got) == 1
    assert got[0].indices.tolist() == list(range(len(times)))
    assert np.abs(got[0].times - times).max() < 1e-6  # the reference is rounded to microseconds
    for path in sorted(folder.glob("*.frame*.pt")):
        reference = torch.load(path, weights_only=True).numpy()
        # Equal bits on x86; FFmpeg's assembly for other processors may round differently by 2.
        assert np.abs(got[0].frames[int(path.stem[-6:])].astype(int) - reference).max() <= 2


def test_colours_follow_matrix_and_range_of_the_file(real_data: Path) -> None:
    """Against the definition of Y'CbCr (BT.709, full range), with chroma of the nearest sample."""
    path = real_data / "videos" / "pytorch+torchcodec" / "bt709_full_range.mp4"
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        luma, cb, cr = (
            np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width].astype(float)
            for plane in frame.planes
        )
    cb, cr = (np.repeat(np.repeat(plane - 128, 2, 0), 2, 1) for plane in (cb, cr))
    red, blue = luma + 2 * (1 - 0.2126) * cr, luma + 2 * (1 - 0.0722) * cb
    green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152
    exact = np.clip(np.stack([red, green, blue], axis=-1), 0, 255)
    (first, *_) = chunks(path, n=1000, chunk=1)
    assert np.abs(first.frames[0] - exact).max() <= 3


def test_equal_clips_in_two_containers(real_data: Path) -> None:
    """The mdn clip exists as mp4 and as webm: as many frames, nearly the same pictures."""
    (a,), (b,) = (
        chunks(real_data / "videos" / "mdn+learning-area" / f"pig{suffix}", n=3) for suffix in (".mp4", ".webm")
    )
    assert a.indices.tolist() == b.indices.tolist()
    assert np.corrcoef(a.frames.ravel(), b.frames.ravel())[0, 1] > 0.98


@pytest.mark.parametrize(("name", "sampling"), [("pig", {"hz": 5}), ("crystal", {"n": 7})], ids=["hz", "n"])
def test_containers_that_round_times_give_the_same_frames(real_data: Path, name: str, sampling: dict[str, Any]) -> None:
    folder = real_data / "videos" / "mdn+learning-area"
    kept = [
        [
            int(k)
            for part in iter_frames(as_stimulus(folder / f"{name}.{suffix}"), FrameSampling(**sampling))
            for k in part.indices
        ]
        for suffix in ("mp4", "webm")
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("name", ["pytorch+torchcodec/h265_video.mp4", "open-mmlab+mmaction2/demo_skeleton.mp4"])
def test_a_rate_shows_what_is_on_the_screen_in_real_videos(real_data: Path, name: str) -> None:
    """The second has frames that stay for .2 s among others of .033 s."""
    stimulus = as_stimulus(real_data / "videos" / name)
    times = np.concatenate([part.times for part in iter_frames(stimulus, FrameSampling(every=1))])
    parts = list(iter_frames(stimulus, FrameSampling(hz=15)))
    indices, moments = (np.concatenate([getattr(part, what) for part in parts]) for what in ("indices", "times"))
    np.testing.assert_allclose(np.diff(moments), 1 / 15)
    assert (times[indices] <= moments + 1.1e-3).all()
    later = indices + 1 < len(times)
    assert (times[indices[later] + 1] > moments[later]).all()
    assert moments[-1] >= times[-1] - 1 / 15


def test_frames_that_stay_are_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "slow.mp4"
    write_video(path, ramp(4), 2)
    parts = chunks(path, hz=8)
    assert np.concatenate([part.indices for part in parts]).tolist() == np.repeat(range(4), 4).tolist()
    assert numbers(np.concatenate([part.frames for part in parts])) == np.repeat(range(4), 4).tolist()


def test_a_rate_needs_times(real_data: Path) -> None:
    with pytest.raises(StimulusError, match=r"Static\.264: frames\.hz needs frames with times.*got no time; set"):
        chunks(real_data / "videos" / "cisco+openh264" / "Static.264", hz=5)


def test_a_clip_without_its_first_frame_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "short.mp4", ramp(4), 20)
    assert [int(i) for chunk in chunks(tmp_path / "short.mp4", every=2, first=1) for i in chunk.indices] == [1, 3]
    with pytest.raises(StimulusError, match=r"frames.first must be below the number of frames; got 4"):
        chunks(tmp_path / "short.mp4", every=5, first=4)
