"""Lineage: what the ledger says about a model, a snapshot, a delivery, a case, a file, a key or one row.

From the thing that was asked for, the statements are followed up through their inputs (what it was made from) and down
through what used it. Each statement's signature is checked on the way.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.db import Database, LedgerEntry, LedgerSubject
from assay.errors import AssayError
from assay.findings import Finding, Outcome, Scope, Severity
from assay.ledger.errors import NotInLedger
from assay.ledger.lineage.affected import affected
from assay.ledger.lineage.touched import Affected
from assay.ledger.log.entries import lookup_key
from assay.ledger.log.ledger import Ledger
from assay.ledger.rows.held import HeldRow, find_held
from assay.ledger.rows.lookup import FoundRow, find_hash, find_rows, split_row_name
from assay.ledger.statements.envelopes import read_unverified, verify_envelope
from assay.ledger.statements.statement import Resource, Statement, index_key
from assay.store import ObjectStore

Relation = Literal["upstream", "about", "downstream"]

# What links statements: digests, Assay's content ids, and key ids. A file's plain name, such as SHA256SUMS, is shared
# by many deliveries and links nothing.
_LINK = re.compile(
    r"sha256:[0-9a-f]{64}|[a-z]+(-[a-z]+)*-[0-9a-f]{32}|(minisign|ed25519|ecdsa|ssh|openpgp|x509|sigstore):\S{8,128}"
)
_HASH = re.compile(r"[0-9a-f]{64}")
_CHUNK = 500  # names in one query
_FACTS = 8  # facts of a statement in one line


@dataclass(frozen=True)
class Step:
    """One statement of a trace.

    Attributes:
        position: Its entry in the log.
        relation: Whether it led to the thing (`upstream`), is about it, or followed from it (`downstream`).
        statement: What it says.
        problem: Why it cannot be believed; None if its signature stands up.
    """

    position: int
    relation: Relation
    statement: Statement
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        statement = self.statement
        return {
            "position": self.position,
            "relation": self.relation,
            "step": statement.step,
            "statement_id": statement.id,
            "subjects": [resource.descriptor() for resource in statement.subjects],
            "inputs": [resource.descriptor() for resource in statement.inputs],
            "predicate": statement.predicate,
            "problem": self.problem,
        }

    @property
    def line(self) -> str:
        """One line for a person: what was done to what, and the facts that fit on a line."""
        names = ", ".join(short(resource.name) for resource in self.statement.subjects[:3])
        more = len(self.statement.subjects) - 3
        facts = [
            f"{key} {value}"
            for key, value in self.statement.predicate.items()
            if isinstance(value, str | int | float | bool) and len(str(value)) <= 40
        ][:_FACTS]
        text = f"{self.statement.step}  {names}" + (f" and {more} more" if more > 0 else "")
        return text + (f"  ({', '.join(facts)})" if facts else "")


@dataclass(frozen=True)
class Trace:
    """The lineage of one thing.

    Attributes:
        what: What was asked for.
        steps: Statements in the order of the log.
        rows: For a row: where it stands, in each snapshot that has it, newest first.
        held: For a row: the cases that hold or held it, newest first.
        affected: For a key, a publisher, a file or a delivery: the rows, snapshots and models that it came into.
    """

    what: str
    steps: tuple[Step, ...]
    rows: tuple[FoundRow, ...] = field(default=())
    held: tuple[HeldRow, ...] = field(default=())
    affected: Affected | None = None

    @property
    def checks(self) -> list[dict[str, Any]]:
        """Every check that was asked of a row's deliveries, its runs and models: step, entry, check, outcome, words."""
        return [
            {"step": step.statement.step, "position": step.position, "relation": step.relation, **check}
            for step in self.steps
            for check in step.statement.predicate.get("checks", ())
            if isinstance(check, dict)
        ]

    @property
    def findings(self) -> list[Finding]:
        """Whether every statement's signature stands up."""
        wrong = [step for step in self.steps if step.problem]
        if wrong:
            return [_finding(Outcome.FAILED, f"entry {step.position}", str(step.problem)) for step in wrong]
        if not self.steps:
            message = "no statement in the ledger tells of it"
            return [_finding(Outcome.NOT_CHECKED, self.what, message)]
        message = f"all {len(self.steps)} statements are signed by the ledger's key"
        return [_finding(Outcome.PASSED, self.what, message)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "what": self.what,
            "rows": [row.as_dict() for row in self.rows],
            "held": [row.as_dict() for row in self.held],
            "affected": self.affected.as_dict() if self.affected else None,
            "checks": self.checks,
            "steps": [step.as_dict() for step in self.steps],
            "findings": [finding.model_dump(mode="json") for finding in self.findings],
        }

    def lines(self) -> list[str]:
        """The chain for a person, oldest first."""
        marks = {"upstream": "↑", "about": "●", "downstream": "↓"}
        out = []
        for row in self.rows[:1]:
            out.append(f"row {row.row_hash.hex()[:16]}… of {row.snapshot_id} (version {row.version})")
            out.append(
                f"  came in {row.file}, record {row.record}, from source {row.source}, with {row.delivery}"
            )
            if row.decision:
                out.append(f"  was released from quarantine by {row.decision}")
            versions = ", ".join(str(other.version) for other in self.rows)
            out.append(f"  stands in snapshot version {versions}")
        for held in self.held:
            out += held.lines()
        if self.affected is not None:
            out += self.affected.lines()
        if self.rows or self.held:
            out += self._checks_in_short()
        for step in self.steps:
            out.append(f"{marks[step.relation]} {step.position:>5}  {step.line}")
            if step.problem:
                out.append(f"         NOT TO BE BELIEVED: {step.problem}")
        return out

    def _checks_in_short(self) -> list[str]:
        """How the checks of the deliveries came out, and each answer that is not `passed`."""
        asked = [
            check
            for check in self.checks
            if check["relation"] == "about" and check["step"].startswith("delivery-")
        ]
        counts = Counter(str(check.get("outcome")) for check in asked)
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        return [
            f"  checks of its deliveries: {told or 'none'}",
            *(
                f"    {check.get('outcome')} {check.get('check')}: {check.get('message')}"
                for check in asked
                if check.get("outcome") != "passed"
            ),
        ]


