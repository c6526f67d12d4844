"""Questions to a saved model: which stimuli drive a response most, what differs between two sets, and what counts.

``vc.insilico`` is this module. Answers speak of the model's predictions: how well these are borne out by measured
responses is what the nested score in them says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.models.drivers import Target, gradient_map, occlusion_map
from voxelcast.models.honesty import Honesty
from voxelcast.scoring.contrast import contrast as contrast_of

if TYPE_CHECKING:
    from voxelcast.models.encoder import SavedEncoder

__all__ = ["Driven", "contrast", "drivers", "rank", "responses"]


def rank(
    encoder: SavedEncoder,
    stimuli: Any,
    *,
    roi: str | None = None,
    subject: str | None = None,
    voxel: int | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Rank stimuli by the response that a model predicts: the first is the best that was offered.

    Parameters
    ----------
    encoder : SavedEncoder
        Of `voxelcast.load_encoder`.
    stimuli
        As `SavedEncoder.predict` takes them.
    roi, subject : str, optional
        Whose response; may be left out where the model has one only.
    voxel : int, optional
        One voxel of the ROI; else the mean over those analysed.
    level : float
        Of the prediction intervals.

    Returns
    -------
    table : DataFrame
        A row for each stimulus, the largest response first: ``rank``, ``stimulus_id``, ``response`` and its interval
        ``low`` to ``high``, for a measured response, noise included (NaN: none known); ``standardised``, in deviations
        of the predictions of the training stimuli; ``novelty``, the distance from the training stimuli in units of
        their own, its ``novelty_p``, and whether it is ``unlike`` them. ``attrs`` say whose response and in what unit.

    Raises
    ------
    OptionError, UnknownNameError
        For an ROI or voxel that is not there.
    """
    target = one_target(encoder, subject, roi, voxel)
    only, honesty = _only(encoder, target), encoder.honesty(target.pair)
    predicted = only.judged(only.shown(stimuli))
    judged, response = predicted.judgements[target.pair], target.response(encoder, predicted.arrays[target.pair])
    half, reason, kept = _half_width(honesty, target, level)
    order = np.argsort(-response, kind="stable")
    table = pd.DataFrame(
        {
            "rank": np.arange(1, len(order) + 1),
            "stimulus_id": [predicted.ids[k] for k in order],
            "response": response[order],
            "low": response[order] - half,
            "high": response[order] + half,
            "standardised": honesty.standardised(response[order]) if voxel is None else np.nan,
            "novelty": judged.distance[order],
            "novelty_p": judged.p[order],
            "unlike": judged.unlike[order],
        }
    )
    table.attrs.update(_about(encoder, target), level=kept, no_interval=reason)
    return table


