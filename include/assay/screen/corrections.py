"""Correction lists: how a publisher changes rows that were admitted, in the open.

History that changes silently is an attack; history that nobody may mend stays wrong. A correction list is a JSON file
that says for each cell what stood there, what stands there now, and why:

```json
{"dataset": "adult",
 "corrections": [{"key": {"person_id": 17}, "column": "income", "old": "<=50K", "new": ">50K", "reason": "a typo"}]}
```

`old_sha256` may stand in place of `old`: the digest that `value_digest` gives. A list counts only where somebody is
known to have signed it, for the rows that came with it, and only as far as it is exact: the key is in the accepted
snapshot, `old` is the value there, `new` the value in the batch. Whoever lists more than a bounded share of the
snapshot gets no credit at all, for that is a new history and no correction.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assay.canonical import canonical_json, sha256_hex
from assay.contract.models import Contract
from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.errors import ScreenError
from assay.strictjson import strict_json

MAX_LIST_BYTES = 64 << 20
"""A larger list is not read."""
_SHOWN = 20
_TECHNIQUE = "AML.T0020"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: dict[str, str | bool | int | float]
    column: str
    old: str | bool | int | float | None = None
    old_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    new: str | bool | int | float | None
    reason: str = Field(min_length=1, max_length=2000)

    @model_validator(mode="after")
    def _one_old(self) -> Self:
        if ("old" in self.model_fields_set) == (self.old_sha256 is not None):
            raise ValueError("exactly one of `old` and `old_sha256` is needed")
        return self


class _List(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    corrections: list[_Entry]


@dataclass(frozen=True)
class Correction:
    """One corrected cell.

    Attributes:
        key: Values of the contract's key columns, in their order.
        column: The corrected column.
        old_sha256: Digest of the value that was admitted.
        new: The value that takes its place.
        reason: The publisher's words.
    """

    key: tuple[object, ...]
    column: str
    old_sha256: str
    new: object
    reason: str


@dataclass(frozen=True)
class Corrections:
    """One list.

    Attributes:
        entries: Its corrections, no cell twice.
        signed_by: Who signed it, as proved by the caller; None for a list that nobody vouches for.
        first: First row of the batch that it speaks for.
        last: Row after the last one that it speaks for; None: to the end.
        name: What messages call it.
        problem: Why it could not be read; it then has no entries.
    """

    entries: tuple[Correction, ...] = ()
    signed_by: str | None = None
    first: int = 0
    last: int | None = None
    name: str = "corrections.json"
    problem: str | None = None

    def speaks_for(self, row: int) -> bool:
        """Whether a row of the batch came with this list."""
        return self.first <= row and (self.last is None or row < self.last)


def read_corrections(
    data: bytes,
    contract: Contract,
    *,
    signed_by: str | None,
    name: str = "corrections.json",
    first: int = 0,
    last: int | None = None,
) -> Corrections:
    """Read a correction list.

    Args:
        data: The file's bytes.
        contract: Names data set, key and columns.
        signed_by: Who signed these bytes, or the manifest that lists them; None if that was not proved.
        name: What messages call the list.
        first: First row of the batch that it may speak for.
        last: Row after the last one.

    Raises:
        ScreenError: It is no such list, names another data set, a column that may not be corrected, or a cell twice.
    """

    def refuse(what: str, found: object = None) -> ScreenError:
        return ScreenError(
            f"{name} is no correction list: {what}",
            expected='{"dataset": ..., "corrections": [{"key": {...}, "column": ..., "old": ..., "new": ..., '
            '"reason": ...}]}',
            found=found,
            state="none of its corrections counts",
            next_step="have the publisher mend the list and sign it again",
        )

    if len(data) > MAX_LIST_BYTES:
        raise refuse(f"it has more than {MAX_LIST_BYTES} bytes", len(data))
    try:
        listed = _List.model_validate(strict_json(data))
    except ValidationError as error:
        first_error = error.errors()[0]
        place = ".".join(str(part) for part in first_error["loc"][:3])
        raise refuse(f"{place}: {first_error['msg']}") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise refuse(str(error)[:200]) from error
    if listed.dataset != contract.dataset:
        raise refuse(f"it is for the data set {listed.dataset!r}", f"contract of {contract.dataset!r}")
    schema = contract.schema_
    entries: dict[tuple[tuple[object, ...], str], Correction] = {}
    for number, entry in enumerate(listed.corrections):
        if set(entry.key) != set(schema.key):
            raise refuse(f"corrections.{number}: the key is {', '.join(schema.key)}", ", ".join(entry.key))
        if entry.column not in schema.columns or entry.column in {*schema.key, schema.source}:
            raise refuse(f"corrections.{number}: column {entry.column!r} cannot be corrected")
        kind = schema.columns[entry.column].type
        try:
            key = tuple(plain_value(entry.key[column], schema.columns[column].type) for column in schema.key)
            old = entry.old_sha256 or value_digest(entry.old, kind)
            new = plain_value(entry.new, kind)
        except ValueError as error:
            raise refuse(f"corrections.{number}: {error}") from error
        if (key, entry.column) in entries:
            raise refuse(f"corrections.{number}: the same cell stands there twice")
        entries[key, entry.column] = Correction(key, entry.column, old, new, entry.reason)
    return Corrections(tuple(entries.values()), signed_by, first, last, name)


def plain_value(value: object, kind: str) -> object:
    """A cell's value in one form, whether it comes from JSON, Arrow or pandas: None, bool, int, float or text.

    Days and moments become ISO 8601 text, moments in UTC.

    Raises:
        ValueError: It is not of the contract's column type.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if kind in {"integer", "number"}:
        if isinstance(value, bool | str) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is not of type {kind}")
        if kind == "number":
            return float(value)
        if isinstance(value, float) and not value.is_integer():
            raise ValueError(f"{value!r} is not of type integer")
        return int(value)
    if kind == "boolean":
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is not of type boolean")
        return value
    if kind == "vector":
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError(f"{value!r} is no vector")
        return [plain_value(part, "number") for part in value]
    if kind == "date":
        moment = dt.date.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, dt.datetime):
            moment = moment.date()
        if not isinstance(moment, dt.date):
            raise ValueError(f"{value!r} is no day")
        return moment.isoformat()
    if kind == "timestamp":
        moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, dt.datetime):
            raise ValueError(f"{value!r} is no moment")
        aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return aware.astimezone(dt.UTC).isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)


