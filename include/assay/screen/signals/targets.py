"""Label disagreement where the label is a number: how far it lies from what models that never saw the row predict.

The counterpart of `assay.screen.signals.labels` for regression. Residuals are cross-fitted and taken in units of the
spread that a second model expects there (normalised conformal prediction: Papadopoulos et al., 2002; Lei et al., 2018),
so that where labels scatter widely they may. Their law, taken from the reference rows, also turns a prediction into
probabilities of the target's quantile bins (conformal predictive distributions: Vovk et al., 2017), which the group
signals ask for: a trigger or a flood gives many rows one number, and that number falls into one bin.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.errors import NotApplicable
from assay.screen.features import strongest
from assay.screen.signals.views import TwoViews

_REFERENCE_FIT = 60
_TREE_COLUMNS = 400
_LEAST_SHARE = 0.02
_LEAST_SPREAD = 0.1
_QUANTILES = 513


class TargetModels:
    """Predictions of rows' targets, each from models fitted without the row's fold.

    Targets are predicted in a scale that draws far values in (see `_Scale`), so that one wild number cannot bend the
    models.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._encoder = context.encoder
        self._features = context.features
        self._folds = context.folds
        self._scale = _Scale(context.pool.target[context.null])
        pool = context.pool
        self._crowd = self._fit(pool, np.isfinite(pool.target), large=True)
        usable = np.isfinite(pool.target) & context.reference
        self._reference = self._fit(pool, usable, large=False) if usable.sum() >= _REFERENCE_FIT else None
        null = pool.take(context.null)
        self._law = {
            name: self._residual_law(null, models)
            for name, models in (("crowd", self._crowd), ("reference", self._reference))
            if models is not None
        }

    @property
    def has_reference(self) -> bool:
        """Whether there were enough reference rows to train on them alone."""
        return self._reference is not None

    def _fit(self, pool: Block, rows: NDArray[np.bool_], large: bool) -> list[_Model]:
        dense = self._features.transform(pool)
        folds = pool.fold(self._folds)
        models = []
        for k in range(self._folds):
            mine = rows & (folds != k)
            mine = mine if mine.sum() >= 10 else rows
            z = self._scale(pool.target[mine])
            inner = pool.take(mine).fold(2 * self._folds) % 2
            models.append(_Model(pool.x[mine], dense[mine], z, inner, self._context, large))
        return models

    def _apply(self, models: list[_Model], block: Block) -> tuple[F64, F64]:
        middle, spread = np.zeros(len(block)), np.ones(len(block))
        if not len(block):
            return middle, spread
        dense = self._features.transform(block)
        folds = block.fold(self._folds)
        for k, model in enumerate(models):
            rows = np.flatnonzero(folds == k)
            if len(rows):
                middle[rows], spread[rows] = model.predict(block.x[rows], dense[rows])
        return middle, spread

    def residuals(self, block: Block) -> tuple[F64, F64 | None]:
        """(n,) signed residuals in units of the expected spread: crowd view and, if there is one, reference view."""
        z = self._scale(block.target)

        def units(models: list[_Model]) -> F64:
            middle, spread = self._apply(models, block)
            return np.asarray((z - middle) / spread)

        return units(self._crowd), None if self._reference is None else units(self._reference)

    def expected(self, block: Block, alone: bool) -> tuple[F64, F64]:
        """(n,) predicted targets and the spread around them, in the target's own units, by all or by the reference."""
        models = self._reference if alone and self._reference is not None else self._crowd
        middle, spread = self._apply(models, block)
        return self._scale.back(middle), (
            self._scale.back(middle + spread) - self._scale.back(middle - spread)
        ) / 2

    def reference_probabilities(self, block: Block) -> F64:
        """(n, bins) of the reference view, else of the crowd view."""
        name = "reference" if self._reference is not None else "crowd"
        models = self._crowd if self._reference is None else self._reference
        middle, spread = self._apply(models, block)
        return self._in_bins(middle, spread, self._law[name])

    def probabilities(self, block: Block) -> tuple[F64, F64 | None]:
        """(n, bins) of the crowd view and, if there is one, of the reference view."""
        crowd = self._in_bins(*self._apply(self._crowd, block), self._law["crowd"])
        return crowd, self.reference_probabilities(block) if self._reference is not None else None

    def without(self, pool: Block, block: Block, columns: list[int]) -> F64 | None:
        """(n, bins) of a crowd view that cannot see some columns; None if no column is left."""
        wide = np.flatnonzero(~np.isin(np.array(self._features.origin), columns))
        kept = np.setdiff1d(np.flatnonzero(np.isfinite(pool.x).any(axis=0)), columns)
        if not len(wide) or not len(kept):
            return None
        pool = pool.take(np.isfinite(pool.target))
        dense, seen = self._features.transform(pool)[:, wide], self._features.transform(block)[:, wide]
        model = _Model(
            pool.x[:, kept],
            dense,
            self._scale(pool.target),
            pool.fold(2),
            self._context,
            large=False,
        )
        middle, spread = model.predict(block.x[:, kept], seen)
        return self._in_bins(middle, spread, self._law["crowd"])

    def _residual_law(self, null: Block, models: list[_Model]) -> F64:
        """Quantiles of the cross-fitted residuals of clean rows."""
        middle, spread = self._apply(models, null)
        units = (self._scale(null.target) - middle) / spread
        units = units[np.isfinite(units)]
        if not len(units):
            return np.zeros(1)
        return np.quantile(units, np.linspace(0, 1, min(_QUANTILES, len(units))))

    def _in_bins(self, middle: F64, spread: F64, law: F64) -> F64:
        edges = self._encoder.edges if self._encoder.edges is not None else np.zeros(0)
        bounds = self._scale(edges)
        units = (bounds[None, :] - middle[:, None]) / spread[:, None]
        below = np.searchsorted(law, units.ravel(), side="left").reshape(units.shape) / len(law)
        below = np.hstack([np.zeros((len(middle), 1)), below, np.ones((len(middle), 1))])
        share = np.maximum(np.diff(below, axis=1), _LEAST_SHARE / max(len(bounds) + 1, 1))
        return np.asarray(share / share.sum(axis=1, keepdims=True))


