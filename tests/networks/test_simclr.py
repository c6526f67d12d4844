from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.networks.simclr_by_hand import ByHand, as_tensorflow
from tests.networks.tensor_bundle_writer import write_bundle
from voxelcast.core.errors import DataError, MissingFileError, OptionError, UnknownNameError
from voxelcast.networks.families.simclr import (
    Average2x2,
    Bottleneck,
    MaxPoolAfter,
    Projection,
    SelectiveKernel,
    SimCLRNet,
    pad_as_port,
)
from voxelcast.networks.hooks import capture
from voxelcast.networks.layer_sets import layer_sets
from voxelcast.networks.registry import find_family, list_networks, load_network
from voxelcast.networks.settings import NetworkSettings

# Millions, without the classifier: Chen et al. (2020), table 1, and the original's list of checkpoints.
PUBLISHED = {
    (50, 1, 0): 24,
    (50, 1, 1): 35,
    (50, 2, 0): 94,
    (50, 2, 1): 140,
    (101, 1, 0): 43,
    (101, 1, 1): 65,
    (101, 2, 0): 170,
    (101, 2, 1): 257,
    (152, 1, 0): 58,
    (152, 1, 1): 89,
    (152, 2, 0): 233,
    (152, 2, 1): 354,
    (152, 3, 1): 795,
}


def _on_meta(depth: int, width: int, sk: int) -> SimCLRNet:
    with torch.device("meta"):
        return SimCLRNet(depth, width, bool(sk))


@pytest.mark.parametrize(("depth", "width", "sk"), PUBLISHED)
def test_parameter_counts_are_the_published(depth, width, sk):
    module = _on_meta(depth, width, sk)
    count = sum(p.numel() for name, p in module.named_parameters() if not name.startswith("fc"))
    # The published numbers are rounded, some of them up.
    assert abs(count / 1e6 - PUBLISHED[depth, width, sk]) < 1


def test_all_variants_are_listed():
    assert len(list_networks("simclr/*")) == 3 * 3 * 2
    assert set(list_networks("simclr/r50_1x*")) == {"simclr/r50_1x_sk0", "simclr/r50_1x_sk1"}


@pytest.mark.parametrize("variant", ["r50_1x_sk0", "r50_2x_sk1", "r101_1x_sk1"])
def test_tensors_have_the_names_and_shapes_of_converted_checkpoints(released_names, variant):
    depth, width, sk = variant.split("_")
    module = _on_meta(int(depth[1:]), int(width[0]), int(sk[2]))
    expected = released_names(f"simclr_v2_{variant}.converted_state_dict.json")
    assert {name: tensor.shape for name, tensor in module.state_dict().items()} == expected


@pytest.mark.parametrize(
    "variant", ["r50_1x_sk0", *(pytest.param(name, marks=pytest.mark.slow) for name in ("r50_2x_sk1", "r101_1x_sk1"))]
)
def test_converted_checkpoints_load_and_run(tmp_path, released_names, made_up, variant):
    state = made_up(released_names(f"simclr_v2_{variant}.converted_state_dict.json"))
    torch.save({"resnet": state, "head": {"layers.0.weight": torch.zeros(3, 3)}}, tmp_path / "w.pth")
    network = load_network(
        f"simclr/{variant}", weights=tmp_path / "w.pth", layers=["net.0.0", "blocks", "fc"], input_size=64
    )
    assert network.card.weights.startswith("file w.pth (blake2b ")
    frames = torch.rand(1, 3, 64, 64)
    activations = network.activations(frames)
    first = torch.nn.functional.conv2d(frames, state["net.0.0.weight"], stride=2, padding=3 if "sk0" in variant else 1)
    torch.testing.assert_close(activations["net.0.0"], first, rtol=1e-4, atol=1e-5)
    pooled = activations[network.layers[-2]].mean((2, 3))
    torch.testing.assert_close(
        activations["fc"], pooled @ state["fc.weight"].T + state["fc.bias"], rtol=1e-3, atol=1e-4
    )

    del state["net.1.blocks.0.net.0.weight"]
    torch.save({"resnet": state}, tmp_path / "less.pth")
    with pytest.raises(DataError, match=r"1 missing \(first 'net.1.blocks.0.net.0.weight'\)"):
        load_network(f"simclr/{variant}", weights=tmp_path / "less.pth", layers=["fc"], input_size=64)


