"""What the API takes in: each field with its bounds, and no field that is not named here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=4_000)]
RowNumber = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Strict(BaseModel):
    """No unknown fields, no quiet conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Nothing(Strict):
    """An empty object."""


class DecisionBody(Strict):
    """What a reviewer says about a case, some of its rows, or a group of them; the login tells who says it."""

    action: Literal["release", "reject"]
    reason: Reason
    rows: Annotated[list[RowNumber], Field(min_length=1, max_length=20_000)] | None = None
    group: Annotated[str, StringConstraints(min_length=1, max_length=250)] | None = None

    @model_validator(mode="after")
    def _one_selection(self) -> DecisionBody:
        if self.rows is not None and self.group is not None:
            raise ValueError("name rows or a group, not both")
        return self


class PromotionBody(Strict):
    """Why a challenger becomes the champion, or does not."""

    reason: Reason


class RollbackBody(Strict):
    """Why an earlier champion comes back, and which."""

    reason: Reason
    to: Annotated[str, StringConstraints(min_length=1, max_length=250)] | None = None
