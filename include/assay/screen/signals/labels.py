"""Label disagreement: how surprising a row's label is to models that never saw the row.

Two views, both cross-fitted. The *crowd* view is trained on batch and reference rows together (confident learning,
Northcutt, Jiang and Chuang, 2021): it knows the data best, and finds labels flipped here and there. The *reference*
view is trained on reference rows alone: poison that comes in numbers cannot teach it that a trigger explains the label.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.screen.context import Context
from assay.screen.encoding import F64, I64, Block
from assay.screen.errors import NotApplicable
from assay.screen.features import strongest
from assay.screen.signals.views import TwoViews

_FLOOR = 1e-7
_REFERENCE_FIT = 60
_WITHOUT_ROWS = 6000
_LINEAR_ROWS = 6_000
_TREE_COLUMNS = 400
_INDICATORS = 50
_BOOSTED_CLASSES = 20


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
        self._reference: list[_Model | None] = [None] * self._folds
        usable = labelled & context.reference
        if usable.sum() >= _REFERENCE_FIT:
            self._reference = [
                self._fit(pool, dense, usable & (folds != k), large=False) for k in range(self._folds)
            ]

    @property
    def has_reference(self) -> bool:
        """Whether there were enough reference rows to train on them alone."""
        return all(model is not None for model in self._reference)

    def _fit(
        self, pool: Block, dense: NDArray[np.float32], rows: NDArray[np.bool_], large: bool
    ) -> _Model | None:
        if rows.sum() < 10 or len(np.unique(pool.y[rows])) < 2:
            return None
        return _Model(
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
        kept = np.setdiff1d(np.flatnonzero(np.isfinite(pool.x).any(axis=0)), columns)
        if not len(wide) or not len(kept):
            return None
        best = np.zeros((len(block), self.classes))
        pool = pool.take(np.flatnonzero(pool.y >= 0)[:_WITHOUT_ROWS])
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

    def _apply(self, models: list[_Model | None], block: Block) -> F64:
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


class _Model:
    """Boosted trees and a linear model, averaged in log space."""

    def __init__(
        self,
        x: F64,
        dense: NDArray[np.float32],
        y: I64,
        classes: int,
        seed: int,
        large: bool,
        streaming: bool,
    ) -> None:
        from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression

        self.classes = classes
        self._members: list[tuple[Any, bool]] = []
        self._seen = strongest(x, y[:, None] == np.unique(y)[:_INDICATORS], _TREE_COLUMNS)
        self._seen = self._seen[np.isfinite(x[:, self._seen]).any(axis=0)]
        # Trees cost most of the time of millions of rows: there the small model does without.
        if large or not streaming:
            many = 60 if large and classes <= 3 and len(y) > 1200 else 30
            trees: Any = HistGradientBoostingClassifier(
                max_iter=40 if streaming else many,
                learning_rate=0.15 if streaming else 0.1,
                max_leaf_nodes=15,
                min_samples_leaf=20 if len(y) > 1000 else 10,
                l2_regularization=1.0,
                early_stopping=False,
                random_state=seed,
            )
            if len(np.unique(y)) > _BOOSTED_CLASSES:
                # Boosting grows a tree per class and round; a forest's trees serve all classes at once.
                trees = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)
            self._members.append((trees.fit(self._numbers(x), y), True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a linear model that has not quite converged still ranks rows
            linear = LogisticRegression(C=0.3 if large else 0.1, max_iter=200)
            # Rows stand in the order of their hashes: the first are as good a sample as any.
            few = slice(_LINEAR_ROWS if len(np.unique(y[:_LINEAR_ROWS])) > 1 else None)
            self._members.append((linear.fit(dense[few], y[few]), False))

    def _numbers(self, x: F64) -> NDArray[np.float32]:
        """The columns that have a value at all, inside what float32 holds."""
        if not len(self._seen):
            return np.zeros((len(x), 1), dtype=np.float32)
        return narrow(x[:, self._seen])

    def predict(self, x: F64, dense: NDArray[np.float32]) -> F64:
        """(n, classes), rows summing to 1."""
        total = np.zeros((len(x), self.classes))
        for member, wants_trees in self._members:
            found = np.full((len(x), self.classes), _FLOOR)
            p = member.predict_proba(self._numbers(x) if wants_trees else dense)
            found[:, member.classes_] = np.maximum(p, _FLOOR)
            total += np.log(found)
        total = np.exp(total / len(self._members))
        return np.asarray(total / total.sum(axis=1, keepdims=True))


def narrow(x: F64) -> NDArray[np.float32]:
    """Numbers as float32, those beyond its range at its ends."""
    return np.clip(x, -3e38, 3e38).astype(np.float32)


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
    """Fused p-value of the crowd view and the reference view."""

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
        """Log odds of the likeliest other class over the row's own."""
        crowd, reference = self._models.probabilities(block)
        both = surprise(crowd, block.y)
        if reference is None:
            return both, None
        alone = surprise(reference, block.y)
        return both + 0.3 * alone, alone

    def explain(self, block: Block) -> list[str]:
        """Own and expected class with their probabilities."""
        crowd, reference = self._models.probabilities(block)
        views = crowd if reference is None else (crowd + reference) / 2
        names = self._context.encoder
        out = []
        for p, y in zip(views, block.y, strict=True):
            best = int(np.argmax(p))
            own = p[y] if y >= 0 else 0.0
            out.append(
                f"label {names.class_name(int(y))!r} is unlikely for these features: models that never saw the row "
                f"give it {own:.3f} and {names.class_name(best)!r} {p[best]:.3f} (against {self._context.against})"
            )
        return out
