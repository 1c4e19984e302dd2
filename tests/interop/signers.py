"""Publishers who sign, each with the real tool of a format: what a contract lists of them, and what they ship.

Keys are made when a test needs them, and die with the test run.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.interop.authorities import X509, Cms, CmsPem, X509Authority, X509Ed25519
from tests.interop.sigstore_world import World
from tests.interop.tools import (
    EDWARDS,
    IDENTITY,
    IN_TOTO,
    ISSUER,
    NAMESPACE,
    P256,
    P384,
    PSS,
    RSA_2048,
    Openssl,
    Signer,
    run,
)


class Minisign(Signer):
    name, part = "minisign", "minisign"
    options: ClassVar[tuple[str, ...]] = ()

    def make(self) -> None:
        run("minisign", "-G", "-f", "-W", "-p", self.folder / "key.pub", "-s", self.folder / "key")

    def key(self) -> dict[str, Any]:
        return {"format": "minisign", "public_key": (self.folder / "key.pub").read_text().splitlines()[1]}

    def sign(self, data: bytes, *, comment: str = "sequence:1", **more: Any) -> bytes:
        path = self.file(data)
        run("minisign", "-S", *self.options, "-s", self.folder / "key", "-m", path, "-t", comment)
        return path.with_name("data.minisig").read_bytes()


class MinisignLegacy(Minisign):
    name = "minisign -l"
    options = ("-l",)


class Signify(Signer):
    name, part = "signify", "signify"

    def make(self) -> None:
        run("signify-openbsd", "-G", "-n", "-p", self.folder / "key.pub", "-s", self.folder / "key.sec")

    def key(self) -> dict[str, Any]:
        return {"format": "signify", "public_key": (self.folder / "key.pub").read_text().splitlines()[1]}

    def sign(self, data: bytes, **more: Any) -> bytes:
        out = self.folder / "data.sig"
        embedded = ["-e"] if self.inline else []
        run(
            "signify-openbsd",
            "-S",
            *embedded,
            "-s",
            self.folder / "key.sec",
            "-m",
            self.file(data),
            "-x",
            out,
        )
        return out.read_bytes()


class SignifyEmbedded(Signify):
    name, inline = "signify -e", True


class Ed25519(Openssl):
    name, options, signing = "ed25519", EDWARDS, ("-rawin",)

    def key(self) -> dict[str, Any]:
        der = run("openssl", "pkey", "-in", self.folder / "key.pem", "-pubout", "-outform", "DER")
        return {"format": "ed25519", "public_key": base64.b64encode(der[-32:]).decode()}


class PemEd25519(Openssl):
    name, options, signing = "pem Ed25519", EDWARDS, ("-rawin",)


class PemP256(Openssl):
    name, options, signing = "pem P-256", P256, ("-sha256",)


class PemP384(Openssl):
    name, options, signing = "pem P-384", P384, ("-sha384",)

    def sign(self, data: bytes, **more: Any) -> bytes:
        return base64.encodebytes(super().sign(data, **more))  # as `openssl base64` wraps it


class PemRsa(Openssl):
    name, options, signing = "pem RSA", RSA_2048, ("-sha256", *PSS)


class PemRsa512(Openssl):
    name, options, signing, digest = "pem RSA sha512", RSA_2048, ("-sha512", *PSS), "sha512"


class OpenSsh(Signer):
    name, part = "openssh", "openssh"
    options: ClassVar[tuple[str, ...]] = ("-t", "ed25519")

    def make(self) -> None:
        run("ssh-keygen", "-q", "-N", "", "-C", "data team", *self.options, "-f", self.folder / "id")

    def key(self) -> dict[str, Any]:
        text = (self.folder / "id.pub").read_text()
        return {"format": "openssh", "public_key": text, "identity": IDENTITY, "namespace": NAMESPACE}

    def sign(self, data: bytes, *, namespace: str = NAMESPACE, **more: Any) -> bytes:
        path = self.file(data)
        path.with_name("data.sig").unlink(missing_ok=True)
        run("ssh-keygen", "-Y", "sign", "-n", namespace, "-f", self.folder / "id", path)
        return path.with_name("data.sig").read_bytes()


class OpenSshRsa(OpenSsh):
    name, options = "openssh RSA", ("-t", "rsa", "-b", "2048")


class OpenSshEcdsa(OpenSsh):
    name, options = "openssh ECDSA", ("-t", "ecdsa", "-b", "256")


class Gpg(Signer):
    name, part = "openpgp", "gnupg"
    algorithm: ClassVar[str] = "ed25519"
    how: ClassVar[tuple[str, ...]] = ("--armor", "--detach-sign")

    def make(self) -> None:
        self.gpg("--quick-gen-key", f"Data <{IDENTITY}>", self.algorithm, "sign", "1y")
        listed = self.gpg("--list-keys", "--with-colons").decode().splitlines()
        self.fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def gpg(self, *arguments: str | Path, stdin: bytes | None = None) -> bytes:
        return run(
            *(
                "gpg",
                "--homedir",
                self.folder,
                "--batch",
                "--no-tty",
                "--quiet",
                "--pinentry-mode",
                "loopback",
            ),
            *("--passphrase", "", *arguments),
            stdin=stdin,
        )

    def key(self) -> dict[str, Any]:
        text = self.gpg("--armor", "--export", self.fingerprint).decode()
        return {"format": "openpgp", "public_key": text, "fingerprint": self.fingerprint}

    def sign(self, data: bytes, *, more: tuple[str, ...] = (), **_: Any) -> bytes:
        return self.gpg("--yes", *more, *self.how, "--output", "-", self.file(data))


class GpgBinary(Gpg):
    name, algorithm, how = "openpgp binary", "rsa2048", ("--detach-sign",)


class GpgText(Gpg):
    name, how, text = "openpgp --textmode", ("--armor", "--textmode", "--detach-sign"), True


class GpgClear(Gpg):
    name, how, inline, text = "openpgp clear-signed", ("--clear-sign",), True, True


class Sequoia(Signer):
    name, part = "openpgp by sq", "sequoia"

    def make(self) -> None:
        run("sq", "key", "generate", "--userid", f"Data <{IDENTITY}>", "--export", self.folder / "key.pgp")
        shown = run("sq", "inspect", self.folder / "key.pgp").decode()
        self.fingerprint = next(line.split()[-1] for line in shown.splitlines() if "Fingerprint:" in line)

    def key(self) -> dict[str, Any]:
        text = run("sq", "key", "extract-cert", self.folder / "key.pgp").decode()
        lines = [line for line in text.splitlines() if not line.startswith("Comment:")]
        return {"format": "openpgp", "public_key": "\n".join(lines), "fingerprint": self.fingerprint}

    def sign(self, data: bytes, **more: Any) -> bytes:
        return run("sq", "sign", "--detached", "--signer-key", self.folder / "key.pgp", self.file(data))


class Dsse(Signer):
    """DSSE with securesystemslib, as in-toto signs."""

    name, part, inline = "dsse", "openssl", True
    options: ClassVar[tuple[str, ...]] = P256

    def make(self) -> None:
        run("openssl", "genpkey", *self.options, "-out", self.folder / "key.pem")

    def key(self) -> dict[str, Any]:
        public = run("openssl", "pkey", "-in", self.folder / "key.pem", "-pubout").decode()
        return {"format": "dsse", "public_key": public}

    def sign(self, data: bytes, *, kind: str = IN_TOTO, **more: Any) -> bytes:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from securesystemslib.dsse import Envelope
        from securesystemslib.signer import CryptoSigner

        envelope = Envelope(data, kind, {})
        envelope.sign(CryptoSigner(load_pem_private_key((self.folder / "key.pem").read_bytes(), None)))  # type: ignore[arg-type]
        return json.dumps(envelope.to_dict()).encode()


class DsseEd25519(Dsse):
    name, options = "dsse Ed25519", EDWARDS


class Sigstore(Signer):
    name, part = "sigstore", "openssl"

    def make(self) -> None:
        self.world = World()

    def key(self) -> dict[str, Any]:
        root = self.world.trusted_root()
        return {"format": "sigstore", "public_key": root, "identity": IDENTITY, "issuer": ISSUER}

    def sign(
        self,
        data: bytes,
        *,
        identity: str = IDENTITY,
        issuer: str = ISSUER,
        at: dt.datetime | None = None,
        **more: Any,
    ) -> bytes:
        when = at or dt.datetime.now(dt.UTC)
        if self.inline:
            return self.world.envelope(data, identity, issuer, when, more.get("kind", IN_TOTO))
        return self.world.sign(data, identity, issuer, when)


class SigstoreDsse(Sigstore):
    name, inline = "sigstore DSSE", True


def b64url(data: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Jws(Openssl):
    """A detached JWS, put together by hand and signed by openssl."""

    name, options, signing, algorithm = (
        "jws PS256",
        RSA_2048,
        ("-sha256", *PSS, "-sigopt", "rsa_pss_saltlen:32"),
        "PS256",
    )

    def key(self) -> dict[str, Any]:
        return {"format": "jws", "public_key": self.public()}

    def sign(self, data: bytes, *, head: dict[str, Any] | None = None, **more: Any) -> bytes:
        header = b64url(json.dumps(head or {"alg": self.algorithm}).encode())
        return header + b".." + b64url(super().sign(header + b"." + b64url(data), **more))


class JwsEdDsa(Jws):
    name, options, signing, algorithm = "jws EdDSA", EDWARDS, ("-rawin",), "EdDSA"


class JwsUnencoded(Jws):
    """RFC 7797, with PyJWT."""

    name, options, algorithm = "jws b64=false", P256, "ES256"

    def sign(self, data: bytes, **more: Any) -> bytes:
        from jwt import PyJWS

        secret = (self.folder / "key.pem").read_text()
        return PyJWS().encode(data, secret, self.algorithm, is_payload_detached=True).encode()


SIGNERS: tuple[type[Signer], ...] = (
    *(Minisign, MinisignLegacy, Signify, SignifyEmbedded),
    *(Ed25519, PemEd25519, PemP256, PemP384, PemRsa, PemRsa512, X509, X509Ed25519, X509Authority),
    *(Cms, CmsPem, OpenSsh, OpenSshRsa, OpenSshEcdsa),
    *(Gpg, GpgBinary, GpgText, GpgClear, Sequoia),
    *(Dsse, DsseEd25519, Sigstore, SigstoreDsse, Jws, JwsEdDsa, JwsUnencoded),
)


@dataclass
class Bench:
    """Signers by name and kind, made when they are first asked for."""

    folder: Path

    def __post_init__(self) -> None:
        self._made: dict[tuple[str, str], Any] = {}

    def signer(self, kind: type[Signer], who: str = "first") -> Any:
        """A signer, the same one for the same name."""
        return self.once(kind.name, who, lambda: kind(self.folder / kind.__name__ / who))

    def once(self, name: str, what: str, make: Callable[[], Any]) -> Any:
        """Anything that is made once."""
        if (name, what) not in self._made:
            self._made[name, what] = make()
        return self._made[name, what]
