"""What an earlier run left and is no longer true: removed, so that nobody takes it for this run's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from voxelcast.challenges import challenge_of
from voxelcast.experiment.finished import Finished
from voxelcast.experiment.missing import Pair
from voxelcast.experiment.plan import Plan
from voxelcast.report.brain_maps import FOLDER, remove_maps

VOXEL_FILE, PARTITION_FILE = "voxels/{}.npz", "variance_partitioning/{}.npz"
_OF_PAIR = (
    *("predictions/{}.npy", "predictions/{}_stimuli.csv", VOXEL_FILE, "examples/{}.npz", "weights/{}.npy"),
    PARTITION_FILE,
)
_OF_ALL = (
    *("scores.csv", "search.csv", "weights.csv", "layers.csv", "exclusions.csv", "variance_partitioning.csv"),
    *("notes.json", "provenance.json", "report.html"),
)


def remove_results(output: Path, pairs: Iterable[Pair], files: Sequence[str] = _OF_PAIR) -> None:
    """Remove what an earlier run, on other data, left of pairs that failed now."""
    for pair in pairs:
        for name in files:
            (output / name.format("_".join(pair))).unlink(missing_ok=True)


def remove_all_results(plan: Plan, output: Path) -> None:
    """Remove what an earlier run, on other data, left, where every pair failed now; settings and steps stay."""
    remove_maps(output, plan.dataset)
    remove_submission(plan, output)
    remove_results(output, plan.pairs)
    for name in _OF_ALL:
        (output / name).unlink(missing_ok=True)


def remove_submission(plan: Plan, output: Path) -> None:
    """Remove an earlier run's submission, where the dataset is a challenge's."""
    if plan.dataset.submission_track is not None:
        challenge_of([plan.dataset]).remove(output / "submission", plan.dataset.submission_track)


def remove_old_maps(finished: Finished, output: Path) -> bool:
    """Remove brain maps of values that this run's differ from; return whether any was removed.

    To be called before the new values take the place of those that the maps show.
    """
    if not (output / FOLDER).is_dir():
        return False
    divided = finished.divided_pairs()
    for pair in finished.plan.pairs:
        for steps, name in ((finished.fits, VOXEL_FILE), (divided, PARTITION_FILE)):
            new = finished.folder(steps[pair]) / "voxels.npz" if pair in steps else None
            if _content(new) != _content(output / name.format("_".join(pair))):
                return remove_maps(output, finished.plan.dataset)
    return False


def _content(path: Path | None) -> bytes | None:
    return path.read_bytes() if path is not None and path.is_file() else None
