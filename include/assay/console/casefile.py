"""A case as the pages need it: its rows, its groups, and the exhibits that were counted when it was screened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select

from assay.console.desk import Desk, missing
from assay.console.lines import finding_lines, finding_rows
from assay.console.rowindex import Mask, Numbers, RowIndex
from assay.console.shelf import Shelf
from assay.db import Case, Run, SnapshotDelivery
from assay.errors import AssayError
from assay.line.cells import facts
from assay.line.exhibits import FORMAT, columns_in, unpack_rows

MOST_IN_MEMORY = 192 << 20
"""Bytes that the indices of the cases that were looked at last may take together."""
MOST_EXHIBITS = 24
_KINDS = {"screen.spikes": "trigger", "screen.near_duplicates": "flood", "screen.sources": "source"}
_TOLD_BY_GROUPS = {
    "spikes": "screen.spikes",
    "near_duplicates": "screen.near_duplicates",
    "history": "screen.history",
}
_NO_SIGNAL = ("nearest",)
_NEVER_KEPT = "the case was opened before such counts were kept"
_MOST_DESCENDANTS = 2_000


@dataclass(frozen=True)
class Group:
    """Rows of a case that belong together.

    Attributes:
        id: The finding's id, or `signal:` and a signal's name.
        kind: `trigger`, `flood`, `source` or `signal`.
        title: What to call it.
        message: What was seen.
        rows: How many rows of the case belong to it.
        columns: The columns that mark it.
        technique: MITRE ATLAS, where one applies.
        finding_id: The finding, None for a signal.
        said: What the exhibits say of it, None where they say nothing.
    """

    id: str
    kind: str
    title: str
    message: str
    rows: int
    columns: tuple[str, ...]
    technique: str | None = None
    finding_id: str | None = None
    said: dict[str, Any] | None = None

    def line(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "id": self.id,
            "kind": self.kind,
            "title": facts(self.title),
            "message": facts(self.message),
            "rows": self.rows,
            "columns": list(self.columns),
            "technique": self.technique,
            "finding_id": self.finding_id,
        }


class CaseFile:
    """One case; its rows are opened when they are first asked for.

    Args:
        desk: What is looked at.
        case: Its row in the registry.
        findings: What was found about its delivery.
    """

    def __init__(self, desk: Desk, case: Case, findings: list[dict[str, Any]]) -> None:
        self._desk = desk
        self.case = case
        self._about_delivery = {each["id"]: each for each in findings}
        self.exhibits, self.why_none = _exhibits(desk, case)
        self._whole = case.parent_id is None

    @property
    def rows(self) -> RowIndex:
        """The case's rows.

        Raises:
            NotFound: The case is about a delivery as a whole.
            ObjectMissing: The store lacks the rows.
            StoreCorrupt: They are not those that were held.
        """
        return row_index(self._desk, self.case)

    @property
    def has_rows(self) -> bool:
        """Whether it is about rows."""
        return self.case.rows_object is not None

    def groups(self) -> list[Group]:
        """The groups that its rows belong to: those that screening found, then the single signals."""
        found = [group for said in self._said_groups() if (group := self._group(said)) is not None]
        told = {self._about_delivery[group.id]["check"] for group in found}
        for name, count in self._signals().items():
            if name in _NO_SIGNAL or _TOLD_BY_GROUPS.get(name, "") in told:
                continue
            if name == "sources" and "screen.sources" in told:
                continue
            message = f"{count} rows of the case with this reason"
            found.append(Group(f"signal:{name}", "signal", name.replace("_", " "), message, count, ()))
        return found

    def group(self, group_id: str) -> Group:
        """One group.

        Raises:
            NotFound: The case has none of that id.
        """
        wanted = next((each for each in self.groups() if each.id == group_id), None)
        if wanted is None:
            raise missing(f"group in {self.case.id} called", group_id)
        return wanted

    def members(self, group_id: str) -> Mask:
        """Which rows of the case belong to a group.

        Raises:
            NotFound: The case has no such group.
        """
        group = self.group(group_id)
        if group.said is not None:
            return self.rows.among(unpack_rows(group.said["members"]))
        name = group.id.removeprefix("signal:")
        return self.rows.signals.get(name, np.zeros(len(self.rows.numbers), dtype=bool))

    def group_ids(self, rows: Numbers) -> list[list[str]]:
        """For each row number, the groups found by screening that the row belongs to."""
        out: list[list[str]] = [[] for _ in rows]
        for said in self._said_groups():
            for place in np.flatnonzero(np.isin(rows, unpack_rows(said["members"]))):
                out[place].append(said["finding"])
        return out

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Findings on the rows and groups of this case; of one about a delivery, all that are not passed."""
        listed = list(self._about_delivery.values())
        room = "expect." if self.case.kind == "validation" else "screen."
        if self.case.kind == "delivery":
            return [each for each in listed if each["outcome"] != "passed"]
        return [each for each in listed if each["check"].startswith(room)]

    def columns(self, desk: Desk) -> list[dict[str, str]]:
        """Its columns: name, type, and what the contract makes of them."""
        known = desk.contracts.of(self.case.dataset)
        contract = known.contract if known else None
        if contract is None:
            if not self.has_rows:
                return []
            types = {name: str(self.rows.table.schema.field(name).type) for name in self.rows.columns}
            return [{"name": name, "type": kind, "role": "feature"} for name, kind in types.items()]
        schema = contract.schema_
        label = schema.label.column if schema.label else None

        def role(name: str) -> str:
            if name in schema.key:
                return "key"
            if name == label:
                return "label"
            if name == schema.source:
                return "source"
            return "immutable" if name in schema.immutable else "feature"

        return [{"name": name, "type": c.type, "role": role(name)} for name, c in schema.columns.items()]

    def plots(self, desk: Desk) -> dict[str, Any]:
        """What can be drawn of it, and why the rest cannot."""
        kept = self.exhibits or {}
        runs, why = self.runs_with_losses(desk)
        return {
            "columns": [each["name"] for each in kept.get("columns", ())],
            "score": bool(kept.get("score")),
            "sources": bool(kept.get("sources")),
            "why_not": self.why_none,
            "losses": {"available": bool(runs), "why_not": why, "runs": runs},
        }

    def runs_with_losses(self, desk: Desk) -> tuple[list[str], str | None]:
        """The newest runs that learnt from rows of this case and kept their losses; or why there is none."""
        if not self.has_rows:
            return [], "the case is about a delivery, not about rows"
        if self.case.status != "released":
            return [], "its rows are in no snapshot: no run has learnt from them"
        with desk.session() as session:
            snapshots = select(SnapshotDelivery.snapshot_id).where(
                SnapshotDelivery.delivery_id == self.case.delivery_id
            )
            query = (
                select(Run)
                .where(Run.dataset == self.case.dataset)
                .order_by(Run.finished_at.desc(), Run.id.desc())
                .limit(50)
            )
            newest = list(session.scalars(query))
            first = session.scalar(snapshots.limit(1))
        found = [run.id for run in newest if (run.detail or {}).get("row_losses")][:10]
        if found and first is not None:
            return found, None
        if first is None or not newest:
            return [], "no run has finished since its rows were released"
        return [], "no run kept the losses of single rows; a private run keeps none"

    def reasons(self, texts: list[str], columns: list[str]) -> list[dict[str, Any]]:
        """A row's reasons, each with its signal and the columns that it names."""
        out = []
        for said in texts:
            signal, colon, rest = said.partition(": ")
            # What validation says of a row begins with the column, what screening says with the signal.
            text = rest if colon else said
            named = columns_in([said], columns)
            out.append(
                {
                    "signal": facts(signal) if colon else "",
                    "text": facts(text),
                    "columns": [name for name in columns if name in named],
                }
            )
        return out

    def decided(self, desk: Desk) -> dict[int, str]:
        """What was decided on single rows of a case that was split, by row number."""
        if self.case.status != "split":
            return {}
        out: dict[int, str] = {}
        for leaf in _leaves(desk, self.case.id):
            if leaf.status in {"released", "rejected"}:
                said = "release" if leaf.status == "released" else "reject"
                out.update(dict.fromkeys(row_index(desk, leaf).numbers.tolist(), said))
        return out

    # ---------------------------------------------------------------------------------------------------- private
    def _said_groups(self) -> list[dict[str, Any]]:
        if self.exhibits is None or self.case.kind != "screening":
            return []
        return [said for said in self.exhibits["groups"] if said["finding"] in self._about_delivery]

    def _group(self, said: dict[str, Any]) -> Group | None:
        finding = self._about_delivery[said["finding"]]
        members = unpack_rows(said["members"])
        count = len(members) if self._whole else int(self.rows.among(members).sum())
        if not count:
            return None
        return Group(
            id=finding["id"],
            kind=_KINDS.get(finding["check"], "signal"),
            title=finding["subject"] or finding["check"],
            message=finding["message"],
            rows=count,
            columns=tuple(finding["evidence"].get("columns") or (each["name"] for each in said["columns"])),
            technique=finding["technique"],
            finding_id=finding["id"],
            said=said,
        )

    def _signals(self) -> dict[str, int]:
        """How many rows each signal speaks of."""
        if not self.has_rows:
            return {}
        counted = (self.case.evidence or {}).get("reasons")
        if self._whole and self.case.kind == "screening" and isinstance(counted, dict):
            return {str(name): int(count) for name, count in counted.items()}
        return {name: int(mask.sum()) for name, mask in self.rows.signals.items()}


