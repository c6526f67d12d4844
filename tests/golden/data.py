"""The small datasets of the golden experiments, written into one folder, from which voxelcast is run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy.spatial.distance import pdist, squareform

from tests.golden import inside

GRID, BLOCK, PATTERNS, FRAMES = 8, 4, 6, 12
N_IMAGES, N_CLIPS = 36, 24
OWN_NETWORKS = """
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3)
        self.act = nn.ReLU()

    def forward(self, clips):
        return self.act(self.conv(clips)).mean((2, 3, 4))


class Still(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.act = nn.ReLU()

    def forward(self, frames):
        return self.act(self.conv(frames)).mean((2, 3))
"""


class GoldenData:
    """Writes each dataset when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made: set[str] = set()

    def make(self, names: Sequence[str]) -> None:
        """Write the datasets that are not there yet; each is a folder below the root."""
        for name in names:
            if name not in self._made:
                getattr(self, f"_{name}")(self.root / name)
                self._made.add(name)

    def _images(self, root: Path) -> None:
        """Pictures, responses of two subjects, and of a third in other files."""
        rng = np.random.default_rng(0)
        shown, mixture = _draw(N_IMAGES, rng)
        ids = [f"s{number:03d}" for number in rng.permutation(N_IMAGES)]
        (root / "stimuli").mkdir(parents=True)
        (root / "responses").mkdir()
        for stimulus_id, picture in zip(ids, shown, strict=True):
            Image.fromarray(picture).save(root / "stimuli" / f"{stimulus_id}.png")
        for subject, n_voxels in (("ann", 4), ("bob", 3)):
            np.save(root / "responses" / f"{subject}.npy", _driven(mixture, n_voxels, rng))
        _write_lines(root / "stimulus_ids.txt", ids)
        # Repeated presentations, in another order of axes, with tables beside them.
        signal = _driven(mixture, 5, rng, noise=0.2)
        repeated = signal[..., None] + 0.5 * rng.standard_normal((*signal.shape, 3))
        repeated[3, 2, 1] = np.nan
        np.save(root / "cat.npy", repeated.transpose(1, 0, 2))
        _write_lines(root / "ids.txt", ids)
        areas = [(0, "V1"), (2, "V1"), (3, "V4"), (2, "V4"), (4, "V4"), (1, "IT"), (4, "IT")]
        _write_lines(root / "areas.csv", ["voxel,roi", *(f"{voxel},{roi}" for voxel, roi in areas)])
        held_out = set(ids[:6])
        _write_lines(root / "parts.csv", ["stimulus_id,split", *(f"{i},{_split(i, held_out)}" for i in ids)])
        _write_lines(root / "runs.csv", ["stimulus_id,group", *(f"{i},run {k // 6}" for k, i in enumerate(ids))])
        _write_lines(root / "folds.csv", ["stimulus_id,fold", *(f"{i},{k // 6 % 3}" for k, i in enumerate(ids))])
        _write_lines(root / "pairs.csv", ["stimulus_id,group", *(f"{i},pair {k // 2}" for k, i in enumerate(ids))])
        # One voxel that never varies and one with a gap.
        holes = _driven(mixture, 5, rng)
        holes[:, 1] = 3.0
        holes[4, 3] = np.nan
        np.save(root / "holes.npy", holes)
        # Brain images with masks.
        affine = np.diag([3.0, 3.0, 3.0, 1.0])
        volumes = rng.standard_normal((3, 2, 2, N_IMAGES))
        volumes.reshape(12, N_IMAGES)[[1, 4, 6, 11]] = _driven(mixture, 4, rng).T
        nib.save(nib.Nifti1Image(volumes.astype(np.float32), affine), root / "dan.nii")
        atlas = np.zeros((3, 2, 2), np.int16)
        atlas.flat[[1, 4, 6]] = [1, 2, 2]
        nib.save(nib.Nifti1Image(atlas, affine), root / "atlas.nii")

    def _broken(self, root: Path) -> None:
        """The pictures, one of which is none."""
        self.make(["images"])
        shutil.copytree(self.root / "images", root)
        sorted((root / "stimuli").iterdir())[5].write_bytes(b"this is no picture")

    def _clips(self, root: Path) -> None:
        """Clips in which brightness changes over time, responses of a subject, and a BOLD response."""
        rng = np.random.default_rng(1)
        shown, mixture = _draw(N_CLIPS, rng)
        (root / "stimuli").mkdir(parents=True)
        (root / "responses").mkdir()
        for number, picture in enumerate(shown):
            light = 1 + 0.4 * np.sin(np.arange(FRAMES) * rng.uniform(0.3, 1.2) + rng.uniform(0, 6))
            moving = np.stack([np.roll(picture, frame % 3, axis=1) * light[frame] for frame in range(FRAMES)])
            inside.write_video(root / "stimuli" / f"c{number:02d}.mp4", moving.clip(0, 255).astype(np.uint8), 6)
        np.save(root / "responses" / "ann.npy", _driven(mixture, 3, rng))
        _write_lines(root / "stimulus_ids.txt", [f"c{number:02d}" for number in range(N_CLIPS)])
        _write_lines(root / "response.csv", ["time,V1", "0,0", "1,1", "4,0"])
        (self.root / "golden_networks.py").write_text(OWN_NETWORKS)

    def _series(self, root: Path) -> None:
        """BOLD runs with events, and movies that began with them."""
        root.mkdir()
        inside.write_series(root)
        rng, streams = np.random.default_rng(2), np.random.default_rng(4)
        for run in ("run1", "run2", "run10"):
            said = np.sort(streams.uniform(0, 79, 60)).tolist()
            _write_lines(root / f"{run}_words.tsv", ["onset\tduration\tword", *(f"{on}\t0.3\tword" for on in said)])
            loudness = streams.standard_normal((80, 2))
            np.save(root / f"{run}_loudness.npy", loudness)
            driven = np.roll(loudness.reshape(40, 2, 2).mean(axis=1), 1, axis=0) + np.histogram(said, 40)[0][:, None]
            for subject in ("ann", "bob"):
                np.savetxt(root / subject / f"{run}_regions.txt", driven + streams.standard_normal((40, 2)))
            shown, _ = _draw(80, rng)
            inside.write_video(root / f"{run}.mp4", shown, 1)
            for subject in ("ann", "bob"):
                motion = np.loadtxt(root / subject / f"{run}_motion.txt")
                table = np.column_stack([motion[:, 0], rng.standard_normal(len(motion)), motion[:, 1]])
                path = root / subject / f"{run}_confounds.tsv"
                np.savetxt(path, table, header="x\tother\ty", comments="", delimiter="\t")

    def _simulated(self, root: Path) -> None:
        drivers = [f"--driver={roi}=voxelcast/motion_energy:colour" for roi in ("LOC", "FFA")]
        sizes = {"subjects": 2, "train": 24, "test": 8, "voxels": 3, "size": 32, "fps": 4, "seed": 5, "signal": 0.7}
        _ask("simulate", root, *drivers, *(f"--{name}={value}" for name, value in sizes.items()))

    def _algonauts2021(self, root: Path) -> None:
        _ask("datasets", "simulate", "algonauts2021", root, "--small")

    def _algonauts2023(self, root: Path) -> None:
        _ask("datasets", "simulate", "algonauts2023", root, "--small", "--seed=1")

    def _algonauts2025(self, root: Path) -> None:
        _ask("datasets", "simulate", "algonauts2025", root, "--small")
        _write_lines(root / "areas.csv", ["voxel,roi", "1,few", "500,few", "1000,few", "7,two", "8,two"])

    def _bold_moments(self, root: Path) -> None:
        _ask("datasets", "simulate", "bold_moments", root, "--small")

    def _rdms(self, root: Path) -> None:
        """Twenty pictures, and RDMs of three subjects: noisy distances between the pictures' block colours."""
        rng = np.random.default_rng(3)
        pictures, _ = _draw(20, rng)
        (root / "stimuli").mkdir(parents=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(root / "stimuli" / f"{number:02d}.png")
        distance = pdist(pictures[:, ::4, ::4].reshape(20, -1).astype(float), "correlation")
        noisy = distance + 0.3 * distance.std() * rng.standard_normal((3, len(distance)))
        np.save(root / "rdms.npy", [squareform(subject) for subject in noisy])

    def _files(self, root: Path) -> None:
        """Clips in a sub-folder too, two of one name, and one that is broken."""
        self.make(["clips"])
        (root / "more").mkdir(parents=True)
        for number in range(4):
            shutil.copy(self.root / "clips" / "stimuli" / f"c{number:02d}.mp4", root / f"c{number:02d}.mp4")
        shutil.copy(self.root / "clips" / "stimuli" / "c09.mp4", root / "more" / "d00.mp4")
        shutil.copy(self.root / "clips" / "stimuli" / "c10.mp4", root / "c00.mkv")
        (root / "more" / "broken.mp4").write_bytes(b"this is no video")


def _draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw pictures (n, 32, 32, 3) of 8 x 8 blocks that mix six patterns, and how much of each, (n, 6)."""
    mixture = rng.standard_normal((n, PATTERNS))
    patterns = rng.standard_normal((PATTERNS, GRID, GRID, 3))
    blocks = np.clip(128 + 16 * np.tensordot(mixture, patterns, axes=1), 0, 255).astype(np.uint8)
    return blocks.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2), mixture


def _driven(mixture: np.ndarray, n_voxels: int, rng: np.random.Generator, noise: float = 0.5) -> np.ndarray:
    """Responses (n_stimuli, n_voxels) linear in the mixture, plus noise."""
    signal = mixture @ rng.standard_normal((PATTERNS, n_voxels))
    return np.asarray(signal + noise * signal.std() * rng.standard_normal(signal.shape))


def _split(stimulus_id: str, held_out: set[str]) -> str:
    return "test" if stimulus_id in held_out else "train"


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n")


def _ask(*arguments: object) -> None:
    done = inside.call(*arguments)
    if done.code:
        raise RuntimeError(f"voxelcast {' '.join(map(str, arguments))}: {done.err}")
