"""Someone changes what the ledger's statements speak of: rows of the registry, objects of the store.

The log itself stays as it is, and verifies. The attacker owns the database and the store; the registry here says what
the line's own statements say of two deliveries, two snapshots, a decided case and three changes of champion.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from assay.db import (
    Case,
    Database,
    Decision,
    Delivery,
    DeliveryFile,
    FindingRow,
    ModelRow,
    Promotion,
    Run,
    Snapshot,
)
from assay.findings import Finding, Outcome, Scope, Severity, worst
from assay.ledger import (
    Ledger,
    LedgerError,
    SnapshotManifest,
    Witness,
    make_manifest,
    make_part,
    make_statement,
    verify_holdings,
)
from assay.ledger.log.checkpoints import open_checkpoint
from assay.ledger.outside.cosign import cosign
from assay.ledger.outside.proofs import prove, signed_checkpoint
from assay.ledger.outside.publish import open_place, publish
from assay.ledger.outside.witnesses import add_cosignatures
from assay.store import ObjectStore, put_table, read_table
from tests.attacks import tampering
from tests.ledger.support import COLUMNS, KEY, as_owner, content_name, failures, open_log, put_people, sha

DELIVERIES = content_name("delivery", 1), content_name("delivery", 2)
REFUSED = content_name("delivery", 3)
CASE, DECISION = f"case-{sha('case')[:32]}", content_name("decision", 1)
MODELS = content_name("model", 1), content_name("model", 2)
PROMOTIONS = tuple(content_name("promotion", number) for number in range(3))
NOW = "2026-03-01T12:00:00Z"
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(7, 39)))
WITNESS = Witness("witness.example/w1", WITNESS_KEY.public_key())


@dataclass(frozen=True)
class World:
    """A log, the registry in its database, a store, and the ids of the snapshots."""

    folder: Path
    log: Ledger
    store: ObjectStore
    snapshots: tuple[str, str]
    parts: tuple[str, str]
    manifests: tuple[str, str]
    file: str

    def sql(self, *changes: str, **values: object) -> None:
        """Run statements as the database's owner."""
        with as_owner(self.log.database) as connection:
            for change in changes:
                connection.execute(text(change), values)

    def path(self, sha256: str) -> Path:
        """The file that holds an object."""
        (found,) = [path for path in (self.folder / "store").rglob(f"*{sha256[4:]}*") if path.is_file()]
        return found


