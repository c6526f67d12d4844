"""Pictures and videos on disk, small and made up, and networks loaded once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from voxelcast.networks.registry import load_network
from voxelcast.stimuli.stimulus import Stimulus


@pytest.fixture(scope="session")
def make_video(tmp_path_factory) -> Callable[..., Stimulus]:
    """Write noise that drifts, as a video."""
    # Imported here, so that what needs no video can be tested where PyAV is not installed.
    from voxelcast.stimuli.encode import write_video

    folder = tmp_path_factory.mktemp("videos")

    def make(name: str, n_frames: int, seed: int, size: int = 64) -> Stimulus:
        rng = np.random.default_rng(seed)
        base = np.kron(rng.integers(0, 256, (size // 8, size // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        frames = np.stack([np.roll(base, 2 * t, axis=1) for t in range(n_frames)])
        path = folder / f"{name}.mp4"
        write_video(path, frames, 15)
        return Stimulus(name, path)

    return make


@pytest.fixture(scope="session")
def make_picture(tmp_path_factory) -> Callable[..., Stimulus]:
    folder = tmp_path_factory.mktemp("pictures")

    def make(name: str, seed: int, size: tuple[int, int] = (40, 56)) -> Stimulus:
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        path = folder / f"{name}.png"
        Image.fromarray(pixels).save(path)
        return Stimulus(name, path)

    return make


@pytest.fixture
def broken_video(make_video, tmp_path) -> Stimulus:
    """A video whose second half is missing."""
    whole = Path(make_video("whole", 40, 5).path).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    return Stimulus("cut", path)


@pytest.fixture(scope="session")
def resnet18():
    return load_network("torchvision/resnet18", weights="random", layers=["relu", "layer2.*", "fc"], input_size=64)


@pytest.fixture(scope="session")
def motion_energy():
    return load_network("voxelcast/motion_energy", weights=None, layers=["*"])


_REFERENCE = Path(__file__).resolve().parents[2].parent / "shared" / "reference"


@pytest.fixture(scope="session")
def released_names() -> Callable[[str], dict[str, torch.Size]]:
    """Names and shapes of the tensors of a released checkpoint; the test is skipped where the list is absent."""
    folder = Path(os.environ.get("VOXELCAST_TEST_REFERENCE", _REFERENCE))
    if not folder.is_dir():
        pytest.skip(f"lists of released tensors not found at {folder}; set VOXELCAST_TEST_REFERENCE")

    def read(name: str) -> dict[str, torch.Size]:
        return {tensor: torch.Size(shape) for tensor, shape in json.loads((folder / name).read_text()).items()}

    return read


@pytest.fixture(scope="session")
def made_up() -> Callable[[dict[str, torch.Size]], dict[str, torch.Tensor]]:
    """Weights of given names and shapes with which activations neither vanish nor explode."""

    def make(shapes: dict[str, torch.Size]) -> dict[str, torch.Tensor]:
        rng = torch.Generator().manual_seed(0)
        state = {}
        for name, shape in shapes.items():
            if name.endswith("num_batches_tracked"):
                state[name] = torch.tensor(7)
            elif len(shape) > 1:
                state[name] = torch.randn(shape, generator=rng) / shape[1:].numel() ** 0.5
            else:
                state[name] = torch.rand(shape, generator=rng) * 0.5 + 0.5
        return state

    return make
