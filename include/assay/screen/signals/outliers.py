"""Rows that lie apart: PyOD detectors and histograms (these alone where rows are many), globally and per class.

No unsupervised detector is best everywhere (Han et al., ADBench, 2022), so several vote: each score becomes the
negative log of its tail share in the detector's own training scores, and the votes are averaged. Features alone say
nothing of a flipped label; within the class of its label a flipped row often does lie apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome
from assay.screen.calibration import Calibrator
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.errors import NotApplicable

_FOLDS = 2
_FIT_ROWS = 4000
_CLASS_ROWS = 1500
_MIN_CLASS = 40
_MAX_CLASSES = 12
_BINS = 20


class Outliers:
    """Mean vote of the ensemble; global and per-class votes are added."""

    name = "outliers"
    technique = "AML.T0020"
    decisive = False

    def fit(self, context: Context) -> None:
        """Fit the detectors on half the pool each and calibrate on the reference.

        Raises:
            NotApplicable: Too few rows, or no feature that varies.
        """
        if len(context.pool) < 50:
            raise NotApplicable(f"{len(context.pool)} rows are too few for outlier detectors (50 needed)")
        self._context = context
        self._features = context.features
        dense = self._features.transform(context.pool)
        self._varies = np.flatnonzero(dense.std(axis=0) > 1e-9)
        if not len(self._varies):
            raise NotApplicable("no feature varies")
        dense = dense[:, self._varies]
        pool = context.pool
        folds = pool.fold(_FOLDS)
        # With millions of rows only the detector that is a table look-up scores them all.
        self._streaming = context.streaming
        self._global: list[list[_Detector]] = []
        self._class: list[dict[int, _Detector]] = []
        for k in range(_FOLDS):
            there = np.flatnonzero(folds != k)
            if len(there) < 20:
                there = np.arange(len(pool))
            self._global.append(self._ensemble(dense[there[:_FIT_ROWS]], context.seed))
            per_class: dict[int, _Detector] = {}
            for c in np.unique(pool.y[there])[: _MAX_CLASSES + 1]:
                rows = there[pool.y[there] == c][:_CLASS_ROWS]
                if c >= 0 and len(rows) >= _MIN_CLASS:
                    per_class[int(c)] = _Detector(
                        "histograms" if self._streaming else "knn", dense[rows], context.seed
                    )
            self._class.append(per_class)
        self._null = Calibrator(self._raw(pool.take(context.null)))

    def _ensemble(self, dense: NDArray[np.float32], seed: int) -> list[_Detector]:
        names = ("histograms",) if self._streaming else ("histograms", "iforest", "knn")
        return [_Detector(name, dense, seed) for name in names]

    def _raw(self, block: Block) -> F64:
        out = np.zeros(len(block))
        if not len(block):
            return out
        dense = self._features.transform(block)[:, self._varies]
        folds = block.fold(_FOLDS)
        for k in range(_FOLDS):
            rows = np.flatnonzero(folds == k)
            if not len(rows):
                continue
            votes = [detector.votes(dense[rows]) for detector in self._global[k]]
            out[rows] = np.mean(votes, axis=0)
            for c, detector in self._class[k].items():
                mine = rows[block.y[rows] == c]
                if len(mine):
                    out[mine] += detector.votes(dense[mine])
        return out

    def score(self, block: Block) -> F64:
        """P-values."""
        return self._null.p_values(self._raw(block))

    def explain(self, block: Block) -> list[str]:
        """The columns in which the row lies farthest out."""
        encoder = self._context.encoder
        out = []
        for i, worst in enumerate(self._features.extremes(block, 3)):
            shown = ", ".join(f"{encoder.columns[j]} = {encoder.describe(j, block.x[i, j])}" for j in worst)
            out.append(f"lies apart from other rows, most in {shown} (against {self._context.against})")
        return out

    def findings(self) -> list[Finding]:
        """Which detectors voted."""
        names = [detector.name for detector in self._global[0]]
        return [
            Finding(
                check="screen.outliers",
                outcome=Outcome.PASSED,
                message=f"rows scored by {', '.join(names)} over all rows and within {len(self._class[0])} classes, "
                f"calibrated on {self._context.against}",
                evidence={"detectors": names, "classes": len(self._class[0])},
            )
        ]


class _Detector:
    """A detector whose scores are tail shares in its own training scores."""

    def __init__(self, name: str, dense: NDArray[np.float32], seed: int) -> None:
        self.name = name
        self._model = _detector(name, len(dense), seed)
        data = dense.astype(np.float64)
        self._model.fit(data)
        self._null = np.sort(np.nan_to_num(self._model.decision_scores_, nan=0.0, posinf=1e9, neginf=-1e9))

    def votes(self, dense: NDArray[np.float32]) -> F64:
        """Minus log of the share of training rows that score at least as high."""
        scores = np.nan_to_num(self._model.decision_function(dense.astype(np.float64)), nan=0.0)
        above = len(self._null) - np.searchsorted(self._null, scores, side="left")
        share = (above + 0.5) / (len(self._null) + 1.0)
        # Past the last training row the distance goes on counting, slowly.
        spread = max(float(self._null[-1] - np.median(self._null)), 1e-9)
        beyond = np.clip((scores - self._null[-1]) / spread, 0, 10)
        return np.asarray(-np.log(share) + beyond)


class _Histograms:
    """Sum over columns of minus log density in equal-count bins (the idea of HBOS: Goldstein and Dengel, 2012).

    PyOD's own HBOS compiles for seconds in every process; this is one look-up per cell.
    """

    def fit(self, data: F64) -> _Histograms:
        self._edges, self._scores = [], []
        for column in data.T:
            edges = np.unique(np.quantile(column, np.linspace(0, 1, _BINS + 1)))
            counts = np.histogram(column, edges)[0] if len(edges) > 1 else np.array([len(column)])
            widths = np.maximum(np.diff(edges), 1e-6) if len(edges) > 1 else np.ones(1)
            density = (counts + 0.5) / (len(column) + 0.5) / widths
            # One bin more on either side, for what lies outside.
            outside = np.log(len(column) + 1.0)
            inner = -np.log(density / density.max())
            self._edges.append(edges)
            self._scores.append(np.concatenate([[inner.max() + outside], inner, [inner.max() + outside]]))
        self.decision_scores_ = self.decision_function(data)
        return self

    def decision_function(self, data: F64) -> F64:
        """(n,) scores; higher is farther out."""
        total = np.zeros(len(data))
        for j, (edges, scores) in enumerate(zip(self._edges, self._scores, strict=True)):
            place = np.searchsorted(edges, data[:, j], side="right")
            place[data[:, j] == edges[-1]] = max(len(edges) - 1, 0)
            total += scores[np.minimum(place, len(scores) - 1)]
        return total


def _detector(name: str, rows: int, seed: int) -> Any:
    if name == "histograms":
        return _Histograms()
    if name == "iforest":
        from pyod.models.iforest import IForest

        return IForest(n_estimators=100, random_state=seed % 2**32)
    # ECOD and COPOD score a row by the rows it is scored with, which would make a verdict depend on its batch.
    from pyod.models.knn import KNN

    return KNN(n_neighbors=min(10, max(1, rows // 4)), method="mean")
