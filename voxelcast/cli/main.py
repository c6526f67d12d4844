"""The command line. Errors are one line on standard error; exit code 1 for wrong input, 2 for wrong usage."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import click

import voxelcast
from voxelcast.cli.ask import ask
from voxelcast.cli.execution import execution, status
from voxelcast.cli.extract import extract
from voxelcast.cli.import_2021 import import_2021
from voxelcast.cli.listing import datasets
from voxelcast.cli.models import encoders, networks
from voxelcast.cli.options import DRY_RUN, ON, PATH, SETTINGS, STORE
from voxelcast.cli.progress import make_progress
from voxelcast.cli.results import figures, maps, report, view
from voxelcast.cli.rsa import rsa
from voxelcast.cli.saved_models import models, predict, transfer
from voxelcast.cli.simulate import demo, init, simulate
from voxelcast.cli.submission import score, submission
from voxelcast.cli.sweep import sweep
from voxelcast.core.errors import VoxelcastError, VoxelcastWarning

_STOPPED: Final = "stopped; run the same command again to go on"
_PYTHONS: Final = warnings.showwarning


class _InOrder(click.Group):
    """Lists commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(voxelcast.__version__)
def cli() -> None:
    """Predict fMRI responses to videos, images, sound and words from the features of deep networks."""


@click.command()
@click.argument("experiment", type=PATH)
@SETTINGS
@click.option("--output", type=PATH, help="Folder of the results; default outputs/NAME.")
@STORE
@ON
@DRY_RUN
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


_IN_ORDER_OF_USE = (
    *(demo, simulate, init, datasets, networks, encoders, run, sweep, execution, status, view, report, figures, maps),
    *(predict, ask, transfer, models, extract, rsa, submission, score, import_2021),
)
for command in _IN_ORDER_OF_USE:
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
    except KeyboardInterrupt:
        _stop(_STOPPED, 130)
    except click.Abort as error:  # click makes it of Ctrl-C, and of an EOFError, which is no wish of the user's
        if isinstance(error.__cause__, EOFError):
            _log(error.__cause__)
        _stop(_STOPPED, 130)
    except VoxelcastError as error:
        _stop(str(error), 1)
    except OSError as error:
        _stop(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
    except Exception as error:
        _log(error)


def _log(error: BaseException) -> None:
    """Stop over what nobody foresaw: a line for the user, the traceback in a file of theirs."""
    said = f"{type(error).__name__}: {error}"[:300]
    log = f"voxelcast {voxelcast.__version__}: {sys.argv}\n{''.join(traceback.format_exception(error))}"
    with suppress(OSError):
        with tempfile.NamedTemporaryFile("wb", prefix="voxelcast-", suffix=".log", delete=False) as file:
            file.write(log.encode(errors="backslashreplace"))
        _stop(f"unforeseen error ({said}); please report it with its log: {file.name}", 1)
    _stop(f"unforeseen error ({said}), of which no log can be written in {tempfile.gettempdir()}; please report it", 1)


def _stop(message: str, code: int) -> NoReturn:
    print(f"voxelcast: {_one_line(message)}", file=sys.stderr)
    sys.exit(code)


def _one_line(message: str) -> str:
    """Return a message in one line, without characters that a terminal would obey."""
    line = " ".join(message.split())
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Say a warning of ours in one line; others as Python does."""
    if issubclass(category, VoxelcastWarning):
        print(f"voxelcast: warning: {_one_line(str(message))}", file=sys.stderr)
    else:
        _PYTHONS(message, category, *where, **more)
