"""Read back what an experiment left in its output folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.results.schema import TABLES, Pair, pair_name
from voxelcast.results.write import EXAMPLE_FILE, JACKKNIFE_FILE, PLACES_FILE, THUMBNAIL_FILE, VOXEL_FILE, pair_file
from voxelcast.store.readers.arrays import read_npz
from voxelcast.store.readers.guard import read_text, reading
from voxelcast.store.readers.plain import read_json, read_yaml
from voxelcast.store.readers.tables import original_cell

if TYPE_CHECKING:
    import xarray as xr

_MOST_SHOWN: Final = 6
ROI_ORDER: Final = ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA")
"""From early to late visual cortex; ROIs of other names follow in the order in which they come."""

_JOINED: Final = ("joined", "all layers")
"""Network and layer of the model on all layers together (setting ``ensemble.joined``)."""
_TRUNK: Final = "trunk"
"""Network of the outputs of trunks (setting ``trunks``)."""


def _no_rows(name: str) -> pd.DataFrame:
    return pd.DataFrame(columns=[column.name for column in TABLES[name].columns])


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that the report is made from; what `read_overview` does not read has no rows.

    Parameters
    ----------
    config_text : str
        The settings as they stand in config.yaml.
    config, provenance : mapping
    scores, search, exclusions, layers : DataFrame
        The CSV files of the same names, their columns checked; ``search`` and ``layers`` without the model on all
        layers together.
    voxels : mapping of (subject, roi) to mapping of str to ndarray of shape (n_voxels,)
        ``pearson_r``, ``noise_ceiling_r``, ``held_out_r``, as far as they are there.
    notes : tuple of str
        Sentences that the reader must know.
    weights : DataFrame
        The rows of weights.csv that speak of the final models; empty where there is no such file.
    partition, groups, training, rules, stimuli : DataFrame
        Rows of variance_partitioning.csv, groups.csv, training.csv, rules.csv and stimulus_scores.csv; empty where
        there is no such file.
    places : mapping of (subject, roi) to mapping of str to ndarray of shape (n_voxels, height, width)
        Where voxels read, by encoder, network and layer, of encoders that are trained.
    examples : mapping of (subject, roi) to mapping of str to ndarray
        ``voxel``, ``quantile``, ``score``, ``measured``, ``predicted`` of a few voxels, as far as they are there.
    jackknife : mapping of (subject, roi) to mapping of str to ndarray
        `voxelcast.scoring.intervals.Jackknife`, as far as there are intervals.
    thumbnails : mapping of str to ndarray of shape (n_bytes,), uint8
        JPEG files in ``thumbnails.npz``, by the names that `extreme_stimuli` gives.
    brain_maps : tuple of Path
        Pictures in ``brain_maps/``.
    missing : mapping of (subject, roi) to str
        Pairs that failed, and why; no table has them.
    """

    config_text: str
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    scores: pd.DataFrame
    search: pd.DataFrame = field(default_factory=partial(_no_rows, "search.csv"))
    exclusions: pd.DataFrame = field(default_factory=partial(_no_rows, "exclusions.csv"))
    layers: pd.DataFrame = field(default_factory=partial(_no_rows, "layers.csv"))
    voxels: Mapping[Pair, Mapping[str, FloatArray]] = field(default_factory=dict)
    notes: tuple[str, ...]
    weights: pd.DataFrame = field(default_factory=partial(_no_rows, "weights.csv"))
    partition: pd.DataFrame = field(default_factory=partial(_no_rows, "variance_partitioning.csv"))
    groups: pd.DataFrame = field(default_factory=partial(_no_rows, "groups.csv"))
    training: pd.DataFrame = field(default_factory=partial(_no_rows, "training.csv"))
    rules: pd.DataFrame = field(default_factory=partial(_no_rows, "rules.csv"))
    stimuli: pd.DataFrame = field(default_factory=partial(_no_rows, "stimulus_scores.csv"))
    thumbnails: Mapping[str, ByteArray] = field(default_factory=dict)
    places: Mapping[Pair, Mapping[str, FloatArray]] = field(default_factory=dict)
    examples: Mapping[Pair, Mapping[str, FloatArray]] = field(default_factory=dict)
    jackknife: Mapping[Pair, Mapping[str, Any]] = field(default_factory=dict)
    brain_maps: tuple[Path, ...] = ()
    missing: Mapping[Pair, str]

    @property
    def rois(self) -> tuple[str, ...]:
        """ROIs, from early to late visual cortex, then the others as they come."""
        names = list(dict.fromkeys(self.scores["roi"]))
        return tuple([roi for roi in ROI_ORDER if roi in names] + [roi for roi in names if roi not in ROI_ORDER])

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects, as they come."""
        return tuple(dict.fromkeys(self.scores["subject"]))

    @property
    def voxel_scores(self) -> xr.Dataset:
        """Scores, noise ceilings and p-values of all voxels, as a Dataset.

        Returns
        -------
        scores : Dataset
            By ``voxel``: the arrays of ``voxels`` (``pearson_r``, ``noise_ceiling_r``, ...; NaN where an ROI has none),
            with the coordinates ``subject``, ``roi`` and ``index``, that of the voxel in its ROI.
        """
        import xarray as xr

        names = list(dict.fromkeys(name for arrays in self.voxels.values() for name in arrays))
        sizes = {pair: len(next(iter(arrays.values()))) for pair, arrays in self.voxels.items() if arrays}
        columns = {
            name: [self.voxels[pair].get(name, np.full(size, np.nan)) for pair, size in sizes.items()] for name in names
        }
        index = [np.arange(size) for size in sizes.values()]
        return xr.Dataset(
            {name: ("voxel", np.concatenate(arrays)) for name, arrays in columns.items()},
            coords={
                "subject": ("voxel", [subject for (subject, _), size in sizes.items() for _ in range(size)]),
                "roi": ("voxel", [roi for (_, roi), size in sizes.items() for _ in range(size)]),
                "index": ("voxel", np.concatenate(index) if index else np.arange(0)),
            },
        )

    @property
    def exchanged(self) -> tuple[str, ...]:
        """What permutations exchanged and intervals resampled, a sentence or two each; empty in earlier outputs."""
        said = self.scores.get("exchanged", ())
        return tuple(dict.fromkeys(one for one in said if isinstance(one, str) and one))

    @property
    def interval_name(self) -> str:
        """What the intervals are called, e.g. ``"95 % interval"``."""
        return "interval" if self.interval_level is None else f"{100 * self.interval_level:g} % interval"

    @property
    def interval_level(self) -> float | None:
        """Of the intervals, e.g. .95; None where the settings do not say it."""
        interval = self.config.get("interval")
        level = interval.get("level") if isinstance(interval, Mapping) else None
        return level if isinstance(level, float) else None

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return str(self.config.get("name", "unnamed experiment"))


def read_overview(output: Path) -> Results:
    """Read settings, scores, notes and provenance; candidates, layers, voxels and pictures stay out.

    Takes milliseconds where :func:`read_results`, which raises the same errors, takes seconds.
    """
    if not output.is_dir():
        raise MissingFileError(f"{output} does not exist or is no folder; give the output folder of an experiment")
    _check_there(output / "config.yaml")
    config_text = read_text(output / "config.yaml", "settings")
    scores = read_table(output / "scores.csv")
    if scores.duplicated(["subject", "roi"]).any():
        raise DataError(f"{output / 'scores.csv'} must have one row per subject and ROI; some have several")
    pairs = zip(scores["subject"], scores["roi"], strict=True)
    missing = {pair: reason for pair, reason in zip(pairs, scores["missing"], strict=True) if reason}
    scores = scores[scores["missing"] == ""].drop(columns="missing").reset_index(drop=True)
    if scores.empty:
        raise DataError(f"{output / 'scores.csv'} has no results; a report needs at least one subject and ROI")
    return Results(
        config_text=config_text,
        config=_checked(output / "config.yaml", read_yaml, dict),
        provenance=_checked(output / "provenance.json", read_json, dict),
        scores=scores,
        notes=tuple(map(str, _checked(output / "notes.json", read_json, list))),
        missing=missing,
    )


def read_results(output: Path | str) -> Results:
    """Read an output folder.

    Parameters
    ----------
    output : Path or str

    Raises
    ------
    MissingFileError
        If a file of the folder is missing.
    DataError
        If a file cannot be understood: not JSON, YAML or CSV, or without a column that it should have.

    Examples
    --------
    >>> import voxelcast as vc
    >>> results = vc.read_results("outputs/small")
    >>> results.scores[["subject", "roi", "layer"]].values.tolist()
    [['sub01', 'all', 'colour']]
    >>> results.voxel_scores["pearson_r"].dims
    ('voxel',)
    """
    output = Path(output)
    overview = read_overview(output)
    pairs = list(zip(overview.scores["subject"], overview.scores["roi"], strict=True))
    weights = read_table(output / "weights.csv", needed=False)
    return replace(
        overview,
        search=_of_layers(read_table(output / "search.csv")),
        exclusions=read_table(output / "exclusions.csv"),
        layers=_of_layers(read_table(output / "layers.csv")),
        voxels=_read_pairs(output, pairs, VOXEL_FILE),
        weights=weights[weights["fold"] == "all"],
        partition=read_table(output / "variance_partitioning.csv", needed=False),
        groups=read_table(output / "groups.csv", needed=False),
        training=read_table(output / "training.csv", needed=False),
        rules=read_table(output / "rules.csv", needed=False),
        stimuli=read_table(output / "stimulus_scores.csv", needed=False),
        thumbnails=_read_thumbnails(output / THUMBNAIL_FILE),
        places=_read_pairs(output, pairs, PLACES_FILE),
        examples=_read_joined(output / EXAMPLE_FILE, pairs),
        jackknife=_read_joined(output / JACKKNIFE_FILE, pairs),
        brain_maps=tuple(sorted((output / "brain_maps").glob("*.png"))),
    )


def extreme_stimuli(table: pd.DataFrame) -> list[tuple[str, str, float]]:
    """List the stimuli predicted best and worst by their mean over ROIs, never one as both.

    ``table`` has the rows of stimulus_scores.csv. Each is (``"best-1"`` ... or ``"worst-1"`` ..., id, mean pattern_r).
    """
    means = table.groupby("stimulus_id", sort=True)["pattern_r"].mean().sort_values(ascending=False, kind="stable")
    n = min(_MOST_SHOWN, len(means) // 2)
    ends = {"best": means.iloc[:n], "worst": means.iloc[::-1].iloc[:n]}
    return [
        (f"{end}-{k + 1}", str(name), float(r))
        for end, some in ends.items()
        for k, (name, r) in enumerate(some.items())
    ]


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; a report needs it: run the experiment to its end first")


def _checked(path: Path, read: Callable[[Path, str], Any], wanted: type) -> Any:
    _check_there(path)
    value = read(path, "results")
    if not isinstance(value, wanted):
        raise DataError(f"{path} must hold a {wanted.__name__}; got {type(value).__name__}")
    return value


def read_table(path: Path, *, needed: bool = True) -> pd.DataFrame:
    """Read one of `TABLES` by its name; one that is not needed has no rows where there is no file."""
    if not needed and not path.is_file():
        return _no_rows(path.name)
    _check_there(path)
    columns = TABLES[path.name].columns
    # A subject "01" or a layer "nan" stays text; only numbers may be missing.
    texts = [column.name for column in columns if column.type == "text"]
    numbers = [column.name for column in columns if column.type != "text"]
    with reading(path, "CSV", "run the experiment again"):
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(texts, str),
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in numbers},
            usecols=lambda name: name in (*texts, *numbers),
        )
    for name in set(texts) & set(table.columns):
        table[name] = table[name].map(original_cell)
    asked = [column.name for column in columns if column.needed]
    missing = [name for name in asked if name not in table.columns]
    if missing:
        raise DataError(f"{path} lacks the column(s) {', '.join(missing)}; it must have {', '.join(asked)}")
    absent = [column for column in columns if column.name not in table.columns]
    table = table.assign(**{column.name: "" if column.type == "text" else np.nan for column in absent})
    for name in numbers:
        if not table.empty and not pd.api.types.is_numeric_dtype(table[name]):
            raise DataError(f"{path}: the column {name} must hold numbers; got e.g. {table[name].iloc[0]!r}")
    return table.astype(dict.fromkeys(numbers, float))


def _of_layers(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out the model on all layers together, and trunks, which have no depth: the weights alone speak of them."""
    joined = (table["network"] == _JOINED[0]) & (table["layer"] == _JOINED[1])
    return table[~joined & (table["network"] != _TRUNK)]


