"""What a reviewer will look at beside a case's rows, counted once, while screening has the batch at hand.

One sealed object per screened delivery, of bounded size: how the columns that matter are distributed in the delivery
and in the trusted rows, the scores of all rows, the sources side by side, the members of each group with how common
their values are elsewhere, and the trusted rows that are most like the suspicious ones. The rows of the cases
themselves are kept with the cases. The delivery's rows are read twice, batch by batch: memory does not grow with them.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.canonical import canonical_json
from assay.contract import Contract
from assay.findings import Finding, Outcome, Scope
from assay.line.binning import Bins, choose, numbers_of
from assay.line.cells import cell

if TYPE_CHECKING:
    from assay.screen import ScreenReport

FORMAT = "assay-exhibits/1"
MAX_COLUMNS = 30
MAX_GROUPS = 24
MAX_VALUES = 12
"""Values of a group's column that are counted elsewhere too."""
MAX_POINTS = 2_000
"""Rows of the delivery that are drawn beside a group's."""
_MAX_NUMERIC = 8
_SAMPLE = 20_000
_READ = 65_536
_SCORE_BINS = 40
_MAX_NEAREST_BYTES = 2 << 20
_GROUP_COLUMNS = 6
_TEXT_ROWS = 2_000  # reasons that are searched for names of columns

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Screened:
    """One delivery of a screened batch.

    Attributes:
        batch: Parquet file with the rows of all deliveries of the batch.
        first: Where this delivery's rows begin in it.
        numbers: Their row numbers in the delivery, ascending.
        sources: Rows and quarantined rows of each source of the batch.
        held: The delivery's quarantined rows, with `_row` and `_reasons`.
        failing: Its rows that failed validation, likewise.
    """

    batch: Path
    first: int
    numbers: Numbers
    sources: Mapping[str, tuple[int, int]]
    held: pa.Table | None
    failing: pa.Table | None


def make_exhibits(
    screened: Screened, contract: Contract, report: ScreenReport, trusted: pa.Table | None
) -> bytes:
    """The exhibits of a delivery as canonical JSON; the same screening makes the same bytes.

    Args:
        screened: The delivery's rows.
        contract: Names the columns.
        report: Of the whole batch.
        trusted: The trusted rows, in the batch's columns.
    """
    suspicious = [
        table for table in (screened.held, screened.failing) if table is not None and table.num_rows
    ]
    groups = _groups(screened, report)
    names = _columns(screened, contract, report, suspicious)
    sample = _sample(screened, names)
    bins = {
        name: choose(
            [
                sample[name],
                *([trusted[name]] if trusted is not None else []),
                *(table[name] for table in suspicious if name in table.column_names),
            ],
            text=_is_text(contract, name),
        )
        for name in names
    }
    values = _group_values(screened, groups, names, sample)
    counts, elsewhere = _count(screened, bins, values)
    numeric = [name for name in names if bins[name].kind == "histogram"][:_MAX_NUMERIC]
    return canonical_json(
        {
            "format": FORMAT,
            "rows": len(screened.numbers),
            "columns": [
                {
                    "name": name,
                    **bins[name].as_dict(),
                    "batch": counts[name],
                    "trusted": bins[name].count(trusted[name]) if trusted is not None else None,
                }
                for name in names
            ],
            "score": _scores(screened, report),
            "sources": [
                {"source": name, "rows": rows, "quarantined": bad}
                for name, (rows, bad) in sorted(screened.sources.items())
            ],
            "groups": [
                {
                    "finding": finding.id,
                    "members": pack_rows(members, screened.numbers),
                    "columns": [
                        {
                            "name": name,
                            "values": [[cell(value), elsewhere[name].get(value, 0)] for value in some],
                        }
                        for name, some in values[finding.id].items()
                    ],
                }
                for finding, members in groups
            ],
            "points": _points(screened, sample, numeric),
            "nearest": _nearest(screened, report, trusted),
        }
    )


def pack_rows(members: Numbers, every: Numbers) -> dict[str, str]:
    """Row numbers in few bytes: a list of them, or one bit for each row number up to the largest.

    Args:
        members: Ascending row numbers.
        every: Ascending numbers of all rows.
    """
    top = int(every[-1]) + 1 if len(every) else 0
    if 4 * len(members) <= top // 8:
        return {"list": base64.b64encode(members.astype("<u4").tobytes()).decode()}
    flags = np.zeros(top, dtype=bool)
    flags[members] = True
    return {"bits": base64.b64encode(np.packbits(flags).tobytes()).decode()}


def unpack_rows(said: Mapping[str, str]) -> Numbers:
    """The row numbers that `pack_rows` wrote."""
    if "list" in said:
        return np.frombuffer(base64.b64decode(said["list"]), dtype="<u4").astype(np.int64)
    bits = np.unpackbits(np.frombuffer(base64.b64decode(said["bits"]), dtype=np.uint8))
    return np.flatnonzero(bits).astype(np.int64)


