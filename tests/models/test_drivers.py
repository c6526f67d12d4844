"""Maps of what drives a response, against models planted to see one place, and differences by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.planted import SIZE, cell_weights, plant
from voxelcast.core.arrays import ByteArray
from voxelcast.core.errors import OptionError
from voxelcast.models.drivers import Target, gradient_map, occlusion_map
from voxelcast.models.encoder import load_encoder

UPPER_LEFT = Target("s1", "corner")


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two voxels: one sees the upper left of four by four cells, the other the cell at row 2, column 3."""
    return plant(
        tmp_path_factory.mktemp("planted") / "models",
        {"corner": cell_weights(0, 0)[:, None], "two": np.stack([cell_weights(0, 0), cell_weights(2, 3)], axis=1)},
    )


@pytest.fixture(scope="module")
def picture() -> ByteArray:
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def share(values: np.ndarray, row: int, column: int) -> float:
    """Share of a map's sum that lies in one of four by four cells."""
    cells = np.abs(values).reshape(4, len(values) // 4, 4, -1).sum(axis=(1, 3))
    return float(cells[row, column] / cells.sum())


def test_a_model_that_sees_the_upper_left_says_so(corner: Path, picture: ByteArray) -> None:
    encoder = load_encoder(corner)
    gradient = gradient_map(encoder.of("s1", "corner"), picture, UPPER_LEFT)
    assert gradient.shape == (SIZE, SIZE)
    assert share(gradient, 0, 0) > 0.85
    # The cell has the first 8 of 31 outputs, each of which sees 3 pixels, every other one.
    assert (gradient[:17, :17] > 0).all()
    assert (gradient[17:] == 0).all()
    assert (gradient[:, 17:] == 0).all()
    fall = occlusion_map(encoder.of("s1", "corner"), picture, UPPER_LEFT)
    assert fall.shape == (8, 8)
    assert share(fall, 0, 0) > 0.6  # patches of two by two cells reach one cell further
    assert np.abs(fall[4:, :]).max() < 1e-5 * np.abs(fall).max()
    assert np.abs(fall[:, 4:]).max() < 1e-5 * np.abs(fall).max()


def test_a_voxel_has_its_own_place(corner: Path, picture: ByteArray) -> None:
    encoder = load_encoder(corner, roi="two")
    for voxel, (row, column) in enumerate(((0, 0), (2, 3))):
        target = Target("s1", "two", voxel)
        assert share(gradient_map(encoder, picture, target), row, column) > 0.7
        fall = np.abs(occlusion_map(encoder, picture, target))
        near = np.zeros((8, 8), dtype=bool)
        near[max(2 * row - 2, 0) : 2 * row + 4, max(2 * column - 2, 0) : 2 * column + 4] = True
        assert fall[~near].max() < 1e-5 * fall[near].max()
    both = gradient_map(encoder, picture, Target("s1", "two"))
    assert share(both, 0, 0) + share(both, 2, 3) > 0.75
    with pytest.raises(OptionError, match="voxel must be from 0 to 1 in s1 two; got 2"):
        gradient_map(encoder, picture, Target("s1", "two", 2))


@pytest.mark.parametrize("half", [False, True])
def test_gradients_are_differences_by_hand(tmp_path: Path, picture: ByteArray, half: bool) -> None:
    """Move a prepared pixel and run network, pooling and weights again, in double precision."""
    weights = np.random.default_rng(1).integers(-3, 4, (64 * 16, 3)).astype(float)
    encoder = load_encoder(plant(tmp_path / "models", {"mixed": weights}, half=half))
    found = gradient_map(encoder, picture, Target("s1", "mixed"))
    network = encoder.network()
    prepared = network.prepare(picture[None]).double()
    convolution = torch.nn.Sequential(*list(network.module.features)[:1]).double()

    def response(pixels: torch.Tensor) -> float:
        out = convolution(pixels)[0]
        bounds = [(k * out.shape[1] // 4, -(-(k + 1) * out.shape[1] // 4)) for k in range(4)]
        pooled = [[out[:, a:b, c:d].mean(dim=(1, 2)) for c, d in bounds] for a, b in bounds]
        features = torch.stack([torch.stack(row, dim=1) for row in pooled], dim=1).flatten()
        return float(features @ torch.from_numpy(weights.mean(axis=1)))

    for row, column in ((3, 5), (31, 30), (60, 12)):
        squared = 0.0
        for channel in range(3):
            moved = prepared.clone()
            moved[0, channel, row, column] += 1
            slope = (response(moved) - response(prepared)) / (255 * network.card.std[channel])
            squared += slope**2
        assert found[row, column] == pytest.approx(squared**0.5, rel=2e-3 if half else 1e-4)
    network.module.float()


def test_covering_by_hand(corner: Path, picture: ByteArray) -> None:
    encoder = load_encoder(corner, roi="corner")
    fall = occlusion_map(encoder, picture, UPPER_LEFT, cells=2)

    def respond(pixels: ByteArray) -> float:
        return float(encoder.predict(pixels[None])["s1", "corner"].values[0, 0])

    mean = picture.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    falls = []
    for rows in (slice(0, 24), slice(0, 48)):  # patches that cover the upper left quarter, and more or less beside it
        for columns in (slice(0, 40), slice(0, 80)):
            covered = picture.copy()
            covered[rows, columns] = mean
            falls.append(respond(picture) - respond(covered))
    assert fall[0, 0] == pytest.approx(np.mean(falls), rel=1e-5)
    with pytest.raises(OptionError, match="cells must be from 2 to 64; got 1"):
        occlusion_map(encoder, picture, UPPER_LEFT, cells=1)
