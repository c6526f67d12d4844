"""Optuna's own pictures of a Bayesian search: which parameter mattered, and the score over two of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd

from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import derive_seed
from voxelcast.report.depth import Depth, network_of
from voxelcast.report.figures import PANEL_INCHES, Panel, inline
from voxelcast.report.plot_data import parse_hyperparameters
from voxelcast.report.summary import plural
from voxelcast.results.read import Results

_MOST_CANDIDATES: Final = 1500
_LOG_RATIO: Final = 50.0
_DEPTH: Final = "layer, by depth"


def optuna_panels(results: Results, depth: Depth, rois: Sequence[str]) -> dict[str, list[Panel]]:
    """Draw importance (fANOVA [1]_) and contour plot per ROI; empty where the search was not Bayesian.

    The candidates of the encoder that was chosen most often are shown, of all layers and subjects together: the layer
    is a parameter (its number by depth, with several networks its depth in its own), as is the pool, and each score
    is the difference from its subject's mean, so that differences between subjects are no noise.

    References
    ----------
    .. [1] Hutter, F., Hoos, H. & Leyton-Brown, K. An efficient approach for assessing hyperparameter importance. ICML
       (2014). https://proceedings.mlr.press/v32/hutter14.html
    """
    search = results.config.get("search")
    if not isinstance(search, Mapping) or search.get("method") != "bayes":
        return {}
    panels = {}
    for roi in rois:
        chosen = results.scores.loc[results.scores["roi"] == roi, "encoder"].value_counts().index[0]
        tried = results.search[(results.search["roi"] == roi) & (results.search["encoder"] == chosen)]
        tried = tried[np.isfinite(tried["score"])]
        table = _parameters(tried, depth)
        if len(table) > 2 and table.shape[1] > 1:
            score = tried["score"] - tried.groupby("subject")["score"].transform("mean")
            seed = derive_seed(int(results.config.get("seed", 0)), "importance", roi)
            panels[roi] = _draw(f"{roi}, {chosen}", table, score.to_numpy(dtype=np.float64), seed)
    return panels


def _parameters(tried: pd.DataFrame, depth: Depth) -> pd.DataFrame:
    """Return a column for every parameter that took several values, (n_candidates, n_parameters); evenly thinned."""
    table = pd.DataFrame([parse_hyperparameters(text) for text in tried["hyperparameters"]], index=tried.index)
    one_network = len({key[:2] for key in depth.layers}) == 1
    rows = tried.to_dict("records")
    numbers = [depth.index(row) + 1 for row in rows]
    in_order = [number / len(depth.layers[network_of(row)]) for number, row in zip(numbers, rows, strict=True)]
    places = np.array([depth.position(row) for row in rows])
    table[_DEPTH] = numbers if one_network else np.where(np.isfinite(places), places, in_order)
    table["pool"] = tried["pool"]
    varying = [name for name in table.columns if table[name].notna().all() and table[name].nunique() > 1]
    return table[varying]


def _draw(title: str, table: pd.DataFrame, score: FloatArray, seed: int) -> list[Panel]:
    import optuna
    from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator
    from optuna.visualization import matplotlib as pictures

    class _Known(BaseImportanceEvaluator):
        """Hands the picture the importances that are there already: seconds for each ROI."""

        def evaluate(self, study: Any, params: list[str] | None = None, *, target: Any = None) -> dict[str, float]:
            return dict(importances)

    keep = np.unique(np.linspace(0, len(table) - 1, min(len(table), _MOST_CANDIDATES)).round().astype(int))
    name = "selection score (r) − subject's mean"
    with _pictures_only(optuna):
        study = _study(table.iloc[keep], score[keep])
        importances = optuna.importance.get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
        axes: Any = pictures.plot_param_importances(study, evaluator=_Known())
        alt = f"Importance of each parameter in {title}, from {plural(len(keep), 'candidate')}: " + ", ".join(
            f"{key} {value:.2f}" for key, value in importances.items()
        )
        numbers = pd.DataFrame(importances.items(), columns=["parameter", "importance"])
        panels = [_finish(axes, "importance", f"{alt}.", numbers)]
        two = list(importances)[:2]
        axes = pictures.plot_contour(study, params=two, target_name=name)
        best = table.iloc[keep].iloc[int(np.argmax(score[keep]))]
        alt = f"Contours of the selection score in {title} over {two[0]} and {two[1]}; the best candidate lies at "
        lies = [f"{key} {best[key] if isinstance(best[key], str) else format(best[key], '.4g')}" for key in two]
        numbers = table.iloc[keep][two].assign(score=score[keep])
        panels.append(_finish(axes, "contours", alt + " and ".join(lies) + ".", numbers))
    return panels


def _study(table: pd.DataFrame, score: FloatArray) -> Any:
    import optuna
    from optuna.distributions import IntDistribution

    distributions = {str(name): _distribution(table[name]) for name in table.columns}
    whole = [name for name, bounds in distributions.items() if isinstance(bounds, IntDistribution)]
    rows: list[Any] = table.astype(dict.fromkeys(whole, int)).to_dict("records")
    study = optuna.create_study(direction="maximize")
    for row, value in zip(rows, score.tolist(), strict=True):
        study.add_trial(optuna.trial.create_trial(params=row, distributions=distributions, value=value))
    return study


def _distribution(column: pd.Series) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not pd.api.types.is_numeric_dtype(column):
        return CategoricalDistribution(list(dict.fromkeys(column)))
    values = column.to_numpy(dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    logarithmic = low > 0 and high / low > _LOG_RATIO
    if bool((values == np.round(values)).all()):
        return IntDistribution(int(low), int(high), log=logarithmic)
    return FloatDistribution(low, high, log=logarithmic)


def _finish(axes: Any, title: str, alt: str, numbers: pd.DataFrame) -> Panel:
    """Bring Optuna's figure to the size and fonts of the others, and close it."""
    import matplotlib.pyplot as plt

    figure = axes.figure
    figure.set_size_inches(*PANEL_INCHES)
    for side in ("left", "center"):
        axes.set_title("", loc=side)
    for drawn in figure.axes:  # the colour bar too
        drawn.tick_params(labelsize=7)
        for label in (drawn.xaxis.label, drawn.yaxis.label):
            label.set_fontsize(8)
    for text in axes.texts:
        text.set_fontsize(7)
    if axes.get_legend() is not None:
        axes.get_legend().remove()
    for collection in axes.collections:
        collection.set_rasterized(True)
    panel = inline(figure, title, alt, numbers)
    plt.close(figure)
    return panel


@contextmanager
def _pictures_only(optuna: Any) -> Iterator[None]:
    """Have Optuna, which draws through pyplot, open no window, say nothing, and leave backend and style alone."""
    import matplotlib.pyplot as plt

    backend, level = plt.get_backend(), optuna.logging.get_verbosity()
    plt.switch_backend("agg")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        # Optuna sets the style "ggplot" globally before it draws, and warns that its pictures are experimental.
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
        plt.switch_backend(backend)
