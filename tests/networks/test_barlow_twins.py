from __future__ import annotations

import pytest
import torch
import torchvision

from voxelcast.core.errors import DataError, MissingFileError, UnknownNameError
from voxelcast.networks.registry import load_network

NAME = "barlow_twins/resnet50"


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return torchvision.models.resnet50(weights=None).eval()


@pytest.fixture(scope="module")
def backbone(resnet):
    return {name: tensor for name, tensor in resnet.state_dict().items() if not name.startswith("fc.")}


def _full(backbone):
    """As training writes it: everything under ``model``, wrapped for several GPUs."""
    others = {"projector.0.weight": torch.zeros(8, 2048), "bn.running_mean": torch.zeros(8)}
    state = {f"module.backbone.{name}": tensor for name, tensor in backbone.items()}
    return {"epoch": 1000, "model": {**state, **{f"module.{name}": tensor for name, tensor in others.items()}}}


def _assert_close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("wrap", [lambda backbone: backbone, _full], ids=["released", "full checkpoint"])
def test_networks_without_classifier(tmp_path, resnet, backbone, wrap):
    torch.save(wrap(backbone), tmp_path / "w.pth")
    network = load_network(NAME, weights=tmp_path / "w.pth", layers=["layer4.2", "avgpool"], input_size=64)
    assert "fc" not in network.layer_names()
    frames = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = torch.nn.Sequential(*list(resnet.children())[:-1])(frames)
    _assert_close(network.activations(frames)["avgpool"], expected)


def test_fine_tuned_networks_have_a_classifier(tmp_path, resnet):
    torch.save({"epoch": 20, "model": {f"module.{k}": v for k, v in resnet.state_dict().items()}}, tmp_path / "w.pth")
    network = load_network(NAME, weights=tmp_path / "w.pth", layers=["fc"], input_size=64)
    frames = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        _assert_close(network.activations(frames)["fc"], resnet(frames))


def test_what_does_not_fit_is_refused(tmp_path, backbone):
    spoilt = _full(backbone)
    del spoilt["model"]["module.backbone.conv1.weight"]
    spoilt["model"]["module.surprise"] = torch.zeros(1)
    torch.save(spoilt, tmp_path / "w.pth")
    with pytest.raises(
        DataError, match=r"1 missing \(first 'conv1.weight'\), 1 not in the network \(first 'surprise'\)"
    ):
        load_network(NAME, weights=tmp_path / "w.pth", layers=["avgpool"], input_size=64)
    with pytest.raises(UnknownNameError, match="'fc' does not exist"):
        load_network(NAME, weights="random", layers=["fc"], input_size=64)
    with pytest.raises(MissingFileError, match=r"fetch resnet50\.pth"):
        load_network(NAME, layers=["avgpool"])
