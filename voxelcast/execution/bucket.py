"""Data in a bucket: copied to the shared folder before a run, results copied back after it.

The store itself stays in a real folder: a finished step appears by renaming a folder, which buckets cannot do in one
piece.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from voxelcast.core.checks import check_inside
from voxelcast.core.errors import MissingFileError, MissingPackageError, UnwritableError
from voxelcast.store.atomic import atomic_path


def fetch_folder(source: str, target: Path) -> int:
    """Copy the files under a URL into a folder and return how many were copied; those of the same size are kept.

    The URL is ``gs://bucket/folder``, or any other that fsspec knows. Each file appears whole or not at all. Raises
    MissingFileError if there are no files.
    """
    system, root = _open(source)
    found: dict[str, dict[str, Any]] = system.find(root, detail=True)
    if not found:
        raise MissingFileError(f"{source} holds no files; check bucket_inputs of the profile")
    copied = 0
    for name, facts in found.items():
        relative = check_inside(str(PurePosixPath(name.strip("/")).relative_to(root.strip("/"))), source)
        path = target / relative
        if path.is_file() and path.stat().st_size == facts["size"]:
            continue
        with atomic_path(path) as temporary:
            system.get_file(name, str(temporary))
        copied += 1
    return copied


def send_folder(source: Path, target: str, *, without: frozenset[str] = frozenset()) -> int:
    """Copy a folder's files to a URL and return how many.

    ``without`` names entries of the folder that stay here. Files that are there already are written again. Raises
    UnwritableError if the URL cannot be written to.
    """
    system, root = _open(target)
    files = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file() and path.relative_to(source).parts[0] not in without
    ]
    for path in files:
        name = f"{root.rstrip('/')}/{path.relative_to(source).as_posix()}"
        try:
            system.makedirs(name.rpartition("/")[0], exist_ok=True)
            system.put_file(str(path), name)
        except OSError as error:
            raise UnwritableError(
                f"{target} cannot be written ({error}); check bucket_results of the profile"
            ) from error
    return len(files)


def _open(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    try:
        import fsspec

        system, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingPackageError(
            f"{url} needs a package that is not installed ({error}); install it with pip install 'voxelcast[google]'"
        ) from error
    return system, str(root)
