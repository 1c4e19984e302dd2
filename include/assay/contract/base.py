"""What all contract models share: frozen, unknown keys are errors, and complaints that name the fix."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
"""Names of data sets, publishers and sources: lower case, used in DAG ids and paths."""


class Model(BaseModel):
    """Base of all contract models: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Complaint(ValueError):
    """Something in a contract is wrong in a way that only a look at several fields shows.

    Attributes:
        problem: What is wrong.
        fix: What to write instead.
        at: Path from the model that complains to the field that is meant.
    """

    def __init__(self, problem: str, *, fix: str, at: tuple[str | int, ...] = ()) -> None:
        """Keep the parts; `str()` joins them."""
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix
        self.at = at
