"""Synthetic clips for simulations: varied enough that different layers of a network see different things in them."""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.seeds import generator


def draw_clip(seed: int, number: int, n_frames: int, size: int) -> ByteArray:
    """Draw one clip: one or two shots, each a moving background texture with objects that move before it.

    Backgrounds are drifting gratings and plaids, 1/f noise, expanding rings or rays; objects are discs, squares and
    stripes with textures of their own. Spatial frequency, orientation, speed, colour and contrast are drawn at random.
    The frames (n_frames, size, size, 3) depend on the simulation's ``seed`` and the clip's own ``number`` only.
    """
    rng = generator(seed, "clip", number)
    cut = int(rng.integers(n_frames // 4, 3 * n_frames // 4 + 1)) if rng.random() < 0.3 else n_frames
    shots = [_draw_shot(rng, length, size) for length in (cut, n_frames - cut) if length]
    return np.asarray(np.clip(np.rint(255 * np.concatenate(shots)), 0, 255).astype(np.uint8))


def _draw_shot(rng: np.random.Generator, n_frames: int, size: int) -> FloatArray:
    time = np.arange(n_frames) / max(n_frames, 1)
    frames = _coloured(rng, _texture(rng, time, size))
    for _ in range(rng.integers(0, 6)):
        mask = _object_mask(rng, time, size)[..., np.newaxis]  # (n_frames, size, size, 1)
        frames += mask * (_coloured(rng, _texture(rng, time, size)) - frames)
    # Global contrast and brightness differ between shots as between real clips.
    contrast, brightness = rng.uniform(0.3, 1.0), rng.uniform(0.35, 0.65)
    return brightness + contrast * (frames - 0.5)


def _coloured(rng: np.random.Generator, texture: FloatArray) -> FloatArray:
    """Map a texture in [-1, 1] to a line between two random colours; shape (n_frames, size, size, 3)."""
    dark, light = rng.uniform(0.0, 0.6, 3), rng.uniform(0.4, 1.0, 3)
    share = 0.5 + 0.5 * texture[..., np.newaxis]
    return np.asarray(dark + share * (light - dark))


def _texture(rng: np.random.Generator, time: FloatArray, size: int) -> FloatArray:
    """Draw a moving texture in [-1, 1] of shape (n_frames, size, size)."""
    kinds = (_grating, _plaid, _noise, _rings, _rays, _plain)
    chosen = rng.choice(len(kinds), p=(0.25, 0.1, 0.3, 0.12, 0.12, 0.11))
    return kinds[chosen](rng, time, size)


def _grid(size: int) -> tuple[FloatArray, FloatArray]:
    """Return coordinates from -0.5 to 0.5, each broadcasting over (n_frames, size, size)."""
    position = (np.arange(size) + 0.5) / size - 0.5
    return position[np.newaxis, np.newaxis, :], position[np.newaxis, :, np.newaxis]


def _cycles(rng: np.random.Generator, size: int) -> float:
    """Draw a spatial frequency in cycles per picture: log-uniform from 1 to a quarter of the pixels."""
    return float(np.exp(rng.uniform(0, np.log(size / 4))))


def _drift(rng: np.random.Generator) -> float:
    """Draw a number of cycles travelled in a shot; near 0 (still) to 4."""
    return float(rng.choice((-1, 1)) * 4 * rng.random() ** 2)


def _grating(rng: np.random.Generator, time: FloatArray, size: int) -> FloatArray:
    x, y = _grid(size)
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    along = _cycles(rng, size) * (np.cos(angle) * x + np.sin(angle) * y)
    wave: FloatArray = np.sin(2 * np.pi * (along + _drift(rng) * time[:, np.newaxis, np.newaxis]) + phase)
    # Some are square waves: sharp edges at the same frequency.
    return np.sign(wave) if rng.random() < 0.3 else wave


def _plaid(rng: np.random.Generator, time: FloatArray, size: int) -> FloatArray:
    return 0.5 * (_grating(rng, time, size) + _grating(rng, time, size))


def _noise(rng: np.random.Generator, time: FloatArray, size: int) -> FloatArray:
    """Draw noise with spectrum 1/f^a that drifts as a whole."""
    fx, fy = np.fft.fftfreq(size)[np.newaxis, :], np.fft.fftfreq(size)[:, np.newaxis]
    radius = np.hypot(fx, fy)
    radius[0, 0] = np.inf
    exponent = rng.uniform(0.0, 2.0)
    # Stretched along a random direction in part of the clips: textures with an orientation.
    angle, stretch = rng.uniform(0, np.pi), rng.choice((1.0, 1.0, 4.0))
    turned = np.hypot(np.cos(angle) * fx + np.sin(angle) * fy, stretch * (np.cos(angle) * fy - np.sin(angle) * fx))
    turned[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.standard_normal((size, size))) / turned**exponent
    dx, dy = rng.uniform(-0.5, 0.5, 2) * size * rng.random()
    shift = np.exp(-2j * np.pi * (fx * dx + fy * dy) * time[:, np.newaxis, np.newaxis])
    field = np.fft.ifft2(spectrum * shift).real
    return np.asarray(np.clip(field / (2 * field.std()), -1, 1))


def _rings(rng: np.random.Generator, time: FloatArray, size: int) -> FloatArray:
    x, y = _grid(size)
    cx, cy = rng.uniform(-0.3, 0.3, 2)
    wave: FloatArray = np.sin(
        2 * np.pi * (_cycles(rng, size) * np.hypot(x - cx, y - cy) + _drift(rng) * time[:, np.newaxis, np.newaxis])
    )
    return wave


def _rays(rng: np.random.Generator, time: FloatArray, size: int) -> FloatArray:
    x, y = _grid(size)
    cx, cy = rng.uniform(-0.3, 0.3, 2)
    arms = int(rng.integers(2, 13))
    turn = 2 * np.pi * _drift(rng) * time[:, np.newaxis, np.newaxis]
    return np.asarray(np.sin(arms * np.arctan2(y - cy, x - cx) + turn))


def _plain(rng: np.random.Generator, time: FloatArray, size: int) -> FloatArray:
    return np.full((len(time), size, size), rng.uniform(-1, 1))


def _object_mask(rng: np.random.Generator, time: FloatArray, size: int) -> FloatArray:
    """Draw where a moving, growing object is: 1 inside, 0 outside, soft over one pixel; (n_frames, size, size)."""
    x, y = _grid(size)
    moment = time[:, np.newaxis, np.newaxis]
    cx, cy = (rng.uniform(-0.5, 0.5) + rng.uniform(-0.6, 0.6) * moment for _ in range(2))
    extent = np.exp(rng.uniform(np.log(0.05), np.log(0.4))) * (1 + rng.uniform(-0.4, 0.8) * moment)
    angle = rng.uniform(0, np.pi) + rng.uniform(-2, 2) * moment
    u, v = x - cx, y - cy
    along, across = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
    shape = rng.integers(3)
    if shape == 0:
        distance = np.hypot(along, across)
    else:
        aspect = 1.0 if shape == 1 else rng.uniform(3, 8)
        distance = np.maximum(np.abs(along), aspect * np.abs(across))
    return np.asarray(np.clip((extent - distance) * size + 0.5, 0, 1))
