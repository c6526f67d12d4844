"""Reading the responses of several ROIs from one compressed NIfTI file, against one plain read of that file."""

from __future__ import annotations

import gzip
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from voxelcast.core.seeds import generator
from voxelcast.datasets.readers.brain_images import import_nibabel, open_image
from voxelcast.datasets.readers.brain_masks import read_masks
from voxelcast.datasets.readers.shared_reading import SharedReading
from voxelcast.store.memory import peak_mb, resident_mb

_DISTINCT = 16  # volumes that are made; the file has them again and again


@dataclass(frozen=True)
class Reading:
    """What is read.

    Parameters
    ----------
    maps : int
        Volumes of the file.
    shape : tuple of int
        Grid; that of MNI at 2 mm by default.
    dtype : {"int16", "float32"}
        Of the values, which are smooth in time and noisy in space, as BOLD is.
    rois : tuple of int
        Numbers of ROIs to read.
    voxels : int
        Of each ROI, scattered over the grid.
    rounds : int
        How often each side reads, in turns; the fastest counts.
    plain : {"nibabel", "stream"}
        The other side: nibabel's reading of the whole array, or, for arrays that memory cannot hold, inflating the file
        and throwing the bytes away.
    """

    maps: int = 320
    shape: tuple[int, int, int] = (91, 109, 91)
    dtype: Literal["int16", "float32"] = "int16"
    rois: tuple[int, ...] = (1, 3, 9)
    voxels: int = 500
    rounds: int = 2
    plain: Literal["nibabel", "stream"] = "nibabel"


@dataclass(frozen=True)
class Side:
    """Wall and processor seconds of one reading, and the memory that it took beyond the libraries, in MB."""

    seconds: float
    cpu: float
    peak_mb: float

    def shown(self) -> str:
        """Say it in a few words."""
        return f"{self.seconds:.2f} s, {self.cpu:.2f} s of a processor, {self.peak_mb:.0f} MB"


@dataclass(frozen=True)
class ReadingBenchmark:
    """What the plain read and ours took, the latter by the number of ROIs; ``file_bytes``: size of the file."""

    reading: Reading
    file_bytes: int
    plain: Side
    ours: dict[int, Side]

    def ratio(self, n_rois: int) -> float:
        """How many times one plain read the reading of so many ROIs took, in processor time."""
        return self.ours[n_rois].cpu / self.plain.cpu

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        r = self.reading
        return [
            f"{r.maps} volumes of {' x '.join(map(str, r.shape))} {r.dtype}, {self.file_bytes / 1e6:.0f} MB compressed",
            f"plain read ({r.plain}): {self.plain.shown()}",
            *(
                f"{n} ROI of {r.voxels} voxels: {side.shown()}; {self.ratio(n):.2f} plain reads"
                for n, side in self.ours.items()
            ),
        ]


def benchmark_reading(reading: Reading, *, scratch: str | None = None) -> ReadingBenchmark:
    """Write a file with masks and read it in both ways, each time in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="voxelcast-benchmark-", dir=scratch) as folder:
        path = Path(folder) / "bold.nii.gz"
        _write(path, reading)
        plain: list[Side] = []
        ours: dict[int, list[Side]] = {n: [] for n in reading.rois}
        for _ in range(reading.rounds):
            plain.append(_apart(_read_plain, path, reading))
            for n in reading.rois:
                ours[n].append(_apart(_read_rois, path, n))
        return ReadingBenchmark(
            reading, path.stat().st_size, _best(plain), {n: _best(sides) for n, sides in ours.items()}
        )


def _write(path: Path, reading: Reading) -> None:
    nibabel, draws = import_nibabel(), generator(0, "benchmark", "reading")
    header = nibabel.Nifti1Header()
    header.set_data_dtype(reading.dtype)
    header.set_data_shape((*reading.shape, reading.maps))
    header.set_sform(np.diag([2.0, 2, 2, 1]), 4)
    header["scl_slope"], header["vox_offset"] = 1, 352
    base = draws.normal(1000, 200, reading.shape[::-1])  # the file has the first axis fastest
    volumes = ((base + draws.normal(0, 10, base.shape)).astype(reading.dtype) for _ in range(_DISTINCT))
    members = [gzip.compress(volume.tobytes(), compresslevel=1) for volume in volumes]
    with path.open("wb") as file:
        file.write(gzip.compress(header.binaryblock + bytes(4)))
        for number in range(reading.maps):
            file.write(members[number % _DISTINCT])
    places = draws.permutation(base.size)
    for number in range(max(reading.rois)):
        mask = np.zeros(base.size, np.uint8)
        mask[places[number * reading.voxels : (number + 1) * reading.voxels]] = 1
        image = nibabel.Nifti1Image(mask.reshape(reading.shape), np.diag([2.0, 2, 2, 1]))
        nibabel.save(image, path.parent / f"roi{number}.nii.gz")


def _apart(read: Callable[..., Side], *arguments: object) -> Side:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(read, *arguments).result()


def _best(sides: list[Side]) -> Side:
    seconds, cpu = min(side.seconds for side in sides), min(side.cpu for side in sides)
    return Side(seconds, cpu, max(side.peak_mb for side in sides))


def _timed(read: Callable[[], object]) -> Side:
    import_nibabel()
    before, started, cpu = resident_mb(), time.perf_counter(), time.process_time()
    read()
    return Side(time.perf_counter() - started, time.process_time() - cpu, peak_mb() - before)


def _read_plain(path: Path, reading: Reading) -> Side:
    def stream() -> None:
        with gzip.open(path) as file:
            while file.read(4 * 2**20):
                pass

    return _timed(lambda: np.asarray(import_nibabel().load(path).dataobj) if reading.plain == "nibabel" else stream())


def _read_rois(path: Path, n_rois: int) -> Side:
    def read() -> None:
        image, shared = open_image(path), SharedReading()
        rois = read_masks(path.parent, {f"roi{k}": f"roi{k}.nii.gz" for k in range(n_rois)}, image)
        for roi in rois:
            shared.read("subject", image, roi, rois)

    return _timed(read)
