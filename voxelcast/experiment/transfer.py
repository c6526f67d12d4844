"""New subjects from few stimuli: saved models of others, and the new subjects' responses, become models of theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import voxelcast
from voxelcast.core.arrays import BoolArray, FloatArray
from voxelcast.core.errors import DataError, OptionError, UnwritableError
from voxelcast.core.progress import SILENT, Progress
from voxelcast.datasets.base import Dataset, ResponseSet
from voxelcast.encoders.linear import LinearModel
from voxelcast.experiment.models import voxel_places
from voxelcast.experiment.settings import TABLES
from voxelcast.experiment.steps.responses import invalid_voxels
from voxelcast.models.card import FILE, FORMAT, Card, FileCard, Pair, PairCard
from voxelcast.models.encoder import SavedEncoder
from voxelcast.models.pair import FittedPart, take_apart
from voxelcast.models.readme import write_readme
from voxelcast.models.stimuli import Shown
from voxelcast.models.tensors import checked_file, file_sha256, write_tensors
from voxelcast.results.schema import TRANSFER
from voxelcast.results.write import write_table
from voxelcast.scoring.intervals import Judged, score_interval
from voxelcast.search.folds import choose_folds
from voxelcast.search.settings import FoldSettings
from voxelcast.search.transfer import SharedRidge, Transfer, transfer
from voxelcast.store.atomic import write_bytes, write_text


@dataclass(frozen=True, eq=False)
class _Others:
    """The other subjects' linear models of one ROI: coefficients (p_l, m) on each layer, by subject and ROI."""

    coefficients: dict[Pair, dict[str, FloatArray]]

    @property
    def layers(self) -> list[str]:
        """Layers that are weighed, each once."""
        return list(dict.fromkeys(key for of_pair in self.coefficients.values() for key in of_pair))

    def predictions(self, components: dict[str, FloatArray]) -> list[FloatArray]:
        """Predict responses, but for what is the same for all stimuli, (n, m) of each pair."""
        return [
            np.asarray(sum(components[key][:, : len(B)] @ B for key, B in of_pair.items()))
            for of_pair in self.coefficients.values()
        ]

    def on(self, layer: str, n_components: int) -> FloatArray:
        """Return all pairs' coefficients on a layer, (n_components, m); 0 where a pair has none."""
        columns = []
        for of_pair in self.coefficients.values():
            B = np.zeros((n_components, next(iter(of_pair.values())).shape[1]))
            if layer in of_pair:
                B[: len(of_pair[layer])] = of_pair[layer]
            columns.append(B)
        return np.hstack(columns)


