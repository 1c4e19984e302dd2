"""What the ledger's tests share: a log with a few entries, and the means of someone who owns the database."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, NullPool, create_engine, text

from assay.db import Database, Snapshot, put_snapshot
from assay.findings import Finding, Outcome
from assay.ledger import (
    Ledger,
    Part,
    SnapshotManifest,
    Statement,
    annotate,
    make_manifest,
    make_part,
    make_statement,
)
from assay.settings import Settings
from assay.store import ObjectStore, put_table

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
COLUMNS = ["id", "name", "age"]
GUARDED = ("ledger_entry", "ledger_subject", "ledger_checkpoint")


def sha(text_: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text_.encode()).hexdigest()


def content_name(kind: str, number: object) -> str:
    """An id of Assay's form."""
    return f"{kind}-{sha(f'{kind} {number}')[:32]}"


def statement(number: int) -> Statement:
    """The `number`-th of a row of different statements."""
    return make_statement(
        "delivery-verified",
        [(content_name("delivery", number), sha(f"manifest {number}"))],
        {"outcome": "passed", "files": number},
        [(f"part-{number}.csv", sha(f"file {number}")), "minisign:RWQ0123456789ABCD"],
    )


def open_log(url: str, home: Path, key: Ed25519PrivateKey = KEY) -> Ledger:
    """A migrated database with an empty log whose anchor lies in `home`."""
    database = Database(url)
    database.migrate()
    return Ledger(database, key, anchor=home / "ledger-head.txt")


def filled(url: str, home: Path, count: int) -> Ledger:
    """A log with `count` entries."""
    log = open_log(url, home)
    for number in range(count):
        log.append(statement(number))
    return log


@contextmanager
def as_owner(database: Database) -> Iterator[Connection]:
    """A connection of someone who owns the database: no trigger or foreign key stops them."""
    engine = create_engine(database.url, poolclass=NullPool)  # on SQLite, foreign keys are off by default
    with engine.begin() as connection:
        if database.is_sqlite:
            triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for name in list(connection.execute(text(triggers)).scalars()):
                connection.execute(text(f"DROP TRIGGER {name}"))
        else:
            for table in GUARDED:
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        yield connection


def failures(findings: list[Finding]) -> dict[str, list[str]]:
    """Failed checks, and what each names."""
    out: dict[str, list[str]] = {}
    for finding in findings:
        if finding.outcome is Outcome.FAILED:
            out.setdefault(finding.check, []).append(finding.subject)
    return out


