"""An autoencoder: a small network that learns to rebuild features from few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.cost import Cost
from voxelcast.core.errors import DataError, OptionError
from voxelcast.features.compressors import COMPRESSORS, Compressor, Sees

if TYPE_CHECKING:
    import torch


@COMPRESSORS.register("autoencoder")
@dataclass
class Autoencoder(Compressor):
    """Components from which a decoder rebuilds the features with the least squared error [1]_.

    Encoder and decoder have one hidden layer each: features -> hidden -> components -> hidden -> features, with GELU
    after the hidden layers. Features are centred on their training means and divided by one number, so that the error
    is that of the features themselves. Without a hidden layer (``hidden=0``) the components span, at best, the space of
    the first principal components [2]_. Trained on the CPU by Adam with a rate that falls to 0 along a cosine.

    Parameters
    ----------
    hidden : int
        Units of each hidden layer; 0: none.
    epochs : int
        Passes over the training stimuli.
    batch : int
        Stimuli per step.
    learning_rate : float
        Of Adam, at the beginning.

    References
    ----------
    .. [1] Hinton, G. E. & Salakhutdinov, R. R. (2006). Reducing the dimensionality of data with neural networks.
       Science 313, 504-507. https://doi.org/10.1126/science.1127647
    .. [2] Baldi, P. & Hornik, K. (1989). Neural networks and principal component analysis: learning from examples
       without local minima. Neural Netw. 2, 53-58. https://doi.org/10.1016/0893-6080(89)90014-2
    """

    name: ClassVar[str] = "autoencoder"
    unsaved: ClassVar[str] = "its network sees coordinates of the training stimuli, whose features are not kept"
    sees: ClassVar[Sees] = "coordinates"

    hidden: int = 256
    epochs: int = 200
    batch: int = 64
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 0 or self.epochs < 1 or self.batch < 1 or not self.learning_rate > 0:
            raise OptionError(
                "compress.options of autoencoder must have hidden of at least 0, epochs and batch of at least 1 and a "
                f"learning_rate above 0; got hidden={self.hidden}, epochs={self.epochs}, batch={self.batch}, "
                f"learning_rate={self.learning_rate}"
            )

    @property
    def explained_variance(self) -> float | None:
        """Share of the training features' variance that the decoder rebuilds; below 0 where it learnt nothing."""
        return self._explained

    def work(self, n_stimuli: int, n_features: int) -> Cost:
        """State what the epochs cost: a pass forwards and twice that backwards over all weights, for each stimulus."""
        hidden = self.hidden or n_features
        weights = 2.0 * (n_features * hidden + hidden * self.components if self.hidden else hidden * self.components)
        return Cost(
            operations=6.0 * weights * n_stimuli * self.epochs,
            memory=16.0 * weights + 12.0 * n_stimuli * n_features,  # with Adam's two moments and the gradients
        )

    def _fit(self, X: FloatArray) -> FloatArray:
        import torch

        from voxelcast.core.torch_training import deterministic, learn_once

        self._mean = X.mean(axis=0, dtype=np.float64)
        self._size = float((X - self._mean).std())
        if self._size == 0:
            raise DataError(f"features must vary over the {len(X)} training stimuli; got the same for all of them")
        with deterministic(self.seed):
            rows = self._scaled(X)
            self._encode = self._half(X.shape[1], self.components)
            decode = self._half(self.components, X.shape[1])
            both = torch.nn.Sequential(self._encode, decode)
            adam = torch.optim.Adam(both.parameters(), lr=self.learning_rate)
            falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.epochs)
            for _ in range(self.epochs):
                learn_once(both, adam, rows, rows, self.batch)
                falling.step()
            with torch.inference_mode():
                self._explained = float(1 - (both(rows) - rows).double().square().mean())
        return self._transform(X)

    def _transform(self, X: FloatArray) -> FloatArray:
        import torch

        from voxelcast.core.torch_training import deterministic

        with deterministic(self.seed), torch.inference_mode():
            # Row by row, since a product of many rows may round otherwise than one of few.
            rows = [self._encode(row) for row in self._scaled(X)]
            encoded = torch.stack(rows) if rows else torch.empty((0, self.components))
        return np.asarray(encoded, dtype=np.float64)

    def _scaled(self, X: FloatArray) -> torch.Tensor:
        import torch

        return torch.from_numpy(((X - self._mean) / self._size).astype(np.float32))

    def _half(self, n_in: int, n_out: int) -> torch.nn.Sequential:
        """Make an encoder or a decoder."""
        from torch import nn

        if self.hidden == 0:
            return nn.Sequential(nn.Linear(n_in, n_out))
        return nn.Sequential(nn.Linear(n_in, self.hidden), nn.GELU(), nn.Linear(self.hidden, n_out))