def trace(
    ledger: Ledger,
    database: Database,
    store: ObjectStore | None,
    what: str,
    *,
    since: str | None = None,
    until: str | None = None,
) -> Trace:
    """Follow a thing through the ledger.

    Args:
        ledger: The log.
        database: The registry.
        store: The object store; only rows need it.
        what: Id of a model, run, snapshot, delivery, case or decision; a SHA-256; a key id; a statement's id or
            position; a publisher's id; a file's path; or, for a row, `dataset:key` or its hash.
        since: For what a key, publisher, file or delivery touched: only deliveries that came in from then on (UTC).
        until: Only deliveries that came in before then.

    Raises:
        NotInLedger: Nothing goes by that name.
        UsageError: A time cannot be read.
        NoLedgerKey: There is no public key to check the statements with.
    """
    rows: list[FoundRow] = []
    with database.session() as session:
        about = set(_names_of_entry(session, what) or [lookup_key(what)])
        positions = _positions(session, about, None)
    up_from, down_from = about, about
    held: list[HeldRow] = []
    touched: Affected | None = None
    if store is not None:
        touched = affected(ledger, store, what, since=since, until=until)
        if not touched.deliveries and not touched.problems:
            touched = None
    row_name = split_row_name(database, what)
    if not positions and (row_name is not None or _HASH.fullmatch(what)):
        if store is None:
            raise NotInLedger(f"{what!r} is a row, and rows need the object store")
        rows, held = _rows(database, store, what, row_name)
        origins = {origin for row in rows for origin in (row.delivery, row.decision) if origin}
        origins |= {origin for row in held for origin in (row.delivery, row.case, *row.decisions)}
        up_from = about = {index_key(origin) for origin in origins}
        down_from = {index_key(row.snapshot_id) for row in rows}
    with database.session() as session:
        chosen: dict[int, Relation] = {}
        for position in _walk(session, down_from, "input"):
            chosen[position] = "downstream"
        for position in _walk(session, up_from, "subject"):
            chosen[position] = "upstream"
        for position in _positions(session, about | (down_from if rows or held else set()), "subject"):
            chosen[position] = "about"
        steps = _steps(ledger, session, chosen)
    if not steps and not rows and not held and touched is None:
        raise NotInLedger(
            f"nothing in the ledger goes by {what!r}",
            next_step="give an id, a SHA-256, a key id, or dataset:key for a row; `assay ledger export` lists all",
        )
    return Trace(what, tuple(steps), tuple(rows), tuple(held), touched)


