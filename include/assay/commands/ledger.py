"""`assay ledger`: verify, prove, check, trace, export."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rich.console import Console
from rich.markup import escape

from assay.commands import ledger_exports
from assay.commands._shared import (
    JsonFlag,
    database,
    emit,
    existing,
    guarded,
    object_store,
    print_findings,
    settings,
)
from assay.commands.ledger_log import PlaceOption, WitnessOption, add_to, places, witnesses
from assay.errors import UsageError
from assay.findings import Outcome, worst
from assay.ledger import (
    Ledger,
    NoLedgerKey,
    Trace,
    ledger_public_key,
    load_public_key,
    open_ledger,
    verify_proof,
)
from assay.ledger import trace as trace_through
from assay.ledger.audit.holdings import verify_holdings
from assay.ledger.lineage.affected import affected_rows
from assay.ledger.lineage.graph import visible
from assay.ledger.lineage.versions import ROWS
from assay.store import ObjectStore

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="The log of all decisions: is it whole, what does it prove, where did a thing come from.",
)
add_to(app)
ledger_exports.add_to(app)

_MAX_PROOF_BYTES = 64 * 2**20

KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--public-key", help="The ledger's published public key (PEM), instead of the one kept here."
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="File to write, instead of standard output.")
]
WhatArgument = Annotated[
    str,
    typer.Argument(
        help="Id of a model, run, snapshot, delivery, case or decision; a SHA-256; a key id; a publisher; a file's "
        "path; a statement's id or position; or, for a row, DATASET:KEY or its hash.",
        show_default=False,
    ),
]


@app.command()
@guarded
def verify(
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint", help="A published checkpoint that the log must still contain; may be repeated."
        ),
    ] = None,
    place: PlaceOption = None,
    witness: WitnessOption = None,
    files: Annotated[
        bool, typer.Option(help="Also check the store's objects and every row of every snapshot.")
    ] = True,
    public_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every entry, every checkpoint, the anchors, and that registry and store hold what was signed.

    An empty ledger is not checked (3).
    """
    published = [
        existing(path, "checkpoint").read_text(encoding="utf-8", errors="replace")
        for path in checkpoint or ()
    ]
    log = _ledger(public_key)
    findings = log.verify(published, places=places(place), witnesses=witnesses(witness))
    findings += verify_holdings(log, object_store() if files else None)
    outcome = worst(finding.outcome for finding in findings)
    payload = {
        "outcome": outcome.value,
        "entries": log.size(),
        "findings": [finding.model_dump(mode="json") for finding in findings],
    }

    def human(console: Console) -> None:
        print_findings(console, findings, title=f"Ledger, {payload['entries']} entries")
        says = {
            Outcome.PASSED: "the ledger is whole",
            Outcome.FAILED: "the ledger was tampered with, or damaged",
            Outcome.NOT_CHECKED: "the ledger could not be checked in full",
        }
        say(console, f"{outcome.value}: {says[outcome]}")

    emit(payload, human, as_json)
    raise typer.Exit(outcome.exit_code)


@app.command()
@guarded
def prove(what: WhatArgument, out: OutOption = None, as_json: JsonFlag = False) -> None:
    """Write a proof (JSON) that anyone can check with the ledger's public key alone."""
    log = _ledger(None)
    proof = log.prove(what, store=object_store())
    text = json.dumps(proof, indent=2, ensure_ascii=False) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    out.write_text(text, encoding="utf-8")
    proved = verify_proof(proof, log.public_key)

    def human(console: Console) -> None:
        say(console, f"{out}: proves {len(proved.statements)} statements about {what}")
        say(console, f"check it with: assay ledger check {out} --public-key ledger.pub.pem")

    emit({"proof": str(out), **proved.as_dict()}, human, as_json)


@app.command()
@guarded
def check(
    proof: Annotated[Path, typer.Argument(help="A proof that `prove` wrote.", show_default=False)],
    public_key: KeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check a proof; needs no database, only the public key."""
    path = existing(proof, "proof")
    key = _public_key(public_key)
    proved = verify_proof(_read_proof(path), key)

    def human(console: Console) -> None:
        say(console, f"passed: in the log {proved.checkpoint.origin}, with {proved.checkpoint.size} entries")
        for position, statement in proved.statements:
            names = ", ".join(resource.name for resource in statement.subjects)
            say(console, f"  entry {position}: {statement.step} of {names}")
        if proved.row is not None:
            say(console, f"  the row came with {proved.delivery} and stands in {proved.snapshot}:")
            for name, value in proved.row.items():
                say(console, f"    {name}: {value}")

    emit({"outcome": "passed", **proved.as_dict()}, human, as_json)


@app.command()
@guarded
def trace(
    what: WhatArgument,
    since: Annotated[
        str | None,
        typer.Option(help="What a key or file touched: only deliveries that came in from then on (UTC)."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only deliveries that came in before then.")] = None,
    rows: Annotated[
        Path | None,
        typer.Option(help="Write every row that a key, publisher, file or delivery touched (Parquet)."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the lineage of a thing: what it was made from, who decided, and what used it.

    For a publisher's key, a publisher, a file or a delivery that is every row, snapshot and model which it touched: a
    key was stolen in March, what is affected? `--since 2026-03 --until 2026-04`.
    """
    log, store = _ledger(None), object_store()
    found = trace_through(log, log.database, store, what, since=since, until=until)
    if rows is not None:
        _write_rows(log, store, found, rows)
    outcome = worst(finding.outcome for finding in found.findings)

    def human(console: Console) -> None:
        for line in found.lines():
            say(console, line)
        for finding in found.findings:
            say(console, f"{finding.outcome.value}: {finding.message}")

    emit({"outcome": outcome.value, **found.as_dict()}, human, as_json)
    raise typer.Exit(outcome.exit_code)


def _write_rows(log: Ledger, store: ObjectStore, found: Trace, out: Path) -> None:
    """Every affected row, into a file that appears whole."""
    import pyarrow.parquet as pq

    if found.affected is None:
        raise UsageError(
            f"{found.what!r} is no publisher's key, publisher, file or delivery",
            next_step="leave --rows away",
        )
    partial = out.with_name(f".{out.name}.partial")
    try:
        with pq.ParquetWriter(partial, ROWS, compression="zstd") as writer:
            for batch in affected_rows(log, store, found.affected):
                writer.write_batch(batch)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def say(console: Console, line: str) -> None:
    """One line as it is: no markup, no wrapping, so that it can be copied; nothing in it that a terminal would obey."""
    console.print(escape(visible(line)), soft_wrap=True, highlight=False)


def _ledger(public_key: Path | None) -> Ledger:
    chosen, opened = settings(), database()
    if public_key is None:
        return open_ledger(chosen, opened)
    anchor = chosen.ledger_head_file or chosen.home / "ledger-head.txt"
    return Ledger(opened, load_public_key(existing(public_key, "public key")), anchor=anchor)


def _public_key(path: Path | None) -> Ed25519PublicKey:
    key = load_public_key(existing(path, "public key")) if path else ledger_public_key(settings())
    if key is None:
        raise NoLedgerKey(
            "there is no public key to check the proof with",
            next_step="name the one that the ledger's owner published: --public-key ledger.pub.pem",
        )
    return key


def _read_proof(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            proof = json.loads(file.read(_MAX_PROOF_BYTES))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not JSON", found=error, next_step="give a file that `prove` wrote"
        ) from error
    if not isinstance(proof, dict):
        raise UsageError(f"{path} is not a proof", next_step="give a file that `prove` wrote")
    return proof
