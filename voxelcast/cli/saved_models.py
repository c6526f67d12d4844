"""``voxelcast predict`` and ``voxelcast models``: saved encoding models, and what they predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from voxelcast.cli.options import DATASET, PATH, SETTINGS, check_absent, open_dataset
from voxelcast.core.errors import OptionError

_SHOWN = 8  # subjects x ROI in a line


@click.command()
@click.argument("model", type=PATH)
@click.argument("stimuli", type=PATH)
@click.option("--to", type=PATH, help="File to write: .npy .npz .h5 .csv .nii.gz .gii .dscalar.nii; default: print.")
@click.option("--subject", help="Of this subject alone.")
@click.option("--roi", help="Of this ROI alone.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--weights", multiple=True, metavar="NETWORK=FILE", help="Weights of a network that came from a file.")
@click.option("--own-code", is_flag=True, help="Import a network of somebody's own code (module:...).")
def predict(
    model: Path,
    stimuli: Path,
    to: Path | None,
    subject: str | None,
    roi: str | None,
    device: str,
    weights: tuple[str, ...],
    own_code: bool,
) -> None:
    """Predict the responses to STIMULI by the saved MODEL.

    MODEL is the output folder of a run, its models folder or one file in it. STIMULI are a video, an image, a folder or
    zip archive of them, or ready features: a folder of voxelcast extract, an .npz with an array of each layer.
    """
    from voxelcast.api.prediction_files import save_predictions
    from voxelcast.models.encoder import load_encoder

    if to is not None:
        check_absent(to, "--to")
    encoder = load_encoder(model, subject=subject, roi=roi, device=device, weights=_files(weights), own_code=own_code)
    predictions = encoder.predict(stimuli)
    if to is not None:
        for path in save_predictions(predictions, to, encoder):
            click.echo(f"wrote {path}")
        return
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
    rows = transfer_models(encoder, open_dataset(data, settings), to, folds=FoldSettings(n=folds), seed=seed)
    for row in rows:
        names = ("score", "score_alone", "difference", "difference_low", "difference_high", "share")
        r, alone, *difference, share = ("unknown" if row[name] is None else f"{row[name]:.3f}" for name in names)
        click.echo(
            f"{row['subject']} {row['roi']}: r {r}, alone {alone}; difference {difference[0]} ({difference[1]} to "
            f"{difference[2]}); share of the others {share}"
        )
    click.echo(f"models and transfer.csv in {to}")


def _files(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for one in given:
        name, separator, path = one.partition("=")
        if not separator or not name or not path:
            raise OptionError(f"--weights must be NETWORK=FILE; got {one!r}")
        found[name] = path
    return found
