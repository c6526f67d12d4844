"""Networks of transformers: features are the models' own hidden states, pooled by hand."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from tests.networks.tiny_transformers import TINY, VOCABULARY, write_tiny
from voxelcast.core.errors import DataError, MissingFileError, OptionError, UnknownNameError, UnsafeFileError
from voxelcast.networks.extract import extract
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.networks.text import text_features, word_features
from voxelcast.stimuli.sampling import FrameSampling, SoundSampling
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.testing.networks import NetworkConformance

transformers = pytest.importorskip("transformers")
QUICK = {"dinov3", "vjepa2", "timesformer", "wav2vec2", "gpt2"}
SOUND = SoundSampling(hz=2, look_back=1.0)
RATE = 16_000


def of(*takes: str) -> list:
    return [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name, tiny in TINY.items()
        if tiny.takes in takes
    ]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("transformers")
    return cache(lambda name: write_tiny(name, path))


@pytest.fixture(scope="session")
def loaded(folder):
    """Networks by name and settings, loaded once."""

    @cache
    def load(name, layers=("hidden",), **options):
        sound = {"sound": SOUND} if TINY[name].takes == "sound" else {}
        return load_network(f"hf:{folder(name)}", layers=layers, **TINY[name].options, **sound, **options)

    return load


@pytest.fixture(scope="session")
def plain(folder):
    """The model alone, as transformers loads it."""

    @cache
    def load(name):
        model = transformers.AutoModel.from_pretrained(folder(name), dtype=torch.float32).eval()
        return getattr(model, TINY[name].part) if TINY[name].part else model

    return load


def hidden_states(model, **inputs):
    with torch.no_grad():
        return model(**inputs, output_hidden_states=True).hidden_states


def frame_states(name, model, prepared):
    """Hidden states of frames (n, 3, 16, 16), or of clips of 4, each without its special tokens."""
    tiny = TINY[name]
    if tiny.kind == "siglip2":
        inputs = transformers.Siglip2ImageProcessor(patch_size=4, max_num_patches=16, do_resize=False)(
            list(prepared), do_rescale=False, do_normalize=False, return_tensors="pt"
        )
        states = hidden_states(model, **inputs)
    elif tiny.takes == "frames":
        states = hidden_states(model, pixel_values=prepared)
    elif name == "vjepa2":
        states = hidden_states(model, pixel_values_videos=prepared, skip_predictor=True)
    else:
        states = hidden_states(model, pixel_values=prepared)
    return [state[:, tiny.special :] for state in states]


def close(found, expected):
    scale = max(float(np.abs(np.asarray(expected)).max()), 1.0)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=2e-6 * scale)


def layers_of(network, n):
    """Its layers, and which of n hidden states each is; of some models the first is put out by no layer."""
    assert n - 1 <= len(network.layers) <= n
    return list(zip(network.layers, range(n - len(network.layers), n), strict=True))


@pytest.mark.parametrize("name", of("frames"))
@pytest.mark.parametrize("batch", [1, 3, None])
def test_features_of_frames_are_hidden_states_averaged(name, batch, loaded, plain, make_video):
    network = loaded(name)
    assert sum(weights.numel() for weights in network.module.parameters()) < 105_000
    videos = [make_video(f"v{n}", n, n) for n in (2, 5)]
    settings = ExtractionSettings(FrameSampling(every=1), ("mean",), "mean")
    for video, outcome in zip(videos, extract(network, videos, settings, batch=batch), strict=True):
        states = frame_states(name, plain(name), prepared_frames(network, video))
        for layer, index in layers_of(network, len(states)):
            close(outcome.features[layer], states[index].mean((0, 1)))


@pytest.mark.parametrize("file", ["config.json", "video_preprocessor_config.json"])
def test_length_and_stride_of_clips_are_those_of_the_card_unless_set(file, folder, tmp_path):
    shutil.copytree(folder("vjepa2"), tmp_path / "vjepa2")
    path = tmp_path / "vjepa2" / file
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"num_frames": 6, "clip_stride": 2}))

    def clips(**options):
        card = load_network(f"hf:{tmp_path / 'vjepa2'}", layers="0", **options).card
        return card.clip_length, card.clip_stride

    assert clips() == (6, 2)
    assert clips(clip_stride=3) == (6, 3)
    assert clips(clip_length=4) == (4, 4)
    assert clips(clip_length=4, clip_stride=1) == (4, 1)


def prepared_frames(network, video):
    from voxelcast.stimuli.decode import iter_frames

    return torch.cat([network.prepare(chunk.frames) for chunk in iter_frames(video, FrameSampling(every=1))])


@pytest.mark.parametrize("name", of("clip"))
@pytest.mark.parametrize("batch", [None, 64])
def test_features_of_clips_are_hidden_states_averaged(name, batch, loaded, plain, make_video):
    network, tiny = loaded(name), TINY[name]
    assert (network.card.clip_length, network.card.clip_stride) == (4, 4)
    videos = [make_video("long", 8, 1), make_video("four", 4, 2)]
    settings = ExtractionSettings(FrameSampling(every=1), ("std",), "grid(2)")
    for video, outcome in zip(videos, extract(network, videos, settings, batch=batch), strict=True):
        clips = prepared_frames(network, video).unflatten(0, (-1, 4))
        states = frame_states(name, plain(name), clips)
        for layer, index in layers_of(network, len(states)):
            tokens = states[index]
            if name == "timesformer":
                laid = tokens.unflatten(1, (4, 4, tiny.time)).permute(0, 3, 4, 1, 2)
            else:
                laid = tokens.unflatten(1, (tiny.time, 4, 4)).permute(0, 1, 4, 2, 3)
            cells = torch.nn.functional.avg_pool2d(laid.flatten(0, 1), 2)
            close(outcome.features[layer], cells.double().std(0, correction=0).flatten())


@pytest.mark.parametrize("name", of("clip"))
def test_tokens_lie_where_they_are_said_to(name, loaded):
    """A change of one patch of one frame changes the token of that place and time, and no other."""
    network = loaded(name, ("0",))
    clip = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    n_times = TINY[name].time
    (before,) = network.activations(clip).values()
    assert before.shape == (n_times, 24 if name == "vjepa2" else 16, 4, 4)
    for frame, row, column in ((0, 0, 3), (2, 1, 0), (3, 3, 2)):
        other = clip.clone()
        other[frame, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
        (after,) = network.activations(other).values()
        changed = (after - before).abs().amax(1) > 1e-6
        assert changed.nonzero().tolist() == [[frame * n_times // 4, row, column]]


@pytest.mark.parametrize("name", of("frames"))
def test_tokens_of_pictures_lie_where_they_are_said_to(name, loaded):
    network = loaded(name, ("0",))
    frames = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    (before,) = network.activations(frames).values()
    other = frames.clone()
    other[1, :, 8:12, 0:4] += 1
    (after,) = network.activations(other).values()
    assert ((after - before).abs().amax(1) > 1e-6).nonzero().tolist() == [[1, 2, 0]]


@pytest.fixture(scope="session")
def waves(tmp_path_factory):
    """Sounds of 1.5 and 1.2 s at 16 kHz, in files of floats, and their samples."""
    path, rng = tmp_path_factory.mktemp("waves"), np.random.default_rng(0)
    made = []
    for number, n in enumerate((24_000, 19_200)):
        samples = rng.normal(scale=0.1, size=n).astype(np.float32)
        wavfile.write(path / f"{number}.wav", RATE, samples)
        made.append((Stimulus(str(number), path / f"{number}.wav"), samples))
    return made


@pytest.mark.parametrize("name", of("sound"))
@pytest.mark.parametrize("batch", [1, None])
def test_features_of_sound_are_the_newest_hidden_states_averaged(name, batch, folder, loaded, plain, waves):
    network, model = loaded(name), plain(name)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder(name))
    outcomes = list(extract(network, [stimulus for stimulus, _ in waves], batch=batch))
    for (_, samples), outcome in zip(waves, outcomes, strict=True):
        assert outcome.n_frames == 3  # windows that end at 0.5, 1 and 1.5 s
        padded = np.concatenate([np.zeros(RATE, np.float32), samples, np.zeros(RATE, np.float32)])
        per_window = []
        for end in (0.5, 1.0, 1.5):
            window = padded[round(end * RATE) : round(end * RATE) + RATE]
            inputs = extractor(window, sampling_rate=RATE, return_tensors="pt")
            inputs.pop("attention_mask", None)
            if name == "w2v_bert2":
                inputs["input_features"] = inputs["input_features"][:, :49]  # the last is there to make the number even
            states = hidden_states(model, **inputs)
            per_window.append([newest_of(name, state[0]) for state in states])
        for layer, index in layers_of(network, len(per_window[0])):
            close(outcome.features[layer], np.mean([states[index] for states in per_window], axis=0))


def newest_of(name, tokens):
    """Average the tokens of the second half of a window of one second."""
    if name == "whisper":  # 100 tokens for 2 s
        return tokens[25:50].mean(0).numpy()
    if name == "ast":  # 5 bands, patches of 8 frames of 10 ms every 6: middles at 40, 100, ... ms
        times = 0.04 + 0.06 * np.arange(21)
        return tokens[2:].unflatten(0, (5, 21))[:, (times > 0.5) & (times <= 1)].mean((0, 1)).numpy()
    middles = (np.arange(len(tokens)) + 0.5) / len(tokens)
    return tokens[middles > 0.5].mean(0).numpy()


TEXTS = ["the dog runs", "a red cat sleeps over the blue dog", "dog"]


def ids_of(text, folder=None):
    if folder is not None:  # SigLIP2's tokenizer takes spaces for a part of words
        return transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")["input_ids"]
    return torch.tensor([[VOCABULARY.index(word) for word in ("[CLS]", *text.lower().split(), "[SEP]")]])


@pytest.mark.parametrize("name", of("text"))
@pytest.mark.parametrize("batch", [1, 3])
def test_features_of_texts_are_hidden_states_averaged(name, batch, folder, loaded, plain):
    network = loaded(name)
    found = text_features(network, TEXTS, batch=batch)
    stimuli = [Stimulus(str(k), NO_FILE, text=text) for k, text in enumerate(TEXTS)]
    extracted = list(extract(network, stimuli, batch=batch))
    for number, text in enumerate(TEXTS):
        ids = ids_of(text, folder(name) if name == "siglip2_text" else None)
        states = hidden_states(plain(name), input_ids=ids)
        for layer, index in layers_of(network, len(states)):
            close(found[layer][number], states[index][0, 1:-1].mean(0))
            np.testing.assert_array_equal(extracted[number].features[layer].shape, (16,))
            close(extracted[number].features[layer], states[index][0, 1:-1].mean(0))


NO_FILE = Path("no-such-file.mp4")
"""What a text's video is does not matter."""

