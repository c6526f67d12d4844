"""Features that no network makes, of whatever kind: files of features, and words."""

from __future__ import annotations

from collections.abc import Sequence

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.features.delays import Response
from voxelcast.features.own import RUN_FIELD, FeatureFile, Timeline, is_timed, on_volumes, read_features
from voxelcast.stimuli.words import WordFile, word_events

OwnSource = FeatureFile | WordFile


def is_convolved(source: OwnSource, name: str) -> bool:
    """Whether a response is taken at the own times of what happened, before there are volumes."""
    return source.combine == "sum" and (isinstance(source, WordFile) or is_timed(source, name))


def read_own(
    source: OwnSource, name: str, ids: Sequence[str], timeline: Timeline | None, response: Response | None
) -> FloatArray:
    """Read features of stimuli, (n_stimuli, n_features), by their ids; raises as `read_features` and `read_words`."""
    if isinstance(source, FeatureFile):
        return read_features(source, name, ids, timeline, response)
    if timeline is None:
        raise OptionError(f"features {name}: words go with time series, and this dataset has none; leave them out")
    if RUN_FIELD not in source.words and len(timeline.lengths) > 1:
        raise OptionError(f"features {name}: name a transcript for each run, by {RUN_FIELD}; got {source.words}")
    of_runs = {}
    for run, n_volumes in timeline.lengths.items():
        of_runs[run] = on_volumes(word_events(source, run), (n_volumes, timeline.tr), source.combine, response)
    return timeline.rows(ids, of_runs)
