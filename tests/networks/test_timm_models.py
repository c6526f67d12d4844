from __future__ import annotations

import dataclasses
import hashlib
import sys

import pytest
import torch

from voxelcast.core.errors import DataError, MissingFileError, MissingPackageError, OptionError, UnknownNameError
from voxelcast.networks.registry import list_networks, load_network

try:
    import timm
except ImportError:
    timm = None

needs_timm = pytest.mark.skipif(timm is None, reason="timm is not installed")


def _load(name, layers, **options):
    return load_network(f"timm/{name}", **{"weights": "random", "layers": layers, **options})


@needs_timm
def test_every_model_is_listed_with_and_without_tag():
    names = list_networks("timm/*")
    assert {f"timm/{name}" for name in (*timm.list_models(), *timm.list_pretrained())} == set(names)
    assert {"timm/resnet50", "timm/resnet50.a1_in1k"} <= set(list_networks("*resnet50*"))


@needs_timm
@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "vit_tiny_patch16_224.augreg_in21k", "convnextv2_atto.fcmae"])
def test_cards_are_timms_own(name):
    expected = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    card = _load(name, ["depth:1"]).card
    assert (card.input_size, card.mean, card.std) == (expected["input_size"][1], expected["mean"], expected["std"])
    assert card.name == f"timm/{name}"


@needs_timm
@pytest.mark.parametrize(
    ("name", "prefix", "size"), [("vit_tiny_patch16_224", "blocks", 224), ("resnet18", "layer", 64)]
)
def test_layers_equal_timms_own_intermediates(tmp_path, name, prefix, size):
    torch.manual_seed(1)
    module = timm.create_model(name).eval()
    torch.save(module.state_dict(), tmp_path / "w.pth")
    layers = [f"{prefix}.{k}" for k in range(12)] if prefix == "blocks" else [f"layer{k}" for k in (1, 2, 3, 4)]
    network = _load(name, layers, weights=tmp_path / "w.pth", input_size=size)
    frames = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        options = {"output_fmt": "NLC", "return_prefix_tokens": True} if prefix == "blocks" else {}
        expected = module.forward_intermediates(frames, intermediates_only=True, **options)[-len(layers) :]
    activations = network.activations(frames)
    for layer, values in zip(layers, expected, strict=True):
        whole = torch.cat([values[1], values[0]], dim=1) if isinstance(values, tuple) else values
        torch.testing.assert_close(activations[layer], whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


@needs_timm
def test_vision_transformers_take_another_size_with_resized_positions(tmp_path):
    torch.manual_seed(2)
    module = timm.create_model("vit_tiny_patch16_224").eval()
    torch.save({"model": module.state_dict()}, tmp_path / "w.pth")
    network = _load("vit_tiny_patch16_224", ["blocks.0"], weights=tmp_path / "w.pth", input_size=96)
    frames = torch.randn(1, 3, 96, 96)
    assert network.activations(frames)["blocks.0"].shape == (1, 1 + 6 * 6, 192)


@needs_timm
def test_loading_leaves_torchs_random_state_alone(tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    torch.manual_seed(11)
    expected = torch.rand(2)
    torch.manual_seed(11)
    _load("resnet18", ["fc"], weights=tmp_path / "w.pth", input_size=64)
    assert torch.equal(torch.rand(2), expected)


@needs_timm
def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"must fit 'timm/resnet26'; got 122 tensors: 45 missing"):
        _load("resnet26", ["fc"], weights=tmp_path / "w.pth", input_size=64)


@needs_timm
@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("resnet51", {}, UnknownNameError, "did you mean timm/resnet5"),
        ("resnet50.a1_in2k", {}, UnknownNameError, "did you mean timm/resnet50.a"),
        ("test_vit", {"layers": ["block.0"]}, UnknownNameError, "did you mean blocks"),
    ],
)
def test_what_does_not_exist_or_fit(name, options, error, message):
    with pytest.raises(error, match=message) as raised:
        _load(name, **{"layers": ["*"], **options})
    assert "\n" not in str(raised.value)


@needs_timm
def test_networks_of_frames_that_are_not_square_need_a_size(monkeypatch):
    oblong = dataclasses.replace(timm.get_pretrained_cfg("test_resnet"), input_size=(3, 96, 64))
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda _: oblong)
    with pytest.raises(OptionError, match="96 x 64 pixels, not square ones; set input_size"):
        _load("test_resnet", ["fc"])
    assert _load("test_resnet", ["fc"], input_size=64).card.input_size == 64


def test_without_timm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'voxelcast\[timm\]'"):
        _load("resnet18", ["fc"])
    with pytest.raises(MissingPackageError):
        list_networks("timm/*")
    assert not [name for name in list_networks("*resnet18*") if name.startswith("timm/")]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The Hugging Face hub's cache at a place of the test's own, as the hub lays it out, and no network."""
    torch.manual_seed(5)
    module = timm.create_model("test_resnet")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    import safetensors.torch

    safetensors.torch.save_file(module.state_dict(), blobs / "part")
    digest = hashlib.sha256((blobs / "part").read_bytes()).hexdigest()
    (blobs / "part").rename(blobs / digest)
    link = tmp_path / "model.safetensors"
    link.symlink_to(blobs / digest)
    asked = []

    def download(repository, file, revision=None):
        asked.append((repository, file, revision))
        if not link.exists():
            raise FileNotFoundError("cannot find the file on the Hub")
        return str(link)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return module, link, asked


@needs_timm
def test_default_weights_come_from_the_hubs_cache_checked_by_their_hash(hub):
    module, link, asked = hub
    network = _load("test_resnet", ["fc"], weights="default", input_size=96)
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors", None)]
    assert network.card.weights == "default (test_resnet.r160_in1k)"
    assert network.card.licence == "apache-2.0"
    frames = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(network.activations(frames)["fc"], module.eval()(frames), rtol=1e-4, atol=1e-5)

    with link.open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"evil")
    with pytest.raises(DataError, match="must have a sha256 of"):
        _load("test_resnet", ["fc"], weights="default", input_size=96)


@needs_timm
def test_default_weights_that_cannot_be_had_are_never_replaced(hub):
    _, link, _ = hub
    link.unlink()
    with pytest.raises(MissingFileError, match=r"are not in .* models--timm--test_resnet\.r160_in1k of a machine"):
        _load("test_resnet", ["fc"], weights="default", input_size=96)
