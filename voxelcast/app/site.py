"""The addresses of the page: every one is read with GET, and none holds a path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from voxelcast.app.experiment import Experiment, need_results
from voxelcast.app.gate import LOOPBACK, REPORTS, Headers, Key
from voxelcast.app.library import Library
from voxelcast.app.pages import Pages, read_asset
from voxelcast.app.side_by_side import full_comparison
from voxelcast.app.table import Query, read_query
from voxelcast.core.checks import check_known, check_option
from voxelcast.core.errors import MissingFileError, UnknownNameError, UnsafeFileError, VoxelcastError

_ASSETS: Final = {
    "report.css": "text/css",
    "app.css": "text/css",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


class Site:
    """Answers requests from a library."""

    def __init__(self, library: Library, pages: Pages) -> None:
        self._library, self._pages = library, pages

    # Plain functions: Starlette answers them in threads, so that a slow one keeps nobody waiting.

    def index(self, request: Request) -> Response:
        """Show the table of experiments."""
        return HTMLResponse(self._pages.index(read_query(dict(request.query_params))))

    def experiment(self, request: Request) -> Response:
        """Show one experiment."""
        return HTMLResponse(self._pages.experiment(request.path_params["key"]))

    def report(self, request: Request) -> Response:
        """Send the report of an experiment as it lies in its folder."""
        experiment = self._library.get(request.path_params["key"])
        return Response(
            _read_inside(experiment, "report.html"),
            media_type="text/html",
            headers={"Content-Security-Policy": REPORTS},
        )

    def viewer(self, request: Request) -> Response:
        """Send an interactive brain map of an experiment."""
        experiment, name = self._library.get(request.path_params["key"]), request.path_params["name"]
        there = {path.name for path in (experiment.folder / "brain_maps").glob("*.html")}
        check_known("brain map", name, sorted(there), where=f"in the output of {experiment.name}")
        text = _read_inside(experiment, f"brain_maps/{name}")
        return Response(text, media_type="text/html", headers={"Content-Security-Policy": REPORTS})

    def scores(self, request: Request) -> Response:
        """Send the scores of an experiment as a file to be kept."""
        experiment = self._library.get(request.path_params["key"])
        need_results(experiment)
        headers = {"Content-Disposition": f'attachment; filename="scores-{experiment.key}.csv"'}
        return Response(_read_inside(experiment, "scores.csv"), media_type="text/csv", headers=headers)

    def compare(self, request: Request) -> Response:
        """Show the experiments ticked side by side."""
        by = request.query_params.get("by", "subject")
        check_option("by", by, ("subject", "voxel"))
        return HTMLResponse(self._pages.compare(self._asked(request), by_voxel=by == "voxel"))

    def figures(self, request: Request) -> Response:
        """Send the report's comparison of the experiments ticked."""
        return HTMLResponse(full_comparison(self._asked(request)), headers={"Content-Security-Policy": REPORTS})

    def asset(self, request: Request) -> Response:
        """Send a style sheet, the script or the icon."""
        name = request.url.path.removeprefix("/")
        return Response(read_asset(name), media_type=_ASSETS[name])

    def wrong(self, request: Request, error: Exception) -> Response:
        """Say in a page what was wrong with a request."""
        if isinstance(error, HTTPException):
            return HTMLResponse(
                self._pages.problem(str(error.detail), "This address does not exist."), error.status_code, error.headers
            )
        absent = isinstance(error, UnknownNameError | MissingFileError)
        status = 404 if absent else 403 if isinstance(error, UnsafeFileError) else 400
        return HTMLResponse(self._pages.problem("That cannot be shown", str(error)), status)

    def _asked(self, request: Request) -> list[Experiment]:
        return [self._library.get(key) for key in dict.fromkeys(request.query_params.getlist("e"))]


def _read_inside(experiment: Experiment, name: str) -> bytes:
    """Read a file of an experiment's folder; raise UnsafeFileError if it is a link that leads outside the folder."""
    path = experiment.folder / name
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; write it: voxelcast report {experiment.folder}")
    if path.resolve() != experiment.folder.resolve() / name:
        raise UnsafeFileError(f"{path} is a link that leads outside its folder and is not opened; copy the file there")
    return path.read_bytes()


def make_site(outputs: Sequence[Path], *, key: str, cookie: str = "voxelcast") -> Starlette:
    """Return the application over output folders, or folders that hold them, as :class:`Library` takes them.

    Without ``key``, or the cookie of the name ``cookie`` that takes its place, nothing is shown: see
    :class:`voxelcast.app.gate.Key`.
    """
    library = Library(outputs)
    pages = Pages(library)
    pages.index(Query())  # reads every experiment, so that the first page does not keep the user waiting
    site = Site(library, pages)
    routes = [
        Route("/", site.index),
        Route("/e/{key:str}", site.experiment),
        Route("/e/{key:str}/report", site.report),
        Route("/e/{key:str}/scores.csv", site.scores),
        Route("/e/{key:str}/brain_maps/{name:str}", site.viewer),
        Route("/compare", site.compare),
        Route("/compare/figures", site.figures),
    ]
    return Starlette(
        routes=[*routes, *(Route(f"/{name}", site.asset) for name in _ASSETS)],
        middleware=[
            Middleware(Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK), www_redirect=False),
            Middleware(Key, key=key, cookie=cookie),
        ],
        exception_handlers={VoxelcastError: site.wrong, HTTPException: site.wrong},
    )
