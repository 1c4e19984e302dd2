"""The model card: what a person wants to know first, in Markdown. Everything in it stands in the spec or the record too."""

from __future__ import annotations

from assay.contract import Contract
from assay.findings import Finding
from assay.train import BundleSpec


def make_card(spec: BundleSpec, contract: Contract, *, snapshot: str, version: int, root: str, curve: list[Finding]) -> str:
    """Write the card of a freshly trained model; the same arguments give the same text.

    Args:
        spec: The bundle's spec.
        contract: The contract that it was trained under.
        snapshot: Id of the snapshot.
        version: Version of the snapshot.
        root: Merkle root of the snapshot's rows, hex.
        curve: Findings of the curve checks.
    """
    layers = " → ".join(f"{layer.out} {layer.activation}" for layer in spec.layers)
    device = spec.device if spec.device_name is None else f"{spec.device} ({spec.device_name})"
    figures = "\n".join(f"| {name} | {value:.4f} |" for name, value in spec.metrics.items() if value is not None)
    checks = "\n".join(f"| {f.check} | {f.outcome} | {_cell(f.message)} |" for f in curve)
    privacy = "none (the training is not differentially private)"
    return f"""# {contract.dataset}: model of run {spec.run_id}

{contract.description.strip() or "No description in the contract."}

## What it is

| | |
|---|---|
| task | {spec.task} of `{spec.label}`{f", classes {', '.join(map(str, spec.classes))}" if spec.classes else ""} |
| network | {len(spec.features)} features → {layers} |
| parameters | {spec.parameter_count:,} |
| backend | {spec.backend} ({_cell(spec.backend_reason)}) |
| device | {device} |
| versions | {", ".join(f"{name} {number}" for name, number in sorted(spec.versions.items()))} |
| seed | {spec.seed} |
| privacy | {privacy} |

## What it learned from

| | |
|---|---|
| snapshot | {snapshot} (version {version}) |
| Merkle root of its rows | `{root}` |
| contract | `{spec.contract_sha256}` |
| rows | {spec.rows.train:,} to learn from, {spec.rows.validation:,} to measure on |

## How the run ended

| measure | value |
|---|---|
{figures}

| curve check | outcome | seen |
|---|---|---|
{checks}

The gates' findings, the promotion and who decided stand in the ledger: `assay ledger trace` with this model's id.
"""


def _cell(text: str) -> str:
    """Text that cannot break out of a table cell."""
    return " ".join(text.replace("|", "\\|").split())
