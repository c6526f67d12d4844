"""``voxelcast ask``: questions to a saved model, answered as a table, figures and one page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from voxelcast.cli.options import PATH, check_absent
from voxelcast.core.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

    from voxelcast.models.encoder import SavedEncoder
    from voxelcast.report.answers import Answer

_FIRST_ROWS = 10
_MODEL = click.argument("model", type=PATH)
_TO = click.option("--to", type=PATH, help="New folder for the table (CSV), the figures (PNG) and a page (HTML).")
_VOXEL = click.option("--voxel", type=click.IntRange(0), help="One voxel, by its index; default: the mean of the ROI.")
_LEVEL = click.option("--level", default=0.95, show_default=True, help="Of the prediction intervals.")


def _of_a_model(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--subject", help="Default: all, or the only one."),
        click.option("--roi", help="Default: all, or the only one."),
        click.option("--device", default="cpu", show_default=True),
        click.option("--weights", multiple=True, metavar="NETWORK=FILE", help="Weights that the model does not hold."),
        click.option("--own-code", is_flag=True, help="Allow a network of somebody's own code (module:...)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _load(
    model: Path, subject: str | None, roi: str | None, device: str, weights: tuple[str, ...], own_code: bool
) -> SavedEncoder:
    from voxelcast.models.encoder import load_encoder

    given: dict[str, str | Path] = {}
    for text in weights:
        name, equals, file = text.partition("=")
        if not equals:
            raise OptionError(f"--weights must be NETWORK=FILE; got {text!r}")
        given[name] = file
    return load_encoder(model, subject=subject, roi=roi, device=device, weights=given, own_code=own_code)


def _tell(answer: Answer, to: Path | None, columns: list[str]) -> None:
    click.echo(answer.lead)
    for note in answer.notes:
        click.echo(f"note: {note}", err=True)
    shown: pd.DataFrame = answer.table[columns].head(_FIRST_ROWS)
    click.echo(shown.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    if len(answer.table) > _FIRST_ROWS:
        click.echo(f"... {len(answer.table)} rows in all" + ("" if to else "; --to FOLDER writes them"))
    if to is not None:
        click.echo(f"page: {answer.write(to)}")


@click.group()
def ask() -> None:
    """Ask a saved model: what drives a response, what differs, what of a picture counts.

    MODEL is the output folder of a run, or its models folder. Answers are a model's predictions, not measurements.
    """


@ask.command("rank")
@_MODEL
@click.argument("stimuli", type=PATH)
@_VOXEL
@_LEVEL
@_TO
@_of_a_model
def rank_(model: Path, stimuli: Path, voxel: int | None, level: float, to: Path | None, **options: Any) -> None:
    """Rank STIMULI, a folder or zip archive, by the response that MODEL predicts of an ROI or voxel."""
    from voxelcast.models.insilico import rank
    from voxelcast.report.answers import SHOWN, ranking

    check_absent(to, "--to")
    encoder = _load(model, **options)
    given = encoder.shown(stimuli)
    table = rank(encoder, given, subject=options["subject"], roi=options["roi"], voxel=voxel, level=level)
    ends = [*table["stimulus_id"].head(SHOWN), *table["stimulus_id"].tail(SHOWN)]
    answer = ranking(table, _thumbnails(given, ends) if to else {}, encoder.card.name)
    _tell(answer, to, ["rank", "stimulus_id", "response", "low", "high", "novelty", "unlike"])


@ask.command("contrast")
@_MODEL
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option("--permutations", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@_TO
@_of_a_model
def contrast_(
    model: Path, first: Path, second: Path, permutations: int, seed: int, to: Path | None, **options: Any
) -> None:
    """Contrast the responses that MODEL predicts to the stimuli in FIRST and in SECOND, voxel by voxel."""
    from voxelcast.models.insilico import contrast
    from voxelcast.report.answers import contrast_answer

    check_absent(to, "--to")
    encoder = _load(model, **options)
    table = contrast(encoder, first, second, permutations=permutations, seed=seed)
    answer = contrast_answer(table, first.stem, second.stem, encoder.card.name)
    _tell(answer, to, ["subject", "roi", "voxel", "effect", "p_value", "q_value", "pearson_r"])


@ask.command("responses")
@_MODEL
@click.argument("stimulus", type=PATH)
@_LEVEL
@_TO
@_of_a_model
def responses_(model: Path, stimulus: Path, level: float, to: Path | None, **options: Any) -> None:
    """Show the responses of all ROIs that MODEL predicts to one STIMULUS."""
    from voxelcast.models.insilico import responses
    from voxelcast.report.answers import responses_answer

    check_absent(to, "--to")
    encoder = _load(model, **options)
    given = encoder.shown(stimulus)
    table = responses(encoder, given, level=level)
    picture = next(iter(_thumbnails(given, given.ids).values()), None) if to else None
    answer = responses_answer(table, picture, encoder.card.name)
    _tell(answer, to, ["subject", "roi", "response", "low", "high", "standardised", "score", "novelty", "unlike"])


@ask.command("drivers")
@_MODEL
@click.argument("picture", type=PATH)
@_VOXEL
@click.option("--cells", type=click.IntRange(2, 64), default=8, show_default=True, help="Of a side of the picture.")
@_TO
@_of_a_model
def drivers_(model: Path, picture: Path, voxel: int | None, cells: int, to: Path | None, **options: Any) -> None:
    """Map which part of PICTURE drives the response of an ROI or voxel, by gradient and by covering parts of it."""
    from voxelcast.models.insilico import drivers
    from voxelcast.report.answers import drivers_answer

    check_absent(to, "--to")
    encoder = _load(model, **options)
    found = drivers(encoder, picture, subject=options["subject"], roi=options["roi"], voxel=voxel, cells=cells)
    maps = {"occlusion": found.occlusion} | ({} if found.gradient is None else {"gradient": found.gradient})
    about = {**found.about, "name": picture.stem, "response": found.response, "no_gradient": found.no_gradient}
    table = found.table().sort_values("occlusion", ascending=False, kind="stable")
    _tell(drivers_answer(about, found.picture, maps, table, encoder.card.name), to, list(table.columns))


def _thumbnails(given: Any, ids: Any) -> dict[str, Any]:
    """Make small pictures of some stimuli; none of ready features."""
    from voxelcast.stimuli.thumbnail import thumbnail

    shown = dict(zip(given.ids, given.files or given.frames, strict=False))
    return {name: thumbnail(shown[name], 240) for name in ids if name in shown}
