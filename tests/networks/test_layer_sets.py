from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.networks.loading import layers_at_64
from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.networks.layer_sets import expand_layers, find_blocks
from voxelcast.networks.registry import load_network

KNOWN = ("stem", "layer1.0", "layer1.1", "layer2.0", "head")
SETS = {"blocks": ("layer1.0", "layer1.1", "layer2.0")}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["all"], KNOWN),
        (["blocks"], SETS["blocks"]),
        (["head", "blocks", "layer1.*"], ("head", *SETS["blocks"])),
        (["depth:0"], ("layer1.0",)),
        (["depth:0.5"], ("layer1.1",)),
        (["depth:1.0"], ("layer2.0",)),
        (["*.0"], ("layer1.0", "layer2.0")),
    ],
)
def test_what_can_be_asked_for(asked, expected):
    assert expand_layers(asked, KNOWN, "net", SETS) == expected


def test_depth_without_blocks_is_among_all_layers():
    assert expand_layers(["depth:0.25", "depth:1"], KNOWN, "net") == ("layer1.0", "head")


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (
            "algonauts2021",
            UnknownNameError,
            "'algonauts2021' does not exist in 'net'; allowed: all, blocks, depth:0 to",
        ),
        ("layr1.0", UnknownNameError, "did you mean layer1.0"),
        ("depth:1.5", OptionError, "from 0 .first. to 1 .last., e.g. depth:0.5; got 'depth:1.5'"),
        ("depth:half", OptionError, "got 'depth:half'"),
        ("depth:nan", OptionError, "got 'depth:nan'"),
    ],
)
def test_what_cannot(asked, error, message):
    with pytest.raises(error, match=message):
        expand_layers([asked], KNOWN, "net", SETS)


def _at_224(name: str) -> tuple[tuple[str, ...], list[int]]:
    network = load_network(name, weights="random", layers=["algonauts2021"])
    shapes = {seen.name: math.prod(seen.shape) for seen in network.layer_traces()}
    return network.layers, [shapes[layer] for layer in network.layers]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        pytest.param(
            "torchvision/alexnet",
            [193600, 139968, 64896, 43264, 43264, 4096, 4096, 1000],
            marks=pytest.mark.slow,
        ),
        ("torchvision/resnet50", [802816, 401408, 200704, 100352, 1000]),
        pytest.param(
            "torchvision/vgg19", [802816, 401408, 200704, 100352, 25088, 4096, 4096, 1000], marks=pytest.mark.slow
        ),
    ],
)
def test_the_layers_of_2021_have_the_sizes_that_were_measured(name, sizes):
    """Sizes as the 2021 pipeline wrote them."""
    assert _at_224(name)[1] == sizes


@pytest.mark.parametrize(
    ("name", "n_layers", "largest", "together"),
    [
        pytest.param("simclr/r50_1x_sk0", 21, 802816, 7.33, marks=pytest.mark.slow),
        pytest.param("simclr/r50_2x_sk1", 25, 1605632, 17.87, marks=pytest.mark.slow),
    ],
)
def test_the_layers_of_2021_of_simclr(name, n_layers, largest, together):
    layers, sizes = _at_224(name)
    assert (len(layers), max(sizes), round(sum(sizes) / 1e6, 2)) == (n_layers, largest, together)


def _chain(*parts: nn.Module | list[nn.Module]) -> list[nn.Module]:
    return [step for part in parts for step in (part if isinstance(part, list) else list(part))]


