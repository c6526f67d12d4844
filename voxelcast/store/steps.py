"""Finished steps on disk: a folder per step, named by its key, that is either whole or absent.

``STORE/<kind>/<name>-<key>/`` holds the step's result, ``result.npz`` (:mod:`voxelcast.store.result`), and ``DONE``
(JSON: key, seconds, peak memory, host, time). A step writes into a temporary folder that is renamed when it is
finished, so a kill at any moment leaves no half of a result; what killed steps left behind is removed when a run begins
the next time.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from voxelcast.core.errors import StoreError, UnwritableError
from voxelcast.store.atomic import read_json
from voxelcast.store.lock import is_locked
from voxelcast.store.memory import peak_mb, reset_peak
from voxelcast.store.result import ResultWriter, StepResult

LAYOUT = 2
"""Rises when results lie in the store in another way; it counts in every key, so that older ones are not found."""

_RESULT = "result.npz"
_KEY_DIGITS = 12
_LOCK_TRIES = 5  # a killed process may hold its locks a moment longer
_LOCK = ".lock"
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # what file systems that know no locks answer


@dataclass(frozen=True)
class StepId:
    """Which step: its kind (``"extract"``), a readable name and the key of all that determines its result."""

    kind: str
    name: str
    key: str

    @property
    def folder(self) -> str:
        """Folder under the store, e.g. ``fit/sub01_V1-1f2e3d4c5b6a``."""
        return f"{self.kind}/{self.name}-{self.key[:_KEY_DIGITS]}"

    def content(self) -> str:
        """Return what counts of the step in the key of another that uses its result."""
        return self.key


class StepStore:
    """A folder of finished steps, made if it does not exist; ``read_only``: they are only looked at, nothing is made.

    Raises UnwritableError if it cannot be written to.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root
        if read_only:
            _check_writable(root)
            return
        try:
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".write-{uuid.uuid4().hex[:8]}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UnwritableError(f"{root} cannot be written ({error.strerror}); choose another --output") from error

    def path(self, step: StepId) -> Path:
        """Folder of a step, whether finished or not."""
        return self.root / step.folder

    def scratch(self, step: StepId) -> Path:
        """Folder beside a step's, for what a killed step may go on from; the step deletes it when it is done."""
        final = self.path(step)
        return final.with_name(f".scratch-{final.name}")

    def is_done(self, step: StepId) -> bool:
        """Whether the step is finished; raises StoreError if the folder holds a result of another key."""
        done = self.path(step) / "DONE"
        if not done.is_file():
            return False
        found = read_json(done)["key"]
        if found != step.key:
            raise StoreError(f"{done.parent} holds a result of key {found}, not {step.key}; move it away and run again")
        return True

    def read(self, step: StepId) -> StepResult:
        """Return the result of a finished step."""
        return StepResult(self.path(step) / _RESULT)

    def facts(self, step: StepId) -> dict[str, object]:
        """Read how a finished step was made: seconds, peak memory where it can be measured, host, time."""
        return dict(read_json(self.path(step) / "DONE"))

    @contextmanager
    def writing(self, step: StepId) -> Iterator[ResultWriter]:
        """Yield what a result is written with; when the block ends without error the step is finished."""
        final = self.path(step)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}")
        temporary.mkdir()
        started = time.time()
        memory_known = reset_peak()
        lock = (temporary / _LOCK).open("w")
        result = ResultWriter(temporary / _RESULT)
        try:
            _lock(lock.fileno())
            yield result
            result.close()
            done = {
                "key": step.key,
                "seconds": round(time.time() - started, 3),
                "peak_mb": peak_mb() if memory_known else None,
                "host": platform.node(),
                "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            (temporary / "DONE").write_text(json.dumps(done))
            (temporary / _LOCK).unlink()
            try:
                os.replace(temporary, final)
            except OSError:
                # Another run that shares the store may have finished the same step meanwhile: its result is as good.
                if not self.is_done(step):
                    raise
        finally:
            lock.close()
            result.abandon()
            if temporary.exists():
                shutil.rmtree(temporary, ignore_errors=True)

    @contextmanager
    def claiming(self, step: StepId) -> Iterator[bool]:
        """Keep other processes on this store from doing a step; yield whether it is still to be done.

        While another process has claimed the step, this one waits. A claim ends with the process, however that ends.
        """
        path = self._claim(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = path.open("w")
            _lock(file.fileno())
            # Who had it before removes the file; then the lock is on nothing, and the next one has a new file.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            file.close()
        with file:
            try:
                yield not self.is_done(step)
            finally:
                path.unlink(missing_ok=True)

    def is_claimed(self, step: StepId) -> bool:
        """Whether another process is doing the step; False where there are no locks."""
        with suppress(OSError):
            return is_locked(self._claim(step))
        return False

    def _clear_claim(self, step: StepId) -> None:
        """Remove the claim that a killed process left: one that nobody holds a lock on."""
        path = self._claim(step)
        for _ in range(_LOCK_TRIES):
            try:
                with path.open() as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                return
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                return  # there is none, or there are no locks

    def _claim(self, step: StepId) -> Path:
        final = self.path(step)
        return final.with_name(f".claim-{final.name}")

    def unfinished(self, steps: Iterable[StepId]) -> dict[str, list[Path]]:
        """Find the temporary folders of some steps, of work under way or killed, by the step's folder.

        Each kind's folder is listed once, which also makes a network file system look again.
        """
        wanted = {(step.kind, self.path(step).name): step.folder for step in steps}
        found: dict[str, list[Path]] = {}
        for kind in {kind for kind, _ in wanted}:
            if (self.root / kind).is_dir():
                for entry in os.scandir(self.root / kind):
                    name = entry.name[1:].rpartition(".")[0]
                    if entry.name.startswith(".") and (kind, name) in wanted:
                        found.setdefault(wanted[kind, name], []).append(Path(entry.path))
        return found

    def clear_abandoned(self, steps: Iterable[StepId]) -> None:
        """Remove what killed steps left; what a live run holds a lock on stays."""
        steps = list(steps)
        for step in steps:
            self._clear_claim(step)
        for folders in self.unfinished(steps).values():
            for folder in folders:
                if not is_worked_in(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def is_worked_in(folder: Path) -> bool:
    """Whether a temporary folder belongs to work under way (its lock is held), not to a step that was killed.

    On a file system without locks every such folder counts as worked in.
    """
    try:
        return is_locked(folder / _LOCK)  # there is none if it was killed before it had one, or had given it up
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return True


def _lock(file: int) -> None:
    """Lock a file; where the file system knows no locks, go without: two runs then never clear up after each other."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _check_writable(root: Path) -> None:
    """Raise UnwritableError where a folder could not be made or written to, without making it."""
    there = root.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UnwritableError(f"{root} cannot be written (because of {there}); choose another --output")
