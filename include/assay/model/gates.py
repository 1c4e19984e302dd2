"""What a challenger must show before it may become champion. No answer closes a gate like a wrong answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assay.contract import Contract
from assay.errors import AssayError
from assay.findings import Finding, Outcome, Scope, Severity, worst
from assay.model.bundle import LoadedModel
from assay.model.errors import AnswerNotFinite

Numbers = npt.NDArray[np.float64]

_SLICES_LISTED = 20
_MISSING = "(missing)"
_ROUNDING = 1e-9  # two means of which one is exactly the limit below the other differ by a little more


@dataclass(frozen=True)
class Judgement:
    """What the gates said.

    Attributes:
        findings: One per gate, and per column of the slice gate.
        metrics: Finite figures of the challenger on the trusted set, and `judged_against`: the champion's id, or None.
        off: Gates that the contract switches off.
    """

    findings: tuple[Finding, ...]
    metrics: dict[str, Any]
    off: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate that is on has passed."""
        return worst(f.outcome for f in self.findings) is Outcome.PASSED


@dataclass(frozen=True)
class _Measured:
    """A model on the trusted rows.

    Attributes:
        scores: Per row 1 or 0 for right or wrong; of a regression the squared error in units of the label's variance
            on these rows, so that its mean is 1 - R².
        task: `classification` or `regression`.
    """

    scores: Numbers
    task: str

    @property
    def mean(self) -> float:
        """Accuracy, or 1 - R²."""
        return float(self.scores.mean())


@dataclass(frozen=True)
class _Unmeasured:
    """Why a model could not be measured: an answer that closes gates."""

    outcome: Outcome
    reason: str


def judge_model(
    challenger: LoadedModel,
    contract: Contract,
    *,
    champion: LoadedModel | None,
    trusted: pa.Table | None,
    curve: Outcome,
    ledger: Outcome,
    open_cases: int,
) -> Judgement:
    """Ask every gate of the contract.

    Args:
        challenger: The candidate, loaded with `thorough`: a model of Flux needs the comparison of its own file, a
            private one that of its epsilon, or that gate stays closed.
        contract: Whose gates.
        champion: The promoted model, if there is one.
        trusted: The hold-out: hand-checked rows with labels; None when there is none.
        curve: Outcome of the run's curve checks.
        ledger: Outcome of verifying the ledger.
        open_cases: Number of undecided cases that block the snapshot.
    """
    gates = contract.gates
    findings = [
        _said("curve", curve, f"the curve checks of the run: {curve}"),
        _said("ledger", ledger, f"verification of the ledger: {ledger}"),
        _said(
            "open_cases",
            Outcome.FAILED if open_cases else Outcome.PASSED,
            f"{open_cases} undecided cases about held deliveries of the snapshot",
        ),
    ]
    findings += _thorough(challenger)
    switches = {
        "accuracy": gates.min_accuracy is not None,
        "r2": gates.min_r2 is not None,
        "drop": gates.max_drop_vs_champion is not None,
        "slice_gap": gates.max_slice_gap is not None,
        "backend": gates.require_backend is not None,
        "backdoor_scan": gates.backdoor_scan,
    }
    metrics: dict[str, Any] = {"judged_against": champion.id if champion else None}
    if switches["accuracy"] or switches["r2"] or switches["drop"] or switches["slice_gap"]:
        measured = _measure(challenger, contract, trusted)
        if isinstance(measured, _Unmeasured):
            findings.append(_said("hold_out", measured.outcome, measured.reason))
        else:
            assert trusted is not None
            findings += _on_trusted(contract, measured, champion, trusted, metrics)
    if gates.require_backend is not None:
        right = challenger.spec.backend == gates.require_backend
        message = f"trained with {challenger.spec.backend}, required: {gates.require_backend}"
        findings.append(_said("backend", Outcome.PASSED if right else Outcome.FAILED, message))
    if gates.backdoor_scan:
        message = (
            "this version has no scan for backdoors in models, so this gate stays closed; set it to false"
        )
        findings.append(_said("backdoor_scan", Outcome.NOT_CHECKED, message))
    return Judgement(tuple(findings), metrics, tuple(name for name, on in switches.items() if not on))


