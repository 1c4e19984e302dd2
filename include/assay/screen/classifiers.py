"""The classifiers that labels are compared with: trees, a forest and a linear model, weighted by what they know."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.screen.encoding import F64, I64, Block
from assay.screen.features import strongest

_FLOOR = 1e-7
_LINEAR_ROWS = 6_000
_TREE_COLUMNS = 400
_TREE_CELLS = 2_000
"""Columns times classes that trees look at: boosting grows one tree per class and round."""
_FINE, _COARSE, _FINE_CELLS = 255, 63, 1_000
_INDICATORS = 50
_BOOSTED_CLASSES = 20
_WEIGHED_ROWS = 1_000
_EVEN = 0.05


class Classifier:
    """Boosted trees, a forest and a linear model, and how much each counts in their weighted product."""

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
        self._seen = told_by_trees(x, y)
        # Trees cost most of the time of millions of rows: there the small model does without.
        if large or not streaming:
            many = 60 if large and classes <= 3 and len(y) > 1200 else 30
            trees: Any = HistGradientBoostingClassifier(
                max_iter=40 if streaming else many,
                learning_rate=0.15 if streaming else 0.1,
                max_leaf_nodes=15,
                min_samples_leaf=20 if len(y) > 1000 else 10,
                l2_regularization=1.0,
                max_bins=bins(self._seen, y),
                early_stopping=False,
                random_state=seed,
            )
            members = [trees]
            forest = ExtraTreesClassifier(100, min_samples_leaf=2, random_state=seed)
            if len(np.unique(y)) > _BOOSTED_CLASSES:
                # Boosting grows a tree per class and round; a forest's trees serve all classes at once.
                members = [forest]
            elif large and not streaming:
                members.append(forest)
            self._members += [(member.fit(self._numbers(x), y), True) for member in members]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a linear model that has not quite converged still ranks rows
            linear = LogisticRegression(C=0.3 if large else 0.1, max_iter=200)
            # Rows stand in the order of their hashes: the first are as good a sample as any.
            few = slice(_LINEAR_ROWS if len(np.unique(y[:_LINEAR_ROWS])) > 1 else None)
            self._members.append((linear.fit(dense[few], y[few]), False))
        self.weights = np.full(len(self._members), 1 / len(self._members))

    def _numbers(self, x: F64) -> NDArray[np.float32]:
        """The columns that have a value at all, inside what float32 holds."""
        if not len(self._seen):
            return np.zeros((len(x), 1), dtype=np.float32)
        return narrow(x[:, self._seen])

    def logs(self, x: F64, dense: NDArray[np.float32]) -> F64:
        """(members, n, classes) logarithms of each member's probabilities."""
        out = np.full((len(self._members), len(x), self.classes), np.log(_FLOOR))
        for each, (member, wants_trees) in zip(out, self._members, strict=True):
            p = member.predict_proba(self._numbers(x) if wants_trees else dense)
            each[:, member.classes_] = np.log(np.maximum(p, _FLOOR))
        return out

    def predict(self, x: F64, dense: NDArray[np.float32]) -> F64:
        """(n, classes), rows summing to 1."""
        return _pooled(self.logs(x, dense), self.weights)


def _pooled(logs: F64, weights: F64) -> F64:
    """(n, classes) probabilities that are the weighted product of the members' (a logarithmic opinion pool)."""
    total = np.tensordot(weights, logs, axes=1)
    total = np.exp(total - total.max(axis=1, keepdims=True))
    return np.asarray(total / total.sum(axis=1, keepdims=True))


def weigh(
    models: Sequence[Classifier | None],
    pool: Block,
    dense: NDArray[np.float32],
    folds: I64,
    rows: NDArray[np.bool_],
) -> None:
    """Give the members the weights under which labels of rows that they never saw are likeliest (Wolpert, 1992).

    A linear model says nothing where classes lie around one another, and trees little where they lie side by side.
    """
    from scipy.optimize import minimize

    chosen = [np.flatnonzero(rows & (folds == k))[:_WEIGHED_ROWS] for k in range(len(models))]
    if any(model is None for model in models) or not sum(map(len, chosen)):
        return
    seen = [model.logs(pool.x[at], dense[at]) for model, at in zip(models, chosen, strict=True) if model]
    if len({len(each) for each in seen}) > 1:
        return
    logs, y = np.concatenate(seen, axis=1), pool.y[np.concatenate(chosen)]
    own, even = logs[:, np.arange(len(y)), y].sum(axis=1), np.full(len(logs), 1 / len(logs))

    def loss(weights: F64) -> tuple[float, F64]:
        p = _pooled(logs, weights)
        far = weights - even
        likelihood = float(np.log(np.maximum(p[np.arange(len(y)), y], 1e-300)).sum())
        gradient = np.tensordot(logs, p, axes=([1, 2], [0, 1])) - own
        return _EVEN * len(y) * float(far @ far) - likelihood, gradient + 2 * _EVEN * len(y) * far

    bounds = [(0.0, None)] * len(even)
    weights = np.asarray(minimize(loss, even, jac=True, method="L-BFGS-B", bounds=bounds).x)
    if weights.sum() > 0:
        for model in models:
            assert model is not None
            model.weights = weights


def told_by_trees(x: F64, y: I64) -> I64:
    """The columns that tell most of the label, as many as trees have time for; none without a value.

    Args:
        x: (n, d), NaN where missing.
        y: (n,) codes of labels.
    """
    classes = np.unique(y)
    limit = min(_TREE_COLUMNS, max(_TREE_CELLS // len(classes), 100))
    seen = strongest(x, y[:, None] == classes[:_INDICATORS], limit)
    return np.asarray(seen[np.isfinite(x[:, seen]).any(axis=0)])


def bins(columns: I64, y: I64) -> int:
    """How many values boosted trees tell apart in a column: of hundreds of columns coarse cuts are enough."""
    return _COARSE if len(columns) * len(np.unique(y)) > _FINE_CELLS else _FINE


def narrow(x: F64) -> NDArray[np.float32]:
    """Numbers as float32, those beyond its range at its ends."""
    return np.clip(x, -3e38, 3e38).astype(np.float32)
