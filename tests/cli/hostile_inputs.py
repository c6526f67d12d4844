"""Hostile, damaged and odd inputs, generated from a seed: each a command in a small project in which one file is bad.

`projects` writes the whole projects, `inputs` says what is done to a copy of one of them and which command is run.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import yaml
from PIL import Image

from tests.import_2021.test_convert import write_train
from tests.store.test_readers import write_matlab_73

N = 10
IDS = [f"s{k}" for k in range(N)]
ENERGY = {"name": "voxelcast/motion_energy", "layers": ["colour"], "input_size": 64}
DRY = "run x.yaml --dry-run --output out"
EXTRACT = "extract stimuli --layers colour --input-size 64 --output out"
SERIES = "run series.yaml --dry-run --output out"
Change = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Input:
    """A change to a copy of a project, and the command that meets it.

    ``same``: where the command succeeds, what it read must be what the undamaged project gives; ``refused``: it must
    not succeed; ``works``: it must.
    """

    name: str
    project: str
    change: Change
    command: str
    same: bool = False
    refused: bool = False
    works: bool = False


def responses(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N, 4))


def write_responses(folder: Path, suffix: str) -> None:
    values, path = responses(), folder / "responses" / f"ann{suffix}"
    for other in (folder / "responses").iterdir():
        other.unlink()
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".npz":
        np.savez_compressed(path, responses=values, stimulus_id=np.array(IDS))
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("responses", data=values, chunks=(5, 4), compression="gzip")
            file["stimulus_id"] = IDS
    elif suffix == ".mat":
        variables = {"responses": values, "stimulus_id": np.array(IDS, dtype=object)}
        scipy.io.savemat(path, variables, do_compression=True)
    elif suffix == ".73.mat":
        write_matlab_73(folder / "responses" / "ann.mat", values, IDS)
    else:
        rows = [
            ",".join([stimulus_id, *map(repr, map(float, row))]) for stimulus_id, row in zip(IDS, values, strict=True)
        ]
        path.write_text("\n".join(["stimulus_id,a,b,c,d", *rows]) + "\n")
    if suffix != ".npy":
        (folder / "stimulus_ids.txt").unlink(missing_ok=True)


def projects(root: Path) -> None:
    """Write a project of each kind below ``root``."""
    from voxelcast.challenges import challenge_of
    from voxelcast.datasets.registry import open_dataset
    from voxelcast.testing.miniatures import write_miniature
    from voxelcast.testing.results import write_output

    folder, rng = root / "folder", np.random.default_rng(1)
    (folder / "stimuli").mkdir(parents=True)
    (folder / "responses").mkdir()
    for stimulus_id in IDS:
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / "stimuli" / f"{stimulus_id}.png")
    (folder / "stimulus_ids.txt").write_text("\n".join(IDS) + "\n")
    write_responses(folder, ".npy")
    common: dict[str, Any] = {"name": "x", "networks": [ENERGY], "compress": {"method": "none"}, "encoders": ["ridge"]}
    plain = {**common, "dataset": {"kind": "folder", "root": "."}, "folds": {"n": 3}, "compute": {"workers": 1}}
    (folder / "x.yaml").write_text(yaml.safe_dump(plain))
    tables = {"split": ("split", ["train"] * 8 + ["test"] * 2), "groups": ("group", list("aabbccddee"))}
    (folder / "tables").mkdir()
    for name, (column, labels) in tables.items():
        rows = [f"{stimulus_id},{label}" for stimulus_id, label in zip(IDS, labels, strict=True)]
        (folder / "tables" / f"{name}.csv").write_text("\n".join([f"stimulus_id,{column}", *rows]) + "\n")
    (folder / "tables" / "rois.csv").write_text("voxel,roi\n0,V1\n1,V1\n3,V2\n")
    squares = np.corrcoef(rng.standard_normal((3, N, 20)).reshape(3 * N, 20))[:N, :N]
    np.save(folder / "rdms.npy", np.stack([1 - squares, 1 - squares]))
    rsa = {"name": "r", "stimuli": "stimuli", "rdms": "rdms.npy", "networks": [ENERGY], "interval": {"resamples": 100}}
    (folder / "rsa.yaml").write_text(yaml.safe_dump(rsa))
    (folder / "profile.yaml").write_text("scheduler: local\n")
    write_train(folder / "train.json")
    (folder / "classes.json").write_text('{"a": 0}')
    (folder / "classes" / "a").mkdir(parents=True)
    (folder / "classes" / "a" / "x.png").write_bytes((folder / "stimuli" / "s0.png").read_bytes())

    series = root / "series"
    series.mkdir()
    for run in ("run1", "run2", "run3"):
        np.save(series / f"ann_{run}_bold.npy", rng.standard_normal((30, 3)))
        events = "".join(f"{4 * k}\t2\t{'face' if k % 2 else 'None'}\n" for k in range(10))
        (series / f"{run}_events.tsv").write_text(f"onset\tduration\ttrial_type\n{events}")
        rows = "".join(f"{'n/a' if k == 0 else k * 0.1}\t{k % 3}\n" for k in range(30))
        (series / f"ann_{run}_motion.tsv").write_text(f"dx\tx\n{rows}")
    dataset = {"kind": "time_series", "root": ".", "bold": "{subject}_{run}_bold.npy", "tr": 2.0}
    dataset |= {"events": "{run}_events.tsv", "nuisance": "{subject}_{run}_motion.tsv", "drift": "none"}
    plain = {
        **common,
        "dataset": dataset,
        "features": ["conditions"],
        "delays": [1, 2],
        "folds": {"n": 3, "by": "group"},
    }
    del plain["networks"]
    (series / "series.yaml").write_text(yaml.safe_dump(plain))

    write_output(root / "results" / "one")
    write_output(root / "results" / "two", name="other", seed=1)

    mini = open_dataset(write_miniature("algonauts2021", root / "mini"))
    challenge = challenge_of([mini])
    shapes = challenge.shapes([mini], challenge.track([mini]))
    arrays = {part: rng.standard_normal(shape).astype(np.float32) for part, shape in shapes.items()}
    challenge.write_arrays(arrays, shapes, root / "submission")


# --- ways of damaging a file ---


def cut(path: str) -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        data = (folder / path).read_bytes()
        (folder / path).write_bytes(data[: rng.randrange(len(data))])

    return change


def flip(path: str) -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        data = bytearray((folder / path).read_bytes())
        for _ in range(rng.choice([1, 1, 1, 8])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (folder / path).write_bytes(data)

    return change


def garbage(path: str) -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        data = (folder / path).read_bytes()
        start = rng.randrange(len(data) + 1)
        (folder / path).write_bytes(data[:start] + rng.randbytes(rng.choice([1, 7, 600])) + data[start:])

    return change


def hole(path: str) -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        data = bytearray((folder / path).read_bytes())
        start = rng.randrange(len(data))
        data[start : start + 16] = bytes(len(data[start : start + 16]))
        (folder / path).write_bytes(data)

    return change


def content(path: str, data: bytes | str) -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data if isinstance(data, bytes) else data.encode())

    return change


def instead(path: str, kind: str) -> Change:
    """Put something else than a file: a pipe, a folder, a link to nothing, in a circle, or to a device."""

    def change(folder: Path, rng: random.Random) -> None:
        there = folder / path
        there.unlink(missing_ok=True)
        there.parent.mkdir(parents=True, exist_ok=True)
        if kind == "pipe":
            os.mkfifo(there)
        elif kind == "folder":
            there.mkdir()
        else:
            there.symlink_to({"dangling": "nowhere", "circle": there.name, "device": "/dev/zero"}[kind])

    return change


def both(*changes: Change) -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        for one in changes:
            one(folder, rng)

    return change


def _with(suffix: str) -> Change:
    return lambda folder, rng: write_responses(folder, suffix)


def _table(name: str) -> Change:
    return lambda folder, rng: (folder / "tables" / name).rename(folder / name) and None


def _zipped(folder: Path, rng: random.Random) -> None:
    with zipfile.ZipFile(folder / "stimuli.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((folder / "stimuli").iterdir()):
            archive.write(path, path.name)
            path.unlink()
    (folder / "stimuli").rmdir()


def _setting(key: str, value: Any, file: str = "x.yaml") -> Change:
    def change(folder: Path, rng: random.Random) -> None:
        plain = yaml.safe_load((folder / file).read_text())
        *parents, last = key.split(".")
        here = plain
        for part in parents:
            here = here.setdefault(part, {})
        here[last] = value
        (folder / file).write_text(yaml.safe_dump(plain))

    return change


DAMAGES: dict[str, Callable[[str], Change]] = {"cut": cut, "flip": flip, "garbage": garbage, "hole": hole}
ODD_VALUES = (
    None,
    -1,
    [],
    {},
    "",
    "x",
    1e308,
    float("nan"),
    [[1]],
    True,
    {"a": {"b": 1}},
    10**30,
    "\u0661",
    "~",
    "../x",
)
ODD_TEXTS = (
    "",
    "\0",
    "\ufeff",
    "a,b\n",
    "\xff\xfe",
    "stimulus_id,split\n",
    "=1+1,x\n",
    "s0\n" * 3,
    '"',
    "\n\n\n",
    ",,,\n,,\n",
)


def inputs() -> Iterator[Input]:
    """Yield every input, each time the same; first the whole projects, which must work."""
    rsa, mini = "rsa rsa.yaml --output out", "--dataset algonauts2021:MINI"
    for project, command in (
        ("folder", DRY),
        ("folder", EXTRACT),
        ("folder", rsa),
        ("folder", f"{DRY} --on profile.yaml"),
        ("folder", "import-2021 train.json --output out.yaml"),
        ("series", SERIES),
        ("results", "report one two --output out.html"),
        ("submission", f"submission check mini_track.zip {mini}"),
        ("submission", f"submission check mini_track.pkl {mini}"),
    ):
        yield Input(f"whole {project}", project, lambda folder, rng: None, command, works=True)
    for suffix in (".npy", ".npz", ".h5", ".mat", ".73.mat", ".csv"):
        yield Input(f"whole {suffix}", "folder", _with(suffix), DRY, same=True, works=True)
    yield Input("whole zip", "folder", _zipped, EXTRACT.replace("stimuli", "stimuli.zip", 1), same=True, works=True)
    yield from _settings()
    yield from _responses()
    yield from _tables()
    yield from _stimuli()
    yield from _rsa_and_submissions()
    yield from _results_and_others()
    yield from _specials()
    yield from _outputs_and_names()


def _settings() -> Iterator[Input]:
    for k in range(30):
        for name in ("cut", "flip"):
            yield Input(f"settings {name} {k}", "folder", DAMAGES[name]("x.yaml"), DRY)
    keys = (
        "name",
        "dataset",
        "dataset.root",
        "dataset.responses",
        "dataset.axes",
        "networks",
        "frames",
        "compress.method",
        "encoders",
        "folds.n",
        "compute.workers",
        "search",
        "interval",
        "nmae",
    )
    for k, key in enumerate(keys):
        for j, value in enumerate(ODD_VALUES):
            if (j + k) % 3 == 0:
                yield Input(f"setting {key}={value!r}"[:60], "folder", _setting(key, value), DRY)
    for text in ("a: 1\na: 2", "[" * 3000, "a: &a [*a]", "- 1", "!!python/object:os.x {}", "\x07", "{", "? [1]\n: 2"):
        yield Input(f"settings {text[:20]!r}", "folder", content("x.yaml", text), DRY, refused=True)


def _responses() -> Iterator[Input]:
    for suffix in (".npy", ".npz", ".h5", ".mat", ".73.mat", ".csv"):
        path = f"responses/ann{suffix.removeprefix('.73')}"
        for name, damage in DAMAGES.items():
            # What has no check sum cannot tell a changed number; there only what changes the structure counts.
            packed = suffix in (".npz", ".mat") or (name == "cut" and suffix != ".csv")
            for k in range(5):
                change = both(_with(suffix), damage(path))
                yield Input(f"responses {suffix} {name} {k}", "folder", change, DRY, same=packed)
    arrays: dict[str, Any] = {
        "objects": np.array([{}] * N, dtype=object),
        "complex": np.ones((N, 4), complex),
        "text": np.full((N, 4), "a"),
        "empty": np.zeros((0, 4)),
        "3-D": np.zeros((N, 1, 4)),
        "swapped": np.ones((4, N)),
        "fields": np.zeros(N, "i4,f8"),
        "infinite": np.full((N, 4), np.inf),
        "NaN": np.full((N, 4), np.nan),
        "dates": np.zeros((N, 4), "M8[s]"),
    }
    for name, values in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=True)
        yield Input(
            f"responses {name}",
            "folder",
            content("responses/ann.npy", buffer.getvalue()),
            DRY,
            refused=name not in ("NaN", "infinite"),
        )
    for cell in ("error", "1_000", "0,5", "inf", "\u0661", "0x1", "NA", "--1"):
        text = f"stimulus_id,a,b,c,d\n{''.join(f'{i},1,2,3,4{chr(10)}' for i in IDS)}".replace("s3,1", f'"s3","{cell}"')
        change = both(_with(".csv"), content("responses/ann.csv", text))
        yield Input(f"cell {cell}", "folder", change, DRY, refused=True)


def _tables() -> Iterator[Input]:
    for table in ("split.csv", "groups.csv", "rois.csv"):
        for name in ("cut", "flip", "garbage"):
            for k in range(4):
                yield Input(f"{table} {name} {k}", "folder", both(_table(table), DAMAGES[name](table)), DRY)
        for k, text in enumerate(ODD_TEXTS):
            yield Input(f"{table} text {k}", "folder", content(table, text), DRY, refused=True)
    for k, text in enumerate(ODD_TEXTS):
        yield Input(f"ids text {k}", "folder", content("stimulus_ids.txt", text), DRY, refused=True)
    for name in ("cut", "flip", "garbage"):
        for k in range(4):
            yield Input(f"ids {name} {k}", "folder", DAMAGES[name]("stimulus_ids.txt"), DRY, same=True)
            for file in ("run1_events.tsv", "ann_run2_motion.tsv"):
                yield Input(f"{file} {name} {k}", "series", DAMAGES[name](file), SERIES)
    for cell in ("error", "0,1", "1_0", "inf", "None", "NA", "\u0663", "1e999"):
        for column in ("dx", "x"):
            rows = "".join(
                f"{cell if k == 5 and column == 'dx' else k}\t{cell if k == 7 and column == 'x' else k % 3}\n"
                for k in range(30)
            )
            yield Input(
                f"nuisance {cell} {column}",
                "series",
                content("ann_run1_motion.tsv", f"dx\tx\n{rows}"),
                SERIES,
                refused=True,
            )
    packed = gzip.compress(b"dx\tx\n" + b"1\t2\n" * 30)
    for k in range(0, len(packed), 5):
        damaged = packed[:k] + bytes([packed[k] ^ 4]) + packed[k + 1 :]
        change = both(
            *(content(f"ann_run{run}_motion.tsv.gz", data) for run, data in ((1, damaged), (2, packed), (3, packed))),
            _setting("dataset.nuisance", "{subject}_{run}_motion.tsv.gz", "series.yaml"),
        )
        yield Input(f"packed nuisance {k}", "series", change, SERIES, refused=not 3 <= k < 10)


def _stimuli() -> Iterator[Input]:
    for name, damage in DAMAGES.items():
        for k in range(4):
            yield Input(f"picture {name} {k}", "folder", damage("stimuli/s3.png"), f"{EXTRACT} --broken-stimuli skip")
            zipped = both(_zipped, damage("stimuli.zip"))
            yield Input(f"zip {name} {k}", "folder", zipped, EXTRACT.replace("stimuli", "stimuli.zip", 1), same=True)
            weights = content("w.pth", random.Random(k).randbytes(500) if name == "cut" else b"PK\x03\x04" + bytes(99))
            command = "extract stimuli --network torchvision/resnet18 --weights w.pth --output out"
            yield Input(f"weights {name} {k}", "folder", both(weights, damage("w.pth")), command, refused=True)


def _rsa_and_submissions() -> Iterator[Input]:
    rsa = "rsa rsa.yaml --output out"
    for name in ("cut", "garbage", "hole"):
        for k in range(3):
            yield Input(f"rdms {name} {k}", "folder", DAMAGES[name]("rdms.npy"), rsa, refused=name != "hole")
    ones = np.ones((2, N, N))
    for name, squares in (("similar", ones), ("NaN", np.nan * ones), ("one", ones[0]), ("uneven", ones * np.arange(N))):
        buffer = io.BytesIO()
        np.save(buffer, squares)
        yield Input(f"rdms {name}", "folder", content("rdms.npy", buffer.getvalue()), rsa, refused=True)
    for file in ("mini_track.pkl", "mini_track.zip"):
        for name, damage in DAMAGES.items():
            for k in range(8):
                command = f"submission check {file} --dataset algonauts2021:MINI"
                yield Input(f"{file} {name} {k}", "submission", damage(file), command)
    for k, data in enumerate(
        (
            b"cos\nsystem\n(S'touch hacked'\ntR.",
            b"\x80\x04" + b"]" * 10**5,
            b"\x80\x04\x8e" + b"\xff" * 8,
            b"\x80\x02](" + b"\x86q\x00h\x00" * 60,
            b"\x80\x04K\x01K\x02" + b"\x86\x94h\x00" * 70 + b".",
        ),
        1,
    ):
        command = "submission check mini_track.pkl --dataset algonauts2021:MINI"
        yield Input(f"pickle {k}", "submission", content("mini_track.pkl", data), command, refused=True)


def _results_and_others() -> Iterator[Input]:
    for file in ("scores.csv", "config.yaml", "notes.json", "provenance.json", "search.csv", "voxels/sub01_V1.npz"):
        for name in ("cut", "hole"):
            for k in range(2):
                yield Input(
                    f"report {file} {name} {k}",
                    "results",
                    DAMAGES[name](f"one/{file}"),
                    "report one two --output out.html",
                )
    for k, text in enumerate(
        ("", "{", "[]", '{"event": 1}', '{"event": "begin"}', "\xff", "1\n2\n", '{"event": "stage"}')
    ):
        yield Input(f"journal {k}", "results", content("one/progress.jsonl", text), "status one", refused=True)
    for name in ("cut", "flip"):
        for k in range(5):
            yield Input(
                f"2021 {name} {k}", "folder", DAMAGES[name]("train.json"), "import-2021 train.json --output out.yaml"
            )
            yield Input(f"profile {name} {k}", "folder", DAMAGES[name]("profile.yaml"), f"{DRY} --on profile.yaml")
            command = "networks validate voxelcast/motion_energy classes --classes classes.json"
            yield Input(f"classes {name} {k}", "folder", DAMAGES[name]("classes.json"), command, refused=True)
    for command in (
        "networks layers nothing",
        "networks list [",
        "datasets show x",
        "datasets check folder nowhere",
        "datasets check algonauts2021 .",
        "datasets check folder . axes=[x]",
        "encoders list \u0661",
        "datasets metadata folder . --output out.csv",
        "run nothing.yaml",
        "run .",
        "extract nowhere --output out",
        "score nothing --dataset folder:.",
        "score . --dataset folder:.",
        "maps .",
        "maps nothing",
        "view nothing",
        "status .",
        "submission make . --dataset folder:.",
        "simulate x.yaml",
        "demo x.yaml",
        "report nothing",
        "execution check nothing",
        "rsa x.yaml",
        "import-2021 stimuli",
        "datasets simulate folder . --small",
        "simulate out --driver x",
        "simulate out --subjects -1",
        "extract stimuli --layers zzz --output out",
        "run x.yaml a",
        "run x.yaml =1",
        "run x.yaml networks.7.name=x",
        "run x.yaml folds.n=[",
        "score submission --dataset x:y",
        "run ~nobody/x.yaml",
        "view x.yaml",
    ):
        yield Input(f"command {command}", "folder", lambda folder, rng: None, command, refused="list" not in command)


def _specials() -> Iterator[Input]:
    files = {
        "x.yaml": DRY,
        "responses/ann.npy": DRY,
        "stimulus_ids.txt": DRY,
        "split.csv": DRY,
        "rois.csv": DRY,
        "rdms.npy": "rsa rsa.yaml --output out",
        "stimuli/s4.png": EXTRACT,
        "train.json": "import-2021 train.json",
        "profile.yaml": "run x.yaml --output out --on profile.yaml",
        "stimuli.zip": EXTRACT.replace("stimuli", "stimuli.zip", 1),
        "classes.json": "networks validate voxelcast/motion_energy classes --classes classes.json",
        "w.pth": "extract stimuli --network torchvision/resnet18 --weights w.pth --output out",
    }
    for file, command in files.items():
        for kind in ("pipe", "folder", "dangling", "circle", "device"):
            # A stimulus that is no file is none of the stimuli, as any other that is not there.
            yield Input(f"{file} {kind}", "folder", instead(file, kind), command, refused=file != "stimuli/s4.png")


def _outputs_and_names() -> Iterator[Input]:
    theirs = {
        "out/notes.txt": "mine",
        "out/config.yaml": "name: mine",
        "out/settings.json": "{}",
        "out/scores.csv": "a\n",
    }
    for path, text in theirs.items():
        for command in (
            "run x.yaml --output out",
            EXTRACT,
            "rsa rsa.yaml --output out",
            "datasets simulate folder out --small",
        ):
            yield Input(f"{path} {command.split()[0]}", "folder", content(path, text), command, refused=True)
    for command in (
        "import-2021 train.json --output mine.txt",
        "execution init slurm --output mine.txt",
        "run x.yaml --output mine.txt",
        f"{EXTRACT}.txt",
        "rsa rsa.yaml --output mine.txt",
    ):
        command = command.replace("out.txt", "mine.txt")
        yield Input(f"mine.txt {command.split()[0]}", "folder", content("mine.txt", "mine"), command, refused=True)
    yield Input(
        "mine.html report", "results", content("mine.html", "mine"), "report one two --output mine.html", refused=True
    )
    names = (
        "=cmd",
        "-1",
        "@x",
        "a b",
        "caf\u00e9",
        "cafe\u0301",
        "x" * 200,
        "'",
        '"',
        "a,b",
        "\u202e",
        "\x1b[2J",
        "nan",
        "0001",
        "1e3",
        "\n",
    )
    for name in names:

        def rename(folder: Path, rng: random.Random, name: str = name) -> None:
            (folder / "stimuli" / "s3.png").rename(folder / "stimuli" / f"{name}.png")

        def both_names(folder: Path, rng: random.Random, name: str = name) -> None:
            rename(folder, rng, name)
            (folder / "stimulus_ids.txt").write_text("\n".join(name if i == "s3" else i for i in IDS) + "\n")

        yield Input(f"stimulus {name[:9]!r}", "folder", rename, EXTRACT)
        yield Input(f"id {name[:9]!r}", "folder", both_names, DRY)
