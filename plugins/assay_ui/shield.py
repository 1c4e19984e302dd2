"""Around every answer: headers for the browser, a limit for what comes in, and the last catch for what goes wrong."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay_ui.errors import answer, unexpected

MAX_BODY = 64 * 1024
"""Largest body of a request, in bytes."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
"""Content-Security-Policy: scripts and styles are files of ours, and only Airflow's own pages may frame us."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Shield:
    """Outermost layer of the application.

    A body that is longer than `MAX_BODY` is answered with 413, by its announced length or as it comes. An exception
    that nobody expected becomes an answer with an id that the log has too; where the answer had begun, the connection
    is broken off, so that half an export never looks whole.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False
        taken = 0

        async def sealed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BODY:
                raise _TooLarge
            return message

        try:
            if _announced(scope) > MAX_BODY:
                raise _TooLarge
            await self.app(scope, bounded, sealed)
        except _TooLarge:
            if begun:
                raise
            await _too_large()(scope, receive, sealed)
        except Exception as error:
            response = unexpected(scope["path"], error)
            if begun:
                raise
            await response(scope, receive, sealed)


class _TooLarge(Exception):
    """More came in than is read."""


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else MAX_BODY + 1
    return 0


def _too_large() -> ASGIApp:
    return answer(
        413,
        {
            "kind": "too_large",
            "message": "the request is too large",
            "expected": f"at most {MAX_BODY} bytes",
            "next_step": "decide by group, or on fewer rows at a time",
        },
        {"Connection": "close"},
    )
