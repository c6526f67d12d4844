"""Predictions of saved models as files: arrays, tables and brain images, by the suffix of the file's name."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, UnwritableError
from voxelcast.datasets.base import VertexIndices, VoxelIndices
from voxelcast.datasets.readers.brain_images import import_nibabel
from voxelcast.models.card import Pair
from voxelcast.models.encoder import Predictions, SavedEncoder
from voxelcast.report.brain_maps import BrainMap, SurfaceMap, VolumeMap, place_values, write_nifti
from voxelcast.results.schema import pair_name
from voxelcast.store.atomic import atomic_path, save_array, save_arrays, write_bytes, write_text
from voxelcast.store.readers.guard import reading
from voxelcast.store.readers.tables import shown_cell

_MOST_PLACES: Final = 2**28
"""Voxels of a volume, or vertices of a mesh: beyond all that is scanned."""


def save_predictions(predictions: Predictions, path: Path, encoder: SavedEncoder) -> list[Path]:
    """Write predictions and return the files written.

    ``.npy`` takes one subject x ROI: (n_stimuli, n_voxels), the ids beside it in ``<name>_stimuli.csv``. ``.npz`` and
    ``.h5`` take all, with ``stimulus_ids``. ``.csv`` has a row for each stimulus and voxel, with how far it is to be
    believed (`voxelcast.models.honesty.Judgement`). ``.nii``, ``.nii.gz`` (a volume for each stimulus), ``.gii`` (a
    file for each hemisphere) and ``.dscalar.nii`` (CIFTI) take one subject, whose voxels' places the model knows.

    Raises as `check_target`; OptionError for several subjects in a file that takes one; DataError where voxels' places
    are not known.
    """
    return _WRITERS[check_target(path)](predictions, path, encoder)


def check_target(path: Path) -> str:
    """Return the suffix of a file of predictions; raise OptionError for another.

    Raises UnwritableError where it, or one that belongs to it, is there already: nothing is overwritten.
    """
    suffix = next((one for one in _WRITERS if path.name.endswith(one)), None)
    if suffix is None:
        raise OptionError(f"--to must end in one of {', '.join(_WRITERS)}; got {path.name}")
    beside = {".npy": [_ids_beside(path)], ".gii": [_of_hemisphere(path, side) for side in "LR"]}
    for one in (path, *beside.get(suffix, ())):
        if one.is_symlink() or one.exists():
            raise UnwritableError(f"{one} is there already; choose another --to")
    return suffix


def _ids_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_stimuli.csv")


def _of_hemisphere(path: Path, side: str) -> Path:
    return path.with_name(f"{path.name.removesuffix('.gii').removesuffix('.func')}_hemi-{side}.func.gii")


def _npy(predictions: Predictions, path: Path, encoder: SavedEncoder) -> list[Path]:
    if len(predictions) > 1:
        raise OptionError(
            f".npy takes one subject x ROI; got {len(predictions)}; choose one by --subject and --roi, or write .npz"
        )
    save_array(path, next(iter(predictions.arrays.values())))
    write_text(_ids_beside(path), _table([("row", "stimulus_id"), *enumerate(map(shown_cell, predictions.ids))]))
    return [path, _ids_beside(path)]


def _npz(predictions: Predictions, path: Path, encoder: SavedEncoder) -> list[Path]:
    named = {pair_name(*pair): array for pair, array in predictions.arrays.items()}
    save_arrays(path, named | {"stimulus_ids": np.array(predictions.ids)})
    return [path]


def _h5(predictions: Predictions, path: Path, encoder: SavedEncoder) -> list[Path]:
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        file["stimulus_ids"] = np.array(predictions.ids, dtype=h5py.string_dtype())
        for pair, array in predictions.arrays.items():
            dataset = file.create_dataset(pair_name(*pair), data=array)
            dataset.attrs.update({"subject": pair[0], "roi": pair[1], "unit": predictions.units[pair]})
    return [path]


def _csv(predictions: Predictions, path: Path, encoder: SavedEncoder) -> list[Path]:
    judgements = predictions.judgements.values()
    of_voxels = list(dict.fromkeys(name for one in judgements for name in one.of_voxels))
    of_stimuli = list(dict.fromkeys(name for one in judgements for name in one.of_stimuli))
    rows: list[Any] = [("stimulus_id", "subject", "roi", "voxel", "response", *of_voxels, *of_stimuli)]
    for pair, array in predictions.arrays.items():
        named, judged = [shown_cell(name) for name in pair], predictions.judgements[pair]
        voxels = _cells(judged.of_voxels, of_voxels, array.shape[1])
        stimuli = _cells(judged.of_stimuli, of_stimuli, len(array))
        for name, responses, stimulus in zip(predictions.ids, array.tolist(), stimuli, strict=True):
            known = enumerate(zip(responses, voxels, strict=True))
            rows += [(shown_cell(name), *named, k, value, *voxel, *stimulus) for k, (value, voxel) in known]
    write_text(path, _table(rows))
    return [path]


def _cells(known: Mapping[str, Any], names: list[str], n: int) -> list[tuple[Any, ...]]:
    """Return what is known of each of n voxels or stimuli, by the names of columns; empty where it is not."""
    columns = [known[name].tolist() if name in known else [""] * n for name in names]
    return [tuple("" if value != value else value for value in row) for row in zip(*columns, strict=True)] or [()] * n


def _table(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _nifti(predictions: Predictions, path: Path, encoder: SavedEncoder) -> list[Path]:
    maps = [one for one in _maps(predictions, encoder) if isinstance(one, VolumeMap)]
    if not maps:
        raise OptionError("the model's voxels lie on a surface; write .gii or .dscalar.nii")
    write_nifti(path, np.stack([one.values for one in maps], axis=-1), maps[0])
    return [path]


def _gifti(predictions: Predictions, path: Path, encoder: SavedEncoder) -> list[Path]:
    nibabel, maps, written = import_nibabel(), _maps(predictions, encoder), []
    surfaces = [one for one in maps if isinstance(one, SurfaceMap)]
    if not surfaces:
        raise OptionError("the model's voxels lie in a volume; write .nii.gz")
    for side, structure in (("L", "CortexLeft"), ("R", "CortexRight")):
        values = [one.left if side == "L" else one.right for one in surfaces]
        if not len(values[0]):
            continue
        arrays = [
            nibabel.gifti.GiftiDataArray(
                np.asarray(one, np.float32),
                intent="NIFTI_INTENT_NONE",
                datatype="NIFTI_TYPE_FLOAT32",
                meta=nibabel.gifti.GiftiMetaData(Name=name),
            )
            for one, name in zip(values, predictions.ids, strict=True)
        ]
        meta = nibabel.gifti.GiftiMetaData(AnatomicalStructurePrimary=structure)
        written.append(_of_hemisphere(path, side))
        write_bytes(written[-1], nibabel.gifti.GiftiImage(darrays=arrays, meta=meta).to_bytes())
    return written


def _cifti(predictions: Predictions, path: Path, encoder: SavedEncoder) -> list[Path]:
    nibabel, maps = import_nibabel(), _maps(predictions, encoder)
    cifti2 = nibabel.cifti2
    first = maps[0]
    if isinstance(first, VolumeMap):
        mask = np.isfinite(first.values) if first.mask is None else first.mask
        if first.affine is None:
            raise DataError(
                "where in the brain the voxels' volume lies is not known to the model, and CIFTI cannot say so; write "
                ".nii.gz or .npz"
            )
        axis = cifti2.BrainModelAxis.from_mask(mask, name="other", affine=first.affine)
        data = np.stack([one.values[mask] for one in maps if isinstance(one, VolumeMap)])
    else:
        sides = {"cortex_left": first.left, "cortex_right": first.right}
        there = {side: np.flatnonzero(np.isfinite(values)) for side, values in sides.items() if len(values)}
        axes = [
            cifti2.BrainModelAxis.from_surface(vertices, len(sides[side]), name=side)
            for side, vertices in there.items()
        ]
        axis = axes[0] + axes[1] if len(axes) > 1 else axes[0]
        data = np.stack(
            [
                np.concatenate([(one.left if side == "cortex_left" else one.right)[at] for side, at in there.items()])
                for one in maps
                if isinstance(one, SurfaceMap)
            ]
        )
    image = cifti2.Cifti2Image(data.astype(np.float32), (cifti2.ScalarAxis(list(predictions.ids)), axis))
    with atomic_path(path) as temporary:
        temporary.write_bytes(image.to_bytes())
    return [path]


def _maps(predictions: Predictions, encoder: SavedEncoder) -> list[BrainMap]:
    """Return a map of each stimulus, of one subject's ROIs."""
    subjects = sorted({subject for subject, _ in predictions.arrays})
    if len(subjects) > 1:
        raise OptionError(f"a brain image takes one subject; got {', '.join(subjects)}; choose one by --subject")
    places = {roi: voxel_places(encoder, (subject, roi)) for subject, roi in predictions.arrays}
    arrays = {roi: array for (_, roi), array in predictions.arrays.items()}
    return [
        place_values(subjects[0], places, {roi: array[row] for roi, array in arrays.items()})
        for row in range(len(predictions.ids))
    ]


