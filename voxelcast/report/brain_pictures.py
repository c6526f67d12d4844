"""Pictures of brain maps, drawn by nilearn with what it brings along: nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib import pyplot

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingPackageError
from voxelcast.datasets.readers.brain_images import import_nibabel
from voxelcast.report.brain_maps import BrainMap, SurfaceMap, VolumeMap
from voxelcast.store.atomic import atomic_path, write_text

_FSAVERAGE: Final = {"fsaverage": 163_842, "fsaverage6": 40_962, "fsaverage5": 10_242}
_SHOWN: Final = 10_242
"""Vertices of fsaverage5, the mesh that nilearn brings along: the first ones of every finer fsaverage."""

_DOTS_PER_INCH: Final = 110


def draw_map(path: Path, brain_map: BrainMap, title: str, quantity: str, scale: ColourScale | None = None) -> Path:
    """Draw a brain map into a PNG.

    A volume in MNI coordinates is drawn as a glass brain (the largest absolute value along each line of sight), any
    other as three slices through the middle of its values, over its own voxels in grey. A surface is drawn inflated,
    seen from outside and inside, on fsaverage5: every finer fsaverage is sampled at the vertices that fsaverage5 has
    too.

    ``quantity`` says what the values are; p and q values are shown as -log10. ``scale``: see `colour_scale`; None: that
    of this map. Raises DataError if there is no value at all, or a mesh is none of the fsaverage family;
    MissingPackageError without nilearn.
    """
    shown, label = _shown(brain_map, quantity)
    if isinstance(shown, SurfaceMap):
        _check_mesh(shown)
    values = _values(shown)
    if not values.size:
        raise DataError(f"{title} has no value to draw; map another quantity")
    nilearn = _import_nilearn()
    scale = colour_scale([brain_map], quantity) if scale is None else scale
    name = f"{title}, {label}"
    if isinstance(shown, SurfaceMap):
        if max(len(shown.left), len(shown.right)) > _SHOWN:
            n_drawn = sum(int(np.isfinite(part[:_SHOWN]).sum()) for part in (shown.left, shown.right))
            name += f" ({n_drawn:,} of {values.size:,} vertices drawn)"
        if shown.n_elsewhere:
            name += f" (without {shown.n_elsewhere:,} voxels off the surface)"
        figure, axes = _surface(nilearn, shown, scale)
    elif shown.in_mni:
        figure, axes = _glass_brain(nilearn, shown, scale)
    else:
        name += f" ({shown.space or 'own'} grid)"
        figure, axes = _slices(shown, scale)
    figure.suptitle(name, fontsize=10, y=0.99)
    colours = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(scale.low, scale.high), scale.colours)
    figure.colorbar(colours, cax=figure.add_axes(axes)).set_label(label, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    pyplot.close(figure)
    return path


def write_viewer(path: Path, brain_map: BrainMap, title: str, quantity: str, scale: ColourScale | None = None) -> Path:
    """Write nilearn's interactive view of a brain map as an HTML file that needs nothing else.

    A volume in MNI coordinates can be sliced, over the template that nilearn brings along; a surface of the fsaverage
    family can be turned, on fsaverage5. Parameters are those of `draw_map`, as are the errors; DataError too where a
    volume is not in MNI coordinates.
    """
    shown, label = _shown(brain_map, quantity)
    if isinstance(shown, SurfaceMap):
        _check_mesh(shown)
    elif not shown.in_mni:
        raise DataError("an interactive view needs a volume in MNI coordinates or a surface of fsaverage")
    nilearn = _import_nilearn()
    scale = colour_scale([brain_map], quantity) if scale is None else scale
    name, symmetric = f"{title}, {label}", scale.low < 0
    if isinstance(shown, SurfaceMap):
        view = _surface_view(nilearn, shown, scale, name, symmetric)
    else:
        image = import_nibabel().Nifti1Image(np.nan_to_num(shown.values), shown.affine)
        view = nilearn.plotting.view_img(
            image, title=name, cmap=scale.colours, vmin=scale.low, vmax=scale.high, symmetric_cmap=symmetric,
            threshold=1e-6, resampling_interpolation="nearest",
        )  # fmt: skip
    # The page's icon would be fetched from nilearn's site.
    write_text(path, re.sub(r"<link\s[^>]*\bicon\b[^>]*>", "", view.get_standalone()))
    return path


def _surface_view(nilearn: Any, brain_map: SurfaceMap, scale: ColourScale, name: str, symmetric: bool) -> Any:
    """Show the hemispheres that there are data of; NaN where there is no value."""
    mesh = nilearn.datasets.load_fsaverage("fsaverage5")["inflated"]
    sulci = nilearn.datasets.load_fsaverage_data(data_type="sulcal")
    empty = np.zeros(_SHOWN, dtype=np.float32)
    sides = [np.nan_to_num(side[:_SHOWN]) if len(side) else empty for side in (brain_map.left, brain_map.right)]
    values = nilearn.surface.SurfaceImage(mesh, dict(zip(("left", "right"), sides, strict=True)))
    try:
        return nilearn.plotting.view_surf(
            mesh, values, bg_map=sulci, hemi="both", title=name, cmap=scale.colours, vmin=scale.low, vmax=scale.high,
            symmetric_cmap=symmetric, threshold=1e-6,
        )  # fmt: skip
    except ImportError as error:
        raise MissingPackageError(f"an interactive surface needs plotly ({error}); pip install plotly") from error


@dataclass(frozen=True)
class ColourScale:
    """Colour map and the values at its ends."""

    colours: str
    low: float
    high: float

    @property
    def drawn(self) -> dict[str, Any]:
        """The same as arguments of drawing functions."""
        return {"cmap": self.colours, "vmin": self.low, "vmax": self.high}


def colour_scale(brain_maps: Sequence[BrainMap], quantity: str) -> ColourScale:
    """Choose one scale for the maps of a quantity, of all subjects.

    It goes from 0 up, or is symmetric where more than a few values are negative. Its end is the 99th percentile, so
    that single voxels do not darken all others.
    """
    values = np.concatenate([_values(_shown(brain_map, quantity)[0]) for brain_map in brain_maps] or [np.empty(0)])
    if not values.size:
        return ColourScale("inferno", 0.0, 1.0)
    top = max(float(np.percentile(np.abs(values), 99)), 1e-6)
    if np.percentile(values, 5) < -0.05 * top:
        return ColourScale("RdBu_r", -top, top)
    # The glass brain is white, and so is what lies around a surface.
    return ColourScale("inferno_r", 0.0, top)


def _values(brain_map: BrainMap) -> FloatArray:
    """Return what can be drawn of a map."""
    parts = [brain_map.values] if isinstance(brain_map, VolumeMap) else [brain_map.left, brain_map.right]
    return np.concatenate([part[np.isfinite(part)] for part in parts])


def _import_nilearn() -> Any:
    try:
        import nilearn.datasets
        import nilearn.plotting
        import nilearn.surface
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


def _glass_brain(nilearn: Any, brain_map: VolumeMap, scale: ColourScale) -> tuple[Any, tuple[float, ...]]:
    figure = pyplot.figure(figsize=(9.0, 2.7))
    values = np.nan_to_num(brain_map.values)
    nilearn.plotting.plot_glass_brain(
        import_nibabel().Nifti1Image(values, brain_map.affine),
        display_mode="lyrz",
        figure=figure,
        axes=(0.0, 0.0, 0.92, 0.9),
        colorbar=False,
        plot_abs=scale.low == 0,
        # Lower than any value, or the interpolation around voxels would be drawn as voxels.
        threshold=0.5 * float(np.abs(values[values != 0]).min(initial=1e-6)),
        resampling_interpolation="nearest",
        symmetric_cbar=False,
        **scale.drawn,
    )
    return figure, (0.935, 0.15, 0.012, 0.65)


def _slices(brain_map: VolumeMap, scale: ColourScale) -> tuple[Any, tuple[float, ...]]:
    """Draw the slices through the middle of the values over the voxels that there are.

    Which side is left is said where the affine says it.
    """
    values = brain_map.values
    mask = np.isfinite(values) if brain_map.mask is None else brain_map.mask
    middle = np.median(np.argwhere(np.isfinite(values)), axis=0).astype(int)
    codes = ("",) * 3 if brain_map.affine is None else import_nibabel().aff2axcodes(brain_map.affine)
    figure, axes = pyplot.subplots(1, 3, figsize=(9.0, 3.0))
    figure.subplots_adjust(left=0.03, right=0.91, bottom=0.08, top=0.84, wspace=0.12)
    for axis, (ax, name) in enumerate(zip(axes, "xyz", strict=True)):
        across, up = (k for k in range(3) if k != axis)
        grey = np.where(mask.take(middle[axis], axis).T, 0.55, np.nan)
        ax.imshow(grey, origin="lower", interpolation="nearest", cmap="gray", vmin=0.0, vmax=1.0)
        ax.imshow(values.take(middle[axis], axis).T, origin="lower", interpolation="nearest", **scale.drawn)
        ax.set(xticks=[], yticks=[], facecolor="#f4f5f6")
        ax.set_title(f"{name} = {middle[axis]} (voxels)", fontsize=8)
        ax.set_xlabel(f"to {codes[across]}" if codes[across] else "", fontsize=7)
        ax.set_ylabel(f"to {codes[up]}" if codes[up] else "", fontsize=7)
    return figure, (0.935, 0.15, 0.012, 0.65)


def _check_mesh(brain_map: SurfaceMap) -> None:
    """Raise DataError for a mesh that is none of the fsaverage family."""
    sizes = {len(side) for side in (brain_map.left, brain_map.right) if len(side)}
    if brain_map.mesh not in _FSAVERAGE or len(sizes) != 1 or not sizes <= set(_FSAVERAGE.values()):
        count = " and ".join(map(str, sorted(sizes)))
        got = brain_map.mesh if count in brain_map.mesh else f"{brain_map.mesh} with {count} vertices"
        raise DataError(
            f"a picture needs a mesh of {', '.join(_FSAVERAGE)}; got {got}; the GIFTI files can be opened in other "
            "viewers"
        )


def _surface(nilearn: Any, brain_map: SurfaceMap, scale: ColourScale) -> tuple[Any, tuple[float, ...]]:
    mesh = nilearn.datasets.fetch_surf_fsaverage("fsaverage5")
    views = [("left", "lateral"), ("left", "medial")] if len(brain_map.left) else []
    views += [("right", "medial"), ("right", "lateral")] if len(brain_map.right) else []
    figure, axes = pyplot.subplots(1, len(views), figsize=(10.0, 2.6), subplot_kw={"projection": "3d"})
    figure.subplots_adjust(left=0.0, right=0.92, bottom=0.0, top=0.84, wspace=0.0)
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
            **scale.drawn,
        )
        ax.set_title(f"{side}, {view}", fontsize=8, y=0.98)
        ax.set_box_aspect(None, zoom=1.65)
    return figure, (0.935, 0.15, 0.012, 0.65)