def _thorough(challenger: LoadedModel) -> list[Finding]:
    """Gates on what is asked of a bundle apart, where the model has something to ask about."""
    found = {finding.check: finding for finding in challenger.examined}
    asked = {
        "native": ("model.native", challenger.spec.backend == "flux"),
        "privacy": ("model.privacy_spent", challenger.spec.privacy is not None),
    }
    findings = []
    for gate, (check, needed) in asked.items():
        if not needed:
            continue
        answer = found.get(check)
        if answer is None:
            findings.append(_said(gate, Outcome.NOT_CHECKED, f"nobody asked {check} of the bundle"))
        else:
            findings.append(_said(gate, answer.outcome, answer.message, evidence=dict(answer.evidence)))
    return findings


def _on_trusted(
    contract: Contract,
    measured: _Measured,
    champion: LoadedModel | None,
    trusted: pa.Table,
    metrics: dict[str, Any],
) -> list[Finding]:
    """The gates that look at the trusted rows; figures go into `metrics`."""
    gates, rows = contract.gates, len(measured.scores)
    level, name = (
        (measured.mean, "accuracy") if measured.task == "classification" else (1.0 - measured.mean, "r2")
    )
    metrics |= {"trusted_rows": rows, name: level}
    findings = []
    for gate, limit in (("accuracy", gates.min_accuracy), ("r2", gates.min_r2)):
        if limit is None:
            continue
        if gate != name:
            findings.append(
                _said(gate, Outcome.NOT_CHECKED, f"a {measured.task} has no {gate}; use min_{name}")
            )
            continue
        outcome = Outcome.PASSED if level >= limit else Outcome.FAILED
        findings.append(_said(gate, outcome, f"{gate} {level:.4f} on {rows} trusted rows, at least {limit}"))
    if gates.max_drop_vs_champion is not None:
        findings.append(_drop(contract, measured, champion, trusted, metrics))
    if gates.max_slice_gap is not None:
        findings += [_slice(contract, column, trusted, measured) for column in gates.slices]
        if not gates.slices:
            findings.append(
                _said("slice_gap", Outcome.NOT_CHECKED, "max_slice_gap is set, but no slices are named")
            )
    return findings


def _measure(model: LoadedModel, contract: Contract, trusted: pa.Table | None) -> _Measured | _Unmeasured:
    """How well a model does on each trusted row; or why that cannot be said."""
    label = contract.schema_.label
    if label is None or trusted is None or not trusted.num_rows:
        return _not_checked("there are no trusted rows to measure on; name them in the contract's `trusted`")
    if label.column not in trusted.column_names:
        return _not_checked(f"the trusted rows have no column {label.column!r}")
    if trusted[label.column].null_count:
        return _not_checked(f"{trusted[label.column].null_count} trusted rows have no label")
    if (model.spec.task == "classification") != (label.classes is not None):
        return _not_checked(f"the model is a {model.spec.task}, the contract's label is not")
    try:
        said = model.predict_proba(trusted)
    except AnswerNotFinite as error:
        return _Unmeasured(Outcome.FAILED, error.message)
    except AssayError as error:
        return _not_checked(f"the model cannot read the trusted rows: {error.message}")
    truth = trusted[label.column].to_pylist()
    if model.spec.task == "classification":
        answers = np.asarray(model.spec.classes, dtype=object)[said.argmax(axis=1)]
        return _Measured(
            np.asarray(answers == np.asarray(truth, dtype=object), dtype=np.float64), model.spec.task
        )
    numbers = np.asarray(truth, dtype=np.float64)
    variance = float(numbers.var())
    if not variance > 0 or not np.isfinite(variance):
        return _not_checked("the trusted rows all have the same label, or one that is no finite number")
    return _Measured((said - numbers) ** 2 / variance, model.spec.task)