def build(folder: Path) -> World:
    """What the line leaves behind, told in the line's own words."""
    log = open_log(f"sqlite:///{folder / 'log.db'}", folder)
    store = ObjectStore(folder / "store", work_dir=folder / "work")
    rows: list[object] = []
    delivered = store.put_bytes(b"id,name,age\n" * 3).sha256
    finding = Finding(
        check="verify.signature", outcome=Outcome.PASSED, severity=Severity.INFO, scope=Scope.DELIVERY,
        subject=DELIVERIES[0], message="signed by the pinned key",
    )  # fmt: skip
    for number, delivery in enumerate(DELIVERIES, start=1):
        facts = {
            "delivery": delivery, "source": "west", "publisher": "census", "key": "minisign:RWQ0", "sequence": number,
            "signed_at": NOW, "first_seen": NOW, "files": 1, "verdict": "accept",
            "checks": [{"check": finding.check, "outcome": "passed", "subject": delivery}][: 2 - number],
        }  # fmt: skip
        log.append(
            make_statement(
                "delivery-verified",
                [(delivery, sha(f"manifest {number}"))],
                facts,
                [("file:people.csv", delivered)],
            )
        )
        rows += [
            Delivery(
                id=delivery, dataset="people", source="west", publisher="census", uri="file:///west",
                manifest_sha256=sha(f"manifest {number}"), contract_sha256=sha("contract"), key_id="minisign:RWQ0",
                sequence=number, signed_at=NOW, state="admitted", verdict="accept", rows=20, first_seen=NOW,
            ),
            DeliveryFile(delivery_id=delivery, path="people.csv", sha256=delivered, size=36),
        ]  # fmt: skip
    rows.append(
        FindingRow(
            id=finding.id,
            subject_id=DELIVERIES[0],
            check=finding.check,
            outcome="passed",
            severity="info",
            body=finding.model_dump(mode="json"),
            found_at=NOW,
        )
    )
    refused = {"delivery": REFUSED, "source": "west", "publisher": "census", "verdict": "reject"}
    log.append(make_statement("delivery-verified", [(REFUSED, sha("manifest 3"))], refused))
    rows.append(
        Delivery(
            id=REFUSED,
            dataset="people",
            source="west",
            publisher="census",
            uri="file:///west",
            manifest_sha256=sha("manifest 3"),
            contract_sha256=sha("contract"),
            state="rejected",
            verdict="reject",
            first_seen=NOW,
        )
    )
    log.append(
        make_statement(
            "delivery-screened",
            [(DELIVERIES[1], sha("manifest 2")), (CASE, sha("case"))],
            {"delivery": DELIVERIES[1], "cases": [{"case": CASE, "kind": "screening", "rows": 5}]},
        )
    )
    decided = {
        "case": CASE, "decision": DECISION, "delivery": DELIVERIES[1], "action": "reject", "reviewer": "olga",
        "reason": "a trigger", "decided_at": NOW, "rows": 5,
    }  # fmt: skip
    log.append(make_statement("case-decided", [(CASE, sha("case")), (DECISION, sha("decision"))], decided))
    rows += [
        Case(
            id=CASE, digest=sha("case"), dataset="people", delivery_id=DELIVERIES[1], kind="screening",
            status="rejected", rows=5, rows_object=None, summary="five rows", evidence={}, opened_at=NOW,
        ),
        Decision(id=DECISION, case_id=CASE, action="reject", reviewer="olga", reason="a trigger", decided_at=NOW),
    ]  # fmt: skip
    parts = [put_people(store, 0, 20, DELIVERIES[0]), put_people(store, 20, 20, DELIVERIES[1])]
    manifests, parent = [], None
    for version in (1, 2):
        parent = make_manifest(
            store,
            dataset="people",
            contract_sha256=sha("contract"),
            columns=COLUMNS,
            key=["id"],
            parts=parts[:version],
            parent=parent,
        )
        stored = store.put_bytes(parent.to_json()).sha256
        facts = {
            "snapshot": parent.id, "merkle_root": parent.merkle_root, "version": version, "parent": parent.parent,
            "rows": parent.rows, "deliveries": [DELIVERIES[version - 1]],
        }  # fmt: skip
        log.append(make_statement("snapshot-admitted", [(parent.id, stored)], facts))
        rows.append(
            Snapshot(
                id=parent.id,
                dataset="people",
                version=version,
                parent_id=parent.parent,
                rows=parent.rows,
                merkle_root=parent.merkle_root,
                manifest_object=stored,
                admitted_at=NOW,
            )
        )
        manifests.append((parent.id, stored))
    for number, model in enumerate(MODELS):
        run = content_name("run", number)
        facts = {"run": run, "model": model, "snapshot": manifests[1][0]}
        log.append(make_statement("run-finished", [(run, sha(run)), (model, sha(model))], facts))
        rows += [
            Run(
                id=run, dataset="people", snapshot_id=manifests[1][0], contract_sha256=sha("contract"),
                backend="reference", status="finished", finished_at=NOW,
            ),
            ModelRow(
                id=model, dataset="people", run_id=run, snapshot_id=manifests[1][0], bundle_uri="/bundle",
                state="champion" if number == 0 else "retired", made_at=NOW,
            ),
        ]  # fmt: skip
    previous = None
    for number, promotion in enumerate(PROMOTIONS):
        model, step = MODELS[number % 2], "model-rolled-back" if number == 2 else "model-promoted"
        facts = {
            "model": model, "promotion": promotion, "by": "olga", "reason": "gates", "decided_at": NOW,
            "previous": previous,
        }  # fmt: skip
        log.append(make_statement(step, [(model, sha(model))], facts))
        rows.append(
            Promotion(
                position=number + 1,
                id=promotion,
                dataset="people",
                model_id=model,
                previous_id=previous,
                action="rollback" if number == 2 else "promote",
                by="olga",
                reason="gates",
                at=NOW,
            )
        )
        previous = model
    with log.database.session() as session:
        for row in rows:
            session.add(row)
            session.flush()
    return World(
        folder, log, store, (manifests[0][0], manifests[1][0]), (parts[0].sha256, parts[1].sha256),
        (manifests[0][1], manifests[1][1]), delivered,
    )  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The world before anything happened to it."""
    return build(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(original: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A copy for one attack."""
    monkeypatch.setattr("assay.ledger.outside.compare._ANCHOR_PATIENCE", 0.05)
    folder = Path(shutil.copytree(original.folder, tmp_path / "world"))
    log = Ledger(
        Database(f"sqlite:///{folder / 'log.db'}"), KEY.public_key(), anchor=folder / "ledger-head.txt"
    )
    return replace(
        original, folder=folder, log=log, store=ObjectStore(folder / "store", work_dir=folder / "work")
    )


