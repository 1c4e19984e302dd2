"""Is this run learning as it should? Checks on the curve, made as epochs arrive and again at the end.

Before there is any experience with a data set, the limits are relative to yardsticks that every run brings along: the
loss of the trivial predictor, which answers the training split's mean whatever it is asked, that of the untrained
network, and the run's own epochs so far. Once enough accepted runs of the data set exist, the run must also stay within
what those did; such a band only ever narrows a limit, so that accepting worse and worse runs does not widen it.
"""

from assay.train.curve.bands import AcceptedRun
from assay.train.curve.watch import CHECKS, CurveWatch, curve_outcome

__all__ = ["CHECKS", "AcceptedRun", "CurveWatch", "curve_outcome"]