WORDS = ["the", "red", "dog", "runs", "over", "a", "blue", "cat", "the", "cat", "sleeps"]


@pytest.mark.parametrize("name", [one for one in of("text") if one.values[0] != "siglip2_text"])
@pytest.mark.parametrize("keep", ["mean", "last"])
def test_a_words_features_are_its_own_after_the_words_before_it(name, keep, loaded, plain):
    network = loaded(name, ("2",), tokens=keep)
    found = word_features(network, WORDS, context=3, batch=4)
    (layer,) = found
    for number in range(len(WORDS)):
        text = " ".join(WORDS[max(number - 3, 0) : number + 1])
        states = hidden_states(plain(name), input_ids=ids_of(text))
        close(found[layer][number], states[2][0, -2])  # the last but [SEP]
    changed = [*WORDS[:6], "over", *WORDS[7:]]
    other = word_features(network, changed, context=3, batch=4)[layer]
    differs = np.abs(other - found[layer]).max(1) > 1e-4
    assert differs.tolist() == [6 <= number <= 9 for number in range(len(WORDS))]  # never before the word
    ahead = word_features(network, WORDS, context=3, ahead=2, batch=4)[layer]
    states = hidden_states(plain(name), input_ids=ids_of(" ".join(WORDS[2:8])))
    close(ahead[5], states[2][0, 4])


