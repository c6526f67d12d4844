"""Saved models written by hand, so that it is known what drives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.linear import LinearModel
from voxelcast.models.card import FILE, Card, FileCard, InputCard, LayerCard, PairCard, PartCard
from voxelcast.models.honesty import make_extras
from voxelcast.models.network_input import network_facts
from voxelcast.models.pair import FittedPart, take_apart
from voxelcast.models.tensors import file_sha256, write_tensors
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.scoring.novelty import Novelty
from voxelcast.stimuli.sampling import FrameSampling

SIZE, GRID = 64, 4
NETWORK = NetworkSettings(name="torchvision/squeezenet1_1", weights="random", layers=("features.0",), input_size=SIZE)


def cell_weights(row: int, column: int, n_channels: int = 64) -> FloatArray:
    """Weights of the pooled layer's features, all channels of one cell alike."""
    weights = np.zeros((n_channels, GRID, GRID))
    weights[:, row, column] = 1.0
    return weights.ravel()


def plant(
    folder: Path,
    rois: dict[str, FloatArray],
    *,
    half: bool = False,
    nested: tuple[FloatArray, FloatArray] | None = None,
    novelty: Novelty | None = None,
    scores: dict[str, FloatArray] | None = None,
) -> Path:
    """Write models of subject ``s1`` that see the first convolution, averaged over a grid of 4 x 4 cells.

    ``rois``: of each ROI the weights of voxels by features, (n_features, n_voxels); they go through axes, of which
    there are as many as voxels, and then a scaling that the encoder undoes.
    """
    folder.mkdir()
    how = ExtractionSettings(FrameSampling(every=1), ("mean",), f"grid({GRID})")
    network = load_network(NETWORK)
    pairs, layers = [], {}
    for roi, weights in rois.items():
        axes = (7 * weights.T).astype(np.float32)
        arrays: dict[str, Any] = {"mean": np.full(axes.shape[1], 0.1, np.float32), "axes": axes}
        if half:
            arrays |= {"axes": (axes / 8).astype(np.float16), "axes_scale": np.full(len(axes), 8, np.float32)}
        write_tensors(folder / f"{roi}_layer.safetensors", arrays)
        layers[roi] = LayerCard(
            input="net",
            network=NETWORK.name,
            layer="features.0",
            kind="axes",
            n_features=axes.shape[1],
            n_components=len(axes),
            half=half,
            file=_file(folder, f"{roi}_layer.safetensors"),
        )
        q = weights.shape[1]
        fitted = LinearModel({}, np.eye(q) / 7, np.zeros(q))
        valid, ones = np.ones(q, dtype=bool), np.ones(q)
        cards, own = take_apart([FittedPart(roi, "ridge", fitted, ones, q)], valid, ones * 0, ones * 0)
        extras = make_extras(scores or {}, valid, nested, novelty)
        own |= {f"extra.{name}": one for name, one in extras.items()}
        write_tensors(folder / f"{roi}.safetensors", {f"{roi}/{name}": one for name, one in own.items()})
        pairs.append(
            PairCard(
                subject="s1",
                roi=roi,
                n_voxels=q,
                n_valid=q,
                parts=tuple(PartCard(**card) for card in cards),
                extras={name: one.shape for name, one in extras.items()},
                file=_file(folder, f"{roi}.safetensors"),
            )
        )
    inputs = {"net": InputCard(kind="network", facts=network_facts(NETWORK, 0, network.card, how))}
    card = Card(
        format="voxelcast-models-1", name="planted", voxelcast="0", inputs=inputs, layers=layers, pairs=tuple(pairs)
    )
    (folder / FILE).write_text(card.text())
    return folder


def _file(folder: Path, name: str) -> FileCard:
    path = folder / name
    return FileCard(name=name, size=path.stat().st_size, sha256=file_sha256(path))
