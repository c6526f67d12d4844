"""What runs inside auto-sklearn's own environment: arrays in, arrays out. Python 3.9, nothing of voxelcast.

``python -I worker.py fit FOLDER`` reads ``X.npy``, ``Y.npy`` and ``settings.json`` and writes ``found.json`` and the
fitted pipeline; ``python -I worker.py predict FOLDER`` reads ``test.npy`` and writes ``predictions.npy``. The pipeline
is pickled: only this environment reads it, from a private folder that lives as long as the model.
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from pathlib import Path


def fit(folder: Path) -> None:
    """Search for as long as the budget says."""
    import numpy as np
    from autosklearn.metrics import r2
    from autosklearn.regression import AutoSklearnRegressor

    settings = json.loads((folder / "settings.json").read_text())
    X, Y = np.load(folder / "X.npy", allow_pickle=False), np.load(folder / "Y.npy", allow_pickle=False)
    seconds = int(settings["seconds"])
    search = AutoSklearnRegressor(
        time_left_for_this_task=seconds,
        per_run_time_limit=max(seconds // 6, 5),
        memory_limit=int(settings["memory_mb"]),
        seed=int(settings["seed"]),
        metric=r2,
        n_jobs=1,
        # With meta-learning the search begins with what worked for other data; there is none for several responses.
        initial_configurations_via_metalearning=0 if Y.shape[1] > 1 else 25,
    )
    search.fit(X, Y if Y.shape[1] > 1 else Y[:, 0])
    status = [str(value.status).rsplit(".", 1)[-1] for value in search.automl_.runhistory_.data.values()]
    good = status.count("SUCCESS")
    (folder / "found.json").write_text(json.dumps({"runs": len(status), "successful_runs": good}))
    with (folder / "pipeline.pkl").open("wb") as file:
        pickle.dump(search, file)


def predict(folder: Path) -> None:
    """Predict with what was found."""
    import numpy as np

    with (folder / "pipeline.pkl").open("rb") as file:
        search = pickle.load(file)
    predictions = np.asarray(search.predict(np.load(folder / "test.npy", allow_pickle=False)), dtype=np.float64)
    np.save(folder / "predictions.npy", predictions.reshape(len(predictions), -1))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    {"fit": fit, "predict": predict}[sys.argv[1]](Path(sys.argv[2]))
