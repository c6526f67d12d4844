"""Trained encoders from their arrays, to predict new stimuli."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voxelcast.core.errors import DataError
from voxelcast.encoders.learned.head import Head, HeadSize
from voxelcast.encoders.learned.settings import ReadoutSettings

Backbone = Callable[[int], nn.Module]
"""Gives a network, with low-rank additions of some rank (0: none), whose weights may be changed."""
_AT_ONCE: Final = 128
_MOST_PLACES: Final = 2**22


def trained_shapes(facts: Mapping[str, Any], n_voxels: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of a trained encoder by its facts (see `TrainedMembers`), by name.

    Raises DataError, or what wrong facts cause.
    """
    size, shapes = _size(facts, n_voxels), dict[str, tuple[int, ...]]()
    for v, member in enumerate(facts["members"]):
        with torch.device("meta"):  # nothing is made yet
            state = Head(size, _settings(member)).state_dict()
        own = {f"head.{name}": tuple(tensor.shape) for name, tensor in state.items()}
        own |= {"y_mean": (n_voxels,), "y_scale": (n_voxels,)}
        own |= {f"network.{name}": tuple(map(int, shape)) for name, shape in member["network"].items()}
        shapes |= {f"{v}/{name}": shape for name, shape in own.items()}
    return shapes


def input_sizes(facts: Mapping[str, Any]) -> list[int]:
    """Return how many numbers of each stimulus there are in what a trained encoder reads: of each layer, or frames."""
    if facts["pixels"]:
        n_frames, side = map(int, facts["pixels"])
        return [n_frames * side * side * 3]
    size = _size(facts, 0)
    return [max(n, 1) * c * h * w for (c, h, w), n in zip(size.shapes, size.n_times, strict=True)]


class TrainedMembers:
    """The members of a trained encoder, variants and seeds; predictions are their mean.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Those of each member, ``<number>/<name>``, as `trained_shapes` has them.
    facts : mapping
        ``shapes``, ``n_times`` and ``tokens`` of the layers' maps; ``pixels``, number of frames and side where frames
        are read, else None; and of each of ``members`` whether voxels read at ``points``, and the shapes of the
        ``network``'s arrays that training changed.
    n_voxels : int
    device : str
    backbone : callable, optional
        Where frames are read, the network with the weights that it was first trained with.
    """

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any],
        n_voxels: int,
        device: str = "cpu",
        backbone: Backbone | None = None,
    ) -> None:
        if (backbone is None) != (facts["pixels"] is None):
            raise DataError("a trained encoder reads frames through its network, or maps without one")
        self._facts, self._size, self._backbone = facts, _size(facts, n_voxels), backbone
        self._heads, self._learnt = list[Head](), list[dict[str, torch.Tensor]]()
        self._scales: list[tuple[torch.Tensor, torch.Tensor]] = []
        for v, member in enumerate(facts["members"]):
            start = f"{v}/"
            own = {
                n.removeprefix(start): torch.from_numpy(np.array(a)) for n, a in arrays.items() if n.startswith(start)
            }
            with torch.random.fork_rng(devices=[]):
                head = Head(self._size, _settings(member)).to(device)
            head.load_state_dict({name: own[f"head.{name}"] for name in head.state_dict()})
            self._heads.append(head.eval())
            self._learnt.append({n.removeprefix("network."): a for n, a in own.items() if n.startswith("network.")})
            self._scales.append((own["y_mean"].double().to(device), own["y_scale"].double().to(device)))

    def predict(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Predict responses, (n_stimuli, q), in double precision, from each layer's maps, or frames: (n, n_numbers).

        Raises DataError where they are not finite.
        """
        flags = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": False}
        with torch.no_grad(), torch.backends.cudnn.flags(**flags):
            rows = range(0, len(inputs[0]), _AT_ONCE)
            parts = [self._predict([values[k : k + _AT_ONCE] for values in inputs]) for k in rows]
        predicted = torch.cat(parts) if parts else torch.zeros((0, self._size.n_voxels), dtype=torch.double)
        if not bool(torch.isfinite(predicted).all()):
            raise DataError("predictions of a trained encoder are not finite: a stimulus is beyond what it can read")
        return predicted

    def _predict(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        maps, predicted = self._shaped(inputs), list[torch.Tensor]()
        for head, learnt, (mean, scale) in zip(self._heads, self._learnt, self._scales, strict=True):
            read = maps if self._backbone is None else _changed(self._backbone, learnt)(maps[0].float())
            predicted.append(mean + scale * head(read, [None] * len(read)).double())
        return torch.stack(predicted).mean(dim=0)

    def _shaped(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Give values their axes: (n, [n_times,] c, h, w) of maps, (n, n_frames, side, side, 3) of frames."""
        if self._facts["pixels"]:
            n_frames, side = self._facts["pixels"]
            return [inputs[0].reshape(-1, n_frames, side, side, 3)]
        leads = [(len(inputs[0]), n) if n else (len(inputs[0]),) for n in self._size.n_times]
        around = zip(inputs, leads, self._size.shapes, self._facts["tokens"], strict=True)
        return [with_axes(*one) for one in around]


def with_axes(values: Any, lead: tuple[int, ...], shape: tuple[int, int, int], tokens: bool) -> Any:
    """Give an array or tensor of maps, whose last axis is flat, the shape (*lead, c, h, w); tokens are rows."""
    c, h, w = shape
    return values.reshape(*lead, h, c).swapaxes(-1, -2)[..., None] if tokens else values.reshape(*lead, c, h, w)


def _size(facts: Mapping[str, Any], n_voxels: int) -> HeadSize:
    shapes = tuple((int(c), int(h), int(w)) for c, h, w in facts["shapes"])
    if any(h * w > _MOST_PLACES for _, h, w in shapes):
        raise DataError(f"maps have at most {_MOST_PLACES} places; got {shapes}")
    return HeadSize(shapes, tuple(map(int, facts["n_times"])), n_voxels)


def _settings(member: Mapping[str, Any]) -> ReadoutSettings:
    return ReadoutSettings(places="point" if member["points"] else "softmax")


def _changed(backbone: Backbone, learnt: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the network with the weights that training changed."""
    rank = next((len(array) for name, array in learnt.items() if name.endswith("lora_a")), 0)
    network = backbone(rank)
    parameters = dict(network.named_parameters())
    for name, array in learnt.items():
        parameters[name].copy_(array)
    return network
