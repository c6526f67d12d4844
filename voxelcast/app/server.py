"""Serve the page on this machine's loopback address, and nowhere else."""

from __future__ import annotations

import errno
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from voxelcast.core.errors import MissingPackageError, OptionError

ADDRESS: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8421


def serve(outputs: Sequence[Path], *, port: int = DEFAULT_PORT, ready: Callable[[str], None]) -> None:
    """Serve the page over output folders, or folders that hold them, until interrupted.

    ``port`` 0 takes any that is free; ``ready`` is told the address, key included, when the page can be opened. Raises
    MissingFileError if a folder does not exist, MissingPackageError if Starlette or uvicorn is not installed, and
    OptionError if the port cannot be had.
    """
    try:
        import uvicorn

        from voxelcast.app.site import make_site
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise MissingPackageError(
            f"voxelcast view needs the package {error.name}, which is not installed; pip install 'voxelcast[app]'"
        ) from error
    with listen(port) as listener:
        taken = int(listener.getsockname()[1])
        key = secrets.token_urlsafe(18)
        site = make_site(outputs, key=key, cookie=f"voxelcast-{taken}")
        server = uvicorn.Server(uvicorn.Config(site, log_level="warning", access_log=False, server_header=False))
        ready(f"http://{ADDRESS}:{taken}/?key={key}")
        server.run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """Listen on the loopback address; raise OptionError if the port cannot be had."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen()  # whoever opens the address at once waits instead of being refused
    except (OSError, OverflowError) as error:
        listener.close()
        busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "is in use, perhaps by another voxelcast view" if busy else f"cannot be had ({error})"
        raise OptionError(f"port {port} {reason}; choose another with --port (0: any that is free)") from error
    return listener
