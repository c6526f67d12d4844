"""The command line. Errors are one line on standard error; exit code 1 for wrong input, 2 for wrong usage."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import TextIO

import click

import voxelcast
from voxelcast.cli.execution import execution, status
from voxelcast.cli.extract import extract
from voxelcast.cli.import_2021 import import_2021
from voxelcast.cli.listing import datasets
from voxelcast.cli.models import encoders, networks
from voxelcast.cli.options import ON, PATH, SETTINGS
from voxelcast.cli.progress import make_progress
from voxelcast.cli.results import maps, report, view
from voxelcast.cli.rsa import rsa
from voxelcast.cli.simulate import demo, simulate
from voxelcast.cli.submission import score, submission
from voxelcast.core.errors import VoxelcastError, VoxelcastWarning


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(voxelcast.__version__)
def cli() -> None:
    """Predict fMRI responses to videos and images from the features of deep networks."""


@cli.command()
@click.argument("experiment", type=PATH)
@SETTINGS
@click.option("--output", type=PATH, help="Folder of the results; default outputs/NAME.")
@click.option("--store", type=PATH, help="Folder of finished steps, shared; default OUTPUT/steps.")
@ON
@click.option("--dry-run", is_flag=True, help="Check everything and estimate time and disk; do not run.")
def run(
    experiment: Path, settings: tuple[str, ...], output: Path | None, store: Path | None, on: str | None, dry_run: bool
) -> None:
    """Run an experiment file from stimuli and responses to scores, predictions, submission and report.

    Run the same command again after a kill: it goes on where it was. Where some subject x ROI fail, the others' results
    are written and say which are missing, and the exit code is 1; the same command then does just those.
    """
    from voxelcast.execution.profile import chosen_profile
    from voxelcast.experiment.plan import output_folder
    from voxelcast.experiment.run import estimate_experiment, run_experiment
    from voxelcast.experiment.settings_file import load_config

    config = load_config(experiment, settings)
    folder = output_folder(config, output)
    if dry_run:
        for line in estimate_experiment(config, folder, store=store).lines():
            click.echo(line)
        return
    summary = run_experiment(config, folder, store=store, on=chosen_profile(on), progress=make_progress())
    click.echo(f"{summary.steps_run} steps run, {summary.steps_kept} kept from before")
    if summary.mean_score is not None:
        click.echo(f"mean score over subject x ROI: {summary.mean_score:.4f}")
    click.echo(f"report: {summary.output / 'report.html'}")


_COMMANDS = (
    *(datasets, demo, encoders, execution, extract),
    *(import_2021, maps, networks, report, rsa, score, simulate, status, submission, view),
)
for command in _COMMANDS:
    cli.add_command(command)


def main(commands: click.Group = cli, program: str = "voxelcast") -> None:
    """Run a command line and exit; an error or a warning is one line on standard error."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends in good order, as after Ctrl-C
    warnings.showwarning = _show_warning
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata that are not needed
    try:
        commands(standalone_mode=False, prog_name=program)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else program
        _stop(f"{error.format_message().rstrip('.')}; see {command} --help", error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _stop("stopped; run the same command again to go on", 130)
    except VoxelcastError as error:
        _stop(str(error), 1)
    except OSError as error:
        _stop(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show what is said to users as a line, and other packages' warnings as Python does."""
    if issubclass(category, VoxelcastWarning):
        print(f"voxelcast: warning: {' '.join(str(message).split())}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=file or sys.stderr, end="")


def _stop(message: str, code: int) -> None:
    print(f"voxelcast: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
