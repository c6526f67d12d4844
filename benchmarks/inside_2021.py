"""Runs parts of a checkout of the 2021 repository, in a process of its own: ``python inside_2021.py TASKS.json``.

It works in the current folder, a copy of that checkout, whose packages are imported as they are. What they import and
is not there today (MLE-Toolbox, JAX, DotMap, the VOneNet gitlink) is replaced by the little that is used of it;
released weights are read from files; what today's scikit-learn refuses (more components than the rank) is cut to what
2021's made of it.
"""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


def _module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made
    return made


def _vmap(function: Callable[..., Any], in_axes: tuple[int | None, ...], out_axes: int = 0) -> Callable[..., Any]:
    """Do what ``jax.vmap`` does, one index after the other."""

    def mapped(*arguments: Any) -> Any:
        mapped_over = [
            (np.asarray(one), axis) for one, axis in zip(arguments, in_axes, strict=True) if axis is not None
        ]
        size = mapped_over[0][0].shape[mapped_over[0][1]]
        taken = (
            [one if axis is None else np.take(one, index, axis) for one, axis in zip(arguments, in_axes, strict=True)]
            for index in range(size)
        )
        return np.stack([function(*some) for some in taken], axis=out_axes)

    return mapped


class Config(dict[str, Any]):
    """A mapping whose keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


def replace_missing() -> None:
    """Put what the repository imports in the place of what is not there."""

    def save(value: object, path: str) -> None:
        Path(path).write_bytes(pickle.dumps(value))

    def ignore(*_: Any, **__: Any) -> None:
        return None

    _module("mle_toolbox", MLExperiment=object)
    _module("mle_toolbox.utils", print_framed=ignore, save_pkl_object=save, set_random_seeds=ignore)
    _module("dotmap", DotMap=dict)
    _module("feature_extraction.vonenet", load_vonenet=ignore)
    sys.modules["jax"] = _module("jax", vmap=_vmap, numpy=_module("jax.numpy", **vars(np)))
    vars(np)["Inf"] = np.inf
    cross = importlib.import_module("sklearn.cross_decomposition")
    for name in ("PLSRegression", "PLSCanonical", "CCA"):
        setattr(cross, name, _clamped(getattr(cross, name), of_responses=name != "PLSRegression"))


def components(folder: str, layer: str, into: str) -> None:
    """Write a layer's components as the search reads them."""
    train, test = importlib.import_module("utils.helper").get_activations(folder, layer)
    np.savez(into, X=train, X_test=test)


def _clamped(estimator: Any, *, of_responses: bool) -> Any:
    class Clamped(estimator):  # type: ignore[misc]
        def fit(self, X: Any, y: Any) -> Any:
            most = min(*X.shape, *(y.shape[1:] if of_responses else ()))
            self.set_params(n_components=min(self.get_params()["n_components"], most))
            return super().fit(X, y)

    return Clamped


