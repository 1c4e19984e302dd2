"""Batch-level drift: do the new rows, taken together, look like trusted and accepted ones?

Poison that no single row shows (flips at the boundary, small shifts in every row, clean-label poison that floods one
region) moves a distribution. New rows are compared with reference rows column by column, within each class too: numbers
by the two-sample test of Kolmogorov and Smirnov, which ties only make more careful; categories by Pearson's chi-squared
test with rare levels pooled; missing values by their share. Holm's correction (1979) holds over all of these. Beside
them a model tries to tell new rows from reference rows (Lopez-Paz and Oquab, 2017), label included: it is fitted on
half of the rows and ranks the other half, and the other way round. Given the model, the two kinds of held-out rows are
exchangeable where nothing drifted, so that the rank test of Mann and Whitney (1947) is valid for each half; twice the
smaller p-value is valid for both.

Significance is not enough: a large batch shows trifles. Only a difference of some size is a failure, and only a large
one says that the reference does not speak of these rows any more, so that p-values calibrated on it mean little. Times
move on by themselves and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import excess, holm
from assay.screen.context import Context
from assay.screen.encoding import I64, Block
from assay.screen.errors import NotApplicable
from assay.screen.signals.labels import surprise
from assay.screen.signals.twosamples import homogeneity, levels, medians, smirnov

_ROWS = 50
_MODEL_ROWS = 100
_MOST_MODEL_ROWS = 4000
_MODEL_COLUMNS = 100
_LEVEL = 1e-3
_SHOWN = 20
_TAILS = (0.02, 0.05, 0.10)
_NOTABLE = {
    "distribution": 0.10,
    "levels": 0.10,
    "missing": 0.05,
    "label": 0.05,
    "labels": 0.02,
    "domain": 0.60,
}
_LARGE = {
    "distribution": 0.30,
    "levels": 0.30,
    "missing": 0.30,
    "label": 0.20,
    "labels": 0.10,
    "domain": 0.85,
}
_WORDS = {
    "distribution": "largest distance of the cumulative distributions",
    "levels": "share of rows that would have to change level",
    "missing": "difference of the missing shares",
}


@dataclass(frozen=True)
class _Test:
    """One comparison: `effect` is between 0 and 1, `within` the class that it looks at, -1 for all rows."""

    column: int
    kind: str
    within: int
    p_value: float
    effect: float
    words: str


class Drift:
    """Compares the new rows of the sample with the reference rows.

    Attributes:
        grade: `none`, `notable` or `large`: the largest drift found.
    """

    name = "drift"
    technique = "AML.T0020"

    def __init__(self) -> None:
        self.grade = "none"
        self._findings: list[Finding] = []

    def fit(self, context: Context) -> None:
        """Run all tests.

        Raises:
            NotApplicable: Too few new rows or reference rows.
        """
        fresh, clean = context.pool.take(context.fresh), context.pool.take(context.reference)
        if len(fresh) < _ROWS or len(clean) < _ROWS:
            raise NotApplicable(f"{len(fresh)} new and {len(clean)} reference rows ({_ROWS} of each needed)")
        self._context = context
        schema = context.encoder.schema
        self._columns = [
            j
            for j, part in enumerate(context.encoder.parts)
            if schema.columns[part.column].type not in {"date", "timestamp"}
        ]
        self._add(_label_rate(context, fresh, clean), "label")
        self._agreement(fresh, clean)
        tests = self._tests(fresh, clean)
        self._add_columns(tests, holm([test.p_value for test in tests]), len(fresh), len(clean))
        self._domain(fresh, clean)

    def findings(self) -> list[Finding]:
        """What drifted, and what was compared."""
        return self._findings

    @property
    def summary(self) -> str:
        """The batch-level findings that failed, in one line."""
        failed = [f for f in self._findings if f.outcome is Outcome.FAILED and f.scope is Scope.DELIVERY]
        return "; ".join(finding.message for finding in failed)

    def _add(self, finding: Finding | None, kind: str) -> None:
        if finding is None:
            return
        if finding.outcome is Outcome.FAILED:
            self._raise(kind, abs(float(finding.evidence["effect"])))
        self._findings.append(finding)

    def _raise(self, kind: str, effect: float) -> str:
        grade = "large" if effect >= _LARGE[kind] else "notable"
        if self.grade != "large":
            self.grade = grade
        return grade

    def _agreement(self, fresh: Block, clean: Block) -> None:
        """Whether more labels than among reference rows contradict models that never saw the row.

        Counted past the reference's own 2, 5 and 10 % most surprising labels; the count has an exact law where new rows
        are like them. No single row need be convincing for this.
        """
        models, check = self._context.models, "screen.drift.labels"
        if models is None or self._context.encoder.regression:
            return
        old, new = (surprise(models.probabilities(block)[0], block.y) for block in (clean, fresh))
        old, new = old[np.isfinite(old)], new[np.isfinite(new)]
        if min(len(old), len(new)) < 2 * _ROWS:
            message = (
                f"not checked: {len(new)} new and {len(old)} reference labels ({2 * _ROWS} of each needed)"
            )
            self._findings.append(Finding(check=check, outcome=Outcome.NOT_CHECKED, message=message))
            return
        best, p_value, shares = -1.0, 1.0, (0.0, 0.0)
        for tail in _TAILS:
            level = np.quantile(old, 1 - tail)
            above = int((new > level).sum()), int((old > level).sum())
            found = excess(above[0], len(new), above[1], len(old))
            both = above[0] / len(new), above[1] / len(old)
            if found < p_value or best < 0:
                p_value, shares, best = found, both, both[0] - both[1]
        p_value = min(1.0, len(_TAILS) * p_value)
        self._add(
            Finding(
                check=check,
                outcome=Outcome.FAILED
                if p_value <= _LEVEL and best >= _NOTABLE["labels"]
                else Outcome.PASSED,
                severity=Severity.MEDIUM
                if p_value <= _LEVEL and best >= _NOTABLE["labels"]
                else Severity.INFO,
                message=f"{shares[0]:.1%} of new labels contradict models that never saw the row as much as the most "
                f"surprising {shares[1]:.1%} of reference labels do (p = {p_value:.2g})",
                evidence={
                    "p_value": p_value,
                    "effect": best,
                    "share": shares[0],
                    "reference_share": shares[1],
                },
                technique=self.technique if p_value <= _LEVEL and best >= _NOTABLE["labels"] else None,
            ),
            "labels",
        )

    # -- columns -----------------------------------------------------------------------------------------------------

    def _tests(self, fresh: Block, clean: Block) -> list[_Test]:
        out = self._compare(fresh, clean, -1)
        for label in range(len(self._context.encoder.classes)):
            mine = [block.take(block.y == label) for block in (fresh, clean)]
            if min(map(len, mine)) >= _ROWS:
                out += self._compare(mine[0], mine[1], label)
        if self._context.encoder.regression:
            targets = [block.target[np.isfinite(block.target)] for block in (fresh, clean)]
            if min(map(len, targets)) >= _ROWS:
                effect, p_value = smirnov(*targets)
                out.append(_Test(-1, "distribution", -1, p_value, effect, medians(*targets)))
        return out

    def _compare(self, fresh: Block, clean: Block, within: int) -> list[_Test]:
        encoder = self._context.encoder
        out = []
        for j in self._columns:
            new, old = fresh.x[:, j], clean.x[:, j]
            if encoder.categorical[j]:
                effect, p_value, level = levels(new, old)
                shares = float((new == level).mean()), float((old == level).mean())
                words = f"{encoder.describe(j, level)} in {shares[0]:.1%} of new and {shares[1]:.1%} of reference rows"
                out.append(_Test(j, "levels", within, p_value, effect, words))
                continue
            empty = np.isnan(new), np.isnan(old)
            shares = float(empty[0].mean()), float(empty[1].mean())
            if empty[0].any() or empty[1].any():
                words = f"missing in {shares[0]:.1%} of new and {shares[1]:.1%} of reference rows"
                p_value = homogeneity(np.array([np.bincount(part, minlength=2) for part in empty]))
                out.append(_Test(j, "missing", within, p_value, abs(shares[0] - shares[1]), words))
            new, old = new[~empty[0]], old[~empty[1]]
            if min(len(new), len(old)) >= _ROWS:
                effect, p_value = smirnov(new, old)
                out.append(_Test(j, "distribution", within, p_value, effect, medians(new, old)))
        return out

    def _add_columns(self, tests: list[_Test], adjusted: list[float], fresh: int, clean: int) -> None:
        found: dict[int, tuple[_Test, float]] = {}
        for test, level in zip(tests, adjusted, strict=True):
            if level > _LEVEL or test.effect < _NOTABLE[test.kind]:
                continue
            best = found.get(test.column)
            if best is None or test.effect / _LARGE[test.kind] > best[0].effect / _LARGE[best[0].kind]:
                found[test.column] = (test, level)
        self._found = found
        ranked = sorted(
            found.values(), key=lambda each: (-each[0].effect / _LARGE[each[0].kind], each[0].column)
        )
        grades = [self._raise(test.kind, test.effect) for test, _ in ranked]
        names = [self._name(test.column) for test, _ in ranked]
        self._findings.append(
            Finding(
                check="screen.drift",
                outcome=Outcome.FAILED if found else Outcome.PASSED,
                severity=Severity.HIGH if "large" in grades else Severity.MEDIUM if found else Severity.INFO,
                message=f"{len(found)} of {len(self._columns)} columns differ between {fresh} new and {clean} "
                "reference rows" + (f": {', '.join(names[:5])}" if names else " more than chance explains"),
                evidence={
                    "columns": names[:_SHOWN],
                    "drifted": len(found),
                    "tests": len(tests),
                    "level": _LEVEL,
                    "new_rows": fresh,
                    "reference_rows": clean,
                },
                technique=self.technique if found else None,
            )
        )
        for (test, level), grade in list(zip(ranked, grades, strict=True))[:_SHOWN]:
            self._findings.append(self._column(test, level, grade))

    def _name(self, column: int) -> str:
        label = self._context.encoder.schema.label
        return self._context.encoder.columns[column] if column >= 0 else label.column if label else ""

    def _column(self, test: _Test, level: float, grade: str) -> Finding:
        encoder = self._context.encoder
        inside = encoder.class_name(test.within) if test.within >= 0 else None
        where = f" among rows labelled {inside!r}" if inside is not None else ""
        return Finding(
            check="screen.drift.column",
            outcome=Outcome.FAILED,
            severity=Severity.HIGH if grade == "large" else Severity.MEDIUM,
            scope=Scope.COLUMN,
            subject=self._name(test.column),
            message=f"{self._name(test.column)}{where}: {test.words} ({_WORDS[test.kind]}: {test.effect:.2f}, "
            f"adjusted p = {level:.2g})",
            evidence={
                "kind": test.kind,
                "effect": test.effect,
                "p_value": level,
                "class": inside,
                "grade": grade,
            },
            technique=self.technique,
        )

    # -- all columns together ----------------------------------------------------------------------------------------

    def _domain(self, fresh: Block, clean: Block) -> None:
        check = "screen.drift.domain"
        halves = [[block.take(block.fold(2) == k) for k in (0, 1)] for block in (fresh, clean)]
        if min(len(half) for block in halves for half in block) < _MODEL_ROWS or not self._columns:
            self._findings.append(
                Finding(
                    check=check,
                    outcome=Outcome.NOT_CHECKED,
                    message=f"not checked: {len(fresh)} new and {len(clean)} reference rows are too few for a model "
                    f"({2 * _MODEL_ROWS} of each needed)",
                )
            )
            return
        results = [self._half(halves[0][k], halves[1][k], halves[0][1 - k], halves[1][1 - k]) for k in (0, 1)]
        auc = float(np.mean([each[0] for each in results]))
        p_value = min(1.0, 2 * min(each[1] for each in results))
        drifted = p_value <= _LEVEL and auc >= _NOTABLE["domain"]
        grade = self._raise("domain", auc) if drifted else "none"
        self._findings.append(
            Finding(
                check=check,
                outcome=Outcome.FAILED if drifted else Outcome.PASSED,
                severity=Severity.HIGH if grade == "large" else Severity.MEDIUM if drifted else Severity.INFO,
                message=f"a model ranks {auc:.0%} of pairs of a new and a reference row right that it never saw "
                f"(50% is chance, p = {p_value:.2g})",
                evidence={"auc": auc, "p_value": p_value, "effect": auc, "grade": grade},
                technique=self.technique if drifted else None,
            )
        )

    def _half(
        self, fresh: Block, clean: Block, other_fresh: Block, other_clean: Block
    ) -> tuple[float, float]:
        """AUC and one-sided p-value on held-out rows of a model fitted on the other ones."""
        from scipy.stats import mannwhitneyu
        from sklearn.ensemble import HistGradientBoostingClassifier

        most = _MOST_MODEL_ROWS // 2
        train = [block.take(np.arange(min(len(block), most))) for block in (other_fresh, other_clean)]
        test = [block.take(np.arange(min(len(block), most))) for block in (fresh, clean)]
        columns = self._telling(*train)
        model = HistGradientBoostingClassifier(
            max_iter=40,
            max_leaf_nodes=8,
            min_samples_leaf=20,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=self._context.seed % 2**32,
        )
        model.fit(
            np.concatenate([_dense(block, columns) for block in train]),
            np.repeat([1, 0], [len(train[0]), len(train[1])]),
        )
        scores = [model.predict_proba(_dense(block, columns))[:, 1] for block in test]
        law = mannwhitneyu(scores[0], scores[1], alternative="greater", method="asymptotic")
        return float(law.statistic) / (len(scores[0]) * len(scores[1])), float(law.pvalue)

    def _telling(self, fresh: Block, clean: Block) -> I64:
        """The columns that a model is given: all, or those whose values differ most between its training rows."""
        columns = np.array(self._columns, dtype=np.int64)
        if len(columns) <= _MODEL_COLUMNS:
            return columns
        new, old = (np.nan_to_num(block.x[:, columns]) for block in (fresh, clean))
        spread = np.concatenate([new, old]).std(axis=0)
        gap = np.abs(new.mean(axis=0) - old.mean(axis=0)) / np.maximum(spread, 1e-12)
        return columns[np.sort(np.argsort(-gap, kind="stable")[:_MODEL_COLUMNS])]


def _label_rate(context: Context, fresh: Block, clean: Block) -> Finding | None:
    """Whether classes come as often as in the reference rows; None where there are no classes."""
    encoder = context.encoder
    if not context.has_label or encoder.regression:
        return None
    check = "screen.label_rate"
    counts = np.array(
        [np.bincount(block.y[block.y >= 0], minlength=len(encoder.classes)) for block in (fresh, clean)]
    )
    if counts.sum(axis=1).min() < _ROWS:
        message = f"not checked: {counts[0].sum()} new and {counts[1].sum()} reference labels ({_ROWS} of each needed)"
        return Finding(check=check, outcome=Outcome.NOT_CHECKED, message=message)
    p_value = homogeneity(counts)
    shares = counts / counts.sum(axis=1, keepdims=True)
    worst = int(np.argmax(np.abs(shares[0] - shares[1])))
    gap = float(shares[0, worst] - shares[1, worst])
    drifted = p_value <= _LEVEL and abs(gap) >= _NOTABLE["label"]
    name = encoder.class_name(worst)
    return Finding(
        check=check,
        outcome=Outcome.FAILED if drifted else Outcome.PASSED,
        severity=Severity.MEDIUM if drifted else Severity.INFO,
        message=f"{shares[0, worst]:.1%} of new rows are labelled {name!r}, {shares[1, worst]:.1%} of reference rows",
        evidence={
            "p_value": p_value,
            "effect": abs(gap),
            "class": name,
            "share": float(shares[0, worst]),
            "reference_share": float(shares[1, worst]),
        },
        technique="AML.T0020" if drifted else None,
    )


def _dense(block: Block, columns: I64) -> NDArray[np.float32]:
    """The columns and the label, as trees take them."""
    out = np.column_stack([block.x[:, columns], block.y])
    return np.clip(out, -3e38, 3e38).astype(np.float32)
