"""Makes a store as large as the review pages are measured on: 100 k cases, 1 M rows, one case of 200 k rows.

`python benchmarks/ui_data.py --home DIR [--cases 100000] [--rows 1000000] [--large 200000]`. A small line runs for real
first (three sources, one of them poisoned, a champion). Beside it comes what months would bring: deliveries, findings,
cases with sealed rows in their real format and decisions, written in bulk; a snapshot of a million rows, hashed and
admitted; and one very large case with its exhibits. `DIR/ui.json` says where everything is. A home that is there
already is used again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from sqlalchemy import insert, select

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assay.canonical import content_id, sha256_hex
from assay.db import (
    Case,
    Decision,
    Delivery,
    DeliveryFile,
    FindingRow,
    Snapshot,
    latest_snapshot,
    put_snapshot,
)
from assay.demo.data import make_rounds
from assay.demo.stage import Stage
from assay.findings import Finding, Outcome, Scope, Severity
from assay.intake.tables import table_schema
from assay.ledger import annotate, make_manifest, make_part
from assay.line import Line, admit, judge, land, promote_as, screen, train, validate
from assay.line.exhibits import Screened, make_exhibits
from assay.line.snapshots import manifest_of
from assay.quarantine import list_cases
from assay.quarantine.rows import keep_rows, numbers_digest
from assay.screen import ScreenReport
from assay.screen.report import REPORT_SCHEMA
from assay.store import put_table

PROJECT = Path(__file__).resolve().parents[1]
DATASETS = ("adult", "claims", "sensors", "letters")
SOURCES = ("west", "east", "north", "south", "harbour")
REASONS = (
    "labels: label is unlikely for these features (p = 0.0001)",
    "outliers: far from all trusted rows (p = 0.003)",
)
_CHUNK = 5_000
_ROWS_OBJECTS = 60


@dataclass(frozen=True)
class Seeded:
    """A seeded store, and what to look at in it.

    Attributes:
        environment: The `ASSAY_...` variables that name it.
        dataset: The data set of everything below.
        delivery: A held delivery of the real line.
        held_case: Its case of quarantined rows, with everything that screening saw.
        case: A case of very many rows, with plots.
        open_cases: Cases that wait for a decision.
        run: A run of the real line.
        model: Its model, the champion.
        row_key: A row of the newest snapshot, `dataset:key`.
        snapshot: The newest snapshot.
        seconds: How long each part took to make.
    """

    environment: dict[str, str]
    dataset: str
    delivery: str
    held_case: str
    case: str
    open_cases: list[str]
    run: str
    model: str
    row_key: str
    snapshot: str
    seconds: dict[str, float]


def main() -> None:
    """Make the store, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=200_000)
    given = parser.parse_args()
    made = seed(given.home, cases=given.cases, rows=given.rows, large=given.large, say=_to_stderr)
    print(json.dumps(asdict(made), indent=1))


def seed(
    home: Path,
    *,
    cases: int = 100_000,
    rows: int = 1_000_000,
    large: int = 200_000,
    say: Callable[[str], None] = print,
) -> Seeded:
    """A seeded store, or the one that was made there before.

    Args:
        home: Folder for it.
        cases: How many cases.
        rows: Rows of the large snapshot.
        large: Rows of the large case.
        say: Told of each part that is done.
    """
    told = home / "ui.json"
    if told.exists():
        return Seeded(**json.loads(told.read_text()))
    stage = Stage(home.resolve(), PROJECT)
    seconds: dict[str, float] = {}

    def timed(name: str, begun: float) -> None:
        seconds[name] = round(time.perf_counter() - begun, 1)
        say(f"{name}: {seconds[name]} s")

    begun = time.perf_counter()
    ids = _real_line(stage)
    timed("a small line", begun)
    with Line.open(stage.contract, stage.settings) as line:
        begun = time.perf_counter()
        _bulk(line, cases)
        timed(f"{cases:,} cases", begun)
        begun = time.perf_counter()
        snapshot = _snapshot(line, rows)
        timed(f"a snapshot of {rows:,} rows", begun)
        begun = time.perf_counter()
        largest = _large_case(line, large, home / "large.parquet", say)
        timed(f"a case of {large:,} rows", begun)
        with line.database.engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
        with line.database.session() as session:
            waiting = session.scalars(
                select(Case.id)
                .where(Case.dataset == line.dataset, Case.status == "open", Case.kind == "validation")
                .order_by(Case.opened_at.desc(), Case.id)
                .limit(200)
            ).all()
    made = Seeded(
        environment=stage.environment,
        dataset=line.dataset,
        case=largest,
        open_cases=list(waiting),
        snapshot=snapshot,
        seconds=seconds,
        **ids,
    )
    told.write_text(json.dumps(asdict(made), indent=1))
    return made


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------------------- the real line
def _real_line(stage: Stage) -> dict[str, str]:
    rounds = make_rounds(seed=11, first=700, second=500, trusted=500, rewritten=60)
    stage.build(rounds, str(stage.outbox), PROJECT / "include" / "contracts" / "adult.yaml")
    contract = yaml.safe_load(stage.contract.read_text())
    contract["training"] |= {"backend": "reference", "epochs": 30, "batch_size": 64}
    contract["gates"] = {"min_accuracy": 0.7, "max_slice_gap": None, "min_slice_rows": 20}
    contract["screen"] = {"false_discovery_rate": 0.05, "hold_delivery_above": 0.05}
    stage.contract.write_text(yaml.safe_dump(contract, sort_keys=False))
    for name in DATASETS[1:]:
        other = {**contract, "dataset": name, "schedule": None}
        stage.contract.with_name(f"{name}.yaml").write_text(yaml.safe_dump(other, sort_keys=False))
    with Line.open(stage.contract, stage.settings) as line:
        first = _take_in(stage, line, rounds.first, 1)
        admit(line, first)
        trained = train(line)
        judge(line, trained["model"])
        promote_as(line, trained["model"], "olga", "the first one")
        second = _take_in(stage, line, rounds.second, 2)
        held = next(c for c in list_cases(line.database, kind="screening") if c.delivery_id in second)
        return {
            "run": trained["run"],
            "model": trained["model"],
            "held_case": held.id,
            "delivery": held.delivery_id,
            "row_key": f"adult:{rounds.first['north']['person_id'][5].as_py()}",
        }