def columns_in(texts: Sequence[str], names: Sequence[str]) -> Counter[str]:
    """How many of the texts name each column."""
    if not names:
        return Counter()
    longest_first = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)")
    return Counter(name for text in texts for name in set(pattern.findall(text)))


# -------------------------------------------------------------------------------------------------------------- columns
def _columns(
    screened: Screened, contract: Contract, report: ScreenReport, suspicious: Sequence[pa.Table]
) -> list[str]:
    """The columns to count: the label, those that reasons and findings name, then the others as in the contract."""
    schema = contract.schema_
    every = [name for name in schema.columns if name in pq.read_schema(screened.batch).names]
    texts: list[str] = []
    for table in suspicious:
        for reasons in table["_reasons"].slice(0, _TEXT_ROWS).to_pylist():
            texts += reasons or ()
    named = columns_in(texts, every)
    for finding in report.findings:
        if finding.outcome is Outcome.FAILED:
            if finding.scope is Scope.COLUMN and finding.subject in every:
                named[finding.subject] += 1
            for name in finding.evidence.get("columns") or ():
                if name in every:
                    named[name] += len(texts) + 1
    keys = set(schema.key) | ({schema.source} if schema.source else set())
    first = [schema.label.column] if schema.label is not None and schema.label.column in every else []
    told = [name for name, _ in sorted(named.items(), key=lambda item: (-item[1], every.index(item[0])))]
    rest = [name for name in every if name not in keys]
    return list(dict.fromkeys([*first, *told, *rest]))[:MAX_COLUMNS]


def _is_text(contract: Contract, name: str) -> bool:
    column = contract.schema_.columns.get(name)
    return column is not None and column.role == "text"


