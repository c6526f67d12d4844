"""A miniature of the Algonauts 2025 challenge, with responses to the held-out episode beside the others."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import derive_seed, generator
from voxelcast.datasets.formats import algonauts2025 as layout
from voxelcast.datasets.formats.algonauts2025 import Algonauts2025Settings
from voxelcast.datasets.simulation.videos import draw_clip
from voxelcast.store.atomic import atomic_path
from voxelcast.testing.miniatures import register_miniature
from voxelcast.testing.miniatures.writing import begin_miniature, look, write_dict

SUBJECTS = layout.SUBJECTS[:2]
LENGTHS = {"s01e01a": 30, "s01e01b": 32, "s01e02a": 30, "s05e20a": 30, "bourne01": 30, "figures01": 30, "s07e01a": 24}
"""Volumes of each run; the last is held out."""
REPEATED = "figures01"
SURPLUS = 2
"""Volumes by which the second subject's runs are longer."""
FPS = 6
DELAYS, WEIGHTS = (2, 3, 4), (0.3, 0.5, 0.2)
SIGNAL = 0.6


@register_miniature("algonauts2025")
def write_algonauts2025(root: Path, seed: int) -> Algonauts2025Settings:
    """Write two subjects who saw six short movies, one of them twice, and one held-out episode.

    As in the challenge, sub-02 lacks s05e20a, and its recordings are a little longer than the other's. Parcels follow
    the movie by two to four volumes. ``..._desc-s7_bold.h5`` holds what the challenge does not give away.
    """
    begin_miniature(root, "algonauts2025", seed, subjects=list(SUBJECTS), runs=LENGTHS)
    looks = {run: _write_movie(root, run, seed) for run in LENGTHS}
    for subject in SUBJECTS:
        mixing = generator(seed, "mixing", subject).standard_normal((next(iter(looks.values())).shape[1], 1000))
        for what in ("friends", "movie10", "friends-s7"):
            path = layout.response_path(root, subject, what)
            with atomic_path(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
                for number, run in enumerate(_runs_of(what)):
                    if run not in layout.MISSING.get(subject, ()):
                        _write_run(file, number + 1, run, looks[run] @ mixing, (seed, subject))
        samples = {run: LENGTHS[run] for run in _runs_of("friends-s7")}
        write_dict(layout.samples_path(root, subject, "friends-s7"), samples)
    return Algonauts2025Settings(root)


def _runs_of(what: str) -> list[str]:
    chosen = {"friends": layout.FRIENDS, "movie10": layout.MOVIE10, "friends-s7": ("s7",)}[what]
    return [run for run in LENGTHS if layout.chunk_of(run) in chosen]


def _write_movie(root: Path, run: str, seed: int) -> FloatArray:
    """Write the movie of a run, a new scene in each volume; return what drives the parcels, a row per volume."""
    from voxelcast.stimuli.encode import write_video  # needs PyAV

    n_frames = int(np.ceil(LENGTHS[run] * layout.TR_SECONDS * FPS))
    own = derive_seed(seed, run)
    scenes = [draw_clip(own, number + 1, FPS * 2, 32) for number in range(LENGTHS[run])]
    volume_of_frame = (np.arange(n_frames) / FPS / layout.TR_SECONDS).astype(int).clip(max=LENGTHS[run] - 1)
    within = [int(np.sum(volume_of_frame[:frame] == volume)) for frame, volume in enumerate(volume_of_frame)]
    frames = np.stack([scenes[volume][frame] for volume, frame in zip(volume_of_frame, within, strict=True)])
    # The name decides nothing for FFmpeg: an mp4 inside is read as well.
    with atomic_path(layout.movie_path(root, run)) as temporary:
        write_video(temporary, frames, FPS)
    return np.stack([look(scene) for scene in scenes])


def _write_run(file: h5py.File, session: int, run: str, driven: FloatArray, names: tuple[int, str]) -> None:
    signal = np.zeros_like(driven)
    centred = (driven - driven.mean(axis=0)) / driven.std(axis=0)
    for delay, weight in zip(DELAYS, WEIGHTS, strict=True):
        signal[delay:] += weight * centred[: len(centred) - delay]
    signal /= signal.std(axis=0)
    surplus = SURPLUS if names[1] == SUBJECTS[1] and layout.chunk_of(run) != "s7" else 0
    for repetition in (1, 2) if run == REPEATED else (1,):
        noise = generator(*names, run, repetition).standard_normal((len(signal) + surplus, layout.N_PARCELS))
        values = np.sqrt(1 - SIGNAL) * noise
        values[: len(signal)] += np.sqrt(SIGNAL) * signal
        suffix = f"_run-{repetition}" if run == REPEATED else ""
        file[f"ses-{session:03d}_task-{run}{suffix}"] = values.astype(np.float32)
