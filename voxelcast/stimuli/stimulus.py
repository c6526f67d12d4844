"""What a stimulus is: one video, image, sound or text that was shown, with an id by which everything is joined."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from voxelcast.core.checks import natural
from voxelcast.core.errors import DataError, StimulusError, UnsafeFileError
from voxelcast.store.readers.archives import unpack
from voxelcast.store.readers.guard import reading

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".avif", ".jp2"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".webm", ".mkv", ".avi", ".mov", ".gif", ".m4v", ".mpg", ".mpeg", ".h264", ".264", ".h265", ".265", ".wmv"}
)
SOUND_SUFFIXES = frozenset({".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aiff", ".aif"})


@dataclass(frozen=True)
class Stimulus:
    """One video, image, sound, or folder of pictures.

    Parameters
    ----------
    stimulus_id : str
        The name by which features, responses and predictions are joined.
    path : Path
        The file, or the zip archive that holds it; a folder's pictures, in natural order, are its frames.
    member : str or None
        The name inside the archive; None where ``path`` is the file itself.
    seconds : (float, float) or None
        The part of a video that it is: what was on the screen from one moment to another, in seconds after its first
        frame. None: all of it.
    text : str or None
        What a network that takes text reads; the file then does not count.
    """

    stimulus_id: str
    path: Path
    member: str | None = None
    seconds: tuple[float, float] | None = None
    text: str | None = None

    @property
    def name(self) -> str:
        """File name, as shown to the user."""
        return self.member if self.member is not None else self.path.name

    @property
    def is_image(self) -> bool:
        """Whether it is a single picture rather than a video (by its suffix)."""
        return Path(self.name).suffix.lower() in IMAGE_SUFFIXES

    def pictures(self) -> tuple[Stimulus, ...]:
        """Return the pictures of a folder, in natural order (2.png before 10.png); of anything else nothing."""
        if self.member is not None or not self.path.is_dir():
            return ()
        found = sorted((path for path in self.path.iterdir() if is_picture(path)), key=lambda path: natural(path.name))
        return tuple(Stimulus(f"{self.stimulus_id}/{path.stem}", path) for path in found)

    def volume(self, number: int, tr: float | None) -> Stimulus:
        """Return what was there during a volume of a run that began with this movie; ``tr`` in seconds, None: no movie.

        >>> Stimulus("run-1", Path("run-1.mp4")).volume(3, 2.0).stimulus_id
        'run-1/tr0003'
        """
        seconds = None if tr is None else (number * tr, (number + 1) * tr)
        return replace(self, stimulus_id=f"{self.stimulus_id}/tr{number:04d}", seconds=seconds)

    def read_bytes(self) -> bytes:
        """Read the whole file."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Read the whole file, some bytes at a time; raises StimulusError where a zip archive has it damaged."""
        if self.member is None:
            with self.path.open("rb") as file:
                while piece := file.read(1 << 20):
                    yield piece
            return
        try:
            with reading(self.name, f"a file of {self.path.name}"):
                archive = _archive(self.path, self.path.stat().st_mtime_ns)
                yield from unpack(archive, archive.getinfo(self.member), self.name)
        except (DataError, UnsafeFileError) as error:
            raise StimulusError(str(error)) from error

    def open(self) -> BinaryIO:
        """Open for reading from the start; seekable."""
        if self.member is None:
            return self.path.open("rb")
        return io.BytesIO(self.read_bytes())

    def content_hash(self) -> str:
        """Hash of the content, or of the text, independent of the file's name and folder (32 hex digits).

        A file is read once per process while its time stays the same, however many parts of it are stimuli.
        """
        if self.text is not None:
            return hashlib.blake2b(self.text.encode(), digest_size=16).hexdigest()
        pictures = self.pictures()
        if pictures:
            return hashlib.blake2b("".join(one.content_hash() for one in pictures).encode(), digest_size=16).hexdigest()
        whole = _content_hash(Stimulus("", self.path, self.member), self.path.stat().st_mtime_ns)
        if self.seconds is None:
            return whole
        return hashlib.blake2b(f"{whole} {self.seconds!r}".encode(), digest_size=16).hexdigest()

    def content(self) -> tuple[str, str, bool]:
        """Return what counts of it in a key: its id, the hash of its content, and whether it is a picture."""
        return self.stimulus_id, self.content_hash(), self.is_image


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its suffix, and not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


@lru_cache(maxsize=1 << 20)
def _content_hash(file: Stimulus, mtime_ns: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    try:
        for piece in file.pieces():
            digest.update(piece)
    except StimulusError as error:  # said where it is decoded, so that it can be left out
        digest.update(str(error).encode())
    return digest.hexdigest()


@lru_cache(maxsize=8)
def _archive(path: Path, mtime_ns: int) -> zipfile.ZipFile:
    """Open an archive once: reading its table takes longer than reading a member. Threads may share it."""
    return zipfile.ZipFile(path)
