"""Floods of like texts: one template or paraphrase over and over, where the reference rows have no such family.

Duplicates of whole rows escape notice when every copy gets other words, numbers and names. Texts are compared by the
shingles that they share: MinHash signatures (Broder, 1997; one permutation: Li, Owen and Zhang, 2012) estimate the
Jaccard similarity of two texts at the price of 64 comparisons. Families are gathered around leaders on the sample, each
is held against how often reference rows belong to it, and one with an unexpected share of one label is poison.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import beta_binomial_tail
from assay.screen.context import Context
from assay.screen.encoding import F64, I64, Block
from assay.screen.errors import NotApplicable
from assay.screen.texts import EMPTY, Signature, similarity

_MAX_ROWS = 8_000
_MIN_GROUP = 6
_MIN_SHARE = 0.003
_ALIKE = (0.22, 0.6)
_CHANCE = 0.9995
_PROBES = 200
_LEADERS = 200
_SPOKESMEN = 12
_BAND = 2
_LEVEL = 1e-4
_SURPRISE = 0.02
_MAX_FAMILIES = 20
_LEAST_FILLED = 8
_CONCENTRATION = 8.0


@dataclass(frozen=True)
class _Family:
    text: int
    leaders: Signature
    alike: float
    labels: tuple[int, ...]
    rows: int
    seen: int
    expected: float
    p_value: float
    surprise: float
    hard: bool


class Texts:
    """Families of like texts that the reference rows cannot explain."""

    name = "near_texts"
    technique = "AML.T0020"
    decisive = True

    def fit(self, context: Context) -> None:
        """Gather families on the sample and test each against the reference rows.

        Raises:
            NotApplicable: No free text, or too few rows.
        """
        if not context.encoder.texts:
            raise NotApplicable("no column holds free text")
        if context.fresh.sum() < 50:
            raise NotApplicable(
                f"{int(context.fresh.sum())} new rows are too few to find families of texts (50 needed)"
            )
        self._context = context
        self.families: list[_Family] = []
        pool = context.pool.take(np.arange(min(len(context.pool), _MAX_ROWS)))
        fresh, reference = context.fresh[: len(pool)], context.reference[: len(pool)]
        scale = context.rows / max(int(context.tested[: len(pool)].sum()), 1)
        tests = 0
        for text in range(len(context.encoder.texts)):
            signatures = pool.texts[:, text]
            self._alike = _threshold(signatures, context.null[: len(pool)])
            covered = np.zeros(len(pool), dtype=bool)
            for leader in _leaders(signatures, fresh):
                if covered[leader] or len(self.families) >= _MAX_FAMILIES:
                    continue
                first = similarity(signatures[leader], signatures)
                near = np.flatnonzero(fresh & (first >= self._alike))
                # Paraphrases are like one another rather than like one of them: several speak for the family.
                near = near[np.argsort(-first[near], kind="stable")]
                places = np.unique(np.linspace(0, len(near) - 1, _SPOKESMEN).astype(np.int64))
                leaders = signatures[near[places]]
                members = _belongs(leaders, signatures, self._alike)
                covered |= members
                tests += 1
                family = self._judge(pool, text, leaders, members, fresh, reference, scale)
                if family is not None:
                    self.families.append(family)
        self._tests = tests

    def _judge(
        self,
        pool: Block,
        text: int,
        leaders: Signature,
        near: NDArray[np.bool_],
        fresh: NDArray[np.bool_],
        reference: NDArray[np.bool_],
        scale: float,
    ) -> _Family | None:
        members = np.flatnonzero(near & fresh)
        total = int(fresh.sum())
        if len(members) < max(_MIN_GROUP, _MIN_SHARE * total):
            return None
        seen, size = int((near & reference).sum()), int(reference.sum())
        # The share of clean rows in this family is beta, given how many reference rows are; without reference rows any
        # large family is one too many, and only its label can clear it.
        p = beta_binomial_tail(len(members), total, seen + 1.0, float(size - seen + 1)) if size else 1.0
        labels, counts = np.unique(pool.y[members], return_counts=True)
        label = int(labels[np.argmax(counts)])
        surprise = self._surprise(pool, members, label)
        referenced = self._context.referenced
        # A family that is new and all of one label that it should not carry is two surprises.
        p = min(1.0, p * surprise * _LEADERS)
        if referenced and p > _LEVEL:
            return None
        common = labels[counts >= 0.1 * len(members)]
        return _Family(
            text=text,
            leaders=leaders,
            alike=self._alike,
            labels=tuple(int(v) for v in common) if label >= 0 else (),
            rows=round(len(members) * scale),
            seen=len(members),
            expected=seen / max(size, 1) * self._context.rows,
            p_value=max(p if referenced else surprise, 1e-300),
            surprise=surprise,
            hard=bool(surprise <= _SURPRISE and p <= (_LEVEL if referenced else 1.0)),
        )

    def _surprise(self, pool: Block, members: I64, label: int) -> float:
        """P-value of so many members with one label where a model of reference rows gives it this much."""
        models = self._context.models
        if models is None or label < 0:
            return 1.0
        found = models.reference_probabilities(pool.take(members))
        share = float(np.clip(found[:, label].mean(), 0.02, 0.98))
        hits = int((pool.y[members] == label).sum())
        return beta_binomial_tail(hits, len(members), _CONCENTRATION * share, _CONCENTRATION * (1 - share))

    def _member(self, block: Block) -> I64:
        """Which family each row belongs to, -1 for none."""
        out = np.full(len(block), -1, dtype=np.int64)
        for number, family in enumerate(self.families):
            near = _belongs(family.leaders, block.texts[:, family.text], family.alike)
            if family.labels:
                near &= np.isin(block.y, family.labels)
            out[near & (out < 0) & ~block.known] = number
        return out

    def score(self, block: Block) -> F64:
        """The family's p-value for its members, 1 for all others."""
        values = np.array([family.p_value for family in self.families] + [1.0])
        return np.asarray(values[self._member(block)])

    def decides(self, block: Block) -> NDArray[np.bool_]:
        """Members of families whose label clean rows like these would not carry."""
        hard = np.array([family.hard for family in self.families] + [False])
        return np.asarray(hard[self._member(block)])

    def subjects(self, block: Block) -> list[str]:
        """The family that each row belongs to."""
        return [f"texts {number + 1}" if number >= 0 else "" for number in self._member(block)]

    def explain(self, block: Block) -> list[str]:
        """Column, size of the family, and what the reference shows."""
        return [self._sentence(self.families[number], "one of") for number in self._member(block)]

    def _sentence(self, family: _Family, opening: str) -> str:
        encoder = self._context.encoder
        labels = " or ".join(repr(encoder.class_name(label)) for label in family.labels[:3])
        return (
            f"{opening} about {family.rows} rows whose {encoder.texts[family.text]} says nearly the same"
            + (f", labelled {labels}" if labels else "")
            + f"; {self._context.against} would suggest {family.expected:.1f} (p = {family.p_value:.2g})"
        )

    def findings(self) -> list[Finding]:
        """One finding per family."""
        if not self.families:
            message = f"no family of like texts that {self._context.against} do not explain ({self._tests} looked at)"
            return [Finding(check="screen.near_texts", outcome=Outcome.PASSED, message=message)]
        encoder = self._context.encoder
        return [
            Finding(
                check="screen.near_texts",
                outcome=Outcome.FAILED,
                severity=Severity.HIGH if family.hard else Severity.MEDIUM,
                scope=Scope.GROUP,
                subject=f"texts {number + 1}",
                message=self._sentence(family, "there are"),
                evidence={
                    "column": encoder.texts[family.text],
                    "members": family.rows,
                    "expected": family.expected,
                    "p_value": family.p_value,
                    "label_p_value": family.surprise,
                    "quarantined": family.hard,
                },
                technique=self.technique,
            )
            for number, family in enumerate(self.families)
        ]


