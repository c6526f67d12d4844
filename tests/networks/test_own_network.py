from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import torch
from torch import nn

from voxelcast.core.errors import DataError, MissingFileError, OptionError, UnknownNameError, UnsafeFileError
from voxelcast.networks.families.own_network import network_from_module
from voxelcast.networks.registry import describe_layers, load_network

CARD = {"input_size": 24, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
SOURCE = """
from torch import nn

class Small(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, frames):
        return self.act(self.conv(frames)).mean((2, 3))

def needs(channels):
    return Small(channels)

def number():
    return 3

a_module = Small()
text = "text"
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A Python file in the folder in which voxelcast runs; gives a function that writes it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file written twice within a second must be read twice

    def write(text=SOURCE):
        (tmp_path / "my_small_nets.py").write_text(text)
        sys.modules.pop("my_small_nets", None)
        return "module:my_small_nets:Small"

    yield write
    sys.modules.pop("my_small_nets", None)


def test_an_own_network_is_its_module(written):
    network = load_network(written(), layers=["all"], seed=3, licence="MIT", **CARD)
    frames = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)
    found = network.activations(network.prepare(frames))
    module = sys.modules["my_small_nets"].Small()
    module.load_state_dict(network.module.state_dict())
    # Made of the card alone.
    rgb = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    inputs = (rgb - torch.tensor(CARD["mean"])[:, None, None]) / torch.tensor(CARD["std"])[:, None, None]
    torch.testing.assert_close(found["conv"], module.conv(inputs), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["act"], module.conv(inputs).relu(), rtol=1e-4, atol=1e-5)
    card = network.card
    assert (card.input_size, card.mean, card.std, card.licence) == (24, CARD["mean"], CARD["std"], "MIT")
    assert card.weights.startswith("its own (blake2b ")
    layers = describe_layers(written(), **CARD)
    assert [(layer.name, layer.shape) for layer in layers] == [("conv", (4, 22, 22)), ("act", (4, 22, 22))]


def test_same_code_and_seed_give_the_same_card_and_other_code_another(written):
    def card(**options):
        return load_network(written(options.pop("text", SOURCE)), layers=["all"], **CARD, **options).card

    first = card()
    assert card() == first
    assert card(seed=1).weights_hash != first.weights_hash
    assert card(weights="random").weights_hash == first.weights_hash
    other = card(text=SOURCE.replace("(2, 3)", "(2, 3)) * (2"))
    assert other.weights_hash == first.weights_hash
    assert other.code != first.code
    assert card(version="2").code == f"version 2, {first.code}"


def test_weights_come_from_a_file_by_the_usual_rules(written, tmp_path):
    name = written()
    network = load_network(name, layers=["conv"], seed=1, **CARD)
    torch.save(network.module.state_dict(), tmp_path / "w.pth")
    loaded = load_network(name, layers=["conv"], weights="w.pth", seed=2, **CARD)
    assert loaded.card.weights_hash == network.card.weights_hash
    assert loaded.card.weights.startswith("file w.pth (blake2b ")
    torch.save(network.module, tmp_path / "whole.pth")
    with pytest.raises(UnsafeFileError, match=r"save the network's state_dict"):
        load_network(name, layers=["conv"], weights="whole.pth", **CARD)
    with pytest.raises(MissingFileError, match=r"none\.pth does not exist"):
        load_network(name, layers=["conv"], weights="none.pth", **CARD)
    torch.save({"conv.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(DataError, match=r"1 missing \(first 'conv\.bias'\)"):
        load_network(name, layers=["conv"], weights="part.pth", **CARD)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("nowhere:build", {}, UnknownNameError, "there is no Python module 'nowhere'; install it, or run voxelcast in"),
        ("my_small_nets:Smll", {}, UnknownNameError, "did you mean Small"),
        ("my_small_nets", {}, OptionError, "must be named module:PACKAGE.MODULE:CALLABLE"),
        ("my_small_nets:text", {}, OptionError, "must be a callable that returns an nn.Module; got a str"),
        ("my_small_nets:number", {}, OptionError, "must return an nn.Module; got a int"),
        ("my_small_nets:needs", {}, OptionError, "must be callable without arguments (missing a required argument"),
        ("my_small_nets:a_module", {"weights": "random"}, OptionError, "cannot be random"),
        ("my_small_nets:Small", {"mean": None}, OptionError, "is your own network: say its mean"),
        ("my_small_nets:Small", {"layers": ["cnv"]}, UnknownNameError, "did you mean conv"),
        ("my_small_nets:Small", {"input_size": 2}, OptionError, "cannot take frames of input_size 2"),
        ("my_small_nets:Small", {"takes": "clip"}, OptionError, "say its clip_length"),
        ("my_small_nets:Small", {"clip_length": 4}, OptionError, "are for takes=clip"),
        ("my_small_nets:Small", {"takes": "video"}, OptionError, "must be one of frames, clip"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(written, name, options, error, message):
    written()
    with pytest.raises(error) as raised:
        load_network(f"module:{name}", **{"layers": ["all"], **CARD, **options})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_code_that_needs_what_is_not_there_says_so(written):
    written("import not_installed_anywhere")
    with pytest.raises(OptionError, match="needs 'not_installed_anywhere', which is not installed"):
        load_network("module:my_small_nets:Small", layers=["all"], **CARD)
    written("def build(:")
    with pytest.raises(OptionError, match="cannot be imported"):
        load_network("module:my_small_nets:build", layers=["all"], **CARD)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("takes", "frames"),
        ("version", "1"),
        ("clip_length", 3),
        ("clip_stride", 3),
        ("clip_axes", "BTCHW"),
        ("tokens", {"height": 2, "width": 2}),
    ],
)
def test_settings_of_own_networks_are_for_those(setting, value):
    with pytest.raises(OptionError, match=f"{setting} is for "):
        load_network("torchvision/resnet18", layers=["fc"], weights="random", **{setting: value})


def test_a_module_in_hand_stays_as_it_is():
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    before = copy.deepcopy(module.state_dict())
    network = network_from_module(module, "mine", layers=["0", "2"], **CARD)
    frames = np.random.default_rng(1).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    first = network.activations(network.prepare(frames))
    assert torch.equal(first["2"], network.activations(network.prepare(frames))["2"])  # no dropout
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    with pytest.raises(OptionError, match="at least one; got none"):
        network_from_module(module, "mine", layers=[], **CARD)
    with pytest.raises(OptionError, match="must be a callable that returns an nn"):
        network_from_module("module", "mine", layers=["all"], **CARD)


class Tokens(nn.Module):
    """Makes a token of every tube of 2 frames and 4 x 4 pixels, after two special ones; clips have time first."""

    def __init__(self, time_first=True, turned=False):
        super().__init__()
        self.time_first, self.turned = time_first, turned
        self.patch = nn.Conv3d(3, 5, (2, 4, 4), (2, 4, 4))
        self.block = nn.Identity()

    def forward(self, clips):
        tubes = self.patch(clips.transpose(1, 2) if self.time_first else clips)  # (n, 5, 2, 6, 6)
        tokens = (tubes.permute(0, 3, 4, 2, 1) if self.turned else tubes.permute(0, 2, 3, 4, 1)).flatten(1, 3)
        return self.block(torch.cat([tokens.new_full((len(tokens), 2, 5), 7.0), tokens], 1))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("axes", ["BCTHW", "BTCHW"])
def test_tokens_of_an_own_network_lie_on_the_axes_declared(axes, turned):
    module = Tokens(axes == "BTCHW", turned)
    lengths = {"height": 6, "width": 6, "time": 2} if turned else {"time": 2, "height": 6, "width": 6}
    network = network_from_module(
        module,
        "own",
        layers=["patch", "block"],
        takes="clip",
        clip_length=4,
        clip_axes=axes,
        tokens={"special": 2, **lengths},
        **CARD,
    )
    clip = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    found = network.activations(clip)
    expected = module.patch(clip.transpose(0, 1)[None])[0].transpose(0, 1)
    torch.testing.assert_close(found["block"], expected)
    torch.testing.assert_close(found["patch"], expected)
    assert f"tokens {{'special': 2, {str(lengths)[1:]}" in network.card.code
    assert ("clips BTCHW" in network.card.code) == (axes == "BTCHW")


class Patches(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.block = nn.Conv2d(3, 5, 4, 4), nn.Identity()

    def forward(self, frames):
        return self.block(self.patch(frames).flatten(2).transpose(1, 2))


def test_tokens_of_an_own_network_of_frames_are_pooled_over_space():
    module = Patches()
    network = network_from_module(module, "own", layers="block", tokens={"height": 6, "width": 6}, **CARD)
    frames = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.activations(frames)["block"], module.patch(frames))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": {"height": 6}}, "must be the lengths of height, width, in the order"),
        ({"tokens": {"time": 2, "height": 6, "width": 6}}, "must be the lengths of height, width, in the order"),
        ({"tokens": {"height": 6, "width": 0}}, "must be the lengths of height, width"),
        ({"tokens": "cls"}, "must be the lengths of height, width"),
        ({"clip_axes": "BTCHW"}, "clip_axes of 'own' are for takes=clip"),
        ({"takes": "text"}, "must take frames or clip"),
        (
            {"tokens": {"height": 5, "width": 5}, "layers": "block"},
            "puts out 36 tokens, not those of height 5 x width 5",
        ),
    ],
)
def test_axes_that_cannot_be_are_refused(options, message):
    with pytest.raises((OptionError, UnknownNameError), match=message):
        network_from_module(Patches(), "own", **{"layers": "all", **CARD, **options})
