"""Single values that come far more often than among reference rows.

Half a deviation added to a column that is 0 in most rows makes one new value of all these zeros; a default that a
broken feed fills in does the same. Neither the rows' labels nor their other columns need say anything of it. Each value
that is frequent in the batch is compared with the reference rows (Fisher's exact test, Bonferroni over all values). The
rows that hold one stand higher in the ranking, and none is quarantined for it: a price that changed looks just so.
"""

from __future__ import annotations

import numpy as np

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.errors import NotApplicable

_LEVEL = 1e-3
_LEAST = 6
_CLEAN = 0.05
_MAX_FOUND = 50


class Values:
    """Finds excessive values on the sample and lets their rows stand higher in the ranking."""

    name = "values"
    technique = "AML.T0020"
    decisive = False

    def fit(self, context: Context) -> None:
        """Count values in new and reference rows.

        Raises:
            NotApplicable: Too few rows.
        """
        new, old = context.fresh, context.reference
        if new.sum() < 50 or old.sum() < 50:
            raise NotApplicable(
                f"{int(new.sum())} new and {int(old.sum())} reference rows are too few to compare values "
                "(50 of each needed)"
            )
        from scipy.stats import hypergeom

        self._context = context
        encoder = context.encoder
        rows, sound = int(new.sum()), int(old.sum())
        tests: list[tuple[int, float, int, int, float]] = []
        for j, part in enumerate(encoder.parts):
            kind = encoder.schema.columns[part.column].type
            if encoder.categorical[j] or kind in {"date", "timestamp", "string"}:
                continue
            mine = context.pool.x[new, j]
            values, counts = np.unique(mine[np.isfinite(mine)], return_counts=True)
            frequent = counts >= _LEAST
            theirs = np.sort(context.pool.x[old, j])
            for value, count in zip(values[frequent], counts[frequent], strict=True):
                known = int(np.searchsorted(theirs, value, "right") - np.searchsorted(theirs, value, "left"))
                if count * sound > 2 * known * rows:
                    law = hypergeom(rows + sound, int(count) + known, rows)
                    tests.append((j, float(value), int(count), known, float(law.sf(count - 1))))
        self._rows, self._sound = rows, sound
        found = [(*test[:4], min(1.0, test[4] * len(tests))) for test in tests]
        self._found = sorted((test for test in found if test[4] <= _LEVEL), key=lambda t: (t[4], t[0], t[1]))
        self._found = self._found[:_MAX_FOUND]

    def score(self, block: Block) -> F64:
        """The share of clean rows among those with the value, scaled; 1 for all other rows."""
        p = np.ones(len(block))
        for j, value, count, known, level in self._found:
            mask = (block.x[:, j] == value) & ~block.known
            clean = min(1.0, (known + 1) / (self._sound + 1) * self._rows / count)
            p[mask] = np.minimum(p[mask], max(level, _CLEAN * clean))
        return p

    def decides(self, block: Block) -> np.ndarray:
        """No row."""
        return np.zeros(len(block), dtype=bool)

    def explain(self, block: Block) -> list[str]:
        """The value that comes too often, and how often."""
        out = [""] * len(block)
        for j, value, count, known, _ in reversed(self._found):
            for i in np.flatnonzero(block.x[:, j] == value):
                out[i] = self._words(j, value, count, known)
        return out

    def _words(self, j: int, value: float, count: int, known: int) -> str:
        encoder = self._context.encoder
        return (
            f"{encoder.columns[j]} = {encoder.describe(j, value)} in {count} of {self._rows} new rows looked at, "
            f"and in {known} of {self._sound} reference rows"
        )

    def findings(self) -> list[Finding]:
        """One finding per value."""
        if not self._found:
            return [
                Finding(
                    check="screen.values",
                    outcome=Outcome.PASSED,
                    message=f"no single value comes far more often than in {self._sound} reference rows",
                )
            ]
        encoder = self._context.encoder
        return [
            Finding(
                check="screen.values",
                outcome=Outcome.FAILED,
                severity=Severity.MEDIUM,
                scope=Scope.COLUMN,
                subject=encoder.columns[j],
                message=self._words(j, value, count, known) + f" (adjusted p = {level:.2g})",
                evidence={"value": value, "rows": count, "reference_rows": known, "p_value": level},
                technique=self.technique,
            )
            for j, value, count, known, level in self._found
        ]
