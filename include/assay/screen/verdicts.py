"""From scores to verdicts: fuse, cut by false discovery, and give reasons."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, RowVerdict, Severity
from assay.screen.calibration import Calibrator, excess, false_discovery_cut
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.explain import Explainer
from assay.screen.report import REPORT_SCHEMA
from assay.screen.rows import Rows
from assay.screen.sampling import Sample

if TYPE_CHECKING:
    from assay.screen.engine import _Screening

_GATE = 1e-3
_SURE = 1e-6
_TOLD = 0.01
_WORKERS = 2


@dataclass
class Scored:
    """One value per row of the batch.

    Attributes:
        p_value: Final p-value.
        soft: P-value of the fused soft signals.
        signals: (n, k) p-values of the soft signals, float32.
        hard: Decided by a group test or by rewritten history.
        quarantine: The verdict.
        cut: Largest soft p-value that was quarantined; -1 for none.
        source: Quarantined within a named source.
        gate: P-value of the batch-level test of the cut.
    """

    p_value: F64
    soft: F64
    signals: NDArray[np.float32]
    hard: NDArray[np.bool_]
    quarantine: NDArray[np.bool_]
    source: NDArray[np.bool_]
    cut: float
    gate: float


def empty() -> pa.Table:
    """The report of a batch without rows."""
    return REPORT_SCHEMA.empty_table()


def judge(screening: _Screening, context: Context, blocks: Iterator[Block]) -> Scored:
    """Score all blocks, then cut."""
    fusion = screening.fusion(context)
    rate = context.rate
    labels = next((i for i, s in enumerate(screening.soft) if s.name == "labels"), None)
    within = screening.sources is not None and labels is not None and bool(screening.sources.excess)

    if within and screening.sources is not None and labels is not None:
        null = context.pool.take(context.null)
        screening.sources.calibrate(null, screening.soft[labels].score(null))

    def one(block: Block) -> tuple[Any, ...]:
        raw = screening.raw_scores(block)
        signals, fused = screening.fused(block, raw, context)
        soft = fusion.p_values(fused) if signals.shape[1] else np.ones(len(block))
        soft = np.where(block.known, 0.5 + soft / 2, soft)
        p = soft.copy()
        hard = np.zeros(len(block), dtype=bool)
        for group in screening.groups:
            p = np.minimum(p, group.score(block))
            hard |= group.decides(block)
        for signal in screening.soft:
            if signal.decisive:
                sure = signal.decides(block)
                hard |= sure
                p[sure] = np.minimum(p[sure], _SURE)
        # A group's members share its p-value: among them the rows that are odd in themselves come first.
        p[hard] *= 0.5 + soft[hard] / 2
        named, own = np.zeros(0, dtype=np.int64), np.zeros(0)
        if within and screening.sources is not None and labels is not None:
            named, own = screening.sources.accused(block), raw[:, labels]
            p = np.minimum(p, screening.sources.suspicion(block, own))
            own = screening.sources.within(block, own)
        return p, soft, signals.astype(np.float32), hard, ~block.known, named, own

    parts = list(zip(*_in_parallel(one, blocks, context.streaming), strict=True))
    p_parts, soft_parts, signal_parts, hard_parts, fresh_parts, named_parts, label_parts = parts
    soft, hard = np.concatenate(soft_parts), np.concatenate(hard_parts)
    fresh = np.concatenate(fresh_parts)
    cut, gate = -1.0, 1.0
    if context.referenced and len(screening.soft):
        # What is decided already would only lend its certainty to rows that have none of it.
        open_ = soft[fresh & ~hard]
        cut = false_discovery_cut(open_, rate)
        if cut >= 0:
            gate = _gate(fusion, open_, cut, context)
            if gate > _GATE:
                cut = -1.0
    in_source = np.zeros(len(soft), dtype=bool)
    if within and screening.sources is not None:
        named, own = np.concatenate(named_parts), np.concatenate(label_parts)
        for code in screening.sources.excess:
            mine = (named == code) & fresh
            # Only the clean share of a source's rows can be false discoveries (Storey, 2002).
            limit = rate / screening.sources.clean(code)
            in_source |= mine & (own <= false_discovery_cut(own[mine], limit))
    return Scored(
        p_value=np.concatenate(p_parts),
        soft=soft,
        signals=np.concatenate(signal_parts),
        hard=hard,
        quarantine=hard | (fresh & (soft <= cut)) | in_source,
        source=in_source,
        cut=cut,
        gate=gate,
    )


def _in_parallel(
    work: Callable[[Block], tuple[Any, ...]], blocks: Iterator[Block], parallel: bool
) -> Iterator[tuple[Any, ...]]:
    """The work's answers in the blocks' order; two blocks at a time where there are many."""
    if not parallel:
        yield from map(work, blocks)
        return
    from threadpoolctl import threadpool_limits

    # Each worker keeps to one thread of its own: nested pools only wait for one another.
    with ThreadPoolExecutor(_WORKERS, initializer=lambda: threadpool_limits(limits=1)) as pool:
        waiting: deque[Future[tuple[Any, ...]]] = deque()
        for block in blocks:
            waiting.append(pool.submit(work, block))
            if len(waiting) > _WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _gate(fusion: Calibrator, soft: F64, cut: float, context: Context) -> float:
    """P-value of so many rows at or below the cut, by counting alone: no tail is extrapolated here."""
    null = fusion.p_values(fusion.null)
    return excess(int((soft <= cut).sum()), len(soft), int((null <= cut).sum()), len(null))


def table(
    screening: _Screening, context: Context, scored: Scored, rows: Rows, trusted: Sample | None
) -> tuple[pa.Table, Explainer]:
    """The report's table, and what knows the groups in it; reasons are worked out for quarantined rows only."""
    n = len(scored.p_value)
    reasons: dict[int, list[str]] = {}
    chosen = np.flatnonzero(scored.quarantine)
    finders = (*screening.groups, *([screening.sources] if screening.sources else []))
    explainer = Explainer(context, trusted, finders, scored.p_value, chosen)
    if len(chosen):
        for block in screening.selected(rows, chosen):
            for row, texts in zip(block.row, _reasons(screening, scored, block), strict=True):
                reasons[int(row)] = texts
            explainer.see(block, reasons)
    lengths = np.zeros(n + 1, dtype=np.int32)
    texts = []
    for row in chosen:
        lengths[row + 1] = len(reasons[int(row)])
        texts += reasons[int(row)]
    verdict = pa.DictionaryArray.from_arrays(
        pa.array(scored.quarantine.astype(np.int8)),
        pa.array([RowVerdict.ADMIT.value, RowVerdict.QUARANTINE.value]),
    ).dictionary_decode()
    offsets = pa.array(np.cumsum(lengths, dtype=np.int32))
    report = pa.table(
        [
            pa.array(np.arange(n, dtype=np.int64)),
            pa.array(np.maximum(-np.log10(scored.p_value), 0.0)),
            pa.array(scored.p_value),
            verdict,
            pa.ListArray.from_arrays(offsets, pa.array(texts, pa.string())),
        ],
        schema=REPORT_SCHEMA,
    )
    return report, explainer


