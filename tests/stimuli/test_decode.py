from __future__ import annotations

import json
import struct
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.stimuli.clips import as_stimulus, chunks, count, header, kept_of, numbers, ramp, remux
from voxelcast.core.arrays import ByteArray
from voxelcast.core.errors import MissingFileError, OptionError, StimulusError
from voxelcast.stimuli.decode import iter_frames
from voxelcast.stimuli.encode import write_video
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus


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


def _with_matrix(tmp_path: Path, a: float, b: float, c: float, d: float) -> tuple[Path, Path]:
    """Two videos that differ in the track header's matrix: (x right, y down) is shown at (ax + cy, bx + dy)."""
    frames = ramp(3, 32, 48)
    frames[:, :16, :16] = 200  # bright top left corner
    write_video(tmp_path / "a.mp4", frames, 10)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    fixed = [round(65536 * value) for value in (a, b, c, d)]
    struct.pack_into(">iiiii", data, data.index(b"tkhd") + 44, fixed[0], fixed[1], 0, fixed[2], fixed[3])
    (tmp_path / "placed.mp4").write_bytes(data)
    return tmp_path / "a.mp4", tmp_path / "placed.mp4"


@pytest.mark.parametrize("flip", [1, -1])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turned_and_mirrored_videos_are_shown_as_a_player_does(tmp_path: Path, quarters: int, flip: int) -> None:
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]  # a turn clockwise by quarters, of the mirrored picture
    stored, placed = _with_matrix(tmp_path, flip * cos, flip * sin, -sin, cos)
    (plain,), (shown,) = chunks(stored, every=1), chunks(placed, every=1)
    assert np.array_equal(shown.frames, np.rot90(plain.frames[:, :, ::flip], -quarters, axes=(1, 2)))


@pytest.mark.parametrize("matrix", [(0.8, 0.6, -0.6, 0.8), (1, 0.5, 0, 1), (1, 1, 1, 1), (1, 0, 0, 0)])
def test_odd_angles_are_refused(tmp_path: Path, matrix: tuple[float, float, float, float]) -> None:
    _, placed = _with_matrix(tmp_path, *matrix)
    with pytest.raises(StimulusError, match=r"placed\.mp4: a video may be turned by 90, .* got the display matrix"):
        chunks(placed, every=1)


