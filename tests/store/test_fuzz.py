"""Readers on files that Hypothesis makes: each is read, or refused in one line, and what has a check sum never changes.

``VOXELCAST_FUZZ`` is the number of examples of each reader, ``--hypothesis-seed`` begins elsewhere.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.test_readers import write_matlab_73
from voxelcast.core.errors import VoxelcastError
from voxelcast.datasets.design import read_events, read_nuisance
from voxelcast.datasets.readers.brain_images import open_image
from voxelcast.datasets.readers.matlab import read_matlab
from voxelcast.datasets.readers.pickles import load_boxed_dict, load_pickle
from voxelcast.datasets.readers.rdm_files import read_rdms
from voxelcast.datasets.tables import read_ids
from voxelcast.execution.status import read_status
from voxelcast.import_2021.draft import read_2021
from voxelcast.networks.checkpoints import read_checkpoint
from voxelcast.networks.families.tensor_bundle import read_bundle
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.store.readers.arrays import open_npy, read_npz
from voxelcast.store.readers.hdf5 import read_hdf5
from voxelcast.store.readers.plain import parse_yaml, read_json, read_yaml
from voxelcast.store.readers.tables import read_table

N_EXAMPLES = int(os.environ.get("VOXELCAST_FUZZ", "40"))
VALUES = np.random.default_rng(0).standard_normal((6, 5))
NAMES = ["a", "b", "c", "d", "e", "f"]

fuzzed = settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    database=None,
    derandomize="VOXELCAST_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Reader:
    """A reader, a file that it reads, whether that has a check sum, and its share of the number of examples."""

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Any]
    checked: bool = False
    share: float = 1.0


def saved(save: Callable[..., None], *arguments: Any, **arrays: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            save(file, *arguments, **arrays)

    return write


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            archive.writestr(f"{name}.png", name.encode() * 200)


def write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=VALUES, chunks=(2, 5), compression="gzip", fletcher32=True)


def write_matlab(path: Path) -> None:
    scipy.io.savemat(path, {"x": VALUES, "i": np.array(NAMES, dtype=object)}, do_compression=True)


def write_brain(suffix: str) -> Callable[[Path], None]:
    """Write 6 maps of 30 voxels: a volume, grayordinates, or a surface."""
    maps = np.random.default_rng(1).standard_normal((6, 30)).astype(np.float32)
    if suffix == ".nii":
        image = nib.Nifti1Image(maps.T.reshape(5, 3, 2, 6), np.eye(4))
    elif suffix == ".dtseries.nii":
        model = nib.cifti2.BrainModelAxis.from_mask(np.ones(30), name="thalamus_left")
        image = nib.Cifti2Image(maps, (nib.cifti2.SeriesAxis(0, 2, 6), model))
    else:
        image = nib.gifti.GiftiImage(darrays=[nib.gifti.GiftiDataArray(row) for row in maps])
    data = image.to_bytes()
    return lambda path: path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data) and None


def read_brain(path: Path) -> np.ndarray:
    image = open_image(path)
    image.geometry.shown()
    return image.read(np.arange(0, image.n_voxels, 2))[0]


CONTENT = {"train": VALUES, "names": NAMES, "more": (1, 2.5, None, {"k": b"bytes"}, {1, 2}, VALUES.astype("f4"))}
EVENTS = "onset\tduration\ttrial_type\n" + "".join(f"{4 * k}\t2\tface\n" for k in range(8))
NUISANCE = "dx\tx\n" + "n/a\t1\n" + "".join(f"{k * 0.5}\t{k}\n" for k in range(9))
JOURNAL = "\n".join(
    json.dumps({"time": 1.0, **line})
    for line in (
        {"event": "begin", "root": "/nowhere", "engine": "local", "stages": {"fit": 2.0}},
        {"event": "stage", "what": "fit", "steps": ["fit/a-1"], "units": [1]},
        {"event": "lost", "step": "fit/a-1", "reason": "x"},
        {"event": "end", "how": "stopped"},
    )
)
READERS = [
    Reader("a.npy", saved(np.save, VALUES), lambda path: open_npy(path, "array")),
    Reader("mapped.npy", saved(np.save, VALUES), lambda path: np.array(open_npy(path, "array", mapped=True))),
    Reader("a.npz", saved(np.savez, x=VALUES), lambda path: list(read_npz(path, "arrays").values()), True),
    Reader("packed.npz", saved(np.savez_compressed, x=VALUES), lambda p: list(read_npz(p, "arrays").values()), True),
    Reader("a.h5", write_hdf5, lambda path: read_hdf5(path, "arrays", ("x",)), share=0.2),
    Reader("5.mat", write_matlab, lambda path: read_matlab(path, "arrays", ("x", "i")), True),
    Reader("73.mat", lambda path: write_matlab_73(path, VALUES, NAMES),
           lambda path: read_matlab(path, "arrays", ("responses", "stimulus_id")), share=0.2),
    Reader("rdms.npz", saved(np.savez, rdms=np.abs(np.subtract.outer(range(6), range(6)))[None], stimulus_id=NAMES),
           lambda path: read_rdms(path, NAMES), True),
    Reader("t.csv", text("id,x\na,1\nb,2.5\n"), lambda path: read_table(path, ("id", "x")).numbers(["x"])),
    Reader("t.tsv.gz", lambda p: p.write_bytes(gzip.compress(NUISANCE.encode())) and None,
           lambda path: read_nuisance(path, 10, None), True),
    Reader("e.tsv", text(EVENTS), lambda path: read_events(path, 100.0)),
    Reader("n.tsv", text(NUISANCE), lambda path: read_nuisance(path, 10, None)),
    Reader("n.txt", text("1 2 # x\n3 4\n" * 5), lambda path: read_nuisance(path, 10, None)),
    Reader("ids.txt", text("\n".join(NAMES)), read_ids),
    Reader("f.json", text(json.dumps({"a": [1, 2.5, None], "b": {"c": "d"}})), lambda path: read_json(path, "note")),
    Reader("f.yaml", text("a: &x {b: 1}\nc: [*x, 2, 'd']\ne: |\n  text\n"), lambda path: read_yaml(path, "settings")),
    Reader("2021.json", text('{"a": {# comment\n"b": 1}}'), read_2021),
    *(Reader(f"{protocol}.pkl", saved(lambda f, p: pickle.dump(CONTENT, f, p), protocol), load_pickle)
      for protocol in range(6)),
    Reader("box.npy", saved(np.save, np.array(CONTENT, dtype=object)), load_boxed_dict),
    Reader("s.zip", write_zip, lambda path: [one.read_bytes() for one in list_stimuli(path)], True),
    Reader("progress.jsonl", text(JOURNAL), lambda path: read_status(path.parent)),
    *(Reader(f"b{end}", write_brain(end.removesuffix(".gz")), read_brain, end.endswith(".gz"))
      for end in (".nii", ".nii.gz", ".dtseries.nii", ".dtseries.nii.gz", ".func.gii")),
    Reader("w.pth", lambda path: torch.save({"a.weight": torch.zeros(3, 2)}, path), read_checkpoint),
    Reader("w.index", lambda path: path.write_bytes(bytes(range(256))) and None, read_bundle),
]  # fmt: skip


@cache
def whole(name: str, folder: Path) -> tuple[bytes, Any]:
    """Bytes of the undamaged file of a reader, and what is read from it."""
    reader = next(reader for reader in READERS if reader.name == name)
    path = folder / name
    reader.write(path)
    return path.read_bytes(), reader.read(path) if reader.checked else None


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "cut", "insert", "delete", "zero", "copy"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=9),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[str, float, bytes, float]]) -> bytes:
    for kind, share, new, other in edits:
        place = int(share * len(data))
        if kind == "cut":
            data = data[:place]
        elif kind == "insert":
            data = data[:place] + new + data[place:]
        elif kind == "copy":
            start = int(other * len(data))
            data = data[:place] + data[start : start + 40] + data[place:]
        else:
            size = {"set": len(new), "zero": 4 * len(new), "delete": 3 * len(new)}[kind]
            middle = {"set": new, "zero": bytes(size), "delete": b""}[kind]
            data = data[:place] + middle + data[place + size :]
    return data


def attempt(read: Callable[[], Any]) -> Any:
    """Return what is read; of a refusal None, but hold it to its form."""
    try:
        return read()
    except VoxelcastError as error:
        said = str(error)
        assert "\n" not in said
        assert 10 < len(said) < 2000
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_edited_files(reader: Reader, folder: Path) -> None:
    data, right = whole(reader.name, folder)

    @settings(fuzzed, max_examples=max(10, int(reader.share * N_EXAMPLES)))
    @given(EDITS)
    def run(edits: list[tuple[str, float, bytes, float]]) -> None:
        path = folder / reader.name
        path.unlink()
        path.write_bytes(edited(data, edits))
        found = attempt(lambda: reader.read(path))
        if found is not None and reader.checked:
            check_part(found, right)

    run()


def check_part(found: Any, right: Any) -> None:
    """Hold what was read to the truth, of which some named parts may be missing: a name has no check sum."""
    if isinstance(found, dict):
        for name, value in found.items():
            check_part(value, right[name])
    elif isinstance(found, list):
        assert len(found) <= len(right)
        for value in found:
            assert any(np.array_equal(value, other) for other in right)
    else:
        np.testing.assert_array_equal(found, right)


OPCODES = [
    bytes([code]) for code in b"().012NQRabcdeghijlopqrstu}]\x80\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94\x97\x98"
]
ARGUMENTS = [
    b"I5\n", b"F1e9\n", b"K\x07", b"J\xff\xff\xff\x7f", b"\x8a\x02\x01\x02", b"X\x03\x00\x00\x00abc", b"U\x02ab",
    b"C\x03xyz", b"\x8c\x04name", b"T\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"q\x00", b"q\x01", b"h\x00", b"h\x01",
    b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cbuiltins\nset\n",
    b"cbuiltins\nfrozenset\n", b"cbuiltins\nbytearray\n", b"cbuiltins\ncomplex\n", b"c_codecs\nencode\n",
    b"cnumpy.core.numeric\n_frombuffer\n", b"cnumpy.core.multiarray\nscalar\n", b"cnibabel.nifti1\nNifti1Image\n",
    b"cos\nsystem\n", b"Vf8\n", b"Vlatin1\n", b"S'b'\n", b"X\x02\x00\x00\x00f8", b"\x96\x04" + bytes(7) + b"abcd",
]  # fmt: skip


@pytest.mark.slow
def test_pickles_of_any_opcodes(folder: Path) -> None:
    path = folder / "opcodes.pkl"

    @settings(fuzzed, max_examples=10 * N_EXAMPLES)
    @given(st.lists(st.sampled_from([*OPCODES, *ARGUMENTS]), max_size=40))
    def run(parts: list[bytes]) -> None:
        path.write_bytes(b"".join(parts) + b".")
        attempt(lambda: load_pickle(path))

    run()


@pytest.mark.slow
def test_text_of_any_signs(folder: Path) -> None:
    signs = st.text(st.sampled_from(list("ab01.-:,#&*!|>'\"[]{}%@`?~<= \t\r\n\\\u0661\u2028\x85\ufeff")), max_size=60)

    @settings(fuzzed, max_examples=10 * N_EXAMPLES)
    @given(signs)
    def run(content: str) -> None:
        with_names = (folder / "any.csv", folder / "any.tsv", folder / "any.json", folder / "any.txt")
        for path in with_names:
            path.write_bytes(content.encode())
        attempt(lambda: read_table(with_names[0]))
        attempt(lambda: read_nuisance(with_names[1], 3, None))
        attempt(lambda: read_json(with_names[2], "note"))
        attempt(lambda: read_ids(with_names[3]))
        attempt(lambda: parse_yaml(content, "any.yaml"))

    run()


@pytest.mark.slow
def test_npy_heads_of_any_claim(folder: Path) -> None:
    path = folder / "claim.npy"
    sizes = st.lists(st.one_of(st.integers(-2, 2**70), st.booleans()), max_size=4).map(tuple)
    kinds = st.sampled_from(
        ["<f8", "|O", "|V0", "<U0", "<U999999999", "|S1", "<M8[s]", "<c16", ">i2", "x", [("a", "<f8")]]
    )

    @settings(fuzzed, max_examples=10 * N_EXAMPLES)
    @given(sizes, kinds, st.booleans(), st.integers(0, 64))
    def run(shape: tuple[int, ...], kind: Any, fortran: bool, n_bytes: int) -> None:
        head = repr({"descr": kind, "fortran_order": fortran, "shape": shape}).encode().ljust(118)
        path.unlink(missing_ok=True)
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(n_bytes))
        attempt(lambda: open_npy(path, "array"))
        attempt(lambda: open_npy(path, "array", mapped=True))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("x.npy", path.read_bytes())
        (folder / "claim.npz").write_bytes(buffer.getvalue())
        attempt(lambda: read_npz(folder / "claim.npz", "arrays"))

    run()
