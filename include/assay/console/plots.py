"""The plots that decide. What they need was counted at screening; only the case's own rows are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.console.casefile import CaseFile, Group, open_file
from assay.console.desk import Desk
from assay.console.errors import NotFound
from assay.console.rowindex import Mask
from assay.line.binning import Bins, edges_for_people
from assay.line.cells import cell, number
from assay.line.exhibits import MAX_POINTS, MAX_VALUES

MOST_INSIDE = 500


def plot_column(desk: Desk, case_id: str, name: str, group: str | None = None) -> dict[str, Any]:
    """A column's values in the delivery, in the trusted rows, and in the rows of the case or of one of its groups.

    Raises:
        NotFound: There is no such case, column or group, or nothing was kept; the message says why.
    """
    file = open_file(desk, case_id)
    said = _column(file, name)
    bins = Bins.from_dict(said)
    mine = bins.count(_suspicious(file, name, group))
    shown: dict[str, Any] = {
        "batch": said["batch"]["counts"],
        "trusted": said["trusted"]["counts"] if said["trusted"] else None,
        "suspicious": mine["counts"],
        "label": name,
        "nulls": {
            "batch": said["batch"]["nulls"],
            "trusted": said["trusted"]["nulls"] if said["trusted"] else None,
            "suspicious": mine["nulls"],
        },
    }
    if bins.kind == "bars":
        other = {
            "batch": said["batch"].get("other", 0),
            "trusted": said["trusted"].get("other", 0) if said["trusted"] else None,
            "suspicious": mine.get("other", 0),
        }
        return {
            "kind": "bars",
            "categories": [cell(each) for each in bins.categories],
            **shown,
            "other": other if any(other.values()) else None,
        }
    about = {"lengths": f"length of {name}", "norms": f"norm of {name}"}.get(bins.kind, name)
    return {"kind": "histogram", "edges": edges_for_people(bins), **shown, "label": about, "of": bins.kind}


def plot_score(desk: Desk, case_id: str) -> dict[str, Any]:
    """The scores of all rows of the delivery and of the case's.

    Raises:
        NotFound: There is no such case, or nothing was kept; the message says why.
    """
    file = open_file(desk, case_id)
    said = _kept(file)["score"]
    edges = np.asarray(said["edges"], dtype=np.float64)
    scores = file.rows.scores if file.has_rows else np.zeros(0)
    inside = np.clip(scores[np.isfinite(scores)], edges[0], edges[-1])
    counts, _ = np.histogram(inside, edges)
    return {
        "edges": said["edges"],
        "all": said["all"],
        "suspicious": counts.tolist(),
        "threshold": number(said["threshold"]),
        "log": True,
    }


def plot_sources(desk: Desk, case_id: str) -> dict[str, Any]:
    """The sources that were screened together: their rows, and how many of them were quarantined.

    `expected` is what the other sources' share would make of a source's rows; `p_value` is that of the test that named
    it, None for a source that no test named.

    Raises:
        NotFound: There is no such case, or nothing was kept; the message says why.
    """
    file = open_file(desk, case_id)
    said = _kept(file)["sources"]
    rows, bad = (sum(each[what] for each in said) for what in ("rows", "quarantined"))
    p_values = {
        each["subject"]: number(each["evidence"].get("p_value"))
        for each in file.findings
        if each["check"] == "screen.sources" and each["outcome"] == "failed"
    }
    out = []
    for each in said:
        others = rows - each["rows"]
        share = (bad - each["quarantined"]) / others if others else None
        out.append(
            {
                "source": cell(each["source"]),
                "rows": each["rows"],
                "quarantined": each["quarantined"],
                "expected": None if share is None else share * each["rows"],
                "p_value": p_values.get(each["source"]),
            }
        )
    return {"sources": out}


def plot_group(desk: Desk, case_id: str, group_id: str) -> dict[str, Any]:
    """What sets a group's rows apart from the other rows of the delivery.

    Raises:
        NotFound: There is no such case or group, or nothing was kept; the message says why.
    """
    file = open_file(desk, case_id)
    kept = _kept(file)
    group = file.group(group_id)
    mask = file.members(group_id)
    label = _label_of(desk, file)
    return {
        "rows": group.rows,
        "outside_rows": max(0, kept["rows"] - group.rows),
        "share_by_label": _shares(file, label, mask) if label else [],
        "columns": _columns(file, group, mask),
        "points": _points(file, group, mask, kept["points"]),
    }


# -------------------------------------------------------------------------------------------------------------- private
def _kept(file: CaseFile) -> dict[str, Any]:
    if file.exhibits is None:
        raise NotFound(
            f"there is nothing to draw for {file.case.id}: {file.why_none}",
            next_step="look at its rows instead; deliveries that are screened from now on have plots",
        )
    return file.exhibits


def _column(file: CaseFile, name: str) -> dict[str, Any]:
    found = next((each for each in _kept(file)["columns"] if each["name"] == name), None)
    if found is None:
        listed = ", ".join(each["name"] for each in _kept(file)["columns"])
        raise NotFound(f"the column {name[:80]!a} of {file.case.id} was not counted", expected=listed[:1000])
    return dict(found)


def _suspicious(file: CaseFile, name: str, group: str | None) -> pa.ChunkedArray | pa.Array:
    """The values of the case's rows in a column."""
    if not file.has_rows or name not in file.rows.columns:
        return pa.array([], pa.string() if not file.has_rows else pa.null())
    column = file.rows.table[name]
    return column.filter(pa.array(file.members(group))) if group else column