def _take_in(stage: Stage, line: Line, tables: dict[str, pa.Table], number: int) -> list[str]:
    for source, table in tables.items():
        stage.deliver(source, table, number)
    deliveries = [land(line, source)["delivery"] for source in tables]
    validate(line, deliveries)
    screen(line, deliveries)
    return deliveries


# ----------------------------------------------------------------------------------------------------------- the many
def _bulk(line: Line, cases: int) -> None:
    """Deliveries, findings, cases and decisions of a long time, as the stations write them."""
    rng = random.Random(5)
    kept = [_some_rows(line, seed) for seed in range(_ROWS_OBJECTS)]
    deliveries: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    findings: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    number = 0
    with line.database.engine.begin() as connection:
        while number < cases:
            delivery = _delivery(rng)
            deliveries.append(delivery)
            files.append(
                {
                    "delivery_id": delivery["id"],
                    "path": "rows.parquet",
                    "sha256": sha256_hex(delivery["id"].encode()),
                    "size": 4096,
                }
            )
            findings += _findings(delivery, rng)
            for kind in ("screening", "validation", "delivery")[: rng.choice((1, 2, 2, 3))]:
                case = _case(delivery, kind, rng, kept)
                held.append(case)
                number += 1
                if case["status"] != "open":
                    decisions.append(_decision(case, rng))
            if len(held) >= _CHUNK or number >= cases:
                for table, rows in (
                    (Delivery, deliveries),
                    (DeliveryFile, files),
                    (FindingRow, findings),
                    (Case, held),
                    (Decision, decisions),
                ):
                    if rows:
                        connection.execute(insert(table), rows)
                deliveries, files, findings, held, decisions = [], [], [], [], []