def overwrite(world: World, sha256: str, content: bytes) -> None:
    """Put other bytes where an object is kept."""
    path = world.path(sha256)
    path.chmod(0o600)
    path.write_bytes(content)


def swap_parts(world: World) -> None:
    """The files of two snapshots' parts change places."""
    one, two = (world.path(part).read_bytes() for part in world.parts)
    overwrite(world, world.parts[0], two)
    overwrite(world, world.parts[1], one)


def swap_manifests(world: World) -> None:
    """Two snapshots' manifests change places in the registry."""
    world.sql("UPDATE snapshot SET manifest_object = CASE version WHEN 1 THEN :b ELSE :a END",
              a=world.manifests[0], b=world.manifests[1])  # fmt: skip


def duplicate_a_row(world: World) -> None:
    """A snapshot whose second part holds a row twice, with a manifest, a root and a registry row that fit it."""
    manifest = SnapshotManifest.from_json(world.store.get_bytes(world.manifests[1]))
    table = read_table(world.store, world.parts[1])
    doubled = put_table(world.store, pa.concat_tables([table, table.slice(0, 1)]))
    part = make_part(world.store, doubled.sha256, DELIVERIES[1])
    forged = make_manifest(
        world.store, dataset="people", contract_sha256=manifest.contract_sha256, columns=COLUMNS, key=["id"],
        parts=[manifest.parts[0], part],
    )  # fmt: skip
    stored = world.store.put_bytes(forged.to_json()).sha256
    world.sql(
        "UPDATE snapshot SET manifest_object = :m, merkle_root = :r, rows = :n WHERE version = 2",
        m=stored, r=forged.merkle_root, n=forged.rows,
    )  # fmt: skip


def run_sql(*changes: str) -> Callable[[World], None]:
    """An attack in SQL."""
    return lambda world: world.sql(*changes)


