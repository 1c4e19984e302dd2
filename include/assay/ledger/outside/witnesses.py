"""What witnesses told us of this log: their cosignatures, kept beside the checkpoints, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.db import LedgerCheckpoint, LedgerCosignature
from assay.findings import Finding, Outcome, Scope, Severity
from assay.ledger.errors import NoteError, NotInLedger
from assay.ledger.log.checkpoints import Checkpoint, NoteSignature, note_parts, read_signature_line
from assay.ledger.log.heads import open_row
from assay.ledger.log.ledger import Ledger
from assay.ledger.outside.cosign import Witness, accepted, cosigned_at


def add_cosignatures(
    ledger: Ledger, brought: str, witnesses: Sequence[Witness], size: int | None = None
) -> tuple[int, list[str]]:
    """Keep what witnesses signed; the same again changes nothing.

    Args:
        ledger: The log; no private key is needed.
        brought: A cosigned checkpoint, or signature lines alone, as a witness answers them.
        witnesses: Those whose signatures are taken.
        size: Which checkpoint bare lines are for; by default the newest.

    Returns:
        Size of the checkpoint, and names of the witnesses whose signatures are kept now.

    Raises:
        NoteError: The signatures are malformed, wrong, by no known witness, or on another checkpoint.
        NotInLedger: The log has no such checkpoint.
        LedgerError: The log's own checkpoint is not in order.
    """
    if "\n\n" in brought:
        text, offered = note_parts(brought)
        size = Checkpoint.read(text).size
    else:
        text, offered = None, [read_signature_line(line) for line in brought.splitlines()]
    with ledger.database.write() as session:
        query = select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1)
        row = session.scalars(query if size is None else query.where(LedgerCheckpoint.size == size)).first()
        if row is None:
            raise NotInLedger("the ledger has no such checkpoint", expected=size)
        ours = open_row(row, ledger.public_key).text
        if text not in (None, ours):
            raise NoteError(
                "the cosigned checkpoint is not this log's", expected=ours, found=(text or "")[:200]
            )
        taken = accepted(ours, offered, witnesses)
        for signature in taken:
            key = (row.size, signature.name, signature.key_id.hex())
            if session.get(LedgerCosignature, key) is None:
                session.add(
                    LedgerCosignature(size=key[0], witness=key[1], key_id=key[2], line=signature.line)
                )
        return row.size, [signature.name for signature in taken]


def cosigned_note(session: Session, row: LedgerCheckpoint) -> str:
    """A checkpoint's note with all the cosignatures that are kept."""
    query = select(LedgerCosignature.line).where(LedgerCosignature.size == row.size)
    lines = session.scalars(query.order_by(LedgerCosignature.witness, LedgerCosignature.key_id))
    return row.note + "".join(f"{line}\n" for line in lines)


def verify_witnesses(ledger: Ledger, witnesses: Sequence[Witness]) -> list[Finding]:
    """Check every cosignature by these witnesses, and that their clocks went forward as the log grew.

    Returns:
        One finding per failure, and one per witness: passed with the newest checkpoint that it cosigned, or
        not_checked where it cosigned none.
    """
    findings: list[Finding] = []
    with ledger.database.session() as session:
        for witness in witnesses:
            query = (
                select(LedgerCosignature.size, LedgerCosignature.line, LedgerCheckpoint.note)
                .join(LedgerCheckpoint, LedgerCheckpoint.size == LedgerCosignature.size, isouter=True)
                .where(
                    LedgerCosignature.witness == witness.name, LedgerCosignature.key_id == witness.id.hex()
                )
                .order_by(LedgerCosignature.size)
            )
            rows = [(int(size), str(line), note) for size, line, note in session.execute(query)]
            findings += _of_witness(witness, rows)
    return findings


def _of_witness(witness: Witness, rows: Sequence[tuple[int, str, str | None]]) -> list[Finding]:
    if not rows:
        message = f"the witness {witness.name} cosigned no checkpoint of this log"
        return [_finding(Outcome.NOT_CHECKED, witness.name, message, {})]
    failed: list[Finding] = []
    before, newest = -1, 0
    for size, line, note in rows:
        subject = f"{witness.name} at {size}"
        try:
            time = _time(witness, line, note)
        except NoteError as error:
            message = f"checkpoint {size}: {error.message}"
            failed.append(_finding(Outcome.FAILED, subject, message, {"checkpoint": size}))
            continue
        if time < before:
            message = f"checkpoint {size}: the witness {witness.name} signed it earlier than a smaller one"
            evidence = {"checkpoint": size, "time": time, "before": before}
            failed.append(_finding(Outcome.FAILED, subject, message, evidence))
        before, newest = max(before, time), size
    if failed:
        return failed
    message = f"the witness {witness.name} saw this log at {newest} entries"
    return [_finding(Outcome.PASSED, witness.name, message, {"checkpoint": newest, "time": before})]


def _time(witness: Witness, line: str, note: str | None) -> int:
    if note is None:
        raise NoteError("it is cosigned, but not there")
    signature: NoteSignature = read_signature_line(line)
    time = cosigned_at(f"{note}{signature.line}\n", witness)
    if time is None:
        raise NoteError(f"the cosignature kept for {witness.name} is by {signature.name} or another key")
    return time


def _finding(outcome: Outcome, subject: str, message: str, evidence: Mapping[str, object]) -> Finding:
    return Finding(
        check="ledger.witness",
        outcome=outcome,
        severity=Severity.CRITICAL if outcome is Outcome.FAILED else Severity.INFO,
        scope=Scope.LEDGER,
        subject=subject,
        message=message,
        evidence=dict(evidence),
    )
