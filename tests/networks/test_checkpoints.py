from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision

from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError
from voxelcast.networks import checkpoints
from voxelcast.networks.registry import load_network

NAME = "torchvision/squeezenet1_1"


def _load(weights):
    return load_network(NAME, weights=weights, layers=["features.0"], input_size=64)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(3)
    return torchvision.models.squeezenet1_1(weights=None).state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    ],
    ids=["bare", "state_dict", "model", "module."],
)
def test_ways_of_saving_give_the_same_network(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / "weights.pth")
    network = _load(tmp_path / "weights.pth")
    reference = torchvision.models.squeezenet1_1(weights=None)
    reference.load_state_dict(state)
    assert network.card.weights_hash == checkpoints.parameter_hash(reference)
    assert network.card.weights == f"file weights.pth (blake2b {network.card.weights_hash[:12]})"
    frames = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = reference.features[0](frames)
    torch.testing.assert_close(network.activations(frames)["features.0"], expected)


def test_the_hash_sees_every_bit(state):
    module = torchvision.models.squeezenet1_1(weights=None)
    module.load_state_dict(state)
    before = checkpoints.parameter_hash(module)
    with torch.no_grad():
        module.classifier[1].bias[7] = torch.nextafter(module.classifier[1].bias[7], torch.tensor(1.0))
    assert checkpoints.parameter_hash(module) != before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("features.0.weight"), r"1 missing \(first 'features.0.weight'\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 not in the network \(first 'extra'\)"),
        (lambda s: s.update({"features.0.bias": torch.zeros(7)}), r"1 of another shape \(first 'features.0.bias'\)"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, state, spoil, message):
    spoilt = dict(state)
    spoil(spoilt)
    torch.save(spoilt, tmp_path / "w.pth")
    with pytest.raises(DataError, match=message) as raised:
        _load(tmp_path / "w.pth")
    assert "\n" not in str(raised.value)


def test_weights_of_another_network(tmp_path):
    torch.save(torchvision.models.mobilenet_v3_small(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(DataError, match=f"must fit '{NAME}'; got 244 tensors: 52 missing.*244 not in the network"):
        _load(tmp_path / "w.pth")


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("was-here",)


def test_a_file_that_wants_to_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Evil()}, "w.pth")
    with pytest.raises(UnsafeFileError, match=r"w\.pth holds more than tensors"):
        _load(Path("w.pth"))
    assert not Path("was-here").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 torn"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises((DataError, UnsafeFileError), match=r"w\.pth"):
        _load(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}])
def test_a_checkpoint_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(DataError, match="must hold a state dict"):
        _load(tmp_path / "w.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.pth does not exist"):
        _load(tmp_path / "gone.pth")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Torch's cache at a place of the test's own, and no network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def unreachable(*_args, **_kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_default_weights_that_cannot_be_had_are_never_replaced(hub):
    with pytest.raises(MissingFileError) as raised:
        _load("default")
    message = str(raised.value)
    assert str(hub / "squeezenet1_1-b8a52dc0.pth") in message
    assert "no route to host" in message
    assert "put it there, or set weights to a file or to random" in message


def test_cached_default_weights_are_checked_by_their_hash(hub, state):
    torch.save(state, hub / "part")
    digits = hashlib.sha256((hub / "part").read_bytes()).hexdigest()[:8]
    (hub / "part").rename(hub / f"net-{digits}.pth")
    read = checkpoints.default_state_dict(f"https://example.org/net-{digits}.pth", NAME)
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes((hub / f"net-{digits}.pth").read_bytes())
    with pytest.raises(DataError, match=f"must have a sha256 of b8a52dc0...; got {digits}"):
        _load("default")


def test_released_densenets_names_are_understood(hub):
    module = torchvision.models.densenet121(weights=None)
    state = module.state_dict()
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in name else name: tensor
        for name, tensor in state.items()
    }
    assert old.keys() != state.keys()
    torch.save(old, hub / "densenet.pth")
    read = checkpoints.default_state_dict("https://example.org/densenet.pth", "torchvision/densenet121")
    checkpoints.fit_state_dict(module, read, "torchvision/densenet121", "test")
    assert read.keys() == state.keys()
