"""Which part of a picture drives a response? By gradients through the whole chain, and by occlusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.errors import DataError, OptionError

if TYPE_CHECKING:
    import torch

    from voxelcast.models.encoder import SavedEncoder
    from voxelcast.models.network_input import NetworkInput

_STEP: Final = 1e-3  # of a component's size, to each side
_AT_ONCE: Final = 16  # occluded pictures
_MOST_PIXELS: Final = 512  # of a side


@dataclass(frozen=True)
class Target:
    """Whose response is asked for: a subject's ROI, the mean over its analysed voxels, or one of its voxels."""

    subject: str
    roi: str
    voxel: int | None = None

    def __str__(self) -> str:
        return f"{self.subject} {self.roi}" + ("" if self.voxel is None else f", voxel {self.voxel}")

    @property
    def pair(self) -> tuple[str, str]:
        """Subject and ROI."""
        return self.subject, self.roi

    def response(self, encoder: SavedEncoder, predictions: FloatArray) -> FloatArray:
        """Return the response, (n_stimuli,), of predictions (n_stimuli, n_voxels)."""
        valid = encoder.pair(self.pair).valid
        if self.voxel is None:
            return np.asarray(predictions[:, valid].mean(axis=1))
        if not 0 <= self.voxel < len(valid):
            raise OptionError(
                f"voxel must be from 0 to {len(valid) - 1} in {self.subject} {self.roi}; got {self.voxel}"
            )
        return np.asarray(predictions[:, self.voxel])


def gradient_map(encoder: SavedEncoder, picture: ByteArray, target: Target) -> FloatArray:
    """Return how strongly the response depends on each pixel, at the size at which the network sees the picture.

    The root of the squared derivatives by red, green and blue, in units of response per grey level, summed over a
    pixel's channels. The derivative goes through network, pooling, axes and encoder; that of the encoder by its few
    components is a central difference, which is exact for linear ones. It says where small changes would count, not
    whether what is there drives the response: see `occlusion_map`.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8

    Returns
    -------
    map : ndarray of shape (size, size)

    Raises
    ------
    OptionError
        Where the chain has no gradient: networks that take clips, pools over time that keep all frames, ready features.
    """
    from voxelcast.models.network_input import NetworkInput

    if any(encoder.card.layers[key].kind == "trained" for key in encoder.needed):
        raise OptionError("a map by gradients is of models on compressed features; this one has a trained encoder")
    ((_, features),) = encoder.features(picture[np.newaxis])
    derivatives = _by_components(encoder, encoder.scores(features), target)
    total: FloatArray | None = None
    for name, one in encoder.inputs.items():
        keys = [key for key in derivatives if encoder.card.layers[key].input == name]
        if not keys:
            continue
        if not isinstance(one, NetworkInput):
            raise OptionError(
                "a map of a picture needs a model on a network's features; this one has features of a table"
            )
        by_feature = {key: encoder.layer(key).pull_back(derivatives[key]) for key in keys}
        found = _through_network(one, encoder, picture, by_feature)
        total = found if total is None else total + resized(found, total.shape)
    if total is None:
        raise DataError(f"no layer counts in the response of {target}")
    return np.asarray(np.sqrt(total))


def _by_components(encoder: SavedEncoder, components: Mapping[str, Any], target: Target) -> dict[str, FloatArray]:
    """Differentiate the response by the components of each layer that is read from a network."""
    from voxelcast.models.encoder import project

    joined = {key: encoder.layer(key) for key in encoder.needed if encoder.card.layers[key].members}
    start = {key: encoder.device.numpy(values) for key, values in components.items() if key not in joined}
    derivatives = {}
    for key, values in start.items():
        n = values.shape[1]
        steps = _STEP * np.maximum(np.abs(values[0]), np.sqrt(np.square(values).mean()) + np.finfo(np.float32).tiny)
        moved = {other: np.repeat(rows, 2 * n, axis=0) for other, rows in start.items()}
        moved[key][:n] += np.diag(steps)
        moved[key][n:] -= np.diag(steps)
        put = {other: encoder.device.put(rows) for other, rows in moved.items()}
        found = target.response(encoder, encoder.respond(project(joined, {}, put), target.pair))
        derivatives[key] = (found[:n] - found[n:]) / (2 * steps)
    return derivatives


