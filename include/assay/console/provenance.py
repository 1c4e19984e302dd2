"""The graph that one walks: publisher, key, delivery, file, row, case, decision, snapshot, run, model, promotion.

A node's neighbours come from the registry, and from the signed statements where the registry does not know them. Each
statement about the node is checked on the way; one that cannot be believed, or that says something else than the
registry, is told as a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from assay.console.desk import Desk, missing
from assay.console.errors import BadQuery
from assay.console.scope import KINDS
from assay.errors import AssayError
from assay.ledger import Ledger, NoLedgerKey
from assay.line.cells import facts, text

MOST_EDGES = 100
_MOST_STATEMENTS = 50


@dataclass
class Node:
    """One thing with its neighbours.

    Attributes:
        kind: One of `KINDS`.
        id: Its id.
        title: What to call it.
        dataset: Its data set; None for what belongs to no single one.
        digest: The SHA-256 by which statements name it, where they do.
        facts: Name and value of what is known of it.
        before: What it came from.
        after: What came of it.
        more_before: How many neighbours were left out on that side.
        more_after: Likewise.
        problems: What cannot be believed.
    """

    kind: str
    id: str
    title: str
    dataset: str | None
    digest: str | None = None
    facts: list[dict[str, Any]] = field(default_factory=list)
    before: list[dict[str, str]] = field(default_factory=list)
    after: list[dict[str, str]] = field(default_factory=list)
    more_before: int = 0
    more_after: int = 0
    problems: list[str] = field(default_factory=list)

    def fact(self, name: str, value: Any) -> None:
        """Something that is known of it; left out where there is no value."""
        if value is not None and value != "":
            self.facts.append({"name": name, "value": facts(value)})

    def add_facts(self, *known: tuple[str, Any]) -> None:
        """Several, each by its name and value."""
        for name, value in known:
            self.fact(name, value)

    def came_from(self, kind: str, name: str, title: str, relation: str) -> None:
        """A neighbour that it came from."""
        if len(self.before) < MOST_EDGES:
            self.before.append(_edge(kind, name, title, relation))
        else:
            self.more_before += 1

    def led_to(self, kind: str, name: str, title: str, relation: str) -> None:
        """A neighbour that came of it."""
        if len(self.after) < MOST_EDGES:
            self.after.append(_edge(kind, name, title, relation))
        else:
            self.more_after += 1


@dataclass(frozen=True)
class Walk:
    """What the makers of nodes work with."""

    desk: Desk
    session: Session
    readable: frozenset[str]


Maker = Callable[[Walk, str], Node | None]


def node(desk: Desk, kind: str, name: str, datasets: Iterable[str] | None = None) -> dict[str, Any]:
    """One thing with what it came from and what came of it; nothing of data sets that the caller may not read.

    Raises:
        NotFound: There is no such thing, or the caller may not read its data set.
        BadQuery: There is no such kind.
    """
    from assay.console.nodes import MAKERS

    if kind not in KINDS:
        raise BadQuery(f"no kind of thing is called {kind[:40]!a}", expected=", ".join(KINDS))
    readable = frozenset(desk.chosen(None, datasets))
    with desk.session() as session:
        found = MAKERS[kind](Walk(desk, session, readable), name)
    if found is None or (found.dataset is not None and found.dataset not in readable):
        raise missing(kind, name, "search for it by name")
    if kind not in {"row", "publisher", "key", "file", "statement"}:
        found.problems += _problems(desk, found)
    return {
        "node": {"kind": found.kind, "id": found.id, "title": text(found.title), "facts": found.facts},
        "dataset": found.dataset,
        "in": found.before,
        "out": found.after,
        "more_in": found.more_before,
        "more_out": found.more_after,
        "problems": found.problems,
    }


def _problems(desk: Desk, found: Node) -> list[str]:
    """What of the statements about a thing cannot be believed, or says something else than the registry."""
    try:
        ledger: Ledger = desk.ledger()
        if not ledger.has_key:
            raise NoLedgerKey(
                "there is no public key to check the ledger with", next_step="bring back ledger.pub.pem"
            )
        # A promotion is told of by a statement about its model.
        about = found.before[0]["id"] if found.kind == "promotion" else found.id
        entries = ledger.entries(about, role="subject")
    except AssayError as error:
        return [f"not checked: {error.message}"]
    out: list[str] = []
    told = found.kind != "promotion" and bool(entries)
    for entry in entries[:_MOST_STATEMENTS]:
        try:
            statement = ledger.read(entry)
        except AssayError as error:
            out.append(f"entry {entry.position} cannot be believed: {error.message}")
            continue
        told = told or statement.predicate.get("promotion") == found.id
        said = {item.name: item.sha256 for item in statement.subjects}.get(found.id)
        if found.digest is not None and said is not None and said != found.digest:
            out.append(
                f"entry {entry.position} ({statement.step}) names it with the digest {said}, the registry has "
                f"{found.digest}"
            )
    if not told and not out:
        out.append("not checked: no statement in the ledger tells of it")
    if len(entries) > _MOST_STATEMENTS:
        out.append(f"not checked: {len(entries) - _MOST_STATEMENTS} more statements about it")
    return out


def _edge(kind: str, name: str, title: str, relation: str) -> dict[str, str]:
    return {"kind": kind, "id": name, "title": text(title), "relation": relation}
