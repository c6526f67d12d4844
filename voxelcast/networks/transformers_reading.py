"""Networks of transformers that take sound or text: what goes in, and how a layer's tokens are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.networks.base import NetworkCard
from voxelcast.networks.hooks import View
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.tokens import Keep, first_tensor
from voxelcast.stimuli.sampling import SoundSampling
from voxelcast.stimuli.words import Context

_PAD = -1  # the mark of what fills up a shorter text


class SoundNetwork(ModuleNetwork):
    """A torch module that takes what an extractor of features makes of windows of sound."""

    def __init__(
        self,
        card: NetworkCard,
        module: nn.Module,
        layers: Sequence[str],
        device: torch.device,
        view: View,
        extractor: Any,
        sound: SoundSampling,
    ) -> None:
        self.sound = sound
        self._extractor = extractor
        self.sound_rate = extractor.sampling_rate
        super().__init__(card, module, layers, device, view)

    def prepare(self, frames: FloatArray) -> torch.Tensor:
        """Extract features of windows (n_windows, 1, n_samples)."""
        return sound_features(self._extractor, frames).to(self.device)

    def _example(self) -> torch.Tensor:
        assert self.sound is not None
        return self.prepare(np.zeros((2, 1, round(self.sound.seconds * self.sound_rate)), np.float32))

    def _taken(self) -> str:
        return f"windows of {self.sound.seconds:g} s of sound" if self.sound else "sound"


def sound_features(extractor: Any, windows: FloatArray) -> torch.Tensor:
    """Have an extractor of transformers make features of windows (n_windows, 1, n_samples) of one length."""
    found = extractor(list(windows[:, 0]), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    values: torch.Tensor = found[extractor.model_input_names[0]].float()
    mask = found.get("attention_mask")
    if mask is not None and mask.shape[1] == values.shape[1]:
        values = values[:, mask[0].bool()]  # all windows are filled up alike
    return values


class SoundTokens:
    """Reads a layer's tokens of windows of sound, (n, special + n_bands * n_times, n_channels): a view.

    Kept are those of the steps of time ``new``: their ``"mean"``, or with ``"all"`` that of each band, (n, n_channels,
    n_bands, 1); or the class token.
    """

    def __init__(self, special: int, n_bands: int, n_times: int, new: slice, keep: Keep) -> None:
        self._special, self._shape, self._new, self._keep = special, (n_bands, n_times), new, keep

    def __call__(self, module: nn.Module, output: object) -> torch.Tensor | str:
        """Read a layer's output, or say what is wrong."""
        tokens = first_tensor(output)
        if isinstance(tokens, str) or tokens.ndim == 2:
            return tokens
        n_bands, n_times = self._shape
        if tokens.ndim != 3 or tokens.shape[1] != self._special + n_bands * n_times:
            return (
                f"puts out {tuple(tokens.shape[1:])}, not {n_bands * n_times} tokens and {self._special} special ones"
            )
        if self._keep == "cls":
            return tokens[:, 0]
        grid = tokens[:, self._special :].reshape(len(tokens), n_bands, n_times, -1)
        bands = grid[:, :, self._new].float().mean(2)
        if self._keep == "mean" or n_bands == 1:
            return bands.mean(1)
        return bands.transpose(1, 2).unsqueeze(-1)


class TextTokens:
    """Reads a layer's tokens of texts, (n, n_tokens, n_channels), as the mean of those marked: a view."""

    def __init__(self) -> None:
        self.marks = torch.zeros(0, 0)

    def __call__(self, module: nn.Module, output: object) -> torch.Tensor | str:
        """Read a layer's output, or say what is wrong."""
        tokens = first_tensor(output)
        if isinstance(tokens, str) or tokens.ndim == 2:
            return tokens
        if tokens.ndim != 3 or tokens.shape[:2] != self.marks.shape:
            return f"puts out {tuple(tokens.shape[1:])}, not one entry per token"
        weights = (self.marks > 0).float()
        weights = weights / weights.sum(1, keepdim=True)
        with torch.autocast(tokens.device.type, enabled=False):
            return torch.einsum("nt,ntc->nc", weights, tokens.float())


class TextNetwork(ModuleNetwork):
    """A torch module that takes tokens of texts: int64 (n_texts, 2, n_tokens), their ids and marks.

    Marked 1 are the tokens whose mean is the feature, 0 others, -1 what fills a text up.
    """

    def __init__(
        self,
        card: NetworkCard,
        module: nn.Module,
        layers: Sequence[str],
        device: torch.device,
        view: View,
        reader: TextReader,
    ) -> None:
        self._reader = reader
        super().__init__(card, module, layers, device, view)

    def prepare(self, frames: Sequence[str]) -> torch.Tensor:
        """Make tokens of texts."""
        return self.join([self._reader.tokens(text) for text in frames]).to(self.device)

    def prepare_words(self, words: Sequence[Context]) -> torch.Tensor:
        """Make tokens of words in their texts, of which the words' own are marked."""
        return self.join([self._reader.tokens(one.text, (one.start, one.stop)) for one in words]).to(self.device)

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join tokens of texts, filling up the shorter ones."""
        longest = max(part.shape[2] for part in parts)
        filled = torch.full((sum(map(len, parts)), 2, longest), _PAD, dtype=torch.int64, device=parts[0].device)
        start = 0
        for part in parts:
            filled[start : start + len(part), :, : part.shape[2]] = part
            start += len(part)
        return filled

    def _example(self) -> torch.Tensor:
        return torch.ones(2, 2, 4, dtype=torch.int64, device=self.device)

    def _taken(self) -> str:
        return "text"


class TextReader:
    """Makes tokens of one text, with a tokenizer of transformers, and marks those to keep.

    Kept are with ``"mean"`` all but special tokens, with ``"last"`` the last, with ``"cls"`` the first.
    """

    def __init__(self, name: str, tokenizer: Any, longest: int, keep: Keep) -> None:
        self._name, self._tokenizer, self._longest, self._keep = name, tokenizer, longest, keep

    def tokens(self, text: str, word: tuple[int, int] | None = None) -> torch.Tensor:
        """Return ids and marks, int64 (1, 2, n_tokens); of ``text[start:stop]`` alone where a word is given.

        Raises DataError for a text that is longer than the network can read, or without a token to keep.
        """
        found = self._tokenizer(text, return_offsets_mapping=word is not None, return_special_tokens_mask=True)
        ids, special = found["input_ids"], np.array(found["special_tokens_mask"], dtype=bool)
        if len(ids) > self._longest:
            raise DataError(
                f"'{self._name}' reads {self._longest} tokens at most; got {len(ids)} of {text[:40]!r}...; shorten the "
                "text, or take fewer words of context"
            )
        kept = ~special
        if word is not None:
            # Of some tokenizers a token begins with the space before its word.
            places = found["offset_mapping"]
            kept &= np.array([stop > max(start, word[0]) and start < word[1] for start, stop in places], dtype=bool)
        elif self._keep in ("last", "cls"):
            kept = np.ones(len(ids), dtype=bool)
        marks = np.flatnonzero(kept)
        if not len(marks):
            raise DataError(f"'{self._name}' makes no token of {text[slice(*(word or (None,)))][:40]!r}; leave it out")
        chosen = {"last": marks[-1:], "cls": marks[:1]}.get(self._keep, marks)
        marked = np.zeros(len(ids), dtype=np.int64)
        marked[chosen] = 1
        return torch.from_numpy(np.stack([np.array(ids, dtype=np.int64), marked])[None])
