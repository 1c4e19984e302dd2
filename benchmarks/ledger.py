"""Times the ledger: appends, proofs, a full check, and row hashes; beside `sha256sum` and pymerkle on the same bytes.

`python benchmarks/ledger.py [--entries N] [--rows N] [--quick] [--work DIR]`. A log of N entries (1 M) is made once in
`--work` and used again by the next run. pymerkle is measured where it can be imported; it is not among Assay's
dependencies (`pip install pymerkle`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assay.db import Database, LedgerCheckpoint, LedgerEntry, LedgerSubject
from assay.findings import worst
from assay.ledger import Ledger, Statement, make_statement, row_hashes, sign_statement
from assay.ledger.log.checkpoints import Checkpoint, origin_of, sign_checkpoint
from assay.ledger.merkle import StreamingRoot, leaf_hash
from assay.ledger.outside.proofs import prove_consistency
from tests import postgres_server

KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a key for measuring only").digest())
PROOFS = 200
_BATCH = 5000


def statement(number: int) -> Statement:
    """A statement about a delivery, as the line makes them."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return make_statement(
        "delivery-verified",
        [(f"delivery-{digest[:32]}", digest)],
        {"outcome": "passed", "files": 1, "sequence": number},
        [(f"file:part-{number}.csv", digest), "minisign:RWQ0123456789ABCD"],
    )


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds on the wall and of the processor, and what the work gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    given = work()
    return time.perf_counter() - wall, time.process_time() - cpu, given


def say(what: str, figure: str) -> None:
    """One line of the report."""
    print(f"  {what.ljust(58)}{figure}", flush=True)


# ----------------------------------------------------------------------------------------------------------------- rows
def table_of(rows: int) -> pa.Table:
    """20 columns: ten numbers, five whole ones, three categories, a name of each row's own, a time."""
    rng = np.random.default_rng(0)
    kinds = np.array(["Private", "State-gov", "Self-emp-not-inc", "Federal-gov", "Never-worked"])
    columns: dict[str, Any] = {f"number_{n}": rng.normal(size=rows) for n in range(10)}
    columns |= {f"whole_{n}": rng.integers(0, 10_000, rows) for n in range(5)}
    columns |= {f"kind_{n}": pa.array(kinds[rng.integers(0, 5, rows)]) for n in range(3)}
    columns["name"] = pa.array([f"person {n}" for n in range(rows)])
    columns["at"] = pa.array(rng.integers(0, 2**50, rows), pa.timestamp("us"))
    return pa.table(columns)


def measure_rows(rows: int, work: Path) -> None:
    """Row hashes per second on one core, and the time that SHA-256 alone takes for as many bytes."""
    table = table_of(rows)
    numbers = table.select([*table.column_names[:15]] * 1).append_column("x", table["at"])
    for name, data in (("20 columns, 4 of text", table), ("16 columns of numbers", numbers)):
        _, cpu, _ = min(
            (timed(lambda data=data: row_hashes(data, data.column_names)) for _ in range(3)),
            key=lambda t: t[1],
        )
        say(f"row hashes, {name}", f"{rows / cpu:12,.0f} rows/s per core")
    width = 33 + 16 * 9 + 4 * 33
    path = work / "rows.bin"
    path.write_bytes(os.urandom(width) * rows)
    seconds, _, _ = timed(lambda: subprocess.run(["sha256sum", path], check=True, capture_output=True))
    say(
        f"sha256sum of the same {width * rows / 2**20:.0f} MiB as one stream",
        f"{rows / seconds:12,.0f} rows/s",
    )
    path.unlink()


