"""From Arrow batches to the numbers that signals work on, by the contract's types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assay.contract.models import Contract
from assay.screen.errors import ScreenError
from assay.screen.hashing import U64, CellHasher, mix, salt

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

MISSING = -1
"""Code of a null label, source or category."""
UNSEEN = -2
"""Code of a label, source or category that was not among those the encoder was fitted on."""

_TEXT_LEVELS = 1000
_TARGET_BINS = 5
_HUGE = 1e100  # larger numbers are as good as this one, and their squares still fit


@dataclass
class Block:
    """Some rows, encoded. All arrays have one entry per row.

    Attributes:
        x: (n, d) float64 features: numbers as they are (NaN for null or infinite), category codes as floats.
        y: Class codes, -1 for a null label, -2 for an unknown one; quantile bins of the target for a regression.
        target: The target itself for a regression, else NaN.
        source: Codes of the source column, -1 where there is none.
        key: 64-bit hash of the key columns; zero without a key.
        content: Hash of all columns.
        features: Hash of the feature columns: equal for exact copies, whatever their key, source or label.
        admitted: Hash of all columns but the key and the source: what history must keep.
        odd: (n, d) bool: cells that are infinite or not of the contract's type.
        row: Position in the input.
        known: The same row stands in the accepted snapshot under the same key.
    """

    x: F64
    y: I64
    target: F64
    source: I64
    key: U64
    content: U64
    features: U64
    admitted: U64
    odd: NDArray[np.bool_]
    row: I64
    known: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        """Rows are not known unless somebody says so."""
        if len(self.known) != len(self.y):
            self.known = np.zeros(len(self.y), dtype=bool)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Block:
        """The rows at these positions, or where the mask is true."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def fold(self, folds: int) -> I64:
        """Which fold each row belongs to: by its features alone, so that copies of a row never part."""
        return ((self.features >> np.uint64(20)) % np.uint64(folds)).astype(np.int64)


def join(blocks: Sequence[Block]) -> Block:
    """Blocks one below the other."""
    return Block(**{f.name: np.concatenate([getattr(b, f.name) for b in blocks]) for f in fields(Block)})


