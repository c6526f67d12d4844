"""Automatic machine learning by auto-sklearn, in an environment of its own [1]_.

auto-sklearn 0.15 (2022) is the last release and needs Python 3.9 and packages of its time, so it cannot be imported
here. ``voxelcast encoders install-autosklearn`` makes a virtual environment with pinned, hashed packages; every fit
starts its interpreter, hands features and responses over as ``.npy`` files and gets predictions back the same way.
All voxels are one multi-output regression. Its search holds a third of the training part out to judge its models; the
scores that are reported come from the folds of the experiment, as for every other encoder.

References
----------
.. [1] Feurer, M. et al. Efficient and robust automated machine learning. Advances in Neural Information Processing
   Systems 28 (2015).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingPackageError, OptionError
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.autosklearn_environment.install import environment_folder, environment_python
from voxelcast.encoders.base import RATE, Encoder
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.encoders.registry import register_encoder

_WORKER = Path(__file__).parent / "autosklearn_environment" / "worker.py"
_LEAST_SECONDS = 30
_GRACE = 300
_FEWEST = 10


@dataclass(frozen=True)
class AutoSklearnModel:
    """A pipeline that lives in auto-sklearn's environment.

    Parameters
    ----------
    params : Params
        Empty: auto-sklearn chose everything.
    runs, successful_runs : int
        How many models were tried, and how many of those could be fitted.
    folder : TemporaryDirectory
        Holds the pipeline; deleted with this object.
    """

    params: Params
    n_voxels: int
    runs: int
    successful_runs: int
    folder: tempfile.TemporaryDirectory[str]

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from features of shape (n_samples, p)."""
        if len(X) == 0:
            return np.empty((0, self.n_voxels))
        folder = Path(self.folder.name)
        np.save(folder / "test.npy", np.asarray(X, dtype=np.float64))
        _work("predict", folder, _GRACE)
        return np.asarray(np.load(folder / "predictions.npy"))

    def arrays(self) -> dict[str, FloatArray]:
        """Return nothing: the pipelines that auto-sklearn finds have no open format."""
        return {}


@register_encoder
class AutoSklearn(Encoder):
    """auto-sklearn on all voxels at once; it has no hyper-parameters of its own."""

    uses_automl: ClassVar[bool] = True
    name: ClassVar[str] = "autosklearn"
    unsaved: ClassVar[str] = "the pipelines that auto-sklearn finds have no open format"

    def fit(self, X: FloatArray, Y: FloatArray, params: Params) -> AutoSklearnModel:
        """Search and fit for as long as the budget says.

        Raises MissingPackageError if the environment is missing; OptionError if the budget is below 30 seconds;
        DataError if there are too few stimuli, or auto-sklearn found no model.
        """
        X, Y = self._checked(X, Y, params)
        if self.automl.seconds < _LEAST_SECONDS:
            raise OptionError(
                f"automl.seconds must be at least {_LEAST_SECONDS} for autosklearn; got {self.automl.seconds:g}"
            )
        if len(X) < _FEWEST:
            raise DataError(f"autosklearn needs at least {_FEWEST} training stimuli; got {len(X)}; ask for fewer folds")
        environment_python()
        kept = tempfile.TemporaryDirectory(prefix="voxelcast-autosklearn-")
        folder = Path(kept.name)
        np.save(folder / "X.npy", X)
        np.save(folder / "Y.npy", Y)
        params_list = {
            "seconds": self.automl.seconds,
            "memory_mb": self.automl.memory_mb,
            "seed": derive_seed(self.seed, self.name) % 2**31,
        }
        (folder / "settings.json").write_text(json.dumps(params_list))
        _work("fit", folder, self.automl.seconds + _GRACE)
        found = json.loads((folder / "found.json").read_text())
        return AutoSklearnModel(params, Y.shape[1], found["runs"], found["successful_runs"], kept)

    def check_ready(self) -> None:
        """Raise MissingPackageError if the environment is missing."""
        environment_python()

    def fit_seconds(self, size: ProblemSize, rate: float = RATE) -> float:
        """Return the budget and some seconds for starting and predicting."""
        return self.automl.seconds + 15


def _work(verb: str, folder: Path, seconds: float) -> None:
    """Run the worker in its own environment: isolated from this one's packages, one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        done = subprocess.run(
            [str(environment_python()), "-I", str(_WORKER), verb, str(folder)],
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **threads, "TMPDIR": str(folder)},
            cwd=folder,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(
            f"autosklearn did not {verb} within {seconds:.0f} s; raise automl.seconds or use fewer voxels"
        ) from error
    except OSError as error:
        raise MissingPackageError(
            f"autosklearn's environment at {environment_folder()} cannot be started ({error.strerror}); make it anew: "
            "voxelcast encoders install-autosklearn"
        ) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise DataError(f"autosklearn could not {verb}: {said[0]}; raise automl.seconds or automl.memory_mb")
