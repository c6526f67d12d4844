"""What a GPU computes is what a CPU computes, up to rounding. Skipped where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.clips import ClipFrames
from tests.experiment.miniature import run, settings, write_dataset
from tests.models.helpers import files, held_out, written
from voxelcast.core.errors import DataError
from voxelcast.models.encoder import load_encoder
from voxelcast.networks.extract import BrokenStimulus, StimulusFeatures, extract, extract_from
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.result import StepResult

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

EVERY_2 = ExtractionSettings(FrameSampling(every=2))
LAYERS = ["conv1", "bn1", "relu", "layer2.*", "avgpool", "fc"]


def _load(device, precision="float32"):
    return load_network(
        "torchvision/resnet18", weights="random", layers=LAYERS, input_size=64, device=device, precision=precision
    )


@pytest.fixture(scope="module")
def stimuli(make_video, make_picture):
    return [make_video("a", 31, 0), make_picture("b", 1), make_video("c", 5, 2, size=80), make_video("d", 40, 3)]


@pytest.mark.parametrize("pool", ["mean", "max", "std", "median", "bold"])
@pytest.mark.parametrize("batch", [None, 7])
def test_same_features_as_a_cpu(stimuli, pool, batch):
    kept = [stimulus for stimulus in stimuli if pool != "bold" or not stimulus.is_image]
    settings = replace(EVERY_2, pools=pool)
    expected = list(extract(_load("cpu"), kept, settings))
    found = list(extract(_load("cuda"), kept, settings, batch=batch, decoders="processes", workers=3))
    for left, right in zip(found, expected, strict=True):
        assert (left.stimulus_id, left.n_frames) == (right.stimulus_id, right.n_frames)
        for layer, values in right.features.items():
            assert np.abs(left.features[layer] - values).max() <= 1e-4 * np.abs(values).max(), layer


@pytest.mark.parametrize("pools", [["mean", "max", "std"], ["median", "mean"], ["none", "median"]])
def test_several_pools_give_what_each_gives_alone(pools):
    """Whether they are asked for in main memory or stay on the GPU."""
    clips = [
        np.random.default_rng(k).integers(0, 256, (n, 48, 64, 3), dtype=np.uint8) for k, n in enumerate((9, 1, 30))
    ]
    stimuli = [Stimulus(f"clip{k}", Path(f"clip{k}.mp4")) for k in range(len(clips))]
    network, source = _load("cuda"), ClipFrames(clips, 10.0)
    together = list(extract_from(source, network, stimuli, ExtractionSettings(pools=pools)))
    staying = list(extract_from(source, network, stimuli, ExtractionSettings(pools=pools), on_device=True))
    for found, there in zip(together, staying, strict=True):
        for pool, layers in there.by_pool.items():
            for layer, values in layers.items():
                assert values.is_cuda
                assert np.array_equal(found.by_pool[pool][layer], values.cpu().numpy()), (pool, layer)
    for pool in pools:
        apart = extract_from(source, network, stimuli, ExtractionSettings(pools=pool))
        for found, alone in zip(together, apart, strict=True):
            for layer in network.layers:
                assert np.array_equal(found.by_pool[pool][layer], alone.features[layer]), (pool, layer)


@pytest.mark.parametrize("pool", ["median", "none", "bold"])
def test_activations_that_would_fill_the_gpu_leave_it(monkeypatch, pool):
    clips = [np.random.default_rng(k).integers(0, 256, (n, 48, 64, 3), dtype=np.uint8) for k, n in enumerate((9, 30))]
    stimuli = [Stimulus(f"clip{k}", Path(f"clip{k}.mp4")) for k in range(len(clips))]
    network, how = _load("cuda"), ExtractionSettings(pools=pool)

    def extracted():
        return list(extract_from(ClipFrames(clips, 10.0), network, stimuli, how, batch=8))

    expected = extracted()
    monkeypatch.setattr("voxelcast.networks.frame_batcher._OF_ONE", 1e-9)
    for found, wanted in zip(extracted(), expected, strict=True):
        for layer, values in wanted.features.items():
            np.testing.assert_allclose(found.features[layer], values, rtol=1e-6, atol=1e-6 * np.abs(values).max())


@pytest.mark.parametrize(("precision", "least"), [("tf32", 0.99999), ("bfloat16", 0.9999)])
def test_less_precision_gives_nearly_the_same(stimuli, precision, least):
    expected = list(extract(_load("cpu"), stimuli, EVERY_2))
    first, second = (list(extract(_load("cuda", precision), stimuli, EVERY_2)) for _ in range(2))
    for left, again, right in zip(first, second, expected, strict=True):
        for layer, values in right.features.items():
            assert np.corrcoef(left.features[layer], values)[0, 1] > least, layer
            assert np.array_equal(left.features[layer], again.features[layer]), layer


def test_broken_stimuli_and_values_are_reported(stimuli, broken_video):
    network = _load("cuda")
    results = list(extract(network, [stimuli[0], broken_video, stimuli[1]], replace(EVERY_2, on_broken="skip")))
    assert [type(result) for result in results] == [StimulusFeatures, BrokenStimulus, StimulusFeatures]
    network.module.fc.bias.fill_(float("nan"))
    with pytest.raises(DataError, match=r"features of a.mp4, layer fc, must be finite"):
        list(extract(network, stimuli, EVERY_2))


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["mean", "median"])
def test_a_saved_model_predicts_to_the_bit_what_the_run_did(tmp_path, pool):
    root = write_dataset(tmp_path / "data", n=48)
    held_out(root)
    run(settings(root, pool=pool, compute={"device": "cuda", "workers": 1}), tmp_path / "output")
    ids, predictions = written(tmp_path / "output", "ann_all")
    encoder = load_encoder(tmp_path / "output", device="cuda")
    np.testing.assert_array_equal(encoder.predict(files(root, ids)).arrays["ann", "all"], predictions)
    on_cpu = load_encoder(tmp_path / "output").predict(files(root, ids)).arrays["ann", "all"]
    np.testing.assert_allclose(on_cpu, predictions, atol=1e-3 * np.abs(predictions).max())


two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")


@two_gpus
def test_every_gpu_gives_the_same_features(stimuli):
    first, second = (list(extract(_load(device), stimuli, EVERY_2)) for device in ("cuda:0", "cuda:1"))
    for left, right in zip(first, second, strict=True):
        for layer, values in left.features.items():
            assert np.abs(right.features[layer] - values).max() <= 1e-5 * np.abs(values).max(), layer


@two_gpus
@pytest.mark.slow
def test_a_run_on_two_gpus_uses_both_and_gives_what_one_gives(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where processes lock the GPU that they take
    root = write_dataset(tmp_path / "data", n=32 * 8)
    network = {"name": "torchvision/resnet18", "layers": ["algonauts2021"], "weights": "random", "input_size": 64}
    found = {}
    for gpus in (1, 2):
        plain = settings(root, networks=[network], encoders=["ridge"], folds={"n": 3, "nested": False})
        run(plain | {"compute": {"device": "cuda", "gpus": gpus, "workers": 2}}, tmp_path / f"out{gpus}")
        results = [StepResult(path) for path in (tmp_path / f"out{gpus}").glob("steps/extract/*/result.npz")]
        found[gpus] = {
            record["stimulus_id"]: {layer: values[row] for layer, values in result.arrays("features").items()}
            for result in results
            for row, record in enumerate(result.json("stimuli"))
        }
        assert len(list(tmp_path.glob("voxelcast-gpu-*.lock"))) == (0 if gpus == 1 else 2)
    assert len(found[1]) == len(found[2]) == 256
    for stimulus_id, layers in found[1].items():
        for layer, values in layers.items():
            other = found[2][stimulus_id][layer]
            assert np.abs(other - values).max() <= 1e-4 * np.abs(values).max(), (stimulus_id, layer)
