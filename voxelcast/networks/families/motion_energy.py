r"""A built-in, weightless network: a pyramid of Gabor filters for contrast energy and motion energy, and colour.

Luminance is filtered at five scales an octave apart and eight orientations by a quadrature pair (even and odd) of
Gabor filters. *Static energy* is the length of the pair's response, as of a complex cell,

    E(x, t) = sqrt(even(x, t)^2 + odd(x, t)^2).

*Motion energy* [1]_ combines the spatial pair with a temporal pair (cosine and sine under a Gaussian) at two temporal
frequencies into filters oriented in space and time. With the complex response G = even + i odd, where the filters are
laid over the picture (correlated with it), and the complex temporal filter h(s) = w(s) exp(i 2 pi f s), the energies
of drift along the filters' normal and against it are

    M+(x, t) = |sum_s G(x, t - s) h(s)|,      M-(x, t) = |sum_s G(x, t - s) conj(h(s))|.

The frequencies are in cycles per *sampled* frame, so the sampling of frames decides what they are in Hz: at 15 sampled
frames per second 1/8 and 1/4 are 1.9 and 3.8 Hz, near the 2 and 4 Hz of [2]_, whose pyramid this follows. All filters
have a mean of zero: uniform light drives no energy layer and what stands still no motion layer. Frames before the first
and after the last are taken to be equal to these; the motion energy of a picture is thus exactly zero.

References
----------
.. [1] Adelson, E. H. & Bergen, J. R. (1985). Spatiotemporal energy models for the perception of motion. J. Opt. Soc.
   Am. A 2, 284-299. https://doi.org/10.1364/JOSAA.2.000284
.. [2] Nishimoto, S. et al. (2011). Reconstructing visual experiences from brain activity evoked by natural movies.
   Curr. Biol. 21, 1641-1646. https://doi.org/10.1016/j.cub.2011.08.031
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as functional

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.networks.base import Network, NetworkCard
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.hooks import LayerTrace
from voxelcast.networks.layer_sets import expand_layers
from voxelcast.networks.precision import same_bits
from voxelcast.networks.settings import NetworkSettings

NAME = "voxelcast/motion_energy"
N_SCALES = 5
N_ORIENTATIONS = 8
TEMPORAL_FREQUENCIES = (1 / 8, 1 / 4)  # cycles per sampled frame
INPUT_SIZE = 96

_WAVELENGTH = 4.0  # pixels of the scale's own image
_SPATIAL_SD = 2.0  # pixels: half a wavelength, a bandwidth of about an octave
_RADIUS = 6  # pixels, and frames
_CYCLES_PER_SD = 3 / 8  # temporal: the Gaussian's deviation is 3 frames at 1/8 cycle per frame
_GRIDS = (8, 8, 8, 6, 6)  # cells per side over which static energy is averaged, finest scale first
_MOTION_GRID = 6
_KINDS = {"static": "spatial energy", "motion": "motion energy", "colour": "mean colour"}
_PIECE = 64  # frames whose motion energy is computed together


class MotionEnergy(Network):
    """Gabor energy pyramid over clips.

    Layers, each with time as its first axis: ``static.1`` (finest, input_size / 4 cycles per image) to ``static.5``
    (coarsest, 1/16 of that), with channels for the orientations 0, 22.5, ... 157.5 degrees of the grating's normal,
    clockwise on the screen from rightwards; ``motion.1`` to ``motion.5``, with channels for 16 directions of drift 0,
    22.5, ... 337.5 degrees at the lower, then at the higher temporal frequency; ``colour``, with mean luminance,
    red-green and blue-yellow. All are averaged over the cells of a grid. Frames are of at least 64 x 64 pixels.
    """

    def __init__(self, layers: Sequence[str], device: torch.device, input_size: int = INPUT_SIZE) -> None:
        if input_size < 64:
            raise OptionError(
                f"input_size of '{NAME}' must be at least 64, so that its coarsest scale fits; got {input_size}"
            )
        spatial, temporal = spatial_filters(), temporal_filters()
        digest = hashlib.blake2b(spatial.tobytes() + temporal.tobytes(), digest_size=16).hexdigest()
        self.card = NetworkCard(
            name=NAME,
            takes="clip",
            input_size=input_size,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            weights="none (built in)",
            weights_hash=digest,
            licence="none (no weights)",
        )
        self.device = device
        self._spatial = torch.from_numpy(spatial).to(device)
        self._temporal = torch.from_numpy(temporal).to(device)
        self.layers = expand_layers(layers, self.layer_names(), NAME) if layers else ()

    def depths(self) -> Mapping[str, float]:
        """Return nothing: filters lie side by side."""
        return {}

    def layer_names(self) -> tuple[str, ...]:
        """All layers."""
        scales = range(1, N_SCALES + 1)
        return (*(f"static.{k}" for k in scales), *(f"motion.{k}" for k in scales), "colour")

    def layer_traces(self) -> tuple[LayerTrace, ...]:
        """Name, kind and shape of all layers."""
        size = self.card.input_size
        outputs = MotionEnergy(self.layer_names(), self.device, size).activations(
            torch.zeros(1, 3, size, size, device=self.device)
        )
        return tuple(
            LayerTrace(layer, _KINDS[layer.split(".")[0]], tuple(output.shape[1:]), 1)
            for layer, output in outputs.items()
        )

    def activations(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Compute the chosen layers of one clip, each of shape (n_frames, n_channels, grid, grid)."""
        pieces: dict[str, list[torch.Tensor]] = {layer: [] for layer in self.layers}
        with torch.inference_mode(), same_bits():
            for start in range(0, len(prepared), _PIECE):
                for layer, values in self._piece(prepared, start, min(start + _PIECE, len(prepared))).items():
                    pieces[layer].append(values)
            return {layer: torch.cat(parts) for layer, parts in pieces.items()}

    def _piece(self, prepared: torch.Tensor, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Compute the chosen layers of frames ``start`` to ``stop - 1``."""
        # Motion needs the frames around; those beyond the ends are the first and the last frame again.
        around = torch.arange(start - _RADIUS, stop + _RADIUS, device=self.device).clamp(0, len(prepared) - 1)
        wants_motion = any(layer.startswith("motion.") for layer in self.layers)
        frames = prepared[around] if wants_motion else prepared[start:stop]
        inside = slice(_RADIUS, _RADIUS + stop - start) if wants_motion else slice(None)
        results: dict[str, torch.Tensor] = {}
        if "colour" in self.layers:
            results["colour"] = functional.adaptive_avg_pool2d(_opponents(frames[inside]), _GRIDS[0])
        image = _luminance(frames)
        for scale in range(1, N_SCALES + 1):
            if scale > 1:
                size = round(self.card.input_size / 2 ** (scale - 1))
                image = functional.interpolate(
                    image, size=(size, size), mode="bilinear", align_corners=False, antialias=True
                )
            static, motion = f"static.{scale}", f"motion.{scale}"
            if static not in self.layers and motion not in self.layers:
                continue
            even, odd = self._pair(image)
            if static in self.layers:
                energy = torch.hypot(even[inside], odd[inside])
                results[static] = functional.adaptive_avg_pool2d(energy, _GRIDS[scale - 1])
            if motion in self.layers:
                results[motion] = self._motion(even, odd)
        return results

    def _pair(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Filter images (n, 1, size, size) by the even and the odd filters: twice (n, n_orientations, ., .)."""
        padded = functional.pad(image, (_RADIUS,) * 4, mode="replicate")
        # Energy varies slowly over space: every second position of the large scales is enough.
        both = functional.conv2d(padded, self._spatial, stride=2 if image.shape[-1] >= 48 else 1)
        return both[:, :N_ORIENTATIONS], both[:, N_ORIENTATIONS:]

    def _motion(self, even: torch.Tensor, odd: torch.Tensor) -> torch.Tensor:
        """Combine the spatial pair over time, (n + 2 radius, n_orientations, ., .), to motion energy (n, ...).

        The filters are zero-mean, so taking the first frame from all changes nothing, except that what stands still
        becomes exactly zero instead of rounding.
        """
        even, odd = even - even[:1], odd - odd[:1]
        energies = []
        for cosine, sine in self._temporal.unbind():
            even_cos, even_sin, odd_cos, odd_sin = (
                _filter_time(values, kernel) for values in (even, odd) for kernel in (cosine, sine)
            )
            energies.append(torch.hypot(even_cos - odd_sin, odd_cos + even_sin))  # drift along the normal
            energies.append(torch.hypot(even_cos + odd_sin, odd_cos - even_sin))  # drift against it
        return functional.adaptive_avg_pool2d(torch.cat(energies, dim=1), _MOTION_GRID)


@register_network("voxelcast")
class BuiltIn(Family):
    """The one built-in network."""

    prefix = "voxelcast/"

    def names(self) -> Sequence[str]:
        """List the one name."""
        return [NAME]

    def load(self, settings: NetworkSettings, seed: int, device: torch.device) -> Network:
        """Make the filters; there are no weights that a seed or a file could give."""
        if settings.precision != "float32":
            raise OptionError(f"precision of '{NAME}' must be float32; got {settings.precision!r}; leave it out")
        weights, mean, std = settings.chosen_weights, settings.mean, settings.std
        if weights != "none":
            raise OptionError(f"weights of '{NAME}' must be none (it is built in); got {weights!r}; leave it out")
        if mean is not None or std is not None:
            raise OptionError(f"mean and std of '{NAME}' are fixed; got mean={mean}, std={std}; leave them out")
        return MotionEnergy(settings.layers, device, settings.input_size or INPUT_SIZE)


def spatial_filters() -> FloatArray:
    """Make the even filters of all orientations, then the odd ones; a matching grating of amplitude a drives a.

    They are float32, of shape (2 * n_orientations, 1, 13, 13).
    """
    y, x = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1].astype(np.float64)
    envelope = np.exp(-(x**2 + y**2) / (2 * _SPATIAL_SD**2))
    angles = np.pi * np.arange(N_ORIENTATIONS)[:, None, None] / N_ORIENTATIONS
    along = x * np.cos(angles) + y * np.sin(angles)
    waves = envelope * np.exp(2j * np.pi * along / _WAVELENGTH)
    waves -= envelope * (waves.sum(axis=(1, 2)) / envelope.sum())[:, None, None]
    waves *= 2 / envelope.sum()
    filters: FloatArray = np.concatenate([waves.real, waves.imag])[:, None]
    # Rounded, so that another machine's last digit of an exponential does not make another network.
    return filters.round(6).astype(np.float32)


