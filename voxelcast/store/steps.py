"""Finished steps on disk: a folder per step, named by its key, that is either whole or absent.

``STORE/<kind>/<name>-<key>/`` holds the step's result, ``result.npz`` (:mod:`voxelcast.store.result`), ``DONE`` (JSON:
key, seconds, peak memory, host, time; size and SHA-256 of each file; a hash of all that) and, where only later steps of
a run need some of it, ``scratch.npz``, which `StepStore.release` removes. A step writes into a temporary folder that is
renamed when all of it is on the disk, so a kill at any moment leaves no half of a result; what killed steps left behind
is removed when a run begins the next time. A step that is not as its ``DONE`` says is no result: it is set aside, once
a run asks for it, and done again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from voxelcast.core.errors import UnwritableError
from voxelcast.store.atomic import PART, open_new, publish, said_unwritable, write_text
from voxelcast.store.flock import lock, remove_locked
from voxelcast.store.keys import content_key
from voxelcast.store.lock import is_locked, open_lock
from voxelcast.store.memory import peak_mb, reset_peak
from voxelcast.store.result import SCRATCH, ResultWriter, StepResult

LAYOUT = 2
"""Rises when results lie in the store in another way; it counts in every key, so that older ones are not found."""

_RESULT, _DONE = "result.npz", "DONE"
_READERS = 4  # threads that hash files side by side
_KEY_DIGITS = 12
_LOCK_TRIES = 5  # a killed process may hold its locks a moment longer
_LOCK, _USERS = ".lock", ".users"
# What file systems that know no locks answer, and what another user's folder does.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EACCES)


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
        self._sound: set[StepId] = set()
        if read_only:
            _check_writable(root)
            return
        try:
            root.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=root).close()
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
        """Whether the step is finished, as far as ``DONE`` and the sizes of the files say."""
        return not self._fault(step)

    def is_sound(self, step: StepId) -> bool:
        """Whether the step is finished and its files have the bytes that were written; they are read once."""
        if step not in self._sound and not self._fault(step, read=True):
            self._sound.add(step)
        return step in self._sound

    def set_aside_damaged(self, steps: Iterable[StepId]) -> list[str]:
        """Move what lies in the place of some steps and is not as it was written; return a line for each."""
        there = [step for step in steps if os.path.lexists(self.path(step))]
        with ThreadPoolExecutor(_READERS) as readers:
            sound = list(readers.map(self.is_sound, there))
        lines = []
        for step in (step for step, whole in zip(there, sound, strict=True) if not whole):
            with self.claiming(step):  # unless another run has done it anew meanwhile
                if fault := self._fault(step, read=True):
                    aside = self._set_aside(step)
                    lines.append(f"{step.folder} is damaged ({fault}); it is done again, and what was there is {aside}")
        return lines

    def _set_aside(self, step: StepId) -> Path:
        final = self.path(step)
        aside = final.with_name(f".damaged-{final.name}")
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)
        final.rename(aside)
        return aside

    def _fault(self, step: StepId, *, read: bool = False) -> str:
        """Say what is wrong with a step's folder; empty where nothing is. ``read``: whether its files are read."""
        folder = self.path(step)
        try:
            mark = _read_mark(folder / _DONE)
            if mark["key"] != step.key:
                return f"{_DONE} is of another key"
            for name, known in mark["files"].items():
                with (folder / name).open("rb") as file:
                    if os.fstat(file.fileno()).st_size != known["bytes"]:
                        return f"{name} has another size"
                    if read and hashlib.file_digest(file, "sha256").hexdigest() != known["sha256"]:
                        return f"bytes of {name} have changed"
        except OSError as error:
            return f"{Path(error.filename or folder).name} cannot be read: {error.strerror}"
        except ValueError:
            return f"{_DONE} is not as it was written"
        return ""

    def read(self, step: StepId) -> StepResult:
        """Return the result of a finished step."""
        return StepResult(self.path(step) / _RESULT)

    def facts(self, step: StepId) -> dict[str, object]:
        """Read how a finished step was made: seconds, peak memory where it can be measured, host, time."""
        return _read_mark(self.path(step) / _DONE)

    @contextmanager
    def in_use(self) -> Iterator[TextIO]:
        """Have other runs that share the store not release anything of it while the block lasts."""
        with said_unwritable(self.root), open_lock(self.root / _USERS) as file:
            _lock(file.fileno(), shared=True)
            yield file

    def release(self, steps: Iterable[StepId], used: TextIO) -> int | None:
        """Remove the scratch files of finished steps and return their bytes; ``used``: the lock that `in_use` gave.

        None where another run uses the store, or locks are not known: then nothing is removed. The steps count as done
        as before; whoever reads what was removed has them done again first (`forget`).
        """
        try:
            lock(used.fileno())
        except OSError:
            return None
        freed = sum(map(self._release, steps))
        _lock(used.fileno(), shared=True)
        return freed

    def _release(self, step: StepId) -> int:
        done, scratch = self.path(step) / _DONE, self.path(step) / SCRATCH
        if not scratch.is_file():
            return 0
        for left in done.parent.glob(f".*{PART}"):  # by a kill in the middle of what follows; no other run is here
            left.unlink(missing_ok=True)
        size, when = scratch.stat().st_size, done.stat().st_mtime_ns
        mark = _read_mark(done)
        if mark["files"].pop(SCRATCH, None) is not None:  # else a kill came between the two
            mark["released"] = size
            write_text(done, json.dumps(mark | {"hash": content_key(mark)}))
            os.utime(done, ns=(when, when))  # by which the speed of a run is known
        scratch.unlink()
        return size

    def is_released(self, step: StepId) -> bool:
        """Whether the step is finished and its scratch file was removed."""
        try:
            return "released" in _read_mark(self.path(step) / _DONE)
        except (OSError, ValueError):
            return False

    def forget(self, step: StepId) -> None:
        """Remove a finished step, so that it is done again."""
        final = self.path(step)
        aside = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}")  # what a kill leaves of it is cleared away
        final.rename(aside)
        shutil.rmtree(aside)
        self._sound.discard(step)

    @contextmanager
    def writing(self, step: StepId) -> Iterator[ResultWriter]:
        """Yield what a result is written with; when the block ends without error the step is finished."""
        final = self.path(step)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}")
        temporary.mkdir(mode=0o700)
        started = time.time()
        memory_known = reset_peak()
        held = open_lock(temporary / _LOCK)
        writer = ResultWriter(temporary / _RESULT)
        try:
            with said_unwritable(self.root):
                _lock(held.fileno())
                yield writer
                files = writer.close()
                mark: dict[str, Any] = {
                    "key": step.key,
                    "seconds": round(time.time() - started, 3),
                    "peak_mb": peak_mb() if memory_known else None,
                    "host": platform.node(),
                    "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "files": files,
                }
                with os.fdopen(open_new(temporary / _DONE), "w") as done:
                    done.write(json.dumps(mark | {"hash": content_key(mark)}))
                remove_locked(temporary / _LOCK, held)
                self._publish(temporary, step)
        finally:
            held.close()
            writer.abandon()
            if temporary.exists():
                shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, temporary: Path, step: StepId) -> None:
        final = self.path(step)
        try:
            publish(temporary, final)
        except OSError:
            if not os.path.lexists(final):
                raise
            # Another run that shares the store may have finished the same step meanwhile: its result is as good.
            if not self.is_sound(step):
                self._set_aside(step)
                publish(temporary, final)

    @contextmanager
    def claiming(self, step: StepId) -> Iterator[bool]:
        """Keep other processes on this store from doing a step; yield whether it is still to be done.

        While another process has claimed the step, this one waits. A claim ends with the process, however that ends.
        """
        path = self._claim(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with said_unwritable(path):
                file = open_lock(path)
            _lock(file.fileno())
            # Who had it before removes the file; then the lock is on nothing, and the next one has a new file.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            file.close()
        with file:
            try:
                yield not self.is_done(step)
            finally:
                remove_locked(path, file)

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
                with open_lock(path, "r") as file:
                    lock(file.fileno())
                    remove_locked(path, file)
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


def _read_mark(path: Path) -> dict[str, Any]:
    """Read a step's ``DONE``; raises ValueError if it is not as it was written."""
    mark = json.loads(path.read_bytes())
    if not isinstance(mark, dict) or mark.pop("hash", None) != content_key(mark):
        raise ValueError(f"{path} is damaged")
    return mark


def _lock(file: int, *, shared: bool = False) -> None:
    """Lock a file; where the file system knows no locks, go without: two runs then never clear up after each other."""
    try:
        lock(file, shared=shared, wait=True)
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
