"""Features of texts, and of words with the words before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import OptionError
from voxelcast.networks.base import Network
from voxelcast.networks.transformers_reading import TextNetwork
from voxelcast.stimuli.words import Context, Words, contexts


def text_features(network: Network, texts: Sequence[str], *, batch: int = 32) -> Mapping[str, FloatArray]:
    """Compute the features of texts, each alone, ``batch`` at a time.

    Parameters
    ----------
    network : Network
        One that takes text, e.g. ``vc.load_network("hf:FOLDER", layers=["0.5"], tokens="mean")``; its setting
        ``tokens`` says which tokens of a text are kept.

    Returns
    -------
    features : mapping of str to ndarray of shape (n_texts, n_features), float32
        By layer. The same whatever the batch, up to rounding.

    Raises
    ------
    OptionError
        If the network does not take text, or there is none.
    DataError
        If a text has no token, or more than the network can read.
    """
    reader = _text_network(network, texts, batch)
    return _features(reader, (reader.prepare(texts[part]) for part in _parts(len(texts), batch)))


def word_features(
    network: Network, words: Words | Sequence[str], *, context: int, ahead: int = 0, batch: int = 32
) -> Mapping[str, FloatArray]:
    """Compute the features of each of a sequence of words in the text of the words around it.

    The text of word i is the words i - context to i + ahead, joined by spaces: what comes after a word counts only
    where ``ahead`` asks for it, whether the network could look ahead or not. Of it the tokens of the word itself are
    kept: with ``tokens`` ``"last"`` the last of them, ``"cls"`` the first, else their mean.

    Parameters
    ----------
    network : Network
        One that takes text.
    words : Words or sequence of str
        In the order in which they are said.
    context, ahead : int
        Words before and after each, at least 0; the first ones have fewer.

    Returns
    -------
    features : mapping of str to ndarray of shape (n_words, n_features), float32
        By layer. The same whatever the batch, up to rounding.

    Raises
    ------
    OptionError
        If the network does not take text, there is no word, or ``context`` or ``ahead`` is below 0.
    DataError
        If a word has no token, or it and its context more than the network can read.
    """
    if not isinstance(words, Words):
        words = Words(tuple(words), np.zeros(len(words)), np.zeros(len(words)))
    return context_features(network, contexts(words, context, ahead), batch=batch)


def context_features(network: Network, said: Sequence[Context], *, batch: int = 32) -> Mapping[str, FloatArray]:
    """Compute the features of words in their texts, as `word_features`, which makes these of a sequence of words."""
    reader = _text_network(network, said, batch)
    return _features(reader, (reader.prepare_words(said[part]) for part in _parts(len(said), batch)))


def _text_network(network: Network, texts: Sequence[str | Context], batch: int) -> TextNetwork:
    if not isinstance(network, TextNetwork):
        raise OptionError(f"'{network.card.name}' takes {network.card.takes}, not text; choose another network")
    if not texts or batch < 1:
        raise OptionError(f"there must be one text at least, and a batch of at least 1; got {len(texts)} and {batch}")
    return network


def _parts(n: int, batch: int) -> list[slice]:
    return [slice(start, start + batch) for start in range(0, n, batch)]


def _features(network: TextNetwork, batches: Iterator[torch.Tensor]) -> Mapping[str, FloatArray]:
    found: dict[str, list[FloatArray]] = {layer: [] for layer in network.layers}
    for prepared in batches:
        for layer, values in network.activations(prepared).items():
            found[layer].append(values.float().cpu().numpy().reshape(len(values), -1))
    joined = {layer: np.concatenate(parts) for layer, parts in found.items()}
    for layer, features in joined.items():
        check_finite(f"features of layer {layer}", features)
    return joined