def _some_rows(line: Line, seed: int) -> tuple[str, int, str]:
    """A sealed object with some rows as screening keeps them: digest, rows, digest of their numbers."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 24))
    numbers = np.sort(rng.choice(500, count, replace=False)).astype(np.int64)
    schema = table_schema(line.contract)
    columns = [_column(field, count, rng) for field in schema]
    rows = pa.table(columns, schema=schema).append_column("_row", pa.array(numbers))
    p_values = rng.uniform(1e-9, 1e-3, count)
    rows = rows.append_column("_score", pa.array(-np.log10(p_values))).append_column(
        "_p_value", pa.array(p_values)
    )
    rows = rows.append_column("_reasons", pa.array([list(REASONS)] * count, pa.list_(pa.string())))
    return keep_rows(line.store, rows).sha256, count, numbers_digest(rows)


def _column(field: pa.Field, count: int, rng: np.random.Generator) -> pa.Array:
    if pa.types.is_integer(field.type):
        return pa.array(rng.integers(0, 90, count), field.type)
    if pa.types.is_floating(field.type):
        return pa.array(rng.normal(size=count), field.type)
    return pa.array([f"value {int(i)}" for i in rng.integers(0, 9, count)], field.type)


def _delivery(rng: random.Random) -> dict[str, Any]:
    seen = f"2025-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00Z"
    manifest = hashlib.sha256(rng.randbytes(16)).hexdigest()
    return {
        "id": content_id("delivery", manifest),
        "dataset": rng.choice(DATASETS),
        "source": rng.choice(SOURCES),
        "publisher": rng.choice(("census", "survey", "harbour-authority")),
        "uri": "file:///deliveries",
        "manifest_sha256": manifest,
        "contract_sha256": "ab" * 32,
        "key_id": "minisign:0000000000000000",
        "sequence": 1,
        "signed_at": seen,
        "state": "admitted",
        "verdict": "accept",
        "rows": 500,
        "first_seen": seen,
        "detail": {"intake": {"counts": True}, "screen": {"rows": 500, "quarantined": 12, "why_held": []}},
    }


def _findings(delivery: dict[str, Any], rng: random.Random) -> Iterator[dict[str, Any]]:
    for check in ("intake.signature", "expect.types", "screen.labels", "screen.outliers"):
        outcome = rng.choice((Outcome.PASSED, Outcome.PASSED, Outcome.FAILED, Outcome.NOT_CHECKED))
        found = Finding(
            check=check, outcome=outcome, severity=Severity.LOW, subject=delivery["id"], message="as seen"
        )
        yield {
            "id": found.id,
            "subject_id": delivery["id"],
            "check": check,
            "outcome": outcome.value,
            "severity": "low",
            "body": found.model_dump(mode="json"),
            "found_at": delivery["first_seen"],
        }


def _case(
    delivery: dict[str, Any], kind: str, rng: random.Random, kept: list[tuple[str, int, str]]
) -> dict[str, Any]:
    stored, rows, numbers = rng.choice(kept) if kind != "delivery" else (None, 0, numbers_digest(None))
    body = json.dumps(
        {"delivery": delivery["id"], "kind": kind, "rows": numbers}, sort_keys=True, separators=(",", ":")
    )
    digest = sha256_hex(body.encode())
    return {
        "id": f"case-{digest[:32]}",
        "digest": digest,
        "dataset": delivery["dataset"],
        "delivery_id": delivery["id"],
        "source": delivery["source"],
        "kind": kind,
        "status": rng.choices(("open", "released", "rejected"), (1, 3, 6))[0],
        "blocking": kind == "delivery",
        "rows": rows,
        "rows_object": stored,
        "summary": f"{rows} of 500 rows look poisoned" if rows else "held: 12.0% of its rows look poisoned",
        "evidence": {"reasons": {"labels": rows, "outliers": rows}}
        if rows
        else {"why": ["12.0% of its rows"]},
        "opened_at": delivery["first_seen"],
        "approvals": 1,
        "on_timeout": "hold",
        "expires_at": delivery["first_seen"].replace("2025", "2027"),
        "terms": {},
        "parent_id": None,
    }


def _decision(case: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    action = "release" if case["status"] == "released" else "reject"
    reviewer = rng.choice(("olga", "ravi", "mei"))
    return {
        "id": content_id("decision", {"case": case["id"], "reviewer": reviewer, "action": action}),
        "case_id": case["id"],
        "action": action,
        "reviewer": reviewer,
        "reason": "looked at the rows",
        "decided_at": case["opened_at"],
    }


# ---------------------------------------------------------------------------------------------------------- the large
def _tiled(line: Line, rows: int, first_key: int) -> Iterator[pa.RecordBatch]:
    """Rows of the contract's columns: the trusted ones over and over, each with a key of its own."""
    from assay.line.rows import trusted_table

    trusted = trusted_table(line)
    assert trusted is not None
    schema = table_schema(line.contract)
    key = line.contract.schema_.key[0]
    done = 0
    while done < rows:
        count = min(65_536, rows - done)
        table = trusted.take(pa.array(np.arange(done, done + count) % trusted.num_rows)).select(schema.names)
        keys = pa.array(np.arange(first_key + done, first_key + done + count), schema.field(key).type)
        table = table.set_column(schema.names.index(key), key, keys).cast(schema).combine_chunks()
        yield table.to_batches()[0]
        done += count


