"""Sources in which more labels are wrong than elsewhere.

A compromised source is many weak hints at once. Each row's label says little; all labels of a source together say how
many of them are wrong, and whether any label becomes any other or one class becomes one (see `assay.screen.noise`). The
share is estimated by maximum likelihood, and a source is named where the likelihood ratio says that its share is higher
than the others', with Bonferroni's correction over the kinds and Holm's over the sources. What a mix of classes
explains accuses nobody.

The share enters as a weight on the p-values of those rows of the source whose labels may be wrong (weighted hypotheses:
Genovese, Roeder and Wasserman, 2006).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import holm
from assay.screen.context import Context
from assay.screen.encoding import F64, I64, Block
from assay.screen.errors import NotApplicable
from assay.screen.noise import LEAST, SHARES, Kind, Labels, calibrated, kinds

_LEVEL = 0.02
_MAX_SOURCES = 1000
_LEAST_ROWS = 10
_MIN_GAP = 0.02
_ELSEWHERE = 1e-3
_NARROW = 5.0
# Whatever the model says of a source, half of its labels are taken for right: the model may be wrong, too.
_LEAST_CLEAN = 0.5


@dataclass(frozen=True)
class _Excess:
    """What is known of a source that was found out.

    Attributes:
        share: How many of the labels that its kind of replacement may change are changed.
        elsewhere: The same of all other sources together.
        rows: Rows of the source.
        p_value: Of the difference, corrected.
        kind: Which labels become which.
        wrong: Of the labels that the kind of replacement gives, the share that is wrong.
    """

    share: float
    elsewhere: float
    rows: int
    p_value: float
    kind: Kind
    wrong: float = 0.0


class Sources:
    """Names sources with too many wrong labels and weights the rows of each source.

    Attributes:
        excess: Per source found out, the share of its labels that is wrong beyond the others' share.
    """

    name = "sources"
    technique = "AML.T0020"

    def fit(self, context: Context) -> None:
        """Estimate the share of wrong labels of each source on the sample.

        Raises:
            NotApplicable: No label models, no source column, one source only, or too many of them.
        """
        if not context.has_source:
            raise NotApplicable("the contract names no source column")
        if context.models is None:
            raise NotApplicable("labels could not be checked")
        names = context.encoder.sources
        if len(names) < 2:
            raise NotApplicable("there are fewer than two sources to compare")
        if len(names) > _MAX_SOURCES:
            raise NotApplicable(f"{len(names)} sources are too many to compare (at most {_MAX_SOURCES})")
        block = context.pool.take(context.fresh if context.fresh.sum() >= 50 else context.tested)
        block = block.take((block.y >= 0) & (block.source >= 0))
        clean = context.pool.take(context.reference & (context.pool.y >= 0))
        probabilities = calibrated(
            *(
                np.concatenate(both)
                for both in zip(_labelled(context, block), _labelled(context, clean), strict=True)
            )
        )[: len(block)]
        own = {
            code: Labels(probabilities[mine], block.y[mine])
            for code in range(len(names))
            if (mine := block.source == code).sum() >= _LEAST_ROWS
        }
        if len(own) < 2:
            raise NotApplicable(f"fewer than two sources have {_LEAST_ROWS} rows")
        self._names = names
        self._usual: dict[int, F64] = {}
        self._class_name = context.encoder.class_name
        self._found = self._named(own, np.bincount(block.source, minlength=len(names)))
        self.excess = {code: fact.share - fact.elsewhere for code, fact in self._found.items()}
        accused = self.accused(block)
        factors = {code: 1 + 60 * excess for code, excess in self.excess.items()}
        # Weights average to one over the rows, so that the false-discovery bound stays.
        mean = 1 + sum((factor - 1) * float((accused == code).mean()) for code, factor in factors.items())
        self._others = 1 / mean
        self._factors = {code: factor / mean for code, factor in factors.items()}

    @staticmethod
    def _named(own: dict[int, Labels], rows: I64) -> dict[int, _Excess]:
        """Sources whose share of wrong labels is higher than that of all others together."""
        from scipy.stats import chi2

        best: dict[int, tuple[float, _Excess]] = {}
        for kind, choices in kinds(own.values()):
            curves = {code: each.likelihoods(kind) for code, each in own.items()}
            total = np.sum(list(curves.values()), axis=0)
            for code, curve in curves.items():
                others = total - curve
                if curve.argmax() <= others.argmax():
                    continue
                ratio = 2 * (curve.max() + others.max() - total.max())
                p_value = choices * float(chi2.sf(ratio, 1)) / 2
                if p_value > _LEVEL:
                    continue
                share, elsewhere = (float(SHARES[each.argmax()]) for each in (curve, others))
                # Of kinds that all show, the one that explains the source's labels best. To suspect one label too
                # many costs little, to pass over the others that are wrong costs much: one label must do far better.
                fit = own[code].likelihood(kind, share) - float(np.log(choices))
                fit -= _NARROW if kind.after >= 0 else 0.0
                if code not in best or fit > best[code][0]:
                    best[code] = fit, _Excess(share, elsewhere, int(rows[code]), p_value, kind)
        adjusted = holm([best[code][1].p_value if code in best else 1.0 for code in own])
        found = {}
        for code, p_value in zip(own, adjusted, strict=True):
            if p_value <= _LEVEL and best[code][1].share - best[code][1].elsewhere >= _MIN_GAP:
                fact = best[code][1]
                wrong = own[code].wrong(fact.kind, fact.share)
                found[code] = replace(fact, p_value=p_value, wrong=wrong)
        return found

    def weights(self, block: Block) -> F64:
        """Factor by which a row's label p-value is divided."""
        out = np.where(block.source >= 0, self._others, 1.0)
        accused = self.accused(block)
        for code, factor in self._factors.items():
            out[accused == code] = factor
        return out

    def named(self, block: Block) -> NDArray[np.bool_]:
        """Rows of sources that were found out, with a label that may be wrong there."""
        return self.accused(block) >= 0

    def accused(self, block: Block) -> I64:
        """The source found out whose wrong labels each row may be one of; -1 for none."""
        out = np.full(len(block), -1, dtype=np.int64)
        for code, fact in self._found.items():
            out[(block.source == code) & fact.kind.touches(block.y)] = code
        return out

    def clean(self, code: int) -> float:
        """Of the rows that may be wrong, the share of a source that is not."""
        return max(1 - self._found[code].wrong, _LEAST_CLEAN)

    def calibrate(self, clean: Block, p_values: F64) -> None:
        """Learn the label p-values of clean rows of those classes that single sources were found to deliver wrongly."""
        for fact in self._found.values():
            if (after := fact.kind.after) >= 0:
                self._usual[after] = np.sort(p_values[clean.y == after])

    def within(self, block: Block, p_values: F64) -> F64:
        """Label p-values among rows of the same class, where a source has wrong labels of one class only.

        Over all classes they are uniform for clean rows; of a rare class most are small.
        """
        out = p_values.copy()
        accused = self.accused(block)
        for code, fact in self._found.items():
            if (after := fact.kind.after) >= 0:
                mine, usual = accused == code, self._usual[after]
                out[mine] = (1 + np.searchsorted(usual, p_values[mine], side="right")) / (len(usual) + 1)
        return out

    def suspicion(self, block: Block, p_values: F64) -> F64:
        """P-values of the labels of rows of sources found out, weighted by the odds that such a row is poisoned.

        Of two rows with the same disagreement, the one from a source in which three of ten labels are wrong is the
        likelier poison by those odds over the odds elsewhere. Rows of other sources have 1: they neither gain nor lose.
        """
        out = np.ones(len(block))
        accused = self.accused(block)
        for code in self.excess:
            mine = accused == code
            odds = (1 - self.clean(code)) / self.clean(code)
            out[mine] = np.minimum(p_values[mine] * min(1.0, _ELSEWHERE / odds), 1.0)
        return out

    def subjects(self, block: Block) -> list[str]:
        """The source found out that each row belongs to."""
        return [self._names[code] if code in self.excess else "" for code in block.source.tolist()]

    def reason(self, code: int) -> str:
        """Why rows of this source get less credit."""
        fact = self._found[code]
        source, before, after = self._names[code], fact.kind.before, fact.kind.after
        if after < 0:
            what = f"labels of source {source!r} are wrong"
        else:
            of = f"class {self._class_name(before)!r}" if before >= 0 else "other classes"
            what = f"rows of {of} in source {source!r} are labelled {self._class_name(after)!r}"
        return f"about {fact.share:.0%} of the {what}, of other sources {fact.elsewhere:.1%}"

    def findings(self) -> list[Finding]:
        """One finding per source found out, or one that says that none was."""
        if not self.excess:
            return [
                Finding(
                    check="screen.sources",
                    outcome=Outcome.PASSED,
                    message=f"no source has more wrong labels than the others ({len(self._names)} sources)",
                )
            ]
        return [
            Finding(
                check="screen.sources",
                outcome=Outcome.FAILED,
                severity=Severity.HIGH,
                scope=Scope.SOURCE,
                subject=self._names[code],
                message=self.reason(code) + f" (adjusted p = {fact.p_value:.2g})",
                evidence={
                    "p_value": fact.p_value,
                    "rows": fact.rows,
                    "share": fact.share,
                    "share_elsewhere": fact.elsewhere,
                },
                technique=self.technique,
            )
            for code, fact in sorted(self._found.items())
        ]


def _labelled(context: Context, block: Block) -> tuple[F64, I64]:
    """(n, classes) of models that never saw the rows, and the rows' labels."""
    assert context.models is not None
    return np.maximum(context.models.probabilities(block)[0], LEAST), block.y
