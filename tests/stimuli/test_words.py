"""Words of transcripts: every kind of file gives the same, pauses are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxelcast.core.errors import DataError, OptionError, VoxelcastError
from voxelcast.stimuli.words import WordFile, Words, read_frequencies, read_words, word_events, word_values

INTERVALS = (
    (0.0, 0.25, ""),
    (0.25, 0.75, "Alice"),
    (0.75, 1.0, 'said "no"'),
    (1.0, 1.75, "sp"),
    (1.75, 2.0, "3 cats."),
    (2.0, 2.5, "So"),
)
WANTED = [row for row in INTERVALS if row[2] not in ("", "sp")]
SRT = "\r\n".join(
    ["1", "00:00:01,000 --> 00:00:03,000", "<i>one three</i>", "", "2", "00:00:03,000 --> 00:00:04,000", "four", ""]
)
GRID = Path("alice_stim_shared") / "DownTheRabbitHoleFinal_exp120_pad_1.TextGrid"


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def long_grid(folder: Path) -> Path:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", "xmax = 2.5", "tiers? <exists> "]
    lines += ["size = 2 ", "item []: ", "    item [1]:", '        class = "TextTier" ', '        name = "marks" ']
    lines += ["        xmin = 0 ", "        xmax = 2.5 ", "        points: size = 1 ", "        points [1]:"]
    lines += [
        "            number = 1 ",
        '            mark = "x 1" ',
        "    item [2]:",
        '        class = "IntervalTier" ',
    ]
    lines += ['        name = "word" ', "        xmin = 0 ", "        xmax = 2.5 ", "        intervals: size = 6 "]
    for number, (start, stop, text) in enumerate(INTERVALS, 1):
        lines += [f"        intervals [{number}]:", f"            xmin = {start} ", f"            xmax = {stop} "]
        lines += [f"            text = {quoted(text)} "]
    (folder / "w.TextGrid").write_text("\n".join(lines))
    return folder / "w.TextGrid"


def short_grid(folder: Path) -> Path:
    lines = [
        'File type = "ooTextFile"',
        '"TextGrid"',
        "",
        "0",
        "2.5",
        "<exists>",
        "1",
        '"IntervalTier"',
        '"sounds"',
        "0",
    ]
    lines += ["2.5", "6", *(f"{start}\n{stop}\n{quoted(text)}" for start, stop, text in INTERVALS)]
    (folder / "w.TextGrid").write_text("\n".join(lines))
    return folder / "w.TextGrid"


def table(folder: Path) -> Path:
    rows = [f"{start}\t{stop - start}\t{quoted(text)}" for start, stop, text in INTERVALS]
    (folder / "w.tsv").write_text("\n".join(["onset\tduration\tword", *rows]))
    return folder / "w.tsv"


def per_tr(folder: Path) -> Path:
    rows = [["words_per_tr", "onsets_per_tr", "durations_per_tr"], ["", "", ""]]
    for part in (INTERVALS[:4], INTERVALS[4:]):
        columns = [text for *_, text in part], [start for start, *_ in part], [stop - start for start, stop, _ in part]
        rows.append([repr(column) for column in columns])
    body = ["\t".join(quoted(cell) for cell in row) for row in rows]
    (folder / "w.tsv").write_text("\n".join(body))
    return folder / "w.tsv"


@pytest.mark.parametrize("write", [long_grid, short_grid, table, per_tr])
def test_every_kind_of_transcript_gives_the_same_words(write: Callable[[Path], Path], tmp_path: Path) -> None:
    words = read_words(write(tmp_path))
    assert words.texts == tuple(text for *_, text in WANTED)
    np.testing.assert_allclose(words.onsets, [start for start, *_ in WANTED], atol=1e-12)
    np.testing.assert_allclose(words.durations, [stop - start for start, stop, _ in WANTED], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.vtt", f"WEBVTT\n\nNOTE not this\n\n{'00:01.000 --> 00:04.000'} line:1\n<v A>one three<00:03.000> four\n"),
        ("w.srt", SRT),
    ],
)
def test_words_of_subtitles_share_their_time_by_letters(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    words = read_words(tmp_path / name)
    assert words.texts == ("one", "three", "four")
    np.testing.assert_allclose(words.onsets, [1, 1.75, 3])
    np.testing.assert_allclose(words.durations, [0.75, 1.25, 1])


def test_the_words_of_alice(real_data: Path) -> None:
    words = read_words(real_data / "alice" / GRID)
    assert len(words.texts) == 2127
    assert words.texts[:4] == ("Alice", "was", "beginning", "to")
    assert 20 < words.onsets[0] < words.onsets[-1] < 744


def said(texts: str, starts: list[float] | None = None) -> Words:
    names = tuple(texts.split())
    onsets = np.arange(len(names)) * 1.0 if starts is None else np.array(starts)
    return Words(names, onsets, np.full(len(names), 0.9))


def test_features_of_words(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("word,frequency\nwent,100\nhome,0.1\n")
    words = said("Alice's went Home. He stayed", [0, 1, 2, 3, 5])
    values = word_values(words, ("rate", "length", "sentence", "frequency"), read_frequencies(tmp_path / "f.csv"))
    assert values[:, 0].tolist() == [1, 1, 1, 1, 1]
    assert values[:, 1].tolist() == [6, 4, 4, 2, 6]
    assert values[:, 2].tolist() == [1, 0, 0, 1, 1]
    np.testing.assert_allclose(values[:, 3], [-1, 2, -1, -1, -1])


@pytest.mark.parametrize(
    ("at", "onsets", "durations"),
    [("end", [11, 12], [0, 0]), ("onset", [10, 11.5], [0, 0]), ("whole", [10, 11.5], [1, 0.5])],
)
def test_when_a_word_counts(at: str, onsets: list[float], durations: list[float], tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("onset,duration,text\n0,1,a\n1.5,0.5,b\n")
    found = word_events(WordFile(str(tmp_path / "{run}.csv"), at=at, start=10.0), "one")  # type: ignore[arg-type]
    assert (found[0].tolist(), found[1].tolist()) == (onsets, durations)


@pytest.mark.parametrize(
    ("name", "text", "error", "match"),
    [
        ("w.doc", "", OptionError, "suffix of a transcript must be one of"),
        ("w.TextGrid", "nothing", DataError, "no TextGrid in text form"),
        ("w.TextGrid", f'"ooTextFile"\n"TextGrid"\n0\n1\n<exists>\n1\n{"cut off"}', DataError, "cannot be read"),
        ("w.vtt", "WEBVTT\n\nsoon --> later\nword\n", DataError, "'soon' is no time"),
        ("w.csv", "onset,duration,word\n0,1,sp\n", DataError, "must hold words; got none, of 1 intervals"),
        ("w.csv", "onset,duration,word\n2,-1,a\n", DataError, "got 2 s to 1 s for 'a'"),
        ("w.csv", "onset,word\n2,a\n", DataError, "must have the columns onset, duration and word"),
        ("w.tsv", "words_per_tr\tonsets_per_tr\tdurations_per_tr\n['a']\t['1']\t[1]\n", DataError, "others in line 2"),
        ("w.tsv", "words_per_tr\tonsets_per_tr\tdurations_per_tr\n['a', 'b']\t[1]\t[1]\n", DataError, "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(name: str, text: str, error: type[VoxelcastError], match: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=match):
        read_words(tmp_path / name)


@pytest.mark.parametrize("wrong", [{"of": ()}, {"of": ("colour",)}, {"of": ("frequency",)}, {"frequency": "f.csv"}])
def test_settings_that_do_not_go_together(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        WordFile("w.csv", **wrong)  # type: ignore[arg-type]