def contrast(
    encoder: SavedEncoder, first: Any, second: Any, *, permutations: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Contrast the responses that a model predicts to two sets of stimuli, voxel by voxel.

    A functional localiser without a scanner. The p-value says how surely the model's predictions differ between such
    stimuli (`voxelcast.scoring.contrast.contrast`); a voxel that the model does not predict, by ``pearson_r``, says
    nothing of the brain.

    Parameters
    ----------
    encoder : SavedEncoder
    first, second
        Two sets of stimuli, each as `SavedEncoder.predict` takes them.
    permutations, seed : int

    Returns
    -------
    table : DataFrame
        A row for each analysed voxel: ``subject``, ``roi``, ``voxel``, ``difference`` (first minus second) and
        ``effect`` (in deviations within sets), ``p_value``, ``q_value`` over the voxels of its ROI, and the voxel's
        nested score ``pearson_r`` and ``noise_ceiling_r``.
    """
    one, other = (encoder.judged(encoder.shown(stimuli)) for stimuli in (first, second))
    tables = []
    for pair in encoder.pairs:
        voxels = np.flatnonzero(encoder.pair(pair).valid)
        found = contrast_of(one.arrays[pair][:, voxels], other.arrays[pair][:, voxels], permutations, seed)
        scores = encoder.honesty(pair).scores
        row = {"subject": pair[0], "roi": pair[1], "voxel": voxels} | {
            name: getattr(found, name) for name in ("difference", "effect", "p_value", "q_value")
        }
        row |= {name: scores[name][voxels] if name in scores else np.nan for name in ("pearson_r", "noise_ceiling_r")}
        tables.append(pd.DataFrame(row))
    table = pd.concat(tables, ignore_index=True)
    unlike = [np.any([judged.unlike for judged in some.judgements.values()], axis=0) for some in (one, other)]
    table.attrs.update(n_stimuli=[len(one.ids), len(other.ids)], n_unlike=[int(one.sum()) for one in unlike])
    return table


def responses(encoder: SavedEncoder, stimulus: Any, *, level: float = 0.95) -> pd.DataFrame:
    """Return the responses of all ROIs of a model to one stimulus.

    Returns
    -------
    table : DataFrame
        A row for each subject and ROI: the columns of `rank`, and ``unit``, ``score`` and ``noise_ceiling_r``, means
        over voxels.
    """
    given = encoder.shown(stimulus)
    if len(given.ids) != 1:
        raise OptionError(f"give one stimulus; got {len(given.ids)}; rank takes several")
    predicted, rows = encoder.judged(given), []
    for pair in encoder.pairs:
        target, honesty, judged = Target(*pair), encoder.honesty(pair), predicted.judgements[pair]
        response = float(target.response(encoder, predicted.arrays[pair])[0])
        half, _, _ = _half_width(honesty, target, level)
        means = {name: _mean(honesty.scores.get(name)) for name in ("pearson_r", "noise_ceiling_r")}
        rows.append(
            {
                **{"subject": pair[0], "roi": pair[1], "response": response, "low": response - half},
                **{"high": response + half, "standardised": float(honesty.standardised(np.array(response)))},
                **{"unit": encoder.card.by_pair[pair].unit, "score": means["pearson_r"]},
                **{"noise_ceiling_r": means["noise_ceiling_r"], "novelty": judged.distance[0]},
                **{"novelty_p": judged.p[0], "unlike": bool(judged.unlike[0])},
            }
        )
    table = pd.DataFrame(rows)
    table.attrs = {"stimulus_id": given.ids[0], "level": level}
    return table


@dataclass(frozen=True, eq=False)
class Driven:
    """Which part of a picture drives a response.

    Parameters
    ----------
    target : Target
    picture : ndarray of shape (height, width, 3), uint8
    gradient : ndarray of shape (size, size) or None
        Of `voxelcast.models.drivers.gradient_map`; None where the chain has no gradient.
    occlusion : ndarray of shape (cells, cells)
        Of `voxelcast.models.drivers.occlusion_map`.
    response : float
    no_gradient : str
        Why there is none.
    """

    target: Target
    picture: ByteArray
    gradient: FloatArray | None
    occlusion: FloatArray
    response: float
    about: Mapping[str, Any]
    no_gradient: str = ""

    def table(self) -> pd.DataFrame:
        """Return both maps by cell of the occlusion: ``row``, ``column``, ``occlusion``, ``gradient`` (its mean)."""
        cells = len(self.occlusion)
        row, column = np.divmod(np.arange(cells**2), cells)
        table = pd.DataFrame({"row": row, "column": column, "occlusion": self.occlusion.ravel()})
        if self.gradient is not None:
            parts = [np.array_split(band, cells, axis=1) for band in np.array_split(self.gradient, cells, axis=0)]
            table["gradient"] = [float(part.mean()) for band in parts for part in band]
        return table


def drivers(
    encoder: SavedEncoder,
    picture: Any,
    *,
    roi: str | None = None,
    subject: str | None = None,
    voxel: int | None = None,
    cells: int = 8,
) -> Driven:
    """Map which part of a picture drives the response that a model predicts.

    Two maps: by the gradient through network, pooling, axes and encoder
    (`voxelcast.models.drivers.gradient_map`), where small changes would count; and by covering
    (`voxelcast.models.drivers.occlusion_map`), what of the picture drives the response up or down.

    Parameters
    ----------
    encoder : SavedEncoder
    picture : path, or ndarray of shape (height, width, 3), uint8
    roi, subject, voxel
        Whose response; as of `rank`.
    cells : int
        Of a side of the occlusion map.

    Returns
    -------
    maps : Driven

    Raises
    ------
    OptionError, StimulusError
        For a video, or a picture that cannot be read.
    """
    target = one_target(encoder, subject, roi, voxel)
    only, pixels = _only(encoder, target), _pixels(encoder, picture)
    try:
        gradient, said = gradient_map(only, pixels, target), ""
    except OptionError as error:
        gradient, said = None, str(error)
    predicted = only.judged(only.shown(pixels[np.newaxis]))
    response = float(target.response(encoder, predicted.arrays[target.pair])[0])
    about = _about(encoder, target) | {"unlike": bool(predicted.judgements[target.pair].unlike[0])}
    return Driven(target, pixels, gradient, occlusion_map(only, pixels, target, cells), response, about, said)


def one_target(encoder: SavedEncoder, subject: str | None, roi: str | None, voxel: int | None) -> Target:
    """Choose the one subject and ROI that are asked for; raises OptionError where there are several."""
    found = [pair.pair for pair in encoder.card.chosen(subject, roi) if pair.pair in encoder.pairs]
    if len(found) != 1:
        there = ", ".join(" ".join(pair) for pair in (found or encoder.pairs)[:8])
        raise OptionError(f"say of which subject and ROI: subject=..., roi=...; there are {there}")
    return Target(*found[0], voxel)


def _only(encoder: SavedEncoder, target: Target) -> SavedEncoder:
    return encoder.of(target.subject, target.roi)


def _pixels(encoder: SavedEncoder, picture: Any) -> ByteArray:
    from voxelcast.stimuli.images import read_image

    if isinstance(picture, np.ndarray):
        check_shape("picture", picture, ("height", "width", "channels"), (None, None, 3))
        if picture.dtype != np.uint8:
            raise DataError(f"a picture must be uint8; got {picture.dtype}")
        return picture
    given = encoder.shown(picture)
    if len(given.files) != 1 or not given.files[0].is_image:
        raise OptionError("give one picture: a file that is an image, or an array; of a video, one of its frames")
    return read_image(given.files[0])


def _half_width(honesty: Honesty, target: Target, level: float) -> tuple[float, str, float]:
    """Return half the interval's width (NaN: none), the reason why there is none, and the level that is kept."""
    try:
        found = honesty.intervals(level, roi=target.voxel is None)
    except DataError as error:
        return float("nan"), str(error), level
    return float(found.half_width[target.voxel or 0]), found.reason, found.level


def _mean(values: FloatArray | None) -> float:
    return float(np.nanmean(values)) if values is not None and np.isfinite(values).any() else float("nan")


def _about(encoder: SavedEncoder, target: Target) -> dict[str, Any]:
    scores = encoder.honesty(target.pair).scores
    chosen = {name: values if target.voxel is None else values[[target.voxel]] for name, values in scores.items()}
    about = {"subject": target.subject, "roi": target.roi, "voxel": target.voxel, "target": str(target)}
    about["unit"] = encoder.card.by_pair[target.pair].unit
    return about | {"score": _mean(chosen.get("pearson_r")), "noise_ceiling_r": _mean(chosen.get("noise_ceiling_r"))}
