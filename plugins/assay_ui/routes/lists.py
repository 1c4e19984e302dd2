"""What all lists take: a page's length and place, and filters of bounded length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query

from assay_ui.routing import Caller

Filter = Annotated[str | None, Query(max_length=250)]
Search = Annotated[str | None, Query(max_length=500)]


@dataclass(frozen=True)
class Slice:
    """Which page of a list."""

    limit: int
    cursor: str | None

    def as_arguments(self, caller: Caller) -> dict[str, Any]:
        """As the console takes them, with the data sets that the list may speak of."""
        return {"limit": self.limit, "cursor": self.cursor, "datasets": caller.datasets}


def _slice(
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Slice:
    return Slice(limit, cursor)


Page = Annotated[Slice, Depends(_slice)]
