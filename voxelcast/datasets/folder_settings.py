"""Settings of a user's own data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from voxelcast.core.errors import OptionError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets.patterns import HEMI, ROI, RUN, SESSION, STIMULUS, SUBJECT, check_fields
from voxelcast.datasets.readers.response_tables import check_axes
from voxelcast.datasets.settings import DatasetSettings, FileName, Listed, Names


def _patterns(value: object) -> object:
    """Make lists tuples, also those inside a mapping."""
    if isinstance(value, Mapping):
        return {name: _patterns(one) for name, one in value.items()}
    return tuple(value) if isinstance(value, list) else value


Patterns = str | tuple[str, ...]
"""One pattern of file names, or several."""
Files = Annotated[dict[str, Patterns] | Patterns | None, BeforeValidator(_patterns)]


def as_patterns(value: Patterns) -> tuple[str, ...]:
    """Return one pattern or several as several."""
    return (value,) if isinstance(value, str) else value


@settings
class FolderSettings(DatasetSettings):
    """Settings of `FolderDataset`; all paths are relative to ``root`` unless absolute.

    Paths may be lists, and may have ``*`` for part of a name and the fields ``{subject}``, ``{session}`` and ``{run}``
    (`voxelcast.datasets.patterns.find_matches`).

    Parameters
    ----------
    stimuli : str, sequence of str or None
        Folder or .zip, or patterns of files; None takes ``stimuli/`` or ``stimuli.zip``.
    responses : str, sequence of str, dict of subject to these, or None
        None takes every ``responses/<subject>.npy|npz|csv|h5|mat|nii|nii.gz|dscalar.nii|dtseries.nii``. Several files
        of a subject are put one behind the other, by session and run. A brain image has a map per presentation: NIfTI,
        CIFTI, GIFTI, where ``{hemi}`` in the name stands for both sides, or an output of GLMsingle. ``{stimulus}`` says
        that files are named by their stimulus.
    axes : sequence of str
        What the axes of the arrays are: ``stimulus``, ``voxel`` and, if repeated, ``repetition``, in any order.
    stimulus_ids : str, sequence of str or None
        What names the rows: ``"sorted"``, the sorted order of the stimulus files; a file of ids, one per line; tables
        of events (.tsv); an ``SPM.mat``, or FSL's ``design.con``. None looks inside the response file, then for
        ``responses/<subject>_stimuli.txt``, then ``stimulus_ids.txt``. See `voxelcast.datasets.row_names`.
    id_column : str or None
        Column of the events that names stimuli; None takes ``stim_file``, else ``trial_type``.
    trial_types : str, sequence of str or None
        The events that have a row in the responses; None: all that have a name.
    conditions : str or None
        Names of the columns of GLMsingle's design, one per line, instead of ``stimulus_ids``.
    shared_stimuli : bool
        Whether to take only stimuli that all chosen subjects have responses to, instead of an error where one is
        missing.
    roi_table, split, groups : str or None
        Tables; None takes ``rois.csv``, ``split.csv``, ``groups.csv`` where they are there. A voxel is given by its
        0-based number, or by its column where responses are a CSV; it may be in several ROIs. A column ``subject`` in
        the ROI table keeps subjects apart.
    masks : dict of ROI to str or sequence of str, str, or None
        ROIs of brain images, instead of a table, or one pattern with ``{roi}``; see
        `voxelcast.datasets.readers.brain_masks.read_masks`.
    unit : str
        Unit of the responses.
    subjects : "all", str or sequence of str
    """

    _: KW_ONLY
    kind: Literal["folder"] = "folder"
    stimuli: Annotated[Patterns | None, BeforeValidator(_patterns), NO_EFFECT] = None
    responses: Annotated[Files, NO_EFFECT] = None
    axes: Listed = ("stimulus", "voxel")
    stimulus_ids: Annotated[Patterns | None, BeforeValidator(_patterns)] = None
    id_column: str | None = None
    trial_types: Listed | None = None
    conditions: FileName = None
    shared_stimuli: bool = False
    roi_table: FileName = None
    split: FileName = None
    groups: FileName = None
    masks: Files = None
    unit: str = "arbitrary"
    subjects: Annotated[Names, NO_EFFECT] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_axes(self.axes)
        named: tuple[Any, ...] = (self.stimulus_ids, self.conditions)
        if None not in named:
            raise OptionError("rows are named by stimulus_ids or by conditions; got both; give one")
        fields = (SUBJECT, SESSION, RUN)
        for name, more in (("responses", (HEMI, STIMULUS)), ("stimulus_ids", ()), ("conditions", ())):
            check_fields(name, _all(getattr(self, name)), (*fields, *more))
        check_fields("masks", _all(self.masks), (SUBJECT, HEMI, ROI))


def _all(value: Any) -> tuple[str, ...]:
    """List every pattern of a setting."""
    if isinstance(value, Mapping):
        return tuple(pattern for one in value.values() for pattern in as_patterns(one))
    return () if value is None else as_patterns(value)
