"""The folder ``models/`` that a run leaves: fitted models, how layers are compressed, and the card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import voxelcast
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, UnsafeFileError, VoxelcastError
from voxelcast.core.settings import content
from voxelcast.datasets.base import VertexIndices, VoxelIndices
from voxelcast.encoders.learned.trunk_settings import TRUNK
from voxelcast.experiment.finished import Finished
from voxelcast.experiment.planning.held_out import held_out_shards, saved_pairs, weighed_layers
from voxelcast.experiment.planning.layers import of_all_rows
from voxelcast.experiment.planning.trainings import FRAMES, maps_extraction
from voxelcast.experiment.settings import OWN, TABLES
from voxelcast.experiment.steps.compress import compressed, layer_keys
from voxelcast.experiment.steps.extract import Shards
from voxelcast.experiment.steps.fit import FitJob
from voxelcast.experiment.steps.kept import KeptLayer
from voxelcast.experiment.steps.responses import valid_responses
from voxelcast.experiment.steps.trained import RawLayer
from voxelcast.models.card import FILE, FORMAT, Card, FileCard, InputCard, LayerCard, PairCard, read_card
from voxelcast.models.honesty import heaviest_part, make_extras, novelty_of
from voxelcast.models.hub import card_files
from voxelcast.models.network_input import network_facts
from voxelcast.models.readme import write_readme
from voxelcast.models.tensors import checked_file, file_sha256, write_tensors
from voxelcast.results.schema import Pair
from voxelcast.scoring.novelty import Novelty
from voxelcast.search.joined import JOINED
from voxelcast.store.atomic import write_text
from voxelcast.store.keys import content_key
from voxelcast.store.provenance import collect_provenance
from voxelcast.store.result import StepResult

FOLDER: Final = "models"
_STEPS: Final = "steps"
"""What the card calls the keys of the steps that files were made by."""


def known_shards(output: Path) -> Shards:
    """Return the held-out stimuli that an earlier run looked at together; none where it left no models."""
    card = _earlier(output / FOLDER)
    return () if card is None else card.shards


def _earlier(folder: Path) -> Card | None:
    try:
        return read_card(folder)
    except VoxelcastError:  # none, or a damaged one, which is written anew
        return None


def write_models(finished: Finished, output: Path, scores: Sequence[Mapping[str, Any]]) -> None:
    """Write the models that are to be saved, and remove those of an earlier run; ``scores``: the rows of the results.

    A file that an earlier run wrote from the same steps stays as it is.
    """
    folder, earlier = output / FOLDER, _earlier(output / FOLDER)
    pairs = saved_pairs(finished.plan, finished.fits)
    if not pairs or finished.plan.config.unsaved:
        _remove(folder, earlier, ())
        return
    writer = _Writer(folder, earlier)
    rows = {(row["subject"], row["roi"]): row for row in scores}
    used = weighed_layers(finished.plan, [finished.fits[pair] for pair in pairs])
    kept = {layer.key: layer for layer in finished.kept}
    used |= {member for key in used for member in kept[key].members}
    weighed = [layer for layer in finished.kept if layer.key in used]
    inputs, input_of = _inputs(finished, weighed)
    layers = {layer.key: _write_layer(layer, input_of, finished, writer) for layer in weighed}
    written = [
        card
        for subject in dict.fromkeys(s for s, _ in pairs)
        for card in _write_subject(subject, [roi for s, roi in pairs if s == subject], rows, finished, writer)
    ]
    timeline = finished.plan.timeline
    card = Card(
        format=FORMAT,
        name=finished.plan.config.name,
        voxelcast=voxelcast.__version__,
        tr_seconds=timeline.tr if timeline else None,
        inputs=inputs,
        layers=layers,
        pairs=tuple(written),
        shards=tuple(tuple(ids) for ids in held_out_shards(finished.plan)),
        about=_about(finished) | {_STEPS: writer.steps},
    )
    write_text(folder / FILE, card.text())
    write_readme(folder, card)
    _remove(folder, earlier, [one.name for one in card_files(card)])


class _Writer:
    """Writes files of arrays unless they are there already, made by the same step."""

    def __init__(self, folder: Path, earlier: Card | None) -> None:
        self.folder, self.steps = folder, dict[str, str]()
        known = {} if earlier is None else earlier.about.get(_STEPS, {})
        self._known = {one.name: (one, known.get(one.name)) for one in ([] if earlier is None else card_files(earlier))}

    def write(self, name: str, key: str, arrays: Mapping[str, NDArray[Any]]) -> FileCard:
        """Write a file and return its card; ``key`` tells what it was made by."""
        path = self.folder / name
        self.steps[name] = key
        there, made_by = self._known.get(name, (None, None))
        if there is not None and made_by == key:
            try:
                checked_file(self.folder, name, there.size, there.sha256)
            except (DataError, OSError, UnsafeFileError):
                pass
            else:
                return there
        write_tensors(path, arrays)
        return FileCard(name=name, size=path.stat().st_size, sha256=file_sha256(path))


def remove_models(output: Path) -> None:
    """Remove the models that an earlier run left, by their card; files that it does not name stay."""
    _remove(output / FOLDER, _earlier(output / FOLDER), ())


def _remove(folder: Path, earlier: Card | None, kept: Sequence[str]) -> None:
    """Remove the files of an earlier card that the new one has not; without a new one, the card as well."""
    for one in [] if earlier is None else card_files(earlier):
        path = folder / one.name
        if one.name not in kept and path.resolve().is_relative_to(folder.resolve()):
            path.unlink(missing_ok=True)
    if earlier is not None and not kept:
        for name in (FILE, "README.md"):
            (folder / name).unlink(missing_ok=True)


def _inputs(finished: Finished, layers: Sequence[KeptLayer]) -> tuple[dict[str, InputCard], dict[str, str]]:
    """Return the sources of features, and the key of each by its name in the results."""
    plan, named = finished.plan, {layer.source: layer for layer in layers if not layer.members}
    found, keys = dict[str, InputCard](), dict[str, str]()
    for number, (source, layer) in enumerate(named.items()):
        key = keys[source] = f"input{number + 1}"
        if layer.network in (TABLES, OWN):
            tables = [one.layer for one in layers if one.network == layer.network]
            found[key] = InputCard(kind="table", facts={"tables": tables})
            continue
        network = next(one for one in plan.networks if one.shown == layer.network)
        how, kind, more = plan.config.extraction, "network", dict[str, Any]()
        if isinstance(layer, RawLayer):
            how = maps_extraction(plan.config, network)
            if layer.reads == FRAMES:
                kind, more = "frames", {"layers": network.layers, "side": plan.config.finetuned.side}
        facts = network_facts(network.settings, network.seed, network.card, how) | more
        found[key] = InputCard(kind=kind, facts=json.loads(json.dumps(facts)))
    return found, keys


def _write_layer(layer: KeptLayer, input_of: Mapping[str, str], finished: Finished, writer: _Writer) -> LayerCard:
    arrays = layer.arrays(finished.plan.store)
    file = writer.write(f"layers/{layer.key}.safetensors", layer.axes.key, arrays) if arrays else None
    plan, delays = finished.plan, None
    if plan.timeline and not layer.members:
        delays = plan.delays_of(layer.network, layer.layer)
    return layer.card(plan.store, input="" if layer.members else input_of[layer.source], delays=delays, file=file)


def _write_subject(
    subject: str, rois: Sequence[str], rows: Mapping[Pair, Mapping[str, Any]], finished: Finished, writer: _Writer
) -> list[PairCard]:
    """Write one file with the models of a subject's ROIs: a file for each would be too many."""
    arrays, cards, keys = dict[str, NDArray[Any]](), [], []
    for roi in rois:
        pair = subject, roi
        step, fit = finished.fits[pair], finished.read(finished.fits[pair])
        where, places = voxel_places(finished.plan.dataset.voxel_indices(*pair))
        extras = pair_extras(pair, finished)
        of_roi = fit.arrays("model") | places | {f"extra.{name}": array for name, array in extras.items()}
        arrays |= {f"{roi}/{name}": array for name, array in of_roi.items()}
        keys.append([roi, step.step_id.key, [content(array) for array in places.values()]])
        told = {name: value for name, value in rows[pair].items() if name not in ("subject", "roi", "nested_choices")}
        cards.append(
            {
                "subject": subject,
                "roi": roi,
                "n_voxels": len(of_roi["valid"]),
                "n_valid": int(of_roi["valid"].sum()),
                "unit": finished.read(finished.responses[pair]).json("facts")["unit"],
                "parts": fit.json("parts"),
                "where": where,
                "scores": told,
                "extras": {name: array.shape for name, array in extras.items()},
            }
        )
    file = writer.write(f"{subject}.safetensors", content_key(keys), arrays)
    return [PairCard.model_validate(card | {"file": file}) for card in cards]


