"""What the log says of each thing that the registry or the store holds, in one pass over its statements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.db import LedgerEntry
from assay.ledger.errors import EnvelopeError
from assay.ledger.log.entries import batches
from assay.ledger.statements.envelopes import read_unverified
from assay.ledger.statements.statement import Statement


@dataclass(frozen=True)
class Stated:
    """One statement about a thing: where it stands, the thing's digest, and what it says."""

    position: int
    sha256: str | None
    facts: Mapping[str, Any]


@dataclass
class Statements:
    """What the log says, by what it is about."""

    deliveries: dict[str, list[Stated]] = field(default_factory=dict)
    files: dict[str, dict[str, Stated]] = field(default_factory=dict)  # by delivery, then by path
    cases: dict[str, list[Stated]] = field(default_factory=dict)
    decisions: dict[str, list[Stated]] = field(default_factory=dict)
    splits: dict[str, Stated] = field(default_factory=dict)  # by the case that was split
    snapshots: dict[str, list[Stated]] = field(default_factory=dict)
    models: dict[str, list[Stated]] = field(default_factory=dict)
    promotions: dict[str, list[Stated]] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # by subject and check
    verdicts: dict[str, Stated] = field(default_factory=dict)  # by delivery, the newest that was stated
    admitted: dict[str, Stated] = field(default_factory=dict)  # by delivery, the snapshot that took it in
    objects: dict[str, str] = field(default_factory=dict)  # digest of an object to what it is

    def read(self, position: int, statement: Statement) -> None:
        """Take in one statement."""
        facts = statement.predicate
        step = statement.step
        digests = {subject.name: subject.sha256 for subject in statement.subjects}

        def add(where: dict[str, list[Stated]], name: str, said: Mapping[str, Any] = facts) -> None:
            where.setdefault(name, []).append(Stated(position, digests.get(name), said))

        for name in digests:
            if name.startswith("case-") and step != "case-decided":
                listed = {item.get("case"): item for item in facts.get("cases") or ()}
                parent = facts["case"] if step == "case-split" else None
                add(
                    self.cases,
                    name,
                    {**{key: listed[name][key] for key in ("kind", "rows")}, "parent": parent}
                    if name in listed
                    else {},
                )
            elif name.startswith("snapshot-") and step == "snapshot-admitted":
                add(self.snapshots, name)
                for delivery in facts.get("deliveries") or ():
                    self.admitted[str(delivery)] = self.snapshots[name][-1]
            elif name.startswith("model-"):
                add(self.models, name)
            for check in facts.get("checks") or ():
                self.outcomes.setdefault((name, str(check["check"])), set()).add(str(check["outcome"]))
        if facts.get("verdict") is not None and isinstance(facts.get("delivery"), str):
            self.verdicts[str(facts["delivery"])] = Stated(position, None, facts)
        if step == "delivery-verified" and isinstance(facts.get("delivery"), str):
            delivery = str(facts["delivery"])
            add(self.deliveries, delivery)
            files = self.files.setdefault(delivery, {})
            for item in statement.inputs:
                if item.name.startswith("file:") and item.sha256:
                    files[item.name.removeprefix("file:")] = Stated(position, item.sha256, {})
                    self.objects[item.sha256] = f"{item.name} of {delivery}"
        elif step in {"case-decided", "case-split"} and isinstance(facts.get("decision"), str):
            add(self.decisions, str(facts["decision"]))
            if step == "case-split":
                self.splits[str(facts["case"])] = Stated(position, None, facts)
        elif step in {"model-promoted", "model-rolled-back"} and isinstance(facts.get("promotion"), str):
            action = "promote" if step == "model-promoted" else "rollback"
            add(self.promotions, str(facts["promotion"]), {**facts, "action": action})
        for name in ("screen-report", "failing-rows"):
            if digests.get(name):
                self.objects[str(digests[name])] = f"{name} of {facts.get('delivery')}"


def read_statements(session: Session) -> Statements:
    """What all the log's statements say; an entry that is none is left out."""
    last = session.scalar(select(LedgerEntry.position).order_by(LedgerEntry.position.desc()).limit(1))
    stated = Statements()
    for rows in batches(session, 0 if last is None else last + 1):
        for row in rows:
            try:
                stated.read(row.position, read_unverified(row.envelope))
            except (EnvelopeError, KeyError, TypeError, AttributeError):
                continue  # the log's own check names an entry that is not a statement
    return stated
