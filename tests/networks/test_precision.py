from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from voxelcast.core.errors import OptionError
from voxelcast.networks.precision import fold_batch_norms
from voxelcast.networks.registry import load_network

LAYERS = ["conv1", "bn1", "relu", "layer1.0.bn2", "layer2.*", "avgpool", "fc"]


@pytest.fixture
def resnet18():
    """With batch normalisations that do something."""
    torch.manual_seed(0)
    module = torchvision.models.resnet18(weights=None)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.weight.data, part.running_var):
                values.uniform_(0.5, 2)
            for values in (part.bias.data, part.running_mean):
                values.normal_()
    return module.eval()


def test_folding_changes_nothing_but_rounding(resnet18):
    frames = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = resnet18(frames)
        assert fold_batch_norms(resnet18) == 20
        assert not any(isinstance(part, nn.BatchNorm2d) for part in resnet18.modules())
        torch.testing.assert_close(resnet18(frames), expected, rtol=1e-4, atol=1e-4)


def test_convolutions_whose_output_is_wanted_are_not_folded(resnet18):
    before = resnet18.conv1.weight.clone()
    assert fold_batch_norms(resnet18, keep=["conv1"]) == 19
    assert torch.equal(resnet18.conv1.weight, before)
    assert isinstance(resnet18.bn1, nn.BatchNorm2d)


def test_what_branches_on_its_data_is_left_alone():
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) if x.sum() > 0 else x

    assert fold_batch_norms(Branching().eval()) == 0


def test_an_output_used_twice_is_not_folded():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) + x

    assert fold_batch_norms(Twice().eval()) == 0


@pytest.mark.parametrize(("precision", "least"), [("tf32", 1 - 1e-9), ("bfloat16", 0.9999)])
def test_features_stay_nearly_the_same(precision, least):
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    plain, other = (
        load_network("torchvision/resnet18", weights="random", layers=LAYERS, input_size=64, precision=chosen)
        for chosen in ("float32", precision)
    )
    assert other.card.precision == precision
    expected, found = (network.activations(network.prepare(frames)) for network in (plain, other))
    for layer in plain.layers:
        assert found[layer].shape == expected[layer].shape
        pair = [values[layer].float().numpy().ravel() for values in (expected, found)]
        assert np.corrcoef(pair)[0, 1] > least, layer


def test_unknown_precisions_are_refused():
    with pytest.raises(OptionError, match="precision"):
        load_network("torchvision/resnet18", weights="random", layers=["fc"], precision="float16")
    with pytest.raises(OptionError, match="precision of 'voxelcast/motion_energy' must be float32"):
        load_network("voxelcast/motion_energy", weights=None, layers=["*"], precision="bfloat16")