def _belongs(leaders: Signature, signatures: Signature, alike: float) -> NDArray[np.bool_]:
    """Which texts are like one of the leaders."""
    out = np.zeros(len(signatures), dtype=bool)
    for leader in leaders:
        out |= similarity(leader, signatures) >= alike
    return out


def _threshold(signatures: Signature, null: NDArray[np.bool_]) -> float:
    """The similarity that two clean texts hardly ever reach: texts on one subject share words by nature."""
    clean = signatures[null]
    clean = clean[(clean != EMPTY).sum(axis=1) >= _LEAST_FILLED]
    if len(clean) < 2:
        return _ALIKE[1]
    found = []
    for row in range(min(_PROBES, len(clean))):
        others = np.delete(clean, row, axis=0)
        found.append(similarity(clean[row], others))
    return float(np.clip(1.2 * np.quantile(np.concatenate(found), _CHANCE), *_ALIKE))


def _leaders(signatures: Signature, fresh: NDArray[np.bool_]) -> Iterator[int]:
    """New rows that many others are like, most crowded first: one of each large bucket of a banded index.

    Two texts share a band of two values with probability j², and one of the 32 bands with 1 - (1 - j²)^32, for a
    Jaccard similarity of j.
    """
    rows = np.flatnonzero(fresh & ((signatures != EMPTY).sum(axis=1) >= _LEAST_FILLED))
    crowd: dict[int, int] = {}
    for start in range(0, signatures.shape[1] - _BAND + 1, _BAND):
        band = signatures[rows, start : start + _BAND].astype(np.uint64)
        key = (band[:, 0] << np.uint64(32)) | band[:, 1]
        _, first, counts = np.unique(key, return_index=True, return_counts=True)
        empty = (band == EMPTY).any(axis=1)[first]
        for i in np.flatnonzero((counts >= _MIN_GROUP) & ~empty):
            leader = int(rows[first[i]])
            crowd[leader] = max(crowd.get(leader, 0), int(counts[i]))
    return iter(sorted(crowd, key=lambda row: (-crowd[row], row))[:_LEADERS])
