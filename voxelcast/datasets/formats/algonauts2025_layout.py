"""The folders, files and runs of the Algonauts 2025 challenge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.readers.pickles import load_boxed_dict

SUBJECTS: Final = ("sub-01", "sub-02", "sub-03", "sub-05")
TR_SECONDS: Final = 1.49
N_PARCELS: Final = 1000

FRIENDS: Final = ("s1", "s2", "s3", "s4", "s5", "s6")
MOVIE10: Final = ("bourne", "figures", "life", "wolf")
CHUNKS: Final = (*FRIENDS, *MOVIE10)
"""What training runs can be chosen by: seasons of Friends, and four movies."""

MISSING: Final = {"sub-02": ("s05e20a",), "sub-05": ("s04e01a", "s04e01b", "s04e13b")}
"""Runs that were not recorded, by subject."""

HeldOut = Literal["friends-s7", "ood", "none"]

_SPACE: Final = "space-MNI152NLin2009cAsym_atlas-Schaefer18_parcel-1000Par7Net"
_KEY: Final = re.compile(r"ses-\d+_task-(?P<run>s\d\de\d\d[a-z]|[a-z]+\d+)(?:_run-\d+)?")


def response_path(root: Path, subject: str, what: str) -> Path:
    """Name the file of one subject's parcels: of ``friends``, ``movie10``, or the held-out ``friends-s7`` or ``ood``.

    Those of held-out movies are not part of the release.
    """
    task, _, season = what.partition("-")
    described = {"friends": "_desc-s7" if season else "_desc-s123456"}.get(task, "")
    return root / "fmri" / subject / "func" / f"{subject}_task-{task}_{_SPACE}{described}_bold.h5"


def samples_path(root: Path, subject: str, held_out: str) -> Path:
    """Name the file that says how many volumes of each held-out run are to be predicted."""
    return root / "fmri" / subject / "target_sample_number" / f"{subject}_{held_out}_fmri_samples.npy"


def movie_path(root: Path, run: str) -> Path:
    """Name the video of a run."""
    movies = root / "stimuli" / "movies"
    episode = re.fullmatch(r"s(\d\d)e\d\d[a-z]", run)
    if episode:
        return movies / "friends" / f"s{int(episode[1])}" / f"friends_{run}.mkv"
    movie = run.rstrip("0123456789")
    if movie in MOVIE10:
        return movies / "movie10" / movie / f"{run}.mkv"
    return movies / "ood" / movie / f"task-{run}_video.mkv"


def chunk_of(run: str) -> str:
    """Say which season or movie a training run belongs to; of others, its movie."""
    episode = re.fullmatch(r"s(\d\d)e\d\d[a-z]", run)
    return f"s{int(episode[1])}" if episode else run.rstrip("0123456789")


def group_keys(keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Find the runs of a file: the names of their datasets, one per repetition; other datasets are passed over."""
    runs: dict[str, list[str]] = {}
    for key in sorted(keys):
        found = _KEY.fullmatch(key)
        if found:
            runs.setdefault(found["run"], []).append(key)
    return {run: tuple(names) for run, names in sorted(runs.items())}


def read_samples(root: Path, subject: str, held_out: str) -> dict[str, int]:
    """Read how many volumes of each held-out run are to be predicted.

    Raises MissingFileError, DataError, UnsafeFileError where the file is missing, or holds anything but whole numbers
    by run.
    """
    path = samples_path(root, subject, held_out)
    if not path.is_file():
        raise MissingFileError(
            f"number of held-out volumes of {subject} not found: {path} does not exist; get it with the challenge's "
            "fMRI data, or set held_out=none"
        )
    samples = {}
    for run, number in load_boxed_dict(path).items():
        if not isinstance(run, str) or not re.fullmatch(r"[a-z0-9]+", run) or int(number) != number or number < 1:
            raise DataError(f"{path.name} must hold a number of volumes for each run; got {run!r}: {number!r}")
        samples[run] = int(number)
    return dict(sorted(samples.items()))
