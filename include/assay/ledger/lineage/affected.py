"""What a key, a publisher, a file or a delivery touched: every row, snapshot and model that it came into.

The question is asked when a key was stolen or a file turned out to be wrong. Deliveries come from signed statements;
rows and snapshots come from the snapshots' own manifests, whose digests signed statements name: a snapshot counts only
where it holds rows of those deliveries, not where it merely followed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import select

from assay.db import Case, Database, Delivery, LedgerEntry, LedgerSubject, ModelRow, Promotion, list_snapshots
from assay.errors import UsageError
from assay.ledger.errors import EnvelopeError
from assay.ledger.log.ledger import Ledger, lookup_key
from assay.ledger.rows.lookup import read_manifest
from assay.ledger.rows.snapshot import DELIVERY, FILE, RECORD, ROW_HASH, Part, open_part
from assay.ledger.statements.envelopes import Statement, predicate_type, verify_envelope
from assay.store import ObjectStore

_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}:\d{2}Z)?)?)?")
_FIRST = "0000-01-01T00:00:00Z"
_CHUNK = 500
_BATCH_ROWS = 65_536

ROWS = pa.schema(
    [
        ("dataset", pa.string()),
        ("delivery", pa.string()),
        ("file", pa.string()),
        ("record", pa.int64()),
        ("row_hash", pa.string()),
        ("first_version", pa.int32()),
        ("last_version", pa.int32()),
    ]
)
"""Columns of `affected_rows`: where each row came from, and the first and last snapshot version that hold it."""


@dataclass(frozen=True)
class Touched:
    """A delivery that the thing brought, signed or was part of.

    Attributes:
        position: Entry of the statement that verified it.
        delivery: Its id.
        dataset: Its data set.
        source: Who delivered it.
        publisher: Whose key signed it.
        key: That key.
        signed_at: The date that was signed: whoever has a stolen key may write any.
        first_seen: When it first came in, by our clock: what a time window is compared with.
        verdict: What verification said.
        files: Paths within it that the question is about; empty for all of them.
    """

    position: int
    delivery: str
    dataset: str
    source: str
    publisher: str
    key: str | None
    signed_at: str | None
    first_seen: str
    verdict: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Held:
    """Rows of a snapshot that came with the deliveries.

    Attributes:
        snapshot: Its id.
        dataset: Its data set.
        version: Its version.
        rows: How many of its rows are affected.
        of: How many rows it has.
    """

    snapshot: str
    dataset: str
    version: int
    rows: int
    of: int


@dataclass(frozen=True)
class Learned:
    """A model that was trained on an affected snapshot.

    Attributes:
        model: Its id.
        snapshot: What it was trained on.
        state: What it is now: `champion`, `retired`, `challenger` or `refused`.
        rows: How many affected rows the snapshot has.
        champion_since: When it was made champion, each time.
    """

    model: str
    snapshot: str
    state: str
    rows: int
    champion_since: tuple[str, ...]


@dataclass(frozen=True)
class Affected:
    """Everything that the thing touched.

    Attributes:
        what: What was asked about.
        since: First moment of the window, if one was given.
        until: First moment after the window.
        deliveries: In the order of the log.
        snapshots: In the order of their versions.
        models: Trained on these snapshots.
        cases: Ids of cases with rows of these deliveries.
        rows: Different rows that are or were in a snapshot.
        problems: Statements that name the thing and cannot be believed.
    """

    what: str
    since: str | None
    until: str | None
    deliveries: tuple[Touched, ...]
    snapshots: tuple[Held, ...]
    models: tuple[Learned, ...]
    cases: tuple[str, ...]
    rows: int
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a person."""
        window = "".join(
            f" {word} {time}" for word, time in (("since", self.since), ("until", self.until)) if time
        )
        first = (
            f"affected by {self.what}{window}: {len(self.deliveries)} deliveries, {self.rows:,} rows, "
            f"{len(self.snapshots)} snapshots, {len(self.models)} models, {len(self.cases)} cases"
        )
        out = [first]
        out += [
            f"  {each.delivery} from {each.source}, came in {each.first_seen}, {each.verdict} (entry {each.position})"
            for each in self.deliveries
        ]
        out += [
            f"  {each.snapshot} (version {each.version} of {each.dataset}): {each.rows:,} of {each.of:,} rows"
            for each in self.snapshots
        ]
        out += [
            f"  {each.model}, {each.state}, trained on {each.rows:,} of these rows"
            + (f", champion since {', '.join(each.champion_since)}" if each.champion_since else "")
            for each in self.models
        ]
        out += [f"  {case}" for case in self.cases]
        return out + [f"  NOT TO BE BELIEVED: {problem}" for problem in self.problems]


