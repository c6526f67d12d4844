"""A saved model, loaded: stimuli or features in, responses of voxels out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, OptionError, UnknownNameError, VoxelcastWarning
from voxelcast.core.progress import Progress, Silent, python_progress
from voxelcast.features.delays import delays_of
from voxelcast.models.card import Card, FileCard, Pair, PairCard, Shape, find_models, read_card
from voxelcast.models.device import Device
from voxelcast.models.honesty import Honesty, Judgement
from voxelcast.models.inputs import INPUTS, ModelInput, Needs
from voxelcast.models.layers import Layer, layer_shapes
from voxelcast.models.pair import PairModel, pair_shapes
from voxelcast.models.shards import SHARD, divide
from voxelcast.models.stimuli import Shown, run_places, shown
from voxelcast.models.tensors import checked_file, read_tensors

if TYPE_CHECKING:
    import xarray as xr

    from voxelcast.networks.base import Network

Texts = str | Path | Mapping[str, str]
_OF_GPU: Final = 32  # the part of a GPU's memory that the features of a shard may take, several times over
_MOST_SHARDS: Final = 16


@dataclass(frozen=True, eq=False)
class Predictions(Mapping[Pair, "xr.DataArray"]):
    """Predicted responses to some stimuli, by subject and ROI; each is labelled (stimulus, voxel) when it is taken.

    Parameters
    ----------
    ids : tuple of str
        Of the stimuli.
    arrays : mapping of (str, str) to ndarray of shape (n_stimuli, n_voxels), float64
    units : mapping of (str, str) to str
    judgements : mapping of (str, str) to Judgement
        How far each is to be believed; coordinates of the labelled arrays.
    """

    ids: tuple[str, ...]
    arrays: Mapping[Pair, FloatArray]
    units: Mapping[Pair, str]
    judgements: Mapping[Pair, Judgement]

    def __getitem__(self, pair: Pair) -> xr.DataArray:
        import xarray as xr

        subject, roi = pair
        judged = self.judgements[pair]
        coords: dict[str, Any] = {"stimulus": list(self.ids), "subject": subject, "roi": roi}
        coords |= {name: ("stimulus", values) for name, values in judged.of_stimuli.items()}
        coords |= {name: ("voxel", values) for name, values in judged.of_voxels.items()}
        attrs: dict[str, Any] = {"unit": self.units[pair]}
        if judged.intervals is not None:
            attrs |= {"level": judged.intervals.level, "no_interval": judged.intervals.reason}
        return xr.DataArray(self.arrays[pair], dims=("stimulus", "voxel"), coords=coords, name="response", attrs=attrs)

    @property
    def unlike_warning(self) -> str:
        """Say which stimuli are unlike those that were learnt from, where these are more than by chance; else empty."""
        known = [one for one in self.judgements.values() if one.novelty is not None]
        unlike = np.any([one.unlike for one in known], axis=0) if known else np.zeros(0, dtype=np.bool_)
        if not any(one.more_than_chance for one in known):
            return ""
        ids = [name for name, is_unlike in zip(self.ids, unlike, strict=True) if is_unlike]
        return (
            f"{len(ids)} of {len(self.ids)} stimuli are unlike those that the model learnt from, and its scores and "
            f"intervals say nothing of them: {', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}"
        )

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


class SavedEncoder:
    """Encoding models of a run, of one or several subjects and ROIs; files are read when they are needed.

    Made by `load_encoder`.
    """

    def __init__(self, folder: Path, card: Card, pairs: Sequence[PairCard], needs: Needs) -> None:
        self.folder, self.card, self._chosen, self._needs = folder, card, tuple(pairs), needs
        self.device = Device(needs.device)
        self._sound: dict[str, Path] = {}
        self._layers: dict[str, Layer] = {}
        self._models: dict[Pair, PairModel] = {}
        self._known: dict[Pair, Honesty] = {}

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Subject and ROI of the models that were chosen."""
        return tuple(one.pair for one in self._chosen)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Keys of the layers that the models weigh, in the card's order; those that joined layers join, too."""
        return self.card.layers_of(self._chosen)

    @cached_property
    def inputs(self) -> Mapping[str, ModelInput]:
        """The sources of the layers' features, by their keys in the card."""
        found: dict[str, ModelInput] = {}
        for key, one in self.card.inputs.items():
            layers = {name: self.card.layers[name] for name in self.needed if self.card.layers[name].input == key}
            if layers:
                found[key] = INPUTS.get(one.kind)(key, one.facts, layers, self._needs)
        return found

    def network(self, name: str | None = None) -> Network:
        """Return a network that the models look through, by its name in the results; None: the only one.

        Raises UnknownNameError if there is none of that name, DataError if it is not the one that was fitted with.
        """
        from voxelcast.models.network_input import NetworkInput

        there = {one.shown_name: one for one in self.inputs.values() if isinstance(one, NetworkInput)}
        if name is None and len(there) != 1:
            raise UnknownNameError(f"name one of the {len(there)} networks: {', '.join(there) or 'there is none'}")
        name = next(iter(there)) if name is None else name
        check_known("network", name, tuple(there), where="in this model")
        return there[name].network

    def layer(self, key: str) -> Layer:
        """Return the transform of a layer, by its key in the card."""
        if key not in self._layers:
            check_known("layer", key, tuple(self.card.layers), where="in this model")
            card = self.card.layers[key]
            sizes = {member: self.card.layers[member].n_given for member in card.members}
            shapes = layer_shapes(card, sizes)
            arrays: dict[str, NDArray[Any]] = {}
            if card.file is not None or shapes:
                arrays = self._read(card.file, shapes, f"layer {key}")
            trained = card.kind == "trained"
            backbone = self.inputs[self.card.layers[card.members[0]].input].backbone if trained else None
            self._layers[key] = Layer.of(key, card, arrays, self.device, backbone)
        return self._layers[key]

    def pair(self, pair: Pair) -> PairModel:
        """Return the models of a subject and ROI."""
        if pair not in self._models:
            arrays = self.arrays(pair)
            self._models[pair] = PairModel.of(self._card_of(pair).parts, arrays, self.device)
            self._known[pair] = Honesty.of(arrays)
        return self._models[pair]

    def arrays(self, pair: Pair) -> dict[str, NDArray[Any]]:
        """Read all arrays of a pair's file; ``where.*`` say where voxels lie, ``extra.*`` are further ones."""
        card = self._card_of(pair)
        return self._read(card.file, pair_shapes(card), " ".join(pair), card.roi)

    def honesty(self, pair: Pair) -> Honesty:
        """Return what is known of the predictions of a subject and ROI: scores, intervals, novelty of stimuli."""
        self.pair(pair)
        return self._known[pair]

    def _card_of(self, pair: Pair) -> PairCard:
        if pair not in self.card.by_pair:
            self.card.chosen(*pair)
        return self.card.by_pair[pair]

    def _read(
        self, file: FileCard | None, shapes: Mapping[str, Shape], what: str, group: str = ""
    ) -> dict[str, NDArray[Any]]:
        """Read the arrays of a file whose bytes are those of the card; they are hashed once."""
        if file is None:
            raise DataError(f"{what} needs a file, and the card names none; fetch the model again")
        if file.name not in self._sound:
            self._sound[file.name] = checked_file(self.folder, file.name, file.size, file.sha256)
        return read_tensors(self._sound[file.name], shapes, group)

    def shown(self, stimuli: Any, texts: Texts | None = None) -> Shown:
        """Understand stimuli, and what networks read of them, as `predict` takes them."""
        given = shown(stimuli, {key: self.card.layers[key] for key in self.needed}, self.card.tr_seconds)
        return given if texts is None else given.reading(texts)

    def shards(self, ids: Sequence[str]) -> list[list[int]]:
        """Divide stimuli, positions in ``ids``, into those that are looked at together; of new ones more on a GPU."""
        if self.device.kind == "cpu":
            return divide(ids, self.card.shards)
        layers = [self.card.layers[key] for key in self.needed if self.card.layers[key].kind != "joined"]
        each = 4 * sum(layer.n_features * (layer.n_times or 1) for layer in layers)
        size = self.device.memory // _OF_GPU // each // SHARD * SHARD
        return divide(ids, self.card.shards, min(max(size, SHARD), _MOST_SHARDS * SHARD))

    def features(self, stimuli: Any) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """Give the layers' features of stimuli, shard by shard.

        Yields
        ------
        positions : list of int
            Of the shard's stimuli.
        features : dict of str to array of shape (n_shard, n_features), float32
            By the layers' keys; on the device.
        """
        given = self.shown(stimuli)
        shards = self.shards(given.ids)
        if given.features:
            for shard in shards:
                yield shard, {key: self._put(values[shard]) for key, values in given.features.items()}
            return
        streams = [one.features(given, shards) for one in self.inputs.values()]
        for shard in shards:
            features: dict[str, Any] = {}
            for stream in streams:
                with self.device.alone():
                    features |= {key: self._put(values) for key, values in next(stream).items()}
            yield shard, features

    def _put(self, values: Any) -> Any:
        return self.device.put(values) if isinstance(values, np.ndarray) else values

    def scores(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Return the components of the layers that the models weigh, (n_stimuli, n_components), on the device.

        Of time series those of single layers; `moments` joins them.
        """
        layers = {key: self.layer(key) for key in self.needed}
        if self.card.is_series:
            layers = {key: layer for key, layer in layers.items() if not layer.card.members}
        with self.device.alone():
            return project(layers, features)

    def moments(self, components: Mapping[str, Any], ids: Sequence[str] = ()) -> Mapping[str, Any]:
        """Give each volume the components of its moments, (n_volumes, n_given); where stimuli are none they stay.

        ``ids`` say the runs (`run_places`); left out: all are one run's, in order.
        """
        if self.card.tr_seconds is None:
            return components
        found = {}
        for key, values in components.items():
            named = list(map(str, range(len(values))))
            at = dict(zip(named, run_places(ids or named), strict=True))
            delayed = delays_of(named, named, at, self.card.layers[key].delays or (0,), self.card.tr_seconds)
            found[key] = self.device.put(delayed.of(self.device.numpy(values)))
        with self.device.alone():
            joined = [key for key in self.needed if self.card.layers[key].members]
            return project({key: self.layer(key) for key in joined}, {}, found)

    def respond(self, components: Mapping[str, Any], pair: Pair) -> FloatArray:
        """Predict responses, (n_stimuli, n_voxels), from layers' components; of time series, a run's."""
        components = self.moments(components)
        with self.device.alone():
            return self.pair(pair).respond(components)

    def batches(self, stimuli: Any) -> Iterator[tuple[list[int], dict[Pair, FloatArray]]]:
        """Predict shard by shard: positions of the stimuli, and their responses by subject and ROI.

        Of time series, whose volumes depend on those before, all at once.
        """
        for positions, found, _ in self._looked_at(self.shown(stimuli), Silent()):
            yield positions, found

    def _looked_at(
        self, given: Shown, progress: Progress
    ) -> Iterator[tuple[list[int], dict[Pair, FloatArray], dict[str, Any]]]:
        """Predict as `batches` does, and give the layers' components too."""
        if not self.card.is_series:
            for shard, features in self.features(given):
                components = self.scores(features)
                yield shard, {pair: self.respond(components, pair) for pair in self.pairs}, components
                progress.advance(len(shard))
            return
        parts = []
        for shard, features in self.features(given):
            parts.append((shard, self._on_cpu(self.scores(features))))
            progress.advance(len(shard))
        order = np.argsort(np.concatenate([shard for shard, _ in parts]), kind="stable")
        keys = parts[0][1]
        whole = {key: np.concatenate([found[key] for _, found in parts])[order] for key in keys}
        put = {key: self.device.put(values) for key, values in whole.items()}
        moments = self.moments(put, given.ids)
        with self.device.alone():
            yield list(range(len(given.ids))), {pair: self.pair(pair).respond(moments) for pair in self.pairs}, put

    def of(self, subject: str, roi: str) -> SavedEncoder:
        """Return the models of one subject and ROI; networks and files that were read are shared."""
        one = SavedEncoder(self.folder, self.card, self.card.chosen(subject, roi), self._needs)
        one._layers, one._models, one._known = self._layers, self._models, self._known
        one._sound = self._sound
        if "inputs" in self.__dict__ and one.needed == self.needed:
            one.__dict__["inputs"] = self.inputs
        return one

    def _on_cpu(self, components: Mapping[str, Any]) -> dict[str, FloatArray]:
        return {key: self.device.numpy(values) for key, values in components.items()}

    def predict(
        self,
        stimuli: Any,
        *,
        intervals: float | None = None,
        texts: Texts | None = None,
        progress: Progress | bool = False,
    ) -> Predictions:
        """Predict the responses to stimuli.

        Parameters
        ----------
        stimuli : path, sequence of paths, ndarray, or mapping
            A video or image, a folder or zip archive of them, a list of files; frames as an array of uint8, RGB, of
            shape (n_stimuli, height, width, 3) for pictures or (n_stimuli, n_frames, height, width, 3) for videos, or a
            mapping from ids to frames; or ready features: an array (n_stimuli, n_features) of the one layer that is
            weighed, a mapping from layers to such, an .npz of them or a folder of ``voxelcast extract``. Of time series
            each movie is a run, cut into volumes (TR) with the ids ``<movie>/tr<number>``; what is named so is put by
            it, all else is the volumes of one run, in order. For networks that read alone: a table as ``texts``.
        intervals : float, optional
            Level of prediction intervals, e.g. 0.95; None: none.
        texts : path, or mapping of str to str, optional
            What networks read of the stimuli: a table ``stimulus_id,text``, or texts by the ids.
        progress : bool or Progress
            Whether a bar shows how far it is (lines of ``logging`` where there is no terminal).

        Returns
        -------
        predictions : Predictions
            A mapping from (subject, ROI) to DataArray of shape (stimulus, voxel), in the unit of the responses. Its
            coordinates say how far it is to be believed: by ``voxel`` its nested score ``pearson_r``,
            ``noise_ceiling_r``, ``q_value`` and the ``half_width`` of the interval of a measured response; by
            ``stimulus`` its ``novelty`` (distance from the training stimuli, in units of theirs), ``novelty_p`` and
            whether it is ``unlike`` them (`voxelcast.scoring.novelty`). What is not known is not there. What a
            run predicted for its held-out stimuli comes out to the last bit on the same kind of device, if all of them
            are given that were extracted together.

        Raises
        ------
        OptionError, MissingFileError, StimulusError, DataError, ShapeError, AlignmentError
            For stimuli that cannot be understood or read, a file of the model that is not what its card says, or
            intervals of a model that has none.

        Warns
        -----
        VoxelcastWarning
            Where more stimuli than chance lets expect are unlike those that the model learnt from.
        """
        shown = python_progress(progress, "voxelcast.predict")
        predictions = self.judged(self.shown(stimuli, texts), intervals, shown)
        unlike = predictions.unlike_warning
        if unlike:
            warnings.warn(unlike, VoxelcastWarning, stacklevel=2)
        return predictions

    def judged(self, given: Shown, level: float | None = None, progress: Progress | None = None) -> Predictions:
        """Predict as `predict` does, without a warning."""
        values: dict[Pair, FloatArray] = {}
        judgements = {pair: Judgement.of(self.honesty(pair), len(given.ids), level) for pair in self.pairs}
        progress = progress or Silent()
        progress.start("predict responses", len(given.ids), "stimulus")
        for positions, found, components in self._looked_at(given, progress):
            for pair, responses in found.items():
                values.setdefault(pair, np.empty((len(given.ids), responses.shape[1])))[positions] = responses
                if judgements[pair].novelty is not None:
                    seen = self.device.numpy(components[self.pair(pair).heaviest.card.layer])
                    judgements[pair].judge(positions, seen)
        progress.finish()
        return Predictions(given.ids, values, {one.pair: one.unit for one in self._chosen}, judgements)


def project(
    layers: Mapping[str, Layer], features: Mapping[str, Any], known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the components of layers, from features by their keys; those of layers that others join may be known."""
    found: dict[str, Any] = dict(known or {})
    for key, layer in layers.items():
        if not layer.card.members:
            found[key] = layer.components(features[key])
    for key, layer in layers.items():
        if layer.card.members:
            found[key] = layer.joined(found)
    return found


def load_encoder(
    model: str | Path,
    *,
    subject: str | None = None,
    roi: str | None = None,
    device: str = "cpu",
    weights: Mapping[str, str | Path] | None = None,
    own_code: bool = False,
) -> SavedEncoder:
    """Load saved encoding models; nothing in them is executed, and files are read when they are needed.

    Parameters
    ----------
    model : str or Path
        The output folder of a run, its ``models`` folder, or the file of one subject in it.
    subject, roi : str or None
        Which of the models; None: all.
    device : str
        Where networks and models compute: ``"cpu"``, ``"cuda"``, ...
    weights : mapping of str to path, or None
        Files of weights, by the network's name in the results, where a run's network had weights of a file.
    own_code : bool
        Whether a network of somebody's own code (``module:...``) may be imported.

    Returns
    -------
    encoder : SavedEncoder
        Its ``predict`` takes stimuli; ``card`` says what it is.

    Raises
    ------
    MissingFileError, DataError, UnsafeFileError
        If there is no model, or its card is damaged or foreign.
    UnknownNameError, OptionError
        If there is no such subject or ROI, or this machine has not the device.

    Examples
    --------
    >>> import voxelcast as vc
    >>> try:
    ...     vc.load_encoder("no/such/folder")
    ... except vc.VoxelcastError as error:
    ...     print(str(error)[:39])
    model no/such/folder does not exist; gi
    """
    if device != "cpu":
        from voxelcast.networks.module_network import check_device

        check_device(device)
    source = Path(model)
    folder = find_models(source)
    card = read_card(folder)
    pairs = card.chosen(subject, roi)
    if source.suffix == ".safetensors":
        pairs = tuple(one for one in pairs if one.file.name == source.name)
        if not pairs:
            raise OptionError(f"{source} is the file of no subject of the card; give the folder")
    given = {name: str(path) for name, path in (weights or {}).items()}
    return SavedEncoder(folder, card, pairs, Needs(device, given, own_code))
