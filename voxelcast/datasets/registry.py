"""The kinds of dataset: ours, and those that other packages register."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import PlainValidator, SerializeAsAny, TypeAdapter, ValidationError

from voxelcast.core.checks import nearest
from voxelcast.core.errors import ConfigError, VoxelcastWarning
from voxelcast.core.registry import Registry
from voxelcast.core.validation import first_problem
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.settings import DatasetSettings

DatasetT = TypeVar("DatasetT", bound=type[Dataset])

DATASETS: Registry[type[Dataset]] = Registry(
    "dataset",
    "voxelcast.datasets",
    (
        "voxelcast.datasets.folder",
        "voxelcast.datasets.time_series",
        *(
            f"voxelcast.datasets.formats.{name}"
            for name in ("algonauts2021", "algonauts2023", "algonauts2025", "bold_moments", "simulated")
        ),
    ),
    remedy="List them: voxelcast datasets list",
)
"""Class of each kind."""


def register_dataset(cls: DatasetT) -> DatasetT:
    """Enter a dataset's class under its ``kind``; a decorator.

    Raises
    ------
    OptionError
        If another class has the kind.

    Examples
    --------
    >>> from typing import Literal
    >>> import voxelcast as vc
    >>> from voxelcast.core.settings import settings
    >>> from voxelcast.datasets.folder import FolderDataset
    >>> @vc.register_dataset
    ... class OurStudy(FolderDataset):
    ...     @settings
    ...     class Settings(FolderDataset.Settings):
    ...         kind: Literal["our_study"] = "our_study"
    >>> vc.open_dataset("our_study", "my_study").subjects
    ('sub01',)
    """
    DATASETS.add(cls.kind, cls)
    return cls


def list_datasets(pattern: str = "*") -> tuple[str, ...]:
    """List the kinds of dataset that match a pattern, sorted.

    Examples
    --------
    >>> import voxelcast as vc
    >>> vc.list_datasets("algonauts*")
    ('algonauts2021', 'algonauts2023', 'algonauts2025')
    """
    return DATASETS.names(pattern)


def dataset_settings(raw: object, section: str = "dataset") -> DatasetSettings:
    """Check the settings of a dataset of any kind.

    Parameters
    ----------
    raw : mapping or DatasetSettings
        With ``kind``, as in an experiment file.
    section : str
        Where they stand, for messages; empty outside an experiment file.

    Raises
    ------
    ConfigError
        With the first thing that is wrong, in one line.
    """
    if isinstance(raw, DatasetSettings):
        return raw
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{section or 'dataset'} must be settings like kind: folder; got {raw!r}")
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in DATASETS:
        near = nearest(str(kind), list_datasets())
        named = f"{section}.kind" if section else "kind"
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"{named} must be one of {', '.join(list_datasets())}; got {kind!r}{hint}")
    cls = DATASETS.get(kind).Settings
    try:
        return TypeAdapter(cls).validate_python(dict(raw))
    except ValidationError as error:
        where = "" if section else f"dataset {kind}: "
        raise ConfigError(where + first_problem(error.errors(), cls, section)) from error


AnyDatasetSettings = Annotated[SerializeAsAny[DatasetSettings], PlainValidator(dataset_settings)]
"""For pydantic: settings of any registered kind."""


def open_dataset(dataset: str | DatasetSettings, root: Path | str | None = None, **settings: Any) -> Dataset:
    """Open a dataset.

    Parameters
    ----------
    dataset : str or DatasetSettings
        A kind (`list_datasets`), or whole settings.
    root : Path or str
        Folder of the dataset.
    **settings
        As under ``dataset`` in an experiment file.

    Raises
    ------
    UnknownNameError, ConfigError
        For a kind or setting that does not exist or is not allowed.
    VoxelcastError
        For files that are missing or do not fit one another.

    Warns
    -----
    VoxelcastWarning
        Where the files are odd and yet may be right (`Dataset.notes`).

    Examples
    --------
    >>> import voxelcast as vc
    >>> dataset = vc.open_dataset("folder", "my_study", unit="beta")
    >>> dataset.responses("sub01", "all").labelled().dims
    ('stimulus', 'repetition', 'voxel')
    """
    if not isinstance(dataset, DatasetSettings):
        DATASETS.get(dataset)
        given = settings if root is None else {"root": root, **settings}
        dataset = dataset_settings({"kind": dataset, **given}, section="")
    opened = DATASETS.get(dataset.kind)(dataset)
    for note in opened.notes():
        warnings.warn(note, VoxelcastWarning, stacklevel=2)
    return opened


def open_once(settings: DatasetSettings) -> Dataset:
    """Open a dataset, or return the one that this process opened with the same settings (of the last two)."""
    return _opened(pickle.dumps(settings))


@lru_cache(maxsize=2)
def _opened(settings: bytes) -> Dataset:
    loaded = pickle.loads(settings)
    return DATASETS.get(loaded.kind)(loaded)


def close_all() -> None:
    """Forget what `open_once` opened."""
    _opened.cache_clear()