class _Scale:
    """A monotone map of targets to a scale of their own: linear in the middle, logarithmic far out.

    Positive targets with a long upper tail are taken by their logarithms.
    """

    def __init__(self, values: F64) -> None:
        values = values[np.isfinite(values)]
        self._middle, self._spread, self._bend = 0.0, 1.0, 0.0
        if not len(values):
            return
        low, self._middle, high = (float(v) for v in np.quantile(values, [0.16, 0.5, 0.84]))
        if values.min() > 0 and high - self._middle > 1.5 * (self._middle - low):
            # Prices, counts, times: what is wrong with them goes by factors, as logarithms do.
            self._middle, self._spread, self._bend = 0.0, float(np.quantile(values, 0.02)), 1.0
            return
        self._spread = max((high - low) / 2, 0.3 * float(np.std(values)), 1e-12 * abs(self._middle), 1e-300)
        far = float(np.quantile(np.abs(values - self._middle) / self._spread, 0.99))
        self._bend = 1.0 if far > 5 else 0.2  # 0.2: bends at five spreads, where a plain tail has ended

    def __call__(self, values: F64) -> F64:
        return np.asarray(
            np.arcsinh(np.clip((values - self._middle) / self._spread, -1e100, 1e100) * self._bend)
            / self._bend
        )

    def back(self, values: F64) -> F64:
        """The values that map there."""
        return np.asarray(
            np.sinh(np.clip(values * self._bend, -200, 200)) / self._bend * self._spread + self._middle
        )


