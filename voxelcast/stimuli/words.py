"""Words and when they were said: transcripts, and features of words."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_option, home_expanded
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.store.readers.guard import read_text, reading
from voxelcast.store.readers.tables import Table, read_table

SUFFIXES: Final = (".textgrid", ".vtt", ".srt", ".tsv", ".csv")
FEATURES: Final = ("rate", "length", "frequency", "sentence")
PAUSES: Final = frozenset({"", "sp", "sil", "spn", "<sil>", "<p>", "<unk>", "#", "silence"})
"""What stands for no word, in any case."""
SENTENCE_PAUSE: Final = 0.5
"""Seconds after which a word begins a sentence, whatever was written before it."""
_TIERS: Final = ("words", "word")
_PER_TR: Final = ("words_per_tr", "onsets_per_tr", "durations_per_tr")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})")
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|\[\d*\]|(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|<exists>')
"""Of a TextGrid: a text, the index of an interval (no value), a number, or the flag that there are tiers."""


@settings
class Transcript:
    """Words that were said in the runs of a time series, and when they count.

    Parameters
    ----------
    words : str
        TextGrid, WebVTT, SRT, or a table (:func:`read_words`); ``{run}`` stands for the run.
    at : {"end", "onset", "whole"}
        When a word counts: at the moment of its end or onset, or over all of its time.
    combine : {"sum", "mean", "last"}
        What a volume has of the words in it; 0 where there is none.
    start : float
        Seconds from the beginning of a run's first volume to 0 s of the transcript.
    """

    words: Annotated[str, NO_EFFECT]
    at: Literal["end", "onset", "whole"] = "end"
    combine: Literal["sum", "mean", "last"] = "sum"
    start: float = 0.0

    def read(self, run: str) -> Words:
        """Read the words of a run; raises as `read_words`."""
        return read_words(home_expanded(Path(self.words.replace("{run}", run))))

    def times(self, words: Words) -> tuple[FloatArray, FloatArray]:
        """Give onsets and durations of what counts, (n_words,), in seconds after the run begins."""
        onsets = words.onsets + self.start
        if self.at == "whole":
            return onsets, words.durations
        return onsets + words.durations if self.at == "end" else onsets, np.zeros(len(onsets))


@settings
class WordFile(Transcript):
    """Words of a transcript as features of a time series.

    Parameters
    ----------
    of : sequence of str
        ``"rate"``: 1 for each word; ``"length"``: its letters; ``"frequency"``: the logarithm (base 10) of its
        frequency, by a table; ``"sentence"``: 1 for the first word of a sentence, which is one after a full stop,
        question or exclamation mark, or a pause of half a second.
    frequency : str or None
        Table ``word,frequency``; a word that is not in it counts as its rarest.

    The others are as of `Transcript`.
    """

    of: tuple[str, ...] = ("rate",)
    frequency: Annotated[str | None, NO_EFFECT] = None

    def __post_init__(self) -> None:
        for name in self.of:
            check_option("of", name, FEATURES)
        if not self.of or len(set(self.of)) < len(self.of):
            raise OptionError(f"of must name features of words, each once; got {list(self.of)}")
        if ("frequency" in self.of) != (self.frequency is not None):
            raise OptionError("frequency, a table word,frequency, goes with of: [frequency]; give both, or neither")


@dataclass(frozen=True, eq=False)
class Words:
    """Words in the order in which they were said; onsets and durations (n_words,) are in seconds."""

    texts: tuple[str, ...]
    onsets: FloatArray
    durations: FloatArray


def read_words(path: Path) -> Words:
    """Read the words of a transcript; pauses (empty, ``sp``, ``sil``) are none.

    - **TextGrid** of Praat, long or short: the tier ``words`` or ``word``, or the only one of intervals.
    - **WebVTT, SRT**: the words of a cue share its time by their letters; times within a cue (``<00:01.500>``) count.
    - **.tsv, .csv**: columns ``onset``, ``duration`` (s) and ``word`` or ``text``; or, as in Algonauts 2025, lists in
      each row of ``words_per_tr``, ``onsets_per_tr`` and ``durations_per_tr``.

    Raises MissingFileError, DataError where the file is missing or damaged, has no words, or times that are none.

    Examples
    --------
    >>> words = read_words(Path("alice.TextGrid"))  # doctest: +SKIP
    >>> words.texts[:3]  # doctest: +SKIP
    ('Alice', 'was', 'beginning')
    """
    suffix = path.suffix.lower()
    check_option("the suffix of a transcript", suffix, SUFFIXES)
    readers: dict[str, Callable[[Path], list[tuple[str, float, float]]]] = {".textgrid": _text_grid, ".tsv": _table}
    with reading(path, "a transcript", "correct it"):
        found = readers.get(suffix, _table if suffix == ".csv" else _cues)(path)
    kept = sorted((row for row in found if row[0].strip().lower() not in PAUSES), key=lambda row: row[1])
    if not kept:
        raise DataError(f"{path} must hold words; got none, of {len(found)} intervals; check the file")
    onsets, ends = (np.array([row[place] for row in kept], dtype=np.float64) for place in (1, 2))
    if not np.isfinite([onsets, ends]).all() or (ends < onsets).any():
        wrong = int(np.argmax(~(ends >= onsets)))
        raise DataError(
            f"{path}: words must end after they begin; got {onsets[wrong]:g} s to {ends[wrong]:g} s for "
            f"{kept[wrong][0]!r}; correct it"
        )
    return Words(tuple(row[0].strip() for row in kept), onsets, ends - onsets)


def word_values(words: Words, of: Sequence[str], frequency: Mapping[str, float] | None = None) -> FloatArray:
    """Give features of words, (n_words, n_features); see `WordFile`. ``frequency``: of words in small letters."""
    columns: dict[str, Any] = {
        "rate": lambda: np.ones(len(words.texts)),
        "length": lambda: np.array([sum(map(str.isalnum, word)) for word in words.texts], dtype=np.float64),
        "sentence": lambda: _sentence_onsets(words),
        "frequency": lambda: _log_frequency(words, frequency or {}),
    }
    return np.column_stack([columns[name]() for name in of])


def read_frequencies(path: Path) -> dict[str, float]:
    """Read a table ``word,frequency`` of frequencies above 0; raises MissingFileError, DataError."""
    table = read_table(path, ("word", "frequency"), "word frequencies")
    numbers = table.numbers(["frequency"])[:, 0]
    if not len(numbers) or not (numbers > 0).all():
        raise DataError(f"{path}: frequencies must be above 0; got {len(numbers)} rows, and others; correct it")
    return dict(zip(map(_plain, table.column("word")), numbers.tolist(), strict=True))


def word_events(source: WordFile, run: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Read the words of a run as events: onsets and durations, in seconds after the run begins, and values."""
    words = source.read(run)
    table = None if source.frequency is None else read_frequencies(home_expanded(Path(source.frequency)))
    return *source.times(words), word_values(words, source.of, table)