def _read_pairs(output: Path, pairs: list[Pair], name: str) -> dict[Pair, dict[str, FloatArray]]:
    found = {pair: read_arrays(pair_file(output, name, pair)) for pair in pairs}
    return {pair: arrays for pair, arrays in found.items() if arrays}  # the report says for how many there are none


def _read_joined(path: Path, pairs: list[Pair]) -> dict[Pair, dict[str, FloatArray]]:
    arrays, found = read_arrays(path), dict[Pair, dict[str, FloatArray]]()
    for pair in pairs:
        start = f"{pair_name(*pair)}/"
        if of_pair := {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}:
            found[pair] = of_pair
    return found


def _read_thumbnails(path: Path) -> dict[str, ByteArray]:
    if not path.is_file():
        return {}
    with reading(path, "pictures of stimuli", "run the experiment again, or delete the file"):
        return {name: array.astype(np.uint8, casting="safe") for name, array in read_npz(path, "pictures").items()}


def read_arrays(path: Path) -> dict[str, FloatArray]:
    """Read the named arrays of an .npz file; none where there is no such file. Raises DataError if it is damaged."""
    if not path.is_file():
        return {}
    with reading(path, "arrays of numbers", "run the experiment again"):
        arrays = read_npz(path, "voxels")
        return {name: array if array.dtype.kind == "U" else array.astype(np.float64) for name, array in arrays.items()}
