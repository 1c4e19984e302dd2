"""Puts the signals together: sample, fit, score in batches, fuse, cut, explain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.screen import verdicts
from assay.screen.calibration import Calibrator
from assay.screen.context import MIN_REFERENCE, Context
from assay.screen.corrections import Corrections
from assay.screen.encoding import F64, Block, Encoder, join
from assay.screen.errors import NotApplicable
from assay.screen.features import Features
from assay.screen.fusion import Fusion
from assay.screen.hashing import mix
from assay.screen.report import ScreenReport
from assay.screen.rows import Rows, as_rows
from assay.screen.sampling import Sample, draw
from assay.screen.signals.drift import Drift
from assay.screen.signals.duplicates import Duplicates
from assay.screen.signals.history import History
from assay.screen.signals.invariants import Invariants
from assay.screen.signals.keys import Repeats, Resurrected
from assay.screen.signals.labels import Labels
from assay.screen.signals.outliers import Outliers
from assay.screen.signals.ranges import Ranges
from assay.screen.signals.ratios import Ratios
from assay.screen.signals.residuals import Residuals
from assay.screen.signals.sources import Sources
from assay.screen.signals.spikes import Spikes
from assay.screen.signals.targets import Targets
from assay.screen.signals.text import Texts
from assay.screen.signals.values import Values

if TYPE_CHECKING:
    from assay.screen.rows import Tabular

_PARALLEL = 30_000
_OWN_ROWS = 0.9


def screen(
    batch: Tabular,
    contract: Contract,
    *,
    trusted: Tabular | None = None,
    previous: Tabular | None = None,
    seed: int = 0,
    corrections: Sequence[Corrections] = (),
    rejected: Tabular | None = None,
) -> ScreenReport:
    """Screen a batch for poisoned rows.

    Detectors are fitted on at most `contract.screen.fit_rows` rows, chosen by content, and score the batch
    `contract.screen.batch_rows` rows at a time. The same rows, contract and seed give the same report, and a row's
    verdict does not depend on its place in the batch.

    Args:
        batch: The rows to judge: a pyarrow Table or RecordBatchReader, a pandas DataFrame, or the path of a Parquet
            or CSV file.
        contract: Names key, source, label and feature columns, the false-discovery rate and the bounds.
        trusted: A small hand-checked set with the same columns. Scores are calibrated on it; without it the batch
            is compared with itself, which is a weaker claim, and the findings say so.
        previous: The accepted snapshot, compared by key.
        seed: Seeds sampling and models.
        corrections: Correction lists that came with the batch (see `assay.screen.corrections`): changes of the accepted
            snapshot that they name exactly are no rewritten history.
        rejected: Rows that reviewers rejected before, compared by key: they must not come back.

    Raises:
        ScreenError: Columns are missing, or a table cannot be read.
        ScreenUsageError: One of the tables is of no supported kind.
    """
    return _Screening(contract, seed).run(batch, trusted, previous, corrections, rejected)


class _Screening:
    """One call of `screen`."""

    def __init__(self, contract: Contract, seed: int) -> None:
        self.contract = contract
        self.seed = seed
        self.encoder = Encoder(contract)
        self.findings: list[Finding] = []
        self.soft: list[Any] = []
        self.groups: list[Any] = []
        self.sources: Sources | None = None
        self.history: History | None = None
        self.why_held: list[str] = []
        self._fusion: Fusion | None = None

    def run(
        self,
        batch: Tabular,
        trusted: Tabular | None,
        previous: Tabular | None,
        corrections: Sequence[Corrections],
        rejected: Tabular | None,
    ) -> ScreenReport:
        rows = as_rows(batch, self.contract, "batch")
        sample = self._draw(rows, self.contract.screen.fit_rows)
        if sample.rows == 0:
            self._not_checked("batch", "the batch has no rows")
            hold = self.contract.screen.hold_delivery_above
            return ScreenReport(verdicts.empty(), self.findings, "batch", 0, hold)
        sound = None
        if trusted is not None:
            sound = self._draw(as_rows(trusted, self.contract, "trusted set"), self.contract.screen.fit_rows)
            sound = None if self._judges_itself(sample, sound) else sound
        past = as_rows(previous, self.contract, "accepted snapshot") if previous is not None else None
        accepted = self._compare(past, rows, sample, corrections)
        self._compare_keys(rejected, sample)
        with _threads(sample.rows):
            return self._judged(rows, sample, sound, accepted)

    def _judged(
        self, rows: Rows, sample: Sample, sound: Sample | None, accepted: Sample | None
    ) -> ScreenReport:
        self.encoder.fit([t.table for t in (sample, sound, accepted) if t is not None])
        context = self._context(sample, sound, accepted)
        self._fit(context)
        tier = "batch" + "".join(
            name
            for name, there in (
                ("+trusted", sound is not None and sound.rows >= MIN_REFERENCE),
                ("+sources", self.sources is not None),
                ("+previous", self.history is not None),
            )
            if there
        )
        scored = verdicts.judge(self, context, self._blocks(rows, sample.hashes))
        table, explainer = verdicts.table(self, context, scored, rows, sound)
        for signal in (*self.soft, *self.groups):
            self.findings += signal.findings()
        if self.sources is not None:
            self.findings += self.sources.findings()
        self.findings += verdicts.batch_findings(self, context, scored)
        self._drift(context)
        self.findings = explainer.told(self.findings)
        quarantined, limit = int(scored.quarantine.sum()), self.contract.screen.hold_delivery_above
        return ScreenReport(
            table,
            self.findings,
            tier,
            quarantined,
            limit,
            tuple(self.why_held),
            explainer.groups,
            explainer.nearest,
        )

    def _drift(self, context: Context) -> None:
        drift = Drift()
        if not self._try(drift, context):
            return
        self.findings += drift.findings()
        hold = self.contract.screen.hold_on_drift
        if (drift.grade == "large" and hold != "never") or (drift.grade != "none" and hold == "any"):
            self.why_held.append(f"{drift.grade} drift: {drift.summary}")

    def _draw(self, rows: Rows, size: int) -> Sample:
        return draw(rows, self.encoder, size, self.seed, self.contract.screen.batch_rows)

    def _judges_itself(self, sample: Sample, sound: Sample) -> bool:
        """Whether the trusted rows are the batch: poison would be calibrated on itself."""
        if not self.contract.schema_.key:
            return False  # without keys, rows that look the same may be others
        mine, theirs = (mix(each.hashes["key"]) ^ each.hashes["admitted"] for each in (sample, sound))
        share = float(np.isin(mine, theirs).mean())
        if share > _OWN_ROWS:
            self._not_checked(
                "trusted",
                f"{share:.0%} of the batch's rows stand in the trusted set: rows cannot vouch for themselves. "
                "Give rows that were checked apart from this batch",
            )
        return share > _OWN_ROWS

    def _not_checked(self, name: str, reason: str) -> None:
        self.findings.append(
            Finding(check=f"screen.{name}", outcome=Outcome.NOT_CHECKED, message=f"not checked: {reason}")
        )

    def _compare(
        self, past: Rows | None, rows: Rows, sample: Sample, corrections: Sequence[Corrections]
    ) -> Sample | None:
        if corrections and (past is None or not self.contract.schema_.key):
            self._not_checked(
                "history.corrections", "without an accepted snapshot and a key nothing is corrected"
            )
        if past is None:
            self._not_checked("history", "no accepted snapshot was given")
            return None
        if not self.contract.schema_.key:
            self._not_checked("history", "the contract names no key to compare rows by")
            return self._draw(past, self.contract.screen.fit_rows)
        self.history = History(self.contract, self.encoder, past, sample.hashes["key"], corrections)
        self.history.compare(rows)
        self.groups.append(self.history)
        return self._draw(past, self.contract.screen.fit_rows)

    def _compare_keys(self, rejected: Tabular | None, sample: Sample) -> None:
        keys, admitted = sample.hashes["key"], sample.hashes["admitted"]
        if not self.contract.schema_.key:
            if rejected is not None:
                self._not_checked("history.resurrected", "the contract names no key to compare rows by")
            return
        self.groups.append(Repeats(keys, admitted, self.history))
        if rejected is not None:
            old = as_rows(rejected, self.contract, "rejected rows")
            batch_rows = self.contract.screen.batch_rows
            self.groups.append(Resurrected(self.encoder, old, keys, admitted, batch_rows))

    def _context(self, sample: Sample, sound: Sample | None, accepted: Sample | None) -> Context:
        encode = self.encoder.encode
        blocks, reference, tested, rewritten = [], [], [], []

        def add(
            block: Block,
            clean: NDArray[np.bool_] | bool,
            judged: bool,
            denied: NDArray[np.bool_] | bool = False,
        ) -> None:
            blocks.append(block)
            reference.append(np.broadcast_to(clean, len(block)))
            tested.append(np.full(len(block), judged))
            rewritten.append(np.broadcast_to(denied, len(block)))

        mine, denied = encode(_whole(sample.table)), np.zeros(len(sample.position), dtype=bool)
        if self.history is not None:
            at = sample.position.astype(np.int64)
            mine.known, denied = self.history.known[at], self.history.rewritten[at]
        add(mine, mine.known, True, denied)
        if sound is not None and sound.rows:
            add(encode(_whole(sound.table)), True, False)
        if accepted is not None and accepted.rows:
            old = encode(_whole(accepted.table))
            if self.history is not None:
                # Rows that the batch brings again stand in the pool already; changed ones vouch for nothing.
                old = old.take(~np.isin(old.key, sample.hashes["key"]))
            add(old, True, False)
        pool = join(blocks)
        order = np.lexsort((pool.features, pool.content))
        is_reference, is_tested = np.concatenate(reference)[order], np.concatenate(tested)[order]
        values, counts = np.unique(sample.hashes["features"], return_counts=True)
        pool = pool.take(order)
        return Context(
            encoder=self.encoder,
            pool=pool,
            features=Features(self.encoder, pool),
            reference=is_reference,
            tested=is_tested,
            rewritten=np.concatenate(rewritten)[order],
            rows=sample.rows,
            rate=self.contract.screen.false_discovery_rate,
            seed=self.seed,
            copies=(values[counts > 1], counts[counts > 1]),
            has_label=self.contract.schema_.label is not None,
            has_source=self.contract.schema_.source is not None,
        )

    def _fit(self, context: Context) -> None:
        if not context.referenced:
            self._not_checked(
                "trusted",
                f"fewer than {MIN_REFERENCE} reference rows: scores are calibrated on the batch itself, "
                "so that poison which is common in it can look normal",
            )
        labels: Any = Targets() if self.encoder.regression else Labels()
        for signal in (labels, Ranges(), Outliers(), Invariants(), Residuals()):
            if self._try(signal, context):
                self.soft.append(signal)
        alone = labels.alone() if labels in self.soft else None
        if alone is not None:
            self.soft.append(alone)
        sources = Sources()
        if self._try(sources, context):
            self.sources = sources
        groups: list[Any] = [Spikes(), Duplicates(), Values(), Ratios()]
        if self.encoder.texts:
            groups.append(Texts())
        for group in groups:
            if self._try(group, context):
                self.groups.append(group)

    def _try(self, signal: Any, context: Context) -> bool:
        try:
            signal.fit(context)
        except NotApplicable as missing:
            self._not_checked(signal.name, str(missing))
            return False
        return True

    def _blocks(self, rows: Rows, hashes: dict[str, NDArray[np.uint64]]) -> Iterator[Block]:
        start = 0
        columns = list(self.contract.schema_.columns)
        for batch in rows.batches(self.contract.screen.batch_rows):
            end = start + batch.num_rows
            mine = {name: values[start:end] for name, values in hashes.items()}
            block = self.encoder.encode(batch.select(columns), start, {**mine, "content": mine["features"]})
            if self.history is not None:
                block.known = self.history.known[start:end]
            yield block
            start = end

    def selected(self, rows: Rows, chosen: NDArray[np.int64]) -> Iterator[Block]:
        """The chosen rows, encoded again."""
        columns = list(self.contract.schema_.columns)
        for numbers, batch in rows.picked(chosen, columns, self.contract.screen.batch_rows):
            block = self.encoder.encode(batch)
            block.row = numbers.astype(np.int64)
            yield block

    def raw_scores(self, block: Block) -> F64:
        """(n, signals) soft p-values, each signal's own."""
        if not self.soft:
            return np.ones((len(block), 0))
        return np.column_stack([signal.score(block) for signal in self.soft])

    def fused(self, block: Block, raw: F64, context: Context) -> tuple[F64, F64]:
        """The soft p-values with each source's credit, and the score that they make together."""
        raw = self._credited(block, raw)
        if not self.soft:
            return raw, np.zeros(len(block))
        if self._fusion is None:
            fresh = context.pool.take(context.fresh)
            clean = int(context.reference.sum()) if context.referenced else 0
            names = [signal.name for signal in self.soft]
            self._fusion = Fusion(names, self._credited(fresh, self.raw_scores(fresh)), clean)
        return raw, self._fusion(raw)

    def _credited(self, block: Block, raw: F64) -> F64:
        if self.sources is None:
            return raw
        raw = raw.copy()
        for k, signal in enumerate(self.soft):
            if signal.name in ("labels", "reference_labels"):
                raw[:, k] = np.clip(raw[:, k] / self.sources.weights(block), 0, 1)
        return raw

    def fusion(self, context: Context) -> Calibrator:
        """The calibration of the fused score, on the cross-fitted scores of the null rows."""
        null = context.pool.take(context.null)
        return Calibrator(self.fused(null, self.raw_scores(null), context)[1], floor=1e-12)


def _whole(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _threads(rows: int) -> AbstractContextManager[Any]:
    """Few rows are done sooner by one thread than several have started; then none is left spinning either."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(limits=1 if rows < _PARALLEL else 2)
    return limits
