"""Evaluation on arrays gives the numbers of an experiment, and says what it cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import voxelcast as vc
from tests.experiment.conftest import _Here
from tests.experiment.miniature import ENERGY, settings, stimulus_ids, write_dataset, write_table
from voxelcast.core.errors import AlignmentError, DataError, OptionError, UnknownNameError, VoxelcastWarning
from voxelcast.features.settings import CompressionSettings
from voxelcast.scoring.settings import SignificanceSettings
from voxelcast.search.settings import EnsembleSettings, FoldSettings, SearchSettings, SelectionSettings

FEW = vc.EvaluationSettings(significance=SignificanceSettings(100))


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty-eight pictures in twelve groups, shown twice."""
    root = write_dataset(tmp_path_factory.mktemp("repeated") / "data")
    responses = np.load(root / "responses" / "ann.npy")
    noise = 0.3 * np.random.default_rng(1).standard_normal((2, *responses.shape))
    np.save(root / "responses" / "ann.npy", (responses + noise).transpose(1, 0, 2))
    groups = [(name, f"g{row // 4}") for row, name in enumerate(sorted(stimulus_ids(root)))]
    write_table(root / "groups.csv", ("stimulus_id", "group"), groups)
    return root


@pytest.fixture(scope="module")
def features(repeated: Path) -> dict[str, xr.DataArray]:
    """Those of all stimuli, as an experiment extracts them."""
    network = vc.load_network(ENERGY, layers=["colour", "static.4"], input_size=64)
    return vc.extract(vc.open_dataset("folder", repeated, axes=["stimulus", "repetition", "voxel"]), network)


SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "exact": ({}, {}),
    "proposals, stacking, repeats": (
        {
            "search": {"method": "bayes", "trials": 3},
            "ensemble": {"method": "stacking", "joined": True},
            "folds": {"n": 3, "repeats": 2},
            "encoders": ["ridge"],
            "seed": 3,
        },
        {
            "search": SearchSettings("bayes", trials=3),
            "ensemble": EnsembleSettings("stacking", joined=True),
            "folds": FoldSettings(3, repeats=2),
            "encoders": "ridge",
            "seed": 3,
        },
    ),
    "each voxel, compression with chance": (
        {
            "selection": {"per": "voxel"},
            "compress": {"method": "random_projection", "components": 10, "fit": "once"},
            "encoders": ["ridge"],
        },
        {
            "selection": SelectionSettings("voxel"),
            "compression": CompressionSettings("random_projection", 10, fit="once"),
            "encoders": ["ridge"],
        },
    ),
}