def _classifiers(module: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """Steps of AlexNet or VGG, and those whose output was saved."""
    steps = _chain(module.features, [module.avgpool, nn.Flatten()], module.classifier)
    kind = nn.MaxPool2d if len(module.features) > 20 else nn.Conv2d
    return steps, [step for step in steps if isinstance(step, kind | nn.Linear)]


def _stages(module: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    stages = [module.layer1, module.layer2, module.layer3, module.layer4]
    steps = [module.conv1, module.bn1, module.relu, module.maxpool, *stages, module.avgpool, nn.Flatten(), module.fc]
    return steps, [*stages, module.fc]


def _steps(module: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    stem = [module.conv1, module.bn1, module.relu, module.maxpool]
    steps = _chain(stem, module.layer1, module.layer2, module.layer3, module.layer4, [module.avgpool])
    return steps, steps


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("torchvision/alexnet", _classifiers),
        pytest.param("torchvision/vgg19", _classifiers, marks=pytest.mark.slow),
        ("torchvision/resnet18", _stages),
        pytest.param("torchvision/resnet34", _stages, marks=pytest.mark.slow),
        pytest.param("torchvision/resnet50", _stages, marks=pytest.mark.slow),
        pytest.param("torchvision/resnet101", _stages, marks=pytest.mark.slow),
        pytest.param("torchvision/resnet152", _stages, marks=pytest.mark.slow),
        ("barlow_twins/resnet50", _steps),
    ],
)
def test_the_layers_of_2021_hold_what_was_saved(name, definition):
    """That code ran the steps one after the other, and saved the outputs when all had run: some were overwritten."""
    network = load_network(name, weights="random", layers=["algonauts2021"], input_size=64)
    frames = torch.randn(2, 3, 64, 64)
    steps, saved = definition(network.module)
    expected, x = [], frames.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for step in steps:
            x = step(x)
            if any(step is one for one in saved):
                expected.append(x)
    expected = [values for k, values in enumerate(expected) if not any(values is one for one in expected[:k])]
    found = list(network.activations(frames).values())
    assert len(found) == len(expected)
    for values, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(values, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    "name",
    ["efficientnet_b3", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnext50_32x4d", "resnet26d"))],
)
def test_the_layers_of_2021_of_timm_are_its_features(tmp_path, name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    state = timm.create_model(name).state_dict()
    torch.save(state, tmp_path / "w.pth")
    features = timm.create_model(name, features_only=True).eval()
    missing, _ = features.load_state_dict(state, strict=False)
    assert missing == []
    network = load_network(f"timm/{name}", weights=tmp_path / "w.pth", layers=["algonauts2021"], input_size=64)
    frames = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = features(frames)
    found = list(network.activations(frames).values())
    assert len(found) == len(expected) == 5
    for values, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(values, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("name", "layers", "sizes"),
    [
        (
            "vonenet/cornets",
            "vone_block bottleneck model.V2 model.V4 model.IT model.decoder.linear",
            [131072, 16384, 8192, 4096, 2048, 1000],
        ),
        (
            "vonenet/resnet50",
            "vone_block bottleneck model.layer1 model.layer2 model.layer3 model.layer4 model.fc",
            [131072, 16384, 65536, 32768, 16384, 8192, 1000],
        ),
        pytest.param(
            "vonenet/alexnet",
            "vone_block bottleneck model.features.1 model.features.4 model.features.6 model.features.8 "
            "model.classifier.2 model.classifier.5 model.classifier.6",
            [131072, 16384, 12288, 6144, 4096, 4096, 4096, 4096, 1000],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_layers_of_2021_of_vonenets(name, layers, sizes):
    """At 64 pixels, of which the V1 block takes every fourth; what is behind ReLUs is not negative."""
    network = load_network(name, weights="random", layers=["algonauts2021"], input_size=64)
    assert network.layers == tuple(layers.split())
    found = network.activations(torch.randn(1, 3, 64, 64))
    assert [values.numel() for values in found.values()] == sizes
    assert all(
        (values.min() >= 0) == (layer not in ("bottleneck", network.layers[-1])) for layer, values in found.items()
    )


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("torchvision/resnet18", [f"layer{k}.{i}" for k in (1, 2, 3, 4) for i in (0, 1)]),
        ("torchvision/squeezenet1_0", [f"features.{k}" for k in (3, 4, 5, 7, 8, 9, 10, 12)]),
        ("torchvision/mobilenet_v2", [f"features.{k}" for k in range(1, 18)]),
        ("simclr/r50_1x_sk1", [f"net.{k + 1}.blocks.{i}" for k, n in enumerate((3, 4, 6, 3)) for i in range(n)]),
        pytest.param("vonenet/cornets", ["model.V2", "model.V4", "model.IT"]),
    ],
)
def test_blocks_are_the_units_that_repeat(name, blocks):
    assert list(layers_at_64(name, "blocks")) == blocks


class Mixer(nn.Module):
    """Norms next to two equal parts: a block, not a stage."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.tokens, self.channels = Part(), Part()


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)


class Level(nn.Module):
    """A stage: nothing but blocks."""

    def __init__(self, n: int) -> None:
        super().__init__()
        for k in range(n):
            self.add_module(f"b{k}", Mixer())


def test_stages_and_parts_are_no_blocks():
    module = nn.ModuleDict({"one": Level(1), "two": Level(2), "part": Part(), "unit": nn.Linear(4, 4)})
    known = [name for name, _ in module.named_modules() if name]
    assert find_blocks(module, known) == ("one.b0", "two.b0", "two.b1")


def test_networks_without_repetition_have_no_blocks():
    with pytest.raises(UnknownNameError, match=r"'blocks' does not exist in 'torchvision/alexnet'; .*algonauts2021"):
        layers_at_64("torchvision/alexnet", "blocks")
