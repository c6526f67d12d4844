"""What every network has to do."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from voxelcast.networks.registry import load_network

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

NETWORKS = [
    ("torchvision/resnet18", 64),
    ("torchvision/alexnet", 64),
    ("torchvision/squeezenet1_0", 64),
    ("torchvision/mobilenet_v2", 64),
    ("torchvision/shufflenet_v2_x0_5", 64),
    ("voxelcast/motion_energy", 64),
    ("simclr/r50_1x_sk0", 64),
    ("simclr/r50_1x_sk1", 64),
    ("vonenet/cornets", 64),
    ("barlow_twins/resnet50", 64),
    pytest.param("timm/test_resnet", 64, marks=needs_timm),
    pytest.param("timm/test_vit", 160, marks=needs_timm),
    *(
        pytest.param(f"torchvision/{name}", size, marks=pytest.mark.slow)
        for name, size in [
            ("vit_b_16", 64),
            ("densenet121", 64),
            ("googlenet", 64),
            ("inception_v3", 96),
            ("efficientnet_b0", 64),
            ("convnext_tiny", 64),
            ("swin_t", 64),
            ("swin_v2_t", 64),
            ("regnet_y_400mf", 64),
            ("vgg11_bn", 64),
            ("mnasnet0_5", 64),
        ]
    ),
    *(
        pytest.param(name, 64, marks=pytest.mark.slow)
        for name in ("simclr/r50_2x_sk1", "simclr/r101_1x_sk1", "vonenet/alexnet", "vonenet/resnet50")
    ),
    *(
        pytest.param(f"timm/{name}", size, marks=[pytest.mark.slow, needs_timm])
        for name, size in [
            ("resnet18", 64),
            ("vit_tiny_patch16_224", 64),
            ("convnext_atto", 64),
            ("swin_tiny_patch4_window7_224", 224),
            ("efficientnet_b0", 64),
            ("mixer_s32_224", 224),
            ("regnety_002", 64),
            ("mobilevit_xxs", 64),
            ("levit_128s", 224),
        ]
    ),
]


def _load(name, size, layers=("*",)):
    weights = None if name.startswith("voxelcast/") else "random"
    return load_network(name, weights=weights, layers=layers, input_size=size)


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_conformance(name, size):
    network = _load(name, size)
    assert network.card.name == name
    assert len(network.card.weights_hash) == 32
    assert network.layers == network.layer_names()
    assert len(set(network.layers)) == len(network.layers) > 0

    frames = np.random.default_rng(0).integers(0, 256, (5, 48, 80, 3), dtype=np.uint8)
    prepared = network.prepare(frames)
    assert prepared.shape == (5, 3, size, size)
    assert prepared.dtype == torch.float32
    before = prepared.clone()
    first = network.activations(prepared)
    assert torch.equal(prepared, before)
    assert set(first) == set(network.layers)
    for values in first.values():
        assert len(values) == 5
        assert values.is_floating_point()
        assert torch.isfinite(values).all()
        assert not values.requires_grad

    # A network loaded again gives the same bits, also when asked for one layer alone.
    middle = network.layers[len(network.layers) // 2]
    single = _load(name, size, (middle,))
    assert single.card == network.card
    assert torch.equal(single.activations(prepared)[middle], first[middle])

    if network.card.takes == "frames":
        alone = network.activations(prepared[3:4])
        for layer in network.layers:
            scale = float(first[layer].abs().max())
            torch.testing.assert_close(alone[layer][0], first[layer][3], rtol=1e-4, atol=1e-5 * scale + 1e-12)