def in_processes(count: int, work: Callable[[int], object]) -> list[object]:
    """What `work(0)` ... `work(count - 1)` answer, each in a process of its own, all let go at the same moment."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(count), context.SimpleQueue()

    def run(number: int) -> None:
        barrier.wait(60)
        try:
            answers.put((number, work(number)))
        except BaseException as error:
            answers.put((number, repr(error)))
            raise

    processes = [context.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    got = dict(answers.get() for _ in processes)
    for process in processes:
        process.join(60)
    return [got[number] for number in range(count)]


def people(first: int, count: int) -> pa.Table:
    """Rows of a small data set, keyed by `id`."""
    numbers = range(first, first + count)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int32()),
            "name": [f"person {number}" for number in numbers],
            "age": pa.array([number % 90 for number in numbers], pa.int16()),
        }
    )


def put_people(
    store: ObjectStore, first: int, count: int, delivery: str = "", decision: str | None = None
) -> Part:
    """Rows of people as a part in the store."""
    delivery = delivery or content_name("delivery", first)
    table = annotate(
        people(first, count),
        COLUMNS,
        delivery=delivery,
        source="west",
        file=f"people-{first}.csv",
        record=pa.array(range(count)),
        decision=decision,
    )
    return make_part(store, put_table(store, table).sha256, delivery)


@dataclass(frozen=True)
class Line:
    """A small history: two deliveries, a released case, two snapshots, two models."""

    log: Ledger
    store: ObjectStore
    deliveries: tuple[str, str]
    decision: str
    snapshots: tuple[str, str]
    models: tuple[str, str]


def small_line(url: str, home: Path) -> Line:
    """The statements of a line that ran twice, with snapshots in the registry and in the store.

    Delivery 1 brings people 0 to 19. Delivery 2 brings 20 to 29, of which 25 to 29 were released from quarantine.
    """
    log, store = open_log(url, home), ObjectStore(home / "store", work_dir=home / "work")
    decision, case = content_name("decision", 1), content_name("case", 1)
    parts: list[Part] = []
    parent: SnapshotManifest | None = None
    deliveries, snapshots, models = [], [], []
    for turn, portions in enumerate((((0, 20, None),), ((20, 5, None), (25, 5, decision))), start=1):
        delivery, run, model = (content_name(kind, turn) for kind in ("delivery", "run", "model"))
        about = [(delivery, sha(f"manifest {turn}"))]
        files = [("people.csv", sha(f"file {turn}"))]
        log.append(
            make_statement(
                "delivery-verified", about, {"outcome": "passed"}, [*files, "minisign:0123456789ABCDEF"]
            )
        )
        log.append(make_statement("delivery-screened", about, {"quarantined": 5 * (turn - 1)}, about))
        inputs: list[tuple[str, str | None] | str] = [*about]
        if turn == 2:
            decided = {"action": "release", "reviewer": "olga", "reason": "known customers"}
            log.append(
                make_statement("case-decided", [(case, sha("rows")), (decision, sha("olga"))], decided, about)
            )
            inputs.append((decision, sha("olga")))
        parts += [put_people(store, first, count, delivery, who) for first, count, who in portions]
        manifest = make_manifest(
            store,
            dataset="people",
            contract_sha256=sha("contract"),
            columns=COLUMNS,
            key=["id"],
            parts=parts,
            parent=parent,
        )
        stored = store.put_bytes(manifest.to_json())
        with log.database.write() as session:
            row = Snapshot(
                id=manifest.id,
                dataset="people",
                version=manifest.version,
                parent_id=manifest.parent,
                merkle_root=manifest.merkle_root,
                manifest_object=stored.sha256,
                rows=manifest.rows,
                admitted_at="2026-03-01T00:00:00Z",
            )
            put_snapshot(session, row)
        snapshot = [(manifest.id, stored.sha256)]
        if parent is not None:
            inputs.append((snapshots[-1], None))
        log.append(
            make_statement("snapshot-admitted", snapshot, {"version": turn, "rows": manifest.rows}, inputs)
        )
        trained = [(model, sha(f"model {turn}"))]
        log.append(
            make_statement(
                "run-finished", [*trained, (run, sha(f"run {turn}"))], {"curve": "passed"}, snapshot
            )
        )
        log.append(make_statement("gates-judged", trained, {"outcome": "passed", "accuracy": 0.85}, trained))
        log.append(make_statement("model-promoted", trained, {"by": "line"}, trained))
        deliveries.append(delivery)
        snapshots.append(manifest.id)
        models.append(model)
        parent = manifest
    return Line(
        log,
        store,
        (deliveries[0], deliveries[1]),
        decision,
        (snapshots[0], snapshots[1]),
        (models[0], models[1]),
    )


def copied(line: Line, folder: Path) -> Line:
    """A copy of a line on SQLite, in a folder of its own."""
    shutil.copytree(Path(str(line.log.database.url.database)).parent, folder)
    log = Ledger(Database(f"sqlite:///{folder / 'test.db'}"), KEY, anchor=folder / "ledger-head.txt")
    return replace(line, log=log, store=ObjectStore(folder / "store", work_dir=folder / "work"))


def settings() -> Settings:
    """Settings of the test's own home, made."""
    chosen = Settings.from_env()
    chosen.make_home()
    return chosen
