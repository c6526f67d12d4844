"""Trained models from their arrays, to predict new stimuli."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.learned.head import head_from_arrays
from voxelcast.encoders.learned.lora import add_lora

_NETWORK = "network."


def predict_from_arrays(
    arrays: Mapping[str, FloatArray], inputs: list[torch.Tensor], backbone: Callable[[], nn.Module] | None = None
) -> FloatArray:
    """Predict responses by the mean of all variants, ndarray of shape (n_stimuli, q).

    Parameters
    ----------
    arrays : mapping of str to ndarray
        `voxelcast.encoders.learned.encoders.TrainedModel.arrays`: those of each variant, ``<variant>/<name>``.
    inputs : list of tensor
        Of each layer the maps (n_stimuli, [n_times,] c, h, w), or with a network frames as the one member.
    backbone : callable, optional
        Gives the network, as its card says, with the weights that it was first trained with.
    """
    variants: dict[str, dict[str, FloatArray]] = {}
    for name, array in arrays.items():
        variant, _, rest = name.partition("/")
        variants.setdefault(variant, {})[rest] = array
    predictions = []
    with torch.no_grad():
        for own in variants.values():
            maps = inputs if backbone is None else _network(own, backbone())(inputs[0].float())
            head = head_from_arrays(own)
            found = head(maps, [None] * len(maps)).double().numpy()
            predictions.append(own["y_mean"] + own["y_scale"] * found)
    return np.asarray(np.mean(predictions, axis=0))


def _network(arrays: Mapping[str, FloatArray], network: nn.Module) -> nn.Module:
    """Give a network the weights that training changed."""
    added = next((array for name, array in arrays.items() if name.endswith("lora_a")), None)
    if added is not None:
        add_lora(network, len(added))
    parameters = dict(network.named_parameters())
    for name in [name for name in arrays if name.startswith(_NETWORK)]:
        parameters[name.removeprefix(_NETWORK)].copy_(torch.as_tensor(np.asarray(arrays[name])))
    return network.eval()
