"""Answers of the API: JSON in plain ASCII, files, streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse


class Json(Response):
    """A JSON answer whose texts arrive as they are in the data: half a surrogate pair and NUL included, as escapes."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The content as JSON; a number that is not finite is a fault of ours and raises ValueError."""
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def attachment(name: str, data: bytes, kind: str) -> Response:
    """A file to keep."""
    return Response(data, media_type=kind, headers=_disposition(name))


def stream(name: str, chunks: Iterator[bytes], kind: str) -> Response:
    """A file to keep that is made while it is sent."""
    return StreamingResponse(chunks, media_type=kind, headers=_disposition(name))


def _disposition(name: str) -> dict[str, str]:
    plain = "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "_" for each in name)
    return {
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    }
