r"""VOneNet's first stage: a fixed model of the primary visual cortex (V1).

Frames are filtered by 512 Gabor functions in two phases a quarter period apart. With the responses q0 and q1, the
first 256 channels are simple cells and the others complex cells,

    simple = k max(q0, 0),      complex = k sqrt(q0^2 + q1^2) / sqrt(2),      k = 25 (spikes in the response window),

and neuronal noise, where it is wanted, makes a rate r out of each: with s = 0.35, l = 0.07 and a standard normal e,

    u = s r + l,      r' = max(0, ((u + e sqrt(max(u, 0) + 1e-4)) - l) / s).

The noise is drawn once from a seed and is the same for every frame: features then depend neither on batches nor on the
order of frames, and not on the device beyond rounding.

A checkpoint brings its own filters. Those of random weights are drawn anew from the same distribution, but for its
histograms' corners: a log-normal of spatial frequency [2]_ and of the envelope's two sizes in periods [3]_, cut to the
ranges seen in macaque V1. The size along the grating follows the frequency (correlation .75 of the logarithms [4]_),
that across follows the size along (.64: the scatter of [3]_), and so has .47 with the frequency. More cells prefer
horizontal and vertical than oblique [5]_. Phases are uniform.

References
----------
.. [1] Dapello, J., Marques, T. et al. (2020). Simulating a primary visual cortex at the front of CNNs improves
   robustness to image perturbations. NeurIPS 33. https://doi.org/10.1101/2020.06.16.154542
.. [2] De Valois, R. L., Albrecht, D. G. & Thorell, L. G. (1982). Spatial frequency selectivity of cells in macaque
   visual cortex. Vision Res. 22, 545-559. https://doi.org/10.1016/0042-6989(82)90113-4
.. [3] Ringach, D. L. (2002). Spatial structure and symmetry of simple-cell receptive fields in macaque primary visual
   cortex. J. Neurophysiol. 88, 455-463. https://doi.org/10.1152/jn.2002.88.1.455
.. [4] Schiller, P. H., Finlay, B. L. & Volman, S. F. (1976). Quantitative studies of single-cell properties in monkey
   striate cortex. III. J. Neurophysiol. 39, 1334-1351. https://doi.org/10.1152/jn.1976.39.6.1334
.. [5] De Valois, R. L., Yund, E. W. & Hepler, N. (1982). The orientation and direction selectivity of cells in macaque
   visual cortex. Vision Res. 22, 531-544. https://doi.org/10.1016/0042-6989(82)90112-2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import generator

N_SIMPLE = 256
N_COMPLEX = 256
KERNEL = 25  # pixels
STRIDE = 4
EXCITATION = 25.0
NOISE_SCALE = 0.35
NOISE_LEVEL = 0.07
PIXELS_PER_DEGREE = 28  # 224 pixels see 8 degrees of visual angle

# Cycles per degree, and standard deviations of the envelope along and across the grating in periods.
_LOWEST, _HIGHEST = np.array([0.5, 0.1, 0.1]), np.array([8.0, 0.91, 1.58])
# Before they are cut to this: medians, deviations in octaves, and correlations of neighbours. Afterwards medians are
# 2.8, .36 and .42, deviations .85, .63 and .94, and correlations those of the module's text.
_MEDIANS, _OCTAVES = np.array([3.1, 0.395, 0.47]), np.array([1.13, 0.84, 1.29])
_FREQUENCY_ALONG, _ALONG_ACROSS = 0.84, 0.775
_ORIENTATIONS = (0.27, 0.2, 0.31, 0.22)  # shares of the eighths of a turn about 0, 45, 90 and 135 degrees


@dataclass(frozen=True)
class GaborParameters:
    """Parameters of Gabor functions, each an ndarray of shape (n_filters,).

    Orientation and phase are in radians, frequency in cycles per degree; ``n_along`` and ``n_across`` are standard
    deviations of the envelope along and across the grating's direction of change, in periods; ``colour`` is the input
    channel that the filter looks at.
    """

    orientation: FloatArray
    phase: FloatArray
    frequency: FloatArray
    n_along: FloatArray
    n_across: FloatArray
    colour: np.ndarray[tuple[int], np.dtype[np.int64]]


def draw_parameters(rng: np.random.Generator, n_filters: int) -> GaborParameters:
    """Draw Gabor functions as of macaque V1 (see the module's text)."""
    kept = np.empty((0, 3))
    while len(kept) < n_filters:
        frequency, along, across = rng.standard_normal((3, n_filters))
        along = _mix(_FREQUENCY_ALONG, frequency, along)
        across = _mix(_ALONG_ACROSS, along, across)
        drawn = _MEDIANS * 2 ** (_OCTAVES * np.stack([frequency, along, across], axis=1))
        kept = np.concatenate([kept, drawn[((drawn >= _LOWEST) & (drawn <= _HIGHEST)).all(1)]])
    frequency, n_along, n_across = kept[:n_filters].T
    eighth = rng.choice(len(_ORIENTATIONS), n_filters, p=_ORIENTATIONS)
    return GaborParameters(
        orientation=(np.pi / 4 * (eighth + rng.uniform(-0.5, 0.5, n_filters))) % np.pi,
        phase=rng.uniform(0, 2 * np.pi, n_filters),
        frequency=frequency,
        n_along=n_along,
        n_across=n_across,
        colour=rng.integers(0, 3, n_filters),
    )


def _mix(correlation: float, first: FloatArray, second: FloatArray) -> FloatArray:
    """Make of independent standard normals one that correlates with the first."""
    return np.asarray(correlation * first + (1 - correlation**2) ** 0.5 * second)


def gabor_filters(parameters: GaborParameters, *, quadrature: bool = False) -> FloatArray:
    r"""Sample Gabor functions, with a quarter period added to the phase for ``quadrature``.

    With x' the position along the grating's direction of change, y' across, f in cycles per pixel, and the deviations
    a = n_along / f and b = n_across / f,

        g(x, y) = exp(-(x'^2 / a^2 + y'^2 / b^2) / 2) cos(2 pi f x' + phase) / (2 pi a b).

    They are float32, (n_filters, 3, KERNEL, KERNEL), and zero in all input channels but one.
    """
    steps = np.arange(KERNEL) - KERNEL // 2
    y, x = np.meshgrid(steps, steps, indexing="ij")
    turn, phase = (values[:, None, None] for values in (parameters.orientation, parameters.phase))
    cycles = parameters.frequency[:, None, None] / PIXELS_PER_DEGREE
    along = x * np.cos(turn) + y * np.sin(turn)
    across = -x * np.sin(turn) + y * np.cos(turn)
    a, b = parameters.n_along[:, None, None] / cycles, parameters.n_across[:, None, None] / cycles
    envelope = np.exp(-((along / a) ** 2 + (across / b) ** 2) / 2) / (2 * np.pi * a * b)
    shift = np.pi / 2 if quadrature else 0.0
    filters = np.zeros((len(turn), 3, KERNEL, KERNEL), np.float32)
    filters[np.arange(len(turn)), parameters.colour] = envelope * np.cos(2 * np.pi * cycles * along + phase + shift)
    return filters


class VOneBlock(nn.Module):
    """The V1 stage: frames of shape (n_frames, 3, height, width) to rates (n_frames, 512, height / 4, width / 4).

    ``noise_seed`` is that of the neuronal noise; None for none.
    """

    def __init__(self, noise_seed: int | None) -> None:
        super().__init__()
        n_filters = N_SIMPLE + N_COMPLEX
        # From torch's generator, so that random filters follow the seed of random weights.
        drawn = draw_parameters(np.random.default_rng(int(torch.randint(2**31, ()))), n_filters)
        self.simple_conv_q0 = _filter_bank(gabor_filters(drawn))
        self.simple_conv_q1 = _filter_bank(gabor_filters(drawn, quadrature=True))
        self._noise_seed = noise_seed
        self._noise: torch.Tensor | None = None

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Compute the rates of simple, then complex cells."""
        q0, q1 = self.simple_conv_q0(frames), self.simple_conv_q1(frames)
        simple = functional.relu(q0[:, :N_SIMPLE])
        even, odd = q0[:, N_SIMPLE:], q1[:, N_SIMPLE:]
        complex_ = torch.sqrt(even**2 + odd**2) / np.sqrt(2)
        rates = EXCITATION * torch.cat([simple, complex_], dim=1)
        return rates if self._noise_seed is None else self._add_noise(rates, self._noise_seed)

    def _add_noise(self, rates: torch.Tensor, seed: int) -> torch.Tensor:
        if self._noise is None or self._noise.shape != rates.shape[1:]:
            drawn = generator(seed, "networks", "vonenet noise").standard_normal(rates.shape[1:], np.float32)
            self._noise = torch.from_numpy(drawn).to(rates.device)
        scaled = rates * NOISE_SCALE + NOISE_LEVEL
        noisy = scaled + self._noise * torch.sqrt(functional.relu(scaled) + 1e-4)
        return functional.relu((noisy - NOISE_LEVEL) / NOISE_SCALE)


def _filter_bank(filters: FloatArray) -> nn.Conv2d:
    bank = nn.Conv2d(3, len(filters), KERNEL, STRIDE, padding=KERNEL // 2, bias=False)
    bank.weight.data = torch.from_numpy(filters)
    return bank
