"""Sources whose rows disagree with their labels more often than the others' rows do.

A compromised source is many weak hints at once. Each row's label p-value says little; a source in which far more rows
than elsewhere fall below a threshold says much, and then each disagreeing row of that source deserves less credit.
The test is Fisher's exact test of source against rest, at three thresholds, with Holm's correction over all of them.
The credit enters as a weight on the rows' p-values (weighted hypotheses: Genovese, Roeder and Wasserman, 2006).
"""

from __future__ import annotations

import numpy as np

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import holm
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.errors import NotApplicable
from assay.screen.signals.labels import Labels

_THRESHOLDS = (0.005, 0.02, 0.1)
_LEVEL = 1e-3
_MAX_SOURCES = 1000
_MIN_GAP = 0.02
_ELSEWHERE = 1e-3


class Sources:
    """Names sources with excess label disagreement and weights the rows of each source."""

    name = "sources"
    technique = "AML.T0020"

    def fit(self, context: Context, labels: Labels) -> None:
        """Count disagreements per source on the sample.

        Raises:
            NotApplicable: No source column, one source only, or too many of them.
        """
        if not context.has_source:
            raise NotApplicable("the contract names no source column")
        block = context.pool.take(context.fresh if context.fresh.sum() >= 50 else context.tested)
        names = context.encoder.sources
        if len(names) < 2:
            raise NotApplicable("there are fewer than two sources to compare")
        if len(names) > _MAX_SOURCES:
            raise NotApplicable(f"{len(names)} sources are too many to compare (at most {_MAX_SOURCES})")
        from scipy.stats import hypergeom

        p = labels.score(block)
        tests: list[tuple[int, float, int, int, float, float]] = []
        for code in range(len(names)):
            mine = block.source == code
            if mine.sum() < 10 or (~mine).sum() < 10:
                continue
            for threshold in _THRESHOLDS:
                hits, other = int((p[mine] <= threshold).sum()), int((p[~mine] <= threshold).sum())
                law = hypergeom(len(p), hits + other, int(mine.sum()))
                tests.append(
                    (
                        code,
                        threshold,
                        hits,
                        int(mine.sum()),
                        other / int((~mine).sum()),
                        float(law.sf(hits - 1)),
                    )
                )
        if not tests:
            raise NotApplicable("no source has ten rows")
        adjusted = holm([test[-1] for test in tests])
        self.excess: dict[int, float] = {}
        self._found: dict[int, dict[str, float]] = {}
        for (code, threshold, hits, rows, elsewhere, _), level in zip(tests, adjusted, strict=True):
            gap = hits / rows - elsewhere
            if level <= _LEVEL and gap >= _MIN_GAP and gap > self.excess.get(code, 0):
                self.excess[code] = gap
                self._found[code] = {
                    "p_value": level,
                    "rows": rows,
                    "disagreeing": hits,
                    "share": hits / rows,
                    "share_elsewhere": elsewhere,
                    "threshold": threshold,
                }
        self._names = names
        shares = np.bincount(block.source[block.source >= 0], minlength=len(names)) / max(len(block), 1)
        # Weights average to one over the rows, so that the false-discovery bound stays.
        raw = np.array([1 + 60 * self.excess.get(code, 0.0) for code in range(len(names))])
        self._weights = raw / max(float((raw * shares).sum() / max(shares.sum(), 1e-9)), 1e-9)
        if not self.excess:
            self._weights = np.ones(len(names))

    def weights(self, block: Block) -> F64:
        """Factor by which a row's label p-value is divided."""
        out = np.ones(len(block))
        known = block.source >= 0
        out[known] = self._weights[block.source[known]]
        return out

    def named(self, block: Block) -> np.ndarray:
        """Rows of sources that were found out."""
        return np.isin(block.source, list(self.excess))

    def suspicion(self, block: Block, p_values: F64) -> F64:
        """P-values of the labels of rows of sources found out, weighted by the odds that such a row is poisoned.

        Of two rows with the same disagreement, the one from a source in which three of ten labels are wrong is the
        likelier poison by those odds over the odds elsewhere. Rows of other sources have 1: they neither gain nor lose.
        """
        out = np.ones(len(block))
        for code, excess in self.excess.items():
            mine = block.source == code
            odds = excess / max(1 - excess, 1e-9)
            out[mine] = np.minimum(p_values[mine] * min(1.0, _ELSEWHERE / odds), 1.0)
        return out

    def subjects(self, block: Block) -> list[str]:
        """The source found out that each row belongs to."""
        return [self._names[code] if code in self.excess else "" for code in block.source.tolist()]

    def reason(self, code: int) -> str:
        """Why rows of this source get less credit."""
        fact = self._found[code]
        return (
            f"source {self._names[code]!r} has {fact['share']:.1%} disagreeing labels, "
            f"other sources {fact['share_elsewhere']:.1%}"
        )

    def findings(self) -> list[Finding]:
        """One finding per source found out, or one that says that none was."""
        if not self.excess:
            return [
                Finding(
                    check="screen.sources",
                    outcome=Outcome.PASSED,
                    message=f"no source disagrees with its labels more than the others do ({len(self._names)} sources)",
                )
            ]
        return [
            Finding(
                check="screen.sources",
                outcome=Outcome.FAILED,
                severity=Severity.HIGH,
                scope=Scope.SOURCE,
                subject=self._names[code],
                message=self.reason(code) + f" (adjusted p = {self._found[code]['p_value']:.2g})",
                evidence=dict(self._found[code]),
                technique=self.technique,
            )
            for code in sorted(self.excess)
        ]
