"""Find the stimuli in a folder or a zip archive and give each its id."""

from __future__ import annotations

import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from voxelcast.core.checks import check_utf8, nfc
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, OptionError, VoxelcastWarning
from voxelcast.stimuli.stimulus import IMAGE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES, Stimulus, is_picture
from voxelcast.store.readers.archives import opened_zip

# What lies beside stimuli and is none; other suffixes may be of pictures and videos that are not read.
_TABLES = {".csv", ".tsv", ".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".parquet", ".xlsx", ".db"}
_BRAIN = {".nii", ".gz", ".gii"}
_TEXTS = {"", ".txt", ".json", ".md", ".yaml", ".yml", ".ini", ".html", ".pdf", ".py", ".log"}
_BESIDE = _TABLES | _BRAIN | _TEXTS | SOUND_SUFFIXES | {".zip"}


def is_media(name: str) -> bool:
    """Whether a file of this name counts as a stimulus: a known suffix, and not hidden."""
    path = PurePosixPath(name)
    return not path.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def list_stimuli(source: Path, *, recursive: bool = False, keep_suffix: bool = False) -> tuple[Stimulus, ...]:
    """List the videos and images in a folder or a zip archive, sorted by file name (``recursive``: by relative path).

    Where there are none, its sub-folders of pictures, each a stimulus with many frames; or else its sounds. Files are
    recognised by their suffix; hidden files, texts and tables are passed over, others with a VoxelcastWarning that
    names them.

    Raises MissingFileError where ``source`` does not exist; DataError where it is neither a folder nor a zip archive,
    or holds no video, image or sound; AlignmentError where two files would get the same id; UnsafeFileError where the
    archive has a member whose name leads outside it; nothing of it is read.

    Parameters
    ----------
    source : Path
        A folder, or a ``.zip`` archive (members at any depth).
    recursive : bool
        Whether to look in sub-folders too. The id is then the relative path without its suffix, with forward slashes,
        so that files of one name in two folders stay apart. Without it the id is the file's name without its suffix.
    keep_suffix : bool
        Whether ids keep the suffix, so that ``clip.mp4`` and ``clip.webm`` stay apart.
    """
    source = Path(source)
    if not source.exists():
        raise MissingFileError(f"stimuli not found: {source} does not exist; give a folder or .zip of videos or images")
    if source.is_dir():
        there = _in_folder(source, recursive)
    elif source.is_file() and zipfile.is_zipfile(source):
        there = _in_archive(source)
    else:
        raise DataError(f"stimuli must be a folder or a .zip archive; got {source}, which is neither")
    found = [path for path in there if is_media(path.name)]
    if not found and source.is_dir() and not recursive and (folders := _folders_of_pictures(source)):
        return folders
    found = found or [path for path in there if path.suffix.lower() in SOUND_SUFFIXES]
    _name_others(source, [path for path in there if path.suffix.lower() not in _BESIDE and not is_media(path.name)])
    if not found:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        raise DataError(f"no video or image in {source}; looked for files ending in {suffixes}")
    found.sort(key=str if recursive else lambda path: (path.name, str(path)))
    stimuli = []
    for path in found:
        check_utf8(str(path), f"in {source} the name")
        stimulus_id = nfc(str(path.with_suffix("")) if recursive else path.stem)
        stimulus_id += path.suffix if keep_suffix else ""
        is_file = source.is_dir()
        stimuli.append(Stimulus(stimulus_id, source / path if is_file else source, None if is_file else str(path)))
    _check_unique(stimuli, source)
    return tuple(stimuli)


def listed_stimuli(given: Any) -> tuple[Stimulus, ...]:
    """List the stimuli of a folder or archive, or of a list of files of different names; raises as `list_stimuli`."""
    if isinstance(given, str | Path):
        return list_stimuli(Path(given))
    if not isinstance(given, Sequence) or not given or not all(isinstance(one, str | Path | Stimulus) for one in given):
        raise OptionError(
            "stimuli must be a data set, a folder, a list of files, or frames as an array of uint8 or a mapping of "
            f"them; got {type(given).__name__}"
        )
    shown = tuple(one if isinstance(one, Stimulus) else Stimulus(Path(one).stem, Path(one)) for one in given)
    folder = next((stimulus.path for stimulus in shown if stimulus.path.is_dir()), None)
    if folder is not None:
        raise DataError(f"{folder} is a folder among files; give one folder alone, or files alone")
    names = [stimulus.stimulus_id for stimulus in shown]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise AlignmentError(f"stimulus ids must be unique; got {twice!r} several times; rename a file")
    return shown


def _in_folder(folder: Path, recursive: bool) -> list[PurePosixPath]:
    files = folder.rglob("*") if recursive else folder.iterdir()
    there = []
    for path in files:
        if path.is_file():
            there.append(PurePosixPath(path.relative_to(folder)))
        elif is_media(path.name) and not path.is_dir():
            raise DataError(f"{path} is no plain file (a pipe, a device, or a link to nothing); remove it")
    return [path for path in there if not any(part.startswith(".") for part in path.parts)]


def _folders_of_pictures(source: Path) -> tuple[Stimulus, ...]:
    """List the sub-folders that hold pictures; their names are the ids."""
    folders = [path for path in source.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found = [Stimulus(nfc(path.name), path) for path in sorted(folders) if any(map(is_picture, path.iterdir()))]
    _check_unique(found, source)
    return tuple(found)


def _in_archive(archive: Path) -> list[PurePosixPath]:
    # Every name is checked before any is used: one bad name makes the whole archive untrustworthy.
    with opened_zip(archive) as opened:
        members = [info.filename for info in opened.infolist() if not info.is_dir()]
    there = [PurePosixPath(name) for name in members if not name.startswith("__MACOSX/")]
    return [path for path in there if not path.name.startswith(".")]


def _name_others(source: Path, others: list[PurePosixPath]) -> None:
    """Say which files were passed over for their suffix."""
    if others:
        counts = Counter(path.suffix for path in sorted(others))
        shown = ", ".join(f"{number} {suffix}" for suffix, number in counts.most_common())
        some = ", ".join(str(path) for path in sorted(others)[:5]) + (", ..." if len(others) > 5 else "")
        warnings.warn(
            f"{source}: {len(others)} files are no stimuli by their suffix ({shown}): {some}; if they are pictures or "
            "videos, convert them to .png or .mp4",
            VoxelcastWarning,
            stacklevel=3,
        )


def _check_unique(stimuli: Iterable[Stimulus], source: Path) -> None:
    seen: dict[str, str] = {}
    for stimulus in stimuli:
        if stimulus.stimulus_id in seen:
            raise AlignmentError(
                f"stimulus ids must be unique in {source}; {seen[stimulus.stimulus_id]} and {stimulus.name} both give "
                f"{stimulus.stimulus_id!r}; rename one of them, or keep suffixes where that is offered"
            )
        seen[stimulus.stimulus_id] = stimulus.name
