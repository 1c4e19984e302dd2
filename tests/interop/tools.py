"""What all signers share: running a real tool, and openssl's keys with plain signatures."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, ClassVar

IDENTITY, OTHER_IDENTITY = "data@example.org", "mallory@example.org"
NAMESPACE, OTHER_NAMESPACE = "assay-delivery", "git"
ISSUER, OTHER_ISSUER = "https://idp.example.org", "https://idp.example.net"
IN_TOTO = "application/vnd.in-toto+json"


def run(*command: str | Path, stdin: bytes | None = None, **more: Any) -> bytes:
    """Run a tool that must succeed; what it printed."""
    done = subprocess.run(
        [str(each) for each in command], input=stdin, capture_output=True, check=False, **more
    )
    assert done.returncode == 0, (
        command,
        done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )
    return done.stdout


class Signer:
    """One publisher's key of one format.

    Attributes:
        name: The column in the table.
        part: Marker of the tool that a machine may lack.
        inline: Whether the signature carries what it signs.
        text: Whether the signature is over text, so that line ends are not part of what is signed.
    """

    name: ClassVar[str]
    part: ClassVar[str]
    inline: ClassVar[bool] = False
    text: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.make()

    def make(self) -> None:
        """Make the key."""
        raise NotImplementedError

    def key(self) -> dict[str, Any]:
        """The public key as a contract lists it."""
        raise NotImplementedError

    def sign(self, data: bytes, **more: Any) -> bytes:
        """A signature file over these bytes."""
        raise NotImplementedError

    def certificate(self) -> bytes | None:
        """What is delivered beside the signature, for keys under an authority."""
        return None

    def file(self, data: bytes) -> Path:
        """The data in a file, for tools that want one."""
        path = self.folder / "data"
        path.write_bytes(data)
        return path


class Openssl(Signer):
    """A key of openssl's and plain signatures."""

    part = "openssl"
    options: ClassVar[tuple[str, ...]]
    signing: ClassVar[tuple[str, ...]]
    digest: ClassVar[str | None] = None

    def make(self) -> None:
        run("openssl", "genpkey", *self.options, "-out", self.folder / "key.pem")

    def public(self) -> str:
        return run("openssl", "pkey", "-in", self.folder / "key.pem", "-pubout").decode()

    def key(self) -> dict[str, Any]:
        pinned = {} if self.digest is None else {"digest": self.digest}
        return {"format": "pem", "public_key": self.public(), **pinned}

    def sign(self, data: bytes, *, signing: tuple[str, ...] | None = None, **more: Any) -> bytes:
        how = self.signing if signing is None else signing
        if "-rawin" in how:
            return run(
                "openssl", "pkeyutl", "-sign", *how, "-inkey", self.folder / "key.pem", "-in", self.file(data)
            )
        return run("openssl", "dgst", *how, "-sign", self.folder / "key.pem", self.file(data))


PSS = ("-sigopt", "rsa_padding_mode:pss")
EDWARDS = ("-algorithm", "ed25519")
P256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
P384 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
RSA_2048 = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
