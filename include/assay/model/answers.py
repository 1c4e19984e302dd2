"""Findings about models, all made in one way."""

from __future__ import annotations

from typing import Any

from assay.findings import Finding, Outcome, Scope, Severity

BACKDOOR_ML_MODEL = "AML.T0018"
"""MITRE ATLAS: manipulate a model."""


def said(check: str, outcome: Outcome, message: str, **evidence: Any) -> Finding:
    """The answer of one check of a bundle; what failed is critical, and named after the attack that it may be."""
    return Finding(
        check=f"model.{check}",
        outcome=outcome,
        severity={
            Outcome.PASSED: Severity.INFO,
            Outcome.FAILED: Severity.CRITICAL,
            Outcome.NOT_CHECKED: Severity.HIGH,
        }[outcome],
        scope=Scope.MODEL,
        message=message,
        technique=BACKDOOR_ML_MODEL if outcome is Outcome.FAILED else None,
        evidence=evidence,
    )


def passed(check: str, message: str, **evidence: Any) -> Finding:
    """The check found what it should."""
    return said(check, Outcome.PASSED, message, **evidence)


def failed(check: str, message: str, **evidence: Any) -> Finding:
    """The check found something else."""
    return said(check, Outcome.FAILED, message, **evidence)


def not_checked(check: str, message: str, **evidence: Any) -> Finding:
    """The check could not be made."""
    return said(check, Outcome.NOT_CHECKED, message, **evidence)
