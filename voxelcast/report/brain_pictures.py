"""Pictures of brain maps, drawn by nilearn with what it brings along: nothing is downloaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib import pyplot

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingPackageError
from voxelcast.datasets.readers.brain_images import import_nibabel
from voxelcast.report.brain_maps import BrainMap, SurfaceMap, VolumeMap
from voxelcast.store.atomic import atomic_path

_FSAVERAGE: Final = {"fsaverage": 163_842, "fsaverage6": 40_962, "fsaverage5": 10_242}
_SHOWN: Final = 10_242
"""Vertices of fsaverage5, the mesh that nilearn brings along: the first ones of every finer fsaverage."""

_DOTS_PER_INCH: Final = 110


def draw_map(path: Path, brain_map: BrainMap, title: str, quantity: str) -> Path:
    """Draw a brain map into a PNG.

    A volume is drawn as a glass brain (the largest absolute value along each line of sight), or, where its position in
    the brain is not known, as three slices through the middle of its values. A surface is drawn inflated, seen from
    outside and inside, on fsaverage5: every finer fsaverage is sampled at the vertices that fsaverage5 has too.

    ``quantity`` says what the values are; p and q values are shown as -log10. Raises MissingPackageError without
    nilearn; DataError if there is no value at all, or a mesh is none of the fsaverage family.
    """
    nilearn = _import_nilearn()
    shown, label = _shown(brain_map, quantity)
    parts = [shown.values] if isinstance(shown, VolumeMap) else [shown.left, shown.right]
    values = np.concatenate([part[np.isfinite(part)] for part in parts])
    if not values.size:
        raise DataError(f"{title} has no value to draw; map another quantity")
    scale = _scale(values)
    if isinstance(shown, SurfaceMap) and len(shown.left) > _SHOWN:
        n_drawn = sum(int(np.isfinite(part[:_SHOWN]).sum()) for part in parts)
        label += f" ({n_drawn:,} of {values.size:,} vertices drawn)"
    figure = _volume(nilearn, shown, scale) if isinstance(shown, VolumeMap) else _surface(nilearn, shown, scale)
    figure.suptitle(f"{title}, {label}", fontsize=10, y=None if figure.get_layout_engine() else 0.99)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    pyplot.close(figure)
    return path


def _import_nilearn() -> Any:
    try:
        import nilearn.datasets
        import nilearn.plotting
    except ImportError as error:
        raise MissingPackageError(
            f"pictures of brain maps need nilearn ({error}); install it: pip install 'voxelcast[neuroimaging]'"
        ) from error
    return nilearn


def _shown(brain_map: BrainMap, quantity: str) -> tuple[BrainMap, str]:
    if not quantity.endswith(("p_value", "q_value")):
        return brain_map, quantity
    label = f"-log10({quantity})"
    if isinstance(brain_map, VolumeMap):
        return replace(brain_map, values=_minus_log10(brain_map.values)), label
    return replace(brain_map, left=_minus_log10(brain_map.left), right=_minus_log10(brain_map.right)), label


def _minus_log10(values: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        logs: FloatArray = -np.log10(values)
    return logs


def _scale(values: FloatArray) -> dict[str, Any]:
    """Colours and their range: from 0 up, or symmetric where more than a few values are negative.

    The 99th percentile is the end of the scale, so that single voxels do not darken all others.
    """
    top = max(float(np.percentile(np.abs(values), 99)), 1e-6)
    if np.percentile(values, 5) < -0.05 * top:
        return {"cmap": "RdBu_r", "vmin": -top, "vmax": top}
    return {"cmap": "inferno", "vmin": 0.0, "vmax": top}


def _volume(nilearn: Any, brain_map: VolumeMap, scale: dict[str, Any]) -> Any:
    if brain_map.affine is None:
        return _slices(brain_map.values, scale)
    figure = pyplot.figure(figsize=(9.0, 2.7))
    image = import_nibabel().Nifti1Image(np.nan_to_num(brain_map.values), brain_map.affine)
    nilearn.plotting.plot_glass_brain(
        image,
        display_mode="lyrz",
        figure=figure,
        colorbar=True,
        plot_abs=scale["vmin"] == 0,
        threshold=1e-6,
        cmap="inferno_r" if scale["vmin"] == 0 else scale["cmap"],  # the glass brain is white
        vmin=scale["vmin"],
        vmax=scale["vmax"],
        symmetric_cbar=False,
    )
    return figure


def _slices(values: FloatArray, scale: dict[str, Any]) -> Any:
    """Draw the slices through the middle of the values; which side is left is not known, so none is said."""
    middle = np.median(np.argwhere(np.isfinite(values)), axis=0).astype(int)
    figure, axes = pyplot.subplots(1, 3, figsize=(9.0, 3.0), layout="constrained")
    for axis, (ax, name) in enumerate(zip(axes, "xyz", strict=True)):
        shown = ax.imshow(values.take(middle[axis], axis).T, origin="lower", interpolation="nearest", **scale)
        ax.set(xticks=[], yticks=[], facecolor="#d9dce0")
        ax.set_title(f"{name} = {middle[axis]} (voxels)", fontsize=8)
    figure.colorbar(shown, ax=axes, shrink=0.8)
    return figure


def _surface(nilearn: Any, brain_map: SurfaceMap, scale: dict[str, Any]) -> Any:
    if len(brain_map.left) not in _FSAVERAGE.values() or not brain_map.mesh.startswith("fsaverage"):
        raise DataError(
            f"a picture needs a mesh of {', '.join(_FSAVERAGE)}; got {brain_map.mesh} with {len(brain_map.left)} "
            "vertices; the GIFTI files can be opened in other viewers"
        )
    mesh = nilearn.datasets.fetch_surf_fsaverage("fsaverage5")
    figure, axes = pyplot.subplots(1, 4, figsize=(10.0, 2.6), subplot_kw={"projection": "3d"})
    figure.subplots_adjust(left=0.0, right=0.92, bottom=0.0, top=0.84, wspace=0.0)
    views = (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))
    for ax, (side, view) in zip(axes, views, strict=True):
        values = (brain_map.left if side == "left" else brain_map.right)[:_SHOWN]
        # nilearn warns of a hemisphere of NaN, but hides what is below a threshold.
        empty = not np.isfinite(values).any()
        nilearn.plotting.plot_surf_stat_map(
            mesh[f"infl_{side}"],
            np.zeros_like(values) if empty else values,
            threshold=1e-6 if empty else None,
            bg_map=mesh[f"sulc_{side}"],
            hemi=side,
            view=view,
            axes=ax,
            figure=figure,
            colorbar=False,
            symmetric_cbar=False,
            **scale,
        )
        ax.set_title(f"{side}, {view}", fontsize=8, y=0.98)
        ax.set_box_aspect(None, zoom=1.65)
    colours = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(scale["vmin"], scale["vmax"]), scale["cmap"])
    figure.colorbar(colours, cax=figure.add_axes((0.935, 0.15, 0.012, 0.65)))
    return figure
