"""``voxelcast networks`` and ``voxelcast encoders``: what there is, training, and auto-sklearn's place."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from voxelcast.cli.options import AS_JSON, PATH, check_absent, echo_rows, take_settings
from voxelcast.cli.progress import make_progress, progress_in


@click.group()
def networks() -> None:
    """Networks and their layers; accuracy and fine-tuning on labelled images."""


@networks.command("list")
@click.argument("pattern", default="*")
@AS_JSON
def list_networks_(pattern: str, as_json: bool) -> None:
    """List the networks that match PATTERN, e.g. '*resnet*'."""
    from voxelcast.networks.registry import list_networks

    echo_rows(("name",), [(name,) for name in list_networks(pattern)], as_json)


@networks.command("layers")
@click.argument("name")
@click.option("--stimuli", type=click.IntRange(min=1), help="Also show the size on disk for so many stimuli.")
@click.option("--grid", type=click.IntRange(min=1), help="Averaged over a grid of k x k cells first.")
@click.option("--input-size", type=int, help="Height and width of the input in pixels.")
@click.option("--clip-length", type=int, help="Frames per clip, of networks that take clips.")
@click.option("--mean", type=float, nargs=3, help="Of your own network (module:...).")
@click.option("--std", type=float, nargs=3, help="Of your own network.")
@click.option("--takes", type=click.Choice(["frames", "clip"]), help="Of your own network.")
@AS_JSON
def list_layers(name: str, stimuli: int | None, grid: int | None, as_json: bool, **settings: Any) -> None:
    """List the layers of network NAME: name, kind, shape for one frame, and number of features.

    With --stimuli also the size on disk of their features, pooled over time, in float32. Networks that take clips show
    the steps of time per clip, too.
    """
    from voxelcast.core.cost import readable_bytes
    from voxelcast.networks.layer_sizes import BYTES, count_features, readable_shape
    from voxelcast.networks.registry import describe_layers

    layers = describe_layers(name, **settings)
    counts = [count_features(layer, f"grid({grid})" if grid else "none") for layer in layers]
    if as_json:
        rows = [(one.name, one.kind, readable_shape(one), n) for one, n in zip(layers, counts, strict=True)]
        echo_rows(("name", "kind", "shape", "n_features"), rows, as_json)
        return

    def show(*cells: str, n_features: int) -> None:
        size = [readable_bytes(BYTES * n_features * stimuli)] if stimuli else []
        click.echo("\t".join([*cells, f"{n_features} features", *size]))

    for layer, n_features in zip(layers, counts, strict=True):
        show(layer.name, layer.kind, readable_shape(layer), n_features=n_features)
    show("total", f"{len(layers)} layers", "", n_features=sum(counts))
    if stimuli:
        click.echo(f"for {stimuli} stimuli, pooled over time, float32")


_IMAGES = click.argument("images", type=PATH)
_WEIGHTS = click.option("--weights", default="default", show_default=True, help="default, random or a file.")
_CLASSES = click.option("--classes", type=PATH, help="JSON file: {folder name: class index}; default: sorted folders.")
_DEVICE = click.option("--device", default="cpu", show_default=True)
_SIZE = click.option("--input-size", type=int, help="Height and width of the input in pixels.")
_MEAN = click.option("--mean", type=float, nargs=3, help="Normalisation of RGB in [0, 1]; left out: the network's.")
_STD = click.option("--std", type=float, nargs=3)
_WORKERS = click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Reading threads.")


@networks.command("validate")
@click.argument("name")
@_IMAGES
@_WEIGHTS
@_CLASSES
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--output", type=PATH, help="A new JSON file of the accuracies; voxelcast status tells how far it is.")
@_WORKERS
@_DEVICE
@_SIZE
@_MEAN
@_STD
def validate_(
    images: Path, classes: Path | None, batch: int, output: Path | None, workers: int, device: str, **options: Any
) -> None:
    """Measure the top-1 and top-5 accuracy of network NAME on IMAGES, a folder with a folder of images per class."""
    from voxelcast.execution.journal import beside
    from voxelcast.networks.labelled_images import list_image_folder, validate
    from voxelcast.networks.registry import load_network
    from voxelcast.networks.settings import NetworkSettings
    from voxelcast.store.atomic import write_text

    if output is not None:
        check_absent(output, "--output")
    labelled = list_image_folder(images, classes)
    settings = take_settings(NetworkSettings, options, layers="all")
    network = load_network(settings, device=device)
    with progress_in(beside(output)) if output else nullcontext(make_progress()) as progress:
        found = validate(network, labelled, batch=batch, workers=workers, progress=progress)
        if output is not None:
            about = {"network": settings.name, "weights": network.card.weights} | asdict(found)
            write_text(output, json.dumps(about, indent=2) + "\n")
    click.echo(f"{settings.name}, weights {network.card.weights}")
    click.echo(f"{found.n_images} images of {len(labelled.classes)} classes, {found.n_classes} classes in the network")
    click.echo(f"top-1 {found.top1:.4f}, top-5 {found.top5:.4f}")


@networks.command("finetune")
@click.argument("name")
@_IMAGES
@click.option("--output", type=PATH, required=True, help="Checkpoint to write, e.g. tuned.pth.")
@_WEIGHTS
@_CLASSES
@click.option("--fraction", default=1.0, show_default=True, help="Of each class' images.")
@click.option("--epochs", default=20, show_default=True)
@click.option("--trainable", type=click.Choice(["all", "head"]), default="all", show_default=True)
@click.option("--keep-head", is_flag=True, help="Keep the last layer instead of learning a new one.")
@click.option("--lr-head", default=0.5, show_default=True, help="Learning rate of the last layer.")
@click.option("--lr-backbone", default=0.002, show_default=True, help="Learning rate of the other layers.")
@click.option("--weight-decay", default=0.0, show_default=True)
@click.option("--batch", default=256, show_default=True)
@click.option("--seed", default=0, show_default=True)
@_WORKERS
@_DEVICE
@_SIZE
@_MEAN
@_STD
def finetune_(
    images: Path, output: Path, classes: Path | None, fraction: float, keep_head: bool, **options: Any
) -> None:
    """Fine-tune network NAME on IMAGES, a folder with a folder of images per class.

    The defaults are those of Barlow Twins' recipe for a fraction of the labels. Run the same command again after a
    kill: it goes on after the last whole epoch. The result is used with `weights: OUTPUT`.
    """
    from voxelcast.execution.journal import beside
    from voxelcast.networks.finetune import FinetuneSettings, finetune, load_trainee
    from voxelcast.networks.labelled_images import list_image_folder
    from voxelcast.networks.module_network import check_device
    from voxelcast.networks.settings import NetworkSettings

    settings = take_settings(FinetuneSettings, options)
    network = take_settings(NetworkSettings, options, layers="all")
    device = check_device(options["device"])
    labelled = list_image_folder(images, classes).fraction(fraction, settings.seed)
    trainee = load_trainee(network, labelled, seed=settings.seed, keep_head=keep_head)
    with progress_in(beside(output)) as progress:
        history = finetune(
            trainee, labelled, output, settings, device=device, workers=options["workers"], progress=progress
        )
    last = history[-1]
    plural = "s" if len(history) > 1 else ""
    click.echo(f"{len(labelled)} images of {len(labelled.classes)} classes, {len(history)} epoch{plural}")
    click.echo(f"loss {history[0]['loss']:.4f} to {last['loss']:.4f}, top-1 while learning {last['accuracy']:.4f}")
    click.echo(f"weights: {output}")


@click.group()
def encoders() -> None:
    """List the encoding models; make auto-sklearn's environment."""


