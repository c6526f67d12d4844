"""The files of a network of transformers, found in a folder or in the hub's cache."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxelcast.core.checks import home_expanded
from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError, one_line
from voxelcast.networks.checkpoints import check_sha256
from voxelcast.store.readers.guard import read_text

PREFIX = "hf:"
_WANTED = ("*.json", "*.txt", "*.model", "*.safetensors", "README.md")
_CODE = ("*.py",)
_SHOWN = 160


@dataclass(frozen=True)
class Folder:
    """Where a network's files lie; of one on the hub the ``commit``, else empty."""

    name: str
    path: Path
    commit: str = ""

    def has(self, *files: str) -> bool:
        """Whether one of some files is there."""
        return any((self.path / file).is_file() for file in files)

    def licence(self) -> str:
        """Read the licence from the head of the README; ``"unknown"`` where it says nothing."""
        readme = self.path / "README.md"
        text = read_text(readme, "README") if readme.is_file() else ""
        head = re.match(r"---\s*\n(.*?)\n---", text, flags=re.S)
        found = re.search(r"^license:\s*(\S+)\s*$", head[1] if head else "", flags=re.M)
        return found[1].strip("'\"") if found else "unknown"

    def check_weights(self) -> None:
        """Check that the weights are there as safetensors, and against the hub's hashes, by which its cache names them.

        Raises UnsafeFileError where there are only pickled ones, MissingFileError where there are none, DataError where
        a hash differs.
        """
        files = sorted(self.path.glob("model*.safetensors"))
        pickled = sorted(path.name for path in self.path.glob("*.bin"))
        if not files and pickled:
            raise UnsafeFileError(
                f"weights of '{self.name}' are pickled ({pickled[0]}), which may run code, and were not loaded; "
                f"convert them to model.safetensors in {self.path}, or take a revision that has it"
            )
        if not files:
            raise MissingFileError(
                f"weights of '{self.name}' are not there: {self.path} has no model.safetensors; copy it there, or set "
                "weights to a file or to random"
            )
        for path in files:
            if self.commit and re.fullmatch(r"[0-9a-f]{64}", path.resolve().name):
                check_sha256(path, path.resolve().name, "remove it, so that it is fetched again")


def find_folder(name: str, revision: str | None, *, code: bool = False) -> Folder:
    """Find a network's files: in a folder, in the hub's cache, or, where it is not there, on the hub.

    ``code`` is whether Python files are wanted too. Raises MissingFileError, which says what to do, where they are
    missing or one has to ask for access.
    """
    short = name.removeprefix(PREFIX)
    local = home_expanded(Path(short))
    if local.is_dir():
        if not (local / "config.json").is_file():
            raise MissingFileError(f"'{name}' is a folder without config.json; give the one that save_pretrained wrote")
        return Folder(name, local.resolve())
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", short):
        raise MissingFileError(f"'{name}' is no folder, and no ORG/NAME of the hub; check the path")
    return _from_hub(name, short, revision, (*_WANTED, *(_CODE if code else ())))


def _from_hub(name: str, repository: str, revision: str | None, patterns: tuple[str, ...]) -> Folder:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    def fetched(**options: Any) -> Path:
        found = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=list(patterns), **options
        )
        return Path(found)

    try:
        path = fetched(local_files_only=True)
        if not any(path.glob("*.safetensors")) and not any(path.glob("*.bin")):
            path = fetched()
    except (HfHubHTTPError, OSError, ValueError):
        try:
            path = fetched()
        except GatedRepoError as error:
            raise MissingFileError(
                f"'{name}' asks for consent: accept its terms at https://huggingface.co/{repository} and log in once "
                "(hf auth login), then run this again"
            ) from error
        except (HfHubHTTPError, OSError, ValueError) as error:
            at = f" --revision {revision}" if revision else ""
            raise MissingFileError(
                f"'{name}'{' at ' + revision if revision else ''} is not in {huggingface_hub.constants.HF_HUB_CACHE} "
                f"and cannot be downloaded ({one_line(error)[:_SHOWN]}); on a machine with internet run: hf download "
                f"{repository}{at} --local-dir FOLDER, copy FOLDER here and name the network hf:FOLDER"
            ) from error
    if not (path / "config.json").is_file():
        raise DataError(f"'{name}' has no config.json and is no network of transformers; choose another")
    return Folder(name, path, path.name)
