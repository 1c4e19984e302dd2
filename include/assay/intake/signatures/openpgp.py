"""OpenPGP signatures (RFC 9580), detached or clear-signed, checked by gpg.

gpg sees a keyring that holds the contract's keys of the publisher and nothing else, and what it says on its status
channel counts, not its exit status: a file may also carry signatures by keys that the contract does not know. Of a
clear-signed file only what gpg gives out is used, with line ends and trailing blanks as they were signed, so that the
same text has the same digest however it was carried.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field

from assay.contract import Key
from assay.contract.openpgp import read_public_key
from assay.intake.errors import SignatureRefused
from assay.intake.signatures.common import (
    Case,
    Made,
    bad_format,
    known,
    shown,
    unknown_key,
    weak,
    wrong_bytes,
)
from assay.intake.signatures.tool import bench

CLEAR = b"-----BEGIN PGP SIGNED MESSAGE-----"
ARMORED = b"-----BEGIN PGP SIGNATURE-----"
_PINNED = (
    *("--batch", "--no-tty", "--no-options", "--no-default-keyring", "--trust-model", "always"),
    *("--no-auto-key-locate", "--no-auto-key-retrieve", "--disable-dirmngr", "--no-autostart"),
    *("--status-fd", "1"),
)
_DIGESTS = {"8": "SHA256", "9": "SHA384", "10": "SHA512"}
_ALGORITHMS = frozenset({"1", "3", "19", "22", "27"})  # RSA, ECDSA, EdDSA; not DSA
_BINARY, _TEXT = "00", "01"
_ARMOR = re.compile(
    rb"-----BEGIN PGP SIGNATURE-----[ \t]*\r?\n"
    rb"([A-Za-z]+: [^\r\n]*\r?\n)*[ \t]*\r?\n"
    rb"([A-Za-z0-9+/=]*[ \t]*\r?\n)+"
    rb"-----END PGP SIGNATURE-----\s*\Z"
)
_EXPLAINED = frozenset({"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"})
_UNEXPECTED = frozenset(
    {"ERROR", "NODATA", "UNEXPECTED", "BADARMOR", "BEGIN_DECRYPTION", "DECRYPTION_FAILED", "ENC_TO"}
)


@dataclass
class _Signature:
    """What gpg says of one signature: its words, and the fields of VALIDSIG."""

    words: set[str] = field(default_factory=set)
    valid: list[str] = field(default_factory=list)
    unknown: str = ""


def verify_openpgp(case: Case) -> list[Made]:
    """Check all signatures of the file that are by keys of the contract."""
    clear = case.signature.startswith(CLEAR)
    if clear != case.inline:
        raise bad_format(
            "the file is a clear-signed text" if clear else "the file is a signature without its text",
            expected="a detached signature" if clear else "a clear-signed text",
            next_step="name a clear-signed file both as the source's `manifest` and as its `signature`",
        )
    _whole(case.signature, clear)
    keys = {key.fingerprint: key for key in case.keys("openpgp")}
    with bench("gpg") as gpg:
        ring = gpg.put("keys.gpg", b"".join(read_public_key(key.public_key).keyring for key in keys.values()))
        file = gpg.put("signature", case.signature)
        emitted = gpg.folder / "emitted"
        when = f"{case.moment:%Y%m%dT%H%M%S}"
        how = (
            ("--output", str(emitted), "--max-output", str(len(case.signature) + 1), "--verify", file)
            if clear
            else ("--verify", file, gpg.put("manifest", case.manifest))
        )
        answer = gpg.run(*_PINNED, "--faked-system-time", f"{when}!", "--keyring", ring, *how)
        signatures = _read(answer.out, clear)
        if answer.status != 0 and not any(signature.words & _EXPLAINED for signature in signatures):
            raise _nothing(answer.err.encode()[-200:])
        text = emitted.read_bytes() if clear and emitted.is_file() else case.manifest
    return _judged(case, keys, signatures, text, clear)


def _judged(
    case: Case, keys: dict[str | None, Key], signatures: list[_Signature], text: bytes, clear: bool
) -> list[Made]:
    made: list[Made] = []
    refused: list[SignatureRefused] = []
    for signature in signatures:
        if refusal := _refusal(case, keys, signature):
            refused.append(refusal)
            continue
        key = keys[signature.valid[9]]
        payload = text
        if signature.valid[8] == _TEXT:
            payload = _canonical(text, clear)
        signed = dt.datetime.fromtimestamp(int(signature.valid[2]), dt.UTC)
        made.append(Made(key, payload, key.raw, claimed_at=signed))
    if any("BADSIG" in signature.words for signature in signatures):
        raise wrong_bytes(list(keys.values()))  # one that is by our key and does not fit spoils the others
    if not made:
        raise refused[0] if refused else _nothing(case.signature)
    return made


def _refusal(case: Case, keys: dict[str | None, Key], signature: _Signature) -> SignatureRefused | None:
    """Why one signature does not count by what gpg says; None if it does."""
    words = signature.words
    if "BADSIG" in words:
        return wrong_bytes(list(keys.values()))
    if "ERRSIG" in words:
        return unknown_key(case.publisher, f"openpgp:{signature.unknown}")
    for word, reason, what in (
        ("REVKEYSIG", "revoked", "whose owner revoked it"),
        ("EXPKEYSIG", "expired", "which has expired"),
        ("EXPSIG", "expired", "and has itself expired"),
    ):
        if word in words:
            return SignatureRefused(
                f"the signature is by an OpenPGP key {what}",
                reason=reason,
                expected=f"one by {known(list(keys.values()))} that counts on {case.on}",
                next_step="have the publisher sign with a current key; if they extended theirs, export it again",
            )
    if not {"GOODSIG", "VALIDSIG"} <= words or len(signature.valid) < 10 or signature.valid[9] not in keys:
        return _nothing(case.signature)
    _, _, _, _, _, _, algorithm, digest, kind = signature.valid[:9]
    if digest not in _DIGESTS or algorithm not in _ALGORITHMS:
        return weak(
            "the OpenPGP signature is made with an algorithm that is not accepted",
            f"{', '.join(_DIGESTS.values())} with RSA, ECDSA or EdDSA",
            f"digest {digest}, algorithm {algorithm} (numbers of RFC 9580)",
        )
    if kind not in {_BINARY, _TEXT}:
        return bad_format(
            "the OpenPGP signature is not one over a document", expected="type 00 or 01", found=kind
        )
    return None


def _read(out: str, clear: bool) -> list[_Signature]:
    """The status lines of gpg, by signature (doc/DETAILS of GnuPG)."""
    found: list[_Signature] = []
    texts = 0
    for line in out.splitlines():
        prefix, _, rest = line.partition(" ")
        word, _, arguments = rest.partition(" ")
        if prefix != "[GNUPG:]":
            continue
        if word == "NEWSIG":
            found.append(_Signature())
        texts += word == "PLAINTEXT"
        if word in _UNEXPECTED or texts > int(clear):
            raise _nothing(f"{word} {arguments}".encode()[:200])
        if not found:
            continue
        if word in found[-1].words and word in {"GOODSIG", "VALIDSIG"}:
            raise _nothing(b"two answers about one signature")
        found[-1].words.add(word)
        if word == "VALIDSIG":
            found[-1].valid = arguments.split()
        if word == "ERRSIG":
            found[-1].unknown = arguments.split()[0]
    return found


def _whole(signature: bytes, clear: bool) -> None:
    """Armor must be all there is: gpg passes over what stands around it."""
    armored = signature.startswith((CLEAR, ARMORED))
    if not armored:
        return
    once = signature.count(ARMORED) == 1 and (not clear or signature.count(CLEAR) == 1)
    if not once or _ARMOR.search(signature) is None:
        raise bad_format(
            "something stands around the OpenPGP signature, or part of it is missing",
            expected="one armored block, from its BEGIN to its END, and nothing else",
            found=shown(signature[-40:], 40),
        )


def _canonical(text: bytes, clear: bool) -> bytes:
    """A text as it was signed: line ends are not part of it, nor, where it is clear-signed, blanks before them."""
    lines = text.replace(b"\r\n", b"\n").split(b"\n")
    return b"\n".join(line.rstrip(b" \t\r") for line in lines) if clear else b"\n".join(lines)


def _nothing(found: bytes) -> SignatureRefused:
    return bad_format(
        "the signature file is not a whole OpenPGP signature",
        expected="what `gpg --detach-sign` or `gpg --clear-sign` writes",
        found=shown(found, 60),
    )