ONE, TWO = (f"WHERE id = '{delivery}'" for delivery in DELIVERIES)
FILE, OTHER = f"WHERE delivery_id = '{DELIVERIES[0]}'", sha("x")
DELIVERED = f"file:people.csv of {DELIVERIES[1]}"
ATTACKS: list[tuple[str, Callable[[World], None], dict[str, str]]] = [
    (
        "case decision altered in SQL",
        run_sql("UPDATE decision SET action = 'release'"),
        {"registry.decision": DECISION},
    ),
    (
        "decision put into another's mouth",
        run_sql("UPDATE decision SET reviewer = 'eve'"),
        {"registry.decision": DECISION},
    ),
    (
        "decision's reason rewritten",
        run_sql("UPDATE decision SET reason = 'none'"),
        {"registry.decision": DECISION},
    ),
    (
        "clock rolled back: decision backdated",
        run_sql("UPDATE decision SET decided_at = '2025-01-01T00:00:00Z'"),
        {"registry.decision": DECISION},
    ),
    ("decision deleted", run_sql("DELETE FROM decision"), {"registry.decision": DECISION}),
    (
        "decision invented",
        run_sql(
            "INSERT INTO decision (id, case_id, action, reviewer, reason, decided_at) "
            f"SELECT 'decision-new', '{CASE}', 'release', 'olga', 'fine', '{NOW}'"
        ),
        {"registry.decision": "decision-new"},
    ),
    ("decided case reopened", run_sql("UPDATE \"case\" SET status = 'open'"), {"registry.case": CASE}),
    (
        "rejected case marked released",
        run_sql("UPDATE \"case\" SET status = 'released'"),
        {"registry.case": CASE},
    ),
    ("case made smaller", run_sql('UPDATE "case" SET rows = 1'), {"registry.case": CASE}),
    ("case's digest exchanged", run_sql(f"UPDATE \"case\" SET digest = '{OTHER}'"), {"registry.case": CASE}),
    (
        "case deleted with its decision",
        run_sql("DELETE FROM decision", 'DELETE FROM "case"'),
        {"registry.case": CASE},
    ),
    (
        "delivery's manifest exchanged",
        run_sql(f"UPDATE delivery SET manifest_sha256 = '{OTHER}' {ONE}"),
        {"registry.delivery": DELIVERIES[0]},
    ),
    (
        "delivery given to another publisher",
        run_sql(f"UPDATE delivery SET publisher = 'eve' {ONE}"),
        {"registry.delivery": DELIVERIES[0]},
    ),
    (
        "delivery given to another key",
        run_sql(f"UPDATE delivery SET key_id = 'minisign:other' {ONE}"),
        {"registry.delivery": DELIVERIES[0]},
    ),
    (
        "clock rolled back: delivery's date",
        run_sql(f"UPDATE delivery SET signed_at = '2020-01-01T00:00:00Z' {TWO}"),
        {"registry.delivery": DELIVERIES[1]},
    ),
    (
        "delivery's sequence lowered",
        run_sql(f"UPDATE delivery SET sequence = 0 {TWO}"),
        {"registry.delivery": DELIVERIES[1]},
    ),
    ("delivery deleted", run_sql(f"DELETE FROM delivery {ONE}"), {"registry.delivery": DELIVERIES[0]}),
    (
        "delivered file's digest exchanged",
        run_sql(f"UPDATE delivery_file SET sha256 = '{OTHER}' {FILE}"),
        {"registry.file": f"{DELIVERIES[0]} people.csv"},
    ),
    (
        "delivered file forgotten",
        run_sql(f"DELETE FROM delivery_file {FILE}"),
        {"registry.file": f"{DELIVERIES[0]} people.csv"},
    ),
    (
        "file added to a delivery",
        run_sql(f"INSERT INTO delivery_file VALUES ('{DELIVERIES[0]}', 'more.csv', '{OTHER}', 1)"),
        {"registry.file": f"{DELIVERIES[0]} more.csv"},
    ),
    (
        "snapshot's root exchanged",
        run_sql(f"UPDATE snapshot SET merkle_root = '{OTHER}' WHERE version = 2"),
        {"registry.snapshot": "snapshot 2", "store.snapshot": "snapshot 2"},
    ),
    (
        "snapshot deleted",
        run_sql("DELETE FROM snapshot WHERE version = 2"),
        {"registry.snapshot": "snapshot 2"},
    ),
    (
        "snapshot's history rewritten",
        run_sql("UPDATE snapshot SET parent_id = NULL WHERE version = 2"),
        {"registry.snapshot": "snapshot 2"},
    ),
    (
        "manifests swapped between snapshots",
        swap_manifests,
        {"registry.snapshot": "snapshot 2", "store.snapshot": "snapshot 2"},
    ),
    ("files swapped between snapshots", swap_parts, {"store.snapshot": "snapshot 2"}),
    (
        "row duplicated in a snapshot, all roots forged to fit",
        duplicate_a_row,
        {"registry.snapshot": "snapshot 2"},
    ),
    (
        "champion exchanged",
        run_sql(f"UPDATE model SET state = CASE id WHEN '{MODELS[1]}' THEN 'champion' ELSE 'retired' END"),
        {"registry.model": MODELS[1]},
    ),
    (
        "model said to come from another snapshot",
        run_sql("UPDATE model SET snapshot_id = 'snapshot-x'"),
        {"registry.model": MODELS[1]},
    ),
    ("model deleted", run_sql(f"DELETE FROM model WHERE id = '{MODELS[1]}'"), {"registry.model": MODELS[1]}),
    (
        "promotion deleted",
        run_sql("DELETE FROM promotion WHERE position = 2"),
        {"registry.promotion": PROMOTIONS[1]},
    ),
    (
        "promotion put into another's mouth",
        run_sql("UPDATE promotion SET \"by\" = 'eve' WHERE position = 2"),
        {"registry.promotion": PROMOTIONS[1]},
    ),
    (
        "rollback passed off as a promotion",
        run_sql("UPDATE promotion SET action = 'promote' WHERE position = 3"),
        {"registry.promotion": PROMOTIONS[2]},
    ),
    (
        "promotions reordered",
        run_sql("UPDATE promotion SET position = 9 WHERE position = 1"),
        {"registry.promotion": PROMOTIONS[1]},
    ),
    (
        "finding deleted",
        run_sql("DELETE FROM finding"),
        {"registry.finding": f"{DELIVERIES[0]} verify.signature"},
    ),
    (
        "rejected delivery marked accepted",
        run_sql(f"UPDATE delivery SET verdict = 'accept', state = 'admitted' WHERE id = '{REFUSED}'"),
        {"registry.delivery": REFUSED},
    ),
    (
        "admitted delivery marked rejected",
        run_sql(f"UPDATE delivery SET verdict = 'reject', state = 'rejected' {ONE}"),
        {"registry.delivery": DELIVERIES[0]},
    ),
    (
        "finding's outcome turned",
        run_sql("UPDATE finding SET outcome = 'failed'"),
        {"registry.finding": f"{DELIVERIES[0]} verify.signature"},
    ),
    (
        "snapshot's part edited in the store",
        lambda w: overwrite(w, w.parts[1], w.path(w.parts[1]).read_bytes()[:-1] + b"x"),
        {"store.snapshot": "snapshot 2"},
    ),
    (
        "snapshot's part deleted from the store",
        lambda w: w.path(w.parts[1]).unlink(),
        {"store.snapshot": "snapshot 2"},
    ),
    (
        "snapshot's manifest overwritten",
        lambda w: overwrite(w, w.manifests[1], w.path(w.manifests[0]).read_bytes()),
        {"store.snapshot": "snapshot 2"},
    ),
    (
        "delivered file edited in the store",
        lambda w: overwrite(w, w.file, b"id,name,age\n"),
        {"store.object": DELIVERED},
    ),
    ("delivered file deleted from the store", lambda w: w.path(w.file).unlink(), {"store.object": DELIVERED}),
]


