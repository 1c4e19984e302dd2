"""A sigstore of the tests' own, since the public one cannot be reached: an authority, two logs, and what they sign.

It gives out bundles and a trusted root in sigstore's formats, after the published specifications: certificates as
Fulcio issues them, with an embedded timestamp of a certificate log (RFC 6962), and entries of a transparency log as
Rekor v1 has them, with promise, inclusion proof and checkpoint. sigstore-python's verifier accepts them under that root
alone.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

ORIGIN = "rekor.test"
_ISSUER_V1 = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCTS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_VALID = {"start": "2020-01-01T00:00:00Z"}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


@dataclass
class World:
    """One sigstore: its keys are its own, so that two of them do not trust each other."""

    authority: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)
    certificates: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)
    entries: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)

    def __post_init__(self) -> None:
        self._name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test"),
                x509.NameAttribute(NameOID.COMMON_NAME, "fulcio"),
            ]
        )
        now = dt.datetime.now(dt.UTC)
        self.root = (
            x509.CertificateBuilder(self._name, self._name, self.authority.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=400))
            .not_valid_after(now + dt.timedelta(days=400))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .add_extension(_key_usage(ca=True), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()), False)
            .sign(self.authority, hashes.SHA256())
        )

    def trusted_root(self) -> str:
        """`trusted_root.json`, as a contract pins it."""

        def log(key: ec.EllipticCurvePrivateKey, url: str) -> dict[str, Any]:
            return {
                "baseUrl": url,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": _b64(_spki(key)),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": _VALID,
                },
                "logId": {"keyId": _b64(hashlib.sha256(_spki(key)).digest())},
            }

        body = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.entries, "https://rekor.test")],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "test", "commonName": "fulcio"},
                    "uri": "https://fulcio.test",
                    "certChain": {"certificates": [{"rawBytes": _b64(self.root.public_bytes(Encoding.DER))}]},
                    "validFor": _VALID,
                }
            ],
            "ctlogs": [log(self.certificates, "https://ctfe.test")],
            "timestampAuthorities": [],
        }
        return json.dumps(body, indent=1)

    def sign(self, data: bytes, identity: str, issuer: str, at: dt.datetime) -> bytes:
        """A bundle over bytes."""
        key, certificate = self._certificate(identity, issuer, at)
        signature = _sign(key, data)
        digest = hashlib.sha256(data)
        spec = {
            "data": {"hash": {"algorithm": "sha256", "value": digest.hexdigest()}},
            "signature": {
                "content": _b64(signature),
                "publicKey": {"content": _b64(certificate.public_bytes(Encoding.PEM))},
            },
        }
        content = {
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": _b64(digest.digest())},
                "signature": _b64(signature),
            }
        }
        return self._bundle(certificate, content, "hashedrekord", spec, at)

    def envelope(
        self,
        payload: bytes,
        identity: str,
        issuer: str,
        at: dt.datetime,
        kind: str = "application/vnd.in-toto+json",
    ) -> bytes:
        """A bundle that carries a DSSE envelope."""
        key, certificate = self._certificate(identity, issuer, at)
        signature = _sign(key, b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload))
        envelope = {
            "payload": _b64(payload),
            "payloadType": kind,
            "signatures": [{"sig": _b64(signature), "keyid": ""}],
        }
        spec = {
            "envelopeHash": {
                "algorithm": "sha256",
                "value": hashlib.sha256(_canonical(envelope)).hexdigest(),
            },
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [
                {"signature": _b64(signature), "verifier": _b64(certificate.public_bytes(Encoding.PEM))}
            ],
        }
        return self._bundle(certificate, {"dsseEnvelope": envelope}, "dsse", spec, at)

    def _certificate(
        self, identity: str, issuer: str, at: dt.datetime
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """A certificate of ten minutes for an identity, with the certificate log's timestamp in it."""
        key = _new_key()
        name = (
            x509.RFC822Name(identity) if "://" not in identity else x509.UniformResourceIdentifier(identity)
        )
        short = issuer.encode()
        builder = (
            x509.CertificateBuilder(self._name, x509.Name([]), key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - dt.timedelta(minutes=1))
            .not_valid_after(at + dt.timedelta(minutes=9))
            .add_extension(_key_usage(ca=False), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), False
            )
            .add_extension(x509.SubjectAlternativeName([name]), True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V1, short), False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, bytes([0x0C, len(short)]) + short), False)
        )
        plain = builder.sign(self.authority, hashes.SHA256())
        scts = self._timestamp(plain.tbs_certificate_bytes, at)
        with_timestamp = builder.add_extension(x509.UnrecognizedExtension(_SCTS, scts), False)
        return key, with_timestamp.sign(self.authority, hashes.SHA256())

    def _timestamp(self, tbs: bytes, at: dt.datetime) -> bytes:
        """The extension of RFC 6962, section 3.3, with one timestamp of a precertificate."""
        millis = int(at.timestamp() * 1000)
        entry = hashlib.sha256(_spki(self.authority)).digest() + len(tbs).to_bytes(3, "big") + tbs
        signature = _sign(self.certificates, struct.pack("!BBQH", 0, 0, millis, 1) + entry + b"\0\0")
        one = b"\0" + hashlib.sha256(_spki(self.certificates)).digest() + struct.pack("!QH", millis, 0)
        one += b"\x04\x03" + len(signature).to_bytes(2, "big") + signature
        several = len(one).to_bytes(2, "big") + one
        listed = len(several).to_bytes(2, "big") + several
        return (
            b"\x04\x81" + bytes([len(listed)]) + listed
            if len(listed) > 127
            else b"\x04" + bytes([len(listed)]) + listed
        )

    def _bundle(
        self,
        certificate: x509.Certificate,
        content: dict[str, Any],
        kind: str,
        spec: dict[str, Any],
        at: dt.datetime,
    ) -> bytes:
        body = _canonical({"apiVersion": "0.0.1", "kind": kind, "spec": spec})
        log_id = hashlib.sha256(_spki(self.entries)).digest()
        when = int(at.timestamp())
        promise = _canonical(
            {"body": _b64(body), "integratedTime": when, "logID": log_id.hex(), "logIndex": 0}
        )
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"{ORIGIN}\n1\n{_b64(root)}\n"
        signed = f"{note}\n— {ORIGIN} {_b64(log_id[:4] + _sign(self.entries, note.encode()))}\n"
        entry = {
            "logIndex": "0",
            "logId": {"keyId": _b64(log_id)},
            "kindVersion": {"kind": kind, "version": "0.0.1"},
            "integratedTime": str(when),
            "inclusionPromise": {"signedEntryTimestamp": _b64(_sign(self.entries, promise))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": signed},
            },
            "canonicalizedBody": _b64(body),
        }
        bundle = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": _b64(certificate.public_bytes(Encoding.DER))},
                "tlogEntries": [entry],
            },
            **content,
        }
        return json.dumps(bundle).encode()


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
