"""Keys: short hashes of what determines a result, and hashes of files."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from voxelcast.core.errors import MissingFileError


def content_key(value: object) -> str:
    """Hash a value that JSON can express (32 hex digits); mappings count the same in any order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def file_hash(path: Path) -> str:
    """Hash the bytes of a file, which must exist (32 hex digits); read once while its size and time stay the same."""
    try:
        facts = path.stat()
    except FileNotFoundError as error:
        raise MissingFileError(f"file {path} does not exist; check its path") from error
    return _hash_bytes(str(path.resolve()), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=65536)
def _hash_bytes(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