def use_weights(folder: Path) -> None:
    """Read released weights from ``folder``: ``alexnet.pth`` and so on."""
    import torch

    timm: Any = importlib.import_module("timm")
    model_zoo: Any = importlib.import_module("torch.utils.model_zoo")
    models: Any = importlib.import_module("torchvision.models")

    def read(name: str) -> Any:
        return torch.load(folder / f"{name}.pth", weights_only=True)

    def from_file(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        def made(pretrained: bool = True) -> Any:
            model = make(weights=None)
            model.load_state_dict(read(name))
            return model

        return made

    models.alexnet = from_file("alexnet", models.alexnet)
    models.vgg19 = from_file("vgg19", models.vgg19)
    model_zoo.load_url = lambda url: read(url.rsplit("/", 1)[-1].split("-")[0])
    create = timm.create_model

    def with_file(name: str, features_only: bool = False, pretrained: bool = True) -> Any:
        # A network cut down to its stages has other names of tensors; timm takes care of that where it loads a file.
        overlay = {"file": str(folder / f"{name}.pth")}
        return create(name, features_only=features_only, pretrained=True, pretrained_cfg_overlay=overlay)

    timm.create_model = with_file
    listed = timm.list_models(pretrained=True)
    timm.list_models = lambda pretrained: [*listed, *(name.split(".")[0] for name in listed)]


def make_simclr(model_type: str) -> None:
    """Write a SimCLR-v2 checkpoint of random weights where the repository looks for one."""
    import torch

    simclr = importlib.import_module("feature_extraction.simclr_v2")
    path = Path(simclr.model_cktp[model_type])
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    made = simclr.get_simclr_resnet(*simclr.name_to_params(str(path)))
    torch.save({key: network.state_dict() for key, network in zip(("resnet", "head"), made, strict=True)}, path)


def extract(model_type: str, rate: int, videos: str, into: str) -> None:
    """Save every layer of every video, as ``run_features.py`` does first."""
    generate = importlib.import_module("feature_extraction.generate_features")
    generate.run_activation_features(model_type, into, videos, {"filter_name": "mean", "sampling_rate": rate})


def compress(folder: str, components: int, exact: bool) -> None:
    """Compress what `extract` saved by PCA; ``exact``: in full, not by scikit-learn's random and unseeded solver."""
    if exact:
        fit: Any = importlib.import_module("feature_compression.fit_pca")
        pca = fit.PCA
        fit.PCA = lambda **given: pca(svd_solver="full", **given)
    importlib.import_module("feature_compression.compress_features").run_compression(folder, "any", "pca", components)


class Experiment:
    """What the search is given in place of MLE-Toolbox's experiment: it keeps what is logged and saved."""

    def __init__(self, train_config: dict[str, Any], encoder: str) -> None:
        self.train_config = Config(train_config)
        self.model_config = Config(encoding_model=encoder)
        self.tried: list[dict[str, Any]] = []
        self.saved: dict[str, Any] = {}
        self.log = SimpleNamespace(extend_tracking=lambda _: None, save_model=lambda _: None, save_extra=self._save)

    def _save(self, value: Any, name: str) -> None:
        self.saved[name] = value

    def update_log(self, time: dict[str, Any], stats: dict[str, Any], **_: Any) -> None:
        """Keep what one proposal scored."""
        self.tried.append(stats)


def search(train_config: dict[str, Any], encoder: str, into: str) -> None:
    """Do what ``run_bayes_opt.py`` does, and write what was tried and the predictions for the test videos."""
    experiment = Experiment(train_config, encoder)
    importlib.import_module("run_bayes_opt").main(experiment)
    tried = [
        {key: value if isinstance(value, str) else float(value) for key, value in one.items()}
        for one in experiment.tried
    ]
    Path(into).write_text(json.dumps(tried))
    ((name, predictions),) = experiment.saved.items()
    np.save(Path(into).with_suffix(".npy"), predictions)
    Path(into).with_suffix(".txt").write_text(name)


def score(encoder: str, settings: list[dict[str, Any]], data: str, into: str) -> None:
    """Cross-validate one encoder with each of some hyper-parameters, and predict, on data in a file."""
    given = np.load(data)
    fitter = importlib.import_module("encoding_models").EncoderFitter(
        encoder, 10, given["X"], given["Y"], given["X_test"]
    )
    scores = [float(fitter.cv_fit(one)[0]["corr_mean"]) for one in settings]
    predictions = [np.asarray(fitter.predict_on_test(one)[1]) for one in settings]
    np.savez(into, scores=scores, predictions=np.stack(predictions))


TASKS: dict[str, Callable[..., None]] = {
    task.__name__: task for task in (make_simclr, extract, compress, components, search, score)
}


def main(tasks: list[dict[str, Any]], weights: str) -> None:
    """Do tasks one after the other, each a mapping with its name under ``task`` and its arguments."""
    sys.path.insert(0, str(Path.cwd()))
    replace_missing()
    use_weights(Path(weights))
    for task in tasks:
        TASKS[task.pop("task")](**task)


if __name__ == "__main__":
    main(**json.loads(Path(sys.argv[1]).read_text()))
