"""From a YAML file to a contract, with the publishers' keys that stand beside it; and back to YAML."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from assay.contract.durations import format_duration
from assay.contract.keys import Key, Publisher
from assay.contract.models import Contract
from assay.contract.problems import ContractError, Problem, of_validation, of_yaml
from assay.contract.yamlfile import Document, YamlProblem, parse_yaml, read_yaml

PUBLISHERS = "publishers"
"""Folder beside the contracts with one file of keys per publisher."""

SCHEMA_COMMENT = "# yaml-language-server: $schema=contract.schema.json\n"
"""First line of a contract's file: editors complete and check from the schema that it names."""


def load_contract(path: str | Path) -> Contract:
    """Read and check a contract; keys in `publishers/<id>.yaml` beside it are added to its publishers.

    Where a key stands in both places the stricter window and any revocation count. A publisher that only a source
    names is taken from its file.

    Raises:
        ContractError: It, or a publisher's file, is not valid; all problems are listed.
        OSError: It cannot be read.
    """
    path = Path(path)
    try:
        document = read_yaml(path)
    except YamlProblem as problem:
        raise ContractError(path, [of_yaml(problem)]) from None
    data = document.data
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise ContractError(
            path,
            [
                Problem(
                    field="",
                    value="",
                    problem=f"expected keys such as version, dataset and schema, found {found}",
                    fix="start with `version: 1`, `dataset: name` and `schema:`",
                )
            ],
        )
    document, added = _with_publisher_files(path, document)
    contract = _checked(path, document)
    if added:
        merged = tuple(
            publisher.model_copy(update={"keys": _merged(path, publisher.keys, added[publisher.id])})
            if publisher.id in added
            else publisher
            for publisher in contract.publishers
        )
        contract = contract.model_copy(update={"publishers": merged})
    contract._path = path.resolve()
    return contract


def parse_contract(text: str, name: str = "contract") -> Contract:
    """A contract from YAML text, without the publishers' files.

    Raises:
        ContractError: It is not valid; all problems are listed.
    """
    try:
        document = parse_yaml(text)
    except YamlProblem as problem:
        raise ContractError(name, [of_yaml(problem)]) from None
    return _checked(Path(name), document)


def find_contracts(directory: str | Path) -> list[Path]:
    """YAML files directly in a folder, by name; hidden ones and those in sub-folders are not contracts."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    return sorted(
        path
        for path in directory.iterdir()
        if path.suffix in {".yaml", ".yml"} and not path.name.startswith(".") and path.is_file()
    )


def dump_contract(contract: Contract, notes: Iterable[str] = ()) -> str:
    """YAML text of a contract, defaults left out; reading it gives an equal contract.

    Args:
        contract: What to write.
        notes: Lines for people, written as comments at the top.
    """
    data = _plain(contract.model_dump(by_alias=True, exclude_defaults=True))
    head = SCHEMA_COMMENT + "".join(f"# {line}\n" for note in notes for line in note.splitlines())
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)


def read_publisher(path: Path) -> Publisher:
    """Read one publisher's file of keys.

    Raises:
        ContractError: It is not valid, or names another publisher than its file name.
        OSError: It cannot be read.
    """
    try:
        document = read_yaml(path)
    except YamlProblem as problem:
        raise ContractError(path, [of_yaml(problem)]) from None
    try:
        publisher = Publisher.model_validate(document.data)
    except ValidationError as error:
        raise ContractError(path, of_validation(error, Publisher, document)) from None
    if publisher.id != path.stem:
        raise ContractError(
            path,
            [
                Problem(
                    field="id",
                    value=repr(publisher.id),
                    problem="is not the file's name",
                    fix=f"write `id: {path.stem}`, or rename the file to {publisher.id}.yaml",
                )
            ],
        )
    return publisher


def dump_publisher(publisher: Publisher) -> str:
    """YAML text of a publisher's file: each key under a line that names it, long keys last and line by line."""
    data = _plain(publisher.model_dump(exclude_none=True))
    for key in data["keys"]:
        if "\n" in key["public_key"]:
            key["public_key"] = key.pop("public_key") + "\n"
    text = yaml.dump(data, Dumper=_Lines, sort_keys=False, allow_unicode=True, width=200)
    ids = iter(key.id for key in publisher.keys)
    lines = [f"# {next(ids)}\n{line}" if line.startswith("- ") else line for line in text.splitlines()]
    return "# Written by `assay trust`.\n" + "\n".join(lines) + "\n"


class _Lines(yaml.SafeDumper):
    """Writes texts of several lines as such, so that a change shows in the line that changed."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Lines.add_representer(str, _text)


def _checked(path: Path, document: Document) -> Contract:
    if (
        isinstance(document.data, dict) and "schema_" in document.data
    ):  # the field's name in Python, not in YAML
        found = Problem(
            field="schema_",
            value="",
            problem="is not a key that may stand here",
            fix="did you mean `schema`?",
        )
        raise ContractError(path, [found])
    try:
        return Contract.model_validate(document.data)
    except ValidationError as error:
        raise ContractError(path, of_validation(error, Contract, document)) from None


def _with_publisher_files(path: Path, document: Document) -> tuple[Document, dict[str, Publisher]]:
    """The document with publishers added that only sources name, and all publishers that have a file."""
    folder = path.parent / PUBLISHERS
    data = document.data
    listed = [item.get("id") for item in _dicts(data.get("publishers"))]
    named = [item.get("publisher") for item in _dicts(data.get("sources"))]
    found: dict[str, Publisher] = {}
    for name in dict.fromkeys([*listed, *named]):
        if isinstance(name, str) and name.replace("-", "").replace("_", "").isalnum():
            file = folder / f"{name}.yaml"
            if file.is_file():
                found[name] = read_publisher(file)
    absent = [{"id": name} for name in found if name not in listed]
    if absent and isinstance(data.get("publishers"), list | None):
        data = {**data, "publishers": [*(data.get("publishers") or []), *absent]}
        document = Document(data, document._lines)
    return document, found


def _dicts(value: Any) -> list[dict[Any, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _merged(path: Path, first: tuple[Key, ...], second: Publisher) -> tuple[Key, ...]:
    keys: dict[bytes, Key] = {}
    for key in (*first, *second.keys):
        known = keys.setdefault(key.raw, key)
        if (known.format, known.pins) != (key.format, key.pins):
            found = Problem(
                field="publishers",
                value=key.id,
                problem=f"stands in {PUBLISHERS}/{second.id}.yaml in another format or with other pins",
                fix="keep it in one of the two places",
            )
            raise ContractError(path, [found])
        keys[key.raw] = _stricter(known, key)
    return tuple(keys.values())


def _stricter(one: Key, other: Key) -> Key:
    """The same key under both sets of conditions."""
    starts = [day for day in (one.valid_from, other.valid_from) if day]
    ends = [day for day in (one.valid_until, other.valid_until) if day]
    revoked = [day for day in (one.revoked, other.revoked) if day]
    return one.model_copy(
        update={
            "valid_from": max(starts, default=None),
            "valid_until": min(ends, default=None),
            "revoked": min(revoked, default=None),
            "revoked_reason": one.revoked_reason or other.revoked_reason,
        }
    )


def _plain(value: Any) -> Any:
    """What YAML can say: lists for tuples, `3d` for a timedelta, whole numbers without a point."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dt.timedelta):
        return format_duration(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
