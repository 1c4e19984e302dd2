"""The application at `/assay`: pages, files and API, each with its right."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from assay.errors import AssayError
from assay_ui import pages
from assay_ui.errors import Refusal, of_assay, of_http, of_query
from assay_ui.rights import make_permission
from assay_ui.routes import cases, deliveries, home, models, provenance, runs
from assay_ui.routing import refuse_unguarded
from assay_ui.shield import Shield

if TYPE_CHECKING:
    from assay.console import Console

log = structlog.get_logger(__name__)

_STATIC = "/static"


class _Opened:
    """The console of this process, opened when it is first asked for, and asked for again until it opens."""

    def __init__(self, open_console: Callable[[], Console]) -> None:
        self._open = open_console
        self._lock = threading.Lock()
        self._console: Console | None = None

    def __call__(self) -> Console:
        with self._lock:
            if self._console is None:
                self._console = self._open()
            return self._console

    def close(self) -> None:
        with self._lock:
            if self._console is not None:
                self._console.close()
                self._console = None


def _open_console() -> Console:
    from assay.console import Console

    return Console.open()


def build_app(open_console: Callable[[], Console] = _open_console, static: Path = pages.STATIC) -> FastAPI:
    """Make the application; Airflow mounts it.

    Args:
        open_console: How to open what Assay shows; called once, at the first request.
        static: Folder of the built pages.
    """
    opened = _Opened(open_console)
    app = FastAPI(
        title="Assay",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=[Middleware(Shield)],
    )
    app.state.console = opened
    app.state.static = static
    for module in (home, deliveries, cases, runs, models, provenance):
        module.routes.mount(app)
    app.mount(_STATIC, pages.Files(directory=static, check_dir=False), name="static")
    pages.routes.mount(app)
    for kind, handler in (
        (Refusal, pages.refused_page),
        (AssayError, of_assay),
        (HTTPException, of_http),
        (RequestValidationError, of_query),
    ):
        app.add_exception_handler(kind, handler)
    refuse_unguarded(app, frozenset({_STATIC}))
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Airflow enters this when it starts to serve, with its auth manager ready."""
    try:
        make_permission()
    except Exception:
        log.warning(
            "the permission for promotions could not be made; until then nobody has it", exc_info=True
        )
    threading.Thread(target=_warm, args=(app.state.console,), name="assay-warm", daemon=True).start()
    yield
    app.state.console.close()


def _warm(opened: Callable[[], Console]) -> None:
    """Import beforehand what the first page would wait for."""
    try:
        opened().warm()
    except Exception:  # the first page says what is wrong, to the person who asked for it
        log.info("the pages could not be prepared beforehand", exc_info=True)
