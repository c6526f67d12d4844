"""What is said of a stimulus that cannot be read."""

from __future__ import annotations

from voxelcast.core.errors import MissingFileError
from voxelcast.stimuli.stimulus import Stimulus

REMEDY = "replace the file, or go on without it: broken_stimuli=skip"


def check_there(stimulus: Stimulus) -> None:
    """Raise MissingFileError unless the stimulus's file exists."""
    if not stimulus.path.is_file() and not stimulus.pictures():
        raise MissingFileError(f"stimulus {stimulus.stimulus_id!r} not found: {stimulus.path} does not exist")


def shown_name(stimulus: Stimulus) -> str:
    """Name of the file for messages: its path within an archive, or with its folder where names may repeat."""
    if stimulus.member is not None:
        return f"{stimulus.path.name}/{stimulus.member}"
    return stimulus.name if stimulus.stimulus_id == stimulus.path.stem else str(stimulus.path)


def reason(error: Exception) -> str:
    """Text of an error from FFmpeg or Pillow in one line."""
    # PyAV's own text holds an error number and the full path; FFmpeg's sentence is what helps.
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