def casefile(desk: Desk, case: Case, findings: list[dict[str, Any]]) -> CaseFile:
    """The file of a case that was read from the registry."""
    return CaseFile(desk, case, findings)


def open_file(desk: Desk, case_id: str) -> CaseFile:
    """The file of a case.

    Raises:
        NotFound: There is no such case.
    """
    from assay.console.cases import find

    with desk.session() as session:
        case = find(session, case_id)
        findings = finding_lines(finding_rows(session, case.delivery_id))
        session.expunge_all()
    return CaseFile(desk, case, findings)


def row_index(desk: Desk, case: Case) -> RowIndex:
    """The rows of a case, from the shelf or opened now.

    Raises:
        NotFound: The case is about a delivery as a whole.
    """
    stored = case.rows_object
    if stored is None:
        raise missing("row in", case.id, "the case is about the delivery as a whole")
    shelf: Shelf[RowIndex] = desk.shelf.setdefault("rows", Shelf(lambda index: index.weight, MOST_IN_MEMORY))
    return shelf.get(stored, lambda: RowIndex(desk.store, stored, desk.settings.work_dir))


def rows_of_group(desk: Desk, case_id: str, group_id: str) -> Numbers:
    """The row numbers of a group, ascending, int64.

    Raises:
        NotFound: There is no such case or group.
    """
    file = open_file(desk, case_id)
    mask = file.members(group_id)
    return file.rows.numbers[mask]