def affected(
    ledger: Ledger,
    store: ObjectStore,
    what: str,
    *,
    since: str | None = None,
    until: str | None = None,
) -> Affected:
    """What a key, publisher, file or delivery touched.

    Args:
        ledger: The log.
        store: The object store, for the snapshots' manifests.
        what: A key id, a publisher's id, a file's SHA-256 or path, or a delivery's id.
        since: Only deliveries that came in at or after this moment (a year, month, day or ISO 8601 time, UTC).
        until: Only deliveries that came in before it.

    Raises:
        UsageError: A time cannot be read.
        NoLedgerKey: There is no public key to check the statements with.
        SnapshotError: A snapshot's objects are not what they should be.
    """
    window = _moment(since), _moment(until)
    touched, problems = _deliveries(ledger, what, window)
    found = _Snapshots(ledger.database, store, touched)
    snapshots = found.held()
    return Affected(
        what,
        window[0],
        window[1],
        touched,
        snapshots,
        _models(ledger.database, snapshots),
        _cases(ledger.database, touched),
        found.distinct_rows(),
        problems,
    )


def affected_rows(ledger: Ledger, store: ObjectStore, found: Affected) -> Iterator[pa.RecordBatch]:
    """Every row that was found, with the schema `ROWS`; memory is that of one batch."""
    yield from _Snapshots(ledger.database, store, found.deliveries).rows()


# ----------------------------------------------------------------------------------------------------------- deliveries
def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    if not _DATE.fullmatch(text):
        raise UsageError(
            f"the time {text!r} cannot be read", expected="2026, 2026-03, 2026-03-01 or 2026-03-01T00:00:00Z"
        )
    return text + _FIRST[len(text) :]


def _deliveries(
    ledger: Ledger, what: str, window: tuple[str | None, str | None]
) -> tuple[tuple[Touched, ...], tuple[str, ...]]:
    names = {lookup_key(what), lookup_key(f"file:{what}")}
    out, problems = [], []
    for row in _entries(ledger, names, what):
        try:
            statement = verify_envelope(row.envelope, ledger.public_key, position=row.position)
        except EnvelopeError as error:
            problems.append(f"entry {row.position}: {error.message}")
            continue
        facts = statement.predicate
        seen = str(facts.get("first_seen") or facts.get("signed_at") or "")
        if (window[0] and seen < window[0]) or (window[1] and seen >= window[1]):
            continue
        out.append(
            Touched(
                position=row.position,
                delivery=statement.subjects[0].name,
                dataset=str(facts.get("dataset", "")),
                source=str(facts.get("source", "")),
                publisher=str(facts.get("publisher", "")),
                key=facts.get("key"),
                signed_at=facts.get("signed_at"),
                first_seen=seen,
                verdict=str(facts.get("verdict", "")),
                files=_files_of(statement, what),
            )
        )
    return tuple(out), tuple(problems)


def _entries(ledger: Ledger, names: set[str], what: str) -> list[LedgerEntry]:
    """Statements that verified deliveries and name the thing, in the order of the log."""
    kind = predicate_type("delivery-verified")
    named = select(LedgerSubject.position).where(LedgerSubject.name.in_(names))
    by_publisher = select(Delivery.id).where(Delivery.publisher == what)
    about = select(LedgerSubject.position).where(
        LedgerSubject.role == "subject", LedgerSubject.name.in_(by_publisher)
    )
    query = select(LedgerEntry).where(
        LedgerEntry.predicate_type == kind,
        LedgerEntry.position.in_(named.union(about)),
    )
    with ledger.database.session() as session:
        return list(session.scalars(query.order_by(LedgerEntry.position)))


def _files_of(statement: Statement, what: str) -> tuple[str, ...]:
    """Paths of the files that the question is about; empty when it is about the delivery as a whole."""
    digest = what.removeprefix("sha256:")
    return tuple(
        item.name.removeprefix("file:")
        for item in statement.inputs
        if item.name.startswith("file:") and (item.sha256 == digest or item.name in {what, f"file:{what}"})
    )