def visible(text: str) -> str:
    """Text with nothing in it that a reader would obey instead of show: controls and text-direction marks as U+XXXX."""
    return "".join(each if each.isprintable() or each == " " else f"[U+{ord(each):04X}]" for each in text)


def short(name: str) -> str:
    """An id or digest as people read it: the first 12 digits."""
    return re.sub(r"([0-9a-f]{12})[0-9a-f]{8,}", r"\1…", name)


# -------------------------------------------------------------------------------------------------------------- private
def _rows(
    database: Database, store: ObjectStore, what: str, name: tuple[str, str] | None
) -> tuple[list[FoundRow], list[HeldRow]]:
    """A row by its hash or its key, in snapshots and in cases."""
    if name is None:
        return find_hash(database, store, what), []
    held = find_held(database, store, *name)
    try:
        return find_rows(database, store, *name), held
    except NotInLedger:
        if held:
            return [], held
        raise


def _names_of_entry(session: Session, what: str) -> list[str]:
    """Subjects of an entry that was named by its statement's id or its position."""
    query = select(LedgerEntry)
    if what.startswith("statement-"):
        query = query.where(LedgerEntry.statement_id == what)
    elif what.isdecimal() and len(what) < 19:
        query = query.where(LedgerEntry.position == int(what))
    else:
        return []
    row = session.scalars(query).first()
    return [] if row is None else [key for res in read_unverified(row.envelope).subjects for key in res.keys]


def _positions(session: Session, names: Iterable[str], role: str | None) -> set[int]:
    out: set[int] = set()
    listed = sorted(names)
    for start in range(0, len(listed), _CHUNK):
        query = select(LedgerSubject.position).where(LedgerSubject.name.in_(listed[start : start + _CHUNK]))
        if role is not None:
            query = query.where(LedgerSubject.role == role)
        out |= set(session.scalars(query))
    return out


def _names(session: Session, positions: Iterable[int], role: str) -> set[str]:
    out: set[str] = set()
    listed = sorted(positions)
    for start in range(0, len(listed), _CHUNK):
        query = select(LedgerSubject.name).where(
            LedgerSubject.position.in_(listed[start : start + _CHUNK]), LedgerSubject.role == role
        )
        out |= {name for name in session.scalars(query) if _LINK.fullmatch(name)}
    return out


def _walk(session: Session, names: set[str], enter: Literal["subject", "input"]) -> set[int]:
    """All entries reached from names: entered as `subject` and left by their inputs, or the other way round."""
    leave = "input" if enter == "subject" else "subject"
    seen: set[int] = set()
    seen_names, frontier = set(names), set(names)
    while frontier:
        fresh = _positions(session, frontier, enter) - seen
        seen |= fresh
        frontier = _names(session, fresh, leave) - seen_names
        seen_names |= frontier
    return seen


def _steps(ledger: Ledger, session: Session, chosen: dict[int, Relation]) -> list[Step]:
    steps: list[Step] = []
    listed = sorted(chosen)
    for start in range(0, len(listed), _CHUNK):
        query = select(LedgerEntry).where(LedgerEntry.position.in_(listed[start : start + _CHUNK]))
        rows = session.scalars(query.order_by(LedgerEntry.position))
        steps += [_step(ledger, row, chosen[row.position]) for row in rows]
    return steps


def _step(ledger: Ledger, row: LedgerEntry, relation: Relation) -> Step:
    try:
        return Step(
            row.position, relation, verify_envelope(row.envelope, ledger.public_key, position=row.position)
        )
    except AssayError as error:
        try:
            statement = read_unverified(row.envelope)
        except AssayError:
            statement = Statement(row.predicate_type, (Resource("unreadable"),), (), b'{"predicate":{}}')
        return Step(row.position, relation, statement, error.message)


def _finding(outcome: Outcome, subject: str, message: str) -> Finding:
    return Finding(
        check="ledger.trace",
        outcome=outcome,
        severity=Severity.INFO if outcome is Outcome.PASSED else Severity.CRITICAL,
        scope=Scope.LEDGER,
        subject=subject,
        message=message,
    )
