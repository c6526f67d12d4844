"""Networks of Hugging Face transformers: encoders of pictures, videos, sound and text.

A name is ``hf:FOLDER``, with what ``save_pretrained`` wrote, or ``hf:ORG/NAME`` on the hub, found in its cache first.
Layers are modules; those whose outputs a network itself lists as its hidden states have an index (0: the embeddings)
and a relative depth. Frames are resized, cropped and normalised as the network's own processor says, in the one place
where all frames are; of sound and text its own extractor and tokenizer make the input.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from voxelcast.core.checks import home_expanded, optional_package
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import derive_seed
from voxelcast.networks.base import Network, NetworkCard, Takes
from voxelcast.networks.checkpoints import parameter_hash, read_checkpoint
from voxelcast.networks.clips import ClipNetwork, check_clips
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.hooks import View
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.settings import NetworkSettings, shown_hf
from voxelcast.networks.streams import newest, sound_code
from voxelcast.networks.tokens import TokenAxes, first_tensor, kept
from voxelcast.networks.transformers_files import PREFIX, Folder, find_folder
from voxelcast.networks.transformers_frames import FrameFacts, frame_axes, frame_facts, patches
from voxelcast.networks.transformers_reading import (
    SoundNetwork,
    SoundTokens,
    TextNetwork,
    TextReader,
    TextTokens,
    sound_features,
)
from voxelcast.stimuli.sampling import SoundSampling
from voxelcast.store.readers.guard import reading

_TOWERS: dict[str, Takes] = {"vision_model": "frames", "text_model": "text", "audio_model": "sound"}
_SETTINGS_OF: dict[Takes, tuple[str, ...]] = {
    "frames": ("input_size", "mean", "std"),
    "clip": ("input_size", "mean", "std", "clip_length", "clip_stride"),
    "sound": ("sound",),
    "text": ("texts",),
}
_PIECE_S = 0.01  # frames of filter banks, from one to the next


@register_network("transformers")
class Transformers(Family):
    """Networks of transformers, from a folder or the hub."""

    prefix = PREFIX
    many = True

    def names(self) -> Sequence[str]:
        """List nothing: there is no telling."""
        return ()

    def takes(self, name: str) -> Sequence[str]:
        """Name the settings that these have; which of them depends on what the network takes."""
        return ("clip_length", "clip_stride", "takes", "tokens", "sound", "texts", "revision", "trust_remote_code")

    def check(self, name: str) -> None:
        """Raise OptionError where nothing is named."""
        if name == PREFIX:
            raise OptionError(
                f"a network of transformers must be named {PREFIX}ORG/NAME or {PREFIX}FOLDER; got {name!r}"
            )

    def load(self, settings: NetworkSettings, seed: int, device: torch.device) -> Network:
        """Load a network with its chosen layers.

        Raises OptionError where code would have to run or a setting is not of this network, MissingFileError,
        UnsafeFileError or DataError where its files are missing, refused or damaged.
        """
        if settings.trust_remote_code and not settings.revision:
            raise OptionError(
                f"trust_remote_code of '{settings.name}' needs a revision (a commit whose code you have read); say it"
            )
        folder = find_folder(settings.name, settings.revision, code=bool(settings.trust_remote_code))
        model, called = _load_model(folder, settings, seed)
        part, takes = _part(model, settings)
        given = [name for names in _SETTINGS_OF.values() for name in names if getattr(settings, name) is not None]
        wrong = [name for name in given if name not in _SETTINGS_OF[takes]]
        if wrong:
            raise OptionError(f"'{settings.name}' takes {takes} and has no {', '.join(wrong)}; leave it out")
        digest = parameter_hash(part)
        card = NetworkCard(
            name=f"{PREFIX}{shown_hf(settings.name).removeprefix('hf/')}",
            takes=takes,
            input_size=0,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            weights=called if called.startswith("random") else f"{called} (blake2b {digest[:12]})",
            weights_hash=digest,
            licence=settings.licence or ("none (random)" if called.startswith("random") else folder.licence()),
            code=f"code of {settings.revision}" if settings.trust_remote_code else "",
            precision=settings.precision,
        )
        loading = _Loading(settings, folder, part.eval().requires_grad_(False).to(device), device, card)
        return {"text": _text, "sound": _sound}.get(takes, _frames)(loading)


@dataclass(frozen=True)
class _Loading:
    """A network that is being loaded; of its card what does not depend on what it takes."""

    settings: NetworkSettings
    folder: Folder
    part: Any  # a module with a config
    device: torch.device
    card: NetworkCard

    def adapt(self, inputs: Callable[[torch.Tensor], dict[str, Any]]) -> None:
        """Have the module called with one tensor, of which ``inputs`` makes its arguments."""
        more = {"skip_predictor": True} if self.part.config.model_type == "vjepa2" else {}

        def hook(_module: nn.Module, given: Any, named: Any) -> Any:
            return ((), {**named, **inputs(given[0]), **more}) if given else (given, named)

        self.part.register_forward_pre_hook(hook, with_kwargs=True)

    def described(self, code: Sequence[str], **facts: Any) -> NetworkCard:
        """Complete the card."""
        return replace(self.card, code=", ".join(filter(None, [self.card.code, *code])), **facts)

    def probe(self, example: torch.Tensor) -> torch.Tensor:
        """Find which layers put out the hidden states, note them at the module, and return the first state."""
        names, first = _hidden_layers(self.part, example)
        self.part.hidden_layers = names
        return first


def _frames(loading: _Loading) -> ModuleNetwork:
    settings, part, config = loading.settings, loading.part, loading.part.config
    clips = loading.card.takes == "clip"
    processor, length, stride = _processor(loading.folder, clips), None, None
    if clips:
        length = settings.clip_length or _said("num_frames", config, processor) or config.frames_per_clip
        # The config's or processor's stride goes with their length.
        stride = settings.clip_stride or (None if settings.clip_length else _said("clip_stride", config, processor))
        stride = stride or length
        check_clips(settings.name, length, stride)
    own_size = getattr(config, "crop_size", None) or getattr(config, "image_size", None)
    facts = frame_facts(settings, own_size if isinstance(own_size, int) else None, processor)
    main = part.main_input_name

    def inputs(frames: torch.Tensor) -> dict[str, Any]:
        if config.model_type == "siglip2_vision_model":
            return patches(frames, config.patch_size)
        return {main: frames.transpose(1, 2) if clips else frames}

    loading.adapt(inputs)
    view, keep = _frame_view(loading, facts, length)
    code = [str(facts.resize or ""), f"tokens {keep}" if view else "", "clips BTCHW" if clips else ""]
    card = loading.described(
        code,
        input_size=facts.input_size,
        mean=facts.mean,
        std=facts.std,
        clip_length=length,
        clip_stride=stride,
    )
    if clips:
        network: ModuleNetwork = ClipNetwork(card, part, settings.layers, loading.device, view or _never)
    else:
        network = ModuleNetwork(card, part, settings.layers, loading.device, view)
    network.resize = facts.resize
    return network


def _said(name: str, *given: Any) -> int | None:
    """Return what the first of a config and a processor says; None where neither does."""
    return next((value for one in given if (value := getattr(one, name, None))), None)


def _never(_module: nn.Module, output: object) -> torch.Tensor | str:
    return f"puts out a {type(output).__name__} whose axes are not known"


def _frame_view(loading: _Loading, facts: FrameFacts, length: int | None) -> tuple[View | None, str]:
    """Declare the axes of the tokens; special ones are what the first hidden state has besides."""
    name, tokens, size = loading.settings.name, loading.settings.tokens, facts.input_size
    shape = (1, 3, size, size) if length is None else (1, 3, length, size, size)
    axes = frame_axes(loading.part.config, size, length)
    first = loading.probe(torch.zeros(shape, device=loading.device))
    special = first.shape[1] - int(np.prod(list(axes.values()))) if axes and first.ndim == 3 else -1
    if axes is None or special < 0:
        kept(name, tokens, ("all",))
        return None, ""
    keep = kept(name, tokens, ("all", "mean", *(("cls",) if special else ())))
    return TokenAxes(axes, special, keep), keep


def _sound(loading: _Loading) -> SoundNetwork:
    settings, part, config = loading.settings, loading.part, loading.part.config
    name, sound = settings.name, settings.sound or SoundSampling()
    if sound.channels != "mono":
        raise OptionError(f"'{name}' hears one channel: leave out sound.channels")
    with reading(f"the feature extractor of '{name}'", "one of transformers", "fetch preprocessor_config.json again"):
        extractor = _transformers().AutoFeatureExtractor.from_pretrained(loading.folder.path, local_files_only=True)
    main = part.main_input_name
    loading.adapt(lambda values: {main: values})
    # Some extractors fill each window up to one length.
    filled = getattr(extractor, "n_samples", None)
    seconds = filled / extractor.sampling_rate if filled else _PIECE_S * getattr(extractor, "max_length", np.inf)
    if sound.seconds > seconds:
        raise OptionError(f"windows of '{name}' must be at most {seconds:g} s; got {sound.seconds:g}; lower look_back")
    window = np.zeros((1, 1, round(sound.seconds * extractor.sampling_rate)), np.float32)
    first = loading.probe(sound_features(extractor, window).to(loading.device))
    n_bands, n_times, centres = 1, first.shape[1], None
    if hasattr(config, "frequency_stride"):
        n_bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        n_times = (config.max_length - config.patch_size) // config.time_stride + 1
        centres = (np.arange(n_times) * config.time_stride + config.patch_size / 2) * _PIECE_S
    if centres is None:
        centres = (np.arange(n_times) + 0.5) * (seconds if np.isfinite(seconds) else sound.seconds) / n_times
    special = first.shape[1] - n_bands * n_times
    keep = kept(name, settings.tokens, ("mean", "all", *(("cls",) if special else ())))
    view = SoundTokens(special, n_bands, n_times, newest(centres, sound), keep)
    card = loading.described([f"tokens {keep}", sound_code(sound)])
    return SoundNetwork(card, part, settings.layers, loading.device, view, extractor, sound)


def _text(loading: _Loading) -> TextNetwork:
    settings, part, config = loading.settings, loading.part, loading.part.config
    keep = kept(settings.name, settings.tokens, ("mean", "last", "cls"))
    with reading(f"the tokenizer of '{settings.name}'", "one of transformers", "fetch tokenizer.json again"):
        tokenizer = _transformers().AutoTokenizer.from_pretrained(loading.folder.path, local_files_only=True)
    if not tokenizer.is_fast:
        raise OptionError(f"the tokenizer of '{settings.name}' does not say where tokens lie; it needs tokenizer.json")
    view, pad = TextTokens(), getattr(config, "pad_token_id", None)
    pad = pad if isinstance(pad, int) and pad >= 0 else 0

    def inputs(tokens: torch.Tensor) -> dict[str, Any]:
        ids, view.marks = tokens.unbind(1)
        there = view.marks >= 0
        return {"input_ids": ids.where(there, torch.full_like(ids, pad)), "attention_mask": there.long()}

    loading.adapt(inputs)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    loading.probe(torch.ones(1, 2, 4, dtype=torch.int64, device=loading.device))
    longest = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or 10**9)
    reader = TextReader(settings.name, tokenizer, longest, keep)
    return TextNetwork(loading.described([f"tokens {keep}"]), part, settings.layers, loading.device, view, reader)


def _part(model: nn.Module, settings: NetworkSettings) -> tuple[nn.Module, Takes]:
    """Choose what is meant of a model: the encoder, or of several networks that for what is to be taken."""
    towers: dict[Takes, nn.Module] = {
        takes: getattr(model, tower)
        for tower, takes in _TOWERS.items()
        if isinstance(getattr(model, tower, None), nn.Module)
    }
    if len(towers) > 1:
        wanted = settings.takes or next(iter(towers))
        if wanted not in towers:
            raise OptionError(f"'{settings.name}' has parts that take {', '.join(towers)}; got takes={wanted}")
        return towers[wanted], wanted
    config: Any = model.config
    if config.is_encoder_decoder:
        model = model.get_encoder()  # type: ignore[operator]
    kinds: dict[str, Takes] = {"input_ids": "text", "input_values": "sound", "input_features": "sound"}
    clips = hasattr(config, "num_frames") or hasattr(config, "frames_per_clip")
    takes = kinds.get(str(model.main_input_name), "clip" if clips else "frames")
    if settings.takes not in (None, takes):
        raise OptionError(f"'{settings.name}' takes {takes}; got takes={settings.takes}; leave it out")
    return model, takes


def _load_model(folder: Folder, settings: NetworkSettings, seed: int) -> Any:
    """Build a model in single precision and give it its weights; return also what these are called."""
    library, name = _transformers(), settings.name
    trust = bool(settings.trust_remote_code)
    options: dict[str, Any] = {"trust_remote_code": trust, "local_files_only": True}
    with reading(f"'{name}'", "a network of transformers", "fetch it again, or choose another"), _quiet(library):
        try:
            config = library.AutoConfig.from_pretrained(folder.path, **options)
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            raise OptionError(
                f"'{name}' is not part of transformers {library.__version__} and comes with code of its own, which is "
                "not run; read it, and set revision to its commit and trust_remote_code: true, or choose another"
            ) from error
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "networks", shown_hf(name)))
            if settings.chosen_weights == "random":
                model = library.AutoModel.from_config(config, trust_remote_code=trust, dtype=torch.float32)
                return model, f"random (seed {seed})"
            return _with_weights(folder, settings, config, options)


def _with_weights(folder: Folder, settings: NetworkSettings, config: Any, options: dict[str, Any]) -> Any:
    weights, auto = settings.chosen_weights, _transformers().AutoModel
    options = {**options, "config": config, "dtype": torch.float32, "output_loading_info": True}
    if weights == "default":
        folder.check_weights()
        model, found = auto.from_pretrained(folder.path, use_safetensors=True, **options)
        called = f"default ({folder.commit[:12] or folder.path.name})"
    else:
        path = home_expanded(Path(weights))
        state = read_checkpoint(path).state
        kind = type(auto.from_config(config, trust_remote_code=options["trust_remote_code"]))
        model, found = kind.from_pretrained(None, state_dict=state, **options)
        called = f"file {path.name}"
    # A pooler on top is often left out of weights that were trained for something else.
    missing = sorted(key for key in found["missing_keys"] if "pooler" not in key)
    if missing or found["mismatched_keys"]:
        first = missing[0] if missing else sorted(map(str, found["mismatched_keys"]))[0]
        raise DataError(
            f"weights of '{settings.name}' must fit it; {len(missing)} tensors are missing and "
            f"{len(found['mismatched_keys'])} of another shape (first {first!r}); choose the network they were made for"
        )
    if found["missing_keys"]:
        model.pooler = None
    return model, called


def _hidden_layers(module: nn.Module, example: torch.Tensor) -> tuple[tuple[str, ...], torch.Tensor]:
    """Run forward once; name for each hidden state the outermost layer that puts it out, "" where none or several do.

    Returns also the first hidden state.
    """
    seen: list[tuple[str, Callable[[], torch.Tensor | None]]] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if isinstance(tensor, torch.Tensor):
                # Of the outermost the values are kept: a model may give another view of them as its last state.
                seen.append((name, (lambda: tensor) if "." not in name else weakref.ref(tensor)))

        return hook

    hooks = [part.register_forward_hook(watch(name)) for name, part in module.named_modules() if name]
    try:
        with torch.inference_mode():
            states = module(example, output_hidden_states=True).hidden_states
    finally:
        for hook in hooks:
            hook.remove()
    if not states:
        raise DataError(f"a {type(module).__name__} of transformers gives no hidden states; choose another network")
    names = []
    for state in states:
        found = [name for name, tensor in seen if tensor() is state]
        found = found or [name for name, tensor in seen if "." not in name and _equal(tensor(), state)]
        names.append(min(found, key=lambda name: name.count("."), default=""))
    return tuple(name if names.count(name) == 1 else "" for name in names), states[0]


def _equal(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    return one is not None and one.shape == other.shape and torch.equal(one, other)


def _processor(folder: Folder, clips: bool) -> Any | None:
    """Load what prepares frames; None where there is none."""
    library = _transformers()
    kinds: list[tuple[str, tuple[str, ...]]] = [
        ("AutoImageProcessor", ("preprocessor_config.json", "processor_config.json"))
    ]
    if clips:
        kinds.insert(0, ("AutoVideoProcessor", ("video_preprocessor_config.json",)))
    for kind, files in kinds:
        if folder.has(*files):
            with reading(f"the processor of '{folder.name}'", "one of transformers", "fetch it again"):
                return getattr(library, kind).from_pretrained(folder.path, local_files_only=True)
    return None


class _quiet:
    """Keeps transformers from printing bars and warnings of what is checked here."""

    def __init__(self, library: ModuleType) -> None:
        self._logging: Any = library.logging
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        self._level = self._logging.get_verbosity()
        self._logging.set_verbosity_error()
        self._bars = self._logging.is_progress_bar_enabled()
        self._logging.disable_progress_bar()
        self._caught.__enter__()
        warnings.simplefilter("ignore", FutureWarning)

    def __exit__(self, *error: Any) -> None:
        self._caught.__exit__(*error)
        self._logging.set_verbosity(self._level)
        if self._bars:
            self._logging.enable_progress_bar()


def _transformers() -> Any:
    needs = f"networks named {PREFIX}... need the package transformers ({{error}}); install it: "
    return optional_package("transformers", f"{needs}pip install 'voxelcast[transformers]'")
