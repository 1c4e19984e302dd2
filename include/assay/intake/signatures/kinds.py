"""Which format a signature file is of, and who checks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from assay.intake.errors import SignatureRefused
from assay.intake.signatures import jws, numbered, openpgp, openssh, raw, sigstore
from assay.intake.signatures.common import MAX_SIGNATURE, Case, Made, bad_format, known
from assay.strictjson import strict_json

Check = Callable[[Case], list[Made]]
_CARRYING = frozenset({"OpenPGP", "DSSE", "signify", "sigstore"})
_CMS = (b"-----BEGIN CMS-----", b"-----BEGIN PKCS7-----")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")


@dataclass(frozen=True)
class _Kind:
    name: str
    check: Check
    formats: tuple[str, ...]


def made_by(case: Case) -> list[Made]:
    """The signatures of a file that fit; whether they count on the day is judged by the caller.

    Raises:
        SignatureRefused: It is no signature, or none by a key of the publisher over these bytes.
        ToolMissing: This machine lacks the program that checks this format.
    """
    if len(case.signature) > MAX_SIGNATURE and not case.inline:
        raise bad_format(
            "the signature file is too large",
            expected=f"at most {MAX_SIGNATURE} bytes",
            found=f"{len(case.signature)} bytes",
            next_step="name the file that holds the signature in the source's `signature`",
        )
    kind = _kind(case)
    if kind.formats != raw.FORMATS and not case.keys(*kind.formats):
        raise SignatureRefused(
            f"the signature is a {kind.name} one, and the publisher {case.publisher.id!r} has no key of that format",
            reason="unknown_key",
            expected=f"a signature by one of {known(case.publisher.keys)}",
            next_step="check the source's `signature` and the publisher's keys in the contract",
        )
    if case.inline and kind.name not in _CARRYING:
        raise bad_format(
            "the manifest is to be inside the signature, and this is none that carries it",
            expected="a clear-signed text, a DSSE envelope or a signify file with its message",
            found=f"a file that looks like a {kind.name} signature",
            next_step="name the signature's own file in the source's `signature`",
        )
    return kind.check(case)


def _kind(case: Case) -> _Kind:
    """Tell formats by how they begin; the libraries of a format are imported when it is met."""
    data = case.signature
    if data.startswith(numbered.START):
        lines = data.split(b"\n", 3)
        if (lines[2:3] and lines[2].startswith(b"trusted comment:")) or not case.keys("signify"):
            return _Kind("minisign", numbered.verify_minisign, ("minisign",))
        return _Kind("signify", numbered.verify_signify, ("signify",))
    if data.startswith(openssh.START):
        return _Kind("OpenSSH", openssh.verify_openssh, ("openssh",))
    if data.startswith((openpgp.ARMORED, openpgp.CLEAR)) or (case.keys("openpgp") and _packet(data)):
        return _Kind("OpenPGP", openpgp.verify_openpgp, ("openpgp",))
    if data.startswith(_CMS) or (data[:1] == b"\x30" and _SIGNED_DATA in data[:32]):
        from assay.intake.signatures.cms import verify_cms

        return _Kind("CMS", verify_cms, ("cms",))
    if data[:1] == b"{" and _text(data):  # one in 256 plain signatures begins with this byte
        return _of_json(data)
    if jws.COMPACT.fullmatch(data[:MAX_SIGNATURE]):
        return _Kind("JWS", jws.verify_jws, ("jws",))
    return _Kind("plain", raw.verify_raw, raw.FORMATS)


def _text(data: bytes) -> bool:
    """Whether these bytes are text: UTF-8 without control characters but blanks and line ends."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(char >= " " or char in "\t\r\n" for char in text)


def _of_json(data: bytes) -> _Kind:
    try:
        body = strict_json(data)
    except ValueError as error:
        raise bad_format(
            "the signature file is not JSON, though it begins like it",
            expected="one JSON object, whole and alone",
            found=str(error)[:200],
        ) from error
    if str(body.get("mediaType", "")).startswith(sigstore.MEDIA):
        return _Kind("sigstore", sigstore.verify_sigstore, ("sigstore",))
    from assay.intake.signatures.dsse import verify_dsse

    return _Kind("DSSE", verify_dsse, ("dsse",))


def _packet(data: bytes) -> bool:
    """Whether a binary file begins with an OpenPGP signature packet of version 4 that fits into it."""
    if data[:1] == b"\xc2":
        size = 1 if data[1:2] < b"\xc0" else 2
        return data[1 + size : 2 + size] == b"\x04"
    if data[:1] in {b"\x88", b"\x89"}:
        size = 1 if data[:1] == b"\x88" else 2
        length = int.from_bytes(data[1 : 1 + size], "big")
        return length + 1 + size <= len(data) and data[1 + size : 2 + size] == b"\x04"
    return False
