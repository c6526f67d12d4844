"""Images as stimuli of one frame."""

from __future__ import annotations

import numpy as np
from PIL import ExifTags, Image

from voxelcast.core.arrays import ByteArray
from voxelcast.core.errors import StimulusError
from voxelcast.stimuli.broken import REMEDY, check_there, reason, shown_name
from voxelcast.stimuli.stimulus import Stimulus

MID_GREY = 128
# Pillow goes by content; for a PostScript file of any name it would start another program.
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000")
# What EXIF calls each orientation, and what turns it upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(stimulus: Stimulus) -> ByteArray:
    """Read an image as RGB (h, w, 3), upright, on mid-grey where it is transparent.

    The EXIF orientation is applied, and EXIF that is wrong does no harm; transparency is composited on grey
    128, the usual background of such experiments; 16-bit grey is brought to 8 bits by ``round(v / 257)``; palettes,
    grey and CMYK become RGB. Only PNG has checksums: in other formats damaged pixels may pass for whole ones.

    Raises StimulusError where the file is not a whole image, holds several pictures or 32-bit values.
    """
    check_there(stimulus)
    try:
        with stimulus.open() as file, Image.open(file, formats=_FORMATS) as image:
            # A phone's MPO file holds a preview beside its one picture; the others would be animations.
            several = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
            image.load()
            upright = _upright(image)
    except Exception as error:  # Pillow's readers raise whatever the damage leads them to
        raise StimulusError(
            f"{shown_name(stimulus)}: cannot be read as an image ({reason(error)}), 0 of 1 frames decoded; {REMEDY}"
        ) from error
    if several:
        raise StimulusError(
            f"{shown_name(stimulus)}: an image must hold one picture; got several; store it as a video, {REMEDY}"
        )
    if upright.mode in ("I", "F"):
        raise StimulusError(
            f"{shown_name(stimulus)}: an image must have 8 or 16 bits per value; got 32 bits (mode {upright.mode!r}); "
            f"convert it, {REMEDY}"
        )
    if upright.mode.startswith("I;16"):
        grey = np.asarray(upright).astype(np.float64)
        return np.repeat(np.rint(grey / 257).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
    if upright.has_transparency_data:
        return on_mid_grey(np.asarray(upright.convert("RGBA")))
    return np.array(upright.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """Turn a loaded picture as its EXIF says; where EXIF cannot be read, or says nothing, it stays as it is."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # as many kinds as there are ways to damage EXIF; none of them costs the picture
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def on_mid_grey(rgba: ByteArray) -> ByteArray:
    """Composite straight (not premultiplied) alpha on grey 128: ``round(alpha * colour + (1 - alpha) * 128)``.

    From shape (h, w, 4) to (h, w, 3).
    """
    alpha = rgba[..., 3:].astype(np.uint32)
    blended = alpha * rgba[..., :3] + (255 - alpha) * MID_GREY
    return ((blended + 127) // 255).astype(np.uint8)
