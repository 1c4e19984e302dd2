"""The model card: what a person wants to know first, in Markdown. The spec and the ledger say it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.contract import Contract
from assay.findings import Finding
from assay.model.carding import describe_learning, describe_network, describe_privacy
from assay.train import BundleSpec


def make_card(
    spec: BundleSpec,
    contract: Contract,
    *,
    snapshot: str,
    version: int | None,
    root: str | None,
    curve: Sequence[Finding],
    dropped: Mapping[str, float] | None = None,
) -> str:
    """Write the card of a freshly trained model; the same arguments give the same text.

    Args:
        spec: The bundle's spec.
        contract: The contract that it was trained under.
        snapshot: Id of the snapshot.
        version: Version of the snapshot; None for a table that no snapshot holds.
        root: Merkle root of the snapshot's rows, hex; None likewise.
        curve: Findings of the curve checks.
        dropped: For a robust aggregation, the share of updates in which each source was left out.
    """
    device = spec.device if spec.device_name is None else f"{spec.device} ({spec.device_name})"
    figures = "\n".join(
        f"| {name} | {value:.4f} |" for name, value in spec.metrics.items() if value is not None
    )
    checks = "\n".join(f"| {f.check} | {f.outcome} | {_cell(f.message)} |" for f in curve)
    network = "\n".join(f"| {place} | {_cell(text)} |" for place, text in describe_network(spec.layers))
    learning = "\n".join(f"| {name} | {_cell(text)} |" for name, text in describe_learning(spec, dropped))
    classes = f", classes {', '.join(_cell(str(c)) for c in spec.classes)}" if spec.classes else ""
    if version is None:
        origin = f"| table | {_cell(snapshot)}: none of its rows was admitted by the line |"
        decided = "It was trained outside the line: it is in no registry and cannot become champion."
    else:
        origin = (
            f"| snapshot | {_cell(snapshot)} (version {version}) |\n| Merkle root of its rows | `{root}` |"
        )
        decided = (
            "The gates' findings, the promotion and who decided stand in the ledger: `assay ledger trace` with this "
            "model's id."
        )
    return f"""# {contract.dataset}: model of run {spec.run_id}

{contract.description.strip() or "No description in the contract."}

## What it is

| | |
|---|---|
| task | {spec.task} of `{_cell(spec.label)}`{classes} |
| input | {len(spec.features)} features |
| parameters | {spec.parameter_count:,} |
| backend | {spec.backend} ({_cell(spec.backend_reason)}) |
| device | {_cell(device)} |
| versions | {", ".join(f"{name} {number}" for name, number in sorted(spec.versions.items()))} |
| seed | {spec.seed} |
| privacy | {describe_privacy(spec.privacy)} |

| layer | what it does |
|---|---|
{network}

## How it learned

| | |
|---|---|
{learning}

## What it learned from

| | |
|---|---|
{origin}
| contract | `{spec.contract_sha256}` |
| rows | {spec.rows.train:,} to learn from, {spec.rows.validation:,} to measure on |

## How the run ended

| measure | value |
|---|---|
{figures}

| curve check | outcome | seen |
|---|---|---|
{checks}

{decided}
"""


def _cell(text: str) -> str:
    """Text that cannot break out of a table cell."""
    return " ".join(text.replace("|", "\\|").split())
