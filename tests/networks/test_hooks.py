from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from voxelcast.core.errors import DataError
from voxelcast.networks.hooks import capture, trace


@pytest.fixture(scope="module")
def alexnet():
    torch.manual_seed(0)
    return torchvision.models.alexnet(weights=None).eval()


class Odd(nn.Module):
    """Calls one ReLU twice, returns a tuple from one child and skips another."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.relu = nn.ReLU()
        self.second = nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)
        self.mixed = nn.Flatten(0)
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        x = self.relu(self.second(self.relu(self.first(x))))
        x = self.attention(x[:, None], x[:, None], x[:, None])[0][:, 0]
        self.mixed(x)
        return x


def _n_hooks(module: nn.Module) -> int:
    return sum(len(child._forward_hooks) for child in module.modules())


def test_in_place_operations_do_not_reach_what_was_captured(alexnet):
    frames = torch.randn(2, 3, 64, 64)
    convolutions = [f"features.{k}" for k in (0, 3, 6, 8, 10)]
    with torch.inference_mode(), capture(alexnet, [*convolutions, "classifier.1", "features.1"]) as captured:
        alexnet(frames)
    expected = frames
    for k, layer in enumerate(alexnet.features):
        # An in-place ReLU writes into its input: give it a copy.
        expected = layer(expected.clone())
        if f"features.{k}" in captured:
            assert torch.equal(captured[f"features.{k}"], expected)
    assert all((captured[layer] < 0).any() for layer in [*convolutions, "classifier.1"])
    assert (captured["features.1"] >= 0).all()


# Layers before an in-place ReLU are left out: the outputs of torchvision's extractor are overwritten there.
@pytest.mark.parametrize(
    ("name", "layers", "size"),
    [
        ("resnet18", ["conv1", "layer1.0", "layer2.0.conv1", "layer4.1", "avgpool", "fc"], 64),
        ("squeezenet1_0", ["features.1", "features.3", "features.7.squeeze_activation", "features.12"], 64),
        ("mobilenet_v2", ["features.0", "features.2.conv.0", "features.18", "classifier"], 64),
        ("vit_b_32", ["encoder.layers.encoder_layer_1", "encoder.ln", "heads"], 224),
    ],
)
def test_equals_torchvisions_own_extractor(name, layers, size):
    torch.manual_seed(1)
    module = torchvision.models.get_model(name, weights=None).eval()
    frames = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        expected = create_feature_extractor(module, return_nodes={layer: layer for layer in layers})(frames)
        with capture(module, layers) as captured:
            module(frames)
    assert list(captured) == layers
    for layer in layers:
        assert torch.equal(captured[layer], expected[layer]), layer


def test_stopping_early_changes_nothing_and_skips_the_rest(alexnet):
    frames, layers = torch.randn(1, 3, 64, 64), ["features.3", "features.0"]
    reached: list[int] = []
    handle = alexnet.classifier.register_forward_hook(lambda *_: reached.append(1))
    try:
        with torch.inference_mode():
            with capture(alexnet, layers, dict.fromkeys(layers, 1)) as early:
                alexnet(frames)
            assert not reached
            with capture(alexnet, layers) as late:
                alexnet(frames)
    finally:
        handle.remove()
    assert reached
    assert all(torch.equal(early[layer], late[layer]) for layer in layers)
    assert _n_hooks(alexnet) == 0


def test_the_last_call_counts():
    module, frames = Odd(), torch.randn(3, 4)
    expected = torch.relu(module.second(torch.relu(module.first(frames))))
    for calls in (None, {"relu": 2}):
        with capture(module, ["relu"], calls) as captured:
            module(frames)
        assert torch.equal(captured["relu"], expected)


def test_hooks_are_removed_after_an_exception(alexnet):
    with pytest.raises(RuntimeError), capture(alexnet, ["features.0"]):
        alexnet(torch.zeros(1, 5, 64, 64))
    with pytest.raises(AttributeError), capture(alexnet, ["features.0", "features.99"]):
        pass
    assert _n_hooks(alexnet) == 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [("attention", "'attention' must put out one tensor; got tuple"), ("unused", "'unused' is not called")],
)
def test_what_is_no_layer_is_named(layer, message):
    module = Odd()
    with pytest.raises(DataError, match=message), capture(module, [layer]):
        module(torch.zeros(2, 4))
    assert _n_hooks(module) == 0


def test_trace_tells_order_calls_shapes_and_problems():
    module = Odd()
    seen = {layer.name: layer for layer in trace(module, torch.zeros(2, 4))}
    assert list(seen)[:3] == ["first", "second", "relu"]
    assert (seen["relu"].calls, seen["relu"].kind, seen["relu"].shape) == (2, "ReLU", (4,))
    assert "tuple" in seen["attention"].problem
    assert "one entry per frame" in seen["mixed"].problem
    assert "not called" in seen["unused"].problem
    assert _n_hooks(module) == 0
