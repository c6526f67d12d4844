"""Look at a folder in the Brain Imaging Data Structure, and say which settings read it as a dataset.

Subjects, sessions and runs become fields of patterns; the events that name rows, the folder of ``stim_file`` and the
masks are those of the same task and space. What is odd is found out when the dataset is opened.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from voxelcast.core.errors import MissingFileError, VoxelcastError
from voxelcast.datasets.patterns import RUN, SESSION, SUBJECT, sidecar_tr
from voxelcast.datasets.readers.brain_images import brain_suffix
from voxelcast.datasets.readers.glmsingle import is_glmsingle
from voxelcast.datasets.row_names import STIM_FILE
from voxelcast.store.atomic import read_json
from voxelcast.store.readers.tables import read_table

DESCRIPTION = "dataset_description.json"
_FIELDS = {"sub": SUBJECT, "ses": SESSION, "run": RUN}
_ENTITY = re.compile(r"(?<![A-Za-z0-9])(sub|ses|run)-[A-Za-z0-9]+")
_NUMBERED = re.compile(r"(?<=/)(beta_|con_|cope)\d+(?=\.nii)")
_BETAS = re.compile(r"betas?(series)?\.|beta_\d+|cope\d+\.|con_\d+|stat-effect|statmap|betaseries|singletrial", re.I)
_MASK = re.compile(r"(?<=_)(label|roi)-[A-Za-z0-9]+(?=_)")
_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_PASSED_OVER = {"sourcedata", "code", "work"}


@dataclass
class BidsSettings:
    """What reads a study.

    Parameters
    ----------
    kind : str
        ``folder`` of betas, or ``time_series``.
    values : dict
        Settings of that kind, but for ``root``.
    comments : dict of setting to str
        What was found for it.
    """

    kind: str
    values: dict[str, object] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)


def is_bids(root: Path) -> bool:
    """Whether a folder is a BIDS study: it says so in its description, and has a subject."""
    return "BIDSVersion" in _description(root) and any(root.glob("sub-*"))


def _description(folder: Path) -> dict[str, Any]:
    """Read what a folder says of itself; nothing where it says nothing that can be read."""
    try:
        about = read_json(folder / DESCRIPTION)
    except (OSError, ValueError, VoxelcastError):
        return {}
    return about if isinstance(about, dict) else {}


def look_at_bids(root: Path) -> BidsSettings:
    """Find the responses of a BIDS study: betas, or else preprocessed runs.

    Raises MissingFileError where there is neither.
    """
    files = sorted(_files(root))
    images = [name for name in files if brain_suffix(Path(name)) or is_glmsingle(Path(name))]
    betas = Counter(pattern_of(name) for name in images if _is_beta(name))
    if betas:
        return _betas(root, files, list(betas))
    runs = Counter(pattern_of(name) for name in images if "desc-preproc_bold" in name or ".dtseries." in name)
    if runs:
        return _runs(root, files, list(runs))
    raise MissingFileError(
        f"responses not found: {root} has neither betas (names with beta, cope or stat-effect, or GLMsingle's "
        "TYPED_...) nor preprocessed runs (desc-preproc_bold); put them into derivatives/, or write dataset.responses "
        "yourself"
    )


def pattern_of(name: str) -> str:
    """Put fields into a file's name.

    Examples
    --------
    >>> pattern_of("sub-01/ses-2/func/sub-01_ses-2_task-x_run-3_betas.nii.gz")
    '{subject}/{session}/func/{subject}_{session}_task-x_{run}_betas.nii.gz'
    >>> pattern_of("spm/sub-01/beta_0001.nii")
    'spm/{subject}/beta_*.nii'
    """
    fields = _ENTITY.sub(lambda found: f"{{{_FIELDS[found[1]]}}}", name)
    sided = re.sub(r"(?<=_)hemi-[LR](?=_)", "hemi-{hemi}", fields)
    return _NUMBERED.sub(r"\1*", sided)


def entity(name: str, key: str) -> str:
    """Return what an entity of a name says, such as its task; empty where it has none."""
    found = re.search(rf"(?:^|[/_]){key}-([A-Za-z0-9]+)", name)
    return found[1] if found else ""


def _files(root: Path) -> Iterable[str]:
    for where, folders, names in os.walk(root):
        if DESCRIPTION in names and "'voxelcast'" in str(_description(Path(where)).get("GeneratedBy")):
            folders.clear()  # our own results are no responses
            continue
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _PASSED_OVER]
        yield from (str(PurePosixPath(Path(where).relative_to(root) / name)) for name in names)


def _is_beta(name: str) -> bool:
    return is_glmsingle(Path(name)) or (bool(_BETAS.search(PurePosixPath(name).name)) and "_mask." not in name)


def _best(patterns: Sequence[str], like: str = "") -> str:
    """Choose the pattern of the same task and space as another, then GLMsingle's last model, then the first."""

    def merit(pattern: str) -> tuple[bool, ...]:
        same = (entity(pattern, key) == entity(like, key) for key in ("task", "space"))
        return (*(like == "" or one for one in same), "TYPED" in pattern, SUBJECT in pattern)

    return max(patterns, key=merit)


