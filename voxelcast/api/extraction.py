"""Labelled features of stimuli from a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.core.progress import Progress, python_progress
from voxelcast.datasets.base import Dataset
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.in_memory import FramesInMemory
from voxelcast.stimuli.listing import listed_stimuli
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

if TYPE_CHECKING:
    from voxelcast.networks.base import Network

EVERY_FRAME = FrameSampling(every=1)


def extract(
    stimuli: Any,
    network: Network,
    *,
    frames: FrameSampling = EVERY_FRAME,
    pool: str = "mean",
    spatial_pool: str = "none",
    on_broken: Literal["stop", "skip"] = "stop",
    progress: Progress | bool = False,
) -> dict[str, xr.DataArray]:
    """Extract features of stimuli from the layers of a network.

    Parameters
    ----------
    stimuli : Dataset, path, sequence, mapping or ndarray of uint8
        A data set (all of its stimuli); a folder or zip archive of videos and images; a list of files or of `Stimulus`;
        or frames in memory, RGB: of shape (n_stimuli, height, width, 3) for pictures, (n_stimuli, n_frames, height,
        width, 3) for videos, or a mapping from the id of each stimulus to its frames.
    network : Network
        Of `voxelcast.load_network` or `voxelcast.network_from_module`.
    frames : FrameSampling
        Which frames of a video the network sees.
    pool : str
        How the frames' features become one: ``"mean"``, ``"max"``, ``"none"`` to keep time, ...; see
        `voxelcast.features.pooling.list_pools`.
    spatial_pool : str
        What becomes of each channel's pixels: ``"none"``, ``"mean"``, ``"grid(k)"`` or ``"pyramid(k, l, ...)"``.
    on_broken : {"stop", "skip"}
        Raise at the first stimulus that cannot be read, or leave such stimuli out.
    progress : bool or Progress
        Whether a bar shows how far it is (lines of ``logging`` where there is no terminal).

    Returns
    -------
    features : dict of str to DataArray of shape (stimulus, feature), float32
        By layer, in the order of the network; with time kept of shape (stimulus, time, feature). The coordinate
        ``stimulus`` has the ids (files: their names without the ending; arrays: none); ``attrs`` name the network, its
        weights, the layer and the pool.

    Raises
    ------
    OptionError, ShapeError
        For a setting or frames that are not allowed.
    MissingFileError, StimulusError
        For a stimulus that is not there or cannot be read whole.
    DataError
        If a feature is not finite, no stimulus can be read, or with time kept their numbers of steps differ.

    Examples
    --------
    >>> import numpy as np
    >>> import voxelcast as vc
    >>> videos = np.random.default_rng(0).integers(0, 256, (3, 8, 32, 32, 3), dtype=np.uint8)
    >>> network = vc.load_network("voxelcast/motion_energy", layers=["colour"], input_size=64)
    >>> features = vc.extract(videos, network)
    >>> features["colour"].dims, features["colour"].attrs["network"]
    (('stimulus', 'feature'), 'voxelcast/motion_energy')
    """
    from voxelcast.networks.extract import BrokenStimulus, extract_from
    from voxelcast.networks.extract import extract as extract_files

    settings = ExtractionSettings(frames, (pool,), spatial_pool, on_broken)
    bar = python_progress(progress, "voxelcast.extract")
    in_memory = isinstance(stimuli, Mapping) or (isinstance(stimuli, np.ndarray) and stimuli.dtype == np.uint8)
    if in_memory:
        source = FramesInMemory.of(stimuli, frames)
        shown = tuple(Stimulus(name, Path(name)) for name in source.ids)
        outcomes = extract_from(source, network, shown, settings)
    else:
        shown = stimuli_of(stimuli)
        outcomes = extract_files(network, shown, settings)
    ids: list[str] = []
    by_layer: dict[str, list[FloatArray]] = {layer: [] for layer in network.layers}
    bar.start(f"features of {network.card.name}", len(shown), "stimulus")
    for outcome in outcomes:
        bar.advance()
        if isinstance(outcome, BrokenStimulus):
            bar.note(f"left out: {outcome.reason}")
            continue
        ids.append(outcome.stimulus_id)
        for layer, values in outcome.features.items():
            by_layer[layer].append(values)
    bar.finish()
    if not ids:
        raise DataError(f"none of {len(shown)} stimuli can be read; check the files")
    attrs = {"network": network.card.name, "weights": network.card.weights, "pool": pool}
    coords = {} if in_memory and not isinstance(stimuli, Mapping) else {"stimulus": ids}
    return {
        layer: _labelled(layer, rows, coords, attrs | {"spatial_pool": spatial_pool, "layer": layer})
        for layer, rows in by_layer.items()
    }


def _labelled(
    layer: str, rows: Sequence[FloatArray], coords: Mapping[str, Any], attrs: Mapping[str, str]
) -> xr.DataArray:
    if len({row.shape for row in rows}) > 1:
        raise DataError(
            f"with time kept all stimuli must have the same number of steps; layer {layer} has "
            f"{sorted({len(row) for row in rows})}; set frames=FrameSampling(n=...)"
        )
    dims = ("stimulus", "time", "feature")[:: 1 if rows[0].ndim == 2 else 2]
    return xr.DataArray(
        np.stack(rows).astype(np.float32, copy=False), dims=dims, coords=coords, name=layer, attrs=attrs
    )


def stimuli_of(given: Any) -> tuple[Stimulus, ...]:
    """List the stimuli of a data set, a folder or archive, or a list of files of different names."""
    if isinstance(given, Dataset):
        return (*given.train_stimuli, *given.test_stimuli, *given.context_stimuli)
    return listed_stimuli(given)
