"""Predict fMRI responses to videos and images from the features of deep networks, and say honestly how well.

What is named here is what a notebook needs; it is imported when it is first used. The rooms below can be used alone::

    import voxelcast as vc

    features = vc.extract("my_videos", vc.load_network("torchvision/resnet18", layers="all"))
    scores = vc.evaluate(features, responses)
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voxelcast.api.evaluation import EvaluationSettings, evaluate
    from voxelcast.api.experiment import run, sweep
    from voxelcast.api.extraction import extract
    from voxelcast.api.feature_space import FeatureSpace
    from voxelcast.api.simulation import simulate
    from voxelcast.api.transfer import transfer
    from voxelcast.api.variance import noise_ceiling, variance_partitioning
    from voxelcast.challenges.registry import list_challenges, register_challenge
    from voxelcast.core.errors import VoxelcastError, VoxelcastWarning
    from voxelcast.datasets.registry import list_datasets, open_dataset, register_dataset
    from voxelcast.encoders.registry import list_encoders, register_encoder
    from voxelcast.features.pooling import register_pool
    from voxelcast.models import insilico
    from voxelcast.models.encoder import load_encoder
    from voxelcast.networks.families.own_network import network_from_module
    from voxelcast.networks.family import register_network
    from voxelcast.networks.registry import list_networks, load_network
    from voxelcast.report import plot
    from voxelcast.results.read import read_results
    from voxelcast.search.estimator import EncodingModel

__version__ = "0.1.0"

_MODULES = {
    "EncodingModel": "search.estimator",
    "EvaluationSettings": "api.evaluation",
    "FeatureSpace": "api.feature_space",
    "VoxelcastError": "core.errors",
    "VoxelcastWarning": "core.errors",
    "evaluate": "api.evaluation",
    "extract": "api.extraction",
    "insilico": "models",
    "list_challenges": "challenges.registry",
    "list_datasets": "datasets.registry",
    "list_encoders": "encoders.registry",
    "list_networks": "networks.registry",
    "load_encoder": "models.encoder",
    "load_network": "networks.registry",
    "network_from_module": "networks.families.own_network",
    "noise_ceiling": "api.variance",
    "open_dataset": "datasets.registry",
    "plot": "report",
    "read_results": "results.read",
    "register_challenge": "challenges.registry",
    "register_dataset": "datasets.registry",
    "register_encoder": "encoders.registry",
    "register_network": "networks.family",
    "register_pool": "features.pooling",
    "run": "api.experiment",
    "simulate": "api.simulation",
    "sweep": "api.experiment",
    "transfer": "api.transfer",
    "variance_partitioning": "api.variance",
}
"""The module, below voxelcast, that defines a name."""

__all__ = [
    "EncodingModel",
    "EvaluationSettings",
    "FeatureSpace",
    "VoxelcastError",
    "VoxelcastWarning",
    "evaluate",
    "extract",
    "insilico",
    "list_challenges",
    "list_datasets",
    "list_encoders",
    "list_networks",
    "load_encoder",
    "load_network",
    "network_from_module",
    "noise_ceiling",
    "open_dataset",
    "plot",
    "read_results",
    "register_challenge",
    "register_dataset",
    "register_encoder",
    "register_network",
    "register_pool",
    "run",
    "simulate",
    "sweep",
    "transfer",
    "variance_partitioning",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("plot", "insilico"):
        return _import_module(f"{__name__}.{_MODULES[name]}.{name}")
    value: object = getattr(_import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*__all__, "__version__"])
