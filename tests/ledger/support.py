"""What the ledger's tests share: a log with a few entries, and the means of someone who owns the database."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, text

from assay.db import Database
from assay.findings import Finding, Outcome
from assay.ledger import Ledger, Part, Statement, annotate, make_part, make_statement
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
    """A connection of someone who owns the database: no trigger, key or constraint stops them."""
    with database.engine.begin() as connection:
        if database.is_sqlite:
            connection.execute(text("PRAGMA defer_foreign_keys=ON"))
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


def settings() -> Settings:
    """Settings of the test's own home, made."""
    chosen = Settings.from_env()
    chosen.make_home()
    return chosen
