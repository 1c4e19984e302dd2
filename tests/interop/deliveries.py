"""A signed manifest as it arrives, and what an attacker makes of it."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from assay.contract import Publisher
from assay.intake import SignatureRefused, SignedBy, verify_signature
from tests.interop.signers import SIGNERS, Bench
from tests.interop.tools import Signer

MANIFEST = f"{'a' * 64}  people.csv\n{'b' * 64}  part/more.csv\n".encode()
OTHER = f"{'c' * 64}  people.csv\n{'d' * 64}  part/more.csv\n".encode()


def today() -> dt.date:
    """The day that keys are judged on."""
    return dt.datetime.now(dt.UTC).date()


@dataclass(frozen=True)
class Delivered:
    """What arrives: manifest, signature, certificate; and what the contract lists."""

    signer: Any
    manifest: bytes
    signature: bytes
    keys: tuple[dict[str, Any], ...]
    certificate: bytes | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def inline(self) -> bool:
        return bool(self.signer.inline)

    def verify(self) -> SignedBy:
        """What verification says."""
        publisher = Publisher.model_validate({"id": "census", "keys": list(self.keys)})
        manifest = self.signature if self.inline else self.manifest
        return verify_signature(manifest, self.signature, publisher, today(), certificate=self.certificate)

    def refused(self, *reasons: str) -> SignatureRefused:
        """Verification must refuse it, for one of these reasons."""
        with pytest.raises(SignatureRefused) as caught:
            self.verify()
        assert caught.value.reason in reasons, caught.value
        assert caught.value.next_step
        return caught.value

    def with_key(self, **more: Any) -> Delivered:
        """The contract lists the first key with other settings."""
        first, *rest = self.keys
        return replace(self, keys=({**first, **more}, *rest))

    def resigned(self, data: bytes | None = None, by: Any = None, **more: Any) -> Delivered:
        """Signed again, in another way, by another, or over something else; the contract stays."""
        signature = (by or self.signer).sign(self.manifest if data is None else data, **more)
        certificate = (by or self.signer).certificate()
        return replace(self, signature=signature, certificate=certificate)

    def changed(self, change: Callable[[bytes], bytes]) -> Delivered:
        """What is signed is another thing on arrival."""
        if not self.inline:
            return replace(self, manifest=change(self.manifest))
        return replace(self, signature=change_payload(self.signature, self.manifest, change))


def kinds(*only: type[Signer]) -> list[Any]:
    """Parameters for kinds of signers (all, if none is named), each marked with the tool that it needs."""
    return [
        pytest.param(kind, id=kind.name.replace(" ", "_"), marks=getattr(pytest.mark, kind.part))
        for kind in only or SIGNERS
    ]


def delivered(bench: Bench, kind: type[Signer]) -> Delivered:
    """A signed manifest of a kind, made once."""

    def make() -> Delivered:
        signer = bench.signer(kind)
        return Delivered(signer, MANIFEST, signer.sign(MANIFEST), (signer.key(),), signer.certificate())

    made: Delivered = bench.once(kind.name, "delivered", make)
    return made


def change_payload(file: bytes, payload: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A file that carries what it signs, with that changed: as it is, or in base64 inside JSON."""
    changed = change(payload)
    if payload in file:
        return file.replace(payload, changed)
    inside, after = base64.b64encode(payload), base64.b64encode(changed)
    assert inside in file
    return file.replace(inside, after)


def flip(data: bytes, at: int) -> bytes:
    """One bit of one byte."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def flip_signature(signature: bytes) -> bytes:
    """A byte of the signature's own value, wherever the format keeps it."""
    if signature[:1] == b"{" and signature.isascii():  # a plain signature can begin so too
        body = json.loads(signature)
        envelope = body.get("dsseEnvelope", body)
        where = envelope["signatures"][0] if "signatures" in envelope else body["messageSignature"]
        name = "sig" if "sig" in where else "signature"
        where[name] = base64.b64encode(flip(base64.b64decode(where[name]), 20)).decode()
        return json.dumps(body).encode()
    if b".." in signature and signature.isascii():
        return _other_letter(signature, signature.index(b"..") + 12)
    if signature.startswith(b"untrusted comment:"):
        return _other_letter(signature, signature.index(b"\n") + 40)
    if signature.startswith(b"-----BEGIN"):
        ends = [match.start() for match in re.finditer(rb"\n(=[A-Za-z0-9+/]{4}\n)?-----END", signature)]
        return _other_letter(signature, ends[-1] - 20)
    if signature.isascii():
        return _other_letter(signature, len(signature) // 2)
    return flip(signature, len(signature) - 20)


def _other_letter(text: bytes, at: int) -> bytes:
    while text[at : at + 1] in b"\n=":
        at -= 1
    return text[:at] + (b"A" if text[at : at + 1] != b"A" else b"B") + text[at + 1 :]
