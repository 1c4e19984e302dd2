"""Floods of copies: many exact or nearly equal rows where the reference rows have none.

Exact copies are counted over the whole batch by the hash of their features. Near copies are counted on the sample:
rows within a small distance of one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import Calibrator, wilson_upper
from assay.screen.context import SUREST, Context
from assay.screen.encoding import F64, I64, Block
from assay.screen.errors import NotApplicable
from assay.screen.features import Distances

_MAX_ROWS = 8_000
_CHUNK = 1500
_MIN_GROUP = 6
_RADIUS = 0.04
_LEVEL = 1e-4
_MAX_GROUPS = 20


@dataclass
class _Flood:
    centre: NDArray[np.float32]
    radius: float
    labels: list[int]
    rows: int
    expected: float
    p_value: float
    surprise: float
    example: int
    hard: bool


class Duplicates:
    """Groups of copies that the reference rows cannot explain."""

    name = "near_duplicates"
    technique = "AML.T0020"
    decisive = True

    def fit(self, context: Context) -> None:
        """Count copies, calibrate the counts on reference rows, and gather what stands out into groups.

        Raises:
            NotApplicable: Too few rows to tell a flood from chance.
        """
        if len(context.pool) < 50:
            raise NotApplicable(
                f"{len(context.pool)} rows are too few to tell copies from chance (50 needed)"
            )
        self._context = context
        self._floods: list[_Flood] = []
        self._distances = Distances(context.encoder, context.pool)
        dense = self._distances.transform(context.pool)[:_MAX_ROWS]
        pool = context.pool.take(np.arange(len(dense)))
        null, fresh = context.null[: len(dense)], context.fresh[: len(dense)]
        self._width = max(1, dense.shape[1])
        reach = _RADIUS * np.sqrt(self._width)
        counts = _neighbours(dense, dense, reach)
        scale = context.rows / max(int(context.tested[: len(dense)].sum()), 1)
        # A flood stands around the row that it copies: clean rows are counted among themselves, scaled to all rows.
        usual = _neighbours(dense[null], dense[null], reach) * (len(dense) / max(int(null.sum()), 1))
        calibrator = Calibrator(np.log1p(usual), floor=1e-12)
        p = calibrator.p_values(np.log1p(counts.astype(np.float64)))
        candidates = np.flatnonzero(fresh & (counts + 1 >= _MIN_GROUP))
        candidates = candidates[np.lexsort((pool.content[candidates], -counts[candidates]))]
        covered = np.zeros(len(dense), dtype=bool)
        for i in candidates.tolist():
            if covered[i] or len(self._floods) >= _MAX_GROUPS:
                continue
            distance = np.sqrt(((dense - dense[i]) ** 2).sum(axis=1))
            radius = _RADIUS * np.sqrt(self._width) * 1.5
            near = distance <= radius
            covered |= near
            flood = self._judge(
                context, pool, near, null, fresh, i, dense[i], float(radius), float(p[i]), scale
            )
            if flood is not None:
                self._floods.append(flood)

    def _judge(
        self,
        context: Context,
        pool: Block,
        near: NDArray[np.bool_],
        null: NDArray[np.bool_],
        fresh: NDArray[np.bool_],
        i: int,
        centre: NDArray[np.float32],
        radius: float,
        p: float,
        scale: float,
    ) -> _Flood | None:
        members = np.flatnonzero(near & fresh)
        if len(members) < _MIN_GROUP:
            return None
        labels, counts = np.unique(pool.y[members], return_counts=True)
        label = int(labels[np.argmax(counts)])
        conflict = 0.5
        if context.models is not None and label >= 0:
            found = context.models.reference_probabilities(pool.take(members))
            conflict = float(np.median(found[:, label]))
        seen, size = int((near & null).sum()), int(null.sum())
        if context.referenced:
            # How likely so few reference rows are near, were the group as common in clean rows as it is here.
            share = len(members) / max(int(fresh.sum()), 1)
            absent = float((1 - min(share, 1.0)) ** size) if seen == 0 else 1.0
            rate = float(wilson_upper(np.array([seen]), np.array([size]))[0])
            if seen and share < 3 * rate:
                return None
            p = min(1.0, p * max(absent, 1e-6) ** 0.5)
        hard = p * max(len(pool) / _MIN_GROUP, 1) < 0.01 and conflict < 0.5
        if p > _LEVEL:
            return None
        # A number as label may be jittered over the edge of its bin.
        several = counts >= 0.1 * len(members) if context.encoder.regression else labels == label
        return _Flood(
            centre=centre,
            radius=radius,
            labels=[label, *(int(v) for v in labels[several] if v != label)],
            rows=round(len(members) * scale),
            expected=seen / max(size, 1) * context.rows,
            p_value=p,
            surprise=conflict,
            example=i,
            hard=hard,
        )

    def _member(self, block: Block) -> I64:
        """Which flood each row belongs to, -1 for none."""
        out = np.full(len(block), -1, dtype=np.int64)
        if not self._floods or not len(block):
            return out
        dense = self._distances.transform(block)
        for number, flood in enumerate(self._floods):
            near = ((dense - flood.centre) ** 2).sum(axis=1) <= flood.radius**2
            near &= np.isin(block.y, flood.labels)
            out[near & (out < 0)] = number
        return out

    def score(self, block: Block) -> F64:
        """The group's p-value for its members, 1 for all others and for rows that the snapshot vouches for."""
        member = self._member(block)
        p = np.ones(len(block))
        for number, flood in enumerate(self._floods):
            p[(member == number) & ~block.known] = max(flood.p_value, SUREST)
        return p

    def decides(self, block: Block) -> NDArray[np.bool_]:
        """Members of floods whose label is contradicted, but for rows that the snapshot vouches for."""
        member = self._member(block)
        hard = np.array([flood.hard for flood in self._floods] + [False])
        return np.asarray(hard[member] & ~block.known)

    def subjects(self, block: Block) -> list[str]:
        """The flood that each row belongs to."""
        return [f"flood {number + 1}" if number >= 0 else "" for number in self._member(block)]

    def explain(self, block: Block) -> list[str]:
        """Size of the group and what the reference shows."""
        out = []
        for number in self._member(block):
            flood = self._floods[number]
            label = self._context.encoder.class_name(flood.labels[0])
            out.append(
                f"one of about {flood.rows} near-copies of one row, all labelled {label!r}; "
                f"{self._context.against} would suggest {flood.expected:.1f} (p = {flood.p_value:.2g})"
            )
        return out

    def findings(self) -> list[Finding]:
        """One finding per flood."""
        if not self._floods:
            message = f"no group of copies that {self._context.against} do not explain"
            return [Finding(check="screen.near_duplicates", outcome=Outcome.PASSED, message=message)]
        encoder = self._context.encoder
        return [
            Finding(
                check="screen.near_duplicates",
                outcome=Outcome.FAILED,
                severity=Severity.HIGH if flood.hard else Severity.MEDIUM,
                scope=Scope.GROUP,
                subject=f"flood {number + 1}",
                message=f"about {flood.rows} near-copies of one row labelled {encoder.class_name(flood.labels[0])!r}",
                evidence={
                    "members": flood.rows,
                    "expected": flood.expected,
                    "p_value": flood.p_value,
                    "label_probability": flood.surprise,
                    "quarantined": flood.hard,
                },
                technique=self.technique,
            )
            for number, flood in enumerate(self._floods)
        ]


def _neighbours(dense: NDArray[np.float32], among: NDArray[np.float32], radius: float) -> I64:
    """For each row, how many of the rows `among`, itself not counted, lie within the radius."""
    squares = (among**2).sum(axis=1)
    counts = np.zeros(len(dense), dtype=np.int64)
    for start in range(0, len(dense), _CHUNK):
        part = dense[start : start + _CHUNK]
        distance = (part**2).sum(axis=1)[:, None] + squares[None, :] - 2 * part @ among.T
        counts[start : start + _CHUNK] = (distance <= radius**2 + 1e-4).sum(axis=1) - 1
    return counts
