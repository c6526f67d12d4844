"""Saved models on their way: to another folder, or to and from the Hugging Face Hub, whose layout they have.

Nothing goes over the network unless the place is written ``hub:OWNER/NAME``.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from voxelcast.core.checks import optional_package
from voxelcast.core.errors import DataError, OptionError, StoreError, VoxelcastError, one_line
from voxelcast.models.card import FILE, Card, FileCard, find_models, read_card
from voxelcast.models.tensors import checked_file, file_sha256

HUB: Final = "hub:"


def card_files(card: Card) -> list[FileCard]:
    """Return the files that a card names, each once."""
    files = [layer.file for layer in card.layers.values() if layer.file is not None]
    return list({one.name: one for one in (*files, *(pair.file for pair in card.pairs))}.values())


def check_models(folder: Path, sha256: str | None = None) -> Card:
    """Read a card and every file that it names; ``sha256`` is what the card's own bytes must have.

    Raises DataError, UnsafeFileError or MissingFileError for what is not as it should be.
    """
    if sha256 is not None and file_sha256(folder / FILE) != sha256.lower():
        raise DataError(f"{folder / FILE} has not the SHA-256 {sha256}; it is another version of the models")
    card = read_card(folder)
    for one in card_files(card):
        checked_file(folder, one.name, one.size, one.sha256)
    return card


def push(model: Path, place: str) -> str:
    """Copy models, after a look at every file, into a new folder or to ``hub:OWNER/NAME``; return where they are.

    Raises StoreError if the folder holds something, MissingPackageError without huggingface_hub, and VoxelcastError
    where the Hub refuses.
    """
    folder = find_models(model)
    card = check_models(folder)
    names = [FILE, "README.md", *(one.name for one in card_files(card))]
    if not place.startswith(HUB):
        return str(_copy(folder, names, Path(place)))
    hub = _hub()
    try:
        api = hub.HfApi()
        api.create_repo(_repository(place)[0], exist_ok=True)
        return str(api.upload_folder(repo_id=_repository(place)[0], folder_path=str(folder), allow_patterns=names))
    except Exception as error:
        raise StoreError(f"{place} cannot be written ({one_line(error)}); log in with: hf auth login") from error


def pull(place: str, folder: Path, sha256: str | None = None) -> Card:
    """Copy models from a folder or from ``hub:OWNER/NAME[@REVISION]`` into a new folder, and look at every file.

    Raises as `push` and `check_models`; nothing stays of models that are not as their card says.
    """
    if not place.startswith(HUB):
        there = find_models(Path(place))
        card = check_models(there, sha256)
        _copy(there, [FILE, "README.md", *(one.name for one in card_files(card))], folder)
        return card
    _check_new(folder)
    name, revision = _repository(place)
    hub = _hub()
    try:
        hub.snapshot_download(
            name, revision=revision, local_dir=str(folder), allow_patterns=[FILE, "README.md", "*.safetensors"]
        )
    except Exception as error:
        raise StoreError(f"{place} cannot be fetched ({one_line(error)}); check its name and revision") from error
    try:
        return check_models(folder, sha256)
    except VoxelcastError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _repository(place: str) -> tuple[str, str | None]:
    name, _, revision = place.removeprefix(HUB).partition("@")
    if name.count("/") != 1 or not all(name.split("/")):
        raise OptionError(f"a place on the Hub is hub:OWNER/NAME, with @REVISION to pull; got {place!r}")
    return name, revision or None


def _hub() -> Any:
    needs = "the Hugging Face Hub needs huggingface_hub ({error}); install it: pip install 'voxelcast[hub]'"
    return optional_package("huggingface_hub", needs)


def _check_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is there already; choose a new or empty folder")


def _copy(source: Path, names: list[str], folder: Path) -> Path:
    _check_new(folder)
    for name in names:
        if (source / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name, follow_symlinks=False)
    return folder
