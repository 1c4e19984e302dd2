"""What an export is made from: verified statements in the order of the log, and when each step was taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from assay.db import Database, FindingRow, LedgerEntry, Run, Snapshot, get_snapshot
from assay.ledger.errors import LedgerError, NotInLedger
from assay.ledger.lineage.graph import trace
from assay.ledger.log.ledger import Ledger
from assay.ledger.rows.lookup import read_manifest
from assay.ledger.rows.parts import open_part
from assay.ledger.rows.snapshot import SnapshotManifest
from assay.ledger.statements.envelopes import verify_envelope
from assay.ledger.statements.statement import Resource, Statement
from assay.store import ObjectStore

_BEGINNING = "1970-01-01T00:00:00Z"
_STATED = ("first_seen", "decided_at")


@dataclass(frozen=True)
class Told:
    """One verified statement.

    Attributes:
        position: Its entry in the log.
        statement: What it says.
        at: When the step was taken (UTC, ISO 8601), as the statement or the registry says; where neither does, the time
            of the step before it.
    """

    position: int
    statement: Statement
    at: str

    @property
    def step(self) -> str:
        """Name of the step."""
        return self.statement.step

    @property
    def facts(self) -> dict[str, Any]:
        """The predicate, its inputs left out."""
        return self.statement.predicate


@dataclass(frozen=True)
class History:
    """Verified statements, and the places where what they name lies.

    Attributes:
        origin: The log's name.
        checkpoint: The newest signed checkpoint.
        told: Statements in the order of the log.
        database: The registry.
        store: The object store.
    """

    origin: str
    checkpoint: str | None
    told: tuple[Told, ...]
    database: Database
    store: ObjectStore

    def of(self, *steps: str) -> Iterator[Told]:
        """The statements about these steps, in order."""
        return (each for each in self.told if each.step in steps)

    def newest(self, step: str, name: str | None = None) -> Told | None:
        """The newest statement about a step, and about a thing of that name if one is given."""
        return next(
            (
                each
                for each in reversed(self.told)
                if each.step == step and (name is None or name in {s.name for s in each.statement.subjects})
            ),
            None,
        )

    def built(self, model_id: str) -> Told:
        """The statement about how a model was built.

        Raises:
            NotInLedger: There is none.
        """
        found = self.newest("run-provenance", model_id)
        if found is None:
            raise NotInLedger(
                f"the ledger does not say how {model_id!r} was built",
                next_step="give the id of a model that the line trained: `assay model show` lists them",
            )
        return found

    def manifest(self, snapshot_id: str) -> SnapshotManifest:
        """A snapshot's manifest.

        Raises:
            NotInLedger: There is no such snapshot.
            SnapshotError: Its manifest is that of another one.
        """
        return read_manifest(self.store, self.snapshot(snapshot_id))

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """A snapshot's row in the registry.

        Raises:
            NotInLedger: There is no such snapshot.
        """
        with self.database.session() as session:
            found = get_snapshot(session, snapshot_id)
        if found is None:
            raise NotInLedger(f"the registry has no snapshot {snapshot_id!r}")
        return found

    def columns(self, manifest: SnapshotManifest) -> list[tuple[str, str]]:
        """Name and Arrow type of each column of a snapshot's rows; empty for a snapshot without parts."""
        if not manifest.parts:
            return []
        with open_part(self.store, manifest.parts[0].sha256) as file:
            schema = file.schema_arrow
            return [(name, str(schema.field(name).type)) for name in manifest.columns]


def history_of(ledger: Ledger, store: ObjectStore, what: str | None = None, *, since: int = 0) -> History:
    """Everything that the ledger says, or what it says about one thing and what that was made from.

    Args:
        ledger: The log.
        store: The object store.
        what: As for `trace`; None for the whole ledger.
        since: Without `what`: only entries from that position on.

    Raises:
        NotInLedger: Nothing goes by that name.
        NoLedgerKey: There is no public key to check the statements with.
        LedgerError: A statement on the way does not stand up; nothing is exported.
    """
    if what is None:
        query = select(LedgerEntry).where(LedgerEntry.position >= since).order_by(LedgerEntry.position)
        with ledger.database.session() as session:
            rows = [(row.position, row.envelope) for row in session.scalars(query)]
        key = ledger.public_key
        pairs = [(at, verify_envelope(envelope, key, position=at)) for at, envelope in rows]
    else:
        found = trace(ledger, ledger.database, store, what)
        for step in found.steps:
            if step.problem:
                raise LedgerError(
                    f"entry {step.position} does not stand up: {step.problem}",
                    state="nothing was exported",
                    next_step="`assay ledger verify` names every entry that was changed",
                )
        pairs = [(step.position, step.statement) for step in found.steps if step.relation != "downstream"]
    times = _times(ledger.database, pairs)
    told, latest = [], _BEGINNING
    for position, statement in pairs:
        latest = max(latest, times.get(position, latest))
        told.append(Told(position, statement, latest))
    return History(ledger.origin, ledger.checkpoint(), tuple(told), ledger.database, store)


def digests(resources: tuple[Resource, ...]) -> dict[str, str]:
    """Name to SHA-256 of those that have one."""
    return {resource.name: resource.sha256 for resource in resources if resource.sha256}


def canonical_name(value: Any) -> str:
    """A value as one line of text."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _times(database: Database, pairs: list[tuple[int, Statement]]) -> dict[int, str]:
    """When each step was taken, where the statement itself or the registry says it."""
    times: dict[int, str] = {}
    with database.session() as session:
        snapshots = dict(session.execute(select(Snapshot.id, Snapshot.admitted_at)).all())
        runs = dict(session.execute(select(Run.id, Run.finished_at)).all())
        asked = select(FindingRow.subject_id, FindingRow.check, func.min(FindingRow.found_at))
        found = {
            (subject, check): at
            for subject, check, at in session.execute(asked.group_by(FindingRow.subject_id, FindingRow.check))
        }
    for position, statement in pairs:
        facts, about = statement.predicate, statement.subjects[0].name
        stated = next((facts[name] for name in _STATED if isinstance(facts.get(name), str)), None)
        seen = [
            found[about, check["check"]]
            for check in facts.get("checks", ())
            if isinstance(check, dict) and (about, check.get("check")) in found
        ]
        run = next((s.name for s in (*statement.subjects, *statement.inputs) if s.name in runs), None)
        by_run = runs.get(run) if run and statement.step in _OF_RUNS else None
        at = stated or snapshots.get(about) or by_run or (max(seen) if seen else None)
        if at:
            times[position] = at
    return times


_OF_RUNS = {"run-finished", "curve-checked", "run-provenance"}
