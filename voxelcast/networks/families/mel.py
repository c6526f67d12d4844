r"""A built-in, weightless network: the log-mel spectrogram of sound, and its modulation over time.

Sound at 16 kHz is cut into frames of 25 ms every 10 ms, under a Hann window. The power of each of 64 bands, triangles
on the mel scale ``2595 log10(1 + f / 700)`` from 0 to 8 kHz [1]_, gives ``log10(max(power, 1e-10))``. A window's last
frame ends with it: nothing is heard ahead.

``mel`` is the mean over the frames of the newest 1/hz seconds. ``modulation`` is, in each band and at rates of 2, 4, 8,
16 and 32 Hz [2]_, the amplitude of the waves in the log-mel of the whole window: with its mean under a Hann window w
taken away, ``2 |sum_t w(t) mel(t) exp(-i 2 pi rate t)| / sum_t w(t)``. Stereo has the bands of the left channel, then
those of the right.

References
----------
.. [1] Davis, S. & Mermelstein, P. (1980). Comparison of parametric representations for monosyllabic word recognition.
   IEEE Trans. ASSP 28, 357-366. https://doi.org/10.1109/TASSP.1980.1163420
.. [2] Chi, T., Ru, P. & Shamma, S. A. (2005). Multiresolution spectrotemporal analysis of complex sounds. J. Acoust.
   Soc. Am. 118, 887-906. https://doi.org/10.1121/1.1945807
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.networks.base import Network, NetworkCard
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.hooks import LayerTrace
from voxelcast.networks.layer_sets import expand_layers
from voxelcast.networks.precision import same_bits
from voxelcast.networks.settings import NetworkSettings
from voxelcast.networks.streams import newest, sound_code
from voxelcast.stimuli.sampling import SoundSampling

NAME = "voxelcast/mel"
RATE = 16_000
N_BANDS = 64
RATES_HZ = (2.0, 4.0, 8.0, 16.0, 32.0)

_FRAME, _HOP, _FFT = 400, 160, 512  # samples
_FLOOR = 1e-10
_KINDS = {"mel": "log-mel spectrogram", "modulation": "modulation of the log-mel spectrogram"}


class Mel(Network):
    """Log-mel spectrogram: layers ``mel``, (n_windows, n_channels * 64), and ``modulation``, 5 rates for each band."""

    sound_rate = RATE

    def __init__(self, layers: Sequence[str], device: torch.device, sound: SoundSampling) -> None:
        self.layers = expand_layers(layers, tuple(_KINDS), NAME) if layers else ()
        shortest = 1 / RATES_HZ[0] if "modulation" in self.layers else _FRAME / RATE
        if sound.seconds < shortest:
            raise OptionError(f"windows of '{NAME}' must be at least {shortest:g} s long; got {sound.seconds:g} s")
        bank = mel_bank()
        self.card = NetworkCard(
            name=NAME,
            takes="sound",
            input_size=0,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            weights="none (built in)",
            weights_hash=hashlib.blake2b(bank.tobytes(), digest_size=16).hexdigest(),
            licence="none (no weights)",
            code=sound_code(sound),
        )
        self.device, self.sound = device, sound
        self._bank = torch.from_numpy(bank).to(device)

    def depths(self) -> Mapping[str, float]:
        """Return nothing: one is made of the other."""
        return {}

    def layer_names(self) -> tuple[str, ...]:
        """All layers."""
        return tuple(_KINDS)

    def layer_traces(self) -> tuple[LayerTrace, ...]:
        """Name, kind and shape of both layers."""
        assert self.sound is not None
        n = N_BANDS * (2 if self.sound.channels == "stereo" else 1)
        return tuple(
            LayerTrace(layer, kind, (n * (len(RATES_HZ) if layer == "modulation" else 1),), 1)
            for layer, kind in _KINDS.items()
        )

    def prepare(self, frames: FloatArray) -> torch.Tensor:
        """Bring windows (n_windows, n_channels, n_samples) to the device."""
        return torch.from_numpy(np.ascontiguousarray(frames)).to(self.device)

    def activations(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Compute the chosen layers of windows, each of shape (n_windows, n_features)."""
        assert self.sound is not None
        found: dict[str, torch.Tensor] = {}
        with torch.inference_mode(), same_bits():
            mel = self.log_mel(prepared)
            centres = (np.arange(mel.shape[-2]) * _HOP + self._first(prepared) + _FRAME / 2) / RATE
            if "mel" in self.layers:
                found["mel"] = mel[:, :, newest(centres, self.sound)].mean(2).flatten(1)
            if "modulation" in self.layers:
                found["modulation"] = _modulation(mel).flatten(1)
        return {layer: found[layer] for layer in self.layers}

    def log_mel(self, windows: torch.Tensor) -> torch.Tensor:
        """Compute the log-mel spectrogram of (..., n_samples): (..., n_frames, 64); the last frame ends the window."""
        frames = windows[..., self._first(windows) :].unfold(-1, _FRAME, _HOP)
        taper = torch.hann_window(_FRAME, device=self.device)
        power = torch.fft.rfft(frames * taper, n=_FFT).abs() ** 2
        mel: torch.Tensor = (power @ self._bank).clamp_min(_FLOOR).log10()
        return mel

    @staticmethod
    def _first(windows: torch.Tensor) -> int:
        return int((windows.shape[-1] - _FRAME) % _HOP)


