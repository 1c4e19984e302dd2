"""Whole deliveries, signed by the real tools: verified, landed, and attacked where the signature itself is whole."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.contract import Contract
from tests.intake.support import FILES, Line, finding, new_line, outcomes, rejected_for
from tests.interop.cells import caught
from tests.interop.deliveries import kinds
from tests.interop.signers import Bench, GpgClear
from tests.interop.tools import Signer

SUMS = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in FILES.items()).encode()
STATEMENT = json.dumps(
    {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": hashlib.sha256(data).hexdigest()}}
            for name, data in FILES.items()
        ],
        "predicateType": "https://example.org/delivery/v1",
        "predicate": {},
    }
).encode()


@pytest.fixture
def line(tmp_path: Path, assay_home: Path) -> Iterator[Line]:
    """A registry and a store."""
    with new_line(tmp_path, "ed25519") as made:
        yield made


KINDS = kinds()


def delivery(line: Line, signer: Any) -> tuple[Path, Contract]:
    """A signed delivery in a folder of its own, and the contract for it; nothing signed tells old from new."""
    folder = line.root / "delivery"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    enveloped = signer.inline and not signer.name.startswith(("signify", "openpgp"))
    payload = STATEMENT if enveloped else SUMS
    names = {"manifest": "statement.json" if enveloped else "SHA256SUMS"}
    if signer.inline:
        names |= {"signature": names["manifest"]}
        (folder / names["manifest"]).write_bytes(signer.sign(payload))
    else:
        names |= {"signature": "SHA256SUMS.signature"}
        (folder / names["manifest"]).write_bytes(payload)
        (folder / names["signature"]).write_bytes(signer.sign(payload))
    if (certificate := signer.certificate()) is not None:
        names |= {"certificate": "signer.pem"}
        (folder / "signer.pem").write_bytes(certificate)
    contract = line.contract(
        keys=[signer.key()], sources=[line.source(**names)], freshness={"when_absent": "accept"}
    )
    return folder, contract


@pytest.mark.parametrize("kind", KINDS)
def test_a_delivery_in_every_format_is_accepted(kind: type[Signer], bench: Bench, line: Line) -> None:
    """Files beside it that only vouch for it are not unlisted ones."""
    folder, contract = delivery(line, bench.signer(kind))
    result = line.verify(folder, contract)
    assert (result.outcome, result.verdict) == ("passed", "accept"), outcomes(result)
    assert {file.path for file in result.files} == set(FILES)
    assert result.key_id == contract.publishers[0].keys[0].id


@pytest.mark.parametrize("kind", KINDS)
def test_data_that_was_changed_is_caught(kind: type[Signer], bench: Bench, line: Line) -> None:
    """The signature holds, the file does not."""
    folder, contract = delivery(line, bench.signer(kind))
    data = bytearray(FILES["people.csv"])
    data[20] ^= 1
    (folder / "people.csv").write_bytes(data)
    rejected_for(line.verify(folder, contract), "intake.checksums")
    caught(kind.name, "flipped byte in data")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_the_signed_manifest_does_not_list_is_caught(
    kind: type[Signer], bench: Bench, line: Line
) -> None:
    """Somebody put it beside the genuine ones."""
    folder, contract = delivery(line, bench.signer(kind))
    (folder / "part" / "evil.csv").write_bytes(FILES["people.csv"])
    rejected_for(line.verify(folder, contract), "intake.completeness")
    caught(kind.name, "extra file")


@pytest.mark.parametrize("kind", KINDS)
def test_a_delivery_that_was_admitted_does_not_come_again(
    kind: type[Signer], bench: Bench, line: Line
) -> None:
    """Nor when it is signed anew, which for most formats is another signature over the same bytes."""
    signer = bench.signer(kind)
    folder, contract = delivery(line, signer)
    line.admit(line.verify(folder, contract).delivery_id)
    rejected_for(line.verify(folder, contract), "intake.freshness.replay")
    folder, contract = delivery(line, signer)
    rejected_for(line.verify(folder, contract), "intake.freshness.replay")
    caught(kind.name, "replayed delivery")


@pytest.mark.parametrize("kind", [each for each in KINDS if not each.values[0].inline])
def test_a_delivery_whose_signature_was_taken_away_is_caught(
    kind: type[Signer], bench: Bench, line: Line
) -> None:
    """The source is to sign."""
    folder, contract = delivery(line, bench.signer(kind))
    (folder / "SHA256SUMS.signature").unlink()
    failed = rejected_for(line.verify(folder, contract), "intake.signature")
    assert "have the publisher sign" in failed.message
    caught(kind.name, "signature missing")


@pytest.mark.gnupg
def test_a_replay_with_other_line_ends_is_known_again(bench: Bench, line: Line) -> None:
    """A clear-signed text may travel with CRLF; it is the same manifest all the same."""
    folder, contract = delivery(line, bench.signer(GpgClear))
    line.admit(line.verify(folder, contract).delivery_id)
    manifest = folder / "SHA256SUMS"
    manifest.write_bytes(manifest.read_bytes().replace(b"\n", b"\r\n"))
    rejected_for(line.verify(folder, contract), "intake.freshness.replay")
    caught(GpgClear.name, "replayed with CRLF")


@pytest.mark.gnupg
def test_an_older_openpgp_delivery_does_not_follow_a_newer_one(line: Line, tmp_path: Path) -> None:
    """The time of the signature is signed, and nothing else in these manifests tells old from new."""
    signer = _Dated(tmp_path / "signer")
    folder, contract = delivery(line, signer)
    manifest = folder / "SHA256SUMS"
    (folder / "more.csv").write_bytes(FILES["people.csv"])
    newer = SUMS + f"{hashlib.sha256(FILES['people.csv']).hexdigest()}  more.csv\n".encode()
    manifest.write_bytes(signer.sign(newer, more=_at(days_ago=1)))
    first = line.verify(folder, contract)
    assert (first.outcome, finding(first, "intake.freshness.rollback").outcome) == ("passed", "passed")
    (folder / "more.csv").unlink()
    manifest.write_bytes(signer.sign(SUMS, more=_at(days_ago=2)))
    rejected_for(line.verify(folder, contract), "intake.freshness.rollback")
    caught(GpgClear.name, "rollback")


class _Dated(GpgClear):
    """A publisher whose key is three days old."""

    def gpg(self, *arguments: str | Path, stdin: bytes | None = None) -> bytes:
        dated = _at(days_ago=3) if arguments[0] == "--quick-gen-key" else ()
        return super().gpg(*dated, *arguments, stdin=stdin)


def _at(*, days_ago: int) -> tuple[str, ...]:
    when = dt.datetime.now(dt.UTC) - dt.timedelta(days=days_ago)
    return ("--faked-system-time", f"{when:%Y%m%dT%H%M%S}!")