def voxel_places(indices: VoxelIndices | VertexIndices | None) -> tuple[dict[str, Any] | None, dict[str, NDArray[Any]]]:
    """Return where voxels lie: what the card says, and arrays."""
    if indices is None:
        return None, {}
    if isinstance(indices, VoxelIndices):
        known = indices.affine is not None
        where = {"kind": "volume", "shape": list(indices.shape), "space": indices.space, "has_affine": known}
        arrays = {"where.indices": indices.indices.astype(np.int32)}
        return where, arrays | ({"where.affine": np.asarray(indices.affine, np.float64)} if known else {})
    sides = {"left": indices.left, "right": indices.right, "elsewhere": indices.elsewhere}
    where = {"kind": "surface", "mesh": indices.mesh, "n_vertices": list(indices.n_vertices)}
    where |= {"n": [len(side) for side in sides.values()], "has_order": indices.order is not None}
    arrays = {f"where.{name}": side.astype(np.int32) for name, side in sides.items()}
    return where, arrays | ({} if indices.order is None else {"where.order": indices.order.astype(np.int32)})


def _about(finished: Finished) -> dict[str, Any]:
    """Return what a reader of the card wants to know: data, how models were chosen, notes, versions."""
    plan, config = finished.plan, finished.plan.config
    facts = plan.dataset.facts
    told = collect_provenance()
    provenance = {name: told[name] for name in ("voxelcast", "git", "python", "packages")}  # and nothing of a machine
    return {
        "dataset": {name: getattr(facts, name) for name in ("title", "licence", "citation")},
        "n_train": len(finished.readable.train_ids),
        "n_held_out": len(finished.readable.test_ids),
        "networks": {
            one.shown: {"weights": one.card.weights, "weights_hash": one.card.weights_hash, "licence": one.card.licence}
            for one in plan.networks
        },
        "encoders": list(config.encoders),
        "ensemble": config.ensemble.method,
        "nested": config.folds.nested,
        "level": config.interval.level,
        "notes": finished.notes(),
        "provenance": json.loads(json.dumps(provenance, default=str)),
    }


