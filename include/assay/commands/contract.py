"""`assay contract`: check, schema, import, record."""

from __future__ import annotations

import datetime as dt
import getpass
import os
import secrets
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from assay.commands._shared import JsonFlag, emit, existing, guarded
from assay.contract import (
    Contract,
    ContractError,
    advice,
    dump_contract,
    import_contract,
    load_contract,
    schema_text,
)
from assay.contract.importers import FORMATS
from assay.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Check a contract, print its JSON Schema, import from other formats, record who changed it.",
)


@app.command()
@guarded
def check(
    file: Annotated[Path, typer.Argument(help="The contract (YAML).", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Is this contract valid? Every problem is listed with its line and its fix. Invalid: 1."""
    if not existing(file, "contract").is_file():
        raise UsageError(f"{file} is not a file", expected="one contract's file")
    try:
        contract = load_contract(file)
    except ContractError as error:
        found = error

        def human(console: Console) -> None:
            console.print(escape(str(found)), highlight=False, soft_wrap=True)

        emit({"valid": False, "file": str(file), "problems": error.problems}, human, as_json)
        raise typer.Exit(1) from None
    notes = advice(contract, dt.datetime.now(dt.UTC).date())
    emit(_summary(file, contract, notes), lambda console: _show(console, file, contract, notes), as_json)


@app.command()
@guarded
def schema(as_json: JsonFlag = False) -> None:
    """Print the contract's JSON Schema, from which editors complete and check."""
    sys.stdout.write(schema_text())


@app.command(name="import")
@guarded
def import_(
    format_name: Annotated[
        str, typer.Argument(metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.", show_default=False)
    ],
    file: Annotated[Path, typer.Argument(help="The description to import.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write, instead of standard output.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Start a contract from an ODCS, Croissant or Frictionless description; what is missing is listed."""
    made = import_contract(format_name, existing(file, "description"))
    text = dump_contract(made.contract, made.notes)
    if out is not None:
        _write_new(out, text)

    def human(console: Console) -> None:
        if out is None:
            sys.stdout.write(text)
            return
        console.print(
            f"wrote {escape(str(out))}: {len(made.contract.schema_.columns)} columns", soft_wrap=True
        )
        for note in made.notes:
            console.print(f"  - {escape(note)}", soft_wrap=True)
        console.print(f"next: assay contract check {escape(str(out))}", soft_wrap=True)

    payload = {
        "contract": made.contract.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "notes": list(made.notes),
        "yaml": text,
        "written": None if out is None else str(out),
    }
    emit(payload, human, as_json)


@app.command()
@guarded
def record(
    file: Annotated[Path, typer.Argument(help="The contract (YAML).", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="What was changed, and why.", show_default=False)],
    by: Annotated[
        str | None, typer.Option("--by", help="Who changed it. [the system's user]", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Sign into the ledger who changed the contract as it is now; `review.no_self_approval` goes by that."""
    from assay.line import Line, record_contract

    with Line.open(existing(file, "contract")) as line:
        done = record_contract(line, by or getpass.getuser(), reason)

    def human(console: Console) -> None:
        again = " (said before; nothing changed)" if done.repeated else ""
        console.print(
            f"recorded: {escape(done.by)} changed the contract of {done.dataset}{again}", soft_wrap=True
        )
        console.print(f"  contract {done.contract_sha256}", soft_wrap=True)
        console.print(f"  changed by {escape(', '.join(done.authors))}", soft_wrap=True)

    emit(asdict(done), human, as_json)


def _summary(file: Path, contract: Contract, notes: list[str]) -> dict[str, Any]:
    return {
        "valid": True,
        "file": str(file),
        "dataset": contract.dataset,
        "digest": contract.digest,
        "columns": len(contract.schema_.columns),
        "features": list(contract.schema_.features),
        "sources": [source.id for source in contract.sources],
        "publishers": {each.id: [key.id for key in each.keys] for each in contract.publishers},
        "notes": notes,
    }


def _show(console: Console, file: Path, contract: Contract, notes: list[str]) -> None:
    schema = contract.schema_
    label = f", label {schema.label.column}" if schema.label else ""
    console.print(f"[green]valid[/] {escape(str(file))}", soft_wrap=True)
    console.print(
        f"  data set {contract.dataset}: {len(schema.columns)} columns{escape(label)}", soft_wrap=True
    )
    for source in contract.sources:
        keys = ", ".join(key.id for key in contract.publisher(source.publisher).keys) or "no key"
        console.print(f"  source {source.id} by {source.publisher} ({keys})", highlight=False, soft_wrap=True)
    for note in notes:
        console.print(f"  [yellow]note[/] {escape(note)}", soft_wrap=True)


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.link(temporary, path)
    except FileExistsError:
        raise UsageError(
            f"{path} is there already",
            state="it was left as it is",
            next_step="choose another name for --out",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
