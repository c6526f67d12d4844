"""What the gallery's simulated responses are: signal and noise as asked for, from the leading components alone."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import OptionError
from voxelcast.scoring.variance import signal_and_noise_variance
from voxelcast.testing.planted import example_pictures, planted_responses


def test_signal_and_noise_have_the_variances_asked_for() -> None:
    features = np.random.default_rng(0).standard_normal((2000, 12))
    signal, noise = signal_and_noise_variance(planted_responses(features, 20, repetitions=3, noise=2.0))
    assert signal.mean() == pytest.approx(1, abs=0.1)
    assert noise.mean() == pytest.approx(4, abs=0.1)


def test_only_leading_components_drive() -> None:
    features = np.random.default_rng(0).standard_normal((300, 6)) * [9, 8, 7, 1, 1, 1]
    U = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[0]
    responses = planted_responses(features, 5, noise=0, components=3)
    assert np.abs(U[:, 3:].T @ responses).max() < 1e-9
    with pytest.raises(OptionError, match="components must be 1 to 6"):
        planted_responses(features, components=7)


def test_pictures_differ_and_are_the_same_each_time() -> None:
    pictures = example_pictures(6, size=16)
    assert pictures.dtype == np.uint8
    assert len(np.unique(pictures, axis=0)) == 6
    assert (pictures == example_pictures(6, size=16)).all()
