"""The tools that screen: Assay, and those that a user would pick today."""

from __future__ import annotations

from benchmarks.detection.tools import assay, cleanlab, pyod, ranges, rpfnet, signatures
from benchmarks.detection.tools.base import Answer, Missing, Tool

TOOLS: dict[str, Tool] = {
    "assay": assay.screened,
    "pyod": pyod.scored,
    "cleanlab": cleanlab.scored,
    "signatures": signatures.scored,
    "rpfnet": rpfnet.scored,
    "ranges": ranges.scored,
}
"""By name; `none`, no screening at all, is known to the runner."""

__all__ = ["TOOLS", "Answer", "Missing", "Tool"]
