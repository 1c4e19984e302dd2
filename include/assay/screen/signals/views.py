"""Two views of a label, of the crowd and of the reference rows alone, calibrated and put together as one signal."""

from __future__ import annotations

import numpy as np

from assay.findings import Finding, Outcome
from assay.screen.calibration import Calibrator, combine
from assay.screen.context import Context
from assay.screen.encoding import F64, Block


class TwoViews:
    """What signals about labels share, whether labels are classes or numbers.

    A subclass answers `misses`: how far each row's label is from what the crowd view and, if there is one, the
    reference view expect; NaN for a row without a label.

    Attributes:
        models: What the views are made of, in a word, for the findings.
    """

    name = "labels"
    technique = "AML.T0020"
    decisive = False
    models = "models"

    def misses(self, block: Block) -> tuple[F64, F64 | None]:
        """(n,) of both views together, and (n,) of the reference view; None if there is none."""
        raise NotImplementedError

    def calibrate(self, context: Context) -> None:
        """Calibrate both views on the null rows."""
        self._context = context
        crowd, reference = self.misses(context.pool.take(context.null))
        self._crowd = Calibrator(crowd)
        self._reference = Calibrator(reference) if reference is not None else None

    def score(self, block: Block) -> F64:
        """P-values; 1 for a row without a known label."""
        crowd, reference = self.misses(block)
        p = self._crowd.p_values(crowd)
        if self._reference is None or reference is None:
            return p
        return combine(np.column_stack([p, self._reference.p_values(reference)]), np.array([0.8, 0.2]))

    def findings(self) -> list[Finding]:
        """What the row scores rest on."""
        seen = (
            "crowd and reference models"
            if self._reference
            else "crowd model only: no model of reference rows"
        )
        return [
            Finding(
                check="screen.labels",
                outcome=Outcome.PASSED,
                message=f"labels compared with cross-fitted {self.models} ({seen}), "
                f"calibrated on {self._context.against}",
                evidence={"folds": self._context.folds, "calibration_rows": self._crowd.size},
            )
        ]