def test_the_last_and_the_first_token_are_kept_where_asked_for(loaded, plain):
    states = hidden_states(plain("gpt2"), input_ids=ids_of(TEXTS[1]))
    for keep, place in (("last", -1), ("cls", 0)):
        (found,) = text_features(loaded("gpt2", ("1",), tokens=keep), TEXTS).values()
        close(found[1], states[1][0, place])


def test_layers_have_names_indices_and_depths(loaded):
    assert loaded("dinov3", (0, "-1", "model.layer.1")).layers == ("embeddings", "model.layer.2", "model.layer.1")
    assert loaded("dinov3", (0.33, 1.0)).layers == ("model.layer.0", "model.layer.2")
    assert loaded("dinov3", ("blocks",)).layers == tuple(f"model.layer.{k}" for k in range(3))
    with pytest.raises(UnknownNameError, match="layer '7' does not exist"):
        loaded("dinov3", ("7",))


def test_class_and_register_tokens_are_told_from_patches(loaded, plain):
    frames = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    states = hidden_states(plain("dinov3"), pixel_values=frames)[2]
    (cls,) = loaded("dinov3", ("2",), tokens="cls").activations(frames).values()
    (mean,) = loaded("dinov3", ("2",), tokens="mean").activations(frames).values()
    close(cls, states[:, 0])
    close(mean, states[:, 3:].mean(1))
    with pytest.raises(OptionError, match="must be all or mean; got 'cls'"):
        loaded("vjepa2", ("2",), tokens="cls")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit", "clip_image", "siglip2_image", "videomae", "vivit", "vjepa2"])
