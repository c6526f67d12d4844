"""What an experiment left, as it is recorded, and how two records are compared."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).with_name("recorded")
ARRAYS = "arrays.npz"
TEXTS = ("*.csv", "notes.json", "ceiling.json", "predictions/*.csv")
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\binf\b|\bnan\b)")
NOT_COMPARED = {"progress.csv", "stimulus_scores.csv", "thumbnails.npz"}  # the last two are younger than the records


@dataclass(frozen=True)
class Record:
    """Texts by file, and arrays by file (of an archive ``FILE:NAME``)."""

    texts: dict[str, str]
    arrays: dict[str, np.ndarray]


def read_output(output: Path) -> Record:
    """Gather what an experiment left but reports, pictures, and what tells the time."""
    texts = {
        path.relative_to(output).as_posix(): path.read_text()
        for pattern in TEXTS
        for path in sorted(output.glob(pattern))
        if path.name not in NOT_COMPARED
    }
    arrays: dict[str, np.ndarray] = {}
    for path in sorted(path for path in output.rglob("*") if path.suffix in (".npy", ".npz", ".zip")):
        name = path.relative_to(output).as_posix()
        if name.startswith(("steps/", "features/")) or path.name in NOT_COMPARED:
            continue
        if path.suffix == ".npy":
            arrays[name] = np.load(path)
        elif path.suffix == ".npz":
            with np.load(path) as archive:
                arrays |= {_array_name(name, member): archive[member] for member in archive.files}
        else:
            with zipfile.ZipFile(path) as submitted:
                texts[name] = "".join(f"{member}\n" for member in sorted(submitted.namelist()))
    return Record(texts, arrays)


def _array_name(file: str, member: str) -> str:
    """Name an array; those of examples as they were recorded, when each subject x ROI had a file of its own."""
    pair, _, name = member.partition("/")
    return f"examples/{pair}.npz:{name}" if file == "examples.npz" else f"{file}:{member}"


def read_record(name: str) -> Record:
    """Read what was recorded of an experiment; empty if nothing was."""
    folder = RECORDED / name
    texts = {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ARRAYS
    }
    arrays: dict[str, np.ndarray] = {}
    if (folder / ARRAYS).is_file():
        with np.load(folder / ARRAYS) as archive:
            arrays = {member: archive[member] for member in archive.files}
    return Record(texts, arrays)


def write_record(name: str, record: Record) -> None:
    """Write what an experiment left in the place of what was recorded."""
    folder = RECORDED / name
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for file, text in record.texts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / ARRAYS, **record.arrays)


def differences(recorded: Record, found: Record, tolerance: float, *, same_bytes: bool = False) -> list[str]:
    """Say what differs: for each file its first cell, what was recorded and what was found.

    Text between numbers must be the same; numbers may differ by ``tolerance * max(1, |recorded|)``, or not at all where
    ``same_bytes``.
    """
    said = []
    for kind, before, now in (
        ("file", recorded.texts, found.texts),
        ("array", recorded.arrays, found.arrays),
    ):
        said += [f"{name}: this {kind} was recorded and is not there" for name in before if name not in now]
        said += [f"{name}: this {kind} is there and was not recorded" for name in now if name not in before]
    allowed = None if same_bytes else tolerance
    for name in recorded.texts.keys() & found.texts.keys():
        said += _first(name, _text_differences(name, recorded.texts[name], found.texts[name], allowed))
    for name in recorded.arrays.keys() & found.arrays.keys():
        said += _first(name, _array_differences(recorded.arrays[name], found.arrays[name], allowed))
    return sorted(said)


def _first(name: str, found: Iterator[str]) -> list[str]:
    first = next(found, None)
    if first is None:
        return []
    others = sum(1 for _ in found)
    return [f"{name}: {first}{f' (and {others} more)' if others else ''}"]


def _text_differences(name: str, before: str, now: str, allowed: float | None) -> Iterator[str]:
    if before == now:
        return
    a, b = (_cells(name, text) for text in (before, now))
    for place in a.keys() | b.keys():
        if place not in a or place not in b:
            yield f"{place}: recorded {a.get(place, 'nothing')!r}, found {b.get(place, 'nothing')!r}"
            return
    different = [place for place in a if not _same_cell(a[place], b[place], allowed)]
    yield from (f"{place}: recorded {a[place]!r}, found {b[place]!r}" for place in different)
    if allowed is None and not different:
        yield "the bytes differ, though no cell does"


def _cells(name: str, text: str) -> dict[str, str]:
    """Take a table or JSON apart into cells by their places."""
    if name.endswith(".json"):
        return dict(_json_cells(json.loads(text), "value"))
    if not name.endswith(".csv"):
        return {f"line {number}": line for number, line in enumerate(text.splitlines(), 1)}
    header, *rows = list(csv.reader(io.StringIO(text))) or [[]]
    cells = {f"header {number}": name for number, name in enumerate(header, 1)}
    for number, row in enumerate(rows, 1):
        columns = [*header, *map(str, range(len(header), len(row)))]
        cells |= {f"row {number}, {column}": cell for column, cell in zip(columns, row, strict=False)}
    return cells


def _json_cells(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _json_cells(part, f"{place}.{key}")
    elif isinstance(value, list):
        yield f"{place}, length", str(len(value))
        for number, part in enumerate(value):
            yield from _json_cells(part, f"{place}.{number}")
    else:
        yield place, str(value)


def _same_cell(before: str, now: str, allowed: float | None) -> bool:
    if before == now:
        return True
    if allowed is None or NUMBER.sub("#", before) != NUMBER.sub("#", now):
        return False
    return all(map(_near, NUMBER.findall(before), NUMBER.findall(now), [allowed] * len(before)))


def _near(before: str, now: str, allowed: float) -> bool:
    if before == now:
        return True
    if not any(mark in before + now for mark in ".eEn"):
        return False  # whole numbers are counts and places
    a, b = float(before), float(now)
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= allowed * max(1.0, abs(a))


def _array_differences(before: np.ndarray, now: np.ndarray, allowed: float | None) -> Iterator[str]:
    if before.dtype != now.dtype or before.shape != now.shape:
        yield f"recorded {before.dtype} {before.shape}, found {now.dtype} {now.shape}"
        return
    if before.tobytes() == now.tobytes():
        return
    if before.dtype.kind != "f":
        wrong = before != now
    elif allowed is None:
        unsigned = np.dtype(f"u{before.dtype.itemsize}")
        wrong = np.ascontiguousarray(before).view(unsigned) != np.ascontiguousarray(now).view(unsigned)
    else:
        with np.errstate(invalid="ignore"):
            near = np.abs(before - now) <= allowed * np.maximum(1.0, np.abs(before))
        wrong = ~(near | (before == now) | (np.isnan(before) & np.isnan(now)))
    for place in np.argwhere(wrong):
        cell = tuple(int(number) for number in place)
        yield f"{list(cell)}: recorded {before[cell]!r}, found {now[cell]!r}"
