from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from voxelcast.core.errors import DataError, OptionError, StimulusError, UnknownNameError
from voxelcast.networks import frame_batcher
from voxelcast.networks.base import Network
from voxelcast.networks.extract import (
    BrokenStimulus,
    StimulusFeatures,
    extract,
    extract_from,
    extract_stimulus,
    read_ahead,
)
from voxelcast.networks.frame_batcher import default_batch
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.decode import iter_frames
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

EVERY_2 = ExtractionSettings(FrameSampling(every=2))


@pytest.fixture(scope="module")
def stimuli(make_video, make_picture) -> list[Stimulus]:
    return [
        make_video("a", 23, 0),
        make_picture("b", 1),
        make_picture("c", 2, (64, 64)),
        make_video("d", 41, 3, size=80),
        make_picture("e", 4),
        make_video("f", 2, 5),
    ]


def _assert_close(got: StimulusFeatures, wanted: StimulusFeatures, tolerance: float = 1e-5) -> None:
    assert got.stimulus == wanted.stimulus
    assert got.n_frames == wanted.n_frames
    assert list(got.features) == list(wanted.features)
    for layer, values in wanted.features.items():
        assert np.abs(got.features[layer] - values).max() <= tolerance * np.abs(values).max() + 1e-12, layer


def _plain(network: Network, stimulus: Stimulus, sampling: FrameSampling) -> StimulusFeatures:
    """All frames at once, mean over time in double precision."""
    frames = np.concatenate([chunk.frames for chunk in iter_frames(stimulus, sampling)])
    activations = network.activations(network.prepare(frames))
    means = {k: activations[k].double().mean(0).flatten().float().numpy() for k in network.layers}
    return StimulusFeatures(stimulus, len(frames), {"mean": means})


@pytest.mark.parametrize("name", ["resnet18", "motion_energy"])
@pytest.mark.parametrize("options", [{}, {"batch": 1}, {"batch": 7, "workers": 4}, {"batch": 1000, "workers": 1}])
def test_features_are_the_mean_over_frames_however_batched(request, stimuli, name, options):
    network = request.getfixturevalue(name)
    results = list(extract(network, stimuli, EVERY_2, **options))
    assert [result.stimulus_id for result in results] == list("abcdef")
    assert [result.n_frames for result in results] == [12, 1, 1, 21, 1, 1]
    for result in results:
        assert tuple(result.features) == network.layers
        assert all(values.dtype == np.float32 and values.ndim == 1 for values in result.features.values())
        _assert_close(result, _plain(network, result.stimulus, EVERY_2.sampling))
        _assert_close(extract_stimulus(network, result.stimulus, EVERY_2), result)


def test_same_call_same_bits(resnet18, stimuli):
    first, second = (list(extract(resnet18, stimuli, EVERY_2, workers=workers)) for workers in (1, 4))
    for a, b in zip(first, second, strict=True):
        assert all(np.array_equal(a.features[layer], b.features[layer]) for layer in resnet18.layers)


def test_order_of_frames_does_not_matter_to_the_mean(resnet18, stimuli):
    frames = np.concatenate([chunk.frames for chunk in iter_frames(stimuli[0], EVERY_2.sampling)])
    forward = resnet18.activations(resnet18.prepare(frames))
    shuffled = resnet18.activations(resnet18.prepare(frames[np.random.default_rng(0).permutation(len(frames))]))
    for layer in resnet18.layers:
        torch.testing.assert_close(forward[layer].mean(0), shuffled[layer].mean(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "motion_energy"])
def test_broken_stimuli_are_told_and_leave_the_others_alone(request, stimuli, broken_video, tmp_path, name):
    network = request.getfixturevalue(name)
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    mixed = [*stimuli[:2], broken_video, Stimulus("text", text), *stimuli[2:]]
    results = list(extract(network, mixed, replace(EVERY_2, on_broken="skip"), batch=5))
    assert [result.stimulus_id for result in results] == [s.stimulus_id for s in mixed]
    broken = {result.stimulus_id: result for result in results if isinstance(result, BrokenStimulus)}
    assert set(broken) == {"cut", "text"}
    assert "cut.mp4" in broken["cut"].reason
    assert "text.mp4" in broken["text"].reason
    for result in results:
        if isinstance(result, StimulusFeatures):
            _assert_close(result, _plain(network, result.stimulus, EVERY_2.sampling))


