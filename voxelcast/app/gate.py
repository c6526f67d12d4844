"""Who may ask the page for what: this machine's own browser, with the key; and what a page may load."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = ("127.0.0.1", "localhost")
"""Names by which a browser on this machine, or at the other end of a tunnel, may call the page."""

OWN_PAGES: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A report brings its style, its scripts and their hashes in one file. It runs as if from another site: it cannot read
# our pages, whoever wrote it, and it can load nothing.
REPORTS: Final = (
    "sandbox allow-scripts allow-downloads allow-popups allow-popups-to-escape-sandbox; "
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": OWN_PAGES,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Headers:
    """Give every answer the headers above, unless it has its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class Key:
    """Let in only who knows the key: others who are logged in on this machine can reach its loopback address too.

    The address that ``voxelcast view`` prints carries the key; it is exchanged for a cookie and disappears from the
    address.

    Cookies are shared by all ports of a machine, so the name ``cookie`` should name the port.
    """

    def __init__(self, app: ASGIApp, *, key: str, cookie: str) -> None:
        self._app, self._key, self._cookie = app, key, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._answer(Request(scope))
        await (self._app if answer is None else answer)(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        """Refuse, or exchange the key for a cookie; None to let the request pass."""
        if self._is_key(request.query_params.get("key", "")):
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(self._cookie, self._key, httponly=True, samesite="lax")
            return answer
        if self._is_key(request.cookies.get(self._cookie, "")):
            return None
        return PlainTextResponse("Open the address that voxelcast view printed: it carries the key.\n", status_code=403)

    def _is_key(self, value: str) -> bool:
        return hmac.compare_digest(value.encode(), self._key.encode())