def voxel_places(encoder: SavedEncoder, pair: Pair) -> VoxelIndices | VertexIndices:
    """Say where the voxels of a saved model lie; raises DataError where the model does not know it."""
    where = encoder.card.by_pair[pair].where
    if where is None:
        raise DataError(
            f"where the voxels of {' '.join(pair)} lie is not known to the model, so there is no brain image; "
            "write .npz or .csv"
        )
    arrays: Mapping[str, FloatArray] = encoder.arrays(pair)
    with reading(" ".join(pair), "the places of voxels by its card", "fetch the model again"):
        return _places(where, arrays)


def _places(where: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> VoxelIndices | VertexIndices:
    """Rebuild places; raises DataError, or whatever wrong facts cause, where they cannot be right."""
    if where["kind"] == "volume":
        indices, shape = arrays["where.indices"].astype(np.int64), tuple(map(int, where["shape"]))
        if len(shape) != 3 or math.prod(shape) > _MOST_PLACES or (indices < 0).any() or (indices >= shape).any():
            raise DataError(f"voxels must lie in a volume, and not in one of {shape}; fetch the model again")
        return VoxelIndices(shape, indices, arrays.get("where.affine"), str(where["space"]))
    left, right, elsewhere = (arrays[f"where.{side}"].astype(np.int64) for side in ("left", "right", "elsewhere"))
    n_left, n_right = map(int, where["n_vertices"])
    for side, size in ((left, n_left), (right, n_right)):
        if size > _MOST_PLACES or (len(side) and not 0 <= side.min() <= side.max() < size):
            raise DataError(f"vertices must lie on meshes, and not on {(n_left, n_right)}; fetch the model again")
    order = arrays["where.order"].astype(np.int64) if "where.order" in arrays else None
    n_voxels = len(left) + len(right) + len(elsewhere)
    if order is not None and len(order) and not 0 <= order.min() <= order.max() < n_voxels:
        raise DataError(f"the order of vertices must be numbers below {n_voxels}; fetch the model again")
    return VertexIndices(str(where["mesh"]), (n_left, n_right), left, right, order, elsewhere)


_WRITERS: Final[Mapping[str, Callable[[Predictions, Path, SavedEncoder], list[Path]]]] = {
    ".dscalar.nii": _cifti,
    ".nii.gz": _nifti,
    ".nii": _nifti,
    ".gii": _gifti,
    ".npy": _npy,
    ".npz": _npz,
    ".h5": _h5,
    ".csv": _csv,
}