# ------------------------------------------------------------------------------------------------- snapshots and models
class _Snapshots:
    """The parts that hold rows of some deliveries, and in which versions."""

    def __init__(self, database: Database, store: ObjectStore, touched: tuple[Touched, ...]) -> None:
        self._store = store
        self._files: dict[str, set[str]] = defaultdict(set)
        whole = {each.delivery for each in touched if not each.files}
        for each in touched:
            self._files[each.delivery] |= set(each.files)
        for delivery in whole:
            self._files[delivery] = set()
        self._masks: dict[str, npt.NDArray[np.bool_] | None] = {}
        self._versions: list[tuple[str, str, int, int, list[Part]]] = []
        with database.session() as session:
            wanted = [
                snapshot
                for dataset in sorted({each.dataset for each in touched})
                for snapshot in list_snapshots(session, dataset)
            ]
        for snapshot in wanted:
            manifest = read_manifest(store, snapshot)
            parts = [part for part in manifest.parts if part.delivery_id in self._files]
            if parts:
                self._versions.append((snapshot.id, snapshot.dataset, snapshot.version, manifest.rows, parts))

    def held(self) -> tuple[Held, ...]:
        """Each version with how many of its rows are affected."""
        out = []
        for snapshot, dataset, version, rows, parts in self._versions:
            count = sum(self._count(part) for part in parts)
            if count:
                out.append(Held(snapshot, dataset, version, count, rows))
        return tuple(out)

    def distinct_rows(self) -> int:
        """Rows of all versions, each counted once: what a later version leaves out, an earlier one held."""
        total = 0
        for part, places in self._by_part():
            first, _ = _lifetimes(part, places)
            mask = self._mask(part)
            total += int(np.count_nonzero(first if mask is None else first[mask]))
        return total

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Every row, part by part."""
        for part, places in self._by_part():
            dataset = places[0][0]
            first, last = _lifetimes(part, places)
            mask, start = self._mask(part), 0
            with open_part(self._store, part.sha256) as file:
                columns = [DELIVERY, FILE, RECORD, ROW_HASH]
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                    stop = start + batch.num_rows
                    keep = first[start:stop] > 0
                    if mask is not None:
                        keep &= mask[start:stop]
                    chosen = batch.filter(pa.array(keep))
                    hashes = [value.hex() for value in chosen.column(ROW_HASH).to_pylist()]
                    yield pa.RecordBatch.from_arrays(
                        [
                            pa.repeat(dataset, chosen.num_rows),
                            chosen.column(DELIVERY),
                            chosen.column(FILE),
                            chosen.column(RECORD),
                            pa.array(hashes, pa.string()),
                            pa.array(first[start:stop][keep], pa.int32()),
                            pa.array(last[start:stop][keep], pa.int32()),
                        ],
                        schema=ROWS,
                    )
                    start = stop

    def _by_part(self) -> Iterator[tuple[Part, list[tuple[str, int, Part]]]]:
        places: dict[str, list[tuple[str, int, Part]]] = defaultdict(list)
        for _, dataset, version, _, parts in self._versions:
            for part in parts:
                places[part.sha256].append((dataset, version, part))
        for found in places.values():
            yield found[0][2], found

    def _count(self, part: Part) -> int:
        mask = self._mask(part)
        return part.kept if mask is None else int(np.count_nonzero(mask & part.mask(0, part.rows)))

    def _mask(self, part: Part) -> npt.NDArray[np.bool_] | None:
        """Which rows of a part came in the files that the question is about; None for all."""
        files = self._files[part.delivery_id]
        if not files:
            return None
        if part.sha256 not in self._masks:
            pieces = [np.zeros(0, dtype=bool)]
            with open_part(self._store, part.sha256) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[FILE]):
                    inside = pc.is_in(batch.column(FILE), value_set=pa.array(sorted(files)))
                    pieces.append(np.asarray(inside))
            self._masks[part.sha256] = np.concatenate(pieces)
        return self._masks[part.sha256]


def _lifetimes(
    part: Part, places: list[tuple[str, int, Part]]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """First and last version that hold each row of a part; 0 for a row that none holds."""
    first, last = np.zeros(part.rows, np.int32), np.zeros(part.rows, np.int32)
    for _, version, each in places:
        keep = each.mask(0, each.rows)
        first[keep & (first == 0)] = version
        last[keep] = version
    return first, last


def _models(database: Database, snapshots: tuple[Held, ...]) -> tuple[Learned, ...]:
    rows = {each.snapshot: each.rows for each in snapshots}
    out: list[Learned] = []
    with database.session() as session:
        for start in range(0, len(rows), _CHUNK):
            some = sorted(rows)[start : start + _CHUNK]
            for model in session.scalars(
                select(ModelRow).where(ModelRow.snapshot_id.in_(some)).order_by(ModelRow.made_at, ModelRow.id)
            ):
                times = session.scalars(
                    select(Promotion.at).where(Promotion.model_id == model.id).order_by(Promotion.position)
                )
                out.append(
                    Learned(model.id, model.snapshot_id, model.state, rows[model.snapshot_id], tuple(times))
                )
    return tuple(out)


def _cases(database: Database, touched: tuple[Touched, ...]) -> tuple[str, ...]:
    listed = sorted({each.delivery for each in touched})
    out: list[str] = []
    with database.session() as session:
        for start in range(0, len(listed), _CHUNK):
            some = listed[start : start + _CHUNK]
            out += session.scalars(select(Case.id).where(Case.delivery_id.in_(some)))
    return tuple(sorted(out))