def test_a_broken_stimulus_stops_where_that_is_asked_for(resnet18, stimuli, broken_video):
    with pytest.raises(StimulusError, match=r"cut\.mp4"):
        list(extract(resnet18, [stimuli[1], broken_video, stimuli[2]], EVERY_2))


def test_leaving_early_ends_the_threads(resnet18, make_video):
    import threading

    long = [make_video(f"long{k}", 120, k) for k in range(3)]
    results = extract(resnet18, long, workers=3)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_an_unexpected_error_in_a_thread_is_raised(resnet18, stimuli, monkeypatch):
    def fail(*_args, **_kwargs):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("voxelcast.networks.decode_ahead.iter_frames", fail)
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        list(extract(resnet18, stimuli, replace(EVERY_2, on_broken="skip")))


def test_a_pool_that_cannot_serve_a_stimulus_names_it(resnet18, stimuli):
    late = "bold(peak=600, under=700)"
    with pytest.raises(DataError, match=r"a\.mp4: a clip of 1\.6 s ends before the BOLD kernel"):
        list(extract(resnet18, stimuli[:1], replace(EVERY_2, pools=late)))


@pytest.mark.parametrize("pool", ["median", "max", "std", "bold"])
@pytest.mark.parametrize("name", ["resnet18", "motion_energy"])
def test_every_pool_gives_the_same_however_batched(request, stimuli, name, pool):
    network = request.getfixturevalue(name)
    one, many = (list(extract(network, stimuli[:2], replace(EVERY_2, pools=pool), batch=batch)) for batch in (1, 1000))
    for a, b in zip(one, many, strict=True):
        _assert_close(a, b)


@pytest.mark.parametrize("name", ["resnet18", "motion_energy"])
def test_several_pools_in_one_pass_give_what_each_gives_alone(request, stimuli, name, monkeypatch):
    """To the bit; stimuli are decoded and seen by the network once."""
    network = request.getfixturevalue(name)
    pools = ["mean", "std", "none", "bold"]
    alone = {pool: list(extract(network, stimuli[:2], replace(EVERY_2, pools=pool))) for pool in pools}
    seen = []
    stream = network.stream
    monkeypatch.setattr(network, "stream", lambda frames, give: (seen.append(len(frames)), stream(frames, give)))
    together = list(extract(network, stimuli[:2], replace(EVERY_2, pools=pools)))
    assert sum(seen) == 12 + 1
    for place, result in enumerate(together):
        assert list(result.by_pool) == pools
        assert result.features is result.by_pool["mean"]
        for pool in pools:
            for layer in network.layers:
                np.testing.assert_array_equal(result.by_pool[pool][layer], alone[pool][place].features[layer])


def test_features_that_stay_on_the_device_are_the_same(resnet18, stimuli):
    how = replace(EVERY_2, pools=["mean", "none"])
    with read_ahead(resnet18, stimuli, how, 1, processes=False) as source:
        staying = list(extract_from(source, resnet18, stimuli, how, on_device=True))
    for found, wanted in zip(staying, extract(resnet18, stimuli, how), strict=True):
        for pool, layers in wanted.by_pool.items():
            for layer, values in layers.items():
                assert found.by_pool[pool][layer].device == resnet18.device
                np.testing.assert_array_equal(found.by_pool[pool][layer].numpy(), values)


@pytest.mark.parametrize(("pools", "said"), [([], "at least one pool"), (["max", "max"], "different pools")])
def test_pools_that_cannot_be_told_apart(resnet18, stimuli, pools, said):
    with pytest.raises(OptionError, match=said):
        list(extract(resnet18, stimuli[:1], replace(EVERY_2, pools=pools)))


def test_features_that_are_not_finite_name_stimulus_and_layer(stimuli):
    network = load_network(
        "torchvision/squeezenet1_1", weights="random", layers=["features.1"], input_size=64, std=(1e-40,) * 3
    )
    with pytest.raises(DataError, match=r"features of b\.png, layer features\.1, must be finite"):
        list(extract(network, stimuli[1:2], EVERY_2))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"workers": 0}, OptionError),
        ({"batch": 0}, OptionError),
        ({"decoders": "magic"}, OptionError),
    ],
)
def test_bad_options(resnet18, stimuli, options, error):
    with pytest.raises(error):
        list(extract(resnet18, stimuli, EVERY_2, **options))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"pools": "median!"}, UnknownNameError),
        ({"pools": ()}, OptionError),
        ({"on_broken": "ignore"}, OptionError),
        ({"spatial_pool": "grid"}, OptionError),
    ],
)
def test_settings_that_cannot_be(options, error):
    with pytest.raises(error):
        ExtractionSettings(**options)


