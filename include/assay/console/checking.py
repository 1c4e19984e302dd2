"""The full check of the ledger, as a process of its own that can be ended when its time is over.

It takes the settings as JSON on standard input, so that no key stands in an argument or an environment, and writes one
JSON object per line: the log's answer, then that of registry and store.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from assay.settings import Settings


def packed(settings: Settings) -> str:
    """Settings as JSON."""
    said = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return json.dumps(
        {name: str(value) if isinstance(value, Path) else value for name, value in said.items()}
    )


def unpacked(text: str) -> Settings:
    """The settings that `packed` wrote."""
    said: dict[str, Any] = json.loads(text)
    hints = get_type_hints(Settings)
    for name, value in said.items():
        if value is not None and "Path" in str(hints[name]):
            said[name] = Path(value)
        elif isinstance(value, list):
            said[name] = tuple(value)
    return Settings(**said)


def main() -> None:
    """Check, and say what was found as soon as it is known."""
    from assay.db import open_database
    from assay.ledger import open_ledger
    from assay.ledger.audit.holdings import verify_holdings
    from assay.ledger.outside.cosign import Witness
    from assay.ledger.outside.publish import open_place
    from assay.store import open_store

    settings = unpacked(sys.stdin.read())
    database = open_database(settings)
    ledger = open_ledger(settings, database)
    places = [open_place(uri) for uri in settings.ledger_places]
    witnesses = [Witness.parse(key) for key in settings.ledger_witnesses]
    _say("log", ledger.verify(places=places, witnesses=witnesses), ledger.size())
    _say("holdings", verify_holdings(ledger, open_store(settings)), ledger.size())
    database.dispose()


def _say(stage: str, findings: list[Any], entries: int) -> None:
    said = [
        {"check": f.check, "outcome": str(f.outcome), "subject": f.subject, "message": f.message}
        for f in findings
    ]
    sys.stdout.write(json.dumps({"stage": stage, "entries": entries, "findings": said}) + "\n")
    sys.stdout.flush()
