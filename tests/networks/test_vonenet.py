from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch

from tests.networks.loading import loaded
from voxelcast.core.errors import DataError, MissingFileError, OptionError
from voxelcast.networks.families.vone_block import GaborParameters, VOneBlock, draw_parameters, gabor_filters
from voxelcast.networks.families.vonenet import Area
from voxelcast.networks.registry import find_family, load_network
from voxelcast.networks.settings import NetworkSettings

LISTS = {
    "vonenet/alexnet": "vonealexnet",
    "vonenet/resnet50": "voneresnet50",
    "vonenet/resnet50_at": "voneresnet50",
    "vonenet/resnet50_ns": "voneresnet50",
    "vonenet/cornets": "vonecornets",
}
FLAGS = {
    "arch": "resnet50",
    "stride": 4,
    "simple_channels": 256,
    "complex_channels": 256,
    "k_exc": 25,
    "noise_mode": "neuronal",
    "noise_scale": 0.35,
    "noise_level": 0.07,
}


@pytest.mark.parametrize("name", LISTS)
def test_tensors_have_the_names_and_shapes_of_released_checkpoints(released_names, name):
    settings = NetworkSettings(name, "fc")
    module = find_family(settings).recipe(settings).build(224, True)
    expected = released_names(f"{LISTS[name]}.state_dict.json")
    assert {key: tensor.shape for key, tensor in module.state_dict().items()} == expected


@pytest.mark.parametrize(
    ("name", "prefix", "flags"),
    [
        pytest.param("vonenet/cornets", "module.", FLAGS, marks=pytest.mark.slow),
        ("vonenet/resnet50", "module.", argparse.Namespace(**FLAGS)),
        ("vonenet/resnet50_at", "", FLAGS),
        pytest.param("vonenet/resnet50_ns", "module.", FLAGS | {"noise_mode": None}, marks=pytest.mark.slow),
        pytest.param("vonenet/alexnet", "module.", FLAGS, marks=pytest.mark.slow),
    ],
    ids=["cornets", "resnet50", "resnet50_at", "resnet50_ns", "alexnet"],
)
def test_released_checkpoints_load_and_run(tmp_path, released_names, made_up, name, prefix, flags):
    state = made_up(released_names(f"{LISTS[name]}.state_dict.json"))
    extra = {f"vone_block.div_{x}.weight": torch.zeros(1, 3, 7, 7) for x in "ut"} if name.endswith("_at") else {}
    content = {"flags": flags, "state_dict": {prefix + key: tensor for key, tensor in (state | extra).items()}}
    torch.save(content, tmp_path / "released.pth.tar")
    layers = ["vone_block.simple_conv_q0", "bottleneck", "depth:1"]
    network = load_network(name, weights=tmp_path / "released.pth.tar", layers=layers, input_size=64)
    assert network.card.mean == network.card.std == (0.5, 0.5, 0.5)
    frames = torch.randn(1, 3, 64, 64)
    q0 = torch.nn.functional.conv2d(frames, state["vone_block.simple_conv_q0.weight"], stride=4, padding=12)
    torch.testing.assert_close(network.activations(frames)["vone_block.simple_conv_q0"], q0, rtol=1e-4, atol=1e-4)