def _snapshot(line: Line, rows: int) -> str:
    """A new version of the snapshot with many more rows, every one hashed."""
    with line.database.session() as session:
        parent = latest_snapshot(session, line.dataset)
        some = (
            session.query(Delivery)
            .filter(Delivery.dataset == line.dataset, Delivery.state == "admitted")
            .first()
        )
    assert parent is not None
    assert some is not None
    before = manifest_of(line, parent)
    names = table_schema(line.contract).names

    def annotated() -> Iterator[pa.RecordBatch]:
        first = 0
        for batch in _tiled(line, rows, 10_000_000):
            records = pa.array(np.arange(first, first + batch.num_rows))
            first += batch.num_rows
            made = annotate(
                batch,
                names,
                delivery=some.id,
                source=some.source,
                file="rows.parquet",
                record=records,
                decision=None,
            )
            yield from made.to_batches()

    stored = put_table(line.store, annotated())
    manifest = make_manifest(
        line.store,
        dataset=line.dataset,
        contract_sha256=line.contract.digest,
        columns=names,
        key=line.contract.schema_.key,
        parts=[*before.parts, make_part(line.store, stored.sha256, some.id)],
        parent=before,
    )
    kept = line.store.put_bytes(manifest.to_json())
    with line.database.write() as session:
        put_snapshot(
            session,
            Snapshot(
                id=manifest.id,
                dataset=line.dataset,
                version=manifest.version,
                parent_id=manifest.parent,
                merkle_root=manifest.merkle_root,
                manifest_object=kept.sha256,
                rows=manifest.rows,
                admitted_at="2026-01-01T00:00:00Z",
            ),
            [some.id],
        )
    return manifest.id


def _large_case(line: Line, rows: int, batch: Path, say: Callable[[str], None]) -> str:
    """One delivery of five times as many rows, with a case of so many and its exhibits."""
    from assay.line.rows import trusted_table
    from assay.quarantine import open_case

    every = 5 * rows
    rng = np.random.default_rng(3)
    schema = table_schema(line.contract)
    with pq.ParquetWriter(batch, schema, compression="none") as writer:
        for piece in _tiled(line, every, 50_000_000):
            writer.write_batch(piece)
    bad = np.sort(rng.choice(every, rows, replace=False)).astype(np.int64)
    p_values = rng.uniform(1e-3, 1.0, every)
    p_values[bad] = 10 ** -rng.uniform(4, 20, rows)
    verdict = np.full(every, "admit", dtype=object)
    verdict[bad] = "quarantine"
    flags = np.zeros(every, dtype=bool)
    flags[bad] = True
    lengths = np.concatenate([[0], np.cumsum(np.where(flags, 2, 0))]).astype(np.int32)
    reasons = pa.ListArray.from_arrays(pa.array(lengths), pa.array(list(REASONS) * rows, pa.string()))
    scores = pa.array(-np.log10(p_values))
    report = pa.table(
        [pa.array(np.arange(every)), scores, pa.array(p_values), pa.array(verdict, pa.string()), reasons],
        schema=REPORT_SCHEMA,
    )
    trigger = Finding(
        check="screen.spikes",
        outcome=Outcome.FAILED,
        severity=Severity.CRITICAL,
        scope=Scope.GROUP,
        subject="trigger 1",
        message="rows share age = 37",
        evidence={"columns": ["age"], "members": rows // 10},
        technique="AML.T0018",
    )
    screened = ScreenReport(
        report, [trigger], "batch+trusted", rows, 0.05, groups={("screen.spikes", "trigger 1"): bad[::10]}
    )
    held = pq.read_table(batch).take(pa.array(bad)).append_column("_row", pa.array(bad))
    for name in ("score", "p_value", "reasons"):
        held = held.append_column(f"_{name}", pc.take(report[name], pa.array(bad)))
    delivery = _delivery(random.Random(9)) | {
        "dataset": line.dataset,
        "source": "west",
        "rows": every,
        "state": "held",
    }
    with line.database.engine.begin() as connection:
        connection.execute(insert(Delivery), [delivery])
        connection.execute(
            insert(FindingRow),
            [
                {
                    "id": trigger.id,
                    "subject_id": delivery["id"],
                    "check": trigger.check,
                    "outcome": "failed",
                    "severity": "critical",
                    "body": trigger.model_dump(mode="json"),
                    "found_at": delivery["first_seen"],
                }
            ],
        )
    numbers = np.arange(every, dtype=np.int64)
    begun = time.perf_counter()
    made = make_exhibits(
        Screened(batch, 0, numbers, {"west": (every, rows)}, held, None),
        line.contract,
        screened,
        trusted_table(line),
    )
    say(f"exhibits of {every:,} rows: {time.perf_counter() - begun:.1f} s, {len(made):,} bytes")
    batch.unlink()
    return open_case(
        line.database,
        line.store,
        dataset=line.dataset,
        delivery_id=delivery["id"],
        kind="screening",
        rows=held,
        summary=f"{rows} of {every} rows look poisoned",
        evidence={
            "reasons": {"labels": rows, "outliers": rows},
            "exhibits": line.store.put_bytes(made, sealed=True).sha256,
        },
        blocking=False,
        review=line.contract.review,
    )


if __name__ == "__main__":
    main()
