"""MLCommons Croissant 1.x, JSON-LD (https://docs.mlcommons.org/croissant/)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from assay.contract.importers.draft import Draft, Imported, items, mapping, read_description, refused, text_of

_TYPES = {
    "text": "string",
    "url": "string",
    "string": "string",
    "integer": "integer",
    "int": "integer",
    "float": "number",
    "double": "number",
    "number": "number",
    "decimal": "number",
    "boolean": "boolean",
    "bool": "boolean",
    "date": "date",
    "datetime": "timestamp",
}


def from_croissant(path: Path) -> Imported:
    """A contract from a Croissant file: the columns and key of its first record set that has typed fields.

    Raises:
        ImportRefused: It is not Croissant, or has no record set with typed fields.
        OSError: It cannot be read.
    """
    data = read_description(path)
    record_sets = [mapping(each) for each in items(data.get("recordSet") or data.get("cr:recordSet"))]
    conforms = " ".join(str(each) for each in items(data.get("conformsTo") or data.get("dct:conformsTo")))
    if "croissant" not in conforms.lower() and not record_sets:
        raise refused(
            path, "neither conformsTo croissant nor a recordSet", "a Croissant description in JSON-LD"
        )
    draft = Draft(path, text_of(data.get("name")) or path.stem, text_of(data.get("description"))[:500])
    chosen: dict[str, Any] | None = None
    for record_set in record_sets:
        if chosen is None and any(_type_of(mapping(each)) for each in _fields(record_set)):
            chosen = record_set
        else:
            draft.note(f"record set {_name(record_set)!r} was left out: one contract is one table")
    if chosen is not None:
        for each in _fields(chosen):
            _field(draft, mapping(each))
        draft.key = [_last(key) for key in items(chosen.get("key"))]
        if chosen.get("data"):
            draft.note("rows inside the description were left out: data comes in deliveries")
    for each in items(data.get("distribution")):
        _distribution(draft, mapping(each))
    if licence := text_of(data.get("license")):
        draft.note(f"licence of the data: {licence}")
    return draft.finish()


def _fields(record_set: dict[str, Any]) -> list[Any]:
    return items(record_set.get("field"))


def _field(draft: Draft, each: dict[str, Any]) -> None:
    name = _name(each)
    column_type = _type_of(each)
    kinds = [_last(kind) for kind in items(each.get("dataType"))]
    if each.get("isArray") or each.get("repeated") or each.get("subField") or not column_type:
        draft.note(f"field {name!r} was left out: {', '.join(kinds) or 'no type'} is not a plain value")
        return
    draft.column(name, column_type, nullable=True)
    if any(kind.lower() == "label" for kind in kinds):
        draft.note(f"field {name!r} is marked as a label: name it in schema.label, with its classes")
    if each.get("references"):
        draft.note(
            f"field {name!r}: its reference to another record set was left out; list its values in `allowed`"
        )


def _distribution(draft: Draft, each: dict[str, Any]) -> None:
    name = _name(each)
    digest = text_of(each.get("sha256"))
    if digest and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        draft.note(f"file {name!r}: what stands in sha256 is no SHA-256 in hexadecimal")
    if where := text_of(each.get("contentUrl")):
        draft.note(f"file {name!r} lies at {where}{f' (sha256 {digest})' if digest else ''}")


def _type_of(each: dict[str, Any]) -> str | None:
    for kind in items(each.get("dataType")):
        last = _last(kind).lower()
        found = _TYPES.get(last) or _TYPES.get(re.sub(r"(8|16|32|64)$", "", last.removeprefix("u")))
        if found:
            return found
    return None


def _name(each: dict[str, Any]) -> str:
    return text_of(each.get("name")) or _last(each.get("@id") or "")


def _last(reference: Any) -> str:
    """The last part of `sc:Integer`, `https://schema.org/Integer`, `records/age` or `{"@id": ...}`."""
    if isinstance(reference, dict):
        reference = reference.get("@id", "")
    return re.split(r"[/#:]", str(reference))[-1]