def _plain(word: str) -> str:
    return re.sub(r"^\W+|\W+$", "", word).lower()


def _sentence_onsets(words: Words) -> FloatArray:
    ends = words.onsets + words.durations
    pause = np.append(True, words.onsets[1:] - ends[:-1] >= SENTENCE_PAUSE)
    stop = [True, *(word.rstrip("\"')]}”’»").endswith((".", "?", "!", "…")) for word in words.texts[:-1])]
    return np.asarray(pause | np.array(stop), dtype=np.float64)


def _log_frequency(words: Words, frequency: Mapping[str, float]) -> FloatArray:
    rarest = min(frequency.values())
    return np.log10([frequency.get(_plain(word), rarest) for word in words.texts])


def _table(path: Path) -> list[tuple[str, float, float]]:
    table = read_table(path, (), "transcript")
    if _PER_TR[0] in table.names:
        return _per_tr(table)
    name = next((one for one in ("word", "text") if one in table.names), None)
    if name is None or not {"onset", "duration"} <= set(table.names):
        raise DataError(f"{path} must have the columns onset, duration and word; got {', '.join(table.names)}")
    times = table.numbers(["onset", "duration"])
    return [(word, on, on + long) for word, (on, long) in zip(table.column(name), times.tolist(), strict=True)]