def pair_extras(pair: Pair, finished: Finished) -> dict[str, FloatArray]:
    """Return the arrays of `voxelcast.models.honesty` of a finished subject x ROI."""
    fit, job = finished.read(finished.fits[pair]), finished.fits[pair].job
    assert isinstance(job, FitJob)
    responses = finished.read(finished.responses[pair])
    train, valid = valid_responses(responses, job.stimuli.train_rows)
    nested = (train, fit.array("out_of_fold")[:, valid]) if "out_of_fold" in fit else None
    return make_extras(fit.arrays("voxels"), valid, nested, _novelty(fit, job, finished))


def _novelty(fit: StepResult, job: FitJob, finished: Finished) -> Novelty | None:
    """Learn how far training stimuli lie from each other in the components of the layer that weighs most."""
    model = fit.arrays("model")
    cards = fit.json("parts")
    heaviest = heaviest_part([(part["form"], float(model[f"{k}.weights"].sum())) for k, part in enumerate(cards)])
    folded = job.partitions[0]
    layers = compressed(folded)
    keys = layer_keys(layers)
    found = [one for one in layers if keys[one.network, one.layer, one.pool] == cards[heaviest]["layer"]]
    if not found:  # all are trained: predictions are no features
        return None
    (layer,) = found
    # Layers are compressed with the volumes of gaps between folds; what joins layers has no rows of them.
    with_gaps = of_all_rows(finished.plan, folded.fold_ids, finished.readable)
    rows = np.flatnonzero((folded.fold_ids if layer.network in (JOINED, TRUNK) else with_gaps) >= 0)

    def components(left_out: tuple[int, ...]) -> FloatArray:
        left_out = left_out if layer.fitted_in_folds else ()
        return np.asarray(layer.components(finished.plan.store, left_out)[rows])

    return novelty_of(components, folded.fold_ids)
