"""Certificates of signers (RFC 5280): led up to what the contract pins, meant for signing, and in the right name.

openssl builds and checks the chain, since it knows every key type. Only what the contract lists is trusted, never the
machine's own authorities. Revocation lists are not fetched: a certificate that no longer counts is revoked in the
contract, by listing it with `revoked`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from assay.contract import Key
from assay.contract.keyforms import BadKey, is_authority, kind_of, load_certificates
from assay.intake.errors import SignatureRefused
from assay.intake.signatures.common import Case, bad_format, other_identity, unknown_key, weak
from assay.intake.signatures.tool import bench

_UNREADABLE = (
    *(ValueError, TypeError, OverflowError, UnsupportedAlgorithm),
    *(x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion),
)

PURPOSES = {
    "code_signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email_protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "document_signing": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),
}
"""Extended key usage by the contract's word for it."""

PINNED = ("-no-CApath", "-no-CAstore", "-purpose", "any", "-auth_level", "2", "-partial_chain")
"""openssl's part of what is pinned: the purpose is looked at here, for openssl has no word for some of them."""


def signer_of(case: Case, key: Key) -> x509.Certificate:
    """The certificate of a plain signature: the contract's own, or a delivered one that it vouches for.

    Raises:
        SignatureRefused: There is none, or it does not count.
        ToolMissing: This machine lacks openssl.
    """
    pinned = load_certificates(key.public_key)
    if not key.decoded.authority:
        check_chain(case, key, pinned[0], pinned[1:])
        return pinned[0]
    if case.certificate is None:
        raise bad_format(
            "the contract pins an authority, and the delivery brings no certificate of the signer",
            expected="the signer's certificate, as PEM",
            next_step="name its file in the source's `certificate`, or pin the signer's own certificate",
        )
    try:
        brought = load_certificates(case.certificate.decode("ascii"))
    except (BadKey, UnicodeDecodeError) as error:
        raise bad_format(
            "the delivered certificate cannot be read", expected="certificates as PEM", found=str(error)[:200]
        ) from error
    with readable():
        check_chain(case, key, brought[0], brought[1:])
    return brought[0]


@contextmanager
def readable() -> Iterator[None]:
    """Turn what a damaged certificate raises when it is looked into, into a refusal.

    Raises:
        SignatureRefused: It is damaged.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise bad_format(
            "a delivered certificate cannot be read", expected="a whole certificate", found=str(error)[:200]
        ) from error


def check_chain(case: Case, key: Key, leaf: x509.Certificate, between: Sequence[x509.Certificate]) -> None:
    """Check that a signer's certificate counts under a key of the contract.

    Args:
        case: Says when.
        key: Of the formats `x509` or `cms`.
        leaf: The signer's certificate.
        between: Certificates that may lead from it to what is pinned; not trusted.

    Raises:
        SignatureRefused: It does not.
        ToolMissing: This machine lacks openssl.
    """
    check_leaf(case, key, leaf)
    with bench("openssl") as openssl:
        anchors, helpers = anchors_of(key)
        helpers += usable(key, between)
        answer = openssl.run(
            "verify",
            *("-CAfile", openssl.put("anchors.pem", as_pem(anchors))),
            *(("-untrusted", openssl.put("between.pem", as_pem(helpers))) if helpers else ()),
            *PINNED,
            *("-attime", str(int(case.moment.timestamp()))),
            openssl.put("leaf.pem", as_pem([leaf])),
        )
    if answer.status != 0:
        raise chain_refused(case, key, leaf, answer.out + answer.err)


def check_leaf(case: Case, key: Key, leaf: x509.Certificate) -> None:
    """Key, time, purpose and name of a signer's certificate; not who issued it."""
    try:
        kind_of(leaf.public_key())
    except BadKey as error:
        raise weak(
            f"the certificate's key {error}", "Ed25519, P-256, P-384, or RSA from 2048 bits on"
        ) from error
    if case.moment < leaf.not_valid_before_utc:
        raise _at_wrong_time(
            case, leaf, "not_yet_valid", f"is valid from {leaf.not_valid_before_utc:%Y-%m-%d} on"
        )
    if case.moment > leaf.not_valid_after_utc:
        raise _at_wrong_time(case, leaf, "expired", f"was valid until {leaf.not_valid_after_utc:%Y-%m-%d}")
    if is_authority(leaf):
        raise other_identity(
            "the signature is made with an authority's own certificate", "a signer's", _name(leaf)
        )
    purpose = key.purpose or "code_signing"
    if purpose != "any" and PURPOSES[purpose] not in _usages(leaf):
        raise other_identity(
            "the certificate is not meant for that",
            f"extended key usage {purpose}",
            f"{_name(leaf)} without it",
        )
    if not _may_sign(leaf):
        raise other_identity("the certificate's key may not sign", "key usage digitalSignature", _name(leaf))
    if key.identity is not None and key.identity not in names_of(leaf):
        raise other_identity(
            "the certificate is in another name", key.identity, ", ".join(names_of(leaf))[:500] or "no name"
        )


def anchors_of(key: Key) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    """What of a key's certificates is trusted, and what only helps to find the way there."""
    pinned = load_certificates(key.public_key)
    if key.decoded.authority or len(pinned) == 1:
        return pinned[:1], usable(key, pinned[1:])
    return pinned[-1:], usable(key, pinned[1:-1])


def usable(key: Key, between: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Intermediate certificates that are not restricted to other purposes."""
    wanted = PURPOSES.get(key.purpose or "code_signing")
    return [
        each
        for each in between
        if is_authority(each) and (wanted is None or not (found := _usages(each)) or wanted in found)
    ]


def chain_refused(case: Case, key: Key, leaf: x509.Certificate, said: str) -> SignatureRefused:
    """Why openssl did not come from the signer's certificate to what is pinned."""
    if "expired" in said:
        return _at_wrong_time(case, leaf, "expired", "or one above it has expired")
    if "not yet valid" in said:
        return _at_wrong_time(case, leaf, "not_yet_valid", "or one above it is not yet valid")
    if "too weak" in said or "too small" in said:
        return weak(
            "a certificate of the chain is signed too weakly",
            "SHA-256 and RSA from 2048 bits on",
            _name(leaf),
        )
    return unknown_key(case.publisher, _name(leaf), f"a certificate that leads up to {key.id}")


def names_of(leaf: x509.Certificate) -> list[str]:
    """A certificate's names as a contract writes them: `email:`, `dns:`, `uri:` and `subject:`."""
    names = [f"subject:{leaf.subject.rfc4514_string()}"]
    try:
        others = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return names
    kinds = (("email", x509.RFC822Name), ("dns", x509.DNSName), ("uri", x509.UniformResourceIdentifier))
    return names + [f"{word}:{name}" for word, kind in kinds for name in others.get_values_for_type(kind)]


def as_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certificates as one PEM file."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def _usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (x509.ExtensionNotFound, ValueError):
        return []


def _may_sign(leaf: x509.Certificate) -> bool:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except ValueError:
        return False
    return usage.digital_signature or usage.content_commitment


def _name(leaf: x509.Certificate) -> str:
    return ascii(leaf.subject.rfc4514_string())[1:-1][:200] or "a certificate without a subject"


def _at_wrong_time(case: Case, leaf: x509.Certificate, reason: str, how: str) -> SignatureRefused:
    return SignatureRefused(
        f"the certificate of {_name(leaf)} {how}",
        reason=reason,
        expected=f"one that is valid at {case.moment:%Y-%m-%d %H:%M} UTC",
        next_step="have the publisher sign with a current certificate",
    )
