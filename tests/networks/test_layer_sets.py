from __future__ import annotations

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


def _sizes(name: str, layers: str, **options) -> tuple[tuple[str, ...], list[int]]:
    network = load_network(name, weights="random", layers=[layers], **options)
    with torch.inference_mode():
        activations = network.activations(torch.zeros(1, 3, network.card.input_size, network.card.input_size))
    return network.layers, [activations[layer][0].numel() for layer in network.layers]


def test_the_layers_of_2021_have_the_sizes_that_were_measured():
    """Sizes as the 2021 pipeline wrote them."""
    _, alexnet = _sizes("torchvision/alexnet", "algonauts2021")
    assert alexnet == [193600, 139968, 64896, 43264, 43264, 4096, 4096, 1000]
    layers, resnet = _sizes("torchvision/resnet50", "algonauts2021")
    assert layers[:5] == ("conv1", "bn1", "relu", "maxpool", "layer1.0")
    assert layers[-2:] == ("avgpool", "fc")
    assert len(layers) == 4 + 16 + 2
    assert set(resnet) >= {802816, 401408, 200704, 100352, 1000}


@pytest.mark.slow
def test_the_layers_of_2021_of_vgg19():
    _, sizes = _sizes("torchvision/vgg19", "algonauts2021")
    assert sizes == [802816, 401408, 200704, 100352, 25088, 4096, 4096, 1000]


def test_the_layers_of_2021_of_simclr():
    layers, sizes = _sizes("simclr/r50_1x_sk0", "algonauts2021")
    assert (len(layers), max(sizes), round(sum(sizes) / 1e6, 2)) == (21, 802816, 7.33)


@pytest.mark.slow
def test_the_layers_of_2021_of_wide_simclr():
    layers, sizes = _sizes("simclr/r50_2x_sk1", "algonauts2021")
    assert (len(layers), max(sizes), round(sum(sizes) / 1e6, 2)) == (25, 1605632, 17.87)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("vonenet/alexnet", ["vone_block", "bottleneck", "model.features.0", "model.classifier.6"]),
        ("vonenet/cornets", ["vone_block", "bottleneck", "model.V2", "model.V4", "model.IT", "model.decoder.linear"]),
        ("vonenet/resnet50", ["vone_block", "bottleneck", "model.layer1.0", "model.layer4.2", "model.fc"]),
        ("barlow_twins/resnet50", ["conv1", "relu", "layer1.0", "layer4.2", "avgpool"]),
    ],
)
def test_sets_of_2021_of_other_networks(name, layers):
    chosen = layers_at_64(name, "algonauts2021")
    assert [layer for layer in chosen if layer in layers] == layers
    assert not [layer for layer in chosen if layer.startswith("model.layer") and layer.count(".") > 2]


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