def test_frames_are_prepared_as_the_networks_own_processor_does(name, loaded, folder, tmp_path):
    if name == "clip_image":  # bicubic, with a crop
        path = tmp_path / "clip"
        shutil.copytree(folder(name), path)
        size = {"size": {"shortest_edge": 18}, "crop_size": {"height": 16, "width": 16}}
        transformers.CLIPImageProcessor(**size).save_pretrained(path)
        network = load_network(f"hf:{path}", layers=["hidden"])
    else:
        network, path = loaded(name), folder(name)
    kind = transformers.AutoVideoProcessor if name == "vjepa2" else transformers.AutoImageProcessor
    processor = kind.from_pretrained(path)
    noise = np.random.default_rng(0).integers(64, 192, (4, 6, 9, 3))  # they cut off what is below 0 or above 255 twice
    frames = np.kron(noise, np.ones((1, 5, 5, 1))).astype(np.uint8)
    given = processor(list(frames), return_tensors="pt") if name != "vjepa2" else processor(frames, return_tensors="pt")
    expected = next(iter(given.values()))
    found = network.prepare(frames)
    if name == "siglip2_image":  # the network's processor keeps the aspect ratio; here frames become squares
        assert found.shape == (4, 3, 16, 16)
        return
    step = 1 / 255 / min(network.card.std)
    difference = (expected.reshape(found.shape) - found).abs()
    assert difference.max() < 1.01 * step
    assert (difference > 0.1 * step).float().mean() < 0.3  # they round in fixed point


class TestTheContract(NetworkConformance):
    @pytest.fixture(autouse=True)
    def inside(self, folder, monkeypatch):
        monkeypatch.chdir(folder("dinov3").parent)

    @pytest.fixture(scope="class", params=["dinov3", "vjepa2"])
    @classmethod
    def network_settings(cls, request, folder):
        return NetworkSettings(folder(request.param) and f"hf:{request.param}", layers="hidden")


def test_bfloat16_is_close(loaded):
    clip = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    exact, rounded = (loaded("vjepa2", ("2",), precision=way).activations(clip) for way in ("float32", "bfloat16"))
    (one,), (other,) = exact.values(), rounded.values()
    difference = (one - other.float()).abs().max() / one.abs().max()
    assert 1e-6 < difference < 0.05


def test_weights_come_from_the_folder_by_their_hash_or_from_the_seed(loaded, folder, plain):
    card = loaded("dinov3").card
    assert card.name == "hf:dinov3"
    assert card.weights.startswith("default (dinov3) (blake2b ")
    first, again, other = (
        load_network(f"hf:{folder('dinov3')}", layers="0", weights="random", seed=s) for s in (0, 0, 1)
    )
    assert first.card == again.card
    assert first.card.weights_hash not in (other.card.weights_hash, card.weights_hash)
    file = load_network(f"hf:{folder('dinov3')}", layers="0", weights=str(folder("dinov3") / "model.safetensors"))
    assert file.card.weights_hash == card.weights_hash


def copied(folder, tmp_path, name="dinov3"):
    shutil.copytree(folder(name), tmp_path / name)
    return tmp_path / name


