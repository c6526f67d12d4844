"""The scikit-learn estimator against scikit-learn's own checks, its searches, and the encoders themselves."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError, UnknownNameError
from voxelcast.encoders.automl import AutoML
from voxelcast.encoders.linear import LinearModel
from voxelcast.encoders.moments import moments
from voxelcast.encoders.params import AutoMLSettings, Params, ProblemSize
from voxelcast.encoders.registry import ENCODERS, get_encoder, list_encoders
from voxelcast.encoders.ridge import ridge_penalty
from voxelcast.scoring.correlation import mean_pearson_r
from voxelcast.search.estimator import EncodingModel
from voxelcast.search.folds import make_folds

PEARSON = make_scorer(mean_pearson_r)
SETTINGS: dict[str, Params] = {
    "boosted_trees": {"learning_rate": 0.3, "max_leaf_nodes": 4, "min_samples_leaf": 2, "l2": 0.1},
    "cca": {"n_components": 1},
    "cca_2021": {"n_components": 1},
    "elastic_net": {"relative_alpha": 0.01, "l1_ratio": 0.5},
    "elastic_net_2021": {"alpha": 0.01, "l1_ratio": 0.5},
    "kernel_ridge_linear": {"relative_alpha": 0.01},
    "kernel_ridge_polynomial": {"degree": 2, "relative_gamma": 1.0, "relative_alpha": 0.01},
    "kernel_ridge_rbf": {"relative_gamma": 1.0, "relative_alpha": 0.01},
    "lasso": {"relative_alpha": 0.01},
    "mlp": {"layers": 1, "width": 16, "learning_rate": 1e-2, "dropout": 0.1, "weight_decay": 0.1},
    "ols": {},
    "omp": {"n_nonzero_coefs": 1},
    "pls": {"n_components": 1},
    "pls_2021": {"n_components": 1},
    "pls_canonical": {"n_components": 1},
    "pls_canonical_2021": {"n_components": 1},
    "pls_scaled": {"n_components": 1},
    "ridge": {"relative_alpha": 1e-3},
    "ridge_per_voxel": {},
}
GROUPS = [f"movie {k % 20:02d}" for k in range(60)]


def _data(n: int = 60, p: int = 6, q: int = 4) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.geomspace(2, 0.5, p) + 3
    return X, X @ rng.standard_normal((p, q)) + 5 * rng.standard_normal((n, q)) - 5


def test_every_encoder_is_tested() -> None:
    classes = {name: ENCODERS.get(name) for name in ENCODERS}
    others = {name for name, made in classes.items() if made.uses_automl or made.reads != "features"}
    assert set(SETTINGS) | others == set(list_encoders())  # the trained ones read maps and frames


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "mlp" else ()) for name in SETTINGS]
)
def test_scikit_learns_own_checks(name: str) -> None:
    check_estimator(EncodingModel(name, params=SETTINGS[name]), on_skip=None)


@pytest.mark.parametrize("name", ["ridge", "lasso"])
def test_scikit_learns_own_checks_with_a_search(name: str) -> None:
    # Pearson r does not see the scale of predictions: with one feature that matters, the largest penalty that keeps it
    # is as good as any.
    shrunk = {"check_regressors_train": "it asks for R^2, and the search is by Pearson r"} if name == "lasso" else {}
    check_estimator(EncodingModel(name, folds=3), on_skip=None, expected_failed_checks=shrunk)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_equals_the_encoder(name: str) -> None:
    X, Y = _data()
    encoder = get_encoder(name, 3)
    setting = SETTINGS[name]
    model, fitted = EncodingModel(name, params=setting, seed=3).fit(X, Y), encoder.fit(X, Y, setting)
    assert model.params_ == setting
    assert model.candidates_ == ()
    np.testing.assert_array_equal(model.predict(X), fitted.predict(X))
    assert model.score(X, Y) == pytest.approx(r2_score(Y, fitted.predict(X)))
    assert hasattr(model, "coef_") == hasattr(model, "intercept_") == isinstance(fitted, LinearModel)
    if isinstance(fitted, LinearModel):
        assert model.coef_.shape == (4, 6)
        np.testing.assert_allclose(X @ model.coef_.T + model.intercept_, model.predict(X), rtol=1e-12)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_single_precision_is_computed_in_double(name: str) -> None:
    X, Y = (values.astype(np.float32) for values in _data())
    single = EncodingModel(name, params=SETTINGS[name]).fit(X, Y).predict(X)
    double = EncodingModel(name, params=SETTINGS[name]).fit(X.astype(float), Y.astype(float)).predict(X.astype(float))
    assert single.dtype == np.float64
    np.testing.assert_array_equal(single, double)


def _reference(name: str, setting: Params, X: FloatArray, Y: FloatArray) -> Any:
    if name == "ridge":
        return SklearnRidge(ridge_penalty(moments(X, Y).S, float(setting["relative_alpha"])), solver="cholesky")
    return PLSRegression(int(setting["n_components"]), scale=False, tol=1e-22, max_iter=5000)


@pytest.mark.parametrize("name", ["pls", "ridge"])
def test_cross_val_score_is_nested_cross_validation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the listed settings: what is tried between them depends on their scores.
    monkeypatch.setattr(type(get_encoder(name)), "refined", lambda *_: ())
    X, Y = _data()

    def score(setting: Params, train: Any, test: Any) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _reference(name, setting, X[train], Y[train]).fit(X[train], Y[train])
        return mean_pearson_r(Y[test], model.predict(X[test]))

    settings = get_encoder(name).param_grid(ProblemSize(30, 6, 4))[:: -6 if name == "ridge" else 1]
    monkeypatch.setattr(type(get_encoder(name)), "param_grid", lambda *_: settings)
    expected, chosen = [], []
    for train, test in KFold(3).split(X):
        folds = make_folds(len(train), 4, 7)
        inner = [[score(setting, train[folds != k], train[folds == k]) for k in range(4)] for setting in settings]
        best = settings[int(np.mean(inner, axis=1).argmax())]
        chosen.append(best)
        expected.append(score(best, train, test))
        model = EncodingModel(name, folds=4, seed=7).fit(X[train], Y[train])
        assert model.params_ == best
        np.testing.assert_allclose([c.fold_scores for c in model.candidates_], inner, atol=1e-9)
    scores = cross_val_score(EncodingModel(name, folds=4, seed=7), X, Y, cv=KFold(3), scoring=PEARSON)
    np.testing.assert_allclose(scores, expected, atol=1e-9)
    assert len({str(setting) for setting in chosen}) > 1


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("name", ["pls", "omp", "kernel_ridge_linear"])
def test_the_search_equals_scikit_learns_grid_search(name: str, groups: list[str] | None) -> None:
    X, Y = _data()
    folds = make_folds(60, 5, 2, groups)
    grid = {"params": list(get_encoder(name).param_grid(ProblemSize(48, 6, 4)))}
    searched = GridSearchCV(EncodingModel(name), grid, cv=PredefinedSplit(folds), scoring=PEARSON).fit(X, Y)
    model = EncodingModel(name, folds=5, seed=2).fit(X, Y, groups=groups)
    assert model.params_ == searched.best_params_["params"]
    scores = [candidate.score for candidate in model.candidates_]
    np.testing.assert_allclose(scores, searched.cv_results_["mean_test_score"], atol=1e-10)
    np.testing.assert_allclose(model.predict(X), searched.predict(X), atol=1e-10)


def test_a_refined_penalty_scores_at_least_as_well_as_the_list() -> None:
    X, Y = _data()
    model = EncodingModel("ridge").fit(X, Y)
    listed = get_encoder("ridge").param_grid(ProblemSize(54, 6, 4))
    assert model.params_ not in listed
    assert len(model.candidates_) > len(listed)
    assert max(c.score for c in model.candidates_) == next(
        c.score for c in model.candidates_ if c.params == model.params_
    )


def test_groups_reach_the_search_through_cross_val_score() -> None:
    X, Y = _data()
    X, Y = np.repeat(X[:20], 3, axis=0), np.repeat(Y[:20], 3, axis=0)
    groups = np.repeat(np.arange(20), 3)
    cv = GroupKFold(4)
    scores = cross_val_score(
        EncodingModel("pls", folds=5), X, Y, groups=groups, cv=cv, params={"groups": groups}, scoring=PEARSON
    )
    expected = []
    for train, test in cv.split(X, Y, groups):
        model = EncodingModel("pls", folds=5).fit(X[train], Y[train], groups=groups[train])
        expected.append(mean_pearson_r(Y[test], model.predict(X[test])))
    np.testing.assert_array_equal(scores, expected)


def test_in_a_pipeline() -> None:
    X, Y = _data()
    pipeline = make_pipeline(StandardScaler(), PCA(3), EncodingModel("ridge", folds=5))
    pipeline.fit(X, Y, encodingmodel__groups=GROUPS)
    compressed = PCA(3).fit_transform(StandardScaler().fit_transform(X))
    alone = EncodingModel("ridge", folds=5).fit(compressed, Y, groups=GROUPS)
    np.testing.assert_allclose(pipeline.predict(X), alone.predict(compressed), rtol=1e-10)
    grid = {"pca__n_components": [1, 6], "encodingmodel__encoder": ["ridge", "ols"]}
    search = GridSearchCV(pipeline, grid, cv=3, scoring=PEARSON).fit(X, Y)
    assert search.best_params_["pca__n_components"] == 6


def test_parameters() -> None:
    model = EncodingModel("pls", params={"n_components": 2}, folds=4)
    copy = clone(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
    assert model.get_params() == {
        "encoder": "pls",
        "params": {"n_components": 2},
        "folds": 4,
        "method": "exact",
        "trials": 25,
        "seed": 0,
        "automl": None,
    }
    X, Y = _data()
    model.fit(X, Y)
    assert model.coef_.shape == (4, 6)
    model.set_params(encoder="kernel_ridge_rbf", params=SETTINGS["kernel_ridge_rbf"]).fit(X, Y)
    assert not hasattr(model, "coef_")
    with pytest.raises(AttributeError, match="kernel_ridge_rbf is not linear"):
        model.coef_  # noqa: B018
    assert copy.get_params()["encoder"] == "pls"


def test_one_voxel_keeps_its_dimensions() -> None:
    X, Y = _data()
    y = Y[:, 0]
    flat, column = EncodingModel("ols").fit(X, y), EncodingModel("ols").fit(X, y[:, None])
    reference = LinearRegression().fit(X, y)
    assert flat.predict(X).shape == (60,)
    assert column.predict(X).shape == (60, 1)
    np.testing.assert_allclose(flat.predict(X), reference.predict(X))
    np.testing.assert_array_equal(column.predict(X)[:, 0], flat.predict(X))
    np.testing.assert_allclose(flat.coef_, reference.coef_)
    assert isinstance(flat.intercept_, float)
    assert flat.intercept_ == pytest.approx(reference.intercept_)
    assert (column.coef_.shape, column.intercept_.shape) == ((1, 6), (1,))


@pytest.mark.parametrize("name", list(SETTINGS))
def test_pickles(name: str) -> None:
    X, Y = _data()
    model = EncodingModel(name, params=SETTINGS[name]).fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


@pytest.mark.parametrize("method", ["bayes", "random", "grid"])
def test_proposals(method: str) -> None:
    X, Y = _data()
    model = EncodingModel("boosted_trees", method=method, trials=3, folds=2, seed=1).fit(X, Y[:, :2])
    best = max(model.candidates_, key=lambda candidate: candidate.score)
    assert 1 <= len(model.candidates_) <= 3
    assert model.params_ == best.params
    again = EncodingModel("boosted_trees", params=model.params_, seed=1).fit(X, Y[:, :2])
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("name", ["ols", "ridge_per_voxel"])
def test_encoders_without_hyper_parameters_need_no_folds(name: str) -> None:
    X, Y = _data(5)
    model = EncodingModel(name).fit(X, Y)
    assert (model.params_, model.candidates_) == ({}, ())
    np.testing.assert_array_equal(model.predict(X), get_encoder(name).fit(X, Y, {}).predict(X))


@pytest.mark.parametrize(("automl", "seconds"), [(None, 60), (AutoMLSettings(seconds=2), 2)])
def test_automatic_machine_learning_is_fitted_once_within_its_budget(
    automl: AutoMLSettings | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def search(self: AutoML, X: FloatArray, y: FloatArray, seconds: float) -> LinearRegression:
        asked.append(seconds)
        return LinearRegression().fit(X, y)

    monkeypatch.setattr(AutoML, "_search", search)
    X, Y = _data()
    model = EncodingModel("flaml", automl=automl).fit(X, Y[:, 0])
    assert asked == [seconds]
    assert (model.params_, model.candidates_) == ({}, ())
    np.testing.assert_allclose(model.predict(X), LinearRegression().fit(X, Y[:, 0]).predict(X))
    assert get_tags(model).non_deterministic
    assert not get_tags(EncodingModel()).non_deterministic


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"encoder": "rigde"}, UnknownNameError, "did you mean ridge"),
        ({"encoder": "mlp"}, OptionError, "bayes, random or grid for mlp"),
        ({"encoder": "boosted_trees"}, OptionError, "give params"),
        ({"method": "exhaustive"}, OptionError, "method must be one of"),
        ({"params": 1.0}, OptionError, "params must be a dict of ridge's hyper-parameters"),
        ({"params": {"n_components": 2}}, OptionError, "ridge needs relative_alpha"),
        ({"encoder": "pls", "params": {"n_components": 7}}, OptionError, "1 to 6"),
        ({"encoder": "mlp", "method": "bayes", "trials": 0}, OptionError, "trials must be at least 1"),
        ({"folds": 1}, OptionError, "at least 2"),
        ({"folds": 21}, DataError, "ask for fewer folds"),
    ],
)
def test_parameters_outside_what_is_allowed(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        EncodingModel(**parameters).fit(*_data())


def test_data_that_cannot_be_fitted() -> None:
    X, Y = _data()
    model = EncodingModel("pls")
    with pytest.raises(ValueError, match="Input y contains NaN"):
        model.fit(X, np.where(np.eye(60, 4) == 1, np.nan, Y))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, Y[:-1])
    with pytest.raises(ValueError, match="Found array with dim 3"):
        model.fit(X, Y[:, :, None])
    with pytest.raises(ValueError, match="could not convert string"):
        model.fit(X, np.full(Y.shape, "strong"))
    with pytest.raises(ShapeError, match="groups must have shape"):
        model.fit(X, Y, groups=GROUPS[:-1])
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(AttributeError, match="not fitted"):
        EncodingModel().intercept_  # noqa: B018
    with pytest.raises(ValueError, match="expecting 6 features"):
        model.fit(X, Y).predict(X[:, :5])
