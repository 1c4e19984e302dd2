"""What a challenger must show before it may become champion. An unanswered question closes a gate like a wrong answer."""

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


@dataclass(frozen=True)
class Judgement:
    """What the gates said.

    Attributes:
        findings: One per gate.
        metrics: Figures of the challenger on the trusted set.
        off: Gates that the contract switches off.
    """

    findings: tuple[Finding, ...]
    metrics: dict[str, Any]
    off: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate that is on has passed."""
        return worst(f.outcome for f in self.findings) is Outcome.PASSED


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
        challenger: The candidate.
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
    metrics: dict[str, Any] = {}
    off = [
        name
        for name, limit in (
            ("accuracy", gates.min_accuracy),
            ("r2", gates.min_r2),
            ("drop", gates.max_drop_vs_champion),
            ("slice_gap", gates.max_slice_gap),
            ("backend", gates.require_backend),
        )
        if limit is None
    ]
    scores = _scores(challenger, contract, trusted)
    if isinstance(scores, str):
        findings.append(_said("hold_out", Outcome.NOT_CHECKED, scores))
    else:
        metrics = {"trusted_rows": len(scores), **_figures(challenger, scores)}
        findings += _level(contract, challenger, metrics)
        if gates.max_drop_vs_champion is not None:
            findings.append(_drop(contract, champion, trusted, metrics))
        if gates.max_slice_gap is not None and trusted is not None:
            findings += [_slice(contract, column, trusted, scores) for column in gates.slices]
            if not gates.slices:
                findings.append(_said("slice_gap", Outcome.NOT_CHECKED, "max_slice_gap is set, but no slices are named"))
    if gates.require_backend is not None:
        right = challenger.spec.backend == gates.require_backend
        message = f"trained with {challenger.spec.backend}, required: {gates.require_backend}"
        findings.append(_said("backend", Outcome.PASSED if right else Outcome.FAILED, message))
    if gates.backdoor_scan:
        findings.append(_said("backdoor_scan", Outcome.NOT_CHECKED, "this version has no backdoor scan; set it to false"))
    else:
        off.append("backdoor_scan")
    return Judgement(tuple(findings), metrics, tuple(off))


def _scores(model: LoadedModel, contract: Contract, trusted: pa.Table | None) -> npt.NDArray[np.float64] | str:
    """Per trusted row: 1 or 0 for right or wrong, or the squared error; or why that cannot be said."""
    label = contract.schema_.label
    if label is None or trusted is None or not trusted.num_rows:
        return "there are no trusted rows to measure on; name them in the contract's `trusted`"
    if label.column not in trusted.column_names:
        return f"the trusted rows have no column {label.column!r}"
    if trusted[label.column].null_count:
        return f"{trusted[label.column].null_count} trusted rows have no label"
    try:
        said = model.predict(trusted)
    except AssayError as error:
        return f"the model cannot read the trusted rows: {error.message}"
    truth = np.asarray(trusted[label.column].to_pylist(), dtype=object)
    if model.spec.task == "regression":
        return np.asarray((said.astype(float) - truth.astype(float)) ** 2)
    return np.asarray(said == truth, dtype=np.float64)


def _figures(model: LoadedModel, scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    if model.spec.task == "regression":
        return {"mse": float(scores.mean())}
    return {"accuracy": float(scores.mean())}


def _level(contract: Contract, model: LoadedModel, metrics: dict[str, Any]) -> list[Finding]:
    gates, findings = contract.gates, []
    if gates.min_accuracy is not None:
        if "accuracy" not in metrics:
            findings.append(_said("accuracy", Outcome.NOT_CHECKED, "a regression has no accuracy; use min_r2"))
        else:
            good = metrics["accuracy"] >= gates.min_accuracy
            message = f"accuracy {metrics['accuracy']:.4f} on {metrics['trusted_rows']} trusted rows, at least {gates.min_accuracy}"
            findings.append(_said("accuracy", Outcome.PASSED if good else Outcome.FAILED, message))
    if gates.min_r2 is not None:
        variance = model.spec.preprocessing.get("target_scale")
        if "mse" not in metrics or not isinstance(variance, int | float):
            findings.append(_said("r2", Outcome.NOT_CHECKED, "a classifier has no R2; use min_accuracy"))
        else:
            metrics["r2"] = 1.0 - metrics["mse"] / float(variance) ** 2
            good = metrics["r2"] >= gates.min_r2
            message = f"R2 {metrics['r2']:.4f}, at least {gates.min_r2}"
            findings.append(_said("r2", Outcome.PASSED if good else Outcome.FAILED, message))
    return findings


def _drop(
    contract: Contract, champion: LoadedModel | None, trusted: pa.Table | None, metrics: dict[str, Any]
) -> Finding:
    limit = contract.gates.max_drop_vs_champion
    assert limit is not None  # noqa: S101 - the caller asked
    if champion is None:
        return _said("drop", Outcome.PASSED, "the first model of the data set: there is no champion to fall behind")
    scores = _scores(champion, contract, trusted)
    if isinstance(scores, str):
        return _said("drop", Outcome.NOT_CHECKED, f"the champion could not be measured: {scores}")
    before = _figures(champion, scores)
    if set(before) - set(metrics):
        return _said("drop", Outcome.NOT_CHECKED, "champion and challenger answer different questions")
    if "accuracy" in before:
        drop = before["accuracy"] - metrics["accuracy"]
    else:  # relative growth of the error: the label's unit does not matter
        drop = (metrics["mse"] - before["mse"]) / max(before["mse"], np.finfo(float).tiny)
    metrics["drop_vs_champion"] = drop
    message = f"{drop:+.4f} worse than the champion, at most {limit}"
    return _said("drop", Outcome.PASSED if drop <= limit else Outcome.FAILED, message)


def _slice(contract: Contract, column: str, trusted: pa.Table, scores: npt.NDArray[np.float64]) -> Finding:
    """Difference between the best and the worst slice of a column, over slices that have enough rows."""
    limit = contract.gates.max_slice_gap
    if column not in trusted.column_names:
        return _said("slice_gap", Outcome.NOT_CHECKED, f"the trusted rows have no column {column!r}", subject=column)
    values = np.asarray([str(v) for v in trusted[column].to_pylist()], dtype=object)
    means, small = {}, {}
    for value in sorted(set(values)):
        mine = scores[values == value]
        (means if len(mine) >= contract.gates.min_slice_rows else small)[value] = (float(mine.mean()), len(mine))
    if len(means) < 2:
        message = f"{column}: fewer than two slices of {contract.gates.min_slice_rows} rows"
        return _said("slice_gap", Outcome.NOT_CHECKED, message, subject=column)
    level = {value: mean for value, (mean, _) in means.items()}
    gap = max(level.values()) - min(level.values())
    message = f"{column}: {gap:.4f} between {max(level, key=level.__getitem__)} and {min(level, key=level.__getitem__)}, at most {limit}"
    if small:
        message += f"; too few rows to judge: {', '.join(small)}"
    return _said(
        "slice_gap",
        Outcome.PASSED if limit is not None and gap <= limit else Outcome.FAILED,
        message,
        subject=column,
        evidence={"slices": {v: {"score": m, "rows": n} for v, (m, n) in means.items()}, "not_checked": list(small)},
    )


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