class Encoder:
    """Encodes record batches by a contract; categories and classes are learnt from a sample.

    Args:
        contract: Names the columns and their types.
    """

    def __init__(self, contract: Contract) -> None:
        schema = contract.schema_
        self.schema = schema
        self.columns: tuple[str, ...] = schema.features
        self.categorical = np.array([schema.columns[c].type == "string" for c in self.columns], dtype=bool)
        self.text = np.zeros(len(self.columns), dtype=bool)
        self.levels: dict[str, list[str]] = {}
        self.classes: list[str] = []
        self.sources: list[str] = []
        self.edges: F64 | None = None
        self.regression = schema.label is not None and schema.label.classes is None
        self._hashers = {name: CellHasher(name) for name in schema.columns}
        self._salts = {name: salt("row:" + name) for name in schema.columns}

    # -- hashing: needs no fitting -----------------------------------------------------------------------------------

    def check_columns(self, schema: pa.Schema, name: str) -> None:
        """Complain about columns of the contract that a table lacks.

        Raises:
            ScreenError: A column is missing or stands twice.
        """
        there = list(schema.names)
        missing = [column for column in self.schema.columns if column not in there]
        twice = sorted({column for column in there if there.count(column) > 1})
        if missing or twice:
            raise ScreenError(
                f"{name}: "
                + (f"column {missing[0]!r} is missing" if missing else f"column {twice[0]!r} stands twice"),
                expected=f"the contract's columns: {', '.join(list(self.schema.columns)[:20])}",
                found=", ".join(there[:20]) or "no columns",
                next_step="send the columns of schema.columns, or change the contract",
            )

    def hashes(self, batch: pa.RecordBatch) -> dict[str, U64]:
        """Row hashes of a batch: `key`, `content`, `features`, `admitted` (see `Block`)."""
        n = batch.num_rows
        out = {name: np.zeros(n, dtype=np.uint64) for name in ("key", "content", "features", "admitted")}
        features = set(self.columns)
        apart = {*self.schema.key, self.schema.source}
        with np.errstate(over="ignore"):
            for name in self.schema.columns:
                cells = mix(self.cells(batch, name) + self._salts[name])
                out["content"] += cells
                if name in features:
                    out["features"] += cells
                if name in self.schema.key:
                    out["key"] += cells
                if name not in apart:
                    out["admitted"] += cells
        return out

    def cells(self, batch: pa.RecordBatch, name: str) -> U64:
        """Hashes of one column's cells."""
        column = batch.column(batch.schema.get_field_index(name))
        if self.schema.columns[name].type == "string":
            return self._hashers[name].text(_text(column))
        numbers, odd = _numbers(column)
        if odd.any():
            # What is not a number is told apart by its text, or all garbage would look alike.
            hashes = self._hashers[name].numbers(numbers)
            hashes[odd] = self._hashers[name].text(_text(column).filter(pa.array(odd)))
            return hashes
        return self._hashers[name].numbers(numbers)

    # -- fitting -----------------------------------------------------------------------------------------------------

    def fit(self, tables: Iterable[pa.Table]) -> Encoder:
        """Learn categories, classes and sources from tables of raw rows; order in the tables does not matter."""
        tables = [table for table in tables if table.num_rows]
        for index, name in enumerate(self.columns):
            if not self.categorical[index]:
                continue
            counts = _counts(tables, name)
            allowed = self.schema.columns[name].allowed
            total = sum(counts.values())
            if allowed is None and len(counts) > max(_TEXT_LEVELS, total // 2) and total > 0:
                self.categorical[index] = False
                self.text[index] = True
                continue
            for value in allowed or ():
                counts.setdefault(str(value), 0)
            # Frequent first: trees then split rare from common in one cut.
            self.levels[name] = sorted(counts, key=lambda value: (-counts[value], value))[:_TEXT_LEVELS]
        label = self.schema.label
        if label is not None and label.classes is not None:
            self.classes = [_plain(value) for value in label.classes]
        elif label is not None:
            values = np.concatenate([_numbers(t.column(label.column))[0] for t in tables] or [np.zeros(0)])
            values = values[np.isfinite(values)]
            quantiles = np.linspace(0, 1, _TARGET_BINS + 1)[1:-1]
            self.edges = np.unique(np.quantile(values, quantiles)) if len(values) else np.zeros(0)
            self.classes = [
                f"target bin {i + 1} of {len(self.edges) + 1}" for i in range(len(self.edges) + 1)
            ]
        if self.schema.source:
            self.sources = sorted(_counts(tables, self.schema.source))
        return self

    # -- encoding ----------------------------------------------------------------------------------------------------

    def encode(self, batch: pa.RecordBatch, start: int = 0, hashes: dict[str, U64] | None = None) -> Block:
        """Encode a batch whose first row is row `start` of its table."""
        n = batch.num_rows
        x = np.empty((n, len(self.columns)), dtype=np.float64)
        odd = np.zeros((n, len(self.columns)), dtype=bool)
        for index, name in enumerate(self.columns):
            column = batch.column(batch.schema.get_field_index(name))
            if self.categorical[index]:
                x[:, index] = _codes(column, self.levels[name])
            elif self.text[index]:
                lengths = pc.fill_null(pc.utf8_length(_text(column)), -1)
                x[:, index] = lengths.to_numpy(zero_copy_only=False)
            else:
                x[:, index], odd[:, index] = _numbers(column)
        y, target = self._labels(batch, n)
        source = np.full(n, MISSING, dtype=np.int64)
        if self.schema.source:
            source = _codes(batch.column(batch.schema.get_field_index(self.schema.source)), self.sources)
        hashes = hashes or self.hashes(batch)
        return Block(
            x=x,
            y=y,
            target=target,
            source=source.astype(np.int64),
            odd=odd,
            row=np.arange(start, start + n, dtype=np.int64),
            key=hashes["key"],
            content=hashes["content"],
            features=hashes["features"],
            admitted=hashes["admitted"],
        )

    def _labels(self, batch: pa.RecordBatch, n: int) -> tuple[I64, F64]:
        label = self.schema.label
        target = np.full(n, np.nan)
        if label is None:
            return np.full(n, MISSING, dtype=np.int64), target
        column = batch.column(batch.schema.get_field_index(label.column))
        if self.regression:
            target, _ = _numbers(column)
            assert self.edges is not None
            bins = np.searchsorted(self.edges, target, side="right").astype(np.int64)
            return np.where(np.isnan(target), MISSING, bins), target
        return _codes(column, self.classes).astype(np.int64), target

    def describe(self, column: int, value: float) -> str:
        """A cell's value as a person would write it."""
        name = self.columns[column]
        if self.categorical[column]:
            code = int(value)
            return (
                repr(self.levels[name][code]) if code >= 0 else ("missing" if code == MISSING else "unseen")
            )
        if np.isnan(value):
            return "missing"
        kind = self.schema.columns[name].type
        if kind == "date":
            return str(np.datetime64(0, "D") + int(value))
        if kind == "timestamp":
            return str(np.datetime64(int(value), "s"))
        if kind == "boolean":
            return "true" if value else "false"
        return f"{value:.6g}"

    def class_name(self, code: int) -> str:
        """A class code as a person would write it."""
        return (
            self.classes[code]
            if 0 <= code < len(self.classes)
            else "missing"
            if code == MISSING
            else "unknown"
        )


def _plain(value: object) -> str:
    """One spelling for a class or category, whether it came as text, integer or boolean."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array of strings; whole floats lose their `.0`, so that 1 and 1.0 are one class."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # pyarrow answers so for zero chunks
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_floating(column.type):
        whole = pc.all(pc.fill_null(pc.equal(column, pc.round(column)), True)).as_py()
        column = pc.cast(column, pa.int64(), safe=False) if whole else column
    try:
        return pc.cast(column, pa.string(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())


def _numbers(column: pa.Array | pa.ChunkedArray) -> tuple[F64, NDArray[np.bool_]]:
    """A column as float64 (NaN where null, infinite or no number) and which cells were infinite or no number."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _numbers(column.dictionary_decode())
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan), np.zeros(len(column), dtype=bool)
    if pa.types.is_date(kind):
        column = pc.cast(pc.cast(column, pa.date32()), pa.int32())
    elif pa.types.is_timestamp(kind):
        column = pc.divide(
            pc.cast(pc.cast(column, pa.timestamp("us", kind.tz), safe=False), pa.int64()), 1_000_000
        )
    elif pa.types.is_boolean(kind):
        column = pc.cast(column, pa.uint8())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _parsed(column)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        empty = np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False), dtype=bool)
        return np.full(len(column), np.nan), ~empty
    numbers = (
        pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64, copy=True)
    )
    odd = np.isinf(numbers)
    numbers[odd] = np.nan
    return np.clip(numbers, -_HUGE, _HUGE), odd


