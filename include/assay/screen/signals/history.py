"""Rewritten history: rows whose key stands in the accepted snapshot with other content.

A model that retrains on a feed trusts its past twice. Rows that were admitted once must come back unchanged: the
columns that the contract calls immutable, and the label. Where the contract names no immutable columns, any change
counts. Keys that the snapshot had and a full re-delivery lacks are told as a finding.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.encoding import F64, Block, Encoder
from assay.screen.hashing import U64
from assay.screen.rows import Rows

_COMPARE_LIMIT = 100_000
_HARD = 1e-12
_SOFT = 1e-4


class History:
    """The comparison of one batch with the accepted snapshot, by key.

    Args:
        encoder: Hashes rows and cells.
        previous: The accepted snapshot.
        keys: Key hashes of the batch, in row order.
        admitted: Hashes of all columns but key and source, in row order.
        batch_rows: Rows read at a time.

    Attributes:
        known: Per batch row: stands unchanged in the snapshot.
        changed: Per batch row: the key stands in the snapshot, with other content.
    """

    name = "history"
    technique = "AML.T0020"
    decisive = True

    def __init__(self, encoder: Encoder, previous: Rows, keys: U64, admitted: U64, batch_rows: int) -> None:
        self._encoder = encoder
        self._previous = previous
        self._batch_rows = batch_rows
        old_keys, old_rows = [], []
        for start, batch in enumerate(previous.batches(batch_rows)):
            if start == 0:
                encoder.check_columns(batch.schema, previous.name)
            found = encoder.hashes(batch.select(list(encoder.schema.columns)))
            old_keys.append(found["key"])
            old_rows.append(found["admitted"])
        key = np.concatenate(old_keys) if old_keys else np.zeros(0, np.uint64)
        row = np.concatenate(old_rows) if old_rows else np.zeros(0, np.uint64)
        self.rows = len(key)
        with np.errstate(over="ignore"):
            pair = np.unique(key ^ (row * np.uint64(0x9E3779B97F4A7C15)))
            mine = keys ^ (admitted * np.uint64(0x9E3779B97F4A7C15))
        key = np.unique(key)
        there = _member(keys, key)
        self.known = there & _member(mine, pair)
        self.changed = there & ~self.known
        self.overlap = int(there.sum())
        self.missing = int(len(key) - _member(key, np.unique(keys)).sum())
        self.repeated = int(len(keys) - len(np.unique(keys)))
        self._what: dict[int, list[str]] = {}
        self._hard: NDArray[np.bool_] = np.zeros(len(keys), dtype=bool)

    def compare(self, batch: Rows, keys: U64) -> None:
        """Find out which columns changed, for at most 100,000 changed rows; beyond those any change counts as hard."""
        rows = np.flatnonzero(self.changed)
        if not len(rows):
            return
        self._hard[rows[_COMPARE_LIMIT:]] = True
        rows = rows[:_COMPARE_LIMIT]
        wanted = np.unique(keys[rows])
        columns = [c for c in self._encoder.schema.columns if c not in {*self._encoder.schema.key}]
        old = self._cells(self._previous, wanted, columns)
        new_table = self._pick(batch, rows)
        schema = self._encoder.schema
        label = schema.label.column if schema.label else None
        # Without a list of immutable columns nothing but the source of a row may change.
        held = set(schema.immutable) or {c for c in columns if c not in schema.ignore}
        if label:
            held.add(label)
        held.discard(schema.source or "")
        place = np.searchsorted(wanted, keys[rows])
        for column in columns:
            if column == schema.source:
                continue
            new = np.concatenate([self._encoder.cells(b, column) for b in new_table.to_batches()])
            differs = np.flatnonzero(new != old[column][place])
            before = old["text:" + column]
            after = new_table.column(column)
            for i in differs:
                row = int(rows[i])
                if len(self._what.setdefault(row, [])) < 6:
                    self._what[row].append(
                        f"{column}: {before[int(place[i])]!r} became {after[int(i)].as_py()!r}"
                    )
                if column in held:
                    self._hard[row] = True

    def _cells(self, table: Rows, wanted: U64, columns: list[str]) -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {c: np.zeros(len(wanted), dtype=np.uint64) for c in columns}
        out.update({"text:" + c: np.empty(len(wanted), dtype=object) for c in columns})
        for batch in table.batches(self._batch_rows):
            batch = batch.select(list(self._encoder.schema.columns))
            keys = self._encoder.hashes(batch)["key"]
            mine = np.flatnonzero(_member(keys, wanted))
            if not len(mine):
                continue
            some = batch.take(pa.array(mine))
            place = np.searchsorted(wanted, keys[mine])
            for column in columns:
                out[column][place] = self._encoder.cells(some, column)
                out["text:" + column][place] = some.column(column).to_pylist()
        return out

    def _pick(self, table: Rows, rows: NDArray[np.int64]) -> pa.Table:
        parts, start = [], 0
        for batch in table.batches(self._batch_rows):
            low, high = np.searchsorted(rows, [start, start + batch.num_rows])
            if high > low:
                some = batch.select(list(self._encoder.schema.columns))
                parts.append(some.take(pa.array(rows[low:high] - start)))
            start += batch.num_rows
        return pa.Table.from_batches(parts)

    def score(self, block: Block) -> F64:
        """Tiny for a change that the contract forbids, small for another change, 1 for the rest."""
        p = np.ones(len(block))
        p[self.changed[block.row]] = _SOFT
        p[self._hard[block.row]] = _HARD
        return p

    def decides(self, block: Block) -> NDArray[np.bool_]:
        """Rows whose change the contract forbids."""
        return np.asarray(self._hard[block.row])

    def explain(self, block: Block) -> list[str]:
        """What changed, from what to what."""
        out = []
        for row in block.row:
            what = "; ".join(self._what.get(int(row), ["the row differs from the accepted snapshot"]))
            kind = "forbidden" if self._hard[row] else "unusual"
            out.append(f"{kind} change of accepted history under the same key: {what}")
        return out

    def findings(self) -> list[Finding]:
        """Changed, vanished and repeated keys."""
        out = []
        changed, hard = int(self.changed.sum()), int(self._hard.sum())
        examples = [
            {"row": row, "changes": self._what.get(row, [])}
            for row in np.flatnonzero(self.changed)[:5].tolist()
        ]
        out.append(
            Finding(
                check="screen.history",
                outcome=Outcome.FAILED if hard else Outcome.PASSED,
                severity=Severity.HIGH if hard else Severity.INFO,
                scope=Scope.GROUP if hard else Scope.DELIVERY,
                subject="rewritten history" if hard else "",
                message=f"{self.overlap} rows carry keys of the accepted snapshot ({self.rows} rows): "
                f"{changed} changed, {hard} of them in columns that must not change",
                evidence={
                    "overlap": self.overlap,
                    "changed": changed,
                    "forbidden": hard,
                    "examples": examples,
                },
                technique=self.technique if hard else None,
            )
        )
        full = self.rows > 0 and self.overlap >= self.rows / 2
        if full and self.missing:
            out.append(
                Finding(
                    check="screen.history.vanished",
                    outcome=Outcome.FAILED if self.missing > 0.01 * self.rows else Outcome.PASSED,
                    severity=Severity.MEDIUM,
                    message=f"{self.missing} keys of the accepted snapshot are gone from this re-delivery",
                    evidence={"vanished": self.missing, "snapshot_rows": self.rows},
                    technique=self.technique,
                )
            )
        if self.repeated:
            out.append(
                Finding(
                    check="screen.history.repeated_keys",
                    outcome=Outcome.FAILED,
                    severity=Severity.MEDIUM,
                    message=f"{self.repeated} rows repeat a key that stands earlier in the batch",
                    evidence={"repeated": self.repeated},
                )
            )
        return out


def _member(values: U64, ordered: U64) -> NDArray[np.bool_]:
    """Which values stand in a sorted array."""
    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[place] == values)
