"""Features that come with no dataset, of whatever kind: files of features, words, and what networks make of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.core.validation import first_problem
from voxelcast.features.delays import Response
from voxelcast.features.own import RUN_FIELD, FeatureFile, Timeline, is_timed, on_volumes, read_features
from voxelcast.networks.settings import WordNetwork
from voxelcast.stimuli.words import Transcript, WordFile, word_events

OwnSource = FeatureFile | WordFile | WordNetwork


def own_source(name: str, given: object) -> object:
    """Check the settings of one of the user's features: a file's name, or a mapping whose names say which kind it is.

    Raises ValueError, which says what is wrong in one line.
    """
    given = {"file": str(given)} if isinstance(given, str | Path) else given
    if not isinstance(given, Mapping):
        return given
    kind = next((kind for key, kind in (("network", WordNetwork), ("words", WordFile)) if key in given), FeatureFile)
    try:
        return TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        raise ValueError(first_problem(error.errors(), kind, f"features.{name}")) from error


def is_convolved(source: OwnSource, name: str) -> bool:
    """Whether a response is taken at the own times of what happened, before there are volumes."""
    return source.combine == "sum" and (isinstance(source, Transcript) or is_timed(source, name))


def read_own(
    source: FeatureFile | WordFile, name: str, ids: Sequence[str], timeline: Timeline | None, response: Response | None
) -> FloatArray:
    """Read features of stimuli, (n_stimuli, n_features), by their ids; raises as `read_features` and `read_words`."""
    if isinstance(source, FeatureFile):
        return read_features(source, name, ids, timeline, response)
    timeline = timeline_of_words(source, name, timeline)
    of_runs = {}
    for run, n_volumes in timeline.lengths.items():
        of_runs[run] = on_volumes(word_events(source, run), (n_volumes, timeline.tr), source.combine, response)
    return timeline.rows(ids, of_runs)


def timeline_of_words(source: Transcript, name: str, timeline: Timeline | None) -> Timeline:
    """Return the volumes that words are brought to; raises OptionError where there are none, or runs share a file."""
    if timeline is None:
        raise OptionError(f"features {name}: words go with time series, and this dataset has none; leave them out")
    if RUN_FIELD not in source.words and len(timeline.lengths) > 1:
        raise OptionError(f"features {name}: name a transcript for each run, by {RUN_FIELD}; got {source.words}")
    return timeline
