"""Fine-tuning on labelled images: a network learns the classes of an image folder, or of a fraction of it.

The recipe is that of Barlow Twins' semi-supervised evaluation [1]_, which the 2021 pipeline used: stochastic gradient
descent with momentum 0.9, cross entropy, crops of random size and place resized to the network's input and flipped half
of the time, the head's and the other layers' learning rates falling as a cosine from epoch to epoch,

    rate(e) = rate(0) (1 + cos(pi e / n_epochs)) / 2.

All chance of an epoch (order, crops, flips, dropout) follows from the seed and the epoch's number, and the state after
each epoch is kept, so that a run that was killed goes on to the same bits: on a CPU always, on a GPU as far as torch's
operations there give the same bits twice.

References
----------
.. [1] Zbontar, J. et al. (2021). Barlow Twins: self-supervised learning via redundancy reduction. ICML.
   https://doi.org/10.48550/arXiv.2103.03230
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as functional
from annotated_types import Ge, Gt
from torch import nn
from torchvision.transforms import RandomResizedCrop

from voxelcast.core.errors import DataError, OptionError, StoreError
from voxelcast.core.progress import SILENT, Progress
from voxelcast.core.seeds import derive_seed
from voxelcast.core.settings import settings
from voxelcast.networks.base import Triple
from voxelcast.networks.checkpoints import find_head, parameter_hash, replace_head
from voxelcast.networks.labelled_images import LabelledImages
from voxelcast.networks.precision import same_bits
from voxelcast.networks.prepare import prepare_frames
from voxelcast.networks.recipe import build_module
from voxelcast.networks.registry import find_family
from voxelcast.networks.settings import NetworkSettings
from voxelcast.store.atomic import atomic_path, write_json
from voxelcast.store.keys import content_key
from voxelcast.store.provenance import collect_provenance

_CLASSES, _PROVENANCE = ".classes.json", ".provenance.json"  # of files beside the checkpoint


@dataclass(frozen=True)
class Trainee:
    """A network to be fine-tuned: the module with its head in place, and how its input is made."""

    name: str
    weights: str
    module: nn.Module
    input_size: int
    mean: Triple
    std: Triple


def load_trainee(
    settings: NetworkSettings, images: LabelledImages, *, seed: int = 0, keep_head: bool = False
) -> Trainee:
    """Load a network to learn the classes of images; layers do not count.

    ``seed`` is that of random weights and of the new head. With ``keep_head`` the last layer, whose classes must be
    those of the images, stays. Errors are those of :func:`voxelcast.networks.registry.load_network`; besides,
    OptionError if the network takes clips, or has no last layer to classify with.
    """
    recipe, name = find_family(settings).recipe(settings), settings.name
    if recipe.clip:
        raise OptionError(f"'{name}' takes clips and cannot be fine-tuned on images; choose another")
    module, called, _ = build_module(recipe, settings, seed)
    if recipe.add_head and not keep_head:
        module = recipe.add_head(module)
    head = find_head(module, name)
    if not keep_head:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "finetune", "head"))
            replace_head(module, head, max(images.classes.values()) + 1)
    size = settings.input_size or recipe.input_size
    return Trainee(name, called, module, size, settings.mean or recipe.mean, settings.std or recipe.std)


@settings
class FinetuneSettings:
    """How a network is fine-tuned.

    Parameters
    ----------
    trainable : {"all", "head"}
        All layers, or the last alone: then the others do not change by a bit, nor do their batch statistics.
    lr_head, lr_backbone : float
        Learning rates of the last layer and of the others, at first.
    batch : int
        Images per step, at least; what would be left over is spread over the steps.
    """

    epochs: Annotated[int, Ge(1)] = 20
    trainable: Literal["all", "head"] = "all"
    lr_head: Annotated[float, Gt(0)] = 0.5
    lr_backbone: Annotated[float, Gt(0)] = 0.002
    weight_decay: Annotated[float, Ge(0)] = 0.0
    batch: Annotated[int, Ge(2)] = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lr_head", "lr_backbone", "weight_decay"):
            if not math.isfinite(value := getattr(self, name)):
                raise OptionError(f"{name} must be finite; got {value}")


def finetune(
    trainee: Trainee,
    images: LabelledImages,
    output: Path,
    settings: FinetuneSettings,
    *,
    device: torch.device,
    workers: int = 2,
    progress: Progress = SILENT,
) -> list[dict[str, float]]:
    """Fine-tune a network, in place, and write its weights; go on where a killed run was.

    Writes ``output``, a checkpoint that ``weights: FILE`` understands, and beside it ``.json`` files: ``.classes.json``
    (the map of class folders that ``networks validate`` takes) and ``.provenance.json``. ``.resume``, the state after
    the last whole epoch, is there until the end. ``workers`` threads read images. Returns for each epoch its ``loss``
    (mean over images) and ``accuracy`` (top-1), while learning. Raises StoreError if ``output`` or what a killed run
    left belongs to other settings; DataError if there are fewer than two images, or the loss is no longer finite;
    StimulusError for an image that cannot be read.
    """
    if len(images) < 2:
        raise DataError(f"fine-tuning needs at least two images; got {len(images)}")
    key = _key(trainee, images, settings)
    resume = output.with_name(f"{output.name}.resume")
    for ending in ("", _CLASSES, _PROVENANCE):
        there = output.with_name(f"{output.name}{ending}")
        if there.exists() and not (ending and resume.is_file()):
            raise StoreError(f"{there} exists already; choose another output, or remove it")
    module = trainee.module.to(device)
    head = find_head(module, trainee.name)
    optimiser = _optimiser(module, head, settings)
    history: list[dict[str, float]] = []
    if resume.is_file():
        history = _restore(resume, key, module, optimiser, device)
    progress.start(f"fine-tune {trainee.name}", settings.epochs * len(images), "image")
    progress.advance(len(history) * len(images))
    for epoch in range(len(history), settings.epochs):
        trainee.module.train(settings.trainable == "all")
        for group in optimiser.param_groups:
            group["lr"] = group["first"] * (1 + math.cos(math.pi * epoch / settings.epochs)) / 2
        with _random_state(derive_seed(settings.seed, "finetune", epoch), device), same_bits():
            losses = _steps(trainee, optimiser, images, max(len(images) // settings.batch, 1), device, workers)
            loss, right = 0.0, 0
            for n, batch_loss, batch_right in losses:
                loss, right = loss + batch_loss * n, right + batch_right
                progress.advance(n)
        if not math.isfinite(loss):
            raise DataError(f"the loss of epoch {epoch + 1} is not finite; lower the learning rates of {trainee.name}")
        history.append({"loss": loss / len(images), "accuracy": right / len(images)})
        progress.note(f"epoch {epoch + 1}: loss {history[-1]['loss']:.4f}, top-1 {history[-1]['accuracy']:.4f}")
        if epoch + 1 < settings.epochs:
            state = {"key": key, "model": module.state_dict(), "optimiser": optimiser.state_dict(), "history": history}
            with atomic_path(resume) as temporary:
                torch.save(state, temporary)
    commonest = max(Counter(images.labels).values()) / len(images)
    if history[-1]["accuracy"] <= commonest:
        progress.note(
            f"nothing was learnt: top-1 is no better than always naming one class ({commonest:.4f}); change learning "
            "rates or batch, or train the head alone (weights with batch norms folded into convolutions need that)"
        )
    progress.finish()
    _write(output, trainee, head, images, settings, history)
    resume.unlink(missing_ok=True)
    return history


def _key(trainee: Trainee, images: LabelledImages, settings: FinetuneSettings) -> str:
    """Hash of all that determines the result."""
    return content_key(
        {
            "network": trainee.name,
            "weights": parameter_hash(trainee.module),
            "input": [trainee.input_size, trainee.mean, trainee.std],
            "images": [[image.stimulus_id, image.content_hash()] for image in images.stimuli],
            "labels": images.labels,
            "settings": asdict(settings),
        }
    )


def _optimiser(module: nn.Module, head: str, settings: FinetuneSettings) -> torch.optim.SGD:
    last = list(module.get_submodule(head).parameters())
    others = [p for name, p in module.named_parameters() if not name.startswith(f"{head}.")]
    module.requires_grad_(settings.trainable == "all")
    module.get_submodule(head).requires_grad_(True)
    groups: list[dict[str, Any]] = [{"params": last, "lr": settings.lr_head, "first": settings.lr_head}]
    if settings.trainable == "all":
        groups.append({"params": others, "lr": settings.lr_backbone, "first": settings.lr_backbone})
    return torch.optim.SGD(groups, momentum=0.9, weight_decay=settings.weight_decay)


def _restore(
    resume: Path, key: str, module: nn.Module, optimiser: torch.optim.SGD, device: torch.device
) -> list[dict[str, float]]:
    state = torch.load(resume, map_location=device, weights_only=True)
    if state["key"] != key:
        raise StoreError(
            f"{resume} was left by fine-tuning with other images, weights or settings; "
            "choose another output, or remove it to begin anew"
        )
    module.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    history: list[dict[str, float]] = state["history"]
    return history


def _steps(
    trainee: Trainee,
    optimiser: torch.optim.SGD,
    images: LabelledImages,
    n_steps: int,
    device: torch.device,
    workers: int,
) -> Iterator[tuple[int, float, int]]:
    """Learn from all images once; give the number of images, mean loss and number of right classes of each step."""
    order: list[int] = torch.randperm(len(images)).tolist()
    pictures = images.read(order, workers)
    for rows in torch.tensor_split(torch.tensor(order), n_steps):
        inputs = torch.cat([_augmented(next(pictures), trainee, device) for _ in rows])
        labels = torch.tensor([images.labels[k] for k in rows.tolist()], device=device)
        scores = trainee.module(inputs)
        # Inception and GoogLeNet put out auxiliary scores, too, while they learn; the first are their own.
        scores = images.check_scores(scores[0] if isinstance(scores, tuple) else scores, trainee.name)
        loss = functional.cross_entropy(scores, labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        yield len(rows), loss.item(), int((scores.argmax(1) == labels).sum())


@contextmanager
def _random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block, also on a GPU, and leave its random state alone outside."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _augmented(picture: Any, trainee: Trainee, device: torch.device) -> torch.Tensor:
    """Crop an image (height, width, 3) at random, flip it half of the time, and prepare it: (1, 3, size, size)."""
    # Of the image only its size counts here.
    shape = torch.empty(3, *picture.shape[:2], device="meta")
    top, left, height, width = RandomResizedCrop.get_params(shape, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])
    crop = picture[None, top : top + height, left : left + width]
    if torch.rand(()) < 0.5:
        crop = crop[:, :, ::-1]
    return prepare_frames(crop, trainee.input_size, trainee.mean, trainee.std, device)


def _write(
    output: Path,
    trainee: Trainee,
    head: str,
    images: LabelledImages,
    settings: FinetuneSettings,
    history: list[dict[str, float]],
) -> None:
    state = {name: tensor.cpu() for name, tensor in trainee.module.state_dict().items()}
    facts = {
        "network": trainee.name,
        "from": trainee.weights,
        "settings": asdict(settings),
        "images": len(images),
        "classes": len(images.classes),
        "weights_hash": parameter_hash(trainee.module),
        "history": history,
    }
    write_json(output.with_name(f"{output.name}{_CLASSES}"), images.classes)
    write_json(output.with_name(f"{output.name}{_PROVENANCE}"), {**facts, **collect_provenance()})
    with atomic_path(output) as temporary:
        torch.save({"model": state, "flags": {"head": head, "network": trainee.name}}, temporary)
