from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from voxelcast.core.errors import ShapeError
from voxelcast.networks.prepare import prepare_frames

CPU = torch.device("cpu")
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_at_its_own_size_only_normalised():
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    prepared = prepare_frames(frames, 8, mean, std, CPU).numpy()
    np.testing.assert_allclose(prepared.transpose(0, 2, 3, 1), (frames / 255 - mean) / std, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "size"), [(268, 268, 96), (120, 200, 64), (40, 30, 100)])
def test_resizing_is_pillows_antialiased_bilinear(height, width, size):
    frame = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR), dtype=np.float64)
    prepared = prepare_frames(frame[None], size, *PLAIN, CPU)[0].permute(1, 2, 0).numpy() * 255
    # Pillow rounds after each of its two passes.
    assert np.abs(prepared - expected).max() <= 1.01


def test_each_frame_is_prepared_alone():
    frames = np.random.default_rng(2).integers(0, 256, (9, 50, 70, 3), dtype=np.uint8)
    whole = prepare_frames(frames, 32, *PLAIN, CPU)
    parts = torch.cat([prepare_frames(part, 32, *PLAIN, CPU) for part in np.array_split(frames, [1, 5])])
    assert torch.equal(whole, parts)


def test_read_only_and_strided_frames_are_taken():
    frames = np.random.default_rng(3).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    frames.flags.writeable = False
    flipped = prepare_frames(frames[:, ::-1], 8, *PLAIN, CPU)
    assert torch.equal(flipped.flip(2), prepare_frames(frames, 8, *PLAIN, CPU))


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 8, 8, 4), (0, 8, 8, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match="frames must be uint8 of shape"):
        prepare_frames(np.zeros(shape, np.uint8), 8, *PLAIN, CPU)
