"""How a multilayer perceptron is trained; the one module of this room that needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.torch_training import deterministic, learn_once

_BATCH = 64
_MOST_EPOCHS = 300
_PATIENCE = 10


@dataclass(frozen=True)
class Architecture:
    """Widths of the hidden layers, and how they are regularised and trained."""

    widths: tuple[int, ...]
    learning_rate: float
    dropout: float
    weight_decay: float


def train_perceptron(
    X: FloatArray, Y: FloatArray, kept: IntArray, aside: IntArray, architecture: Architecture, seed: int
) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...], FloatArray]:
    """Train on the stimuli ``kept`` until the error on those ``aside`` has not fallen for ten epochs.

    Parameters
    ----------
    X : ndarray of shape (n, p)
        Standardised features.
    Y : ndarray of shape (n, q)
        Standardised responses.
    kept, aside : ndarray of int
        Rows.

    Returns
    -------
    weights, biases : tuple of ndarray
        Of the best epoch, in float64; they were trained in float32.
    errors : ndarray of shape (n_epochs,)
    """
    with deterministic(seed):
        network = _network(X.shape[1], architecture.widths, Y.shape[1], architecture.dropout)
        linear = [part for part in network if isinstance(part, nn.Linear)]
        optimizer = torch.optim.AdamW(
            [
                {"params": [part.weight for part in linear], "weight_decay": architecture.weight_decay},
                {"params": [part.bias for part in linear], "weight_decay": 0.0},
            ],
            lr=architecture.learning_rate,
        )
        both = [torch.from_numpy(values.astype(np.float32)) for values in (X, Y)]
        (inputs, targets), (judged_inputs, judged_targets) = (
            [values[torch.from_numpy(rows)] for values in both] for rows in (kept, aside)
        )
        errors: list[float] = []
        best = [parameter.detach().clone() for parameter in network.parameters()]
        while len(errors) < _MOST_EPOCHS and len(errors) - _place_of_least(errors) < _PATIENCE:
            network.train()  # again for every epoch: judging switches dropout off
            learn_once(network, optimizer, inputs, targets, _BATCH)
            network.eval()
            with torch.no_grad():
                errors.append(float(nn.functional.mse_loss(network(judged_inputs), judged_targets)))
            if _place_of_least(errors) == len(errors):
                best = [parameter.detach().clone() for parameter in network.parameters()]
    arrays = [parameter.numpy().astype(np.float64) for parameter in best]
    return tuple(arrays[::2]), tuple(arrays[1::2]), np.array(errors)


def _network(n_in: int, widths: Sequence[int], n_out: int, dropout: float) -> nn.Sequential:
    parts: list[nn.Module] = []
    for width in widths:
        parts += [nn.Linear(n_in, width), nn.ReLU(), nn.Dropout(dropout)]
        n_in = width
    return nn.Sequential(*parts, nn.Linear(n_in, n_out))


def _place_of_least(errors: Sequence[float]) -> int:
    """Return which epoch, counted from 1, was the first with the least error; 0 before the first epoch."""
    return 1 + errors.index(min(errors)) if errors else 0