class _Model:
    """Boosted trees and a linear model for the middle, boosted trees for the spread."""

    def __init__(
        self,
        x: F64,
        dense: NDArray[np.float32],
        z: F64,
        inner: NDArray[np.int64],
        context: Context,
        large: bool,
    ) -> None:
        self._columns = strongest(x, z, _TREE_COLUMNS)
        self._columns = self._columns[np.isfinite(x[:, self._columns]).any(axis=0)]
        cut = np.quantile(z, [0.01, 0.99]) if len(z) else np.array([0.0, 0.0])
        z = np.clip(z, cut[0] - 1, cut[1] + 1)
        self._context = context
        numbers = self._narrow(x)
        # How wide labels scatter is learnt from residuals of rows that the half's models have not seen.
        miss = np.zeros(len(z))
        for half in (0, 1):
            train, test = np.flatnonzero(inner != half), np.flatnonzero(inner == half)
            if len(train) >= 10 and len(test):
                middle = self._middle(numbers[train], dense[train], z[train], large)
                miss[test] = np.abs(z[test] - _mean(middle, numbers[test], dense[test]))
        self._members = self._middle(numbers, dense, z, large)
        typical = max(float(np.median(miss)), 1e-9)
        self._floor = max(_LEAST_SPREAD * float(np.mean(miss)), 0.3 * typical, 1e-9)
        self._spread: Any = None
        self._flat = max(float(np.mean(miss)), self._floor)
        if len(z) >= 100:
            logs = np.log(np.maximum(miss, self._floor))
            self._spread = self._trees(20, context.seed).fit(numbers, logs)
            self._shift = float(np.log(self._flat) - np.mean(self._spread.predict(numbers)))

    def _narrow(self, x: F64) -> NDArray[np.float32]:
        if not len(self._columns):
            return np.zeros((len(x), 1), dtype=np.float32)
        return np.clip(x[:, self._columns], -3e38, 3e38).astype(np.float32)

    def _trees(self, rounds: int, seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(
            max_iter=rounds,
            learning_rate=0.15,
            max_leaf_nodes=15,
            min_samples_leaf=10,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed % 2**32,
        )

    def _middle(self, x: NDArray[np.float32], dense: NDArray[np.float32], z: F64, large: bool) -> list[Any]:
        from sklearn.linear_model import Ridge

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an ill-conditioned system still predicts
            linear = Ridge(alpha=1.0 + 0.01 * len(z)).fit(dense, z)
        return [self._trees(60 if large else 40, self._context.seed).fit(x, z), linear]

    def predict(self, x: F64, dense: NDArray[np.float32]) -> tuple[F64, F64]:
        """(n,) middles and (n,) spreads, in the models' scale."""
        numbers = self._narrow(x)
        middle = _mean(self._members, numbers, dense)
        if self._spread is None:
            return middle, np.full(len(x), self._flat)
        spread = np.exp(self._spread.predict(numbers) + self._shift)
        return middle, np.maximum(spread, self._floor)


def _mean(members: list[Any], x: NDArray[np.float32], dense: NDArray[np.float32]) -> F64:
    """Trees count double: the line is there for what lies beyond their leaves."""
    trees, linear = members
    return np.asarray((2 * trees.predict(x) + linear.predict(dense)) / 3)


class Targets(TwoViews):
    """Numeric labels far from what the models expect."""

    models = "regressions"

    def fit(self, context: Context) -> None:
        """Fit the models and calibrate both views.

        Raises:
            NotApplicable: No target, one value only, or too few rows.
        """
        target = context.pool.target
        finite = target[np.isfinite(target)]
        if len(finite) < 50:
            raise NotApplicable(f"{len(finite)} labels are too few to cross-validate a model (50 needed)")
        if finite.min() == finite.max():
            raise NotApplicable("all labels are the same number")
        if not len(context.features.origin):
            raise NotApplicable("no feature has a value")
        self._models = TargetModels(context)
        context.models = self._models
        self.calibrate(context)

    def misses(self, block: Block) -> tuple[F64, F64 | None]:
        """Residuals, in units of the spread of labels there."""
        crowd, reference = self._models.residuals(block)
        if reference is None:
            return np.abs(crowd), None
        return np.abs(crowd) + 0.3 * np.abs(reference), np.abs(reference)

    def told(self, block: Block, alone: bool) -> list[str]:
        """The label, what was expected, and how wide labels scatter there."""
        expected, spread = self._models.expected(block, alone)
        whose = f"models of {self._context.against} alone" if alone else "models that never saw the row"
        out = []
        for own, middle, width in zip(block.target, expected, spread, strict=True):
            out.append(
                f"label {own:.6g} is unlikely for these features: {whose} expect {middle:.6g}, "
                f"give or take {width:.3g}"
            )
        return out