def _through_network(
    one: NetworkInput, encoder: SavedEncoder, picture: ByteArray, by_feature: Mapping[str, FloatArray]
) -> FloatArray:
    """Return the squared derivative by each pixel, summed over channels."""
    import torch

    network = one.network
    prepared = network.prepare(picture[np.newaxis]).detach().clone().requires_grad_(True)
    activations = network.differentiable(prepared)
    response = sum(
        _pooled(one, encoder.card.layers[key], activations).double().flatten()
        @ torch.from_numpy(np.asarray(weights, dtype=np.float64)).to(network.device)
        for key, weights in by_feature.items()
    )
    assert isinstance(response, torch.Tensor)
    (gradient,) = torch.autograd.grad(response, prepared)
    per_level = gradient[0].double().cpu().numpy() / (255 * np.array(network.card.std)[:, np.newaxis, np.newaxis])
    return np.asarray(np.square(per_level).sum(axis=0))


def _pooled(one: NetworkInput, layer: Any, activations: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Pool a layer's activations to one picture as they are extracted, keeping what gradients need."""
    import torch

    from voxelcast.features.pooling import make_pool
    from voxelcast.features.spatial_pool import pool_spatially

    values, name = activations[layer.layer], layer.pool or one.how.pools[0]
    pool = make_pool(name)
    pool.update(pool_spatially(values.float(), one.how.spatial_pool), np.zeros(len(values)))
    pooled = pool.pooled() if layer.n_times is None else None
    if not isinstance(pooled, torch.Tensor) or pooled.grad_fn is None:
        raise OptionError(f"layer {layer.name} has no gradient through its pool over time; ask by occlusion alone")
    return pooled


def occlusion_map(encoder: SavedEncoder, picture: ByteArray, target: Target, cells: int = 8) -> FloatArray:
    """Return by how much the response falls when each part of a picture is covered.

    A patch of two by two cells, of the picture's mean colour, is laid over every place; a cell has the mean fall over
    the patches that cover it. Positive: what is there drives the response up. A covered picture is none that the model
    learnt from, and what the patch itself does is part of the map.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3), uint8
    cells : int
        Of a side, from 2 to 64.

    Returns
    -------
    map : ndarray of shape (cells, cells)
        In the unit of the response.
    """
    if not 2 <= cells <= 64:
        raise OptionError(f"cells must be from 2 to 64; got {cells}")
    picture = picture if max(picture.shape) <= _MOST_PIXELS else _smaller(picture)
    height, width = picture.shape[:2]
    rows, columns = (np.linspace(0, size, cells + 1).round().astype(int) for size in (height, width))
    mean = picture.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    places = [(i, j) for i in range(-1, cells) for j in range(-1, cells)]
    whole = _responses(encoder, picture[np.newaxis], target)[0]
    fall, count = np.zeros((cells, cells)), np.zeros((cells, cells))
    for start in range(0, len(places), _AT_ONCE):
        some = places[start : start + _AT_ONCE]
        covered = np.repeat(picture[np.newaxis], len(some), axis=0)
        spans = [(slice(max(i, 0), min(i + 2, cells)), slice(max(j, 0), min(j + 2, cells))) for i, j in some]
        for one, (down, across) in zip(covered, spans, strict=True):
            one[rows[down.start] : rows[down.stop], columns[across.start] : columns[across.stop]] = mean
        for (down, across), response in zip(spans, _responses(encoder, covered, target), strict=True):
            fall[down, across] += whole - response
            count[down, across] += 1
    return np.asarray(fall / count)


def _responses(encoder: SavedEncoder, pictures: ByteArray, target: Target) -> FloatArray:
    found = np.empty(len(pictures))
    for positions, features in encoder.features(pictures):
        predictions = encoder.respond(encoder.scores(features), target.pair)
        found[positions] = target.response(encoder, predictions)
    return found


def _smaller(picture: ByteArray) -> ByteArray:
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((_MOST_PIXELS, _MOST_PIXELS), Image.Resampling.LANCZOS)
    return np.asarray(image)


def resized(values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Resize a map bilinearly, (height, width) to ``shape``."""
    from PIL import Image

    image = Image.fromarray(values.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.float64)
