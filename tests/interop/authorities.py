"""Signers with certificates, plain and in CMS, and the authorities that issue them: all openssl's."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any, ClassVar

from tests.interop.tools import EDWARDS, IDENTITY, P256, PSS, RSA_2048, Openssl, run

_LEAF = (
    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
    "extendedKeyUsage={usage}\nsubjectAltName={names}\n"
)
_AUTHORITY = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
_DAY = "%Y%m%d%H%M%SZ"


class Authority:
    """A certificate authority of openssl's, with one authority between it and its signers."""

    def __init__(self, folder: Path, options: tuple[str, ...] = P256) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.options = folder, options
        run("openssl", "genpkey", *options, "-out", folder / "root.key")
        run(
            *("openssl", "req", "-new", "-x509", "-key", folder / "root.key", "-subj", "/O=Example/CN=Root"),
            *("-days", "30", "-out", folder / "root.pem"),
        )
        self.issue("between", _AUTHORITY, by="root", subject="/O=Example/CN=Issuing")

    def issue(
        self,
        name: str,
        extensions: str,
        *,
        by: str = "between",
        subject: str = "/O=Example/CN=Data",
        since: dt.timedelta = dt.timedelta(days=-1),
        until: dt.timedelta = dt.timedelta(days=9),
        digest: str = "-sha256",
    ) -> Path:
        """Issue a certificate; the key lies beside it."""
        folder, now = self.folder, dt.datetime.now(dt.UTC)
        run("openssl", "genpkey", *self.options, "-out", folder / f"{name}.key")
        run(
            *("openssl", "req", "-new", "-key", folder / f"{name}.key", "-subj", subject),
            *("-out", folder / f"{name}.csr"),
        )
        (folder / f"{name}.ext").write_text(extensions)
        settings = folder / "ca.cnf"
        settings.write_text(
            f"[ca]\ndefault_ca=x\n[x]\ndatabase={folder}/index\nserial={folder}/serial\nnew_certs_dir={folder}\n"
            "policy=p\nunique_subject=no\n[p]\norganizationName=optional\ncommonName=optional\n"
        )
        (folder / "index").touch()
        (folder / "serial").write_text(os.urandom(8).hex())
        run(
            *("openssl", "ca", "-batch", "-notext", "-config", settings, "-md", digest.removeprefix("-")),
            *("-cert", folder / f"{by}.pem", "-keyfile", folder / f"{by}.key", "-in", folder / f"{name}.csr"),
            *("-startdate", (now + since).strftime(_DAY), "-enddate", (now + until).strftime(_DAY)),
            *("-extfile", folder / f"{name}.ext", "-out", folder / f"{name}.pem"),
        )
        return folder / f"{name}.pem"

    def leaf(
        self, name: str = "leaf", identity: str = IDENTITY, usage: str = "codeSigning", **more: Any
    ) -> Path:
        """Issue a signer's certificate."""
        return self.issue(name, _LEAF.format(usage=usage, names=f"email:{identity}"), **more)

    def text(self, *names: str) -> str:
        """Certificates by name, as one PEM file."""
        return "".join((self.folder / f"{name}.pem").read_text() for name in names)


class X509(Openssl):
    """The signer's own certificate is pinned, with those above it."""

    name, options, signing, usage = "x509 leaf", P256, ("-sha256",), "codeSigning"
    pinned: ClassVar[tuple[str, ...]] = ("leaf", "between", "root")

    def make(self) -> None:
        self.authority = Authority(self.folder, self.options)
        self.become()

    def become(self, **more: Any) -> None:
        """Get a certificate, and sign with it from now on."""
        self.authority.leaf(**{"usage": self.usage, **more})
        (self.folder / "key.pem").write_bytes((self.folder / "leaf.key").read_bytes())

    def key(self) -> dict[str, Any]:
        pinned = {} if self.digest is None else {"digest": self.digest}
        return {
            "format": "x509",
            "public_key": self.authority.text(*self.pinned),
            "identity": f"email:{IDENTITY}",
            **pinned,
        }


class X509Ed25519(X509):
    name, options, signing = "x509 Ed25519", EDWARDS, ("-rawin",)


class X509Authority(X509):
    """The authority is pinned, and the signer's certificate is delivered."""

    name, options, signing, digest = "x509 CA", RSA_2048, ("-sha512", *PSS), "sha512"
    pinned = ("root",)

    def certificate(self) -> bytes | None:
        return self.authority.text("leaf", "between").encode()


class Cms(X509):
    """CMS under a pinned authority; the signature carries the certificates."""

    name, options, usage = "cms", P256, "emailProtection"
    pinned = ("root",)
    form: ClassVar[str] = "DER"

    def key(self) -> dict[str, Any]:
        return {**super().key(), "format": "cms", "purpose": "email_protection"}

    def sign(self, data: bytes, *, more: tuple[str, ...] = ("-md", "sha256"), **_: Any) -> bytes:
        return run(
            *("openssl", "cms", "-sign", "-binary", "-in", self.file(data), "-outform", self.form, *more),
            *("-signer", self.folder / "leaf.pem", "-inkey", self.folder / "leaf.key"),
            *("-certfile", self.folder / "between.pem"),
        )


class CmsPem(Cms):
    """CMS as PEM, with the signer's own certificate pinned."""

    name, options, form, pinned = "cms PEM", RSA_2048, "PEM", ("leaf", "between", "root")