def mel_bank() -> FloatArray:
    """Make the bands' weights of the spectrum's lines: float32, (257, 64)."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, N_BANDS + 2) / 2595) - 1)
    lines = np.linspace(0, RATE / 2, _FFT // 2 + 1)[:, None]
    rising = (lines - corners[:-2]) / np.diff(corners)[:-1]
    falling = (corners[2:] - lines) / np.diff(corners)[1:]
    # Rounded, so that another machine's last digit of a power does not make another network.
    return np.maximum(np.minimum(rising, falling), 0).round(6).astype(np.float32)


def _modulation(mel: torch.Tensor) -> torch.Tensor:
    """Give the amplitudes of waves over time in (..., n_frames, n_bands): (..., n_bands, n_rates)."""
    n = mel.shape[-2]
    taper = torch.hann_window(n, device=mel.device, dtype=torch.float64)
    taper = taper / taper.sum()
    times = torch.arange(n, device=mel.device, dtype=torch.float64) * _HOP / RATE
    angles = 2 * np.pi * times[:, None] * torch.tensor(RATES_HZ, device=mel.device, dtype=torch.float64)
    values = mel.double().transpose(-1, -2)
    values = values - (values @ taper)[..., None]
    waves = torch.stack([angles.cos(), angles.sin()]) * taper[:, None]
    return (2 * torch.hypot(values @ waves[0], values @ waves[1])).float()


@register_network("voxelcast_mel")
class BuiltInSound(Family):
    """The one built-in network that takes sound."""

    prefix = NAME

    def names(self) -> Sequence[str]:
        """List the one name."""
        return [NAME]

    def takes(self, name: str) -> Sequence[str]:
        """Name what only networks of sound have."""
        return ("sound",)

    def load(self, settings: NetworkSettings, seed: int, device: torch.device) -> Network:
        """Make the bands; there are no weights that a seed or a file could give, and there are no frames."""
        given = [name for name in ("mean", "std", "input_size") if getattr(settings, name) is not None]
        if given or settings.precision != "float32" or settings.chosen_weights != "none":
            raise OptionError(
                f"'{NAME}' is built in, takes sound and computes in float32: leave out mean, std, input_size, "
                f"precision and weights; got {', '.join(given) or settings.precision + ' ' + settings.chosen_weights}"
            )
        return Mel(settings.layers, device, settings.sound or SoundSampling())
