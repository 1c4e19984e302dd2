"""What all importers build: a contract in the making, and notes on what it cannot hold."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from assay.contract.models import RESERVED_COLUMNS, Column, Contract, Expectation
from assay.contract.yamlfile import YamlProblem, read_yaml
from assay.errors import Terminal

MAX_JSON = 16 << 20
"""Largest JSON description in bytes; published ones list thousands of files."""


class ImportRefused(Terminal):
    """The file is not a description that a contract can be made from."""


@dataclass(frozen=True)
class Imported:
    """A contract made from another format, and notes on what it could not carry over or what is still missing."""

    contract: Contract
    notes: tuple[str, ...]


@dataclass
class Draft:
    """Collects what becomes a contract."""

    path: Path
    name: str
    description: str = ""
    columns: dict[str, Column] = field(default_factory=dict)
    key: list[str] = field(default_factory=list)
    expectations: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Tell the reader something, once."""
        line = " ".join(text.split())[:300]
        if line not in self.notes:
            self.notes.append(line)

    def column(self, name: str, column_type: str, *, nullable: bool, **limits: Any) -> None:
        """Add a column; limits that do not go with its type are noted, not kept."""
        lowered = {each.lower() for each in self.columns}
        if not name.strip() or len(name) > 200 or not name.isprintable() or name in RESERVED_COLUMNS:
            self.note(f"column {name[:60]!r} was left out: a contract cannot hold a column of that name")
            return
        if name.lower() in lowered:
            self.note(f"column {name!r} was left out: another one differs from it only in case")
            return
        plain = {"type": column_type, "nullable": nullable}
        given = {key: value for key, value in limits.items() if value is not None and value is not False}
        try:
            self.columns[name] = Column.model_validate({**plain, **given})
        except ValidationError as error:
            self.columns[name] = Column.model_validate(plain)
            cause = error.errors()[0].get("ctx", {}).get("error") or error.errors()[0]["msg"]
            self.note(f"column {name!r}: {', '.join(given)} left out: {cause}")

    def expect(self, expectation: dict[str, Any]) -> None:
        """Add an expectation, if it is one."""
        try:
            Expectation.model_validate(expectation)
        except ValidationError:
            self.note(f"an expectation was left out: {json.dumps(expectation, default=str)[:120]}")
        else:
            self.expectations.append(expectation)

    def finish(self) -> Imported:
        """The contract.

        Raises:
            ImportRefused: There is no column in it.
        """
        if not self.columns:
            raise ImportRefused(
                f"{self.path} describes no column that a contract can hold",
                found="; ".join(self.notes[:5]) or None,
                state="nothing was written",
                next_step="check that the file describes a table, and that its format was named rightly",
            )
        key = [name for name in self.key if name in self.columns]
        for name in self.key:
            if name not in self.columns:
                self.note(f"the key column {name!r} was left out: it is not among the columns")
        for name in key:
            if self.columns[name].nullable:
                self.columns[name] = self.columns[name].model_copy(update={"nullable": False})
        self.notes += [
            "to add: publishers and sources, for this format does not say who signs",
            "to add: schema.label with its classes, if a model is to learn from this",
        ]
        contract = Contract.model_validate(
            {
                "version": 1,
                "dataset": identifier(self.name),
                "description": self.description,
                "schema": {"key": key, "columns": self.columns},
                "expectations": [each for each in self.expectations if self._known(each)],
            }
        )
        return Imported(contract, tuple(self.notes))

    def _known(self, expectation: dict[str, Any]) -> bool:
        named = [expectation.get(each) for each in ("column", "column_A", "column_B")]
        missing = [each for each in named if isinstance(each, str) and each not in self.columns]
        for each in missing:
            self.note(f"{expectation['type']} was left out: there is no column {each!r}")
        return not missing


def read_description(path: Path) -> dict[str, Any]:
    """A JSON or YAML file that holds one mapping, bounded in size and depth.

    Raises:
        ImportRefused: It is something else.
        OSError: It cannot be read.
    """
    if path.suffix.lower() in {".yaml", ".yml"}:
        try:
            data = read_yaml(path).data
        except YamlProblem as problem:
            where = f", line {problem.line}" if problem.line else ""
            raise refused(path, f"{problem.problem}{where}") from None
    else:
        with path.open("rb") as file:
            text = file.read(MAX_JSON + 1)
        if len(text) > MAX_JSON:
            raise refused(path, f"more than {MAX_JSON} bytes")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise refused(path, f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise refused(path, f"a {type(data).__name__} at the top")
    return data


def refused(
    path: Path, found: str, expected: str = "a JSON or YAML description of a data set"
) -> ImportRefused:
    """The error for a file of the wrong kind."""
    return ImportRefused(
        f"{path} cannot be imported",
        expected=expected,
        found=found,
        state="nothing was written",
        next_step="check the file and the format's name",
    )


def identifier(name: str) -> str:
    """A usable name for a data set from any text."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9_-]+", "_", plain).strip("_-")
    if not slug or not slug[0].isalpha():
        slug = f"dataset_{slug}".rstrip("_")
    return slug[:63]


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value as a list: JSON-LD and its kin write a single item without brackets."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def text_of(value: Any) -> str:
    """The value if it is text, or the first text of a language map, else nothing."""
    if isinstance(value, dict):
        value = value.get("@value") or next((each for each in value.values() if isinstance(each, str)), "")
    return value.strip() if isinstance(value, str) else ""
