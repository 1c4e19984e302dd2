"""minisign (https://jedisct1.github.io/minisign) and signify (https://man.openbsd.org/signify).

Both name the key by eight bytes, sign with Ed25519 and begin with an untrusted comment. minisign signs the bytes (`Ed`)
or their BLAKE2b digest (`ED`), and then the trusted comment with the signature; signify signs the bytes, and can carry
them behind the signature.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.contract import Key
from assay.intake.signatures.common import Case, Made, bad_format, strict_base64, unknown_key, wrong_bytes

START = b"untrusted comment:"
_MAX_COMMENT = 1000


def verify_minisign(case: Case) -> list[Made]:
    """Check a minisign signature, of either form."""
    from minisign import ParseError, PublicKey, Signature, VerifyError

    lines = case.signature.splitlines()
    _plain_comment(lines[0])
    try:
        if b"\r" in case.signature.replace(b"\r\n", b"\n"):
            raise ParseError("a line end that is none")
        parsed = Signature.from_bytes(case.signature)
        if any(line.strip() for line in lines[4:]):
            raise ParseError("more than four lines")
        if not all(strict_base64(lines[number]) for number in (1, 3)):
            raise ParseError("base64 that is written in another way than it would be encoded")
    except ParseError as error:
        raise bad_format(
            "the signature file is not a whole minisign signature",
            expected="four lines: untrusted comment, signature, trusted comment, signature over that",
            found=str(error),
        ) from error
    number = bytes(parsed._key_id)
    # Key ids can be forged, so that several keys may carry the same.
    named = _named(case, "minisign", number, f"minisign:{number[::-1].hex().upper()}")
    for key in named:
        try:
            PublicKey.from_base64(key.public_key.strip()).verify(case.manifest, parsed)
        except VerifyError:
            continue
        return [Made(key, case.manifest, key.raw, trusted_comment=parsed.trusted_comment)]
    raise wrong_bytes(named)


def verify_signify(case: Case) -> list[Made]:
    """Check a signify signature; one that carries its message (`signify -S -e`) vouches for what it carries."""
    comment, _, rest = case.signature.partition(b"\n")
    _plain_comment(comment)
    line, end, message = rest.partition(b"\n")
    blob = strict_base64(line)
    if not end or blob is None or len(blob) != 74 or blob[:2] != b"Ed":
        raise bad_format(
            "the signature file is not a whole signify signature",
            expected="two lines: untrusted comment, signature",
            found=f"a second line of {len(line)} characters",
        )
    if not case.inline and message:
        raise bad_format(
            "something stands behind the signify signature",
            expected="two lines: untrusted comment, signature",
            found=f"{len(message)} more bytes",
            next_step="if the file carries what it signs, name it as the source's `manifest` too",
        )
    number, signature = blob[2:10], blob[10:]
    named = _named(case, "signify", number, f"signify:{number.hex().upper()}")
    payload = message if case.inline else case.manifest
    for key in named:
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, payload)
        except InvalidSignature:
            continue
        return [Made(key, payload, key.raw)]
    raise wrong_bytes(named)


def _plain_comment(line: bytes) -> None:
    """Nothing of the untrusted comment is used; the tools refuse one that is too long or not text, and so does this."""
    text = line.decode("utf-8", errors="replace")
    if (
        len(line) > _MAX_COMMENT
        or not line.startswith(START + b" ")
        or not text.replace("\t", " ").isprintable()
    ):
        raise bad_format(
            "the signature file does not begin with a comment of text",
            expected=f"a line `untrusted comment: ...` of at most {_MAX_COMMENT} bytes",
            found=ascii(line[:40])[2:-1],
        )


def _named(case: Case, format: str, number: bytes, name: str) -> list[Key]:
    found = [key for key in case.keys(format) if key.decoded.number == number]
    if not found:
        raise unknown_key(case.publisher, name)
    return found