def transfer_models(
    encoder: SavedEncoder,
    dataset: Dataset,
    folder: Path,
    *,
    folds: FoldSettings = FoldSettings(),  # noqa: B008 - frozen
    seed: int = 0,
    level: float = 0.95,
    progress: Progress = SILENT,
) -> list[dict[str, Any]]:
    """Fit and judge the models of a dataset's subjects with the help of other subjects' saved models, and save them.

    The prior of an ROI are the models of the ROI of that name, or all of them where there is none.

    Parameters
    ----------
    encoder : SavedEncoder
        The others' models: linear ones, and no time series.
    dataset : Dataset
        The new subjects'; its training stimuli count.
    folder : Path
        To be made: ``models/`` in the format of a run's, and ``transfer.csv``.
    folds : FoldSettings
    seed : int
    level : float
        Of intervals.
    progress : Progress, optional
        Told of each subject x ROI that is done; nothing is said without it.

    Returns
    -------
    rows : list of dict
        The rows of ``transfer.csv``.

    Raises
    ------
    UnwritableError
        If the folder is there already.
    OptionError, DataError
        If models or responses are not of a kind that can be used.
    """
    if folder.is_symlink() or folder.exists():
        raise UnwritableError(f"{folder} is there already; choose another folder")
    if encoder.card.tr_seconds is not None or dataset.series is not None:
        raise OptionError("a transfer needs single stimuli, and these are volumes of a time series; run the experiment")
    components, ids = _components(encoder, dataset)
    rows: list[dict[str, Any]] = []
    pairs: list[PairCard] = []
    progress.start("transfer", sum(len(dataset.rois(subject)) for subject in dataset.subjects), "subject x ROI")
    for subject in dataset.subjects:
        arrays: dict[str, NDArray[Any]] = {}
        cards = []
        for roi in dataset.rois(subject):
            others = _others(encoder, roi)
            responses = dataset.responses(subject, roi)
            Y, valid = _usable(responses)
            at = [ids.index(name) for name in responses.stimulus_ids]
            own = {key: components[key][at] for key in others.layers}
            known = dataset.groups
            groups = None if known is None else [known[name] for name in responses.stimulus_ids]
            fold_ids = choose_folds(folds, len(Y), seed, groups)
            judged = Judged(fold_ids, groups if folds.unit == "group" else None)
            found = transfer([*own.values()], others.predictions(own), Y, judged, level)
            row = _row(found, Y, judged, level, len(others.coefficients))
            rows.append({"subject": subject, "roi": roi, **row})
            fitted = _on_layers(found.model, others, own, Y.mean(axis=0))
            fallback = np.nan_to_num(np.nanmean(responses.mean(), axis=0))
            parts, of_roi = take_apart(fitted, valid, Y.mean(axis=0), fallback)
            where, at_places = voxel_places(dataset.voxel_indices(subject, roi))
            arrays |= {f"{roi}/{name}": array for name, array in (of_roi | at_places).items()}
            card = {"subject": subject, "roi": roi, "n_voxels": len(valid), "n_valid": int(valid.sum())}
            progress.advance()
            cards.append(card | {"unit": responses.unit, "parts": parts, "where": where, "scores": row})
        file = _written(folder / "models", f"{subject}.safetensors", arrays)
        pairs += [PairCard.model_validate(card | {"file": file}) for card in cards]
    progress.finish()
    _write_card(encoder, dataset, folder / "models", pairs)
    write_table(folder, TRANSFER, rows)
    return rows


def _components(encoder: SavedEncoder, dataset: Dataset) -> tuple[dict[str, FloatArray], tuple[str, ...]]:
    """Return the layers' components of the training stimuli, (n, p), and the stimuli's ids."""
    layers = {key: card for key, card in encoder.card.layers.items() if key in encoder.needed}
    if all(card.network == TABLES for card in layers.values() if card.kind != "joined"):
        n = len(dataset.stimulus_ids("train"))
        given = {key: dataset.features(card.layer)[:n] for key, card in layers.items() if card.kind != "joined"}
        shown = Shown(dataset.stimulus_ids("train"), features=given)
    else:
        stimuli = dataset.train_stimuli
        shown = Shown(tuple(one.stimulus_id for one in stimuli), stimuli)
    found: dict[str, FloatArray] = {}
    for positions, features in encoder.features(shown):
        for key, values in encoder.scores(features).items():
            part = encoder.device.numpy(values)
            found.setdefault(key, np.empty((len(shown.ids), part.shape[1])))[positions] = part
    return found, shown.ids


def _others(encoder: SavedEncoder, roi: str) -> _Others:
    """Return the linear models of an ROI, or of all ROIs where none has its name."""
    named = [pair for pair in encoder.pairs if pair[1] == roi] or list(encoder.pairs)
    found: dict[Pair, dict[str, FloatArray]] = {}
    for pair in named:
        model = encoder.pair(pair)
        of_pair = found.setdefault(pair, {})
        for part in model.parts:
            if not isinstance(part.model, LinearModel):
                raise OptionError(
                    f"a transfer needs linear models, and {' '.join(pair)} has one of {part.card.encoder}; fit the "
                    "others with e.g. encoders: [ridge]"
                )
            to_numpy = encoder.device.numpy
            B = np.zeros((part.card.n_features, len(model.rest)))
            B[:, to_numpy(part.voxels)] = to_numpy(part.model.coefficients) * to_numpy(part.weights)
            before = of_pair.get(part.card.layer)
            of_pair[part.card.layer] = B if before is None else _sum(before, B)
    return _Others(found)