@pytest.mark.parametrize("case", list(SAME))
def test_the_numbers_are_those_of_an_experiment(
    case: str,
    repeated: Path,
    features: dict[str, xr.DataArray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voxelcast.execution.workers.ProcessPoolExecutor", _Here)
    plain, given = SAME[case]
    dataset = {"kind": "folder", "root": str(repeated), "axes": ["stimulus", "repetition", "voxel"]}
    dataset |= {"groups": "groups.csv"}
    changes = {"dataset": dataset, "frames": {"every": 1}, "significance": {"permutations": 100}}
    results = vc.run(settings(repeated, **(changes | plain)), tmp_path / "out", progress=False)
    opened = vc.open_dataset("folder", repeated, axes=["stimulus", "repetition", "voxel"], groups="groups.csv")
    options = {"encoders": ["pls", "ridge"], "folds": 4} | given
    compression = options.pop("compression", CompressionSettings(components=8))
    chosen = {name: options.pop(name) for name in ("search", "selection", "ensemble", "seed") if name in options}
    spaces = [vc.FeatureSpace(array[::-1], compression=compression) for array in features.values()]
    scores = vc.evaluate(
        spaces,
        opened.responses("ann", "all"),
        groups=opened.groups,
        settings=vc.EvaluationSettings(significance=FEW.significance, **chosen),
        **options,
    )
    (row,) = results.scores.to_dict("records")
    for name in ("score", "score_low", "score_high", "selection_score", "n_models", "n_significant_voxels"):
        assert scores.attrs[name] == pytest.approx(row[name], abs=1e-12), name
    for name in ("network", "layer", "encoder"):
        assert scores.attrs[name] == row[name]
    assert scores.attrs["hyperparameters"] == row["hyperparameters"] or "components" in row["hyperparameters"]
    voxels = results.voxel_scores
    for name, theirs in {"score": "pearson_r", "noise_ceiling_r": "noise_ceiling_r", "q_value": "q_value"}.items():
        np.testing.assert_allclose(scores[name], voxels[theirs], atol=1e-12)
    predicted = np.load(tmp_path / "out" / "predictions" / "ann_all.npy")
    np.testing.assert_allclose(scores["prediction"], predicted, atol=1e-12)


def arrays(n: int = 60, p: int = 6, q: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    return X, X @ rng.standard_normal((p, q)) + rng.standard_normal((n, q))


def test_pandas_and_xarray_give_the_numbers_of_plain_arrays() -> None:
    X, Y = arrays()
    names = [f"s{row:02d}" for row in range(60)]
    plain = vc.evaluate(X, Y, folds=4, settings=FEW)
    labelled = vc.evaluate(pd.DataFrame(X, index=names)[::-1], pd.DataFrame(Y, index=names), folds=4, settings=FEW)
    xr.testing.assert_allclose(plain.drop_vars("prediction"), labelled.drop_vars(["prediction", "stimulus"]))
    assert labelled["prediction"].sel(stimulus="s03").shape == (4,)
    assert list(labelled["stimulus"].values) == names


def test_folds_can_be_given_and_groups_stay_together() -> None:
    X, Y = arrays()
    fold_ids = np.arange(60) % 3
    scores = vc.evaluate(X, Y, folds=fold_ids, settings=FEW)
    assert scores.attrs["n_folds"] == 3
    by_group = vc.evaluate(X, Y, folds=FoldSettings(by="group"), groups=(np.arange(60) % 3).tolist(), settings=FEW)
    assert by_group.attrs["score"] == pytest.approx(scores.attrs["score"], abs=1e-12)


def test_features_compete_and_are_named() -> None:
    X, Y = arrays()
    noise = np.random.default_rng(1).standard_normal(X.shape)
    scores = vc.evaluate({"noise": noise, "signal": X}, Y, folds=3, settings=FEW)
    assert scores.attrs["layer"] == "signal"
    assert vc.evaluate([noise, X], Y, folds=3, settings=FEW).attrs["layer"] == "features 2"
    with pytest.raises(OptionError, match="several times"):
        vc.evaluate([vc.FeatureSpace(X, "one"), vc.FeatureSpace(noise, "one")], Y)


def test_a_constant_voxel_has_no_score_and_a_warning() -> None:
    X, Y = arrays()
    Y[:, 2] = 1.0
    with pytest.warns(VoxelcastWarning, match="1 of 4 voxels cannot be analysed .voxel 2: the same response"):
        scores = vc.evaluate(X, Y, folds=3, settings=FEW)
    assert np.isnan(scores["score"]).values.tolist() == [False, False, True, False]
    assert scores.attrs["n_excluded_voxels"] == 1
    with pytest.raises(DataError, match="4 of 4 voxels cannot be analysed"):
        vc.evaluate(X, np.ones_like(Y))


def test_what_cannot_be_is_said() -> None:
    X, Y = arrays()
    with pytest.raises(UnknownNameError, match="ridge"):
        vc.evaluate(X, Y, encoders="ridg")
    with pytest.raises(OptionError, match=r"set search\.method=bayes"):
        vc.evaluate(X, Y, encoders="mlp")
    with pytest.raises(OptionError, match="nested"):
        vc.evaluate(X, Y, folds=FoldSettings(nested=False))
    with pytest.raises(OptionError, match="compression must be"):
        vc.FeatureSpace(X, compression="pca")  # type: ignore[arg-type]
    with pytest.raises(AlignmentError, match="60 rows"):
        vc.evaluate(X, Y[1:])
    with pytest.raises(OptionError, match="at least one"):
        vc.evaluate({}, Y)


def test_ceilings_and_parts_are_labelled(repeated: Path, features: dict[str, xr.DataArray]) -> None:
    responses = vc.open_dataset("folder", repeated, axes=["stimulus", "repetition", "voxel"]).responses("ann", "all")
    ceiling = vc.noise_ceiling(responses)
    assert ceiling.dims == ("voxel",)
    assert ceiling["subject"] == "ann"
    assert ((vc.noise_ceiling(responses, "r2") > 0.5) & (ceiling > 0.8)).all()
    assert np.isnan(vc.noise_ceiling(responses.mean())).all()
    with pytest.raises(OptionError, match="kind must be one of r, r2"):
        vc.noise_ceiling(responses, "pearson")  # type: ignore[arg-type]
    parts = vc.variance_partitioning(features, responses, folds=4, draws=0, settings=FEW)
    total, unique = (parts["r2"].sel(part=f"{kind}") for kind in ("model colour+static.4", "unique colour"))
    others = parts["r2"].sel(part=["unique static.4", "shared colour+static.4"]).sum("part")
    np.testing.assert_allclose(unique + others, total, atol=1e-12)
    assert parts["low"].sel(part="unique colour").mean() < parts["mean"].sel(part="unique colour")
    with pytest.raises(OptionError, match="groups"):
        vc.variance_partitioning({"colour": features["colour"]}, responses)