def _per_tr(table: Table) -> list[tuple[str, float, float]]:
    """Read lists of words, onsets and durations, which may be empty, from each row."""
    found = []
    for line, *cells in zip(table.lines, *(table.column(name) for name in _PER_TR), strict=True):
        lists = [ast.literal_eval(cell) if cell else [] for cell in cells]
        words, onsets, durations = lists
        numbers = [one for part in (onsets, durations) for one in part]
        if not all(isinstance(one, list) for one in lists) or any(isinstance(one, str) for one in numbers):
            raise DataError(f"{table.path} must have lists of words and of seconds; got others in line {line}")
        rows = zip(map(str, words), map(float, onsets), map(float, durations), strict=True)
        found += [(word, on, on + long) for word, on, long in rows]
    return found


def _text_grid(path: Path) -> list[tuple[str, float, float]]:
    """Read the tier of words: both forms are the same values in the same order, with or without names before them."""
    text = read_text(path, "TextGrid")
    if "ooTextFile" not in text[:200]:
        raise DataError(f"{path} is no TextGrid in text form; save it as text in Praat")
    found = (match for match in _TOKEN.finditer(text) if not match[0].startswith("["))
    _, _, _, _, _, n_tiers, *rest = [match[0] if match[1] is None else match[1] for match in found]
    tiers: dict[str, list[tuple[str, float, float]]] = {}
    place = 0
    for _ in range(int(n_tiers)):
        kind, name, _, _, size = rest[place : place + 5]
        place, width = place + 5, 3 if kind == "IntervalTier" else 2
        rows = [rest[place + width * k : place + width * (k + 1)] for k in range(int(size))]
        place += width * int(size)
        if width == 3:
            tiers[name] = [(word.replace('""', '"'), float(on), float(off)) for on, off, word in rows]
    chosen = next((name for name in tiers if name.lower() in _TIERS), None)
    if chosen is None and len(tiers) != 1:
        raise DataError(f"{path} must have a tier of words, called words; got {', '.join(tiers) or 'none'}; rename it")
    return tiers[chosen] if chosen is not None else next(iter(tiers.values()))


def _cues(path: Path) -> list[tuple[str, float, float]]:
    """Read cues of WebVTT or SRT; each part between times shares its time among its words."""
    found: list[tuple[str, float, float]] = []
    for block in re.split(r"\n\s*\n", read_text(path, "subtitles").replace("\r\n", "\n")):
        lines = block.strip().split("\n")
        at = next((k for k, line in enumerate(lines) if "-->" in line), None)
        if at is None:
            continue
        start, end = (_seconds(part) for part in lines[at].split("-->"))
        pieces = re.split(r"<((?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3})>", "\n".join(lines[at + 1 :]))
        edges = [start, *(_seconds(time) for time in pieces[1::2]), end]
        for piece, first, last in zip(pieces[::2], edges[:-1], edges[1:], strict=True):
            words = re.sub(r"<[^>]*>|\{[^}]*\}", "", piece).split()
            letters = np.cumsum([0, *(max(sum(map(str.isalnum, word)), 1) for word in words)], dtype=np.float64)
            times = (first + (last - first) * letters / max(letters[-1], 1.0)).tolist()
            found += list(zip(words, times[:-1], times[1:], strict=True))
    return found


def _seconds(text: str) -> float:
    match = _CLOCK.search(text)
    if match is None:
        raise ValueError(f"{text.strip()!r} is no time such as 00:01:02.500")
    hours, minutes, seconds, part = match.groups()
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + int(seconds) + float(f"0.{part}")


@dataclass(frozen=True)
class Context:
    """A word in its text, as a language model is given it: the word is ``text[start:stop]``."""

    text: str
    start: int
    stop: int


def contexts(words: Words, before: int, ahead: int = 0) -> list[Context]:
    """Give each word with the ``before`` words before it and, only if asked for, some that come ``ahead``."""
    if before < 0 or ahead < 0:
        raise OptionError(f"words of context must be at least 0; got {before} before and {ahead} ahead")
    found = []
    for place, word in enumerate(words.texts):
        past = "".join(f"{one} " for one in words.texts[max(place - before, 0) : place])
        text = " ".join([past + word, *words.texts[place + 1 : place + 1 + ahead]])
        found.append(Context(text, len(past), len(past) + len(word)))
    return found
