"""Correction lists on the command line: a file with its signature beside it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from assay.contract import Contract
from assay.errors import UsageError
from assay.intake import KeysMissing, SignatureRefused, ToolMissing, verify_signature
from assay.screen import Corrections, read_corrections
from assay.screen.corrections import MAX_LIST_BYTES

_ENDINGS = (".minisig", ".sig", ".asc", ".p7s", ".dsse", ".jws")
_MAX_SIGNATURE = 1 << 20


def signed_corrections(path: Path, contract: Contract) -> Corrections:
    """Read a list whose signature lies beside it as `FILE.minisig`, `FILE.sig`, `FILE.asc` or the like.

    A list without a signature comes back as unsigned, one with a signature by nobody whom the contract knows with that
    as its problem: neither gets credit.

    Raises:
        UsageError: The file is too large.
        ScreenError: It is no correction list of this contract's data set.
    """
    data = _bounded(path, MAX_LIST_BYTES)
    refused = None
    for ending in _ENDINGS:
        beside = path.with_name(path.name + ending)
        if not beside.is_file():
            continue
        signature = _bounded(beside, _MAX_SIGNATURE)
        for publisher in contract.publishers:
            try:
                signed = verify_signature(data, signature, publisher, dt.datetime.now(dt.UTC).date())
            except (SignatureRefused, KeysMissing, ToolMissing) as error:
                refused = refused or f"{beside.name}: {error.message}"
                continue
            if signed.payload == data:
                name = f"{publisher.id} ({signed.key_id})"
                return read_corrections(data, contract, signed_by=name, name=path.name)
        refused = refused or f"{beside.name}: the contract names no publisher"
    if refused is not None:
        return Corrections(name=path.name, problem=refused)
    return read_corrections(data, contract, signed_by=None, name=path.name)


def _bounded(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise UsageError(f"{path} is too large", expected=f"at most {most} bytes", next_step="split the list")
    return data
