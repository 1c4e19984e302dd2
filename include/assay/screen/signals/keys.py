"""Keys that should not be there: twice in one batch with different content, or back after a reviewer's rejection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.encoding import F64, Block, Encoder
from assay.screen.explain import members
from assay.screen.hashing import U64
from assay.screen.rows import Rows
from assay.screen.signals.history import History, member_of

_HARD = 1e-12
_SOFT = 1e-4
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class Repeats:
    """Rows of one batch that share a key.

    Of two rows under one key with different content at most one is right. Where the accepted snapshot has the one, the
    other is the impostor and is quarantined; where it has neither, both are told, and nobody can say which is which.

    Args:
        keys: Key hashes of the batch, in row order.
        admitted: Hashes of all columns but key and source, in row order.
        history: The comparison with the accepted snapshot, if there is one.
    """

    name = "repeated_keys"
    technique = "AML.T0020"
    decisive = True
    subject = "impostors"

    def __init__(self, keys: U64, admitted: U64, history: History | None) -> None:
        n = len(keys)
        self.conflict: NDArray[np.bool_] = np.zeros(n, dtype=bool)
        self.impostor: NDArray[np.bool_] = np.zeros(n, dtype=bool)
        ordered = np.sort(keys)
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        rows = np.flatnonzero(member_of(keys, twice))  # few, as a rule: only these are looked at
        self.repeated, self.keys = len(rows) - len(twice), 0
        if not len(rows):
            return
        rows = rows[np.lexsort((admitted[rows], keys[rows]))]
        group = np.searchsorted(twice, keys[rows])
        other = (group[1:] == group[:-1]) & (admitted[rows][1:] != admitted[rows][:-1])
        conflicting = np.bincount(group[1:], weights=other, minlength=len(twice)) > 0
        self.keys = int(conflicting.sum())
        self.conflict[rows] = conflicting[group]
        if history is not None:
            vouched = (history.known | history.corrected)[rows]
            right = np.bincount(group, weights=vouched, minlength=len(twice)) > 0
            self.impostor[rows] = conflicting[group] & right[group] & ~vouched

    def score(self, block: Block) -> F64:
        """Tiny for impostors, small for rows of which another contradicts them, 1 for the rest."""
        p = np.ones(len(block))
        p[self.conflict[block.row] & ~block.known] = _SOFT
        p[self.impostor[block.row]] = _HARD
        return p

    def decides(self, block: Block) -> NDArray[np.bool_]:
        """Impostors."""
        return np.asarray(self.impostor[block.row])

    def subjects(self, block: Block) -> list[str]:
        """The group that each row belongs to."""
        return [self.subject if impostor else "" for impostor in self.impostor[block.row]]

    def explain(self, block: Block) -> list[str]:
        """What stands beside the row."""
        return [
            "another row of the batch carries the same key with the accepted content: this one is the impostor"
            if impostor
            else "another row of the batch carries the same key with other content"
            for impostor in self.impostor[block.row]
        ]

    def findings(self) -> list[Finding]:
        """One finding, where a key repeats."""
        if not self.repeated:
            return []
        impostors = int(self.impostor.sum())
        message = f"{self.repeated} rows repeat a key of the batch"
        message += (
            f"; {self.keys} keys stand there with different content"
            if self.keys
            else ", all of them unchanged"
        )
        if impostors:
            message += f", and {impostors} rows contradict the accepted snapshot"
        grave = Severity.HIGH if impostors else Severity.MEDIUM if self.keys else Severity.LOW
        return [
            Finding(
                check="screen.history.repeated_keys",
                outcome=Outcome.FAILED,
                severity=grave,
                scope=Scope.GROUP if impostors else Scope.DELIVERY,
                subject=self.subject if impostors else "",
                message=message,
                evidence={
                    "repeated": self.repeated,
                    "conflicting_keys": self.keys,
                    "impostors": impostors,
                    **members(np.flatnonzero(self.impostor if impostors else self.conflict)),
                },
                technique=self.technique,
            )
        ]


class Resurrected:
    """Rows that a reviewer rejected, delivered again.

    The same key with the same content is the rejected row itself, and is quarantined. The same key with other content
    may be an honest second try; it is told, and ranks high.

    Args:
        encoder: Hashes rows.
        rejected: Rows that were rejected, with the contract's columns.
        keys: Key hashes of the batch, in row order.
        admitted: Hashes of all columns but key and source, in row order.
        batch_rows: Rows read at a time.
    """

    name = "resurrected"
    technique = "AML.T0020"
    decisive = True
    subject = "resurrected rows"

    def __init__(self, encoder: Encoder, rejected: Rows, keys: U64, admitted: U64, batch_rows: int) -> None:
        old_keys, old_pairs = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        with np.errstate(over="ignore"):
            for number, batch in enumerate(rejected.batches(batch_rows)):
                if number == 0:
                    encoder.check_columns(batch.schema, rejected.name)
                found = encoder.hashes(batch.select(list(encoder.schema.columns)))
                old_keys.append(found["key"])
                old_pairs.append(found["key"] ^ (found["admitted"] * _SPREAD))
            pairs = keys ^ (admitted * _SPREAD)
        self.rows = sum(len(part) for part in old_keys)
        self.same = member_of(pairs, np.unique(np.concatenate(old_pairs)))
        self.returned = member_of(keys, np.unique(np.concatenate(old_keys))) & ~self.same

    def score(self, block: Block) -> F64:
        """Tiny for the rejected row itself, small for another row under its key, 1 for the rest."""
        p = np.ones(len(block))
        p[self.returned[block.row] & ~block.known] = _SOFT
        p[self.same[block.row]] = _HARD
        return p

    def decides(self, block: Block) -> NDArray[np.bool_]:
        """Rows that were rejected as they are."""
        return np.asarray(self.same[block.row])

    def subjects(self, block: Block) -> list[str]:
        """The group that each row belongs to."""
        return [self.subject if same else "" for same in self.same[block.row]]

    def explain(self, block: Block) -> list[str]:
        """What was rejected."""
        return [
            "a reviewer rejected this very row before"
            if same
            else "a reviewer rejected a row with this key before; its content is another one now"
            for same in self.same[block.row]
        ]

    def findings(self) -> list[Finding]:
        """Whether rejected rows are back."""
        same, returned = int(self.same.sum()), int(self.returned.sum())
        return [
            Finding(
                check="screen.history.resurrected",
                outcome=Outcome.FAILED if same else Outcome.PASSED,
                severity=Severity.HIGH if same else Severity.INFO,
                scope=Scope.GROUP if same else Scope.DELIVERY,
                subject=self.subject if same else "",
                message=f"{self.rows} rows were rejected before: {same} are back unchanged, {returned} keys with "
                "other content",
                evidence={
                    "rejected_rows": self.rows,
                    "returned": returned,
                    **members(np.flatnonzero(self.same)),
                },
                technique=self.technique if same else None,
            )
        ]
