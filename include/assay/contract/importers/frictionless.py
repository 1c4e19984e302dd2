"""Frictionless Data Package and Table Schema (https://datapackage.org/)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.contract.importers.draft import Draft, Imported, items, mapping, read_description, refused, text_of

_TYPES = {
    "string": "string",
    "integer": "integer",
    "year": "integer",
    "number": "number",
    "boolean": "boolean",
    "date": "date",
    "datetime": "timestamp",
}
_LIMITS = {
    "minimum": "min",
    "maximum": "max",
    "pattern": "pattern",
    "maxLength": "max_length",
    "enum": "allowed",
}


def from_frictionless(path: Path) -> Imported:
    """A contract from a `datapackage.json` (its first table) or from a Table Schema alone.

    Raises:
        ImportRefused: It is neither, or describes no table.
        OSError: It, or the schema beside it that it names, cannot be read.
    """
    data = read_description(path)
    if "fields" in data:
        draft = Draft(path, text_of(data.get("name")) or path.stem, text_of(data.get("description")))
        return _table(draft, data)
    resources = [mapping(each) for each in items(data.get("resources"))]
    if not resources:
        raise refused(path, "neither resources nor fields", "a Data Package or a Table Schema")
    resource = next((each for each in resources if each.get("schema")), resources[0])
    name = text_of(data.get("name")) or text_of(resource.get("name")) or path.stem
    draft = Draft(path, name, text_of(data.get("description")) or text_of(data.get("title")))
    for other in resources:
        if other is not resource:
            draft.note(f"resource {text_of(other.get('name'))!r} was left out: one contract is one table")
    if digest := text_of(resource.get("hash")):
        algorithm = digest.partition(":")[0] if ":" in digest else "md5"
        weak = "" if algorithm.lower() in {"sha256", "sha512"} else ", which is too weak to prove anything"
        draft.note(f"the resource's hash is {algorithm}{weak}: list files in a signed SHA256SUMS")
    for where in items(resource.get("path")):
        draft.note(f"the data lies at {where}")
    for licence in items(data.get("licenses")):
        known = mapping(licence)
        draft.note(f"licence of the data: {text_of(known.get('name')) or text_of(known.get('path'))}")
    return _table(draft, _schema(path, resource.get("schema")))


def _schema(path: Path, schema: Any) -> dict[str, Any]:
    """The schema itself, or the file beside the package that holds it; never one from elsewhere."""
    if isinstance(schema, dict):
        return schema
    if not isinstance(schema, str) or not schema:
        raise refused(path, "a resource without a schema", "a schema with fields")
    beside = (path.parent / schema).resolve()
    if "://" in schema or not beside.is_relative_to(path.parent.resolve()):
        raise refused(path, f"a schema at {schema}", "a schema inside the package, or in a file beside it")
    return read_description(beside)


def _table(draft: Draft, schema: dict[str, Any]) -> Imported:
    for each in items(schema.get("fields")):
        _field(draft, mapping(each))
    draft.key = [str(name) for name in items(schema.get("primaryKey"))]
    for keys in items(schema.get("uniqueKeys")):
        columns = [str(name) for name in items(keys)]
        if len(columns) > 1:
            draft.expect({"type": "expect_compound_columns_to_be_unique", "column_list": columns})
    for section in ("foreignKeys", "fieldsMatch"):
        if schema.get(section):
            draft.note(f"{section} was left out")
    missing = [each for each in items(schema.get("missingValues")) if each not in {"", None}]
    if missing:
        draft.note(
            f"missing values are written {', '.join(map(repr, missing))}: deliveries must leave them empty"
        )
    return draft.finish()


def _field(draft: Draft, each: dict[str, Any]) -> None:
    name = text_of(each.get("name"))
    kind = text_of(each.get("type")) or "string"
    column_type = _TYPES.get(kind)
    if column_type is None:
        draft.note(f"field {name!r} was left out: type {kind!r} has no like here")
        return
    constraints = mapping(each.get("constraints"))
    limits = {ours: constraints.get(theirs) for theirs, ours in _LIMITS.items()}
    draft.column(
        name,
        column_type,
        nullable=constraints.get("required") is not True,
        unique=constraints.get("unique") is True,
        **limits,
    )
    for left in constraints.keys() - _LIMITS.keys() - {"required", "unique"}:
        draft.note(f"field {name!r}: constraint {left} was left out")
    if (form := text_of(each.get("format"))) and form != "default":
        draft.note(f"field {name!r}: format {form!r} was left out")
