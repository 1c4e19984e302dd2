"""Rewritten history: rows whose key stands in the accepted snapshot with other content.

A model that retrains on a feed trusts its past twice. Rows that were admitted once must come back unchanged: the
columns that the contract calls immutable, and the label. Where the contract names no immutable columns, any change
counts. A change that the publisher's signed correction list names exactly, for a row of that publisher's own source, is
no rewriting: it is told as a correction, and the row is judged like a new one. Keys that the snapshot had and a full
re-delivery lacks are told too, and so is a class that loses more of them than chance takes.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.contract.models import Contract
from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.corrections import Corrections, Credit
from assay.screen.encoding import F64, Block, Encoder
from assay.screen.explain import members, shown
from assay.screen.hashing import U64
from assay.screen.rows import Rows

_COMPARE_LIMIT = 100_000
_HARD = 1e-12
_SOFT = 1e-4
_CELLS = 1 << 22
_EXAMPLES = 5
_CHANGES = 6
_MANY_VANISHED = 0.01
_CLASS_LEVEL = 1e-3


class History:
    """The comparison of one batch with the accepted snapshot, by key.

    Args:
        contract: Names key, immutable columns, label and source.
        encoder: Hashes rows and cells.
        previous: The accepted snapshot.
        keys: Key hashes of the batch, in row order.
        corrections: The correction lists that came with the batch.

    Attributes:
        known: Per batch row: stands unchanged in the snapshot.
        changed: Per batch row: the key stands in the snapshot, with other content that no correction explains.
        corrected: Per batch row: every change is a correction that counts.
        rewritten: Per batch row: changed in what may not change.
    """

    name = "history"
    technique = "AML.T0020"
    decisive = True
    subject = "rewritten history"

    def __init__(
        self,
        contract: Contract,
        encoder: Encoder,
        previous: Rows,
        keys: U64,
        corrections: Sequence[Corrections] = (),
    ) -> None:
        self._contract = contract
        self._encoder = encoder
        self._previous = previous
        self._batch_rows = contract.screen.batch_rows
        self._keys = keys
        self._secret = secrets.token_bytes(32)
        old_keys, old_rows = [], []
        for start, batch in enumerate(previous.batches(self._batch_rows)):
            if start == 0:
                encoder.check_columns(batch.schema, previous.name)
            known = batch.select(list(encoder.schema.columns))
            old_keys.append(encoder.hashes(known)["key"])
            old_rows.append(self._digests(known))
        key = np.concatenate(old_keys) if old_keys else np.zeros(0, np.uint64)
        self._accepted = np.unique(np.concatenate(old_rows)) if old_rows else np.zeros(0, np.uint64)
        self.rows = len(key)
        key = np.unique(key)
        there = member_of(keys, key)
        self.known: NDArray[np.bool_] = np.zeros(len(keys), dtype=bool)
        self.changed = there
        self.corrected: NDArray[np.bool_] = np.zeros(len(keys), dtype=bool)
        self.overlap = int(there.sum())
        self.missing = int(len(key) - member_of(key, np.unique(keys)).sum())
        self._credit = Credit(corrections, contract, self.rows) if corrections else None
        self._what: dict[int, list[str]] = {}
        self._why: dict[int, list[str]] = {}
        self.rewritten: NDArray[np.bool_] = np.zeros(len(keys), dtype=bool)
        self._vanished: dict[str, Any] = {}

    def compare(self, batch: Rows) -> None:
        """Find out which rows changed, and in which columns.

        The columns of at most 100,000 rows are compared; beyond those any change counts as hard.
        """
        digests = [
            self._digests(part.select(list(self._encoder.schema.columns)))
            for part in batch.batches(self._batch_rows)
        ]
        if digests:
            self.known = self.changed & member_of(np.concatenate(digests), self._accepted)
            self.changed = self.changed & ~self.known
        if self._full and self.missing:
            self._lose()
        rows = np.flatnonzero(self.changed)
        if not len(rows):
            return
        self.rewritten[rows[_COMPARE_LIMIT:]] = True
        rows = rows[:_COMPARE_LIMIT]
        schema = self._encoder.schema
        wanted = np.unique(self._keys[rows])
        columns = [c for c in schema.columns if c not in schema.key]
        old = self._cells(self._previous, wanted, columns)
        picked = batch.picked(rows, list(schema.columns), self._batch_rows)
        new = pa.Table.from_batches([some for _, some in picked])
        place = np.searchsorted(wanted, self._keys[rows])
        held = self._held(columns)
        own = self._own_source(new, old, place)
        keys = [new.column(name).to_pylist() for name in schema.key] if self._credit else []
        open_rows: set[int] = set()
        for column in columns:
            if column == schema.source:
                continue
            cells = np.concatenate([self._encoder.cells(b, column) for b in new.to_batches()])
            before, after = old["text:" + column], new.column(column)
            for i in np.flatnonzero(cells != old[column][place]):
                row, was, now = int(rows[i]), before[int(place[i])], after[int(i)].as_py()
                what = self._what.setdefault(row, [])
                if len(what) < _CHANGES:
                    what.append(f"{column}: {shown(was)} became {shown(now)}")
                reason = None
                if self._credit is not None and own[i]:
                    reason = self._credit.reason(row, [values[i] for values in keys], column, was, now)
                if reason is not None:
                    self._why.setdefault(row, []).append(reason)
                    continue
                open_rows.add(row)
                if column in held:
                    self.rewritten[row] = True
        mended = np.array(sorted(set(self._why) - open_rows), dtype=np.int64)
        self.corrected[mended] = True
        self.changed[mended] = False

    def _digests(self, batch: pa.RecordBatch) -> U64:
        """Keyed digests of rows, source left out.

        Whoever knows how cells are hashed can choose one number of a row so that a plain sum of hashes stays what it
        was. A row that is taken for accepted is not judged any more, so that nobody outside may know this key.
        """
        names = [name for name in self._encoder.schema.columns if name != self._encoder.schema.source]
        width, step = 8 * len(names), max(1, _CELLS // len(names))
        out = []
        for start in range(0, batch.num_rows, step):
            part = batch.slice(start, step)
            rows = memoryview(np.column_stack([self._encoder.cells(part, name) for name in names]).tobytes())
            out += [
                blake2b(rows[at : at + width], key=self._secret, digest_size=8).digest()
                for at in range(0, len(rows), width)
            ]
        return np.frombuffer(b"".join(out), dtype=np.uint64)

    @property
    def _full(self) -> bool:
        """Whether the batch looks like the whole snapshot come again, so that what it lacks means something."""
        return self.rows > 0 and self.overlap >= self.rows / 2

    def _held(self, columns: list[str]) -> set[str]:
        """Columns in which no change is allowed; without a list of immutable ones, all but source and ignored ones."""
        schema = self._encoder.schema
        held = set(schema.immutable) or {c for c in columns if c not in schema.ignore}
        if schema.label:
            held.add(schema.label.column)
        return held - {schema.source or ""}

    def _own_source(self, new: pa.Table, old: dict[str, Any], place: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which changed rows come from the source that their accepted row came from."""
        source = self._encoder.schema.source
        if source is None:
            return np.ones(len(place), dtype=bool)
        before = old["text:" + source]
        return np.array(
            [
                before[p] is None or before[p] == now
                for p, now in zip(place, new[source].to_pylist(), strict=True)
            ]
        )

    def _cells(self, table: Rows, wanted: U64, columns: list[str]) -> dict[str, Any]:
        out: dict[str, Any] = {c: np.zeros(len(wanted), dtype=np.uint64) for c in columns}
        out.update({"text:" + c: np.empty(len(wanted), dtype=object) for c in columns})
        for batch in table.batches(self._batch_rows):
            batch = batch.select(list(self._encoder.schema.columns))
            keys = self._encoder.hashes(batch)["key"]
            mine = np.flatnonzero(member_of(keys, wanted))
            if not len(mine):
                continue
            some = batch.take(pa.array(mine))
            place = np.searchsorted(wanted, keys[mine])
            for column in columns:
                out[column][place] = self._encoder.cells(some, column)
                out["text:" + column][place] = some.column(column).to_pylist()
        return out

    def _lose(self) -> None:
        """Name some of the vanished keys, and test whether one class lost more rows than its share."""
        schema, here = self._encoder.schema, np.unique(self._keys)
        label = schema.label.column if schema.label and schema.label.classes is not None else None
        examples: list[str] = []
        every: dict[str, int] = {}
        gone: dict[str, int] = {}
        for batch in self._previous.batches(self._batch_rows):
            keys = self._encoder.hashes(batch.select(list(schema.columns)))["key"]
            lost = np.flatnonzero(~member_of(keys, here))
            if len(examples) < _EXAMPLES:
                cells = batch.select(list(schema.key)).take(pa.array(lost[:_EXAMPLES])).to_pylist()
                examples += [", ".join(f"{k} {shown(v)}" for k, v in cell.items()) for cell in cells]
            if label is not None:
                values = batch.column(batch.schema.get_field_index(label))
                for column, counts in ((values, every), (values.take(pa.array(lost)), gone)):
                    for item in column.value_counts().to_pylist():
                        counts[str(item["values"])] = counts.get(str(item["values"]), 0) + item["counts"]
        self._vanished = {"examples": examples[:_EXAMPLES], **_partial(every, gone)}

    def score(self, block: Block) -> F64:
        """Tiny for a change that the contract forbids, small for another change, 1 for the rest."""
        p = np.ones(len(block))
        p[self.changed[block.row]] = _SOFT
        p[self.rewritten[block.row]] = _HARD
        return p

    def decides(self, block: Block) -> NDArray[np.bool_]:
        """Rows whose change the contract forbids."""
        return np.asarray(self.rewritten[block.row])

    def subjects(self, block: Block) -> list[str]:
        """The group that each row belongs to."""
        return [self.subject if hard else "" for hard in self.rewritten[block.row]]

    def explain(self, block: Block) -> list[str]:
        """What changed, from what to what."""
        out = []
        for row in block.row:
            what = "; ".join(self._what.get(int(row), ["the row differs from the accepted snapshot"]))
            kind = "forbidden" if self.rewritten[row] else "unusual"
            out.append(f"{kind} change of accepted history under the same key: {what}")
        return out

    def findings(self) -> list[Finding]:
        """Changed, corrected and vanished keys, and what became of each correction list."""
        changed, hard = int(self.changed.sum()), int(self.rewritten.sum())
        out = [
            Finding(
                check="screen.history",
                outcome=Outcome.FAILED if hard else Outcome.PASSED,
                severity=Severity.HIGH if hard else Severity.INFO,
                scope=Scope.GROUP if hard else Scope.DELIVERY,
                subject=self.subject if hard else "",
                message=f"{self.overlap} rows carry keys of the accepted snapshot ({self.rows} rows): "
                f"{changed} changed, {hard} of them in columns that must not change",
                evidence={
                    "overlap": self.overlap,
                    "changed": changed,
                    "forbidden": hard,
                    **members(np.flatnonzero(self.rewritten)),
                    "examples": self._examples(self.changed, self._what),
                },
                technique=self.technique if hard else None,
            )
        ]
        if self.corrected.any():
            out.append(self._corrections())
        if self._credit is not None:
            out += self._credit.findings()
        if self._full and self.missing:
            out.append(self._loss())
        return out

    def _examples(self, mask: NDArray[np.bool_], texts: dict[int, list[str]]) -> list[dict[str, Any]]:
        return [
            {"row": row, "changes": texts.get(row, [])} for row in np.flatnonzero(mask)[:_EXAMPLES].tolist()
        ]

    def _corrections(self) -> Finding:
        rows = np.flatnonzero(self.corrected)
        reasons = sorted({reason for row in rows.tolist() for reason in self._why[row]})
        return Finding(
            check="screen.history.corrected",
            outcome=Outcome.PASSED,
            scope=Scope.GROUP,
            subject="corrected history",
            message=f"{len(rows)} accepted rows change as a signed correction list says",
            evidence={
                **members(rows),
                "examples": self._examples(self.corrected, self._what),
                "reasons": reasons[:_EXAMPLES],
            },
        )

    def _loss(self) -> Finding:
        partial = self._vanished.get("class_p_value", 1.0) <= _CLASS_LEVEL
        many = self.missing > _MANY_VANISHED * self.rows
        message = f"{self.missing} keys of the accepted snapshot are gone from this re-delivery"
        if partial:
            message += (
                f"; {self._vanished['class_share']:.0%} of them are labelled {self._vanished['class']!r}, which "
                f"{self._vanished['class_share_before']:.0%} of the snapshot are"
            )
        return Finding(
            check="screen.history.vanished",
            outcome=Outcome.FAILED if many or partial else Outcome.PASSED,
            severity=Severity.MEDIUM if many or partial else Severity.INFO,
            message=message,
            evidence={"vanished": self.missing, "snapshot_rows": self.rows, **self._vanished},
            technique=self.technique if many or partial else None,
        )


def _partial(every: dict[str, int], gone: dict[str, int]) -> dict[str, Any]:
    """The class that lost the most against its share: exact hypergeometric test, Bonferroni over the classes."""
    from scipy.stats import hypergeom

    total, lost = sum(every.values()), sum(gone.values())
    if not lost or len(every) < 2:
        return {}
    tails = {
        name: float(hypergeom(total, count, lost).sf(gone.get(name, 0) - 1))
        for name, count in sorted(every.items())
    }
    name = min(tails, key=lambda each: (tails[each], each))
    return {
        "class": name,
        "class_share": gone.get(name, 0) / lost,
        "class_share_before": every[name] / total,
        "class_p_value": min(1.0, tails[name] * len(every)),
    }


def member_of(values: U64, ordered: U64) -> NDArray[np.bool_]:
    """Which values stand in a sorted array."""
    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[place] == values)