def _encode(path: Path, frames: ByteArray, codec: str, pix_fmt: str = "yuv420p", **settings: Any) -> None:
    """Write frames in any codec; ``settings`` are attributes of the stream, and ``options`` the encoder's."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=settings.pop("options", {}))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for name, value in settings.items():
            setattr(stream, name, value)
        layout = "rgba" if frames.shape[-1] == 4 else "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=layout).reformat(format=pix_fmt)))
        container.mux(stream.encode())


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4")])
@pytest.mark.parametrize("shape", [Fraction(4, 3), Fraction(1, 2), Fraction(16, 11)])
def test_pixels_that_are_not_square_are_stretched(tmp_path: Path, suffix: str, codec: str, shape: Fraction) -> None:
    frames = ramp(2, 32, 48)
    frames[:, :, 24:] = 200  # an edge in the middle, which stays there
    _encode(tmp_path / f"a{suffix}", frames, codec, sample_aspect_ratio=shape)
    (shown,) = chunks(tmp_path / f"a{suffix}", every=1)
    width = round(48 * shape)
    assert shown.frames.shape == (2, 32, width, 3)
    assert np.flatnonzero(shown.frames[0, 16, :, 0] > 100)[0] == pytest.approx(width / 2, abs=1)


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        (".webm", "libvpx-vp9", "yuva420p"),
        (".mkv", "libvpx-vp9", "yuva420p"),
        (".mov", "prores_ks", "yuva444p10le"),
        (".mkv", "ffv1", "yuva420p"),
    ],
)
def test_transparent_videos_are_on_mid_grey_in_every_container(
    tmp_path: Path, suffix: str, codec: str, pix_fmt: str
) -> None:
    picture = np.zeros((3, 32, 32, 4), np.uint8)
    picture[:, :16] = (220, 220, 220, 255)
    picture[:, 16:] = (220, 220, 220, 0)
    _encode(tmp_path / f"a{suffix}", picture, codec, pix_fmt)
    (shown,) = chunks(tmp_path / f"a{suffix}", every=1)
    assert shown.frames.shape == (3, 32, 32, 3)
    assert np.abs(shown.frames[:, 2:14].astype(int) - 220).max() <= 6
    assert np.abs(shown.frames[:, 18:].astype(int) - 128).max() <= 6


def _textured(n: int) -> ByteArray:
    """Moving noise, so that every packet has some bytes."""
    still = np.random.default_rng(0).integers(0, 256, (12, 12 + n, 3), dtype=np.uint8)
    return np.stack([still[:, k : k + 12].repeat(8, axis=0).repeat(8, axis=1) for k in range(n)])


CHECKED = {
    "a.mp4": "libx264",
    "a.mkv": "libx265",
    "a.avi": "mpeg4",
    "b.mp4": "mpeg4",
    "a.mov": "prores_ks",
    "b.avi": "mjpeg",
    "c.mp4": "libsvtav1",
    "a.webm": "libvpx",
}


@pytest.mark.parametrize(("name", "codec"), CHECKED.items())
def test_a_hole_of_zeros_makes_a_broken_stimulus(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    _encode(path, _textured(30), codec, {"prores_ks": "yuv422p10le", "mjpeg": "yuvj420p"}.get(codec, "yuv420p"))
    whole, said = path.read_bytes(), []
    truth = np.concatenate([chunk.frames for chunk in chunks(path, every=1)])
    assert len(truth) == 30
    for at in np.linspace(0.15, 0.8, 8):
        place = int(at * len(whole))
        path.write_bytes(whole[:place] + bytes(len(whole) // 8) + whole[place + len(whole) // 8 :])
        try:
            frames = np.concatenate([chunk.frames for chunk in chunks(path, every=1)])
        except StimulusError as error:
            said.append(str(error))
        else:
            assert np.array_equal(frames, truth)  # the hole is in an index that is not needed
    assert len(said) >= 5
    assert all(text.startswith(f"{name}: ") and "\n" not in text for text in said)


def test_damage_in_a_part_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    _encode(path, _textured(60), "libx264", options={"g": "10", "x264-params": "scenecut=0"})
    whole = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
    hurt = packets[34]
    path.write_bytes(whole[: hurt.pos + 8] + bytes(hurt.size - 8) + whole[hurt.pos + hurt.size :])
    parts = [Stimulus("a", path, seconds=seconds) for seconds in ((0.0, 2.0), (3.0, 4.0), (4.5, 6.0))]
    counts = []
    for part in parts:
        try:
            counts.append(sum(len(chunk.indices) for chunk in iter_frames(part, FrameSampling(every=1))))
        except StimulusError:
            counts.append(-1)
    assert counts == [20, -1, 15]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "missed"), [("a.mp4", "libx264", 0.2), ("a.avi", "mpeg4", 0.05), ("b.mp4", "libsvtav1", 0.06)]
)
def test_most_blocks_of_wrong_bytes_are_found(tmp_path: Path, name: str, codec: str, missed: float) -> None:
    rng, path = np.random.default_rng(0), tmp_path / name
    _encode(path, _textured(30), codec)
    whole, truth = path.read_bytes(), np.concatenate([chunk.frames for chunk in chunks(path, every=1)])
    unsaid = 0
    for _ in range(100):
        damaged, place = bytearray(whole), int(rng.integers(len(whole) // 10, len(whole) - 64))
        damaged[place : place + 64] = rng.bytes(64)
        path.write_bytes(damaged)
        try:  # whatever the damage, it is a broken stimulus or not: no other error comes through
            frames = np.concatenate([chunk.frames for chunk in chunks(path, every=1)])
        except StimulusError:
            continue
        unsaid += not np.array_equal(frames, truth)
    assert unsaid <= 100 * missed


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


DAMAGED = {"cisco+openh264/Error_I_P.264"}  # made to test how decoders conceal errors


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
        expected = 0 if record["err"] or record["file"] in DAMAGED else record["frames"]
        try:
            got = sum(len(part.indices) for part in iter_frames(stimulus, FrameSampling(every=1)))
        except StimulusError as error:
            got = 0
            reasons[stimulus.name] = str(error)
        if got != expected:
            wrong.append((record["file"], expected, got))
    assert wrong == []
    assert len(reasons) == 7
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
