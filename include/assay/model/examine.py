"""What a bundle says that takes a while to verify: that Flux's own file is the same model, and what privacy was spent.

It is asked before a model may become champion and by `assay model verify`, not at every load. The answers of the gates
stand in the ledger under the model's id, which is the digest of all its files, so that they hold for these bytes alone.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

from assay.findings import Finding
from assay.model.answers import failed, not_checked, passed
from assay.model.native import compare_native
from assay.model.strict import Weights
from assay.train import BundleSpec
from assay.train.steps.privacy import HOW_TO_GET_ACCOUNTING, Accountant, accounting_installed

EXAMINED: Final = ("model.native", "model.privacy_spent")
"""Names of the checks."""

_RELATIVE = 1e-3


def examine(bundle: Path, spec: BundleSpec, weights: Weights) -> list[Finding]:
    """Ask both, of a bundle whose signature and structure have passed.

    Args:
        bundle: A private copy of the bundle.
        spec: Its spec.
        weights: Its arrays.
    """
    return [compare_native(bundle, spec, weights), recount_privacy(spec)]


def recount_privacy(spec: BundleSpec) -> Finding:
    """Compute epsilon again from noise, sampling rate and updates, with Google's dp-accounting."""
    report = spec.privacy
    if report is None:
        return passed("privacy_spent", "not differentially private, and it claims nothing else")
    if not accounting_installed():
        return not_checked(
            "privacy_spent",
            f"dp-accounting is not installed, so that epsilon cannot be computed again; {HOW_TO_GET_ACCOUNTING}",
        )

    try:
        accountant = Accountant(report.sampling_rate, report.settings.noise_multiplier, report.settings.delta)
        spent = accountant.spent(report.steps)
    except (ValueError, OverflowError) as error:
        return failed("privacy_spent", f"epsilon cannot be computed: {str(error).splitlines()[0]}")
    for name, said, found in (
        ("RDP", report.epsilon_rdp, spent.rdp),
        ("PLD", report.epsilon_pld, spent.pld),
    ):
        if not _same(said, found):
            return failed(
                "privacy_spent",
                f"epsilon by {name} is reported as {said}, but {report.steps} updates with noise multiplier "
                f"{report.settings.noise_multiplier} spend {found}",
            )
    seeded = (
        "; sampling and noise follow from the seed, so it protects from nobody who knows that"
        if report.settings.seeded_noise
        else ""
    )
    return passed("privacy_spent", f"epsilon was computed again and is as reported{seeded}")


def _same(said: float | None, found: float | None) -> bool:
    if said is None or found is None:
        return said is found
    return math.isclose(said, found, rel_tol=_RELATIVE, abs_tol=1e-9)
