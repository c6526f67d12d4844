"""``voxelcast predict`` and ``voxelcast models``: saved encoding models, and what they predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from voxelcast.cli.options import AS_JSON, DATASET, PATH, SETTINGS, echo_rows, open_dataset
from voxelcast.cli.progress import make_progress, progress_in
from voxelcast.core.errors import OptionError

_SHOWN = 8  # subjects x ROI in a line


@click.command()
@click.argument("model", type=PATH)
@click.argument("stimuli", type=PATH, nargs=-1, required=True)
@click.option("--to", type=PATH, help="File to write: .npy .npz .h5 .csv .nii.gz .gii .dscalar.nii; default: print.")
@click.option("--texts", type=PATH, help="Table stimulus_id,text: what networks read of the stimuli.")
@click.option("--subject", help="Of this subject alone.")
@click.option("--roi", help="Of this ROI alone.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--weights", multiple=True, metavar="NETWORK=FILE", help="Weights of a network that came from a file.")
@click.option("--own-code", is_flag=True, help="Import a network of somebody's own code (module:...).")
@click.option("--intervals", type=click.FloatRange(0.5, 0.995), metavar="LEVEL", help="E.g. 0.95; of a .csv file.")
def predict(
    model: Path,
    stimuli: tuple[Path, ...],
    to: Path | None,
    texts: Path | None,
    intervals: float | None,
    weights: tuple[str, ...],
    **which: Any,
) -> None:
    """Predict the responses to STIMULI by the saved MODEL.

    MODEL is the output folder of a run, its models folder or one file in it. STIMULI are videos and images, a folder or
    zip archive of them, a table of texts, or ready features: a folder of voxelcast extract, an .npz with an array of
    each layer. For a model of a time series a video is a run: each volume (TR) of it is predicted.
    A .csv file also says of each voxel how well it is predicted, and of each stimulus whether it is unlike those that
    the model learnt from.
    """
    from voxelcast.api.prediction_files import check_target, save_predictions
    from voxelcast.execution.journal import beside
    from voxelcast.models.encoder import load_encoder

    if to is not None:
        check_target(to)
    if intervals is not None and (to is None or to.suffix != ".csv"):
        raise OptionError(f"--intervals go into a .csv file; got --to {to}")
    encoder = load_encoder(model, weights=_files(weights), **which)
    given = stimuli[0] if len(stimuli) == 1 else stimuli
    if to is not None:
        with progress_in(beside(to)) as progress:
            predictions = encoder.predict(given, intervals=intervals, texts=texts, progress=progress)
            written = save_predictions(predictions, to, encoder)
        for path in written:
            click.echo(f"wrote {path}")
        return
    predictions = encoder.predict(given, intervals=intervals, texts=texts, progress=make_progress())
    pairs = list(predictions)[:_SHOWN]
    click.echo("\t".join(["stimulus_id", *(f"{' '.join(pair)} (mean)" for pair in pairs)]))
    for row, name in enumerate(predictions.ids):
        click.echo("\t".join([name, *(f"{predictions.arrays[pair][row].mean():.4f}" for pair in pairs)]))
    if len(predictions) > _SHOWN:
        click.echo(
            f"... and {len(predictions) - _SHOWN} more subjects x ROI; choose by --subject and --roi, or --to FILE"
        )


@click.command()
@click.argument("models", type=PATH)
@click.argument("data", metavar=DATASET)
@SETTINGS
@click.option("--to", type=PATH, required=True, help="Folder to make: models/ and transfer.csv.")
@click.option("--folds", type=int, help="Default: 5 below 100 stimuli, 10 from there.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--weights", multiple=True, metavar="NETWORK=FILE", help="Weights of a network that came from a file.")
@click.option("--own-code", is_flag=True, help="Import a network of somebody's own code (module:...).")
def transfer(
    models: Path,
    data: str,
    settings: tuple[str, ...],
    to: Path,
    folds: int | None,
    seed: int,
    **how: Any,
) -> None:
    """Make models of new subjects, who saw few stimuli, with the help of other subjects' saved MODELS.

    DATA are the new subjects': KIND:ROOT, or an experiment file, of which the dataset counts. How much the others
    count, nothing included, is chosen inside the folds; beside the nested score stands that of a fit to the subject
    alone.
    """
    from voxelcast.experiment.transfer import transfer_models
    from voxelcast.models.encoder import load_encoder
    from voxelcast.search.settings import FoldSettings

    encoder = load_encoder(models, device=how["device"], weights=_files(how["weights"]), own_code=how["own_code"])
    dataset, given = open_dataset(data, settings), FoldSettings(n=folds)
    with progress_in(to) as progress:
        rows = transfer_models(encoder, dataset, to, folds=given, seed=seed, progress=progress)
    for row in rows:
        names = ("score", "score_alone", "difference", "difference_low", "difference_high", "share")
        r, alone, *difference, share = ("unknown" if row[name] is None else f"{row[name]:.3f}" for name in names)
        click.echo(
            f"{row['subject']} {row['roi']}: r {r}, alone {alone}; difference {difference[0]} ({difference[1]} to "
            f"{difference[2]}); share of the others {share}"
        )
    click.echo(f"models and transfer.csv in {to}")


@click.group()
def models() -> None:
    """Show, list, push and pull saved models."""


@models.command()
@click.argument("model", type=PATH)
def show(model: Path) -> None:
    """Show the card of MODEL: data, scores, networks, licences, how to cite."""
    from voxelcast.models.card import FILE, find_models, read_card
    from voxelcast.models.readme import card_lines
    from voxelcast.models.tensors import file_sha256

    folder = find_models(model)
    for line in card_lines(read_card(folder)):
        click.echo("".join(one if one.isprintable() or one == "\n" else "?" for one in line))
    click.echo(f"\nSHA-256 of the card: {file_sha256(folder / FILE)}")


@models.command("list")
@click.argument("model", type=PATH)
@AS_JSON
def list_models(model: Path, as_json: bool) -> None:
    """List the subjects and ROIs of MODEL with their scores."""
    from voxelcast.models.card import find_models, read_card

    rows = []
    for one in read_card(find_models(model)).pairs:
        score = one.scores.get("score")
        known = isinstance(score, int | float)
        shown = f"r {score:.3f} ({one.scores.get('score_from')})" if known else "no score"
        layers = ", ".join(dict.fromkeys(part.layer for part in one.parts))
        facts = (one.n_voxels, score) if as_json else (f"{one.n_voxels} voxels", shown)
        rows.append((one.subject, one.roi, *facts, layers))
    echo_rows(("subject", "roi", "n_voxels", "score", "layers"), rows, as_json)


@models.command()
@click.argument("model", type=PATH)
@click.argument("place")
def push(model: Path, place: str) -> None:
    """Copy MODEL to PLACE: a new folder, or hub:OWNER/NAME on the Hugging Face Hub."""
    from voxelcast.models.hub import push as push_models

    click.echo(f"wrote {push_models(model, place)}")


@models.command()
@click.argument("place")
@click.argument("folder", type=PATH)
@click.option("--sha256", help="Of the card, as voxelcast models show says it: no other version is taken.")
def pull(place: str, folder: Path, sha256: str | None) -> None:
    """Copy models from PLACE, a folder or hub:OWNER/NAME[@REVISION], into the new FOLDER, and check every file."""
    from voxelcast.models.hub import pull as pull_models

    card = pull_models(place, folder, sha256)
    click.echo(f"wrote {folder}: {len(card.pairs)} subjects x ROI")


def _files(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for one in given:
        name, separator, path = one.partition("=")
        if not separator or not name or not path:
            raise OptionError(f"--weights must be NETWORK=FILE; got {one!r}")
        found[name] = path
    return found