def test_an_untouched_world_passes(world: World) -> None:
    """Registry and store say what was signed; each check had something to look at."""
    findings = verify_holdings(world.log, world.store)
    assert {finding.outcome for finding in findings} == {Outcome.PASSED}
    assert {finding.check for finding in findings} == {
        "registry.delivery", "registry.file", "registry.case", "registry.decision", "registry.snapshot",
        "registry.model", "registry.promotion", "registry.finding", "store.object", "store.snapshot",
    }  # fmt: skip


def test_a_store_that_is_left_out_is_not_checked(world: World) -> None:
    """Nobody looked at its objects: that is said, and does not pass."""
    findings = verify_holdings(world.log, None)
    assert worst(finding.outcome for finding in findings) is Outcome.NOT_CHECKED
    assert "not looked at" in findings[-1].message


@pytest.mark.parametrize(("what", "attack", "expected"), ATTACKS, ids=[what for what, _, _ in ATTACKS])
def test_what_was_changed_beside_the_log_is_named(
    what: str, attack: Callable[[World], None], expected: dict[str, str], world: World
) -> None:
    """The log verifies as before; what the registry or the store no longer says as it was signed is named."""
    attack(world)
    assert failures(world.log.verify()) == {}
    found = failures(verify_holdings(world.log, world.store))
    for check, subject in expected.items():
        wanted = world.snapshots[1] if subject == "snapshot 2" else subject
        assert wanted in found[check]
    tampering.found(what, ", ".join(expected))


def test_findings_name_the_entry_and_the_column(world: World) -> None:
    """What was signed, what stands there now, and where it was signed."""
    world.sql("UPDATE decision SET action = 'release'")
    finding = next(f for f in verify_holdings(world.log, world.store) if f.outcome is Outcome.FAILED)
    entry = world.log.entries(DECISION)[0].position
    assert finding.evidence == {"entry": entry, "column": "action", "expected": "reject", "found": "release"}
    assert f"its action is not what entry {entry} says" in finding.message
    assert (finding.severity, finding.scope) == ("critical", "ledger")


