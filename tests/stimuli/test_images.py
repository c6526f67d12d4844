from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.stimuli.clips import as_stimulus, chunks
from voxelcast.core.arrays import ByteArray
from voxelcast.core.errors import MissingFileError, StimulusError
from voxelcast.stimuli.images import on_mid_grey, read_image
from voxelcast.stimuli.listing import list_stimuli

RGB: ByteArray = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)


def _read(tmp_path: Path, image: Image.Image, name: str = "a.png", **options: object) -> ByteArray:
    image.save(tmp_path / name, **options)
    return read_image(as_stimulus(tmp_path / name))


def test_image_is_one_frame_at_time_zero(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (chunk,) = chunks(tmp_path / "a.png", n=8)
    assert np.array_equal(chunk.frames, RGB[None])
    assert chunk.indices.tolist() == [0]
    assert chunk.times.tolist() == [0.0]


# Truth: how each EXIF orientation is to be shown, as array operations on what is stored.
@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, RGB),
        (2, RGB[:, ::-1]),
        (3, RGB[::-1, ::-1]),
        (4, RGB[::-1]),
        (5, RGB.transpose(1, 0, 2)),
        (6, np.rot90(RGB, -1)),
        (7, RGB[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(RGB, 1)),
        (0, RGB),
        (9, RGB),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_exif_orientation(tmp_path: Path, suffix: str, orientation: int, shown: ByteArray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    read = _read(tmp_path, Image.fromarray(RGB), f"a.{suffix}", exif=exif, lossless=True)
    assert np.array_equal(read, shown)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
def test_damaged_exif_costs_no_picture(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    exif[0x8769] = {0x9000: b"0230", 0x829A: 0.5}
    whole, n_read = exif.tobytes(), 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(6, len(whole), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        try:
            Image.fromarray(RGB).save(tmp_path / f"a.{suffix}", exif=bytes(damaged))
        except Exception:
            continue  # the encoder would not write it
        assert read_image(as_stimulus(tmp_path / f"a.{suffix}")).shape in ((6, 10, 3), (10, 6, 3))
        n_read += 1
    assert n_read > 100


def test_transparency_is_composited_on_mid_grey(tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 60).astype(np.uint8).reshape(6, 10, 1)
    exact = (alpha / 255) * RGB + (1 - alpha / 255) * 128
    read = _read(tmp_path, Image.fromarray(np.concatenate([RGB, alpha], axis=2)))
    assert np.abs(read - exact).max() <= 0.5 + 1e-9
    every = np.stack(np.meshgrid(np.arange(256), np.arange(256)), axis=-1).astype(np.uint8)
    both = on_mid_grey(np.concatenate([every[..., :1]] * 3 + [every[..., 1:]], axis=2))[..., 0]
    truth = np.rint((every[..., 1] / 255) * every[..., 0] + (1 - every[..., 1] / 255) * 128)
    assert np.array_equal(both, truth)


def test_grey_palette_and_16_bit_become_rgb(tmp_path: Path) -> None:
    grey = RGB[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(_read(tmp_path, Image.fromarray(grey)), expected)
    assert np.array_equal(_read(tmp_path, Image.fromarray(grey.astype(np.uint16) * 257)), expected)
    palette = Image.fromarray(grey).convert("P")
    assert np.array_equal(_read(tmp_path, palette), np.asarray(palette.convert("RGB")))


def test_image_in_a_zip(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "png")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("in/a.png", buffer.getvalue())
        archive.writestr("in/b.png", buffer.getvalue()[:60])
    good, bad = list_stimuli(tmp_path / "s.zip")
    assert np.array_equal(read_image(good), RGB)
    with pytest.raises(StimulusError, match=r"s\.zip/in/b\.png: cannot be read as an image"):
        read_image(bad)


@pytest.mark.parametrize("content", [b"", b"some text", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(StimulusError, match=r"^a\.png: cannot be read as an image .*broken_stimuli=skip$"):
        read_image(as_stimulus(tmp_path / "a.png"))


def test_animations_and_32_bit_values_are_refused(tmp_path: Path) -> None:
    pictures = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    with pytest.raises(StimulusError, match="one picture"):
        _read(tmp_path, pictures[0], "a.webp", save_all=True, append_images=pictures[1:])
    with pytest.raises(StimulusError, match="8 or 16 bits"):
        _read(tmp_path, Image.fromarray(RGB[..., 0].astype(np.float32)), "a.tiff")
    with pytest.raises(MissingFileError):
        read_image(as_stimulus(tmp_path / "absent.png"))


def test_known_pictures_equal_pillow(real_data: Path) -> None:
    for path in sorted((real_data / "pictures").glob("*.*")):
        if path.suffix.lower() in (".jpg", ".bmp", ".png"):
            with Image.open(path) as image:
                if image.mode == "RGB" and not image.getexif().get(0x0112, 1) > 1:
                    assert np.array_equal(read_image(as_stimulus(path)), np.asarray(image))
