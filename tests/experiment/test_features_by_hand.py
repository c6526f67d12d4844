"""What a run extracts, against the same computed by hand: decoded frames, the network, and NumPy.

Pools and rates that the 2021 repository names, checkpoints in all their forms, and a network on every GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import gamma

from tests.experiment.miniature import ENERGY, run, settings, write_dataset
from tests.networks.simclr_by_hand import ByHand, as_tensorflow
from tests.networks.tensor_bundle_writer import write_bundle
from voxelcast.core.arrays import FloatArray
from voxelcast.networks.prepare import prepare_frames
from voxelcast.networks.registry import find_family, load_network
from voxelcast.networks.settings import NetworkSettings
from voxelcast.stimuli.images import read_image
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.result import StepResult

pytestmark = pytest.mark.usefixtures("in_process")

QUICK: dict[str, Any] = {
    "encoders": ["ridge"],
    "folds": {"n": 3, "nested": False},
    "compute": {"workers": 1, "keep_scratch": True},
}
FPS, SECONDS = 6, 2.0  # of write_dataset's videos
BOLD = {  # peak, undershoot, its size, and the unit of time in seconds
    "bold": (6, 16, 1 / 6, 1.0),
    "bold_2021_1": (20, 40, 0.35, 0.03),
    "bold_2021_2": (60, 80, 0.5, 0.03),
    "bold_2021_3": (40, 60, 0.35, 0.03),
}


def extracted(output: Path) -> Iterator[tuple[str, list[str], dict[str, FloatArray]]]:
    """Network, ids of the stimuli, and features, of each finished extraction."""
    for step in sorted((output / "steps" / "extract").iterdir()):
        result = StepResult(step / "result.npz")
        ids = [record["stimulus_id"] for record in result.json("stimuli")]
        yield step.name.split("-")[0], ids, result.arrays("features")


def convolved(activations: FloatArray, times: FloatArray, name: str) -> FloatArray:
    """Average over the clip what a response of this form makes of the activations, which hold until the next."""
    peak, under, ratio, unit = BOLD[name]
    step = 1e-3
    grid = np.arange(step / 2, SECONDS, step)
    kernel = gamma.pdf(grid, peak, scale=unit) - ratio * gamma.pdf(grid, under, scale=unit)
    shown = np.searchsorted(times, grid, side="right") - 1
    weights = [np.convolve(kernel, shown == k)[: len(grid)].mean() for k in range(len(times))]
    return np.asarray(np.average(activations, axis=0, weights=weights))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("videos"), n=12, n_voxels=2, videos=True)


@pytest.mark.parametrize(
    "frames",
    [{"hz": 4}, *(pytest.param(frames, marks=pytest.mark.slow) for frames in ({"hz": 9.5}, {"every": 2}))],
    ids=["hz 4", "hz 9.5", "every 2"],
)
def test_median_kernels_and_rates(videos: Path, tmp_path: Path, frames: dict[str, float]) -> None:
    av = pytest.importorskip("av")
    pools = ["median", *BOLD]
    plain = settings(videos, frames=frames, pool=pools, **QUICK)
    plain |= {"compress": {"components": 3}}
    plain["networks"][0]["layers"] = ["colour"]
    run(plain, tmp_path / "out")
    ((_, ids, found),) = extracted(tmp_path / "out")
    assert len(ids) == 12
    network = load_network(ENERGY, weights=None, layers=["colour"], input_size=64)
    if "hz" in frames:
        times = np.arange(0, SECONDS, 1 / frames["hz"])
        shown = np.floor(times * FPS + 1e-6).astype(int)
    else:
        shown = np.arange(0, int(SECONDS * FPS), 2)
        times = shown / FPS
    for row, stimulus_id in enumerate(ids):
        pooled = [found[f"colour-pool{k}"][row] for k in range(1, 6)]
        with av.open(str(videos / "stimuli" / f"{stimulus_id}.mp4")) as video:
            decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
        activations = network.activations(network.prepare(decoded[shown]))["colour"].double().numpy()
        activations = activations.reshape(len(shown), -1)
        expected = [np.median(activations, axis=0), *(convolved(activations, times, name) for name in BOLD)]
        for name, values, wanted in zip(pools, pooled, expected, strict=True):
            np.testing.assert_allclose(values, wanted, atol=1e-3 * np.abs(wanted).max(), err_msg=name)
        assert not np.allclose(pooled[1], pooled[2], atol=1e-3 * np.abs(pooled[1]).max())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pictures"), n=9, n_voxels=2)


def random_weights(name: str) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A network as it is built, and its weights, drawn from torch's random state."""
    torch.manual_seed(3)
    module = find_family(settings_of := NetworkSettings(name, "all")).recipe(settings_of).build(64, True).eval()
    return module, module.state_dict()


