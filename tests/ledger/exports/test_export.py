"""The export: everything that is signed, in a file that is checked without a database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.errors import AssayError
from assay.ledger import EnvelopeError, NoLedgerKey, NoteError, ProofError, check_export, export_lines
from assay.ledger.keys.signing import public_pem
from assay.ledger.log.ledger import Ledger
from tests.ledger.support import KEY, OTHER_KEY, filled, open_log, statement

PUBLIC = KEY.public_key()


@pytest.fixture
def lines(tmp_path: Path) -> list[str]:
    """An export of six entries."""
    return list(export_lines(filled(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, 6)))


def test_an_export_holds_header_entries_and_checkpoint(lines: list[str]) -> None:
    """One JSON object per line, in the order of the log."""
    header, *entries, last = [json.loads(line) for line in lines]
    assert header["public_key"] == public_pem(PUBLIC).decode()
    assert header["key"].startswith(header["origin"])
    assert [entry["position"] for entry in entries] == list(range(6))
    assert last["checkpoint"].startswith(header["origin"])


def test_an_export_is_checked_with_the_public_key_alone(lines: list[str]) -> None:
    """The number of entries comes back."""
    assert check_export(lines, PUBLIC) == 6
    assert check_export([line + "\n" for line in lines], PUBLIC) == 6


def test_a_log_without_entries_exports_nothing_to_check(tmp_path: Path) -> None:
    """A header and no checkpoint; without a key not even that."""
    log = open_log(f"sqlite:///{tmp_path / 'test.db'}", tmp_path)
    with pytest.raises(NoteError):
        check_export(export_lines(log), PUBLIC)
    with pytest.raises(NoLedgerKey):
        list(export_lines(Ledger(log.database, None)))


def test_a_changed_export_is_refused(lines: list[str]) -> None:
    """Dropped, moved, added, edited and cut lines, and lines that are no JSON."""
    stranger = json.dumps({"position": 6, "envelope": json.loads(lines[1])["envelope"]})
    bent = json.loads(lines[2])
    bent["envelope"]["payload"] = json.loads(lines[3])["envelope"]["payload"]
    attempts: list[tuple[list[str], type[AssayError]]] = [
        (lines[:3] + lines[4:], ProofError),
        ([lines[0], lines[2], lines[1], *lines[3:]], ProofError),
        ([*lines[:-1], stranger, lines[-1]], ProofError),
        ([*lines[:2], json.dumps(bent), *lines[3:]], EnvelopeError),
        (lines[:-2] + lines[-1:], ProofError),
        (lines[:-1], ProofError),
        ([], ProofError),
        ([*lines, lines[1]], ProofError),
        (["x", *lines[1:]], ProofError),
        ([lines[0], "[" * 10, *lines[2:]], ProofError),
        ([*lines[:-1], '{"checkpoint": null}'], NoteError),
    ]
    for attempt, error in attempts:
        with pytest.raises(error):
            check_export(attempt, PUBLIC)


def test_an_export_of_another_ledger_is_refused(lines: list[str], tmp_path: Path) -> None:
    """Another key in the header, or behind every signature."""
    header = json.loads(lines[0])
    header["public_key"] = public_pem(OTHER_KEY.public_key()).decode()
    with pytest.raises(ProofError, match="another ledger"):
        check_export([json.dumps(header), *lines[1:]], PUBLIC)
    folder = tmp_path / "other"
    folder.mkdir()
    other = open_log(f"sqlite:///{folder / 'test.db'}", folder, OTHER_KEY)
    other.append(statement(0))
    with pytest.raises(EnvelopeError):
        check_export(export_lines(other), PUBLIC)
