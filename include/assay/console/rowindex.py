"""The rows of a case, opened once: unsealed into a private file that has no name any more, and an index in memory.

Rows under seal are Parquet, encrypted as a whole: a page cannot be read out of the middle. At the first look they are
unsealed once, written as Arrow into an unnamed file of the scratch space and mapped from there; the index keeps number,
score and p-value of each row, and which orders and filters were asked for. Every further page reads its own rows only.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.console.errors import BadQuery
from assay.line.cells import MAX_TEXT, cell
from assay.quarantine.rows import ADDED
from assay.store import ObjectStore

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_READ = 16_384
_KEPT = 12


class RowIndex:
    """The rows of one sealed object. Immutable, so that it can be shared; what it computes is kept, and bounded.

    Args:
        store: Where the object is.
        sha256: The object.
        work_dir: Scratch space for the unnamed file.
    """

    def __init__(self, store: ObjectStore, sha256: str, work_dir: Path) -> None:
        self._map = _mapped(store, sha256, work_dir)
        self.table: pa.Table = pa.ipc.open_file(self._map).read_all()
        self.numbers: Numbers = np.asarray(self.table["_row"].to_numpy(), dtype=np.int64)
        self.scores = _floats(self.table["_score"])
        self.p_values = _floats(self.table["_p_value"])
        self._lock = threading.RLock()
        self._orders: OrderedDict[str, Numbers] = OrderedDict()
        self._masks: OrderedDict[str, Mask] = OrderedDict()
        self._signals: dict[str, Mask] | None = None

    @property
    def weight(self) -> int:
        """Bytes in memory, about: what is mapped is the system's to keep or drop."""
        return len(self.numbers) * (24 + 9 * _KEPT) + 10_000

    @property
    def columns(self) -> list[str]:
        """The original columns."""
        return [name for name in self.table.column_names if name not in ADDED.names]

    def place(self, row: int) -> int | None:
        """Where the row of a number stands; None if it is not in the case."""
        at = int(np.searchsorted(self.numbers, row))
        return at if at < len(self.numbers) and self.numbers[at] == row else None

    def among(self, rows: Numbers) -> Mask:
        """Which rows of the case are among these numbers."""
        return np.isin(self.numbers, rows)

    @property
    def signals(self) -> dict[str, Mask]:
        """Which rows each signal speaks of, by its name at the beginning of a reason."""
        with self._lock:
            if self._signals is None:
                self._signals = self._find_signals()
            return self._signals

    def order(self, column: str, *, falling: bool) -> Numbers:
        """Places in the order of a column; rows of equal value by number, those without a value last.

        Raises:
            BadQuery: There is no such column, or it has no order.
        """
        name = {"row": "_row", "score": "_score", "p_value": "_p_value"}.get(column, column)
        if name not in self.table.column_names or name == "_reasons":
            raise BadQuery(
                f"the rows cannot be sorted by {column[:80]!a}",
                expected=", ".join(["score", "row", *self.columns])[:500],
            )

        def compute() -> Numbers:
            direction = "descending" if falling else "ascending"
            keys = [(name, direction, "at_end")]
            if name != "_row":
                keys.append(("_row", "ascending", "at_end"))
            try:
                chosen = self.table.select(list(dict.fromkeys([name, "_row"])))
                found = pc.sort_indices(chosen, sort_keys=keys)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                raise BadQuery(f"the column {column[:80]!a} has no order") from error
            return np.asarray(found.to_numpy(), dtype=np.int64)

        return self._kept(self._orders, f"{name}/{falling}", compute)

    def matching(self, text: str) -> Mask:
        """Which rows have a text in one of their values, without regard to case, or it as a number or row number."""

        def compute() -> Mask:
            mask = np.zeros(len(self.numbers), dtype=bool)
            for name in self.columns:
                column = self.table[name]
                if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                    hit = pc.match_substring(column, text, ignore_case=True)
                else:
                    try:
                        hit = pc.equal(column, pa.scalar(text).cast(column.type))
                    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
                        continue
                mask |= np.asarray(pc.fill_null(hit, False))
            if text.isascii() and text.isdecimal() and len(text) < 19:
                mask |= self.numbers == int(text)
            return mask

        return self._kept(self._masks, f"q/{text}", compute)

    def read(
        self, places: Sequence[int] | Numbers, columns: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """The rows at these places, as cells for JSON; long texts are cut before they leave Arrow."""
        names = self.columns if columns is None else list(columns)
        some = self.table.select([*names, "_reasons"]).take(pa.array(np.asarray(places, dtype=np.int64)))
        shown = {name: _shown(some[name]) for name in names}
        reasons = some["_reasons"].to_pylist()
        return [
            {
                "row": int(self.numbers[place]),
                "score": _or_none(self.scores[place]),
                "p_value": _or_none(self.p_values[place]),
                "reasons": reasons[i] or [],
                "values": {name: shown[name][i] for name in names},
            }
            for i, place in enumerate(places)
        ]

    def _find_signals(self) -> dict[str, Mask]:
        column = self.table["_reasons"].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
        texts, owners = pc.list_flatten(column), pc.list_parent_indices(column)
        if not len(texts):
            return {}
        names = pc.struct_field(pc.extract_regex(texts, pattern="^(?P<name>[^:\n]{1,200}):"), "name")
        names, owners = pc.fill_null(names, ""), np.asarray(owners)
        coded = pc.dictionary_encode(names)
        codes = np.asarray(coded.indices)
        found: dict[str, Mask] = {}
        for code, name in enumerate(coded.dictionary.to_pylist()):
            if name:
                mask = np.zeros(len(self.numbers), dtype=bool)
                mask[owners[codes == code]] = True
                found[name] = mask
        counts = Counter({name: int(mask.sum()) for name, mask in found.items()})
        return {
            name: found[name] for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:40]
        }

    def _kept(self, where: OrderedDict[str, npt.NDArray[Any]], name: str, compute: Any) -> npt.NDArray[Any]:
        with self._lock:
            if name not in where:
                where[name] = compute()
                while len(where) > _KEPT:
                    where.popitem(last=False)
            where.move_to_end(name)
            return where[name]


def _mapped(store: ObjectStore, sha256: str, work_dir: Path) -> pa.MemoryMappedFile:
    """The object as an Arrow file in a mapping whose file has no name any more."""
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".rows-", dir=work_dir)  # for the owner alone
    os.close(handle)
    try:
        with store.open(sha256) as sealed, pq.ParquetFile(sealed) as file, pa.OSFile(name, "wb") as sink:
            schema = file.schema_arrow
            with pa.ipc.new_file(sink, schema) as writer:
                for batch in file.iter_batches(_READ):
                    writer.write_batch(batch)
        return pa.memory_map(name)
    finally:
        os.unlink(name)


def _shown(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        lengths = pc.utf8_length(column).to_pylist()
        if max((n for n in lengths if n is not None), default=0) > MAX_TEXT:
            cut = pc.utf8_slice_codeunits(column, 0, MAX_TEXT).to_pylist()
            return [
                text
                if length is None or length <= MAX_TEXT
                else {"text": text, "length": length, "truncated": True}
                for text, length in zip(cut, lengths, strict=True)
            ]
    return [cell(value) for value in column.to_pylist()]


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(), dtype=np.float64)


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