def run_networks(root: Path, output: Path, *networks: dict[str, Any]) -> list[dict[str, FloatArray]]:
    """Run an experiment on all layers of 2021, and return the features of each network's layers."""
    both = [
        {"layers": ["algonauts2021"], "input_size": 64, "label": f"net{k}"} | each for k, each in enumerate(networks)
    ]
    plain = settings(root, networks=both, **QUICK)
    run(plain | {"compress": {"components": 3}}, output)
    return [found for _, _, found in sorted(extracted(output), key=lambda step: step[0])]


def shown(root: Path, output: Path, mean: float, std: float) -> torch.Tensor:
    """Frames of the stimuli in the order of the features, as a network with this mean and deviation takes them."""
    _, ids, _ = next(extracted(output))
    frames = np.stack([read_image(Stimulus(each, root / "stimuli" / f"{each}.png")) for each in ids])
    return prepare_frames(frames, 64, (mean,) * 3, (std,) * 3, torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["r50_1x_sk0", "r50_1x_sk1"])
def test_simclr_from_both_forms_of_checkpoint_and_with_both_paddings(
    pictures: Path, tmp_path: Path, variant: str
) -> None:
    name = f"simclr/{variant}"
    module, state = random_weights(name)
    torch.save({"resnet": state, "head": {"layers.0.weight": torch.zeros(3, 3)}}, tmp_path / f"{variant}.pth")
    write_bundle(tmp_path / "model.ckpt-7", as_tensorflow(module, state))
    pth = {"name": name, "weights": str(tmp_path / f"{variant}.pth")}
    tensorflow, converted, port = run_networks(
        pictures,
        tmp_path / "out",
        {"name": name, "weights": str(tmp_path / "model.ckpt-7")},
        pth,
        pth | {"padding": "port"},
    )
    frames = shown(pictures, tmp_path / "out", 0.0, 1.0)
    for found, padding in ((converted, "same"), (port, "port")):
        expected = ByHand(state, padding).run(frames)
        assert set(found) == set(expected)
        for layer, values in expected.items():
            got, wanted = found[layer], values.flatten(1).numpy()
            np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max(), err_msg=f"{padding} {layer}")
    assert all(np.array_equal(tensorflow[layer], converted[layer]) for layer in converted)
    last = {"r50_1x_sk0": "net.0.2", "r50_1x_sk1": "net.0.6"}[variant]
    assert not np.allclose(port[last], converted[last])


@pytest.mark.slow
@pytest.mark.parametrize("short", ["resnet50", "resnet50_at", "resnet50_ns", "cornets", "alexnet"])
def test_vonenets_from_released_forms_of_checkpoint(pictures: Path, tmp_path: Path, short: str) -> None:
    """Those trained on attacks and without noise run like the others."""
    name = f"vonenet/{short}"
    module, state = random_weights(name)
    flags = {"stride": 4, "k_exc": 25, "simple_channels": 256, "complex_channels": 256, "noise_mode": "neuronal"}
    flags |= {"noise_mode": None} if short == "resnet50_ns" else {"noise_scale": 0.35, "noise_level": 0.07}
    saved = (
        {f"vone_block.div_{each}.weight": torch.zeros(1, 3, 7, 7) for each in "ut"} if short == "resnet50_at" else {}
    )
    prefix = "" if short == "resnet50_at" else "module."
    saved = {prefix + key: tensor for key, tensor in (state | saved).items()}
    torch.save({"flags": flags, "state_dict": saved}, tmp_path / "released.pth.tar")
    weights = {"name": name, "weights": str(tmp_path / "released.pth.tar")}
    (found,) = run_networks(pictures, tmp_path / "out", weights)
    x = shown(pictures, tmp_path / "out", 0.5, 0.5)
    conv = torch.nn.functional.conv2d
    with torch.inference_mode():
        q0, q1 = (conv(x, state[f"vone_block.simple_conv_q{k}.weight"], stride=4, padding=12) for k in (0, 1))
        complex_cells = (q0[:, 256:] ** 2 + q1[:, 256:] ** 2).sqrt() / 2**0.5
        rates = 25 * torch.cat([torch.relu(q0[:, :256]), complex_cells], dim=1)
        bottleneck = conv(rates, state["bottleneck.weight"])
        scores = module.get_submodule("model")(bottleneck)
    last = next(layer for layer in found if found[layer].shape[1] == 1000)
    for layer, values in {"vone_block": rates, "bottleneck": bottleneck, last: scores}.items():
        wanted = values.flatten(1).numpy()
        np.testing.assert_allclose(found[layer], wanted, atol=1e-5 * np.abs(wanted).max(), err_msg=layer)
