"""Conditional residuals: each column given all others and the label.

A value can lie well within its column's range and still not fit its row: shifted readings, garbage within the range,
features that were pulled towards another row. In the Gaussian copula (Liu, Lafferty and Wasserman, 2009) of the
features' normal scores, one inverse of the correlation matrix gives every column's residual given all the others at
once. Two things count: a residual that no clean row has, and a column in which many rows leave in the same
direction, where clean rows do not. The second is an estimated likelihood ratio of the batch against the reference,
taken only for columns whose distributions differ significantly (Holm, 1979), and summed over them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import Calibrator, combine, holm
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.errors import NotApplicable

_MIN_ROWS = 100
_SHRINK = 0.002
_LEVEL = 0.05
_PRIOR = 20.0
_LEAST = 0.01
_MAX_CHANNELS = 256
_STREAMED = 12
_THRESHOLDS = (0.01, 0.02, 0.05, 0.1)
_FINE = np.array([0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.35])
_EDGES = np.concatenate([_FINE, [0.5], 1 - _FINE[::-1]])


class Residuals:
    """Fused p-value of a row's largest residuals and of its columns' drift."""

    name = "residuals"
    technique = "AML.T0020"
    decisive = False

    def fit(self, context: Context) -> None:
        """Fit the copula without each row's fold, find the columns that drifted, and calibrate.

        Raises:
            NotApplicable: Too few rows or columns for residuals to mean anything.
        """
        pool = context.pool
        if len(pool) < _MIN_ROWS:
            raise NotApplicable(f"{len(pool)} rows are too few for residuals ({_MIN_ROWS} needed)")
        self._context = context
        self._folds = context.folds
        self._classes = len(context.encoder.classes) if context.has_label else 0
        self._origin = np.array(context.features.origin)
        if len(np.unique(self._origin)) < 3:
            raise NotApplicable("fewer than three columns have values")
        design = self._design(pool)
        folds = pool.fold(self._folds)
        sound = context.reference if context.referenced else np.zeros(len(pool), dtype=bool)
        self._copulas = [_Copula(design[folds != k], sound[folds != k]) for k in range(self._folds)]
        self._kept = self._informative(context)
        residuals = self._residuals(pool)
        self._sorted = np.sort(residuals, axis=0)
        places = self._places(residuals)
        self._drifts = self._drifted(context, places, folds)
        null = context.null
        self._lone = Calibrator(self._loneliness(places)[null], floor=1e-12)
        self._joint = Calibrator(self._evidence(places, folds)[null], floor=1e-12) if self._drifts else None

    def _informative(self, context: Context) -> NDArray[np.int64]:
        """The features whose residuals are looked at: all, or of many those that the others explain best."""
        width = len(self._origin)
        most = _STREAMED if context.streaming else _MAX_CHANNELS
        explained = np.mean([copula.explained[:width] for copula in self._copulas], axis=0)
        return np.sort(np.argsort(-explained, kind="stable")[:most])

    def _design(self, block: Block) -> F64:
        dense = self._context.features.transform(block).astype(np.float64)
        label = (block.y[:, None] == np.arange(self._classes)).astype(np.float64)
        return np.hstack([dense, label])

    def _residuals(self, block: Block) -> F64:
        design, folds = self._design(block), block.fold(self._folds)
        out = np.zeros((len(block), len(self._kept)))
        for k, copula in enumerate(self._copulas):
            rows = np.flatnonzero(folds == k)
            out[rows] = copula.residuals(design[rows], self._kept)
        return out

    def _places(self, residuals: F64) -> F64:
        """Each residual's mid-rank among the pool's, in (0, 1)."""
        n = len(self._sorted)
        out = np.empty(residuals.shape)
        for j in range(residuals.shape[1]):
            low = np.searchsorted(self._sorted[:, j], residuals[:, j], side="left")
            high = np.searchsorted(self._sorted[:, j], residuals[:, j], side="right")
            out[:, j] = (low + high + 1) / (2 * n + 2)
        return out

    def _loneliness(self, places: F64) -> F64:
        """Minus log of the harmonic mean over columns of two-sided tail probabilities."""
        tails = 2 * np.minimum(places, 1 - places)
        return -np.log(combine(tails, np.ones(tails.shape[1])))

    def _drifted(self, context: Context, places: F64, folds: NDArray[np.int64]) -> dict[int, _Drift]:
        """Columns in which fresh rows leave the reference."""
        if not context.referenced:
            return {}
        fresh, clean = context.fresh, context.reference
        if fresh.sum() < _MIN_ROWS or clean.sum() < _MIN_ROWS:
            return {}
        width = places.shape[1]
        p_values = [_excess(places[fresh, j], places[clean, j]) for j in range(width)]
        return {
            j: _Drift(places[:, j], fresh, clean, folds, self._folds, p)
            for j, p in enumerate(holm(p_values))
            if p <= _LEVEL
        }

    def _evidence(self, places: F64, folds: NDArray[np.int64]) -> F64:
        """Sum of the drifted columns' log likelihood ratios."""
        total = np.zeros(len(places))
        for j, drift in self._drifts.items():
            total += drift.ratio(places[:, j], folds)
        return total

    def score(self, block: Block) -> F64:
        """P-values."""
        places, folds = self._places(self._residuals(block)), block.fold(self._folds)
        p = self._lone.p_values(self._loneliness(places))
        if self._joint is None:
            return p
        joint = self._joint.p_values(self._evidence(places, folds))
        return combine(np.column_stack([p, joint]), np.array([0.2, 0.8]))

    def explain(self, block: Block) -> list[str]:
        """The columns that fit the rest of the row least."""
        encoder = self._context.encoder
        residuals = self._residuals(block)
        places = self._places(residuals)
        tails = 2 * np.minimum(places, 1 - places)
        for j in self._drifts:
            tails[:, j] *= 0.1
        out = []
        for i in range(len(block)):
            parts = []
            for j in np.argsort(tails[i], kind="stable")[:3]:
                column = int(self._origin[self._kept[j]])
                side = "higher" if residuals[i, j] > 0 else "lower"
                shown = encoder.describe(column, block.x[i, column])
                part = f"{encoder.columns[column]} = {shown} is {side} than the rest of the row lets expect"
                if part not in parts:
                    parts.append(part)
            out.append("; ".join(parts[:2]) + f" (against {self._context.against})")
        return out

    def findings(self) -> list[Finding]:
        """Columns that drifted away from what the others explain."""
        encoder = self._context.encoder
        if not self._drifts:
            return [
                Finding(
                    check="screen.residuals",
                    outcome=Outcome.PASSED,
                    message=f"no column leaves what the others explain ({self._context.against})",
                )
            ]
        by_column: dict[int, float] = {}
        for j, drift in self._drifts.items():
            column = int(self._origin[self._kept[j]])
            by_column[column] = min(by_column.get(column, 1.0), drift.p_value)
        return [
            Finding(
                check="screen.residuals",
                outcome=Outcome.FAILED,
                severity=Severity.MEDIUM,
                scope=Scope.COLUMN,
                subject=encoder.columns[column],
                message=f"{encoder.columns[column]}, given the other columns, is distributed otherwise than in "
                f"{self._context.against} (adjusted p = {p:.2g})",
                evidence={"p_value": p},
                technique=self.technique,
            )
            for column, p in sorted(by_column.items())
        ]