@pytest.mark.slow
def test_tensorflow_checkpoints_that_do_not_fit_are_refused(tmp_path, made_up):
    """Those that fit: tests/experiment/test_features_by_hand.py."""
    module = _on_meta(50, 1, 0)
    stored = as_tensorflow(module, made_up({key: tensor.shape for key, tensor in module.state_dict().items()}))
    stored["base_model/conv2d_99/kernel"] = stored.pop("base_model/conv2d_3/kernel")
    write_bundle(tmp_path / "model.ckpt-1", stored)
    with pytest.raises(DataError, match=r"1 missing .*1 not in the network \(first 'base_model/conv2d_99/kernel'\)"):
        load_network("simclr/r50_1x_sk0", weights=tmp_path / "model.ckpt-1", layers=["fc"], input_size=64)


@pytest.mark.parametrize(("size", "sk"), [(64, 0), pytest.param(64, 1, marks=pytest.mark.slow), (75, 0), (75, 1)])
def test_activations_are_those_of_the_original(tmp_path, sk, size):
    """``data/simclr_tensorflow.npz`` is what the original code put out, run with TensorFlow 2.21 on these weights.

    Weights and then frames were drawn from one generator, in the original's order of variables; of the activations
    after max pool and first stage the last row is kept, where the padding shows.
    """
    rng = np.random.default_rng(0)
    state = {}
    for name, tensor in _on_meta(50, 1, sk).state_dict().items():
        if tensor.ndim == 4:
            n_out, n_in, k, _ = tensor.shape
            drawn = rng.standard_normal((k, k, n_in, n_out)) * (2 / (k * k * n_in)) ** 0.5
            state[name] = torch.from_numpy(drawn.astype(np.float32)).permute(3, 2, 0, 1)
        elif tensor.ndim == 2:
            drawn = rng.standard_normal(tuple(tensor.shape)[::-1]) * (2 / tensor.shape[1]) ** 0.5
            state[name] = torch.from_numpy(drawn.astype(np.float32)).T
        elif tensor.ndim == 1:
            gamma = name.endswith(".weight")
            state[name] = torch.from_numpy(
                (rng.uniform(0.5, 1, tensor.shape) * (0.4 if gamma else 1)).astype(np.float32)
            )
    frames = torch.from_numpy(rng.uniform(size=(2, size, size, 3)).astype(np.float32)).permute(0, 3, 1, 2)
    torch.save({"resnet": state}, tmp_path / "w.pth")
    layers = {"max_pool": f"net.0.{6 if sk else 2}", "stage1": "net.1.blocks.2", "pooled": "avgpool", "logits": "fc"}
    network = load_network(
        f"simclr/r50_1x_sk{sk}", weights=tmp_path / "w.pth", layers=list(layers.values()), input_size=size
    )
    activations = {step: network.activations(frames)[layer].numpy() for step, layer in layers.items()}
    kept = {
        "max_pool": activations["max_pool"][:, :4, -1].transpose(0, 2, 1),
        "stage1": activations["stage1"][:, :4, -1].transpose(0, 2, 1),
        "pooled": activations["pooled"][:, ::64, 0, 0],
        "logits": activations["logits"][:, ::50],
    }
    with np.load(Path(__file__).parent / "data" / "simclr_tensorflow.npz") as original:
        for step, values in kept.items():
            expected = original[f"sk{sk}_{size}_{step}"]
            np.testing.assert_allclose(values, expected, atol=1e-5 * np.abs(expected).max(), err_msg=step)


@pytest.mark.parametrize("name", ["simclr/r50_1x_sk0", "simclr/r152_3x_sk1"])
def test_input_is_never_normalised(name):
    settings = NetworkSettings(name, "fc")
    recipe = find_family(settings).recipe(settings)
    assert (recipe.mean, recipe.std) == ((0.0,) * 3, (1.0,) * 3)
    for override in ({"mean": (0.5,) * 3}, {"std": (0.229, 0.224, 0.225)}, {"mean": (0.0,) * 3}):
        with pytest.raises(OptionError, match=r"must stay .* in \[0, 1\] as it is"):
            load_network(name, weights="random", layers=["fc"], **override)


def test_prepared_frames_are_in_0_to_1():
    network = load_network("simclr/r50_1x_sk0", weights="random", layers=["net.0.0"], input_size=64)
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    np.testing.assert_allclose(network.prepare(frames).permute(0, 2, 3, 1), frames / 255, atol=1e-6)


def test_weights_that_cannot_be_downloaded_and_unknown_names():
    with pytest.raises(MissingFileError, match="without a hash"):
        load_network("simclr/r50_1x_sk0", layers=["fc"])
    with pytest.raises(UnknownNameError, match="did you mean simclr/r50_1x_sk"):
        load_network("simclr/r50_1x_sk2", layers=["fc"])


# --- building blocks against slow, explicit computations in double precision