@encoders.command("list")
@click.argument("pattern", default="*")
@AS_JSON
def list_encoders_(pattern: str, as_json: bool) -> None:
    """List the encoders that match PATTERN, and how their hyper-parameters are found."""
    from voxelcast.encoders.params import ProblemSize
    from voxelcast.encoders.registry import get_encoder, list_encoders

    rows = []
    for name in list_encoders(pattern):
        encoder = get_encoder(name)
        found = "exact or searched" if encoder.param_grid(ProblemSize(100, 10, 10)) else "searched"
        if not encoder.search_space(ProblemSize(100, 10, 10)):
            found = "no search"
        rows.append((name, found, ", ".join(encoder.search_space(ProblemSize(100, 10, 10))) or "-"))
    echo_rows(("name", "search", "params"), rows, as_json)


@encoders.command("install-autosklearn")
@click.argument("folder", type=PATH, required=False)
@click.option("--python", help="An interpreter of Python 3.9; default: python3.9 of the search path, or pyenv's.")
def install_autosklearn(folder: Path | None, python: str | None) -> None:
    """Make the environment of the encoder autosklearn in FOLDER (default: the user's cache).

    Needs Python 3.9 on Linux (x86-64), half a gigabyte, and half a minute.
    """
    from voxelcast.encoders.autosklearn_environment.install import (
        VARIABLE,
        environment_folder,
        find_python39,
        install_environment,
    )

    place = (folder or environment_folder()).absolute()
    install_environment(place, find_python39(python), click.echo)
    click.echo(f"the encoder autosklearn is ready: {place}")
    if place != environment_folder().absolute():
        click.echo(f"let voxelcast find it: export {VARIABLE}={place}")