def temporal_filters() -> FloatArray:
    """Make the cosine and sine filters of each temporal frequency: float32, (n_frequencies, 2, 13).

    Index ``_RADIUS + s`` weighs the frame s frames ago.
    """
    ago = np.arange(-_RADIUS, _RADIUS + 1).astype(np.float64)
    pairs = []
    for frequency in TEMPORAL_FREQUENCIES:
        envelope = np.exp(-0.5 * (ago * frequency / _CYCLES_PER_SD) ** 2)
        envelope /= envelope.sum()
        wave = envelope * np.exp(2j * np.pi * frequency * ago)
        wave -= envelope * wave.sum()
        pairs.append([wave.real, wave.imag])
    return np.array(pairs).round(6).astype(np.float32)


def _filter_time(values: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolve (n + 2 radius, ...) with a kernel along the first axis; the result has n entries."""
    n = len(values) - 2 * _RADIUS
    # A banded matrix: row t holds the kernel, backwards, over the frames t - radius to t + radius.
    band = torch.zeros(n, len(values), device=values.device)
    for offset, weight in enumerate(kernel.flip(0)):
        band.diagonal(offset).fill_(weight)
    filtered: torch.Tensor = torch.tensordot(band, values, dims=1)
    return filtered


def _luminance(frames: torch.Tensor) -> torch.Tensor:
    """Weigh RGB in [0, 1], (n, 3, h, w), as ITU-R BT.601 does: (n, 1, h, w)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=frames.device)
    luminance: torch.Tensor = torch.tensordot(frames, weights, dims=([1], [0]))
    return luminance.unsqueeze(1)


def _opponents(frames: torch.Tensor) -> torch.Tensor:
    """Turn RGB (n, 3, h, w) into luminance, red minus green, and blue minus yellow."""
    red, green, blue = frames.unbind(1)
    return torch.stack([_luminance(frames).squeeze(1), red - green, blue - (red + green) / 2], dim=1)
