"""Label disagreement: how surprising a row's label is to models that never saw the row.

Two views, both cross-fitted. The *crowd* view is trained on batch and reference rows together (confident learning,
Northcutt, Jiang and Chuang, 2021): it knows the data best, and finds labels flipped here and there. The *reference*
view is trained on reference rows alone: poison that comes in numbers cannot teach it that a trigger explains the label.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from assay.screen.classifiers import Classifier, bins, narrow, told_by_trees, weigh
from assay.screen.context import Context
from assay.screen.encoding import F64, I64, Block
from assay.screen.errors import NotApplicable
from assay.screen.signals.views import TwoViews

_REFERENCE_FIT = 60
_WITHOUT_ROWS = 6000
_TRUST = 0.15


class LabelModels:
    """Class probabilities of rows, each from models fitted without the row's fold."""

    def __init__(self, context: Context) -> None:
        self.encoder = context.encoder
        self.classes = len(context.encoder.classes)
        self._features = context.features
        self._folds = context.folds
        self._streaming = context.streaming
        self._seed = context.seed % 2**32
        pool = context.pool
        labelled = pool.y >= 0
        dense = self._features.transform(pool)
        folds = pool.fold(self._folds)
        self._crowd = [
            self._fit(pool, dense, labelled & (folds != k), large=True) for k in range(self._folds)
        ]
        weigh(self._crowd, pool, dense, folds, labelled)
        self._reference: list[Classifier | None] = [None] * self._folds
        usable = labelled & context.reference
        if usable.sum() >= _REFERENCE_FIT:
            self._reference = [
                self._fit(pool, dense, usable & (folds != k), large=False) for k in range(self._folds)
            ]
            weigh(self._reference, pool, dense, folds, usable)

    @property
    def has_reference(self) -> bool:
        """Whether there were enough reference rows to train on them alone."""
        return all(model is not None for model in self._reference)

    def _fit(
        self, pool: Block, dense: NDArray[np.float32], rows: NDArray[np.bool_], large: bool
    ) -> Classifier | None:
        if rows.sum() < 10 or len(np.unique(pool.y[rows])) < 2:
            return None
        return Classifier(
            pool.x[rows], dense[rows], pool.y[rows], self.classes, self._seed, large, self._streaming
        )

    def probabilities(self, block: Block) -> tuple[F64, F64 | None]:
        """(n, classes) of the crowd view and, if there is one, of the reference view."""
        return self._apply(self._crowd, block), self._apply(
            self._reference, block
        ) if self.has_reference else None

    def reference_probabilities(self, block: Block) -> F64:
        """(n, classes) of the reference view, else of the crowd view."""
        return self._apply(self._reference if self.has_reference else self._crowd, block)

    def without(self, pool: Block, block: Block, columns: list[int]) -> F64 | None:
        """(n, classes) of a crowd view of `pool` that cannot see some columns; None if no column is left.

        Of a tree model and a linear one, each row's own class gets the more favourable probability.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression

        wide = np.flatnonzero(~np.isin(np.array(self._features.origin), columns))
        pool = pool.take(np.flatnonzero(pool.y >= 0)[:_WITHOUT_ROWS])
        others = np.setdiff1d(np.arange(pool.x.shape[1]), columns)
        kept = others[told_by_trees(pool.x[:, others], pool.y)] if len(pool) else others
        if not len(wide) or not len(kept):
            return None
        best = np.zeros((len(block), self.classes))
        dense, seen = self._features.transform(pool)[:, wide], self._features.transform(block)[:, wide]
        folds, mine = pool.fold(3), block.fold(3)
        for k in range(3):
            rows, ask = np.flatnonzero(folds != k), np.flatnonzero(mine == k)
            if not len(ask) or len(np.unique(pool.y[rows])) < 2:
                continue
            trees = HistGradientBoostingClassifier(
                # With all columns it is asked what few rows teach: that takes more and finer steps.
                max_iter=20 if columns else 60,
                learning_rate=0.1 if columns else 0.2,
                min_samples_leaf=20 if columns else 5,
                max_leaf_nodes=15,
                max_bins=bins(kept, pool.y),
                early_stopping=False,
                random_state=self._seed,
            )
            for model, train, test in (
                (trees, narrow(pool.x[:, kept]), narrow(block.x[:, kept])),
                (LogisticRegression(C=0.3, max_iter=200), dense, seen),
            ):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model.fit(train[rows], pool.y[rows])
                found = model.predict_proba(test[ask])
                part = best[ask]
                part[:, model.classes_] = np.maximum(part[:, model.classes_], found)
                best[ask] = part
        return best

    def _apply(self, models: list[Classifier | None], block: Block) -> F64:
        out = np.full((len(block), self.classes), 1.0 / max(self.classes, 1))
        if not len(block):
            return out
        dense = self._features.transform(block)
        folds = block.fold(self._folds)
        for k, model in enumerate(models):
            rows = np.flatnonzero(folds == k)
            if model is not None and len(rows):
                out[rows] = model.predict(block.x[rows], dense[rows])
        return out


def surprise(probabilities: F64, y: I64) -> F64:
    """Log odds of the likeliest other class over the row's own: high where they contradict it; NaN without a label."""
    n = len(y)
    out = np.full(n, np.nan)
    rows = np.flatnonzero(y >= 0)
    logs = np.log(np.maximum(probabilities[rows], 1e-9))
    own = logs[np.arange(len(rows)), y[rows]]
    logs[np.arange(len(rows)), y[rows]] = -np.inf
    out[rows] = logs.max(axis=1) - own
    return out


class Labels(TwoViews):
    """Classes that the models find unlikely."""

    def fit(self, context: Context) -> None:
        """Fit the models and calibrate both views.

        Raises:
            NotApplicable: No label, one class only, or too few rows.
        """
        if not context.has_label:
            raise NotApplicable("the contract names no label")
        seen = np.unique(context.pool.y[context.pool.y >= 0])
        if len(seen) < 2:
            raise NotApplicable("fewer than two classes occur")
        if len(context.pool) < 50:
            raise NotApplicable(f"{len(context.pool)} rows are too few to cross-validate a model (50 needed)")
        self._models = LabelModels(context)
        context.models = self._models
        self.calibrate(context)

    def misses(self, block: Block) -> tuple[F64, F64 | None]:
        """Log odds of the likeliest other class over the row's own; the crowd's with a little of the reference's."""
        crowd, reference = self._models.probabilities(block)
        both = surprise(crowd, block.y)
        if reference is None:
            return both, None
        alone = surprise(reference, block.y)
        return both + _TRUST * alone, alone

    def told(self, block: Block, alone: bool) -> list[str]:
        """Own and expected class with their probabilities."""
        views = self._models.reference_probabilities(block) if alone else self._models.probabilities(block)[0]
        whose = f"models of {self._context.against} alone" if alone else "models that never saw the row"
        names = self._context.encoder
        out = []
        for p, y in zip(views, block.y, strict=True):
            best = int(np.argmax(p))
            own = p[y] if y >= 0 else 0.0
            out.append(
                f"label {names.class_name(int(y))!r} is unlikely for these features: {whose} "
                f"give it {own:.3f} and {names.class_name(best)!r} {p[best]:.3f}"
            )
        return out
