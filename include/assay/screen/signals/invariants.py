"""Rows that break what holds between columns in every reference row: orders, equations, implications.

The relations are learnt cross-fitted (see `assay.screen.rules`): a reference row is judged by relations learnt without
its fold, so that the row score, which adds up how well supported the broken relations are, is calibrated honestly, and
relations that hold only by luck cost themselves their credit.
"""

from __future__ import annotations

import math

import numpy as np

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import Calibrator, excess
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.errors import NotApplicable
from assay.screen.rules import Rule, learn

_LEVEL = 1e-4
_CREDIT = 30.0
_MAX_TOLD = 20


class Invariants:
    """Row score: sum over broken relations of the log of their support."""

    name = "invariants"
    technique = "AML.T0020"
    decisive = True

    def fit(self, context: Context) -> None:
        """Learn relations per fold, calibrate, and test each relation on the batch as a whole.

        Raises:
            NotApplicable: There are no reference rows, or no relation holds in all of them.
        """
        if not context.referenced:
            raise NotApplicable(
                "without reference rows nothing says which relations between columns must hold"
            )
        self._context = context
        clean = context.pool.take(context.reference)
        self.rules = learn(context.encoder, clean)
        if not self.rules:
            raise NotApplicable(f"no relation between columns holds in all {len(clean)} reference rows")
        self._folds = context.folds
        folds = clean.fold(self._folds)
        self._parts = [learn(context.encoder, clean.take(folds != k)) for k in range(self._folds)]
        self._null = Calibrator(self._raw(clean), floor=1e-9)
        # Where no reference row breaks anything there is no tail to fit: support is counted in nats, and so is credit.
        self._null.scale = max(self._null.scale, 1.0)
        self._test(context)

    def _test(self, context: Context) -> None:
        """Which relations the batch breaks more often than the reference rows allow."""
        fresh = context.pool.take(context.fresh)
        self._told: list[tuple[Rule, int, float]] = []
        self._hard: list[Rule] = []
        # Relations were chosen because no reference row breaks them, out of about as many as there are pairs.
        choices = max(len(context.encoder.columns) * (len(context.encoder.columns) - 1), len(self.rules))
        for rule in self.rules:
            hits = int(rule.broken(fresh.x).sum())
            if hits:
                p = min(1.0, choices * excess(hits, len(fresh), 0, rule.support))
                self._told.append((rule, hits, p))
                if p <= _LEVEL:
                    self._hard.append(rule)
        self._scale = context.rows / max(int(context.tested.sum()), 1)

    def _raw(self, block: Block) -> F64:
        out = np.zeros(len(block))
        folds = block.fold(self._folds)
        for k, rules in enumerate(self._parts):
            rows = np.flatnonzero(folds == k)
            if not len(rows):
                continue
            x = block.x[rows]
            for rule in rules:
                out[rows[rule.broken(x)]] += math.log(1.0 + rule.support)
        return np.minimum(out, _CREDIT)

    def score(self, block: Block) -> F64:
        """P-values; 1 for a row that breaks nothing."""
        raw = self._raw(block)
        return np.where(raw > 0, self._null.p_values(raw), 1.0)

    def decides(self, block: Block) -> np.ndarray:
        """Rows that break a relation which the batch breaks too often for chance."""
        out = np.zeros(len(block), dtype=bool)
        for rule in self._hard:
            out |= rule.broken(block.x)
        return np.asarray(out & ~block.known)

    def explain(self, block: Block) -> list[str]:
        """The best supported relations that the row breaks, in which columns, and their record."""
        out = []
        broken = [(rule, rule.broken(block.x)) for rule in self.rules]
        encoder = self._context.encoder
        for i in range(len(block)):
            parts: list[str] = []
            for rule, mask in broken:
                if mask[i] and len(parts) < 3:
                    cells = ", ".join(
                        f"{encoder.columns[j]} is {encoder.describe(j, block.x[i, j])}"
                        for j in dict.fromkeys(rule.columns)
                    )
                    parts.append(
                        f"'{rule.words}' holds in all {rule.support} reference rows that it speaks of (so it fails in "
                        f"at most {rule.bound:.2%} of clean rows, 95 % sure), and here {cells}"
                    )
            out.append(
                "breaks what binds columns together: " + ("; ".join(parts) or "a relation of few rows")
            )
        return out

    def findings(self) -> list[Finding]:
        """One finding per relation that the batch breaks too often, else one that says how many were looked at."""
        context = self._context
        hard = [(rule, hits, p) for rule, hits, p in self._told if p <= _LEVEL]
        if not hard:
            broken = f"; {len(self._told)} of them fail in single rows" if self._told else ""
            return [
                Finding(
                    check="screen.invariants",
                    outcome=Outcome.PASSED,
                    message=f"{len(self.rules)} relations between columns that hold in all of {context.against} were "
                    f"held against the batch{broken}",
                    evidence={
                        "relations": len(self.rules),
                        "examples": [rule.words for rule in self.rules[:5]],
                        "broken": [
                            {"relation": rule.words, "rows": round(hits * self._scale), "p_value": p}
                            for rule, hits, p in self._told[:5]
                        ],
                    },
                )
            ]
        return [
            Finding(
                check="screen.invariants",
                outcome=Outcome.FAILED,
                severity=Severity.HIGH,
                scope=Scope.COLUMN,
                subject=", ".join(context.encoder.columns[j] for j in dict.fromkeys(rule.columns)),
                message=f"about {round(hits * self._scale)} rows break '{rule.words}', which holds in all "
                f"{rule.support} reference rows that it speaks of (p = {p:.2g})",
                evidence={
                    "relation": rule.words,
                    "members": round(hits * self._scale),
                    "support": rule.support,
                    "bound": rule.bound,
                    "p_value": p,
                },
                technique=self.technique,
            )
            for rule, hits, p in hard[:_MAX_TOLD]
        ]
