"""What a valid contract leaves unchecked: nothing wrong, but checks that will answer `not_checked` or be absent."""

from __future__ import annotations

import datetime as dt

from assay.contract.models import Contract


def advice(contract: Contract, on: dt.date) -> list[str]:
    """One line for each thing that a reader of the contract should know, the gravest first.

    Args:
        contract: A valid contract.
        on: The day to judge keys by.
    """
    lines = []
    if not contract.sources:
        lines.append("sources: none, so that nothing can be delivered")
    lines += [
        f"sources: {source.id} names no signature, so that its deliveries will be not checked"
        for source in contract.sources
        if not source.signature_files
    ]
    for name in dict.fromkeys(source.publisher for source in contract.sources):
        keys = contract.publisher(name).keys
        if not keys:
            lines.append(f"publishers: {name} has no key; add it with `assay trust add {name} KEY`")
        elif not any(key.status(on) == "valid" for key in keys):
            states = ", ".join(f"{key.id} is {key.status(on).replace('_', ' ')}" for key in keys)
            lines.append(f"publishers: no key of {name} counts today: {states}")
    for source in contract.sources:
        count = sum(key.status(on) == "valid" for key in contract.publisher(source.publisher).keys)
        if 0 < count < source.threshold:
            lines.append(
                f"sources: {source.id} wants {source.threshold} keys, and {source.publisher} has {count} today"
            )
    if contract.schema_.label is None:
        lines.append("schema.label: none, so that no model can learn from this data set")
    if not contract.schema_.key:
        lines.append("schema.key: none, so that changes to admitted history cannot be seen")
    if contract.trusted is None:
        lines.append("trusted: none, so that screening is weaker and gates on accuracy are not checked")
    if contract.gates.min_accuracy is None and contract.gates.min_r2 is None:
        lines.append("gates: neither min_accuracy nor min_r2, so that only the champion sets a limit")
    return lines
