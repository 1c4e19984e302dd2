"""What screening answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Verdict

REPORT_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("score", pa.float64()),
        ("p_value", pa.float64()),
        ("verdict", pa.string()),
        ("reasons", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class ScreenReport:
    """The report of one batch.

    Attributes:
        rows: One row per input row, in input order: `row` int64, `score` float64 (higher is more suspicious), `p_value`
            float64, `verdict` string (`admit` or `quarantine`), `reasons` list<string> (empty for admitted rows).
        findings: What was found about batch, columns, sources and groups, and which signals were not checked.
        tier: The extra information there was: `batch`, then `+trusted`, `+sources`, `+previous`.
        quarantined: Number of quarantined rows.
        hold_above: Quarantined fraction above which the contract holds the delivery.
        why_held: What holds the batch whatever that fraction is.
        groups: The quarantined rows of each group, by the check that found it and the group's name.
        nearest: For the most suspicious rows, the trusted rows most like each: number in the trusted table, distance.
    """

    rows: pa.Table
    findings: list[Finding]
    tier: str
    quarantined: int
    hold_above: float
    why_held: tuple[str, ...] = ()
    groups: Mapping[tuple[str, str], NDArray[np.int64]] = field(default_factory=dict, compare=False)
    nearest: Mapping[int, tuple[tuple[int, float], ...]] = field(default_factory=dict, compare=False)

    @property
    def fraction(self) -> float:
        """Quarantined share of the rows."""
        return float(self.quarantined / max(self.rows.num_rows, 1))

    @property
    def verdict(self) -> Verdict:
        """`hold` where more rows are quarantined than the contract allows, or something else holds it."""
        return Verdict.HOLD if self.why_held or self.fraction > self.hold_above else Verdict.ACCEPT

    @property
    def outcome(self) -> Outcome:
        """`failed` when held, `not_checked` when no signal could run, else `passed`."""
        ran = [f for f in self.findings if f.outcome is not Outcome.NOT_CHECKED]
        if not ran:
            return Outcome.NOT_CHECKED
        return Outcome.FAILED if self.verdict is Verdict.HOLD else Outcome.PASSED