@pytest.mark.parametrize(
    ("input_size", "batch"), [(1, 64), (56, 64), (64, 32), (96, 16), (128, 8), (158, 8), (159, 4), (224, 4), (518, 4)]
)
def test_small_frames_share_a_forward_pass_on_a_cpu(input_size, batch):
    assert default_batch(input_size) == batch


@pytest.mark.parametrize(
    ("largest", "gpu_memory", "batch"),
    [
        (193_600, None, 16),  # AlexNet
        (802_816, None, 4),  # ResNet-50
        (3_211_264, None, 4),  # VGG-19
        (3_211_264, 2**34, 128),
        (802_816, 2**34, 512),
        (10**9, 2**30, 1),
        (None, 2**34, 64),
    ],
)
def test_batches_fit_caches_and_memory(largest, gpu_memory, batch):
    assert default_batch(224, largest=largest, gpu_memory=gpu_memory) == batch


def test_processes_decode_what_threads_decode(resnet18, stimuli, broken_video):
    mixed = [stimuli[0], broken_video, *stimuli[1:]]
    settings = replace(EVERY_2, on_broken="skip")
    by_threads, by_processes = (
        list(extract(resnet18, mixed, settings, decoders=decoders, workers=2)) for decoders in ("threads", "processes")
    )
    assert [result.stimulus_id for result in by_processes] == [stimulus.stimulus_id for stimulus in mixed]
    assert by_processes[1] == by_threads[1]
    for left, right in zip(by_threads, by_processes, strict=True):
        if isinstance(left, StimulusFeatures):
            assert left.n_frames == right.n_frames
            assert all(np.array_equal(left.features[layer], right.features[layer]) for layer in resnet18.layers)


def test_no_stimuli_give_nothing(resnet18):
    assert not list(extract(resnet18, [], EVERY_2))


@pytest.mark.parametrize(("n_times", "expected"), [(4, [0, 1, 2, 3]), (2, [0.5, 2.5]), (1, [1.5])])
def test_times_of_strided_layers(n_times, expected):
    np.testing.assert_allclose(frame_batcher._times_of(n_times, np.arange(4.0)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision/mobilenet_v2", "voxelcast/motion_energy"])
def test_containers_of_one_clip_give_nearly_the_same_features(real_data, name):
    folder = real_data / "videos" / "mdn+learning-area"
    weights = real_data / "weights" / "mobilenet_v2_1.0_224_coral_tv.pth" if name.startswith("torch") else None
    normal = {"mean": (0.5,) * 3, "std": (0.5,) * 3} if weights else {}
    layers = ["features.10", "features.13"] if weights else ["static.*", "motion.*"]
    network = load_network(name, weights=weights, layers=layers, **normal)
    pairs = [
        (mp4, mp4.with_suffix(".webm")) for mp4 in sorted(folder.rglob("*.mp4")) if mp4.with_suffix(".webm").exists()
    ]
    assert pairs
    for pair in pairs:
        left, right = (extract_stimulus(network, Stimulus(path.name, path), EVERY_2) for path in pair)
        assert left.n_frames == right.n_frames
        for layer in network.layers:
            assert np.corrcoef(left.features[layer], right.features[layer])[0, 1] > 0.98, (pair[0].name, layer)


@pytest.mark.slow
def test_every_real_video_gives_finite_features_or_its_reason(real_data):
    network = load_network("torchvision/squeezenet1_1", weights="random", layers=["features.3"], input_size=64)
    facts = json.loads((real_data / "videos" / "probe.json").read_text())
    stimuli = [Stimulus(fact["file"], real_data / "videos" / fact["file"]) for fact in facts]
    results = list(extract(network, stimuli, ExtractionSettings(on_broken="skip")))
    assert [result.stimulus_id for result in results] == [fact["file"] for fact in facts]
    for result, fact in zip(results, facts, strict=True):
        if isinstance(result, BrokenStimulus):
            assert result.stimulus.path.name in result.reason
            assert "\n" not in result.reason
        else:
            assert not fact["err"], fact["file"]
            assert result.n_frames == fact["frames"], fact["file"]
