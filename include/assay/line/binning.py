"""Counting a column's values in bins that are chosen once, so that several sets of rows can be laid over each other."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MAX_BARS = 24
"""Categories that are counted by name."""
_BINS = 40
_WHOLE = 100  # whole numbers spread no wider than this have a bin each
_TAIL = 0.005  # share of rows on either side that goes into the outermost bin
_LONG = 40  # text that is longer on average is shown by its length
_VARIED = 0.5  # share of different values from which text is shown by its length
_MAX_NAME = 200

Values: TypeAlias = "pa.Array | pa.ChunkedArray"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """How a column is counted.

    Attributes:
        kind: `histogram` of numbers, days or moments; `bars` of categories; `lengths` of texts; `norms` of vectors.
        edges: n + 1 ascending numbers; days and moments as seconds since 1970. The first and the last bin may be wide.
        categories: Names of the bars; what is none of them is counted as `other`.
        moment: Whether edges are times: `date`, `timestamp`, or empty.
    """

    kind: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    moment: str = ""

    def count(self, values: Values) -> dict[str, Any]:
        """`counts` per bin or bar, `other` (bars only), and `nulls`.

        Args:
            values: A column, or a part of it.
        """
        nulls = values.null_count
        if self.kind == "bars":
            names = _names(values.drop_null())
            at = pc.index_in(names, value_set=pa.array(self.categories, pa.string()))
            at = np.asarray(at.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)
            counts = np.bincount(at[at >= 0], minlength=len(self.categories))
            return {"counts": counts.tolist(), "other": int((at < 0).sum()), "nulls": nulls}
        numbers = numbers_of(values, self.kind)
        finite = numbers[np.isfinite(numbers)]
        edges = np.asarray(self.edges)
        if len(edges) < 2 or not len(finite):
            return {"counts": [0] * max(0, len(edges) - 1), "nulls": nulls + len(numbers) - len(finite)}
        # What lies beyond the edges belongs to the outermost bins: the rows of a case may be more extreme.
        inside = np.clip(finite, edges[0], edges[-1])
        counts, _ = np.histogram(inside, edges)
        return {"counts": counts.tolist(), "nulls": nulls + len(numbers) - len(finite)}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kind": self.kind,
            "edges": list(self.edges),
            "categories": list(self.categories),
            "moment": self.moment,
        }

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> Bins:
        """The bins that `as_dict` wrote."""
        return cls(
            str(said["kind"]),
            tuple(map(float, said["edges"])),
            tuple(said["categories"]),
            str(said["moment"]),
        )


def choose(samples: Sequence[Values], *, text: bool = False) -> Bins:
    """Bins for a column.

    Args:
        samples: Values of it: some of the batch, the trusted rows, the suspicious rows; of one type.
        text: Whether the contract says that its strings are free text.
    """
    kind = next((each.type for each in samples), pa.null())
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _of_text(samples, text)
    if pa.types.is_boolean(kind):
        return Bins("bars", categories=("true", "false"))
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        return Bins("norms", _edges(_together(samples, "norms"), whole=False))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Bins("histogram", _edges(_together(samples, "histogram"), whole=pa.types.is_integer(kind)))
    if pa.types.is_temporal(kind):
        moment = "date" if pa.types.is_date(kind) else "timestamp"
        return Bins("histogram", _edges(_together(samples, "histogram"), whole=False), moment=moment)
    return Bins("bars")


def edges_for_people(bins: Bins) -> list[Any]:
    """The edges: numbers, or ISO 8601 text for days and moments."""
    if not bins.moment:
        return list(bins.edges)
    first = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    out = []
    for edge in bins.edges:
        try:
            moment = first + dt.timedelta(seconds=edge)
        except OverflowError:
            out.append(str(edge))
            continue
        out.append(moment.date().isoformat() if bins.moment == "date" else moment.isoformat())
    return out


def numbers_of(values: Values, kind: str = "histogram") -> Floats:
    """Values as float64, without nulls: lengths of texts, norms of vectors, seconds since 1970 of times."""
    known = values.drop_null()
    if isinstance(known, pa.ChunkedArray):
        known = known.combine_chunks()
    if kind == "lengths":
        known = pc.utf8_length(known.cast(pa.large_string()))
    elif kind == "norms":
        return np.array(
            [float(np.linalg.norm(np.asarray(each, dtype=np.float64))) for each in known.to_pylist()],
            dtype=np.float64,
        )
    elif pa.types.is_date(known.type):
        known = pc.multiply(known.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), 86_400)
    elif pa.types.is_timestamp(known.type):
        plain = known.cast(pa.timestamp("us", known.type.tz)).cast(pa.int64())
        return np.asarray(plain.to_numpy(zero_copy_only=False), dtype=np.float64) / 1e6
    elif pa.types.is_time(known.type) or pa.types.is_duration(known.type):
        known = known.cast(pa.int64() if known.type.bit_width == 64 else pa.int32())
    return np.asarray(known.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def _together(samples: Sequence[Values], kind: str) -> Floats:
    parts = [numbers_of(each, kind) for each in samples]
    joined = np.concatenate(parts) if parts else np.zeros(0)
    return np.asarray(joined[np.isfinite(joined)], dtype=np.float64)


def _edges(values: Floats, *, whole: bool) -> tuple[float, ...]:
    if not len(values):
        return ()
    low, high = float(values.min()), float(values.max())
    if whole and high - low <= _WHOLE:
        return tuple(float(each) for each in np.arange(low - 0.5, high + 1.0))
    if low == high:
        return (
            (low - 0.5, high + 0.5)
            if abs(low) < 2**52
            else (np.nextafter(low, -np.inf), np.nextafter(low, np.inf))
        )
    core = np.quantile(values, [_TAIL, 1 - _TAIL])
    if core[0] == core[1]:  # nearly all are the same: the rest would all fall into the outermost bins
        core = np.array([low, high])
    inner = np.linspace(core[0], core[1], _BINS + 1)
    edges = [low, *inner[inner > low], high]
    unique = sorted({float(each) for each in edges if low <= each <= high})
    return tuple(unique) if len(unique) > 1 else (low, high)


def _of_text(samples: Sequence[Values], text: bool) -> Bins:
    counts: Counter[str] = Counter()
    rows = length = 0
    for each in samples:
        known = each.drop_null()
        rows += len(known)
        length += pc.sum(pc.utf8_length(known)).as_py() or 0
        for pair in pc.value_counts(known).to_pylist():
            counts[pair["values"]] += pair["counts"]
    varied = len(counts) > MAX_BARS and len(counts) > _VARIED * rows
    if text or varied or (rows and length / rows > _LONG):
        return Bins("lengths", _edges(_together(samples, "lengths"), whole=True))
    # The last sample is that of the suspicious rows: their own values must be seen, however rare they are.
    told = Counter({p["values"]: p["counts"] for p in pc.value_counts(samples[-1].drop_null()).to_pylist()})
    chosen = [
        name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: MAX_BARS - 8]
    ]
    for name, _ in sorted(told.items(), key=lambda item: (-item[1], item[0])):
        if len(chosen) >= MAX_BARS:
            break
        if name not in chosen:
            chosen.append(name)
    return Bins("bars", categories=tuple(name for name in chosen if len(name) <= _MAX_NAME))


def _names(values: Values) -> Values:
    """Values as the names of their bars."""
    if pa.types.is_boolean(values.type):
        return pc.if_else(values, "true", "false")
    return values.cast(pa.string())