def _reasons(screening: _Screening, scored: Scored, block: Block) -> list[list[str]]:
    out: list[list[str]] = [[] for _ in range(len(block))]
    for group in screening.groups:
        mine = np.flatnonzero(group.score(block) < 1)
        for i, text in zip(mine, group.explain(block.take(mine)), strict=True):
            out[i].append(f"{group.name}: {text}")
    if screening.sources is not None and screening.sources.excess:
        for i in np.flatnonzero(screening.sources.named(block)):
            out[i].append(f"sources: {screening.sources.reason(int(block.source[i]))}")
    signals = scored.signals[block.row]
    said: dict[str, NDArray[np.bool_]] = {}
    for k, signal in enumerate(screening.soft):
        best = signals[:, k] <= np.minimum(signals.min(axis=1) * 3, 0.05)
        if signal.decisive:
            best |= signal.decides(block)
        if signal.name == "invariants":
            best |= signals[:, k] <= _TOLD  # a broken relation is a fact, whatever else speaks louder
        subject = getattr(signal, "subject", signal.name)
        best &= ~said.get(subject, np.zeros(len(block), dtype=bool))
        said[subject] = said.get(subject, best) | best
        mine = np.flatnonzero(best)
        for i, text in zip(mine, signal.explain(block.take(mine)), strict=True):
            out[i].append(f"{subject}: {text} (p = {signals[i, k]:.2g})")
    for texts in out:
        if not texts:
            texts.append("several weak signals together")
    return out


def batch_findings(screening: _Screening, context: Context, scored: Scored) -> list[Finding]:
    """The batch-level gate and what the verdicts rest on."""
    out = []
    soft = scored.cut >= 0
    out.append(
        Finding(
            check="screen.evidence",
            outcome=Outcome.FAILED if soft else Outcome.PASSED if context.referenced else Outcome.NOT_CHECKED,
            severity=Severity.HIGH if soft else Severity.INFO,
            message=(
                f"{int((scored.soft <= scored.cut).sum())} rows are more suspicious than clean rows explain "
                f"(p = {scored.gate:.2g} by counting against {context.against})"
                if soft
                else "no more suspicious rows than clean rows explain"
                if context.referenced
                else "not checked: without reference rows no single row can be told from a clean one with known error"
            ),
            evidence={"cut": scored.cut, "gate_p_value": scored.gate, "false_discovery_rate": context.rate},
            technique="AML.T0020" if soft else None,
        )
    )
    return out
