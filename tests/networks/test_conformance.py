"""What every network has to do."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
import torchvision

from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.registry import load_network

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")

LARGEST = 30e6  # parameters of the networks run here: larger members of a family are made of the same blocks
# What does not take 64 pixels.
SIZES = {"torchvision/inception_v3": 96, "torchvision/maxvit_t": 224}

QUICK = [
    ("torchvision/resnet18", {}),
    ("torchvision/alexnet", {}),
    ("torchvision/squeezenet1_0", {}),
    ("torchvision/mobilenet_v2", {}),
    ("torchvision/shufflenet_v2_x0_5", {}),
    ("torchvision/mc3_18", {"input_size": 32, "clip_length": 4}),
    ("voxelcast/motion_energy", {}),
    ("simclr/r50_1x_sk0", {}),
    ("simclr/r50_1x_sk1", {}),
    ("vonenet/cornets", {}),
    ("barlow_twins/resnet50", {}),
    pytest.param("timm/test_resnet", {}, marks=needs_timm),
    pytest.param("timm/test_vit", {"input_size": 160}, marks=needs_timm),
]


def _n_parameters(name: str) -> int:
    weights = torchvision.models.get_model_weights(name.removeprefix("torchvision/"))
    return weights.DEFAULT.meta["num_params"]


def _images() -> list[str]:
    return [f"torchvision/{name}" for name in torchvision.models.list_models(module=torchvision.models)]


SLOW = [
    *((name, {}) for name in _images() if _n_parameters(name) <= LARGEST),
    ("torchvision/vit_b_16", {}),
    ("torchvision/r3d_18", {"input_size": 32, "clip_length": 4}),
    ("torchvision/r2plus1d_18", {"input_size": 32, "clip_length": 4}),
    # These take large inputs only: some layers of them.
    ("torchvision/s3d", {"input_size": 224, "clip_length": 14, "layers": ["blocks", "avgpool", "classifier"]}),
    ("torchvision/mvit_v2_s", {"input_size": 224, "layers": ["conv_proj", "blocks.*[05]", "norm", "head"]}),
    ("torchvision/swin3d_t", {"clip_length": 4}),
    *((f"simclr/{name}", {}) for name in ("r50_2x_sk0", "r50_2x_sk1", "r101_1x_sk0", "r101_1x_sk1", "r152_1x_sk1")),
    *((f"vonenet/{name}", {}) for name in ("alexnet", "resnet50", "resnet50_at", "resnet50_ns")),
    *(
        pytest.param(f"timm/{name}", {"input_size": size}, marks=needs_timm)
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


def _load(name, options):
    weights = None if name.startswith("voxelcast/") else "random"
    return load_network(name, weights=weights, **{"layers": ["*"], "input_size": SIZES.get(name, 64), **options})


def _conform(name, options):
    """Check one network on frames of noise; return it with its activations."""
    network = _load(name, options)
    assert network.card.name == name
    assert len(network.card.weights_hash) == 32
    assert "layers" in options or network.layers == network.layer_names()
    assert len(set(network.layers)) == len(network.layers) > 0

    # Two clips, or five frames.
    n_frames = 2 * (network.card.clip_length or 0) or 5
    frames = np.random.default_rng(0).integers(0, 256, (n_frames, 48, 80, 3), dtype=np.uint8)
    prepared = network.prepare(frames)
    assert prepared.shape == (n_frames, 3, network.card.input_size, network.card.input_size)
    assert prepared.dtype == torch.float32
    before = prepared.clone()
    first = network.activations(prepared)
    assert torch.equal(prepared, before)
    assert set(first) == set(network.layers)
    for values in first.values():
        assert values.is_floating_point()
        assert torch.isfinite(values).all()
        assert not values.requires_grad

    if isinstance(network, ModuleNetwork):
        n_steps = {seen.name: 2 * seen.n_times if seen.n_times else n_frames for seen in network.traces}
        shapes = {seen.name: (n_steps[seen.name], *seen.shape) for seen in network.traces if seen.name in first}
        assert {layer: tuple(values.shape) for layer, values in first.items()} == shapes
    if network.card.takes == "frames":
        # In other company and another order.
        chosen = [3, 1]
        _assert_same(network.activations(prepared[chosen]), {k: v[chosen] for k, v in first.items()})
    elif network.card.clip_length:
        # The second clip alone.
        alone = network.activations(prepared[network.card.clip_length :])
        _assert_same(alone, {layer: values[len(values) // 2 :] for layer, values in first.items()})
    return network, prepared, first


def _assert_same(found, expected):
    for layer, values in expected.items():
        scale = float(values.abs().max())
        torch.testing.assert_close(found[layer], values, rtol=1e-4, atol=2e-5 * scale + 1e-12)


@pytest.mark.parametrize(("name", "options"), QUICK)
def test_conformance(name, options):
    network, prepared, first = _conform(name, options)
    # A network loaded again gives the same bits, also when asked for one layer alone.
    middle = network.layers[len(network.layers) // 2]
    single = _load(name, {**options, "layers": [middle]})
    assert single.card == network.card
    assert torch.equal(single.activations(prepared)[middle], first[middle])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), SLOW)
def test_conformance_of_the_others(name, options):
    network, prepared, first = _conform(name, options)
    again = network.activations(prepared)
    assert all(torch.equal(again[layer], first[layer]) for layer in network.layers)
