from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import OptionError
from voxelcast.stimuli.sampling import FrameSampling


@pytest.mark.parametrize("n_frames", [1, 2, 7, 45, 91])
@pytest.mark.parametrize("n", [1, 3, 8, 16])
def test_n_samples_lie_at_the_centres_of_equal_parts(n: int, n_frames: int) -> None:
    indices = FrameSampling(n=n).indices(n_frames)
    if n >= n_frames:
        assert indices.tolist() == list(range(n_frames))
    else:
        # Frame i covers [i, i + 1); the centre of part k of n lies at (k + 1/2) n_frames / n.
        assert indices.tolist() == [int((k + 0.5) * n_frames / n + 1e-9) for k in range(n)]
        assert np.all(np.diff(indices) > 0)


@pytest.mark.parametrize("n_frames", [1, 7, 45])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_every_kth(every: int, n_frames: int) -> None:
    assert FrameSampling(every=every).indices(n_frames).tolist() == list(range(0, n_frames, every))


@pytest.mark.parametrize("kwargs", [{}, {"every": 2, "n": 3}, {"every": 0}, {"n": -1}])
def test_exactly_one_of_every_and_n(kwargs: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="either every=k or n=k"):
        FrameSampling(**kwargs)
