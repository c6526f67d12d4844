"""An expert's model, of another ROI's responses, and what reads a target's responses out of its predictions."""

from __future__ import annotations

from dataclasses import dataclass

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import FittedModel
from voxelcast.encoders.params import Params


@dataclass(frozen=True)
class ReadoutModel:
    """An expert's model followed by its readout: predictions (P - mean) @ readout + offset."""

    expert: FittedModel
    mean: FloatArray
    readout: FloatArray
    offset: FloatArray

    @property
    def params(self) -> Params:
        """Hyper-parameters of the expert."""
        return self.expert.params

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict the target's responses, ndarray of shape (n_samples, q), from the features of the expert's layer."""
        return (self.expert.predict(X) - self.mean) @ self.readout + self.offset

    def arrays(self) -> dict[str, FloatArray]:
        """Return the expert's arrays, and ``mean``, ``readout`` and ``offset``."""
        return {f"expert_{name}": array for name, array in self.expert.arrays().items()} | {
            "mean": self.mean,
            "readout": self.readout,
            "offset": self.offset,
        }