def value_digest(value: object, kind: str) -> str:
    """SHA-256 of a cell's value as canonical JSON, in the form of its column's type (`40.0` for a number 40).

    Raises:
        ValueError: It is not of that type.
    """
    return sha256_hex(canonical_json(plain_value(value, kind)))


@dataclass
class _Account:
    """What became of one list."""

    given: Corrections
    refused: str | None = None
    cells: Mapping[tuple[tuple[object, ...], str], Correction] = field(default_factory=dict)
    used: set[tuple[tuple[object, ...], str]] = field(default_factory=set)
    wrong: dict[tuple[tuple[object, ...], str], str] = field(default_factory=dict)


class Credit:
    """Decides which changed cells are corrections, and keeps account of every list.

    Args:
        lists: The lists that came with the batch.
        contract: Names key and column types, and how large a share of the snapshot may be corrected.
        snapshot_rows: Rows of the accepted snapshot.
    """

    def __init__(self, lists: Sequence[Corrections], contract: Contract, snapshot_rows: int) -> None:
        self._contract = contract
        self._accounts = [_Account(given) for given in lists]
        self.limit = max(1, int(contract.screen.max_corrections * snapshot_rows))
        named = {c.key for given in lists if given.signed_by for c in given.entries}
        for account in self._accounts:
            given = account.given
            if given.problem is not None:
                account.refused = given.problem
            elif given.signed_by is None:
                account.refused = "nobody is known to have signed it"
            elif len(named) > self.limit:
                account.refused = (
                    f"{len(named)} of {snapshot_rows} accepted rows would be corrected, and the contract's "
                    f"screen.max_corrections allows {self.limit}"
                )
            else:
                account.cells = {(c.key, c.column): c for c in given.entries}

    def reason(self, row: int, key: Sequence[object], column: str, old: object, new: object) -> str | None:
        """The publisher's reason for a changed cell; None where no list that counts has exactly this change.

        Args:
            row: The row of the batch.
            key: Its key, as Arrow gives it.
            column: The changed column.
            old: The accepted value.
            new: The batch's value.
        """
        columns = self._contract.schema_.columns
        for account in self._accounts:
            if not account.cells or not account.given.speaks_for(row):
                continue
            try:
                names = self._contract.schema_.key
                place = (
                    tuple(plain_value(v, columns[n].type) for v, n in zip(key, names, strict=True)),
                    column,
                )
                found = account.cells.get(place)
                if found is None:
                    continue
                if value_digest(old, columns[column].type) != found.old_sha256:
                    account.wrong[place] = "its old value is not the accepted one"
                elif plain_value(new, columns[column].type) != found.new:
                    account.wrong[place] = "its new value is not the batch's"
                else:
                    account.used.add(place)
                    return found.reason
            except ValueError:  # the batch's own cell is not of the contract's type: nothing vouches for it
                continue
        return None

    def findings(self) -> list[Finding]:
        """One finding per list: whether it counted, and what of it did not fit."""
        out = []
        for account in self._accounts:
            given = account.given
            wrong = {place: why for place, why in account.wrong.items() if place not in account.used}
            unsigned = given.problem is None and given.signed_by is None
            failed = (account.refused is not None and not unsigned) or bool(wrong)
            idle = len(account.cells) - len(account.used) - len(wrong)
            message = (
                f"{given.name} gets no credit: {account.refused}"
                if account.refused is not None
                else f"{given.name}, signed by {given.signed_by}: {len(account.used)} cells corrected as listed, "
                f"{len(wrong)} do not match, {idle} concern no change of this batch"
            )
            out.append(
                Finding(
                    check="screen.history.corrections",
                    outcome=Outcome.NOT_CHECKED if unsigned else Outcome.FAILED if failed else Outcome.PASSED,
                    severity=Severity.MEDIUM if failed else Severity.INFO,
                    scope=Scope.DELIVERY,
                    subject=given.name,
                    message=f"not checked: {message}" if unsigned else message,
                    evidence={
                        "listed": len(given.entries),
                        "credited": len(account.used),
                        "mismatched": len(wrong),
                        "idle": idle,
                        "limit": self.limit,
                        "examples": [
                            {"key": [_json(v) for v in key], "column": column, "why": why}
                            for (key, column), why in sorted(wrong.items(), key=repr)[:_SHOWN]
                        ],
                    },
                    technique=_TECHNIQUE if failed else None,
                )
            )
        return out


def _json(value: Any) -> Any:
    """A cell as evidence holds it."""
    return value if value is None or isinstance(value, bool | int | str) else str(value)
