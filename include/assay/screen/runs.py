"""Screening a training set that was admitted, with what the training itself shows.

It finds dirty-label backdoors and mislabelled rows that came through: the model has already learnt from these rows, so
that nothing is prevented here, but the next snapshot can leave them out. Clean-label poison, and rows that the model
learnt like any other, do not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from assay.contract.models import Contract
from assay.findings import Finding, Outcome, RowVerdict, Scope, Severity
from assay.screen.calibration import combine, excess, false_discovery_cut
from assay.screen.cells import codes, text
from assay.screen.encoding import F64, I64, Encoder
from assay.screen.errors import NotApplicable, ScreenUsageError
from assay.screen.explain import members
from assay.screen.report import REPORT_SCHEMA, ScreenReport
from assay.screen.rows import Rows, as_rows
from assay.screen.signals.training import (
    Activations,
    Rowset,
    Trajectories,
    examine_activations,
    follow_losses,
)

if TYPE_CHECKING:
    from assay.screen.rows import Tabular

_GATE = 1e-3
_SHARES = {"losses": 0.5, "spectral": 0.3, "clusters": 0.2}
_LATE = 0.02


@dataclass(frozen=True)
class RunRecord:
    """What a run and its model say of the rows that it learnt from.

    Attributes:
        name: The run's or the model's id.
        losses: (n, epochs) float32, one row per row of the training set in its order; NaN where a row was in no batch.
            None: there are none, and `why` says why.
        activations: (n, width) float32 outputs of the penultimate layer for the same rows.
        trusted_activations: (m, width) for the trusted rows, in their order.
        why: Reasons for what is missing: keys `losses` and `activations`.
    """

    name: str
    losses: NDArray[np.float32] | None = None
    activations: NDArray[np.float32] | None = None
    trusted_activations: NDArray[np.float32] | None = None
    why: dict[str, str] | None = None


def screen_run(
    table: Tabular, contract: Contract, record: RunRecord, *, trusted: Tabular | None = None, seed: int = 0
) -> ScreenReport:
    """Screen the rows that a run learnt from by what the run shows.

    Args:
        table: The training set, in the run's order.
        contract: Names the label and its classes.
        record: Losses and activations of these rows.
        trusted: Trusted rows that the run did not learn from; activations are compared with theirs.
        seed: Seeds the clustering.

    Raises:
        ScreenError: A table cannot be read.
        ScreenUsageError: The record has not one entry per row.
    """
    encoder = Encoder(contract)
    rows = _labels(as_rows(table, contract, "training set"), encoder, contract)
    sound = (
        _labels(as_rows(trusted, contract, "trusted set"), encoder, contract) if trusted is not None else None
    )
    _check(record, len(rows[0]), None if sound is None else len(sound[0]))
    judged = _Judged(encoder, record, len(rows[0]))
    judged.losses(rows[0])
    judged.activations(rows, sound, seed)
    quarantine = judged.verdict(contract.screen.false_discovery_rate)
    tier = f"run {record.name}" + ("+trusted" if judged.found is not None else "")
    return ScreenReport(
        judged.table(quarantine),
        judged.findings,
        tier,
        int(quarantine.sum()),
        contract.screen.hold_delivery_above,
    )


def _labels(rows: Rows, encoder: Encoder, contract: Contract) -> tuple[I64, I64]:
    """Class codes of all rows, and which half each belongs to by its content."""
    label = contract.schema_.label
    if label is not None and label.classes is not None and not encoder.classes:
        encoder.fit([])
    labels, halves = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for number, batch in enumerate(rows.batches(contract.screen.batch_rows)):
        if number == 0:
            encoder.check_columns(batch.schema, rows.name)
        known = batch.select(list(contract.schema_.columns))
        halves.append(((encoder.hashes(known)["features"] >> np.uint64(20)) % np.uint64(2)).astype(np.int64))
        if label is None or label.classes is None:
            labels.append(
                np.zeros(batch.num_rows, np.int64)
            )  # without classes all rows are compared together
        else:
            column = text(batch.column(batch.schema.get_field_index(label.column)))
            labels.append(codes(column, tuple(encoder.classes)).astype(np.int64))
    return np.concatenate(labels), np.concatenate(halves)


def _check(record: RunRecord, rows: int, trusted: int | None) -> None:
    for name, values, wanted in (
        ("losses", record.losses, rows),
        ("activations", record.activations, rows),
        ("trusted_activations", record.trusted_activations, trusted),
    ):
        if values is not None and (values.ndim != 2 or len(values) != wanted):
            raise ScreenUsageError(
                f"{name} of {record.name} do not belong to these rows",
                expected=f"({wanted}, ...)" if wanted is not None else "trusted rows beside them",
                found=str(values.shape),
            )


class _Judged:
    """The signals of one run, and what they come to."""

    def __init__(self, encoder: Encoder, record: RunRecord, rows: int) -> None:
        self._encoder = encoder
        self._record = record
        self._rows = rows
        self._p: dict[str, F64] = {}
        self.findings: list[Finding] = []
        self.learnt: Trajectories | None = None
        self.found: Activations | None = None
        self._trusted = 0
        self._cut = -1.0

    def _missing(self, check: str, reason: str) -> None:
        self.findings.append(
            Finding(
                check=check,
                outcome=Outcome.NOT_CHECKED,
                scope=Scope.RUN,
                subject=self._record.name,
                message=f"not checked: {reason}",
            )
        )

    def losses(self, y: I64) -> None:
        """Rank by how rows were learnt."""
        check = "screen.losses"
        if self._record.losses is None:
            self._missing(check, (self._record.why or {}).get("losses", "the run kept no row losses"))
            return
        try:
            self.learnt = follow_losses(self._record.losses, y)
        except NotApplicable as missing:
            self._missing(check, str(missing))
            return
        self._p["losses"] = self.learnt.p_value
        late = np.flatnonzero(self.learnt.p_value <= _LATE)
        slowest = late[np.lexsort((late, self.learnt.p_value[late]))][:20]
        self.findings.append(
            Finding(
                check=check,
                outcome=Outcome.PASSED,
                scope=Scope.RUN,
                subject=self._record.name,
                message=f"rows ranked by their mean loss over {self._record.losses.shape[1]} epochs, against the other "
                "training rows of their class: a ranking, and no verdict",
                evidence={
                    "epochs": self._record.losses.shape[1],
                    "forgotten_rows": int((self.learnt.forgotten > 0).sum()),
                    "slowest_rows": slowest.tolist(),
                },
            )
        )

    def activations(self, rows: tuple[I64, I64], sound: tuple[I64, I64] | None, seed: int) -> None:
        """Compare the penultimate layer's view of training rows and trusted rows."""
        record, reason = self._record, ""
        if record.activations is None:
            reason = (record.why or {}).get("activations", "there is no model to ask")
        elif sound is None or record.trusted_activations is None:
            reason = "there are no trusted rows to compare with"
        else:
            try:
                self.found = examine_activations(
                    Rowset(record.activations, *rows), Rowset(record.trusted_activations, *sound), seed
                )
            except NotApplicable as missing:
                reason = str(missing)
        if self.found is None:
            for check in ("screen.activations", "screen.spectral"):
                self._missing(check, reason)
            return
        assert sound is not None
        self._trusted = len(sound[0])
        self._p["spectral"] = self.found.spectral
        clusters = np.ones(self._rows)
        for number, cluster in enumerate(self.found.clusters):
            clusters[self.found.member == number] = cluster.p_value
        self._p["clusters"] = clusters

    def verdict(self, rate: float) -> NDArray[np.bool_]:
        """Members of clusters found out, and rows past the spectral cut; completes the findings."""
        if self.found is None:
            return np.zeros(self._rows, dtype=bool)
        quarantine = self.found.member >= 0
        rest = self.found.compared & ~quarantine
        cut = false_discovery_cut(self.found.spectral[rest], rate)
        hits = int((self.found.spectral[rest] <= cut).sum())
        # By counting alone: at this p-value or below, this many rows of as many clean ones are expected.
        level = max(cut, 1.0 / (self._trusted + 1))
        seen = int((self.found.spectral[rest] <= level).sum())
        gate = excess(seen, int(rest.sum()), round(level * self._trusted), self._trusted) if hits else 1.0
        if hits and gate <= _GATE:
            self._cut = cut
            quarantine = quarantine | (rest & (self.found.spectral <= cut))
        self._tell(hits if self._cut >= 0 else 0, gate)
        return np.asarray(quarantine)

    def _tell(self, hits: int, gate: float) -> None:
        assert self.found is not None
        name = self._record.name
        for number, cluster in enumerate(self.found.clusters):
            self.findings.append(
                Finding(
                    check="screen.activations",
                    outcome=Outcome.FAILED,
                    severity=Severity.HIGH,
                    scope=Scope.GROUP,
                    subject=f"cluster {number + 1}",
                    message=f"on the penultimate layer of {name}, {cluster.share:.1%} of the training rows labelled "
                    f"{self._class(cluster.label)} stand where {cluster.trusted} of {cluster.trusted_rows} trusted "
                    f"rows of that class do (adjusted p = {cluster.p_value:.2g})",
                    evidence={
                        "label": self._class(cluster.label),
                        "share": cluster.share,
                        "trusted_inside": cluster.trusted,
                        "trusted_rows": cluster.trusted_rows,
                        "p_value": cluster.p_value,
                        **members(cluster.rows),
                    },
                    technique="AML.T0018",
                )
            )
        if not self.found.clusters:
            message = (
                f"no cluster of activations that trusted rows do not share ({self.found.classes} classes)"
            )
            self.findings.append(
                Finding(
                    check="screen.activations",
                    outcome=Outcome.PASSED,
                    scope=Scope.RUN,
                    subject=name,
                    message=message,
                )
            )
        rows = np.flatnonzero(
            self.found.compared & (self.found.member < 0) & (self.found.spectral <= self._cut)
        )
        self.findings.append(
            Finding(
                check="screen.spectral",
                outcome=Outcome.FAILED if hits else Outcome.PASSED,
                severity=Severity.HIGH if hits else Severity.INFO,
                scope=Scope.GROUP if hits else Scope.RUN,
                subject="spectral outliers" if hits else name,
                message=f"{hits} training rows lie farther out along their class's main direction than trusted rows "
                f"explain (p = {gate:.2g} by counting)",
                evidence={"gate_p_value": gate, "cut": self._cut, **members(rows)},
                technique="AML.T0018" if hits else None,
            )
        )

    def _class(self, label: int) -> str:
        return repr(self._encoder.class_name(label)) if self._encoder.classes else "any"

    def table(self, quarantine: NDArray[np.bool_]) -> pa.Table:
        """The report's table."""
        names = [name for name in _SHARES if name in self._p]
        p = np.ones(self._rows)
        if names:
            weights = np.array([_SHARES[name] for name in names])
            p = combine(np.column_stack([self._p[name] for name in names]), weights)
        reasons = [self._reasons(row, names) if quarantine[row] else [] for row in range(self._rows)]
        words = np.where(quarantine, RowVerdict.QUARANTINE.value, RowVerdict.ADMIT.value)
        return pa.table(
            [
                pa.array(np.arange(self._rows, dtype=np.int64)),
                pa.array(np.maximum(-np.log10(p), 0.0)),
                pa.array(p),
                pa.array(words.tolist(), pa.string()),
                pa.array(reasons, pa.list_(pa.string())),
            ],
            schema=REPORT_SCHEMA,
        )

    def _reasons(self, row: int, names: list[str]) -> list[str]:
        out = []
        assert self.found is not None
        number = int(self.found.member[row])
        if number >= 0:
            cluster = self.found.clusters[number]
            out.append(
                f"activations: one of {len(cluster.rows)} rows labelled {self._class(cluster.label)} in a region of "
                f"the penultimate layer where {cluster.trusted} of {cluster.trusted_rows} trusted rows of that class "
                f"stand (p = {cluster.p_value:.2g})"
            )
        if number < 0 or self.found.spectral[row] <= self._cut:
            out.append(
                "spectral: lies far out along its class's main direction on the penultimate layer "
                f"(p = {self.found.spectral[row]:.2g} against {self._trusted} trusted rows)"
            )
        if self.learnt is not None and "losses" in names:
            times = int(self.learnt.forgotten[row])
            out.append(
                f"losses: mean loss {self.learnt.area[row]:.3f} over the run, as high in "
                f"{self.learnt.p_value[row]:.1%} of the class's rows; last {self.learnt.last[row]:.3f}"
                + (f"; forgotten {times} times" if times else "")
            )
        return out