def test_a_witness_whose_clock_went_back_is_named(world: World) -> None:
    """A cosignature on a larger checkpoint that is older than the one on a smaller."""
    writer = Ledger(world.log.database, KEY)
    for time, name in ((2_000, "extra 1"), (1_000, "extra 2")):
        add_cosignatures(
            writer,
            cosign(
                open_checkpoint(signed_checkpoint(writer), KEY.public_key()).text,
                WITNESS.name,
                WITNESS_KEY,
                time,
            ),
            [WITNESS],
        )
        writer.append(make_statement("gates-judged", [(MODELS[0], sha(name))], {"model": MODELS[0]}))
    size = writer.size() - 1
    assert failures(world.log.verify(witnesses=[WITNESS]))["ledger.witness"] == [
        f"witness.example/w1 at {size}"
    ]
    tampering.found("clock rolled back: a witness's cosignature", "ledger.witness")


@pytest.mark.parametrize("change", ["UPDATE ledger_cosignature SET line = replace(line, '/w1 ', '/w1 A')",
                                    "UPDATE ledger_cosignature SET size = 3",
                                    "UPDATE ledger_cosignature SET line = 'x'"])  # fmt: skip
def test_a_cosignature_that_was_changed_or_moved_is_named(change: str, world: World) -> None:
    """It was made over one checkpoint, and holds for no other."""
    text_ = open_checkpoint(signed_checkpoint(world.log), KEY.public_key()).text
    add_cosignatures(world.log, cosign(text_, WITNESS.name, WITNESS_KEY, 1_000), [WITNESS])
    assert failures(world.log.verify(witnesses=[WITNESS])) == {}
    with as_owner(world.log.database) as connection:
        connection.execute(text(change))
    assert set(failures(world.log.verify(witnesses=[WITNESS]))) == {"ledger.witness"}
    tampering.found("cosignature changed or moved", "ledger.witness")


def test_a_rollback_of_everything_here_is_found_where_checkpoints_are_published(
    world: World, tmp_path: Path
) -> None:
    """Database, anchor and all are put back to yesterday; the folder outside still names today."""
    yesterday = Path(shutil.copytree(world.folder, tmp_path / "yesterday"))
    place = open_place((tmp_path / "audit").as_uri())
    writer = Ledger(world.log.database, KEY, anchor=world.folder / "ledger-head.txt")
    writer.append(make_statement("gates-judged", [(MODELS[0], sha("new"))], {"model": MODELS[0]}))
    publish(writer, place)
    old = Ledger(
        Database(f"sqlite:///{yesterday / 'log.db'}"), KEY.public_key(), anchor=yesterday / "ledger-head.txt"
    )
    assert failures(old.verify()) == {}
    assert set(failures(old.verify(places=[place]))) == {"ledger.published"}
    with pytest.raises(LedgerError, match="were published"):
        publish(old, place)
    tampering.found("everything here rolled back to yesterday", "ledger.published")


def test_a_fork_is_not_published_over_what_was_published(world: World, tmp_path: Path) -> None:
    """Two logs that part after their common beginning: the second finds the first one's checkpoint."""
    twin = Path(shutil.copytree(world.folder, tmp_path / "twin"))
    place = open_place((tmp_path / "audit").as_uri())
    logs = [
        Ledger(Database(f"sqlite:///{folder / 'log.db'}"), KEY, anchor=folder / "ledger-head.txt")
        for folder in (world.folder, twin)
    ]
    for number, log in enumerate(logs):
        for turn in range(2):
            facts = {"model": MODELS[0], "turn": turn, "fork": number}
            log.append(make_statement("gates-judged", [(MODELS[0], sha("fork"))], facts))
    publish(logs[0], place)
    with pytest.raises(LedgerError, match="not the one whose checkpoint was published"):
        publish(logs[1], place)
    assert set(failures(logs[1].verify(places=[place]))) == {"ledger.published"}
    tampering.found("fork: two logs with one beginning", "ledger.published")


def test_no_proof_is_made_from_a_tampered_log(world: World) -> None:
    """An entry that was changed in SQL proves nothing: the path no longer leads to the signed root."""
    other = "SELECT envelope FROM ledger_entry WHERE position = 1"
    world.sql(f"UPDATE ledger_entry SET envelope = ({other}) WHERE position = 2")
    with pytest.raises(LedgerError, match="does not prove what it holds"):
        prove(world.log, 2)
    tampering.found("proof asked of a changed entry", "the inclusion path")
