"""A small folder of models, built by hand from known numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.encoders.linear import LinearModel
from voxelcast.models.card import FORMAT, Card, FileCard, InputCard, LayerCard, PairCard
from voxelcast.models.pair import FittedPart, take_apart
from voxelcast.models.readme import write_readme
from voxelcast.models.tensors import file_sha256, write_tensors

D, P = 12, 3


def file_card(folder: Path, name: str) -> FileCard:
    """Say what a file is."""
    return FileCard(name=name, size=(folder / name).stat().st_size, sha256=file_sha256(folder / name))


Places = Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]


def build(folder: Path, seed: int = 0, places: Places | None = None) -> Path:
    """Write a model of one layer of twelve features, three components, and two ROIs of one subject.

    ``places``: by ROI, what the card says of where its voxels lie, and arrays. ``V1`` has five voxels, ``V2`` two.
    """
    rng = np.random.default_rng(seed)
    axes = {"mean": rng.standard_normal(D).astype(np.float32), "axes": rng.standard_normal((P, D)).astype(np.float32)}
    write_tensors(folder / "layers" / "net-conv.safetensors", axes)
    layer = LayerCard(
        input="input1",
        network="net",
        layer="conv",
        kind="axes",
        n_features=D,
        n_components=P,
        file=file_card(folder, "layers/net-conv.safetensors"),
    )
    arrays, pairs = {}, []
    for roi, q in (("V1", 5), ("V2", 2)):
        fitted = LinearModel({}, rng.standard_normal((P, q)), rng.standard_normal(q))
        part = FittedPart("net-conv", "ridge", fitted, np.ones(q), P)
        cards, of_roi = take_apart([part], np.ones(q, dtype=bool), np.zeros(q), np.zeros(q))
        arrays |= {f"{roi}/{name}": array for name, array in of_roi.items()}
        scores = {"score": 0.5, "score_low": 0.4, "score_high": 0.6, "score_from": "nested_cv"}
        where, where_arrays = (places or {}).get(roi, (None, {}))
        arrays |= {f"{roi}/where.{name}": array for name, array in where_arrays.items()}
        pair = {"subject": "ann", "roi": roi, "n_voxels": q, "n_valid": q, "parts": cards, "scores": scores}
        pairs.append(pair | {"where": where})
    write_tensors(folder / "ann.safetensors", arrays)
    file = file_card(folder, "ann.safetensors")
    card = Card(
        format=FORMAT,
        name="by hand",
        voxelcast="0",
        inputs={"input1": InputCard(kind="table", facts={})},
        layers={"net-conv": layer},
        pairs=tuple(PairCard.model_validate(pair | {"file": file}) for pair in pairs),
        about={"dataset": {"title": "made up", "licence": "CC0", "citation": "nobody"}},
    )
    (folder / "card.json").write_text(card.text())
    write_readme(folder, card)
    return folder
