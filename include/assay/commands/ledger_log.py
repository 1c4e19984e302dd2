"""`assay ledger checkpoint / publish / cosign / consistency`: what others need to keep an eye on the log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from assay.commands._shared import JsonFlag, database, emit, existing, guarded, settings
from assay.errors import UsageError
from assay.ledger import Ledger, Witness, load_public_key, open_ledger
from assay.ledger.log.checkpoints import MAX_NOTE_BYTES, open_checkpoint, verifier_key
from assay.ledger.outside.proofs import prove_consistency, signed_checkpoint
from assay.ledger.outside.publish import Place, open_place
from assay.ledger.outside.publish import publish as publish_at
from assay.ledger.outside.tlog import ConsistencyProof
from assay.ledger.outside.witnesses import add_cosignatures

PlaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--place",
        help="Where checkpoints are published: file:///folder, s3://bucket/folder, git+URL. May be repeated; "
        "those of ASSAY_LEDGER_PUBLISH are always used.",
    ),
]
WitnessOption = Annotated[
    list[str] | None,
    typer.Option(
        "--witness",
        help="Verifier key (vkey) of a witness. May be repeated; those of ASSAY_LEDGER_WITNESSES are always used.",
    ),
]
_OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="File to write, instead of standard output.")
]


def add_to(app: typer.Typer) -> None:
    """Put the commands of this module into `assay ledger`."""
    for command in (checkpoint, publish, cosign, consistency):
        app.command()(command)


@guarded
def checkpoint(
    size: Annotated[int | None, typer.Option("--size", min=1, help="Entries covered; default: all.")] = None,
    out: _OutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the newest signed checkpoint (a C2SP note), with witnesses' cosignatures: give it to others to keep."""
    log = _ledger()
    note = signed_checkpoint(log, size)
    if out is None and not as_json:
        sys.stdout.write(note)
        return
    if out is not None:
        out.write_text(note, encoding="utf-8")
    point = open_checkpoint(note, log.public_key)
    payload = {
        "origin": point.origin,
        "size": point.size,
        "root": point.root.hex(),
        "key": verifier_key(log.public_key),
        "note": note,
    }
    emit(
        payload,
        lambda console: _say(console, f"{out}: the log {point.origin} at {point.size} entries"),
        as_json,
    )


@guarded
def publish(place: PlaceOption = None, as_json: JsonFlag = False) -> None:
    """Publish the newest checkpoint where we cannot take it back; refused where the log no longer fits it."""
    log, where = _ledger(), places(place)
    if not where:
        raise UsageError(
            "no place to publish at is known", next_step="give --place URI, or set ASSAY_LEDGER_PUBLISH"
        )
    done = [publish_at(log, one) for one in where]

    def human(console: Console) -> None:
        for one in done:
            state = "published" if one.new else "was there already"
            _say(console, f"{one.uri}: the checkpoint at {one.size} entries {state}")

    emit(
        {"published": [{"place": one.uri, "size": one.size, "new": one.new} for one in done]}, human, as_json
    )


@guarded
def cosign(
    file: Annotated[
        Path,
        typer.Argument(
            help="What a witness answered: a cosigned checkpoint, or its signature lines.", show_default=False
        ),
    ],
    witness: WitnessOption = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=1, help="Checkpoint that bare lines are for; default: the newest."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Keep witnesses' cosignatures beside the checkpoint; each is checked with the witness's key."""
    known = witnesses(witness)
    if not known:
        raise UsageError(
            "no witness is known", next_step="give --witness VKEY, or set ASSAY_LEDGER_WITNESSES"
        )
    covered, names = add_cosignatures(_ledger(), text_of(existing(file, "cosignature")), known, size)

    def human(console: Console) -> None:
        _say(console, f"the checkpoint at {covered} entries is cosigned by {', '.join(names)}")

    emit({"size": covered, "witnesses": names}, human, as_json)


@guarded
def consistency(
    old: Annotated[
        str,
        typer.Argument(
            help="An older checkpoint: its size, or a file with its signed note.", show_default=False
        ),
    ],
    proof: Annotated[
        Path | None, typer.Option("--check", help="Check this proof against the older checkpoint's file.")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--to", min=1, help="The newer size; default: the newest.")
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", help="With --check: the ledger's published public key (PEM)."),
    ] = None,
    out: _OutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Prove that the log only grew since an older checkpoint; the proof is what a C2SP witness takes."""
    if proof is not None:
        key = load_public_key(existing(public_key, "public key")) if public_key else _ledger().public_key
        older = open_checkpoint(text_of(existing(Path(old), "checkpoint")), key)
        newer = ConsistencyProof.parse(text_of(existing(proof, "proof"))).verify(older, key)
        payload = {"outcome": "passed", "origin": newer.origin, "old": older.size, "size": newer.size}
        line = f"passed: the log {newer.origin} at {older.size} entries is the beginning of the one at {newer.size}"
        emit(payload, lambda console: _say(console, line), as_json)
        return
    log = _ledger()
    first = int(old) if old.isdecimal() and len(old) < 19 else None
    if first is None:
        first = open_checkpoint(text_of(existing(Path(old), "checkpoint")), log.public_key).size
    made = prove_consistency(log, first, size).text
    if out is None:
        sys.stdout.write(made)
        return
    out.write_text(made, encoding="utf-8")
    emit(
        {"proof": str(out), "old": first},
        lambda console: _say(console, f"{out}: from {first} entries on"),
        as_json,
    )


def places(named: list[str] | None) -> list[Place]:
    """The places named on the command line and in the settings, each once."""
    return [open_place(uri) for uri in dict.fromkeys([*settings().ledger_places, *(named or ())])]


def witnesses(named: list[str] | None) -> list[Witness]:
    """The witnesses named on the command line and in the settings, each once."""
    return [Witness.parse(vkey) for vkey in dict.fromkeys([*settings().ledger_witnesses, *(named or ())])]


def text_of(path: Path) -> str:
    """A small text file; what is no UTF-8 is replaced, and so refused by whatever reads it."""
    with path.open("rb") as file:
        return file.read(4 * MAX_NOTE_BYTES).decode(errors="replace")


def _ledger() -> Ledger:
    return open_ledger(settings(), database())


def _say(console: Console, line: str) -> None:
    console.print(escape(line), soft_wrap=True, highlight=False)
