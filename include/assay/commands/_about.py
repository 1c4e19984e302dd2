"""What a model is, in words: for `assay model verify` and `assay model show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from assay.commands._shared import settings
from assay.db import ModelRow
from assay.findings import Outcome
from assay.model import (
    NoModelKey,
    check_bundle,
    describe_learning,
    describe_network,
    describe_privacy,
    model_public_key,
)
from assay.train import BundleSpec


def about(spec: BundleSpec) -> dict[str, Any]:
    """What a person wants to know of a model, in words, and the figures behind them."""
    report = spec.privacy
    return {
        "task": spec.task,
        "label": spec.label,
        "backend": spec.backend,
        "network": dict(describe_network(spec.layers)),
        "parameters": spec.parameter_count,
        "learning": dict(describe_learning(spec)),
        "best_epoch": spec.best_epoch,
        "epochs": spec.epochs,
        "stopped_because": spec.stopped_because,
        "aggregation": spec.aggregation.name,
        "sources": len(spec.source_names),
        "privacy": describe_privacy(report),
        "epsilon": None if report is None else {"rdp": report.epsilon_rdp, "pld": report.epsilon_pld},
        "delta": None if report is None else report.settings.delta,
        "metrics": spec.metrics,
    }


def read_about(row: ModelRow) -> tuple[dict[str, Any] | None, str]:
    """What a registered model's bundle says, once its signature and structure have passed; else why it was not read."""
    if not Path(row.bundle_uri).is_dir():
        return None, f"it is not at {row.bundle_uri}"
    try:
        findings, model = check_bundle(Path(row.bundle_uri), model_public_key(settings()))
    except NoModelKey as error:
        return None, error.message
    if model is None:
        return None, "; ".join(f"{f.check}: {f.message}" for f in findings if f.outcome is not Outcome.PASSED)
    if model.id != row.id:
        return None, f"it is {model.id}"
    return about(model.spec), ""


def print_about(console: Console, facts: dict[str, Any]) -> None:
    """The words of `about`, a line each."""
    for place, text in facts["network"].items():
        console.print(f"{'layer ' + place:>14}: {text}", markup=False, highlight=False, soft_wrap=True)
    for name, text in facts["learning"].items():
        console.print(f"{name:>14}: {text}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{'privacy':>14}: {facts['privacy']}", markup=False, highlight=False, soft_wrap=True)