def _batches(screened: Screened, names: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The delivery's rows, some at a time, each with the place of its first row within the delivery."""
    last = screened.first + len(screened.numbers)
    start = 0
    with pq.ParquetFile(screened.batch) as file:
        groups = []
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            if start < last and stop > screened.first:
                groups.append((group, start))
            start = stop
        if not groups:
            return
        start = groups[0][1]
        wanted = [group for group, _ in groups]
        for batch in file.iter_batches(_READ, row_groups=wanted, columns=list(names)):
            low, high = max(screened.first, start), min(last, start + batch.num_rows)
            if low < high:
                yield low - screened.first, batch.slice(low - start, high - low)
            start += batch.num_rows


def _sample(screened: Screened, names: Sequence[str]) -> pa.Table:
    """Rows of the delivery at even distances, with their place as `_place`."""
    step = max(1, -(-len(screened.numbers) // _SAMPLE))
    parts = []
    for place, batch in _batches(screened, names):
        chosen = np.arange(-place % step, batch.num_rows, step)
        parts.append(
            pa.Table.from_batches([batch.take(pa.array(chosen))]).append_column(
                "_place", pa.array(place + chosen)
            )
        )
    if parts:
        return pa.concat_tables(parts).combine_chunks()
    schema = pq.read_schema(screened.batch)
    fields = [schema.field(name) for name in names]
    return pa.schema([*fields, pa.field("_place", pa.int64())]).empty_table()


def _count(
    screened: Screened, bins: Mapping[str, Bins], values: Mapping[str, Mapping[str, list[Any]]]
) -> tuple[dict[str, dict[str, Any]], dict[str, Counter[Any]]]:
    """The delivery's rows in the bins of each column, and how often the groups' values come in it."""
    counts: dict[str, dict[str, Any]] = {}
    watched: dict[str, list[Any]] = {}
    for of_group in values.values():
        for name, some in of_group.items():
            watched.setdefault(name, [])
            watched[name] += [value for value in some if value is not None and value not in watched[name]]
    seen: dict[str, Counter[Any]] = {name: Counter() for name in watched}
    for _, batch in _batches(screened, list(bins)):
        for name, each in bins.items():
            added = each.count(batch.column(name))
            if name not in counts:
                counts[name] = added
            else:
                before = counts[name]
                added["counts"] = [a + b for a, b in zip(before["counts"], added["counts"], strict=True)]
                for extra in ("other", "nulls"):
                    if extra in added:
                        added[extra] += before[extra]
                counts[name] = added
        for name, some in watched.items():
            column = batch.column(name)
            seen[name][None] += column.null_count
            chosen = column.filter(pc.is_in(column, value_set=pa.array(some, column.type)))
            seen[name].update({p["values"]: p["counts"] for p in pc.value_counts(chosen).to_pylist()})
    empty = pq.read_schema(screened.batch).empty_table()
    for name, each in bins.items():
        counts.setdefault(name, each.count(empty[name]))
    return counts, seen


# --------------------------------------------------------------------------------------------------------------- groups
def _groups(screened: Screened, report: ScreenReport) -> list[tuple[Finding, Numbers]]:
    """Findings on groups and sources with members among the delivery's rows, as numbers within the delivery."""
    found = []
    for finding in report.findings:
        rows = report.groups.get((finding.check, finding.subject))
        if rows is None or finding.outcome is not Outcome.FAILED:
            continue
        here = rows[(rows >= screened.first) & (rows < screened.first + len(screened.numbers))]
        if len(here):
            found.append((finding, screened.numbers[here - screened.first]))
    return found[:MAX_GROUPS]


def _group_values(
    screened: Screened, groups: Sequence[tuple[Finding, Numbers]], names: Sequence[str], sample: pa.Table
) -> dict[str, dict[str, list[Any]]]:
    """For each group and each column that marks it, the values that its members have most often."""
    out: dict[str, dict[str, list[Any]]] = {}
    for finding, members in groups:
        out[finding.id] = {}
        if screened.held is None:
            continue
        inside = screened.held.filter(pc.is_in(screened.held["_row"], value_set=pa.array(members)))
        usable = [name for name in names if name in inside.column_names and _countable(inside[name].type)]
        named = [name for name in finding.evidence.get("columns") or () if name in usable]
        for name in named or _marking(inside, sample, usable):
            counted = pc.value_counts(inside[name]).to_pylist()
            ranked = sorted(counted, key=lambda pair: (-pair["counts"], str(pair["values"])))
            out[finding.id][name] = [pair["values"] for pair in ranked[:MAX_VALUES]]
    return out


def _marking(inside: pa.Table, sample: pa.Table, names: Sequence[str]) -> list[str]:
    """The columns in which one value is most common among the members beyond what it is in the delivery."""
    gains = []
    for name in names:
        best = max(
            pc.value_counts(inside[name]).to_pylist(),
            key=lambda pair: (pair["counts"], str(pair["values"])),
            default=None,
        )
        if best is None or best["values"] is None or not sample.num_rows:
            continue
        usual = pc.sum(pc.equal(sample[name], pa.scalar(best["values"], sample[name].type))).as_py() or 0
        gains.append((best["counts"] / inside.num_rows - usual / sample.num_rows, name))
    return [name for gain, name in sorted(gains, key=lambda pair: (-pair[0], pair[1])) if gain > 0][
        :_GROUP_COLUMNS
    ]


def _countable(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_dictionary(kind))


# ---------------------------------------------------------------------------------------------------------------- rest
def _scores(screened: Screened, report: ScreenReport) -> dict[str, Any]:
    """The scores of the delivery's rows in bins, and the score from which a row is quarantined for itself."""
    mine = report.rows.slice(screened.first, len(screened.numbers))
    scores = numbers_of(mine["score"])
    finite = scores[np.isfinite(scores)]
    top = float(finite.max()) if len(finite) else 1.0
    edges = np.linspace(0.0, max(top, 1e-9), _SCORE_BINS + 1)
    cut = next((f.evidence.get("cut") for f in report.findings if f.check == "screen.evidence"), None)
    threshold = float(-np.log10(cut)) if isinstance(cut, int | float) and cut > 0 else None
    counts, _ = np.histogram(np.clip(finite, 0.0, None), edges)
    return {"edges": edges.tolist(), "all": counts.tolist(), "threshold": threshold}


def _points(screened: Screened, sample: pa.Table, names: Sequence[str]) -> dict[str, Any]:
    step = max(1, -(-sample.num_rows // MAX_POINTS))
    some = sample.take(pa.array(np.arange(0, sample.num_rows, step)))
    return {
        "columns": {
            name: [None if v is None or not np.isfinite(v) else v for v in floats(some[name])]
            for name in names
        },
        "rows": screened.numbers[some["_place"].to_numpy()].tolist(),
    }


def floats(values: pa.ChunkedArray) -> list[float | None]:
    """Numbers in the order of the rows, null where there is none."""
    out: list[float | None] = [None] * len(values)
    known = np.flatnonzero(np.asarray(pc.is_valid(values)))
    for place, number in zip(known, numbers_of(values), strict=True):
        out[int(place)] = float(number)
    return out


def _nearest(screened: Screened, report: ScreenReport, trusted: pa.Table | None) -> dict[str, Any]:
    """The trusted rows most like the most suspicious rows, as far as they fit into the bytes that there are for it."""
    rows: dict[str, list[list[float]]] = {}
    told: dict[str, dict[str, Any]] = {}
    if trusted is None:
        return {"rows": rows, "trusted": told}
    size = 0
    scores = report.rows["score"]
    mine = [row for row in report.nearest if 0 <= row - screened.first < len(screened.numbers)]
    for row in sorted(mine, key=lambda row: (-scores[row].as_py(), row)):
        for position, _ in report.nearest[row]:
            if str(position) not in told:
                kept = {name: cell(v) for name, v in trusted.slice(position, 1).to_pylist()[0].items()}
                size += len(canonical_json(kept))
                told[str(position)] = kept
        if size > _MAX_NEAREST_BYTES:
            break
        number = int(screened.numbers[row - screened.first])
        rows[str(number)] = [[position, distance] for position, distance in report.nearest[row]]
    used = {str(int(position)) for near in rows.values() for position, _ in near}
    return {"rows": rows, "trusted": {place: kept for place, kept in told.items() if place in used}}
