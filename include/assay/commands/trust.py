"""`assay trust`: add, list, revoke."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.commands._shared import JsonFlag, emit, guarded, settings
from assay.contract import (
    ContractError,
    Key,
    add_key,
    find_contracts,
    list_keys,
    parse_contract,
    read_key,
    revoke_key,
)
from assay.contract.keyforms import KeyFormat
from assay.contract.keys import Purpose
from assay.contract.trust import publishers_dir
from assay.errors import UsageError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Publishers' keys. Compare a key with its owner by another way than the delivery's own before adding it.",
)

PublisherArgument = Annotated[str, typer.Argument(help="The publisher's id.", show_default=False)]
WhereOption = Annotated[
    Path | None,
    typer.Option(
        "--contracts",
        help="Folder of contracts, or one; keys lie in publishers/ there. [ASSAY_CONTRACTS_DIR]",
    ),
]
_SHOWN_PINS = ("identity", "namespace", "issuer", "purpose", "digest", "payload_type")
_STYLE = {"valid": "green", "not_yet_valid": "yellow", "expired": "yellow", "revoked": "bold red"}


@app.command()
@guarded
def add(
    publisher: PublisherArgument,
    key: Annotated[
        str,
        typer.Argument(
            help="A public key, or a file with one: minisign, signify, Ed25519, PEM, certificates, OpenSSH, armored "
            "OpenPGP, or sigstore's trusted root."
        ),
    ],
    format: Annotated[
        KeyFormat | None,
        typer.Option(help="What it signs, where its form leaves that open.", show_default=False),
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            help="Who must sign. openssh: principal; sigstore: identity; x509, cms: email:, dns:, uri:, subject:."
        ),
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="openssh: what signatures are for.")] = None,
    issuer: Annotated[str | None, typer.Option(help="sigstore: who vouches for the identity.")] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="openpgp: as compared with the key's owner; blanks are left out.")
    ] = None,
    purpose: Annotated[Purpose | None, typer.Option(help="x509, cms: extended key usage.")] = None,
    digest: Annotated[str | None, typer.Option(help="RSA: sha256 or sha512.")] = None,
    payload_type: Annotated[str | None, typer.Option(help="dsse, sigstore: type of the payload.")] = None,
    replaces: Annotated[
        str | None, typer.Option(help="A key that it follows; it counts until --until, and both until then.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last day of the key that is replaced.")] = None,
    valid_from: Annotated[
        str | None, typer.Option(help="First day on which its signatures count, 2026-01-31.")
    ] = None,
    valid_until: Annotated[str | None, typer.Option(help="Last day on which its signatures count.")] = None,
    contracts: WhereOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Trust a publisher's key. Adding the same key again changes nothing; a revoked one cannot come back."""
    where = _where(contracts)
    form, text = read_key(key, format)
    pins = {
        "identity": identity,
        "namespace": namespace,
        "issuer": issuer,
        "fingerprint": None if fingerprint is None else "".join(fingerprint.split()).upper(),
        "purpose": purpose,
        "digest": digest,
        "payload_type": payload_type,
    }
    made = add_key(
        where,
        publisher,
        format=form,
        public_key=text,
        valid_from=_day(valid_from, "--valid-from"),
        valid_until=_day(valid_until, "--valid-until"),
        pins={name: value for name, value in pins.items() if value is not None},
        replaces=replaces,
        overlap_until=_day(until, "--until"),
    )
    file = publishers_dir(where) / f"{publisher}.yaml"

    def human(console: Console) -> None:
        console.print(f"[green]trusted[/] {made.id} of {escape(publisher)}", highlight=False, soft_wrap=True)
        console.print(f"  in {escape(str(file))}", highlight=False, soft_wrap=True)
        for pin, value in made.pins.items():
            console.print(f"  {pin}: {escape(value)}", highlight=False, soft_wrap=True)

    emit({"publisher": publisher, "file": str(file), "key": _facts(made)}, human, as_json)


@app.command(name="list")
@guarded
def list_(
    publisher: Annotated[str | None, typer.Argument(help="Only this publisher.", show_default=False)] = None,
    contracts: WhereOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the keys that count, and those that no longer do, from publishers/ and from the contracts themselves."""
    where = _where(contracts)
    rows: list[dict[str, Any]] = []
    for name, keys in list_keys(where, publisher).items():
        rows += [{"publisher": name, "in": f"publishers/{name}.yaml", **_facts(key)} for key in keys]
    unreadable = []
    for path in [where] if where.is_file() else find_contracts(where):
        try:
            contract = parse_contract(path.read_text(encoding="utf-8"), str(path))
        except (ContractError, UnicodeDecodeError):
            unreadable.append(path.name)
            continue
        for each in contract.publishers:
            if publisher in {None, each.id}:
                rows += [{"publisher": each.id, "in": path.name, **_facts(key)} for key in each.keys]

    def human(console: Console) -> None:
        table = Table(title="Trusted keys", title_justify="left")
        for column in ("publisher", "key", "pinned", "today", "from", "until", "in"):
            table.add_column(column, overflow="fold")
        for row in rows:
            style = _STYLE[row["status"]]
            table.add_row(
                escape(row["publisher"]),
                row["id"],
                escape(", ".join(str(row[pin]) for pin in _SHOWN_PINS if row[pin]) or "-"),
                f"[{style}]{row['status'].replace('_', ' ')}[/]",
                row["valid_from"] or "-",
                row["revoked"] or row["valid_until"] or "-",
                escape(row["in"]),
            )
        console.print(
            table if rows else "no key is trusted yet; add one with `assay trust add PUBLISHER KEY`"
        )
        for name in unreadable:
            console.print(f"[yellow]left out[/] {escape(name)}: see `assay contract check`", soft_wrap=True)

    emit({"keys": rows, "left_out": unreadable}, human, as_json)


@app.command()
@guarded
def revoke(
    publisher: PublisherArgument,
    key: Annotated[str, typer.Argument(help="The key's id, as `assay trust list` shows it, or the key.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the key.", show_default=False)],
    on: Annotated[
        str | None, typer.Option(help="First day on which its signatures do not count. [today]")
    ] = None,
    contracts: WhereOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a key's signatures no longer count from a day on; the key stays listed."""
    where = _where(contracts)
    made = revoke_key(
        where, publisher, key, on=_day(on, "--on") or dt.datetime.now(dt.UTC).date(), reason=reason
    )

    def human(console: Console) -> None:
        console.print(
            f"[bold red]revoked[/] {made.id} of {escape(publisher)} from {made.revoked} on: "
            f"{escape(made.revoked_reason or '')}",
            highlight=False,
            soft_wrap=True,
        )

    emit({"publisher": publisher, "key": _facts(made)}, human, as_json)


def _where(given: Path | None) -> Path:
    where = given if given is not None else settings().contracts_dir
    if not where.exists():
        raise UsageError(
            f"there are no contracts at {where}",
            expected="a folder of contracts, or a contract",
            next_step="name it with --contracts, or set ASSAY_CONTRACTS_DIR",
        )
    return where


def _day(text: str | None, option: str) -> dt.date | None:
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is not a day", expected="such as 2026-01-31", found=text) from None


def _facts(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "status": key.status(dt.datetime.now(dt.UTC).date()),
        **key.model_dump(mode="json"),
    }
