"""How often a network names the class of labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.progress import Progress, Silent
from voxelcast.networks.base import Network
from voxelcast.networks.image_folder import LabelledImages
from voxelcast.networks.module_network import ModuleNetwork


@dataclass(frozen=True)
class Accuracy:
    """Share of images whose class has the highest score (top1) or one of the five highest (top5).

    With no more than five classes, of the ``n_classes`` that the network tells apart, top5 is 1.
    """

    top1: float
    top5: float
    n_images: int
    n_classes: int


def validate(
    network: Network, images: LabelledImages, *, batch: int = 32, workers: int = 2, progress: Progress | None = None
) -> Accuracy:
    """Measure top-1 and top-5 accuracy of a network whose output is one score per class.

    Images are prepared as for extraction (resized to a square without a crop), so this is the accuracy of the network
    whose features are used; published numbers are for a central crop and differ by about a percent.

    Raises
    ------
    OptionError
        If the network takes clips or puts out no scores.
    DataError
        If a label is no class of the network.
    StimulusError
        For an image that cannot be read.
    """
    if not isinstance(network, ModuleNetwork) or network.card.takes != "frames":
        raise OptionError(f"'{network.card.name}' cannot be validated: it does not classify images one by one")
    progress = progress or Silent()
    progress.start(f"validate {network.card.name}", len(images), "image")
    hits = {1: 0, 5: 0}
    n_classes = 0
    labels = torch.tensor(images.labels)
    pictures = images.read(range(len(images)), workers)
    for start in range(0, len(images), batch):
        right = labels[start : start + batch]
        prepared = torch.cat([network.prepare(next(pictures)[None]) for _ in right])
        scores = check_scores(network.output(prepared), network.card.name, images).cpu()
        n_classes = scores.shape[1]
        # Ties are told apart by index, so that the result is the same everywhere.
        order = scores.argsort(dim=1, descending=True, stable=True)
        for k in hits:
            hits[k] += int((order[:, :k] == right[:, None]).any(1).sum())
        progress.advance(len(right))
    progress.finish()
    return Accuracy(hits[1] / len(images), hits[5] / len(images), len(images), n_classes)


def check_scores(scores: object, network: str, images: LabelledImages) -> torch.Tensor:
    """Return the scores if they are (n_images, n_classes) and have a class for each label, else raise an error."""
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2:
        raise OptionError(f"'{network}' must put out one score per class; choose a network that classifies")
    if not images.mapped and len(images.classes) != scores.shape[1]:
        raise DataError(
            f"'{network}' tells {scores.shape[1]} classes apart, but there are {len(images.classes)} class folders; "
            "give a class map: a JSON file of {folder name: class index}"
        )
    if max(images.classes.values()) >= scores.shape[1]:
        name = max(images.classes, key=lambda folder: images.classes[folder])
        raise DataError(
            f"class {name!r} has index {images.classes[name]}, but '{network}' tells {scores.shape[1]} classes apart; "
            "correct the class map"
        )
    return scores
