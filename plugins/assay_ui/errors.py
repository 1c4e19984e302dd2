"""What went wrong, as an HTTP answer: JSON with a kind and a message, and never a traceback."""

from __future__ import annotations

import secrets
from typing import Any

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from assay.errors import AssayError, NotChecked, Transient, UsageError

log = structlog.get_logger(__name__)

_KINDS = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "wrong_type"}
# Errors of the rooms by name, so that an answer about login costs no import of the rooms.
_BY_NAME = {
    "NotFound": (404, "not_found"),
    "CaseUnknown": (404, "not_found"),
    "ModelUnknown": (404, "not_found"),
    "CaseClosed": (409, "already_decided"),
    "ModelDecided": (409, "already_decided"),
    "DecisionForbidden": (403, "forbidden"),
}
_FACTS = ("by", "action", "at")


class Refusal(Exception):
    """A request that is refused before any room of Assay is asked.

    Args:
        status: The HTTP status.
        kind: One word for programs.
        message: What is wrong, in one sentence.
        facts: `expected`, `found`, `state`, `next_step` and others, where they help.
    """

    def __init__(self, status: int, kind: str, message: str, **facts: str | None) -> None:
        """Keep the facts that are there."""
        super().__init__(message)
        self.status = status
        self.body = {"kind": kind, "message": message, **{k: v for k, v in facts.items() if v is not None}}


def answer(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as the API sends it."""
    return JSONResponse({"error": body}, status_code=status, headers=headers)


def refused(_: Request, error: Exception) -> Response:
    """The answer to a `Refusal`."""
    assert isinstance(error, Refusal)
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return answer(error.status, error.body, headers)


def of_http(_: Request, error: Exception) -> Response:
    """The answer where the framework itself says no: an unknown address, a method that is not there."""
    assert isinstance(error, HTTPException)
    kind = _KINDS.get(error.status_code, "bad_request" if error.status_code < 500 else "internal")
    return answer(
        error.status_code, {"kind": kind, "message": str(error.detail)}, dict(error.headers or {}) or None
    )


def of_query(_: Request, error: Exception) -> Response:
    """The answer to parameters that do not fit; what was sent is not sent back."""
    assert isinstance(error, RequestValidationError)
    return answer(400, {"kind": "bad_request", "message": problems(error.errors())})


def problems(errors: Any) -> str:
    """Pydantic's list of errors in one line."""
    said = [f"{'.'.join(str(part) for part in each['loc'])[:80]}: {each['msg'][:200]}" for each in errors]
    return "; ".join(said[:10]) + (f"; and {len(said) - 10} more" if len(said) > 10 else "")


def status_of(error: AssayError) -> tuple[int, str]:
    """HTTP status and kind of an error of Assay's."""
    for family in type(error).__mro__:
        if family.__name__ in _BY_NAME:
            return _BY_NAME[family.__name__]
    if isinstance(error, Transient):
        return 503, "unavailable"
    if isinstance(error, NotChecked):
        return 503, "not_checked"
    if isinstance(error, UsageError):
        return 400, "bad_request"
    return 409, "refused"


def of_assay(request: Request, error: Exception) -> Response:
    """The answer to an error that a room raised for people to read."""
    assert isinstance(error, AssayError)
    status, kind = status_of(error)
    body = {"kind": kind, **{k: v for k, v in error.as_dict().items() if k not in {"error", "next"}}}
    if error.next_step is not None:
        body["next_step"] = error.next_step
    body |= {name: str(value) for name in _FACTS if (value := getattr(error, name, None)) is not None}
    if status >= 500:
        log.warning("the registry or the store did not answer", path=request.url.path, error=str(error))
    return answer(status, body, {"Retry-After": "5"} if kind == "unavailable" else None)


def unexpected(path: str, error: Exception) -> JSONResponse:
    """The answer to an error that nobody expected; its traceback is in the log alone."""
    name = secrets.token_hex(6)
    log.error("a page's request failed", id=name, path=path, exc_info=error)
    return answer(
        500,
        {
            "kind": "internal",
            "message": "the server failed to answer; nothing is known to have changed",
            "id": name,
            "next_step": f"look for {name} in the log of Airflow's api-server",
        },
    )