def _shake(module: torch.nn.Module) -> torch.nn.Module:
    """Give batch norms statistics and weights that are not neutral."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for values in (part.weight, part.bias, part.running_mean, part.running_var):
                torch.nn.init.uniform_(values, 0.5, 1.5)
    return module.double().eval()


def _convolve(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Cross-correlate (n_in, h, w) with (n_out, n_in, k, k), zeros for (k - 1) / 2 pixels around."""
    n_out, _, k, _ = kernel.shape
    padded = np.pad(x, ((0, 0), (k // 2,) * 2, (k // 2,) * 2))
    rows = range(0, padded.shape[1] - k + 1, stride)
    columns = range(0, padded.shape[2] - k + 1, stride)
    out = np.zeros((n_out, len(rows), len(columns)))
    for (i, r), (j, c) in itertools.product(enumerate(rows), enumerate(columns)):
        out[:, i, j] = (kernel * padded[:, r : r + k, c : c + k]).sum((1, 2, 3))
    return out


def _normalise(x: np.ndarray, bn: torch.nn.Module) -> np.ndarray:
    weight, bias, mean, var = (
        v.detach().numpy()[:, None, None] for v in (bn.weight, bn.bias, bn.running_mean, bn.running_var)
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def _selective_kernel(unit: SelectiveKernel, x: np.ndarray, stride: int) -> np.ndarray:
    n = len(x)
    wide = np.maximum(
        _normalise(_convolve(x, unit.main_conv[0].weight.detach().numpy(), stride), unit.main_conv[1][0]), 0
    )
    first, second = wide[:n], wide[n:]
    summary = (first + second).mean((1, 2), keepdims=True)
    mixing = np.maximum(
        _normalise(_convolve(summary, unit.mixing_conv[0].weight.detach().numpy(), 1), unit.mixing_conv[1][0]), 0
    )
    logits = _convolve(mixing, unit.mixing_conv[2].weight.detach().numpy(), 1)
    a, b = np.exp(logits[:n]), np.exp(logits[n:])
    return (a * first + b * second) / (a + b)


def _average(x: np.ndarray, stride: int) -> np.ndarray:
    """The mean of those of four pixels that exist."""
    out = np.zeros((len(x), -(-x.shape[1] // stride), -(-x.shape[2] // stride)))
    for i, j in np.ndindex(out.shape[1:]):
        out[:, i, j] = x[:, i * stride : i * stride + 2, j * stride : j * stride + 2].mean((1, 2))
    return out


@pytest.mark.parametrize("stride", [1, 2])
def test_selective_kernel(stride):
    unit = _shake(SelectiveKernel(6, stride))
    assert unit.mixing_conv[0].out_channels == 32
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    expected = np.stack([_selective_kernel(unit, frame, stride) for frame in x.numpy()])
    np.testing.assert_allclose(unit(x).detach().numpy(), expected, atol=1e-12)


def test_the_mixing_path_grows_with_the_channels():
    assert SelectiveKernel(1024, 1).mixing_conv[0].out_channels == 64


@pytest.mark.parametrize("stride", [1, 2])
def test_average_pool_counts_pixels_that_exist(stride):
    x = torch.randn(1, 3, 6, 8, dtype=torch.float64)
    np.testing.assert_allclose(Average2x2(stride)(x)[0].numpy(), _average(x[0].numpy(), stride), atol=1e-14)


@pytest.mark.parametrize(("selective", "stride"), [*itertools.product([False, True], [1, 2])])
def test_shortcut(selective, stride):
    shortcut = _shake(Projection(3, 5, stride, selective))
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    if selective:
        pooled = _average(x[0].numpy(), stride)
        expected = _convolve(pooled, shortcut.shortcut[2].weight.detach().numpy(), 1)
    else:
        expected = _convolve(x[0].numpy(), shortcut.shortcut.weight.detach().numpy(), stride)
    expected = _normalise(expected, shortcut.bn[0])
    np.testing.assert_allclose(shortcut(x)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("selective", "stride"), [*itertools.product([False, True], [1, 2])])
def test_block(selective, stride):
    block = _shake(Bottleneck(4, 3, stride, selective, projection=True))
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    net = block.net
    y = np.maximum(_normalise(_convolve(x[0].numpy(), net[0].weight.detach().numpy(), 1), net[1][0]), 0)
    if selective:
        y = _selective_kernel(net[2], y, stride)
    else:
        y = np.maximum(_normalise(_convolve(y, net[2].weight.detach().numpy(), stride), net[3][0]), 0)
    y = _normalise(_convolve(y, net[-2].weight.detach().numpy(), 1), net[-1][0])
    y = np.maximum(y + block.projection(x)[0].detach().numpy(), 0)
    np.testing.assert_allclose(block(x)[0].detach().numpy(), y, atol=1e-12)


@pytest.mark.parametrize("size", [6, 7])
def test_max_pool_has_its_padding_after(size):
    x = np.random.default_rng(0).standard_normal((1, 2, size, size))
    # Windows of even sizes begin at the first pixel, those of odd sizes one before it.
    start = 0 if size % 2 == 0 else -1
    expected = np.zeros((1, 2, (size + 1) // 2, (size + 1) // 2))
    for i, j in np.ndindex(expected.shape[2:]):
        top, left = 2 * i + start, 2 * j + start
        expected[..., i, j] = x[:, :, max(top, 0) : top + 3, max(left, 0) : left + 3].max((2, 3))
    np.testing.assert_array_equal(MaxPoolAfter()(torch.from_numpy(x)).numpy(), expected)


# --- the whole network, written out


@pytest.mark.parametrize("padding", ["same", "port"])
@pytest.mark.parametrize(
    ("sk", "size"),
    [(0, 64), *(pytest.param(sk, size, marks=pytest.mark.slow) for sk, size in ((1, 64), (0, 75))), (1, 75)],
)
def test_all_layers_of_2021_with_either_padding_are_those_written_out(made_up, sk, size, padding):
    state = made_up({name: tensor.shape for name, tensor in _on_meta(50, 1, sk).state_dict().items()})
    module = SimCLRNet(50, 1, bool(sk))
    module.load_state_dict(state)
    (pad_as_port(module) if padding == "port" else module).double().eval()
    frames = torch.rand(1, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = ByHand(state, padding).run(frames)
    names = [name for name, _ in module.named_modules()]
    layers = layer_sets(f"simclr/r50_1x_sk{sk}", module, names)["algonauts2021"]
    assert list(layers) == list(expected)
    with torch.inference_mode(), capture(module, layers) as found:
        module(frames)
    for layer, values in expected.items():
        torch.testing.assert_close(found[layer], values, rtol=0, atol=1e-12 * float(values.abs().max()), msg=layer)


@pytest.mark.parametrize(
    ("name", "changed"),
    [("simclr/r50_1x_sk0", "net.0.2"), pytest.param("simclr/r50_1x_sk1", "net.0.6", marks=pytest.mark.slow)],
)
def test_the_padding_is_a_setting_and_part_of_the_key(name, changed):
    layers = [f"net.0.{int(changed[-1]) - 1}", changed]
    default, port = (
        load_network(name, weights="random", layers=layers, input_size=64, padding=padding)
        for padding in (None, "port")
    )
    assert default.card.code == ""
    assert port.card == replace(default.card, code="padding=port")
    frames = torch.rand(1, 3, 64, 64)
    first, second = default.activations(frames), port.activations(frames)
    assert torch.equal(first[layers[0]], second[layers[0]])
    assert (first[changed] != second[changed]).any()


def test_padding_is_for_simclr_alone():
    with pytest.raises(OptionError, match=r"padding is for SimCLR-v2 networks .*got 'torchvision/resnet18'"):
        load_network("torchvision/resnet18", weights="random", layers=["fc"], padding="port")
    with pytest.raises(OptionError, match=r"padding must be one of same, port; got 'valid'"):
        load_network("simclr/r50_1x_sk0", weights="random", layers=["fc"], padding="valid")


def _rounding(state: dict[str, torch.Tensor]) -> float:
    """How far single precision is from double after the third stage, relative to the largest."""
    frames = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.device("meta"):
        module = SimCLRNet(101, 1, True).eval()
    seen = []
    for dtype in (torch.float32, torch.float64):
        module.load_state_dict({name: tensor.to(dtype) for name, tensor in state.items()}, assign=True)
        with torch.inference_mode(), capture(module, ["net.3"]) as found:
            module(frames.to(dtype))
        seen.append(found["net.3"].double())
    return float((seen[0] - seen[1]).abs().max() / seen[1].abs().max())


@pytest.mark.slow
def test_selective_kernels_of_random_weights_magnify_rounding(made_up):
    """Why single precision agrees with other code to 1e-4 only, for weights drawn to keep the variance behind a ReLU.

    Activations then double with each block, so that the softmax of a selective kernel all but switches between its
    branches, at a place that rounding moves. Trained weights keep activations near 1.
    """
    state = made_up({name: tensor.shape for name, tensor in _on_meta(101, 1, 1).state_dict().items()})
    usual = _rounding(state)
    assert usual < 3e-6
    assert _rounding({k: tensor * 2**0.5 if tensor.ndim == 4 else tensor for k, tensor in state.items()}) > 20 * usual