def _drop(
    contract: Contract,
    measured: _Measured,
    champion: LoadedModel | None,
    trusted: pa.Table,
    metrics: dict[str, Any],
) -> Finding:
    """Accuracy lost against the champion, or for a regression R² lost, both on the same trusted rows."""
    limit = contract.gates.max_drop_vs_champion
    assert limit is not None  # the caller asked
    if champion is None:
        return _said(
            "drop", Outcome.PASSED, "the first model of the data set: there is no champion to fall behind"
        )
    before = _measure(champion, contract, trusted)
    if isinstance(before, _Unmeasured):
        return _said("drop", Outcome.NOT_CHECKED, f"the champion could not be measured: {before.reason}")
    drop = before.mean - measured.mean
    if measured.task == "regression":  # there the mean is an error
        drop = -drop
    metrics["drop_vs_champion"] = drop
    what = "accuracy" if measured.task == "classification" else "R²"
    message = f"{what} {drop:+.4f} below the champion's, at most {limit}"
    return _said("drop", Outcome.PASSED if drop <= limit + _ROUNDING else Outcome.FAILED, message)


def _slice(contract: Contract, column: str, trusted: pa.Table, measured: _Measured) -> Finding:
    """Difference between the best and the worst slice of a column, over slices that have enough rows."""
    limit = contract.gates.max_slice_gap
    assert limit is not None  # the caller asked
    if column not in trusted.column_names:
        return _said(
            "slice_gap", Outcome.NOT_CHECKED, f"the trusted rows have no column {column!r}", subject=column
        )
    values = np.asarray(
        [_MISSING if v is None else str(v) for v in trusted[column].to_pylist()], dtype=object
    )
    names, codes, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    sums = np.bincount(codes, weights=measured.scores)
    enough = counts >= contract.gates.min_slice_rows
    level = {str(names[i]): float(sums[i] / counts[i]) for i in np.flatnonzero(enough)}
    small = [str(names[i]) for i in np.flatnonzero(~enough)]
    if len(level) < 2:
        message = f"{column}: fewer than two slices of {contract.gates.min_slice_rows} rows"
        return _said("slice_gap", Outcome.NOT_CHECKED, message, subject=column)
    ranked = sorted(level, key=lambda name: (level[name], name))
    low, high = ranked[0], ranked[-1]
    gap = level[high] - level[low]
    message = f"{column}: {gap:.4f} between {high} and {low}, at most {limit}"
    if small:
        message += f"; {len(small)} slices with too few rows to judge: {', '.join(small[:5])}"
    half = _SLICES_LISTED // 2
    listed = ranked if len(ranked) <= _SLICES_LISTED else [*ranked[:half], *ranked[-half:]]
    rows = dict(zip(map(str, names), map(int, counts), strict=True))
    return _said(
        "slice_gap",
        Outcome.PASSED if gap <= limit + _ROUNDING else Outcome.FAILED,
        message,
        subject=column,
        evidence={
            "slices": {name: {"score": level[name], "rows": rows[name]} for name in listed},
            "slices_in_all": len(level),
            "not_checked": small[:_SLICES_LISTED],
        },
    )


def _not_checked(reason: str) -> _Unmeasured:
    return _Unmeasured(Outcome.NOT_CHECKED, reason)


def _said(
    gate: str, outcome: Outcome, message: str, *, subject: str = "", evidence: dict[str, Any] | None = None
) -> Finding:
    return Finding(
        check=f"gate.{gate}",
        outcome=outcome,
        severity=Severity.INFO if outcome is Outcome.PASSED else Severity.HIGH,
        scope=Scope.MODEL,
        subject=subject,
        message=message,
        evidence=evidence or {},
    )
