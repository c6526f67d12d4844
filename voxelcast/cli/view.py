"""``voxelcast view``: a page over the results of many experiments."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click


@click.command()
@click.argument("outputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="OUTPUT...")
@click.option("--port", type=int, default=8421, show_default=True, help="0: any that is free.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in your browser.")
def view(outputs: tuple[Path, ...], port: int, open_browser: bool) -> None:
    """Serve a page over the experiments in OUTPUTs: filter, sort, compare, open reports, watch runs.

    OUTPUT is an experiment's folder, or a folder that holds many. The page can be opened on this machine only and
    changes nothing (docs/app.md). Ctrl-C ends it.
    """
    from voxelcast.app.server import serve

    def ready(address: str) -> None:
        click.echo(f"open {address}")
        click.echo("Ctrl-C ends it", err=True)
        if open_browser:
            click.launch(address)

    with suppress(KeyboardInterrupt):  # its usual end, not a failure
        serve(outputs, port=port, ready=ready)