def test_pickled_weights_are_refused(folder, tmp_path):
    path = copied(folder, tmp_path)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match=r"are pickled .* convert them to model.safetensors"):
        load_network(f"hf:{path}", layers="0")
    (path / "pytorch_model.bin").unlink()
    with pytest.raises(MissingFileError, match=r"has no model.safetensors; copy it there"):
        load_network(f"hf:{path}", layers="0")


def test_weights_that_do_not_fit_are_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    path = copied(folder, tmp_path)
    state = load_file(path / "model.safetensors")
    dropped = sorted(state)[-1]
    save_file({k: v for k, v in state.items() if k != dropped}, path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match="1 tensors are missing"):
        load_network(f"hf:{path}", layers="0")
    (path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be read as a network of transformers"):
        load_network(f"hf:{path}", layers="0")


def test_code_of_others_does_not_run(folder, tmp_path):
    path = copied(folder, tmp_path)
    ran = tmp_path / "ran"
    (path / "config.json").write_text(
        '{"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}'
    )
    (path / "own.py").write_text(
        f"open({str(ran)!r}, 'w').close()\nfrom transformers import ViTConfig, ViTModel\n"
        "class OwnConfig(ViTConfig):\n    model_type = 'own'\nclass OwnModel(ViTModel):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(OptionError, match="comes with code of its own, which is not run"):
        load_network(f"hf:{path}", layers="0")
    with pytest.raises(OptionError, match=r"trust_remote_code of .* needs a revision"):
        load_network(f"hf:{path}", layers="0", trust_remote_code=True)
    assert not ran.exists()


@pytest.fixture
def hub(monkeypatch, tmp_path, folder):
    """A cache of the hub that has one network, and no internet."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "models--lab--tiny" / "snapshots" / commit
    shutil.copytree(folder("dinov3"), snapshot)
    (snapshot / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(commit)
    return huggingface_hub


def test_a_pinned_revision_is_found_in_the_cache_without_internet(hub, loaded):
    for revision in (None, "main", "0123456789abcdef0123456789abcdef01234567"):
        card = load_network("hf:lab/tiny", layers="0", revision=revision).card
        assert card.name == "hf:lab/tiny"
        assert card.licence == "apache-2.0"
        assert card.weights.startswith("default (0123456789ab) (blake2b ")
        assert card.weights_hash == loaded("dinov3").card.weights_hash


def test_what_is_missing_or_asks_for_consent_says_what_to_do(hub, monkeypatch):
    from huggingface_hub.errors import GatedRepoError

    with pytest.raises(MissingFileError, match=r"run: hf download lab/other --revision v2 --local-dir FOLDER"):
        load_network("hf:lab/other", layers="0", revision="v2")
    with pytest.raises(MissingFileError, match="is no folder, and no ORG/NAME"):
        load_network("hf:other", layers="0")

    class Response:
        headers, request, status_code = {}, None, 403

    def gated(*_, local_files_only=False, **__):
        raise FileNotFoundError if local_files_only else GatedRepoError("gated", response=Response())

    monkeypatch.setattr(hub, "snapshot_download", gated)
    with pytest.raises(MissingFileError, match=r"accept its terms at https://huggingface.co/lab/other and log in"):
        load_network("hf:lab/other", layers="0")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dinov3", {"texts": "texts.csv"}, "takes frames and has no texts"),
        ("dinov3", {"takes": "text"}, "takes frames; got takes=text"),
        ("gpt2", {"input_size": 16}, "takes text and has no input_size"),
        ("gpt2", {"tokens": "all"}, "must be mean or last or cls"),
        ("wav2vec2", {"sound": SoundSampling(channels="stereo")}, "hears one channel"),
        ("vjepa2", {"clip_stride": 9}, "clip_stride from 1 to clip_length"),
        ("dinov3", {"padding": "port"}, "padding is for SimCLR"),
    ],
)
def test_settings_that_are_not_of_a_network_are_refused(name, options, message, folder):
    with pytest.raises(OptionError, match=message):
        load_network(f"hf:{folder(name)}", layers="0", **options)


def test_a_text_that_is_too_long_is_refused(loaded):
    with pytest.raises(DataError, match="reads 60 tokens at most; got 72"):
        text_features(loaded("gpt2"), ["dog " * 70])
    with pytest.raises(OptionError, match="takes frames, not text"):
        text_features(loaded("dinov3"), ["dog"])