def _others(patterns: Sequence[str], chosen: str) -> str:
    rest = [pattern for pattern in patterns if pattern != chosen]
    return f"there is also {', '.join(rest[:3])}{' and more' if len(rest) > 3 else ''}" if rest else ""


def _betas(root: Path, files: Sequence[str], patterns: list[str]) -> BidsSettings:
    chosen = _best(patterns)
    found = BidsSettings("folder", {"responses": chosen}, {"responses": _others(patterns, chosen)})
    folder = PurePosixPath(chosen).parent
    beside = (str(folder / "SPM.mat"), str(folder.parent / "design.con"))
    design = next((name for name in beside if name in map(pattern_of, files)), None)
    events = [pattern_of(name) for name in files if name.endswith(("_events.tsv", "_events.tsv.gz"))]
    if design is not None:
        found.values["stimulus_ids"] = design
        found.comments["stimulus_ids"] = "names of the maps"
    elif events:
        _take_events(root, files, _best(events, chosen), found)
    _take_masks(files, chosen, found)
    found.values["unit"] = "beta"
    return found


def _take_events(root: Path, files: Sequence[str], events: str, found: BidsSettings) -> None:
    """Name rows by events, and find the folder of the files that they name."""
    tables = [read_table(root / name, (), "events") for name in files if pattern_of(name) == events]
    shown = [cell for table in tables if STIM_FILE in table.names for cell in table.column(STIM_FILE)]
    named = sorted({cell for cell in shown if cell not in ("", "n/a")})
    found.values["stimulus_ids"] = events
    found.comments["stimulus_ids"] = f"column {STIM_FILE}" if named else "column trial_type"
    if named:
        folders = {str(PurePosixPath("stimuli") / PurePosixPath(name).parent) for name in named}
        if len(folders) == 1:
            found.values["stimuli"] = folders.pop()
        else:
            found.values["stimuli"] = sorted(f"{folder}/*" for folder in folders)
        found.comments["stimuli"] = f"{len(named)} files in column {STIM_FILE}"


def _take_masks(files: Sequence[str], like: str, found: BidsSettings) -> None:
    """Take the ROI masks of the same space."""
    masks = [name for name in files if re.search(r"_mask\.(nii|func\.gii|shape\.gii|label\.gii)", name)]
    patterns = [_MASK.sub(r"\1-{roi}", pattern_of(name)) for name in masks if _MASK.search(name)]
    same = [one for one in dict.fromkeys(patterns) if entity(one, "space") == entity(like, "space")]
    if same:
        chosen = _best(same, like)
        names = sorted({match[0].partition("-")[2] for name in masks if (match := _MASK.search(name))})
        found.values["masks"] = chosen
        found.comments["masks"] = f"ROIs {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    else:
        spaces = sorted({entity(one, "space") or "none" for one in patterns})
        hint = f" (those found are of space {', '.join(spaces)})" if spaces else ""
        found.comments["unit"] = f"no masks of ROIs in the same space{hint}: all voxels are one ROI"


def _runs(root: Path, files: Sequence[str], patterns: list[str]) -> BidsSettings:
    chosen = _best(patterns)
    values: dict[str, object] = {"bold": chosen}
    found = BidsSettings("time_series", values, {"bold": _others(patterns, chosen)})
    first = next(name for name in files if pattern_of(name) == chosen)
    tr = sidecar_tr(root / first, root)
    if tr is not None:
        values["tr"] = tr[0]
        found.comments["tr"] = f"seconds, from {tr[1].name}"
    for setting, ending in (("events", "_events.tsv"), ("nuisance", "_desc-confounds_timeseries.tsv")):
        there = [pattern_of(name) for name in files if name.endswith(ending)]
        if there:
            values[setting] = _best(there, chosen)
    if "nuisance" in values:
        values["nuisance_columns"] = list(_MOTION)
        found.comments["nuisance_columns"] = "left out: all of the table's"
    _take_masks(files, chosen, found)
    found.comments.pop("unit", None)
    return found