class _Copula:
    """Correlations of the columns and their inverse."""

    def __init__(self, design: F64, sound: NDArray[np.bool_]) -> None:
        self._mean = design.mean(axis=0)
        spread = design.std(axis=0)
        self._scale = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)
        z = (design - self._mean) * self._scale
        correlation = (z.T @ z) / max(len(z), 1)
        rows = int(sound.sum())
        if rows:
            # Poison in the batch widens just those residuals that it shows in: sound rows count as far as they reach.
            trust = rows / (rows + len(correlation))
            clean = z[sound]
            correlation = (1 - trust) * correlation + trust * (clean.T @ clean) / rows
        correlation = (1 - _SHRINK) * correlation + _SHRINK * np.eye(len(correlation))
        self._precision = np.linalg.inv(correlation)
        self.explained = np.where(self._scale > 0, np.diag(self._precision), 0.0)
        self._unit = 1 / np.sqrt(np.diag(self._precision))

    def residuals(self, design: F64, kept: NDArray[np.int64]) -> F64:
        """The residuals of some columns given all others, in conditional standard deviations."""
        z = (design - self._mean) * self._scale
        # The last bits of a product depend on the rows beside it; without them a row's rank does not.
        return np.asarray(np.round((z @ self._precision[:, kept]) * self._unit[kept], 6))


class _Drift:
    """The likelihood ratio, batch over reference, of one column's residual; cross-fitted."""

    def __init__(
        self,
        places: F64,
        fresh: NDArray[np.bool_],
        clean: NDArray[np.bool_],
        folds: NDArray[np.int64],
        count: int,
        p_value: float,
    ) -> None:
        self.p_value = p_value
        cells = np.searchsorted(_EDGES, places)
        self._logs = np.zeros((count, len(_EDGES) + 1))
        for k in range(count):
            keep = folds != k
            new = np.bincount(cells[fresh & keep], minlength=len(_EDGES) + 1).astype(np.float64)
            old = np.bincount(cells[clean & keep], minlength=len(_EDGES) + 1).astype(np.float64)
            prior = np.maximum(_PRIOR * (new + old) / (new + old).sum(), _LEAST)
            total = prior.sum()
            self._logs[k] = np.log((new + prior) / (new.sum() + total)) - np.log(
                (old + prior) / (old.sum() + total)
            )

    def ratio(self, places: F64, folds: NDArray[np.int64]) -> F64:
        """Log likelihood ratio per row."""
        return np.asarray(self._logs[folds, np.searchsorted(_EDGES, places)])


def _excess(new: F64, old: F64) -> float:
    """P-value of more new than old places near one of the ends (Fisher's exact test, Bonferroni over ends and cuts)."""
    from scipy.stats import hypergeom

    p_values = []
    for low in (True, False):
        for cut in _THRESHOLDS:
            hits, base = ((part < cut if low else part > 1 - cut).sum() for part in (new, old))
            p_values.append(hypergeom(len(new) + len(old), hits + base, len(new)).sf(hits - 1))
    return float(min(1.0, min(p_values) * len(p_values)))