# -------------------------------------------------------------------------------------------------------------- appends
def measure_appends(url: str, name: str, work: Path, seconds: float) -> None:
    """Appends per second of one writer: each in a transaction of its own, and 100 in one."""
    folder = Path(tempfile.mkdtemp(dir=work))
    database = Database(url.format(folder=folder))
    database.migrate()
    log = Ledger(database, KEY, anchor=folder / "head.txt")
    number, end, started = 0, time.perf_counter() + seconds, time.perf_counter()
    while time.perf_counter() < end:
        log.append(statement(number))
        number += 1
    say(f"appends, {name}, one by one", f"{number / (time.perf_counter() - started):12,.0f} a second")
    first, started, end = number, time.perf_counter(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        with database.write() as session:
            for _ in range(100):
                log.append(statement(number), session=session)
                number += 1
    say(
        f"appends, {name}, 100 in a transaction",
        f"{(number - first) / (time.perf_counter() - started):12,.0f} a second",
    )
    database.dispose()
    shutil.rmtree(folder)


# ------------------------------------------------------------------------------------------------------- a log of 1 M
def build(folder: Path, count: int) -> Ledger:
    """A genuine log of `count` entries, written in bulk; kept for the next run."""
    database = Database(f"sqlite:///{folder / 'ledger.db'}")
    database.migrate()
    head, started = folder / "ledger-head.txt", time.perf_counter()
    log = Ledger(database, KEY, anchor=head)
    if head.exists() and log.size() == count:
        return log
    if log.size():
        raise SystemExit(f"{folder} holds a log of another size; name another --work")
    tree, origin, note = StreamingRoot(), origin_of(KEY.public_key()), ""
    for first in range(0, count, _BATCH):
        entries, subjects, checkpoints = [], [], []
        for number in range(first, min(first + _BATCH, count)):
            one = statement(number)
            envelope = sign_statement(one, KEY)
            leaf = leaf_hash(envelope.encode())
            tree.append(leaf)
            note = sign_checkpoint(Checkpoint(origin, tree.size, tree.root()), KEY)
            entries.append(
                {"position": number, "statement_id": one.id, "leaf_hash": leaf.hex(),
                 "predicate_type": one.predicate_type, "envelope": envelope}
            )  # fmt: skip
            subjects += [{"position": number, "name": name, "role": role} for name, role in one.index]
            checkpoints.append(
                {"size": tree.size, "root_hash": tree.root().hex(), "note": note,
                 "edge": [node.hex() for node in tree.edge]}
            )  # fmt: skip
        with database.write() as session:
            session.execute(insert(LedgerEntry), entries)
            session.execute(insert(LedgerSubject), subjects)
            session.execute(insert(LedgerCheckpoint), checkpoints)
    head.write_text(note, encoding="utf-8")
    say(f"(made {count:,} entries in bulk", f"{time.perf_counter() - started:12,.0f} s)")
    return log


def measure_log(log: Ledger, count: int, folder: Path) -> None:
    """Proofs and a full check of a large log."""
    chance = random.Random(0)
    log.prove(0)
    proofs, consistency = [], []
    for _ in range(PROOFS):
        position = chance.randrange(count)
        proofs.append(timed(lambda position=position: log.prove(position)))
        consistency.append(timed(lambda position=position: prove_consistency(log, position + 1)))
    for name, times in (("inclusion", proofs), ("consistency", consistency)):
        wall = sorted(1000 * one[0] for one in times)
        cpu = statistics.median(1000 * one[1] for one in times)
        say(
            f"{name} proof at {count:,} entries, made and checked",
            f"{statistics.median(wall):12.1f} ms (95 %: {wall[int(0.95 * len(wall))]:.1f} ms; processor {cpu:.1f} ms)",
        )
    wall, cpu, findings = timed(log.verify)
    outcome = worst(finding.outcome for finding in findings)
    say(
        f"full check of {count:,} entries: {outcome}",
        f"{wall:12.1f} s ({count / wall:,.0f} entries/s; processor {cpu:.0f} s)",
    )
    path = folder / "envelopes.jsonl"
    if not path.exists():
        with log.database.engine.connect() as connection, path.open("w", encoding="utf-8") as file:
            for (envelope,) in connection.exec_driver_sql(
                "SELECT envelope FROM ledger_entry ORDER BY position"
            ):
                file.write(envelope + "\n")
    wall, _, _ = timed(lambda: subprocess.run(["sha256sum", path], check=True, capture_output=True))
    size = path.stat().st_size / 2**20
    say(f"sha256sum of the same {size:,.0f} MiB, which tells nothing of who signed", f"{wall:12.1f} s")


def measure_pymerkle(folder: Path, count: int) -> None:
    """The same entries in pymerkle's tree: no signatures, no checkpoints, no index."""
    try:
        from pymerkle import SqliteTree, verify_inclusion
    except ImportError:
        say("pymerkle", "not installed here: pip install pymerkle")
        return
    leaves = [json.dumps(line).encode() for line in (folder / "envelopes.jsonl").open(encoding="utf-8")][
        :count
    ]
    path = folder / "pymerkle.db"
    path.unlink(missing_ok=True)
    with SqliteTree(str(path), algorithm="sha256") as tree:
        wall, _, _ = timed(lambda: [tree.append_entry(leaf) for leaf in leaves[:100]])
        say("appends, pymerkle on SQLite, one by one", f"{100 / wall:12,.0f} a second")
        wall, _, _ = timed(lambda: tree.append_entries(leaves[100:], chunksize=100_000))
        say(f"(pymerkle took in {len(leaves):,} entries in bulk", f"{wall:12,.0f} s)")
        times = []
        for position in random.Random(0).sample(range(1, len(leaves) + 1), 5):

            def proved(position: int = position) -> None:
                proof = tree.prove_inclusion(position, len(leaves))
                verify_inclusion(tree.get_leaf(position), tree.get_state(), proof)

            times.append(1000 * timed(proved)[0])
        say(f"inclusion proof, pymerkle, {len(leaves):,} entries", f"{statistics.median(times):12,.1f} ms")
        wall, _, _ = timed(tree.get_state)
        say(f"root over {len(leaves):,} entries, pymerkle", f"{wall:12,.1f} s")


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="20,000 entries and 100,000 rows")
    parser.add_argument("--work", type=Path, help="a folder that keeps the large log for the next run")
    chosen = parser.parse_args()
    entries, rows, seconds = (20_000, 100_000, 2.0) if chosen.quick else (chosen.entries, chosen.rows, 10.0)
    work = chosen.work or Path(tempfile.mkdtemp(prefix="assay-bench-ledger-"))
    work.mkdir(parents=True, exist_ok=True)
    server = postgres_server.new_folder() if postgres_server.available() else None
    try:
        measure_rows(rows, work)
        measure_appends("sqlite:///{folder}/log.db", "SQLite", work, seconds)
        if server is None:
            say("appends, PostgreSQL", postgres_server.MISSING)
        else:
            measure_appends(postgres_server.start(server), "PostgreSQL", work, seconds)
        folder = work / f"log-{entries}"
        folder.mkdir(exist_ok=True)
        measure_log(build(folder, entries), entries, folder)
        measure_pymerkle(folder, entries)
    finally:
        if server is not None:
            postgres_server.stop(server)
        if chosen.work is None:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
