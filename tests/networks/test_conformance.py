"""Every network does what `voxelcast.testing.networks` asks."""

from __future__ import annotations

import importlib.util

import pytest
import torch
import torchvision

from tests.networks.loading import loaded
from voxelcast.networks.settings import NetworkSettings
from voxelcast.testing.networks import NetworkConformance

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
    pytest.param(("timm/test_resnet", {}), marks=needs_timm),
    pytest.param(("timm/test_vit", {"input_size": 160}), marks=needs_timm),
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
        pytest.param((f"timm/{name}", {"input_size": size}), marks=needs_timm)
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


def _settings(name, options):
    weights = None if name.startswith("voxelcast/") else "random"
    return NetworkSettings(name, **{"layers": "*", "weights": weights, "input_size": SIZES.get(name, 64), **options})


class TestNetworks(NetworkConformance):
    load = staticmethod(loaded)

    @pytest.fixture(scope="module", params=QUICK, ids=str)
    @classmethod
    def network_settings(cls, request):
        return _settings(*request.param)


@pytest.mark.slow
class TestTheOthers(NetworkConformance):
    @pytest.fixture(scope="module", params=SLOW, ids=str)
    @classmethod
    def network_settings(cls, request):
        return _settings(*request.param)

    def test_run_again_it_gives_the_same_bits(self, network_settings):
        run = self._run(network_settings)
        again = run.network.activations(run.prepared)
        assert all(torch.equal(again[layer], values) for layer, values in run.activations.items())
