"""The card of saved models, ``card.json``: what they are, where they came from, and what each file must hold.

All of it is plain values. What it claims is checked against the files before anything is made of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from voxelcast.core.errors import DataError, MissingFileError, OptionError, UnknownNameError
from voxelcast.core.validation import first_problem
from voxelcast.features.delays import Response
from voxelcast.features.hrf import bases
from voxelcast.store.readers.plain import read_json

FORMAT: Final = "voxelcast-models-1"
FILE: Final = "card.json"
_MOST: Final = 2**31
_MOST_DRAWN: Final = 100_000
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=,()-]{0,150}")

Count = Annotated[int, Field(ge=1, le=_MOST)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=rf"^{_KEY.pattern}$")]
Name = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""Text that may be shown: what drives a terminal is not in it."""
Shape = tuple[Annotated[int, Field(ge=0, le=_MOST)], ...]
Pair = tuple[str, str]
"""Subject and ROI."""


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class FileCard(_Plain):
    """A file: its name relative to the card, size in bytes and SHA-256."""

    name: Annotated[str, Field(min_length=1, max_length=400)]
    size: Annotated[int, Field(ge=1)]
    sha256: Hash


class InputCard(_Plain):
    """Where features come from; ``kind`` is one of `voxelcast.models.inputs.INPUTS`, which knows its facts."""

    kind: str
    facts: dict[str, Any]


class LayerCard(_Plain):
    """How a layer's features become the components that models see.

    Parameters
    ----------
    input : str
        Key of the input; empty of a layer that joins others.
    network, layer, pool : str
        What it is called in the results; ``pool`` is empty unless the experiment has several.
    kind : {"axes", "random", "none", "joined", "raw", "trained", "trunk"}
        Components along axes, by a random projection that is drawn from its seed, the features in double precision,
        the components of other layers (``members``) along axes, the features as a trained encoder reads them, what
        such an encoder predicts from members, or what a trunk makes of them.
    n_features : int
        Of all times where time was kept.
    n_times : int or None
        Steps of time that are weighed by a principal axis first, each of ``n_features``.
    scaled, whitened : bool
        Whether each feature, each component is centred and divided by its deviation over the training stimuli.
    half : bool
        Whether axes are kept, or raw features read, in half precision.
    delays : tuple of int, str or None
        Which moments of a time series count for a volume (`voxelcast.features.delays.Delays`), in TR; None where
        stimuli are no volumes, and of joined layers.
    rounding : float or None
        What keeping axes with less precision changes components by, in deviations of theirs, at most.
    facts : dict
        Of a trained encoder see `voxelcast.encoders.learned.rebuilt.TrainedMembers`; of a trunk the number of hidden
        units, ``width``, and whether they are ``rectified``.
    """

    input: str
    network: Name
    layer: Name
    pool: Name = ""
    kind: Literal["axes", "random", "none", "joined", "raw", "trained", "trunk"]
    n_features: Count
    n_times: Count | None = None
    n_components: Count
    scaled: bool = False
    whitened: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    half: bool = False
    rounding: float | None = None
    members: tuple[str, ...] = ()
    delays: tuple[Annotated[int, Field(ge=-10_000, le=10_000)], ...] | Response | None = None
    facts: dict[str, Any] = {}
    file: FileCard | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return " ".join(filter(None, (self.network, self.layer, self.pool)))

    @property
    def n_given(self) -> int:
        """How many features models are given: of a time series, all moments' components."""
        if self.delays is None:
            return self.n_components
        return self.n_components * len(bases(self.delays) if isinstance(self.delays, str) else self.delays)


class PartCard(_Plain):
    """A fitted model on one layer: an encoder's name, the form that it is kept in, its facts and sizes.

    ``n_voxels`` is how many of the pair's valid voxels it predicts.
    """

    layer: str
    encoder: Name
    form: Name
    facts: dict[str, Any] = {}
    hyperparameters: str = ""
    n_features: Count
    n_voxels: Count


class PairCard(_Plain):
    """The models of one subject x ROI.

    ``where`` says what the voxels' places are given in: ``{"kind": "volume", "shape": [x, y, z], "space": ""}`` or
    ``{"kind": "surface", "mesh": "", "n_vertices": [left, right], "n": [left, right, elsewhere]}``. ``scores`` are the
    row of the results; ``extras`` the shapes of further arrays of the file, by name. The file has the arrays of all
    of a subject's ROIs, named ``<roi>/<name>``.
    """

    subject: Name
    roi: Name
    n_voxels: Count
    n_valid: Count
    unit: Name = "arbitrary"
    parts: Annotated[tuple[PartCard, ...], Field(min_length=1)]
    where: dict[str, Any] | None = None
    scores: dict[str, Any] = {}
    extras: dict[str, Shape] = {}
    file: FileCard

    @property
    def pair(self) -> Pair:
        """Subject and ROI."""
        return self.subject, self.roi


