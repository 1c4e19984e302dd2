"""A short line told in full: statements that fit their published predicates, with registry and store behind them.

Every word that comes from outside (publishers, files, reviewers, messages) can be chosen, also badly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from assay.db import Case, Decision, Delivery, ModelRow, Promotion, Run, Snapshot, put_delivery, put_snapshot
from assay.ledger import (
    BUILD_TYPE,
    BUILDER,
    Ledger,
    annotate,
    check_predicate,
    code_version,
    make_manifest,
    make_part,
    make_statement,
)
from assay.store import ObjectStore, put_table
from tests.ledger.support import COLUMNS, content_name, open_log, people, sha

HOSTILE = "<script>alert('1')</script>\"&amp;{{7*7}}\u202e\u0007|]]>\\ ../../etc/passwd\n<b>é漢\U0001f600"
KEYS = ("minisign:0123456789ABCDEF", "minisign:FEDCBA9876543210")
SEEN = ("2026-02-10T08:00:00Z", "2026-03-15T08:00:00Z")


@dataclass(frozen=True)
class Told:
    """A line that took two deliveries in, released a case, and trained and promoted a model on each snapshot."""

    log: Ledger
    store: ObjectStore
    word: str
    deliveries: tuple[str, str]
    case: str
    decision: str
    snapshots: tuple[str, str]
    models: tuple[str, str]


def tell(url: str, home: Path, word: str = "census") -> Told:
    """Delivery 1 (February, key 1) brings people 0 to 19; delivery 2 (March, key 2) 20 to 29, 25 to 29 released."""
    log, store = open_log(url, home), ObjectStore(home / "store", work_dir=home / "work")
    deliveries = tuple(content_name("delivery", turn) for turn in (1, 2))
    case, decision = content_name("case", 1), content_name("decision", 1)
    said: dict[str, Any] = {"word": word, "log": log}
    parts, parent, snapshots, models = [], None, [], []
    for turn, portions in enumerate((((0, 20, None),), ((20, 5, None), (25, 5, decision))), start=1):
        delivery, seen, key = deliveries[turn - 1], SEEN[turn - 1], KEYS[turn - 1]
        about, file = (delivery, sha(f"manifest {turn}")), (f"file:{word}.csv", sha(f"file {turn}"))
        with log.database.write() as session:
            row = Delivery(
                id=delivery,
                dataset="people",
                source="west",
                publisher=word[:64],
                uri="file:///none",
                manifest_sha256=about[1],
                contract_sha256=sha("contract"),
                key_id=key,
                sequence=turn,
                signed_at=seen,
                state="admitted",
                verdict="accept",
                rows=20,
                first_seen=seen,
                detail={},
            )
            put_delivery(session, row)
        facts = {
            "delivery": delivery,
            "source": word,
            "publisher": word,
            "key": key,
            "sequence": turn,
            "signed_at": seen,
            "first_seen": seen,
            "files": 1,
            "verdict": "accept",
        }
        _say(said, "delivery-verified", [about], facts, [file, key])
        facts = {"delivery": delivery, "rows": 20, "failing": 0, "verdict": None}
        _say(said, "delivery-validated", [about, ("failing-rows", sha("none"))], facts, [file])
        held = turn == 2
        facts = {
            "delivery": delivery,
            "verdict": "hold" if held else "accept",
            "why": [word] if held else [],
            "tier": "fast",
            "rows": 20,
            "quarantined": 5 if held else 0,
            "cases": [{"case": case, "kind": "screening", "rows": 5}] if held else [],
        }
        _say(said, "delivery-screened", [about, *([(case, sha("rows"))] if held else [])], facts, [file])
        if held:
            _decide(said, store, case, decision, about, seen)
        for first, count, who in portions:
            table = annotate(
                people(first, count),
                COLUMNS,
                delivery=delivery,
                source="west",
                file=f"{word}.csv",
                record=pa.array(range(first % 20, first % 20 + count)),
                decision=who,
            )
            parts.append(make_part(store, put_table(store, table).sha256, delivery))
        manifest = make_manifest(
            store,
            dataset="people",
            contract_sha256=sha("contract"),
            columns=COLUMNS,
            key=["id"],
            parts=parts,
            parent=parent,
        )
        stored = store.put_bytes(manifest.to_json()).sha256
        with log.database.write() as session:
            put_snapshot(
                session,
                Snapshot(
                    id=manifest.id,
                    dataset="people",
                    version=manifest.version,
                    parent_id=manifest.parent,
                    merkle_root=manifest.merkle_root,
                    manifest_object=stored,
                    rows=manifest.rows,
                    admitted_at=seen,
                ),
            )
        facts = {
            "snapshot": manifest.id,
            "merkle_root": manifest.merkle_root,
            "version": manifest.version,
            "parent": manifest.parent,
            "rows": manifest.rows,
            "deliveries": [delivery],
            "decisions": [decision] if held else [],
        }
        inputs = [about, *([(case, sha("rows")), (parent.id, None)] if held and parent else [])]
        _say(said, "snapshot-admitted", [(manifest.id, stored)], facts, inputs)
        models.append(_train(said, turn, (manifest.id, stored), seen))
        snapshots.append(manifest.id)
        parent = manifest
    return Told(log, store, word, deliveries, case, decision, tuple(snapshots), tuple(models))  # type: ignore[arg-type]


def _decide(
    said: dict[str, Any], store: ObjectStore, case: str, decision: str, about: tuple, seen: str
) -> None:
    held = people(25, 5).append_column("_row", pa.array(range(5, 10), pa.int64()))
    for name, value in (("_score", 3.5), ("_p_value", 0.001)):
        held = held.append_column(name, pa.array([value] * 5))
    held = held.append_column("_reasons", pa.array([[said["word"]]] * 5, pa.list_(pa.string())))
    with said["log"].database.write() as session:
        session.add(
            Case(
                id=case,
                digest=sha("rows"),
                dataset="people",
                delivery_id=about[0],
                kind="screening",
                status="released",
                blocking=True,
                rows=5,
                rows_object=put_table(store, held, sealed=True).sha256,
                summary="",
                evidence={},
                opened_at=seen,
                approvals=1,
                on_timeout="reject",
                expires_at=None,
            )
        )
        session.flush()
        session.add(
            Decision(
                id=decision,
                case_id=case,
                action="release",
                reviewer=said["word"][:128],
                reason=said["word"],
                decided_at=seen,
            )
        )
    facts = {
        "case": case,
        "kind": "screening",
        "decision": decision,
        "delivery": about[0],
        "action": "release",
        "reviewer": said["word"],
        "reason": said["word"],
        "decided_at": seen,
        "rows": 5,
    }
    _say(said, "case-decided", [(case, sha("rows")), (decision, sha("olga"))], facts, [about])


def _train(said: dict[str, Any], turn: int, snapshot: tuple[str, str], seen: str) -> str:
    run, model, word = content_name("run", turn), content_name("model", turn), said["word"]
    digest, data = sha(f"model {turn}"), sha(f"run {turn}")
    facts: dict[str, Any] = {
        "run": run,
        "snapshot": snapshot[0],
        "seed": 0,
        "status": "finished",
        "reason": "",
        "backend": "reference",
        "backend_reason": word,
        "device": "cpu",
        "device_name": None,
        "versions": {"numpy": "2"},
        "epochs": 3,
        "best_epoch": 2,
        "stopped_because": None,
        "curve_outcome": "passed",
        "loss": {},
        "privacy": None,
        "aggregation": None,
    }
    _say(said, "run-finished", [(run, data)], facts, [snapshot])
    _say(
        said,
        "curve-checked",
        [(run, data)],
        {"run": run, "outcome": "passed", "epochs": 3, "best_epoch": 2},
        [],
    )
    inner = {
        name: facts[name]
        for name in ("seed", "backend", "backend_reason", "device", "device_name", "versions")
    }
    built = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "dataset": "people",
                "snapshot": snapshot[0],
                "training": {"layers": [word]},
            },
            "internalParameters": inner,
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {"assay": "1"}},
            "metadata": {"invocationId": run},
        },
    }
    code = code_version()
    said["log"].append(
        make_statement(
            "run-provenance",
            [(model, digest), ("model.sig", sha(f"signature {turn}")), ("card.md", sha(word))],
            built,
            [snapshot, ("contract:people", sha("contract")), (code["name"], code["sha256"]), (run, data)],
        )
    )
    facts = {
        "model": model,
        "passed": True,
        "metrics": {"accuracy": 0.9},
        "gates_off": [word],
        "champion": None,
    }
    _say(said, "gates-judged", [(model, digest)], facts, [run, snapshot])
    facts = {
        "model": model,
        "promotion": content_name("promotion", turn),
        "by": word,
        "reason": word,
        "decided_at": seen,
        "previous": None,
    }
    _say(said, "model-promoted", [(model, digest)], facts, [run, snapshot])
    with said["log"].database.write() as session:
        session.add(
            Run(
                id=run,
                dataset="people",
                snapshot_id=snapshot[0],
                contract_sha256=sha("contract"),
                backend="reference",
                status="finished",
                finished_at=seen,
                detail={},
            )
        )
        session.flush()
        row = ModelRow(
            id=model,
            dataset="people",
            run_id=run,
            snapshot_id=snapshot[0],
            state="champion" if turn == 2 else "retired",
            bundle_uri="",
            metrics={},
            made_at=seen,
        )
        session.add(row)
        session.flush()
        session.add(
            Promotion(
                id=content_name("promotion", turn),
                dataset="people",
                action="promote",
                model_id=model,
                previous_id=None,
                by="x",
                reason="y",
                at=seen,
            )
        )
    return model


def _say(said: dict[str, Any], step: str, subjects: list, facts: dict[str, Any], inputs: list) -> None:
    predicate = {
        "code": code_version(),
        "dataset": "people",
        "contract_sha256": sha("contract"),
        "checks": [
            {
                "check": f"{step}.fine",
                "outcome": "passed",
                "severity": "info",
                "subject": said["word"],
                "message": said["word"],
            },
            {
                "check": f"{step}.tool",
                "outcome": "not_checked",
                "severity": "info",
                "subject": "",
                "message": f"no tool for {said['word']}",
            },
        ],
        **facts,
    }
    check_predicate(step, predicate)
    said["log"].append(make_statement(step, subjects, predicate, inputs))
