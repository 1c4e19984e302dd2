"""Signatures by the real tools, verified and then attacked: every format, every attack that makes sense for it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from assay.intake.signatures import MAX_SIGNATURE
from tests.interop.cells import caught
from tests.interop.deliveries import MANIFEST, OTHER, Delivered, delivered, flip, flip_signature, kinds, today
from tests.interop.signers import SIGNERS, Bench, Ed25519, JwsEdDsa, Minisign
from tests.interop.tools import Signer

BROKEN = ("format", "wrong_bytes", "unknown_key")
A_DAY = dt.timedelta(days=1)


def window(**days: Any) -> Callable[[Delivered, Bench], Delivered]:
    return lambda made, bench: made.with_key(**{name: str(day) for name, day in days.items()})


def other_key(made: Delivered, bench: Bench) -> Delivered:
    return made.resigned(by=bench.signer(type(made.signer), "stranger"))


def replayed(made: Delivered, bench: Bench) -> Delivered:
    """The publisher's older signature over a manifest that has changed since."""
    old = made.resigned(OTHER)
    return old if not made.inline else replace(old, signature=_grafted(made, old))


def _grafted(made: Delivered, old: Delivered) -> bytes:
    """A new payload in the frame of an old signature."""
    return replace(old, manifest=OTHER).changed(lambda data: MANIFEST).signature


def another_file(made: Delivered, bench: Bench) -> Delivered:
    data = b"person_id,age\n1,30\n"
    return made.resigned(data) if not made.inline else replace(made, signature=MANIFEST)


def of_another_format(made: Delivered, bench: Bench) -> Delivered:
    """A good signature by a stranger's key of a format that the contract does not pin."""
    kind = Ed25519 if made.signer.name.startswith("jws") else JwsEdDsa
    return replace(made, signature=bench.signer(kind, "stranger").sign(made.manifest))


Attack = tuple[Callable[[Delivered, Bench], Delivered], tuple[str, ...]]

ATTACKS: dict[str, Attack] = {
    "flipped byte in manifest": (lambda made, _: made.changed(lambda data: flip(data, 40)), BROKEN),
    "flipped first byte in manifest": (lambda made, _: made.changed(lambda data: flip(data, 0)), BROKEN),
    "flipped byte in signature": (
        lambda made, _: replace(made, signature=flip_signature(made.signature)),
        BROKEN,
    ),
    "manifest truncated": (lambda made, _: made.changed(lambda data: data[: len(data) // 2]), BROKEN),
    "manifest empty": (lambda made, _: made.changed(lambda data: b""), BROKEN),
    "line added to manifest": (lambda made, _: made.changed(lambda data: data + OTHER), BROKEN),
    "signature truncated": (
        lambda made, _: replace(made, signature=made.signature[: len(made.signature) * 2 // 3]),
        BROKEN,
    ),
    "signature empty": (lambda made, _: replace(made, signature=b""), ("format",)),
    "garbage after signature": (
        lambda made, _: replace(made, signature=made.signature + b"\ngarbage\n"),
        BROKEN,
    ),
    "garbage before signature": (
        lambda made, _: replace(made, signature=b"garbage\n" + made.signature),
        BROKEN,
    ),
    "BOM before signature": (
        lambda made, _: replace(made, signature=b"\xef\xbb\xbf" + made.signature),
        BROKEN,
    ),
    "BOM before manifest": (lambda made, _: made.changed(lambda data: b"\xef\xbb\xbf" + data), BROKEN),
    "CRLF": (lambda made, _: made.changed(lambda data: data.replace(b"\n", b"\r\n")), BROKEN),
    "huge signature file": (
        lambda made, _: replace(made, signature=made.signature + b"\n" * MAX_SIGNATURE),
        BROKEN,
    ),
    "signature of another file": (another_file, BROKEN),
    "replayed old signature": (replayed, BROKEN),
    "other key": (other_key, BROKEN),
    "signature of another format": (of_another_format, ("unknown_key", "format")),
    "expired key": (window(valid_until=today() - A_DAY), ("expired",)),
    "not yet valid key": (window(valid_from=today() + A_DAY), ("not_yet_valid",)),
    "revoked key": (window(revoked=today(), revoked_reason="laptop stolen"), ("revoked",)),
}


def _senseless(kind: type[Signer], attack: str) -> bool:
    """Text has no line ends of its own, see test_the_line_ends_of_signed_text_change_nothing; no size limit inside."""
    return (attack == "CRLF" and kind.text) or (attack == "huge signature file" and kind.inline)


def cells() -> list[Any]:
    """Each kind with each attack."""
    return [
        pytest.param(kind.values[0], attack, id=f"{kind.id}-{attack.replace(' ', '_')}", marks=kind.marks)
        for kind in kinds()
        for attack in ATTACKS
        if not _senseless(kind.values[0], attack)
    ]


@pytest.mark.parametrize("kind", kinds())
def test_what_the_real_tool_signs_is_accepted(kind: type[Signer], bench: Bench) -> None:
    """With the key as the publisher gives it, and the bytes that were signed come back."""
    made = delivered(bench, kind)
    signed = made.verify()
    assert signed.payload == MANIFEST
    assert signed.key_ids == (signed.key_id,)
    assert signed.key_id.startswith(made.keys[0]["format"] + ":")


@pytest.mark.parametrize(("kind", "attack"), cells())
def test_an_attack_on_a_signature_is_caught(kind: type[Signer], attack: str, bench: Bench) -> None:
    """The untouched delivery passes, the attacked one is refused for a reason that fits."""
    made = delivered(bench, kind)
    made.verify()
    do, reasons = ATTACKS[attack]
    attacked = do(made, bench)
    assert attacked != made
    attacked.refused(*reasons)
    caught(kind.name, attack)


@pytest.mark.parametrize("kind", kinds(*(each for each in SIGNERS if each is not Minisign)))
@pytest.mark.minisign
def test_a_key_of_another_format_does_not_vouch(kind: type[Signer], bench: Bench) -> None:
    """A contract that pins a minisign key accepts no other kind of signature."""
    made = delivered(bench, kind)
    if kind.name == "minisign -l":
        made = replace(made, signature=made.signature.replace(b"trusted comment", b"trusted remark"))
    replace(made, keys=(bench.signer(Minisign).key(),)).refused("unknown_key", "format")
    caught(kind.name, "key of another format")
