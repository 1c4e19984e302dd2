"""Two views of a label, of the crowd and of the reference rows alone, each calibrated and a signal of its own."""

from __future__ import annotations

import threading
from typing import Any

from assay.findings import Finding, Outcome
from assay.screen.calibration import Calibrator
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
        """(n,) of the crowd view, and (n,) of the reference view; None if there is none."""
        raise NotImplementedError

    def told(self, block: Block, alone: bool) -> list[str]:
        """One sentence per row: the label and what was expected, by all rows or by the reference rows alone."""
        raise NotImplementedError

    def calibrate(self, context: Context) -> None:
        """Calibrate both views on the null rows."""
        self._context = context
        self._last = threading.local()
        crowd, reference = self.misses(context.pool.take(context.null))
        self._crowd = Calibrator(crowd)
        self._reference = Calibrator(reference) if reference is not None else None

    def seen(self, block: Block) -> tuple[F64, F64 | None]:
        """`misses`, asked once for both signals, which look at the same block one after the other."""
        last: Any = getattr(self._last, "answer", None)
        if last is None or last[0] is not block:
            last = self._last.answer = (block, self.misses(block))
        answer: tuple[F64, F64 | None] = last[1]
        return answer

    def score(self, block: Block) -> F64:
        """P-values of the crowd view; 1 for a row without a known label."""
        return self._crowd.p_values(self.seen(block)[0])

    def explain(self, block: Block) -> list[str]:
        """Own and expected label."""
        return self.told(block, alone=False)

    def alone(self) -> ReferenceView | None:
        """The signal of the reference view; None if there are too few reference rows for one."""
        return None if self._reference is None else ReferenceView(self, self._reference)

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


class ReferenceView:
    """What models of the reference rows alone make of a label.

    Poison that comes in numbers teaches the crowd that a trigger explains the label; it cannot teach these.

    Attributes:
        subject: What its reasons are about: said of a row by the crowd view, they need not be said again.
    """

    name = "reference_labels"
    subject = "labels"
    technique = "AML.T0020"
    decisive = False

    def __init__(self, views: TwoViews, calibrator: Calibrator) -> None:
        self._views = views
        self._calibrator = calibrator

    def score(self, block: Block) -> F64:
        """P-values; 1 for a row without a known label."""
        reference = self._views.seen(block)[1]
        assert reference is not None
        return self._calibrator.p_values(reference)

    def explain(self, block: Block) -> list[str]:
        """Own and expected label."""
        return self._views.told(block, alone=True)

    def findings(self) -> list[Finding]:
        """None beside those of the two views."""
        return []
