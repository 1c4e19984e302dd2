"""What signals are given, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding
from assay.screen.encoding import F64, I64, Block, Encoder
from assay.screen.features import Features

if TYPE_CHECKING:
    from assay.screen.signals.labels import LabelModels
    from assay.screen.signals.targets import TargetModels

_FEW = 8_000


@dataclass
class Context:
    """Everything a signal may look at while it is fitted. Bounded in size, whatever the batch's.

    Attributes:
        encoder: How columns became numbers, and back.
        pool: Sampled batch rows and reference rows together, ordered by content, not by place.
        reference: Mask over `pool`: rows taken as clean (trusted rows, rows of the accepted snapshot).
        tested: Mask over `pool`: rows of the batch.
        rewritten: Mask over `pool`: rows of the batch that the accepted snapshot contradicts; they are decided.
        rows: Rows in the whole batch.
        rate: The contract's false-discovery rate.
        seed: Seeds every random choice.
        features: The dense view that linear models and detectors share.
        copies: Feature hashes that stand more than once in the batch (sorted), and how often.
        models: The label models, once fitted: later signals ask them how surprising a label is.
    """

    encoder: Encoder
    pool: Block
    reference: NDArray[np.bool_]
    tested: NDArray[np.bool_]
    rewritten: NDArray[np.bool_]
    rows: int
    rate: float
    seed: int
    copies: tuple[NDArray[np.uint64], I64]
    features: Features
    has_label: bool
    has_source: bool
    models: LabelModels | TargetModels | None = None
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def folds(self) -> int:
        """Into how many parts rows are cut for cross-fitting."""
        return 5 if len(self.pool) <= _FEW else 3

    @property
    def streaming(self) -> bool:
        """So many rows that each must be scored cheaply."""
        return self.rows > 50_000

    @property
    def fresh(self) -> NDArray[np.bool_]:
        """Mask over `pool`: rows of the batch that no accepted snapshot vouches for."""
        return np.asarray(self.tested & ~self.reference)

    @property
    def null(self) -> NDArray[np.bool_]:
        """Rows that scores are calibrated on: the reference, or the batch itself where there is none."""
        return self.reference if self.reference.sum() >= MIN_REFERENCE else self.tested

    @property
    def against(self) -> str:
        """What rows are compared with, in words."""
        if self.reference.sum() >= MIN_REFERENCE:
            return f"{int(self.reference.sum())} reference rows"
        return "the rest of the batch"

    @property
    def referenced(self) -> bool:
        """Whether there are enough reference rows to calibrate on."""
        return bool(self.reference.sum() >= MIN_REFERENCE)


MIN_REFERENCE = 20
"""Fewer clean rows than this calibrate nothing."""

SUREST = 1e-10
"""No group's p-value is taken for less: what is rewritten under a known key is no chance at all, and comes first."""


class Signal(Protocol):
    """One way in which poison shows.

    Attributes:
        name: Short, used in the names of its findings: `screen.<name>`.
        technique: MITRE ATLAS technique that it speaks of.
        decisive: Its p-values are verdicts of their own (group tests, rewritten history), not row scores to be fused.
    """

    name: str
    technique: str
    decisive: bool

    def fit(self, context: Context) -> None:
        """Learn from the bounded sample.

        Raises:
            NotApplicable: Something that the signal needs is missing.
        """

    def score(self, block: Block) -> F64:
        """One p-value per row. Soft signals: uniform for clean rows. Decisive ones: 1 unless the row is in a group."""

    def explain(self, block: Block) -> list[str]:
        """One sentence per row: what this signal saw, in which columns, against what, and how rare that is."""

    def findings(self) -> list[Finding]:
        """What the signal says of the batch, its columns, sources and groups."""
