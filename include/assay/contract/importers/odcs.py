"""Open Data Contract Standard v3 (Bitol, https://bitol-io.github.io/open-data-contract-standard/)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.contract.importers.draft import Draft, Imported, items, mapping, read_description, refused, text_of

_TYPES = {
    "string": "string",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
}
_PHYSICAL = {
    "varchar": "string",
    "char": "string",
    "text": "string",
    "string": "string",
    "int": "integer",
    "integer": "integer",
    "bigint": "integer",
    "smallint": "integer",
    "tinyint": "integer",
    "float": "number",
    "double": "number",
    "real": "number",
    "decimal": "number",
    "numeric": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "datetime": "timestamp",
}
_NOT_CARRIED = (
    "servers",
    "slaProperties",
    "team",
    "roles",
    "price",
    "support",
    "authoritativeDefinitions",
    "customProperties",
)


def from_odcs(path: Path) -> Imported:
    """A contract from an ODCS v3 file: columns, keys, limits and the quality rules that have a like here.

    Raises:
        ImportRefused: It is not ODCS v3, or describes no table.
        OSError: It cannot be read.
    """
    data = read_description(path)
    version = str(data.get("apiVersion", ""))
    if data.get("kind") != "DataContract" or not version.startswith("v3"):
        found = f"kind {data.get('kind')!r}, apiVersion {version or None!r}"
        raise refused(path, found, "kind: DataContract with apiVersion v3.x")
    tables = [mapping(each) for each in items(data.get("schema"))]
    if not tables:
        raise refused(path, "no schema", "a schema with one table")
    table = tables[0]
    name = text_of(data.get("name")) or text_of(table.get("name")) or text_of(data.get("id")) or path.stem
    described = data.get("description")
    purpose = (
        text_of(mapping(described).get("purpose")) if isinstance(described, dict) else text_of(described)
    )
    draft = Draft(path, name, purpose or text_of(table.get("description")))
    for other in tables[1:]:
        draft.note(f"table {text_of(other.get('name'))!r} was left out: one contract is one table")
    keys: list[tuple[int, str]] = []
    for each in items(table.get("properties")):
        _property(draft, mapping(each), keys)
    draft.key = [name for _, name in sorted(keys, key=lambda pair: pair[0])]
    for rule in items(table.get("quality")):
        _rule(draft, mapping(rule), None)
    for section in _NOT_CARRIED:
        if data.get(section):
            draft.note(f"{section} was left out: a contract of Assay's has no place for it")
    return draft.finish()


def _property(draft: Draft, each: dict[str, Any], keys: list[tuple[int, str]]) -> None:
    name = text_of(each.get("name"))
    logical = text_of(each.get("logicalType"))
    physical = text_of(each.get("physicalType")).lower().partition("(")[0].strip()
    column_type = _TYPES.get(logical) or ("" if logical else _PHYSICAL.get(physical, ""))
    if not column_type:
        draft.note(
            f"column {name!r} was left out: type {logical or physical or 'unknown'!r} has no like here"
        )
        return
    options = mapping(each.get("logicalTypeOptions"))
    rules = [mapping(rule) for rule in items(each.get("quality"))]
    never_null = each.get("required") is True or any(_is_zero(rule, _NULLS) for rule in rules)
    if each.get("primaryKey") is True:
        position = each.get("primaryKeyPosition")
        keys.append((position if isinstance(position, int) and position > 0 else 10_000, name))
    draft.column(
        name,
        column_type,
        nullable=not never_null,
        unique=each.get("unique") is True or any(_is_zero(rule, _DUPLICATES) for rule in rules),
        min=options.get("minimum"),
        max=options.get("maximum"),
        pattern=options.get("pattern"),
        max_length=options.get("maxLength"),
        allowed=_allowed(rules),
    )
    for option in options.keys() - {"minimum", "maximum", "pattern", "maxLength"}:
        draft.note(f"column {name!r}: {option} was left out")
    for rule in rules:
        if not (_is_zero(rule, _NULLS | _DUPLICATES) or (_metric(rule) in _VALID and _allowed([rule]))):
            _rule(draft, rule, name)


_NULLS = frozenset({"nullvalues", "nullcheck", "missingvalues", "nullcount"})
_DUPLICATES = frozenset({"duplicatevalues", "duplicatecount", "uniquecheck"})
_VALID = frozenset({"invalidvalues", "validvalues", "invalidcount"})
_ROWS = frozenset({"rowcount"})


def _metric(rule: dict[str, Any]) -> str:
    """v3.0 says `rule`, v3.1 says `metric`."""
    return (text_of(rule.get("metric")) or text_of(rule.get("rule"))).lower()


def _is_zero(rule: dict[str, Any], metrics: frozenset[str]) -> bool:
    return _metric(rule) in metrics and (rule.get("mustBe") == 0 or rule.get("mustBeLessThan") == 1)


def _allowed(rules: list[dict[str, Any]]) -> list[Any] | None:
    for rule in rules:
        values = rule.get("validValues") or mapping(rule.get("arguments")).get("validValues")
        if _metric(rule) in _VALID and isinstance(values, list) and values:
            return values
    return None


def _rule(draft: Draft, rule: dict[str, Any], column: str | None) -> None:
    """A quality rule as an expectation, where it is one or has a like."""
    implementation = mapping(rule.get("implementation"))
    if str(rule.get("engine", "")).lower().replace("_", "") == "greatexpectations" and implementation:
        kind = implementation.get("type") or implementation.get("expectation_type")
        draft.expect({"type": kind, **mapping(implementation.get("kwargs"))})
        return
    if _metric(rule) in _ROWS and column is None:
        low, high = rule.get("mustBeGreaterOrEqualTo"), rule.get("mustBeLessOrEqualTo")
        if isinstance(between := rule.get("mustBeBetween"), list) and len(between) == 2:
            low, high = between
        if isinstance(above := rule.get("mustBeGreaterThan"), int):
            low = above + 1
        if isinstance(below := rule.get("mustBeLessThan"), int):
            high = below - 1
        if low is not None or high is not None:
            draft.expect(
                {"type": "expect_table_row_count_to_be_between", "min_value": low, "max_value": high}
            )
            return
    where = f"column {column!r}" if column else "the table"
    what = (
        text_of(rule.get("name"))
        or _metric(rule)
        or text_of(rule.get("description"))
        or text_of(rule.get("type"))
    )
    draft.note(f"a quality rule on {where} was left out: {what or 'unnamed'}")