def _exhibits(desk: Desk, case: Case) -> tuple[dict[str, Any] | None, str | None]:
    """What was counted when the case was screened; or why there is nothing."""
    evidence = case.evidence or {}
    stored = evidence.get("exhibits")
    if not isinstance(stored, str):
        return None, str(evidence.get("exhibits_missing") or _NEVER_KEPT)
    shelf: Shelf[dict[str, Any]] = desk.shelf.setdefault("exhibits", Shelf(lambda _: 1, MOST_EXHIBITS))
    try:
        said = shelf.get(stored, lambda: _read_exhibits(desk, stored))
    except (AssayError, ValueError) as error:
        return None, f"the counts that were kept cannot be read: {getattr(error, 'message', error)}"
    return said, None


def _read_exhibits(desk: Desk, stored: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(desk.store.get_bytes(stored))
    if said.get("format") != FORMAT:
        raise ValueError(f"they are not of the format {FORMAT}")
    return said


def _leaves(desk: Desk, case_id: str) -> list[Case]:
    """The cases that a split case ended in, however often it was split again."""
    leaves: list[Case] = []
    waiting = [case_id]
    with desk.session() as session:
        while waiting and len(leaves) < _MOST_DESCENDANTS:
            children = session.scalars(select(Case).where(Case.parent_id.in_(waiting[:500]))).all()
            waiting = waiting[500:] + [child.id for child in children if child.status == "split"]
            leaves += [child for child in children if child.status != "split"]
        session.expunge_all()
    return leaves