def test_checkpoints_of_another_v1_are_refused(tmp_path, released_names, made_up):
    state = made_up(released_names("voneresnet50.state_dict.json"))
    torch.save({"flags": {**FLAGS, "k_exc": 10}, "state_dict": state}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"with k_exc=25\.0; got 10"):
        load_network("vonenet/resnet50", weights=tmp_path / "w.pth", layers=["bottleneck"], input_size=64)
    torch.save({"flags": FLAGS, "state_dict": {**state, "vone_block.div_u.weight": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"1 not in the network \(first 'vone_block.div_u.weight'\)"):
        load_network("vonenet/resnet50", weights=tmp_path / "w.pth", layers=["bottleneck"], input_size=64)


def _rates(q0: np.ndarray, q1: np.ndarray) -> np.ndarray:
    simple = np.maximum(q0[:, :256], 0)
    complex_ = np.sqrt(q0[:, 256:] ** 2 + q1[:, 256:] ** 2) / np.sqrt(2)
    return 25 * np.concatenate([simple, complex_], axis=1)


def test_rates_of_simple_and_complex_cells():
    torch.manual_seed(0)
    block = VOneBlock(None).eval()
    frames = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        q0, q1 = block.simple_conv_q0(frames).numpy(), block.simple_conv_q1(frames).numpy()
        rates = block(frames).numpy()
    assert rates.shape == (2, 512, 8, 8)
    np.testing.assert_allclose(rates, _rates(q0, q1), rtol=1e-5, atol=1e-5)


def test_noise_is_that_of_the_paper_and_equal_for_every_frame():
    torch.manual_seed(0)
    block = VOneBlock(3).eval()
    frames = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        noisy, again, alone = block(frames), block(frames.flip(0)).flip(0), block(frames[1:2])
        q0, q1 = block.simple_conv_q0(frames).numpy(), block.simple_conv_q1(frames).numpy()
    assert torch.equal(noisy, again)
    torch.testing.assert_close(noisy[1:2], alone, rtol=1e-5, atol=1e-5)

    noise = block._noise.numpy()
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    u = _rates(q0, q1) * 0.35 + 0.07
    expected = np.maximum((u + noise * np.sqrt(np.maximum(u, 0) + 1e-4) - 0.07) / 0.35, 0)
    np.testing.assert_allclose(noisy.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_the_noises_seed_makes_the_noise():
    frames = torch.randn(1, 3, 32, 32)
    seen = []
    for noise_seed in (None, 1, 1, 2):
        torch.manual_seed(0)
        with torch.inference_mode():
            seen.append(VOneBlock(noise_seed)(frames))
    assert torch.equal(seen[1], seen[2])
    assert not torch.allclose(seen[0], seen[1])
    assert not torch.allclose(seen[1], seen[3])


def test_the_noises_seed_is_on_the_card():
    silent, noisy = (
        loaded(NetworkSettings("vonenet/resnet50", "*", "random", 64, noise_seed=noise_seed))
        for noise_seed in (None, 1)
    )
    assert silent.card.noise_seed is None
    assert silent.card.weights == "random (seed 0)"
    assert noisy.card.noise_seed == 1
    assert noisy.card.weights == "random (seed 0), noise seed 1"
    assert noisy.card.weights_hash == silent.card.weights_hash
    frames = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(silent.activations(frames)["vone_block"], noisy.activations(frames)["vone_block"])


@pytest.mark.parametrize(
    ("name", "seed", "message"),
    [
        ("vonenet/resnet50_ns", 1, "must be left out"),
        ("vonenet/resnet50", -1, "noise_seed must be at least 0; got -1"),
        ("torchvision/resnet18", 1, "is for networks with noise"),
    ],
)
def test_noise_where_there_is_none(name, seed, message):
    with pytest.raises(OptionError, match=message):
        load_network(name, weights="random", layers=["fc"], noise_seed=seed)


def test_default_weights_say_where_to_get_them():
    with pytest.raises(MissingFileError, match=r"fetch the \.pth\.tar"):
        load_network("vonenet/alexnet", layers=["bottleneck"])


def test_gabor_filters_against_the_formula_point_by_point():
    parameters = draw_parameters(np.random.default_rng(1), 7)
    filters, shifted = gabor_filters(parameters), gabor_filters(parameters, quadrature=True)
    for k in range(7):
        turn, cycles = parameters.orientation[k], parameters.frequency[k] / 28
        a, b = parameters.n_along[k] / cycles, parameters.n_across[k] / cycles
        for i, j in ((12, 12), (3, 20), (24, 0), (10, 13)):
            x, y = j - 12, i - 12
            along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
            envelope = np.exp(-0.5 * (along**2 / a**2 + across**2 / b**2)) / (2 * np.pi * a * b)
            wave = 2 * np.pi * cycles * along + parameters.phase[k]
            pair = filters[k, parameters.colour[k], i, j], shifted[k, parameters.colour[k], i, j]
            np.testing.assert_allclose(pair, (envelope * np.cos(wave), -envelope * np.sin(wave)), rtol=1e-4, atol=1e-9)
    others = np.delete(filters, 0, axis=0)
    assert (np.count_nonzero(others.any((2, 3)), axis=1) == 1).all()


def test_a_gabor_pair_sees_its_own_grating_at_any_phase():
    """The energy of a quadrature pair does not depend on the grating's phase, and its orientation matters."""
    one = np.ones(1)
    vertical = GaborParameters(0 * one, 0.3 * one, 4 * one, 0.6 * one, 0.6 * one, np.zeros(1, int))
    even, odd = (gabor_filters(vertical, quadrature=quadrature)[0, 0].astype(float) for quadrature in (False, True))
    y, x = np.mgrid[-12:13, -12:13]
    energies = {
        axis: [
            np.hypot(*((np.cos(2 * np.pi * 4 / 28 * place + phase) * g).sum() for g in (even, odd)))
            for phase in np.linspace(0, 6, 9)
        ]
        for axis, place in (("own", x), ("other", y))
    }
    assert np.ptp(energies["own"]) < 0.02 * np.mean(energies["own"])
    assert np.mean(energies["other"]) < 0.1 * np.mean(energies["own"])


def test_filters_are_drawn_from_the_distribution_of_the_paper():
    """Quantiles and correlations of 20 banks of 512 filters, made by the authors' code with seeds from 0 to 19."""
    drawn = draw_parameters(np.random.default_rng(0), 20_000)
    sizes = np.stack([drawn.frequency, drawn.n_along, drawn.n_across])
    assert (sizes.min(axis=1) >= [0.5, 0.1, 0.1]).all()
    assert (sizes.max(axis=1) <= [8, 0.92, 1.585]).all()
    expected = [
        [0.876, 1.831, 2.714, 4.268, 6.523],
        [0.178, 0.263, 0.366, 0.471, 0.762],
        [0.124, 0.270, 0.444, 0.679, 1.131],
    ]
    np.testing.assert_allclose(np.quantile(sizes, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1).T, expected, rtol=0.1)
    correlations = np.corrcoef(np.log(sizes))[np.triu_indices(3, 1)]
    np.testing.assert_allclose(correlations, [0.745, 0.473, 0.640], atol=0.02)
    # Of one bank the correlation of frequency and size across was .40 (seed 0), .51 and .47.
    banks = [draw_parameters(np.random.default_rng(seed), 512) for seed in range(40)]
    across = [np.corrcoef(np.log(bank.frequency), np.log(bank.n_across))[0, 1] for bank in banks]
    assert min(across) < 0.42 < 0.51 < max(across)


def test_more_filters_are_horizontal_and_vertical_than_oblique():
    drawn = draw_parameters(np.random.default_rng(0), 20_000)
    assert ((drawn.orientation >= 0) & (drawn.orientation < np.pi)).all()
    eighths = np.bincount(np.round(drawn.orientation / (np.pi / 4)).astype(int) % 4) / 20_000
    np.testing.assert_allclose(eighths, [0.261, 0.211, 0.314, 0.214], atol=0.02)
    assert np.allclose(np.histogram(drawn.phase, 8, (0, 2 * np.pi))[0] / 20_000, 1 / 8, atol=0.01)
    assert np.allclose(np.bincount(drawn.colour) / 20_000, 1 / 3, atol=0.02)


def test_a_cornet_area_against_its_steps_written_out():
    torch.manual_seed(0)
    area = Area(3, 4, 2).double()
    for part in area.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for values in (part.weight, part.bias, part.running_mean, part.running_var):
                torch.nn.init.uniform_(values, 0.5, 1.5)
    area.eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    conv, relu = torch.nn.functional.conv2d, torch.relu
    with torch.inference_mode():
        start = conv(x, area.conv_input.weight)
        first = relu(area.norm1_0(conv(start, area.conv1.weight)))
        first = relu(area.norm2_0(conv(first, area.conv2.weight, stride=2, padding=1)))
        first = area.norm3_0(conv(first, area.conv3.weight))
        first = relu(first + area.norm_skip(conv(start, area.skip.weight, stride=2)))
        second = relu(area.norm1_1(conv(first, area.conv1.weight)))
        second = relu(area.norm2_1(conv(second, area.conv2.weight, stride=1, padding=1)))
        second = relu(area.norm3_1(conv(second, area.conv3.weight)) + first)
        torch.testing.assert_close(area(x), second)
    assert second.shape == (2, 4, 4, 4)