def _sum(one: FloatArray, other: FloatArray) -> FloatArray:
    total = np.zeros((max(len(one), len(other)), one.shape[1]))
    total[: len(one)] += one
    total[: len(other)] += other
    return total


def _usable(responses: ResponseSet) -> tuple[FloatArray, BoolArray]:
    """Return the mean responses of the voxels that can be analysed, (n_stimuli, n_valid), and which these are."""
    mean = responses.mean().astype(np.float64)
    reasons, valid = invalid_voxels(mean)
    if not valid.any():
        voxel, reason = next(iter(reasons.items()))
        raise DataError(f"{responses.subject} {responses.roi} has no voxel to analyse (voxel {voxel}: {reason})")
    return np.ascontiguousarray(mean[:, valid]), valid


def _on_layers(model: SharedRidge, others: _Others, own: dict[str, FloatArray], mean: FloatArray) -> list[FittedPart]:
    """Divide a model into one on each layer: the others' models are linear in the layers' components, too."""
    parts: list[FittedPart] = []
    start = 0
    # The others' predictions were taken without their intercepts, so nothing is left over.
    for key, X in own.items():
        p = X.shape[1]
        B = model.own[start : start + p] + (others.on(key, p) @ model.axes) @ model.shared
        intercept = mean if parts else model.intercept
        parts.append(FittedPart(key, "transfer", LinearModel({}, B, intercept), np.ones(B.shape[1]), p))
        start += p
    return parts


def _row(found: Transfer, Y: FloatArray, judged: Judged, level: float, n_others: int) -> dict[str, Any]:
    ends = [score_interval(Y, predicted, judged, level) for predicted in (found.out_of_fold, found.alone)]
    row = {
        "score": float(np.nanmean(found.scores)),
        "score_low": ends[0].low,
        "score_high": ends[0].high,
        "score_alone": float(np.nanmean(found.scores_alone)),
        "difference": found.difference,
        "difference_low": found.interval.low,
        "difference_high": found.interval.high,
        "share": found.model.share,
        "least_share": min(found.fold_shares),
        "most_share": max(found.fold_shares),
    }
    known = {name: value if np.isfinite(value) else None for name, value in row.items()}
    return known | {"n_stimuli": len(Y), "n_voxels": Y.shape[1], "n_others": n_others}


def _written(folder: Path, name: str, arrays: dict[str, NDArray[Any]]) -> FileCard:
    write_tensors(folder / name, arrays)
    return FileCard(name=name, size=(folder / name).stat().st_size, sha256=file_sha256(folder / name))


def _write_card(encoder: SavedEncoder, dataset: Dataset, folder: Path, pairs: Sequence[PairCard]) -> None:
    """Write the card, with the files of the layers that the models weigh."""
    card = encoder.card
    layers = {key: card.layers[key] for key in card.layers_of(pairs)}
    for layer in layers.values():
        if layer.file is not None:
            source = checked_file(encoder.folder, layer.file.name, layer.file.size, layer.file.sha256)
            write_bytes(folder / layer.file.name, source.read_bytes())
    facts = dataset.facts
    about = {
        "dataset": {name: getattr(facts, name) for name in ("title", "licence", "citation", "unit")},
        "transferred_from": {"name": card.name, "pairs": [list(pair) for pair in encoder.pairs], "about": card.about},
    }
    new = Card(
        format=FORMAT,
        name=f"{card.name}, transferred",
        voxelcast=voxelcast.__version__,
        inputs={key: one for key, one in card.inputs.items() if key in {layer.input for layer in layers.values()}},
        layers=layers,
        pairs=tuple(pairs),
        about=json.loads(json.dumps(about, default=str)),
    )
    write_text(folder / FILE, new.text())
    write_readme(folder, new)
