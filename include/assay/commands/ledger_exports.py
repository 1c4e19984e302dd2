"""`assay ledger`: export, rotate-key, schema."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from assay.commands._shared import JsonFlag, database, emit, guarded, object_store, settings
from assay.db import champion, latest_snapshot, list_models
from assay.errors import UsageError
from assay.ledger import Ledger, export_lines, open_ledger, predicate_type, rotate_key, schema_of
from assay.ledger.statements.predicates import PREDICATES

_NAMESPACE = "assay"


class Format(StrEnum):
    """What `assay ledger export` writes."""

    JSONL = "jsonl"
    OPENLINEAGE = "openlineage"
    CYCLONEDX = "cyclonedx"
    CROISSANT = "croissant"
    PROV = "prov"
    HTML = "html"
    PDF = "pdf"


def add_to(app: typer.Typer) -> None:
    """Add these commands to `assay ledger`."""
    app.command()(export)
    app.command(name="rotate-key")(rotate)
    app.command()(schema)


@guarded
def export(
    format: Annotated[
        Format,
        typer.Argument(
            help="jsonl: every signed statement; openlineage: events; cyclonedx: ML-BOM of a model; croissant: a "
            "snapshot; prov: W3C PROV-JSON; html, pdf: a model's dossier."
        ),
    ] = Format.JSONL,
    what: Annotated[
        str | None,
        typer.Argument(
            help="Id of a model (cyclonedx, html, pdf) or snapshot (croissant), or DATASET for its champion or newest "
            "snapshot; for openlineage and prov anything that `trace` knows, by default everything.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write, instead of standard output.")
    ] = None,
    send: Annotated[
        bool,
        typer.Option(
            "--emit",
            help="openlineage: also send the events to the server of OPENLINEAGE_URL or openlineage.yml.",
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the ledger for other tools, or a model's dossier for people; every statement is checked first."""
    if send and format is not Format.OPENLINEAGE:
        raise UsageError("--emit goes with openlineage", next_step="leave it away")
    log = open_ledger(settings(), database())
    sent = None
    if send:
        from assay.ledger.exports import emit_openlineage, history_of, openlineage_events

        sent = emit_openlineage(openlineage_events(history_of(log, object_store(), what), _NAMESPACE))
    count = 0
    if out is None:
        for piece in _pieces(log, format, what):
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()
        return
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in _pieces(log, format, what):
                file.write(piece)
                count += 1
            os.fchmod(file.fileno(), 0o644)
        Path(name).replace(out)
    finally:
        Path(name).unlink(missing_ok=True)
    entries = {"entries": count - 2} if format is Format.JSONL else {}

    def human(console: Console) -> None:
        told = f"{count - 2} entries and the newest checkpoint" if entries else format.value
        console.print(escape(f"{out}: {told}"), soft_wrap=True, highlight=False)
        if sent is not None:
            console.print(f"{sent} events were sent")

    emit({"export": str(out), "format": format.value, **entries, "sent": sent}, human, as_json)


@guarded
def rotate(
    reason: Annotated[str, typer.Option(help="Why the key is changed.", show_default=False)],
    new_key: Annotated[
        Path | None,
        typer.Option(help="PEM file of the new private key, where it is not kept in ASSAY_KEYS_DIR."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a new key take over from the ledger's present one; what the old one signed stays verifiable."""
    chosen = settings()
    done = rotate_key(chosen, open_ledger(chosen, database()), reason=reason, new_key=new_key)

    def human(console: Console) -> None:
        entry = f"entry {done.entry.position}" if done.entry else "entered before; files put right"
        console.print(escape(f"{done.previous} → {done.new} ({entry})"), soft_wrap=True, highlight=False)
        console.print(
            escape(f"publish the new public key: {done.public_key}"), soft_wrap=True, highlight=False
        )
        if new_key is not None:
            console.print(
                "let ASSAY_LEDGER_KEY_FILE, ASSAY_LEDGER_KEY or ASSAY_LEDGER_KEY_URI name the new key"
            )

    facts = {"previous": done.previous, "new": done.new, "public_key": str(done.public_key)}
    emit({**facts, "position": done.entry.position if done.entry else None}, human, as_json)


@guarded
def schema(
    step: Annotated[
        str | None, typer.Argument(help="Name of a step; by default all are written.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for one file per step (STEP.v1.json).")
    ] = None,
) -> None:
    """Print the JSON Schema of what a step's statements say."""
    names = [step] if step else list(PREDICATES)
    schemas = {name: schema_of(name, predicate_type(name)) for name in names}
    if out is None:
        sys.stdout.write(json.dumps(schemas[step] if step else schemas, indent=2) + "\n")
        return
    out.mkdir(parents=True, exist_ok=True)
    for name, document in schemas.items():
        (out / f"{name}.v1.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


# -------------------------------------------------------------------------------------------------------------- private
def _pieces(log: Ledger, format: Format, what: str | None) -> Iterator[bytes]:
    from assay.ledger import exports

    store = object_store()
    match format:
        case Format.JSONL:
            yield from _lines(export_lines(log))
        case Format.OPENLINEAGE:
            events = exports.openlineage_events(exports.history_of(log, store, what), _NAMESPACE)
            yield from _lines(json.dumps(event, ensure_ascii=False) for event in events)
        case Format.PROV:
            yield _document(exports.prov_document(exports.history_of(log, store, what)))
        case Format.CYCLONEDX:
            model = _model(log, what)
            yield _document(exports.cyclonedx(exports.history_of(log, store, model), model))
        case Format.CROISSANT:
            snapshot = _snapshot(log, what)
            yield _document(exports.croissant(exports.history_of(log, store, snapshot), snapshot))
        case Format.HTML | Format.PDF:
            from assay.ledger.dossier.document import make_dossier
            from assay.ledger.dossier.html import dossier_html
            from assay.ledger.dossier.pdf import dossier_pdf

            model = _model(log, what)
            dossier = make_dossier(exports.history_of(log, store, model), model)
            yield dossier_pdf(dossier) if format is Format.PDF else dossier_html(dossier).encode()


def _lines(lines: Iterable[str]) -> Iterator[bytes]:
    return (f"{line}\n".encode() for line in lines)


def _document(document: dict[str, object]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _model(log: Ledger, what: str | None) -> str:
    """A model's id; of a data set its champion."""
    if what is None:
        raise UsageError("which model?", expected="a model's id, or a data set for its champion")
    with log.database.session() as session:
        if not list_models(session, what):
            return what
        best = champion(session, what)
    if best is None:
        raise UsageError(f"the data set {what!r} has no champion", next_step="give a model's id")
    return best.id


def _snapshot(log: Ledger, what: str | None) -> str:
    """A snapshot's id; of a data set its newest one."""
    if what is None:
        raise UsageError("which snapshot?", expected="a snapshot's id, or a data set for its newest one")
    with log.database.session() as session:
        newest = latest_snapshot(session, what)
    return newest.id if newest else what