def _label_of(desk: Desk, file: CaseFile) -> str | None:
    known = desk.contracts.of(file.case.dataset)
    label = known.contract.schema_.label if known and known.contract else None
    return label.column if label is not None and label.column in file.rows.columns else None


def _shares(file: CaseFile, label: str, mask: Mask) -> list[dict[str, Any]]:
    """The share of each label among the group's rows and among all others of the delivery."""
    try:
        said = _column(file, label)
    except NotFound:
        return []
    bins = Bins.from_dict(said)
    inside = bins.count(file.rows.table[label].filter(pa.array(mask)))["counts"]
    outside = [max(0, every - mine) for every, mine in zip(said["batch"]["counts"], inside, strict=True)]
    names: list[Any] = list(bins.categories) if bins.kind == "bars" else edges_for_people(bins)[:-1]
    totals = max(1, sum(inside)), max(1, sum(outside))
    return [
        {"label": cell(name), "inside": mine / totals[0], "outside": other / totals[1]}
        for name, mine, other in zip(names, inside, outside, strict=True)
        if mine or other
    ]


def _columns(file: CaseFile, group: Group, mask: Mask) -> list[dict[str, Any]]:
    """For each column that marks the group, its values with how many rows have them inside and outside."""
    if group.said is None:
        return []
    out = []
    for each in group.said["columns"]:
        name = each["name"]
        if name not in file.rows.columns:
            continue
        counted = pc.value_counts(file.rows.table[name].filter(pa.array(mask))).to_pylist()
        inside = {_name(cell(pair["values"])): pair["counts"] for pair in counted}
        values = [
            {
                "value": value,
                "inside": inside.get(_name(value), 0),
                "outside": max(0, rows - inside.get(_name(value), 0)),
            }
            for value, rows in each["values"]
        ]
        out.append({"name": name, "values": values[:MAX_VALUES]})
    return out


def _points(file: CaseFile, group: Group, mask: Mask, kept: dict[str, Any]) -> dict[str, Any] | None:
    """Two numeric columns, those that mark the group first, of its rows and of others of the delivery."""
    numeric = [name for name in kept["columns"] if name in file.rows.columns]
    marked = [name for name in group.columns if name in numeric]
    chosen = list(dict.fromkeys([*marked, *numeric]))[:2]
    if len(chosen) < 2:
        return None
    x, y = chosen
    places = np.flatnonzero(mask)
    step = max(1, -(-len(places) // MOST_INSIDE))
    some = file.rows.table.select([x, y]).take(pa.array(places[::step]))
    inside = [
        [float(a), float(b)]
        for a, b in zip(*(_plain(some[name]) for name in (x, y)), strict=True)
        if a is not None and b is not None
    ]
    members = set(file.rows.numbers[mask].tolist())
    outside = [
        [a, b]
        for a, b, row in zip(kept["columns"][x], kept["columns"][y], kept["rows"], strict=True)
        if a is not None and b is not None and row not in members
    ]
    return {"x": x, "y": y, "inside": inside[:MOST_INSIDE], "outside": outside[:MAX_POINTS]}


def _plain(column: pa.ChunkedArray) -> list[float | None]:
    from assay.line.exhibits import floats

    return [None if value is None or not np.isfinite(value) else value for value in floats(column)]


def _name(value: Any) -> str:
    return repr(value)
