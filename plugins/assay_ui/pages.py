"""The pages' shell and files: one HTML file, scripts and styles that the browser may keep for ever."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from pathlib import Path

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from assay_ui.errors import Refusal, refused
from assay_ui.identity import login_url
from assay_ui.rights import Right
from assay_ui.routing import About, Routes

STATIC = Path(__file__).parent / "static"
_SHELL = "index.html"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}

routes = Routes("")


class Files(StaticFiles):
    """The built files. Those in `assets/` carry a digest in their names and never change; the shell is no file."""

    async def check_config(self) -> None:
        """Let the folder be missing: then no file is there, and the pages say how they are built."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file, with a type that does not depend on the machine.

        Raises:
            HTTPException: 404 for what is not there, for the shell, and for a kind of file that pages do not have.
        """
        kind = _TYPES.get(Path(path).suffix)
        if kind is None or path == _SHELL:
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers["Content-Type"] = kind
        kept = path.startswith("assets/")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return response


@routes.get("/", right=Right.READ, about=About.NOBODY)
def front(request: Request) -> Response:
    """The shell; the page itself asks the API for what it shows."""
    return shell(request)


@routes.get("/p/{page:path}", right=Right.READ, about=About.NOBODY)
def page(request: Request) -> Response:
    """The shell at any page's address."""
    return shell(request)


def shell(request: Request) -> Response:
    """The HTML file, with the address that its relative links start from."""
    file = request.app.state.static / _SHELL
    try:
        html = _read(file, file.stat().st_mtime_ns)
    except FileNotFoundError:
        return _plain(
            503,
            "The pages are not built",
            f"<p>There is no <code>{escape(str(file))}</code>. Build it where Node.js is:</p>"
            "<pre>cd plugins/assay_ui/web\nnpm ci\nnpm run build</pre>"
            "<p>and reload this page. The API at <code>/assay/api</code> answers without it.</p>",
        )
    base = escape(request.scope.get("root_path", "") + "/", quote=True)
    return HTMLResponse(html.replace("<head>", f'<head><base href="{base}">', 1))


@lru_cache(maxsize=2)
def _read(file: Path, _changed: int) -> str:
    return file.read_text(encoding="utf-8")


def within(request: Request) -> str:
    """The request's path below the place where the application is mounted."""
    path, root = str(request.scope["path"]), str(request.scope.get("root_path", ""))
    return path[len(root) :] if path.startswith(root) else path


def refused_page(request: Request, error: Exception) -> Response:
    """The answer to a `Refusal`: a page where a page was asked for, else JSON."""
    assert isinstance(error, Refusal)
    if not (within(request) == "/" or within(request).startswith("/p/")) or request.method not in {
        "GET",
        "HEAD",
    }:
        return refused(request, error)
    message = f"<p>{escape(error.body['message'])}.</p>"
    if error.status == 401:
        link = escape(login_url(request), quote=True)
        return _plain(401, "You are not logged in", f'{message}<p><a href="{link}">Log in to Airflow</a></p>')
    return _plain(error.status, "This page is not for you", message)


def _plain(status: int, title: str, body: str) -> HTMLResponse:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>Assay</title></head><body><main><h1>{title}</h1>{body}</main></body></html>",
        status_code=status,
    )
