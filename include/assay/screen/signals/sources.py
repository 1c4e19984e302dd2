"""Sources in which more labels are wrong than elsewhere.

A compromised source is many weak hints at once. Each row's label says little; all labels of a source together say how
many of them are wrong. They are taken for a mixture: a label is drawn from the class probabilities that models which
never saw the row give it, or, for a share of the source's rows, is another one (the noise model of Natarajan et al.,
2013). The share is estimated by maximum likelihood, and a source is named where the likelihood ratio says that its
share is higher than the others', with Holm's correction over the sources. Honest sources deliver different mixes of
classes, so each has class weights of its own (prior shift: Saerens, Latinne and Decaestecker, 2002): what a mix
explains accuses nobody.

The share enters as a weight on the p-values of the source's rows (weighted hypotheses: Genovese, Roeder and Wasserman,
2006).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import holm
from assay.screen.context import Context
from assay.screen.encoding import F64, I64, Block
from assay.screen.errors import NotApplicable

_LEVEL = 0.02
_MAX_SOURCES = 1000
_LEAST_ROWS = 10
_MIN_GAP = 0.02
_ELSEWHERE = 1e-3
_SHARES = np.concatenate([[0.0, 0.005], np.geomspace(0.01, 0.7, 16)])
_FLATNESS = np.geomspace(0.4, 2.5, 13)
_ROUNDS = 20
_MIX = 30.0
_LEAST = 1e-6


@dataclass(frozen=True)
class _Excess:
    """What is known of a source that was found out: shares of wrong labels, rows, adjusted p-value."""

    share: float
    elsewhere: float
    rows: int
    p_value: float


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
        probabilities = _calibrated(
            *(
                np.concatenate(both)
                for both in zip(_labelled(context, block), _labelled(context, clean), strict=True)
            )
        )[: len(block)]
        own = {
            code: _likelihoods(probabilities[mine], block.y[mine])
            for code in range(len(names))
            if (mine := block.source == code).sum() >= _LEAST_ROWS
        }
        if len(own) < 2:
            raise NotApplicable(f"fewer than two sources have {_LEAST_ROWS} rows")
        self._names = names
        self._found = self._named(own, np.bincount(block.source, minlength=len(names)))
        self.excess = {code: fact.share - fact.elsewhere for code, fact in self._found.items()}
        shares = np.bincount(block.source, minlength=len(names)) / max(len(block), 1)
        # Weights average to one over the rows, so that the false-discovery bound stays.
        raw = np.array([1 + 60 * self.excess.get(code, 0.0) for code in range(len(names))])
        self._weights = raw / float(raw @ shares)

    @staticmethod
    def _named(own: dict[int, F64], rows: I64) -> dict[int, _Excess]:
        """Sources whose share of wrong labels is higher than that of all others together."""
        from scipy.stats import chi2

        total = np.sum(list(own.values()), axis=0)
        p_values = []
        for likelihood in own.values():
            others = total - likelihood
            higher = likelihood.argmax() > others.argmax()
            ratio = 2 * (likelihood.max() + others.max() - total.max())
            p_values.append(float(chi2.sf(ratio, 1)) / 2 if higher else 1.0)
        found = {}
        for (code, likelihood), p_value in zip(own.items(), holm(p_values), strict=True):
            share, elsewhere = (float(_SHARES[each.argmax()]) for each in (likelihood, total - likelihood))
            if p_value <= _LEVEL and share - elsewhere >= _MIN_GAP:
                found[code] = _Excess(share, elsewhere, int(rows[code]), p_value)
        return found

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
            f"about {fact.share:.0%} of the labels of source {self._names[code]!r} are wrong, "
            f"of other sources {fact.elsewhere:.1%}"
        )

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
    return np.maximum(context.models.probabilities(block)[0], _LEAST), block.y


def _calibrated(probabilities: F64, y: I64) -> F64:
    """(n, classes) under which the labels of all sources together are likeliest.

    One power for all rows takes back what the models are too sure of (Guo et al., 2017). And some labels follow no
    feature: a share of the rows, fitted with the power, has classes by shares of their own. A source that delivers
    more of such a class has more of these, too, and that is no sign of flips.
    """
    best, answer, counts = -np.inf, probabilities, np.bincount(y, minlength=probabilities.shape[1])
    at = np.arange(len(y))
    for flatness in _FLATNESS:
        each = probabilities ** (1 / flatness)
        each /= each.sum(axis=1, keepdims=True)
        share, classes = 0.02, (counts + 1.0) / (counts + 1.0).sum()
        for _ in range(_ROUNDS):
            own = share * classes[y]
            free = own / ((1 - share) * each[at, y] + own)
            share = float(free.mean())
            classes = np.bincount(y, free, len(counts)) + 0.5
            classes /= classes.sum()
        each = (1 - share) * each + share * classes
        likelihood = float(np.log(each[at, y]).sum())
        if likelihood > best:
            best, answer = likelihood, each
    return answer


def _mixed(own: F64, share: float, classes: int) -> F64:
    """Probability of the labels when that share of them is replaced by another one."""
    return np.asarray((1 - share) * own + share * (1 - own) / max(classes - 1, 1))


def _likelihoods(probabilities: F64, y: I64) -> F64:
    """Log likelihood of a source's labels at each of `_SHARES`, the source's class weights fitted for each."""
    from scipy.optimize import minimize

    rows, classes = probabilities.shape
    logs, at = np.log(np.maximum(probabilities, _LEAST)), np.arange(rows)

    def loss(weights: F64, share: float) -> tuple[float, F64]:
        each = logs + weights
        each = np.exp(each - each.max(axis=1, keepdims=True))
        each /= each.sum(axis=1, keepdims=True)
        own = each[at, y]
        mixed = _mixed(own, share, classes)
        slope = (1 - share - share / max(classes - 1, 1)) * own / mixed
        gradient = (slope[:, None] * each).sum(axis=0) - np.bincount(y, slope, classes)
        # Mixes differ by some factor, not by any: without a prior, flips of one class would pass for a mix.
        return _MIX / 2 * float(weights @ weights) - float(np.log(mixed).sum()), gradient + _MIX * weights

    weights, out = np.zeros(classes), np.zeros(len(_SHARES))
    for i, share in enumerate(_SHARES):
        found = minimize(loss, weights, (share,), jac=True, method="L-BFGS-B", options={"maxiter": 15})
        weights, out[i] = found.x, -found.fun
    return out