def _parsed(column: pa.Array) -> tuple[F64, NDArray[np.bool_]]:
    """Numbers written as text; what cannot be read is odd."""
    numbers = np.full(len(column), np.nan)
    odd = np.zeros(len(column), dtype=bool)
    truth = {"true": 1.0, "false": 0.0}
    for position, value in enumerate(column.to_pylist()):
        if value is None:
            continue
        try:
            numbers[position] = truth[value.lower()] if value.lower() in truth else float(value)
        except ValueError:
            odd[position] = True
    infinite = np.isinf(numbers)
    numbers[infinite] = np.nan
    return np.clip(numbers, -_HUGE, _HUGE), odd | infinite


def _codes(column: pa.Array | pa.ChunkedArray, levels: list[str]) -> I64:
    """Positions of the values in `levels`; -1 for null, -2 for a value that is not there."""
    text = _text(column)
    if not levels:
        found = np.full(len(text), UNSEEN, dtype=np.int64)
    else:
        index = pc.fill_null(pc.index_in(text, value_set=pa.array(levels, pa.string())), UNSEEN)
        found = index.to_numpy(zero_copy_only=False).astype(np.int64)
    if text.null_count:
        found[np.asarray(pc.is_null(text).to_numpy(zero_copy_only=False), dtype=bool)] = MISSING
    return found


def _counts(tables: Sequence[pa.Table], name: str) -> dict[str, int]:
    """How often each value stands in a column, nulls left out."""
    counts: dict[str, int] = {}
    for table in tables:
        for entry in pc.value_counts(_text(table.column(name))).to_pylist():
            if entry["values"] is not None:
                counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    return counts
