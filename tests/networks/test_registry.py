from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.networks.families.own_network import network_from_module
from voxelcast.networks.registry import describe_layers, find_family, list_networks, load_network
from voxelcast.networks.settings import NetworkSettings

MOBILENET = "mobilenet_v2_1.0_224_coral_tv.pth"
SQUEEZENET = "squeezenet1_0_deepcompression_tv.pth"


def test_names_are_listed_by_pattern():
    assert {"torchvision/resnet18", "torchvision/resnet152"} <= set(list_networks("*resnet*"))
    assert list_networks("voxelcast/*") == ("voxelcast/mel", "voxelcast/motion_energy")
    assert list_networks() == tuple(sorted(list_networks()))
    assert not list_networks("*raft*")
    assert not list_networks("nothing")


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("torchvision/resnet19", {}, UnknownNameError, "did you mean torchvision/resnet18"),
        ("motion_energy", {}, UnknownNameError, "did you mean voxelcast/motion_energy"),
        ("torchvision/raft_small", {}, UnknownNameError, "is no classification network"),
        ("torchvision/resnet18", {"layers": ["layer5"]}, UnknownNameError, "'layer5' does not exist in 'torchvision/r"),
        ("torchvision/resnet18", {"layers": ["nothing.*"]}, UnknownNameError, "List them: voxelcast networks layers"),
        ("torchvision/resnet18", {"layers": []}, OptionError, "at least one; got none"),
        ("torchvision/resnet18", {"input_size": 0}, OptionError, "input_size must be at least 1; got 0"),
        ("torchvision/resnet18", {"std": (1.0, 0.0, 1.0)}, OptionError, "std must be above 0"),
        ("torchvision/resnet18", {"device": "quantum"}, OptionError, "must be like cpu, cuda"),
        ("torchvision/resnet18", {"device": "mps"}, OptionError, "must be cpu or cuda"),
        ("torchvision/resnet18", {"device": "cuda:99"}, OptionError, "'cuda:99' is not there"),
        ("torchvision/resnet18", {"weights": "none"}, OptionError, "must be default, random or a file"),
        ("torchvision/alexnet", {"input_size": 16}, OptionError, "cannot take frames of input_size 16"),
        ("torchvision/vit_b_32", {"input_size": 50}, OptionError, "cannot take input_size 50"),
        ("voxelcast/motion_energy", {"weights": "random"}, OptionError, "must be none"),
        ("voxelcast/motion_energy", {"weights": None, "mean": (0, 0, 0)}, OptionError, "are fixed"),
        ("voxelcast/motion_energy", {"weights": None, "input_size": 32}, OptionError, "at least 64"),
        ("voxelcast/motion_energy", {"weights": None, "layers": ["motion.6"]}, UnknownNameError, "motion.5"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_in_one_line(name, options, error, message):
    with pytest.raises(error) as raised:
        load_network(name, **{"weights": "random", "layers": ["conv1"], **options})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = frames.flatten(2).transpose(1, 2)
        return self.attention(pixels, pixels, pixels)[0]


def test_layers_that_are_no_layers_say_why():
    settings = NetworkSettings("mine", "attention", input_size=4, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(UnknownNameError, match="layer 'attention' of 'mine' puts out a tuple"):
        network_from_module(Attending(), settings)


@pytest.mark.slow
def test_attention_of_a_released_network_is_no_layer():
    layer = "encoder.layers.encoder_layer_0.self_attention"
    with pytest.raises(UnknownNameError, match="self_attention' of 'torchvision/vit_b_32' puts out a tuple"):
        load_network("torchvision/vit_b_32", weights="random", layers=[layer], input_size=64)


def test_one_name_of_a_layer_is_not_read_letter_by_letter():
    assert NetworkSettings("torchvision/alexnet", "all").layers == ("all",)
    assert NetworkSettings("torchvision/alexnet", ["fc", "all"]).layers == ("fc", "all")


def test_random_weights_follow_the_seed_and_leave_torch_alone():
    def load(seed):
        return load_network("torchvision/squeezenet1_1", weights="random", layers=["features.0"], seed=seed)

    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = load(4)
    assert torch.equal(torch.rand(3), expected)
    second, other = load(4), load(5)
    assert first.card == second.card
    assert first.card.weights == "random (seed 4)"
    assert other.card.weights_hash != first.card.weights_hash


def test_cards_carry_the_released_weights_preprocessing():
    settings = NetworkSettings("torchvision/inception_v3", "fc")
    recipe = find_family(settings).recipe(settings)
    assert (recipe.input_size, recipe.mean, recipe.std) == (299, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    card = load_network("torchvision/squeezenet1_1", weights="random", layers=["*.0"]).card
    assert (card.input_size, card.mean, card.std) == (224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    card = load_network(
        "torchvision/squeezenet1_1", weights="random", layers=["*.0"], input_size=99, mean=(0.5,) * 3, std=(0.4,) * 3
    ).card
    assert (card.input_size, card.mean, card.std) == (99, (0.5, 0.5, 0.5), (0.4, 0.4, 0.4))


@pytest.mark.slow
def test_the_card_of_a_network_of_another_size():
    card = load_network("torchvision/inception_v3", weights="random", layers=["fc"]).card
    assert (card.input_size, card.mean, card.std) == (299, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_1", "voxelcast/motion_energy"])
def test_described_layers_are_those_that_load(name):
    described = describe_layers(name, input_size=64)
    weights = "random" if name.startswith("torchvision") else None
    network = load_network(name, weights=weights, layers=["*"], input_size=64)
    assert tuple(layer.name for layer in described) == network.layers
    outputs = network.activations(network.prepare(np.zeros((1, 20, 30, 3), np.uint8)))
    assert {layer.name: layer.shape for layer in described} == {k: tuple(v.shape[1:]) for k, v in outputs.items()}


@pytest.mark.parametrize(
    ("name", "weights", "options"),
    [
        ("torchvision/mobilenet_v2", MOBILENET, {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}),
        ("torchvision/squeezenet1_0", SQUEEZENET, {"input_size": 227}),
    ],
)
def test_trained_networks_name_known_pictures(real_data, name, weights, options):
    network = load_network(name, weights=real_data / "weights" / weights, layers=["classifier"], **options)
    labels = (real_data / "weights" / "imagenet_labels.txt").read_text().splitlines()[1:]  # the first is "background"
    for picture, wanted in (
        ("parrot.jpg", "macaw"),
        ("cat.bmp", "Egyptian cat"),
        ("hot_dog.jpg", "hotdog, hot dog, red hot"),
        ("bird.bmp", "chickadee"),
    ):
        frame = np.array(Image.open(real_data / "pictures" / picture).convert("RGB"))
        scores = network.activations(network.prepare(frame[None]))["classifier"].flatten()
        assert labels[int(scores.argmax())] == wanted