class Card(_Plain):
    """What is in a folder of models.

    ``shards`` are the held-out stimuli of the run, by their ids, as they were extracted together; ``about`` holds what
    a reader wants to know and no program needs; ``tr_seconds`` is there for time series.
    """

    format: Literal["voxelcast-models-1"]
    name: Name
    voxelcast: Name
    tr_seconds: Annotated[float, Field(ge=1e-3, le=3600)] | None = None
    inputs: dict[Key, InputCard]
    layers: dict[Key, LayerCard]
    pairs: Annotated[tuple[PairCard, ...], Field(min_length=1)]
    shards: tuple[tuple[str, ...], ...] = ()
    about: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole(self) -> Card:
        for key, layer in self.layers.items():
            known = [one for one in layer.members if one in self.layers and not self.layers[one].members]
            joins = layer.kind in ("joined", "trained", "trunk")
            if joins and (len(known) != len(layer.members) or not known):
                raise ValueError(f"layers.{key} must join layers that the card has")
            if layer.kind == "random" and layer.n_components > _MOST_DRAWN:
                raise ValueError(f"layers.{key}.n_components of a random projection must be at most {_MOST_DRAWN}")
            if not joins and (layer.members or layer.input not in self.inputs):
                raise ValueError(f"layers.{key}.input must be one of the inputs; got {layer.input!r}")
        for pair in self.pairs:
            for part in pair.parts:
                if part.layer not in self.layers:
                    raise ValueError(f"a part of {pair.subject} {pair.roi} is on {part.layer!r}, which is no layer")
                if part.n_features > self.layers[part.layer].n_given:
                    raise ValueError(f"a part of {pair.subject} {pair.roi} has more features than its layer")
                if part.n_voxels > pair.n_valid or pair.n_valid > pair.n_voxels:
                    raise ValueError(f"{pair.subject} {pair.roi} has a part of more voxels than there are")
        if self.is_series != any(layer.delays is not None for layer in self.layers.values()):
            raise ValueError("tr_seconds and the layers' delays go together")
        if len(set(self.names)) < len(self.pairs):
            raise ValueError("pairs: a subject x ROI is there twice")
        return self

    @property
    def is_series(self) -> bool:
        """Whether stimuli are volumes of a time series."""
        return self.tr_seconds is not None

    @property
    def names(self) -> tuple[Pair, ...]:
        """Subject and ROI of all pairs."""
        return tuple(one.pair for one in self.pairs)

    @cached_property
    def by_pair(self) -> Mapping[Pair, PairCard]:
        """The pairs by subject and ROI."""
        return {one.pair: one for one in self.pairs}

    def chosen(self, subject: str | None = None, roi: str | None = None) -> tuple[PairCard, ...]:
        """Return the pairs of a subject, an ROI or both; raises UnknownNameError if there is none."""
        found = tuple(one for one in self.pairs if subject in (None, one.subject) and roi in (None, one.roi))
        if not found:
            there = ", ".join(" ".join(pair) for pair in self.names[:12])
            raise UnknownNameError(f"no model of {' '.join(filter(None, (subject, roi)))}; there are {there}")
        return found

    def layers_of(self, pairs: Sequence[PairCard]) -> tuple[str, ...]:
        """Return the keys of the layers that pairs need, members of joined ones too, in the card's order."""
        used = {part.layer for pair in pairs for part in pair.parts}
        used |= {member for key in used for member in self.layers[key].members}
        return tuple(key for key in self.layers if key in used)

    def text(self) -> str:
        """Write it as JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def layer_key(names: Sequence[str], taken: Sequence[str] = ()) -> str:
    """Make a key of what a layer is called, which can be a file's name and is none of those taken."""
    plain = re.sub(r"[^A-Za-z0-9._+=,()-]", "-", "-".join(filter(None, names)))[:140].lstrip("._+=,()-") or "layer"
    key, number = plain, 2
    while key in taken:
        key, number = f"{plain}-{number}", number + 1
    return key


def find_models(source: Path) -> Path:
    """Find the folder of models in what the user named: the folder itself, a run's output, or a file in it.

    Raises MissingFileError where there is none.
    """
    if source.is_file() and source.suffix == ".safetensors":
        source = source.parent
    for folder in (source, source / "models"):
        if (folder / FILE).is_file():
            return folder
    if not source.exists():
        raise MissingFileError(f"model {source} does not exist; give the folder of a run's results, or its models/")
    raise MissingFileError(
        f"{source} holds no saved models ({FILE}); run the experiment with models=roi or models=all, or say why a run "
        "saved none: see notes.json"
    )


def read_card(folder: Path) -> Card:
    """Read and check the card of a folder; raises DataError in one line for whatever is wrong with it."""
    path = folder / FILE
    plain = read_json(path, "model card", "fetch the model again")
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        got = plain.get("format") if isinstance(plain, dict) else type(plain).__name__
        raise DataError(f"{path} is no card of models that this version reads ({FORMAT}); got {str(got)[:80]!r}")
    try:
        return Card.model_validate(plain)
    except ValidationError as error:
        said = first_problem(error.errors(), Card, whole="docs/models.md")[:400]
        raise DataError(f"{path}: {said}; fetch the model again") from error
    except (RecursionError, OptionError) as error:
        raise DataError(f"{path} cannot be understood ({error}); fetch the model again") from error
