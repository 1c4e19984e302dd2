"""From Arrow batches to the numbers that signals work on, by the contract's types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.contract.models import Contract
from assay.screen import texts, vectors
from assay.screen.cells import F64, I64, MISSING, UNSEEN, beyond_float, codes, counts, numbers, plain, text
from assay.screen.errors import ScreenError
from assay.screen.hashing import U64, CellHasher, mix, salt
from assay.screen.parts import Part, arrange, bases

__all__ = ["F64", "I64", "MISSING", "UNSEEN", "Block", "Encoder", "join"]

_TARGET_BINS = 5


@dataclass
class Block:
    """Some rows, encoded. All arrays have one entry per row.

    Attributes:
        x: (n, d) float64 parts of the features: numbers (NaN for null or infinite), category codes as floats.
        y: Class codes, -1 for a null label, -2 for an unknown one; quantile bins of the target for a regression.
        target: The target itself for a regression, else NaN.
        source: Codes of the source column, -1 where there is none.
        key: 64-bit hash of the key columns; zero without a key.
        content: Hash of all columns.
        features: Hash of the feature columns: equal for exact copies, whatever their key, source or label.
        admitted: Hash of all columns but the key and the source: what history must keep.
        odd: (n, d) bool: cells that are infinite or not of the contract's type.
        row: Position in the input.
        texts: (n, t, 64) signatures of the free texts (see `assay.screen.texts`).
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
    texts: texts.Signature
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
    """Encodes record batches by a contract; parts, categories and classes are learnt from a sample.

    Args:
        contract: Names the columns and their types.

    Attributes:
        schema: The contract's schema.
        parts: What each column of `Block.x` is, once fitted.
        columns: What each column of `Block.x` is called.
        base: For each column of `Block.x` a number that it shares with the other parts of the same value; the
            components of a vector are values of their own.
        categorical: Which columns of `Block.x` are category codes.
        period: Length of the circle on which a column's values lie (24 for hours); 0 for a line.
        texts: Columns of free text.
        classes: Names of the classes, or of the target's quantile bins.
        sources: Names of the sources.
        edges: Inner edges of the target's bins, for a regression.
    """

    def __init__(self, contract: Contract) -> None:
        schema = contract.schema_
        self.schema = schema
        self.parts: tuple[Part, ...] = ()
        self.columns: tuple[str, ...] = ()
        self.base: I64 = np.zeros(0, dtype=np.int64)
        self.categorical: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self.period: F64 = np.zeros(0)
        self.texts: tuple[str, ...] = ()
        self.classes: list[str] = []
        self.sources: list[str] = []
        self.edges: F64 | None = None
        self.regression = schema.label is not None and schema.label.classes is None
        self._hashers = {name: CellHasher(name) for name in schema.columns}
        self._salts = {name: salt("row:" + name) for name in schema.columns}
        self._bases: dict[str, vectors.Basis] = {}

    # -- hashing: needs no fitting -----------------------------------------------------------------------------------

    def check_columns(self, schema: pa.Schema, name: str) -> None:
        """Complain about columns of the contract that a table lacks.

        Raises:
            ScreenError: A column is missing or stands twice.
        """
        there = list(schema.names)
        known = set(there)
        missing = [column for column in self.schema.columns if column not in known]
        twice = (
            sorted({column for column in there if there.count(column) > 1}) if len(known) < len(there) else []
        )
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
        features = set(self.schema.features)
        apart = {*self.schema.key, self.schema.source}
        places = {name: place for place, name in enumerate(batch.schema.names)}
        with np.errstate(over="ignore"):
            for name in self.schema.columns:
                cells = mix(self._cells(batch.column(places[name]), name) + self._salts[name])
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
        return self._cells(batch.column(batch.schema.get_field_index(name)), name)

    def _cells(self, column: pa.Array, name: str) -> U64:
        kind = self.schema.columns[name].type
        hasher = self._hashers[name]
        if kind == "string":
            return hasher.text(text(column))
        length = self.schema.columns[name].length
        if length is not None:
            lists, odd = vectors.matrix(column, length)
            hashes = vectors.hashes(lists, name)
        else:
            values, odd = numbers(column, kind)
            hashes = hasher.numbers(values)
        if (large := beyond_float(column)) is not None:
            hashes[large[0]] = hasher.integers(large[1][large[0]])
        if odd.any():
            # What is not a number is told apart by its text, or all garbage would look alike.
            hashes[odd] = hasher.text(text(column).filter(pa.array(odd)))
        return hashes

    # -- fitting -----------------------------------------------------------------------------------------------------

    def fit(self, tables: Iterable[pa.Table]) -> Encoder:
        """Learn parts, classes and sources from tables of raw rows; order in the tables does not matter."""
        tables = [table for table in tables if table.num_rows]
        self._bases = bases(self.schema, tables)
        self.parts = arrange(self.schema, tables, self._bases)
        self.columns = tuple(part.name for part in self.parts)
        place = {name: number for number, name in enumerate(self.schema.features)}
        self.base = np.array(
            [
                len(place) + number if part.column in self._bases else place[part.column]
                for number, part in enumerate(self.parts)
            ],
            dtype=np.int64,
        )
        self.categorical = np.array([part.levels is not None for part in self.parts], dtype=bool)
        self.period = np.array([part.period for part in self.parts], dtype=np.float64)
        self.texts = tuple(part.column for part in self.parts if part.aspect == "length")
        label = self.schema.label
        if label is not None and label.classes is not None:
            self.classes = [plain(value) for value in label.classes]
        elif label is not None:
            self._bins(tables, label.column)
        if self.schema.source:
            self.sources = sorted(counts(tables, self.schema.source))
        return self

    def _bins(self, tables: Sequence[pa.Table], column: str) -> None:
        """Cut the target at its quantiles, so that group tests have classes to count."""
        kind = self.schema.columns[column].type
        values = np.concatenate([numbers(t.column(column), kind)[0] for t in tables] or [np.zeros(0)])
        values = values[np.isfinite(values)]
        quantiles = np.linspace(0, 1, _TARGET_BINS + 1)[1:-1]
        edges = np.unique(np.quantile(values, quantiles)) if len(values) else np.zeros(0)
        self.edges = edges[edges > values.min()] if len(values) else edges
        shown = [f"{edge:.6g}" for edge in self.edges]
        self.classes = (
            [f"below {shown[0]}"]
            + [f"{low} to {high}" for low, high in pairwise(shown)]
            + [f"{shown[-1]} or more"]
            if shown
            else ["any value"]
        )

    # -- encoding ----------------------------------------------------------------------------------------------------

    def encode(self, batch: pa.RecordBatch, start: int = 0, hashes: dict[str, U64] | None = None) -> Block:
        """Encode a batch whose first row is row `start` of its table."""
        n = batch.num_rows
        x = np.empty((n, len(self.parts)), dtype=np.float64, order="F")
        odd = np.zeros((n, len(self.parts)), dtype=bool, order="F")
        places = {name: place for place, name in enumerate(batch.schema.names)}
        column = ""
        measured: dict[str, F64] = {}
        for index, part in enumerate(self.parts):
            cells = batch.column(places[part.column])
            if part.column in self._bases:
                if part.column != column:
                    column = part.column
                    measured, odd[:, index] = self._vectors(cells, column)
                x[:, index] = measured[part.aspect]
            elif part.aspect in texts.ASPECTS:
                if part.column != column:
                    column, measured = part.column, texts.measures(text(cells))
                x[:, index] = measured[part.aspect]
            elif part.levels is not None and part.aspect in {"value", "common"}:
                x[:, index] = part.fold(codes(cells, part.levels))
            else:
                values, wrong = numbers(cells, self.schema.columns[part.column].type)
                x[:, index] = part.of_time(values)
                odd[:, index] = wrong if part.aspect == "value" else False
        signatures = [texts.signatures(text(batch.column(places[name]))) for name in self.texts]
        y, target = self._labels(batch, n)
        source = np.full(n, MISSING, dtype=np.int64)
        if self.schema.source:
            source = codes(batch.column(places[self.schema.source]), self.sources)
        hashes = hashes or self.hashes(batch)
        return Block(
            x=x,
            y=y,
            target=target,
            source=source,
            odd=odd,
            row=np.arange(start, start + n, dtype=np.int64),
            texts=np.stack(signatures, axis=1) if signatures else np.zeros((n, 0, texts.BINS), np.uint32),
            key=hashes["key"],
            content=hashes["content"],
            features=hashes["features"],
            admitted=hashes["admitted"],
        )

    def _vectors(self, cells: pa.Array, column: str) -> tuple[dict[str, F64], NDArray[np.bool_]]:
        """The parts of a column of vectors by aspect, and which cells are no vectors."""
        basis = self._bases[column]
        values, odd = vectors.matrix(cells, self.schema.columns[column].length or 0)
        return dict(zip(basis.aspects, basis.parts(values).T, strict=True)), odd

    def _labels(self, batch: pa.RecordBatch, n: int) -> tuple[I64, F64]:
        label = self.schema.label
        target = np.full(n, np.nan)
        if label is None:
            return np.full(n, MISSING, dtype=np.int64), target
        column = batch.column(batch.schema.get_field_index(label.column))
        if self.regression:
            target, _ = numbers(column, self.schema.columns[label.column].type)
            return self.bins(target), target
        return codes(column, self.classes), target

    def bins(self, target: F64) -> I64:
        """The quantile bin of each target value, -1 for NaN."""
        assert self.edges is not None
        found = np.searchsorted(self.edges, target, side="right").astype(np.int64)
        return np.where(np.isnan(target), MISSING, found)

    # -- words -------------------------------------------------------------------------------------------------------

    def describe(self, column: int, value: float) -> str:
        """A cell's value as a person would write it."""
        return self.parts[column].describe(value, self.schema.columns[self.parts[column].column].type)

    def class_name(self, code: int) -> str:
        """A class code as a person would write it."""
        if 0 <= code < len(self.classes):
            return self.classes[code]
        return "missing" if code == MISSING else "unknown"
