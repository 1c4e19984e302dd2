"""What wrong labels look like: which become which, how often, and how likely that makes the labels of a source.

A label is drawn from the class probabilities that models which never saw the row give it, or it is replaced (the noise
model of Natarajan et al., 2013). Replacements come in kinds: any label by any other; any by one; one by one. Honest
sources deliver different mixes of classes, so each has class weights of its own (prior shift: Saerens, Latinne and
Decaestecker, 2002). A mix moves the odds of all rows alike; replaced labels also stand where features leave no doubt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.screen.encoding import F64, I64

LEAST = 1e-6
"""No class is taken for less likely than this."""

SHARES = np.concatenate([[0.0, 0.005], np.geomspace(0.01, 0.7, 16)])
"""The shares of replaced labels that likelihoods are taken at."""

# How strongly class weights are held at 0: one over their variance. Where any label may become any other, a mix pushed
# one way is no explanation, and little freedom is enough. Replacements of one class look much like a mix: there mixes
# must be free to differ by a factor of e, or they would be accused.
_MIX, _MIX_ONE = 30.0, 1.0
_TRIED = (0.03, 0.1, 0.3)
_MAX_KINDS = 3
# More probabilities than this take seconds for each kind.
_CELLS = 2_000_000
# How the chance of a false claim is shared: half for replacements by any label, which need no choice, less for one of
# the classes, least for one of the many pairs.
_ANY, _INTO, _BETWEEN = 0.5, 0.3, 0.2
_FLATNESS = np.geomspace(0.4, 2.5, 13)
_ROUNDS = 20


@dataclass(frozen=True)
class Kind:
    """Which labels are replaced by which: classes, or -1 for any."""

    before: int = -1
    after: int = -1

    def touches(self, y: I64) -> NDArray[np.bool_]:
        """Which labels may be wrong."""
        return np.asarray((y == self.after) if self.after >= 0 else np.ones(len(y), dtype=bool))

    def law(self, share: float, classes: int) -> F64:
        """(classes, classes) probabilities of the label delivered, given the true one."""
        if self.after < 0:
            spread = np.full((classes, classes), share / max(classes - 1, 1))
            np.fill_diagonal(spread, 1 - share)
            return spread
        moved = np.eye(classes)
        before = range(classes) if self.before < 0 else [self.before]
        for c in before:
            if c != self.after:
                moved[c, c] = 1 - share
                moved[c, self.after] = share
        return moved


class Labels:
    """One source's labels and what models expect of them."""

    def __init__(self, probabilities: F64, y: I64) -> None:
        self.logs = np.log(np.maximum(probabilities, LEAST))
        self.y = y
        self.classes = probabilities.shape[1]

    def likelihoods(self, kind: Kind) -> F64:
        """Log likelihood of the labels at each of `SHARES`, the source's class weights fitted for each."""
        weights, out = np.zeros(self.classes), np.zeros(len(SHARES))
        for i, share in enumerate(SHARES):
            weights, out[i] = self._fit(kind, share, weights, _MIX if kind.after < 0 else _MIX_ONE)
        return out

    def likelihood(self, kind: Kind, share: float) -> float:
        """Log likelihood of the labels, mixes being as free for one kind of replacement as for another."""
        return self._fit(kind, share, np.zeros(self.classes), _MIX_ONE)[1]

    def wrong(self, kind: Kind, share: float) -> float:
        """The share of wrong labels among those that the kind of replacement gives."""
        law = kind.law(share, self.classes)
        each, ways = self._ways(self._fit(kind, share, np.zeros(self.classes), _MIX_ONE)[0], law)
        at = np.arange(len(self.y))
        right = each[at, self.y] * law[self.y, self.y] / (each * ways).sum(axis=1)
        touched = kind.touches(self.y)
        return float(1 - right[touched].mean()) if touched.any() else 0.0

    def _ways(self, weights: F64, law: F64) -> tuple[F64, F64]:
        """(n, classes) probabilities of the true class, and of its becoming the row's label."""
        each = self.logs + weights
        each = np.exp(each - each.max(axis=1, keepdims=True))
        return each / each.sum(axis=1, keepdims=True), law[:, self.y].T

    def _fit(self, kind: Kind, share: float, start: F64, mix: float) -> tuple[F64, float]:
        """The class weights under which the labels are likeliest, and how likely."""
        from scipy.optimize import minimize

        def loss(weights: F64, law: F64) -> tuple[float, F64]:
            each, ways = self._ways(weights, law)
            mixed = (each * ways).sum(axis=1)
            gradient = (each * (ways / mixed[:, None])).sum(axis=0) - each.sum(axis=0)
            return mix / 2 * float(weights @ weights) - float(np.log(mixed).sum()), mix * weights - gradient

        law = kind.law(share, self.classes)
        found = minimize(loss, start, (law,), jac=True, method="L-BFGS-B", options={"maxiter": 15})
        return found.x, -float(found.fun)

    def gains(self) -> F64:
        """(classes + 1, classes) how much likelier labels are if some of a class (or of any, last) became another."""
        p = np.exp(self.logs)
        own = p[np.arange(len(p)), self.y]
        counts = np.bincount(self.y, minlength=self.classes)
        best = np.zeros((self.classes + 1, self.classes))
        for share in _TRIED:
            gain = np.zeros((self.classes + 1, self.classes))
            ways = np.column_stack([p, 1 - own]) / own[:, None]
            np.add.at(gain.T, self.y, np.log1p(share * ways))
            gain[:-1] += np.log1p(-share) * counts[:, None]
            gain[-1] += np.log1p(-share) * (len(p) - counts)
            best = np.maximum(best, gain)
        np.fill_diagonal(best[:-1], 0.0)
        return best


def kinds(sources: Iterable[Labels]) -> list[tuple[Kind, float]]:
    """The kinds of replacement to test, and what a p-value of each has to be multiplied by (Bonferroni, 1936).

    Of more than two classes those are tested that show most in one of the sources, as chosen among all.
    """
    sources = list(sources)
    gains = np.array([each.gains() for each in sources])
    classes = gains.shape[2]
    if classes == 2:
        return [(Kind(), 1 / _ANY), *((Kind(1 - b, b), 2 / (1 - _ANY)) for b in range(2))]
    most = min(_MAX_KINDS, max(1, _CELLS // sum(each.logs.size for each in sources)))
    into, between = _top(gains[:, -1], most), _top(gains[:, :-1], most)
    return [
        (Kind(), 1 / _ANY),
        *((Kind(-1, b), classes / _INTO) for b in into),
        *((Kind(*divmod(at, classes)), classes**2 / _BETWEEN) for at in between),
    ]


def _top(gains: F64, most: int) -> list[int]:
    """The places of the largest gain of each source, largest first."""
    flat = gains.reshape(len(gains), -1)
    best = flat.max(axis=0)
    tops = {int(at) for at in flat.argmax(axis=1) if best[at] > 0}
    return sorted(tops, key=lambda at: (-best[at], at))[:most]


def calibrated(probabilities: F64, y: I64) -> F64:
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
