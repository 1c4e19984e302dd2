"""How a source is reached: hosts, speed, credentials by name, and what is asked of databases and web services."""

from __future__ import annotations

import base64
import re
from typing import Literal, Self

from pydantic import Field, model_validator

from assay.contract.base import Complaint, Model

CREDENTIAL = re.compile(r"ASSAY_CREDENTIAL_[A-Z0-9_]{1,64}")
"""Environment variables that a contract may name: no other secret of the environment can be sent anywhere by one."""

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,62})(\.[a-z0-9]([a-z0-9-]{0,62}))*")
_HOST_KEY = re.compile(
    r"(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) ([A-Za-z0-9+/]{40,2000}={0,2})( .*)?"
)


class Credentials(Model):
    """Names of environment variables that hold a source's credentials; never the credentials themselves."""

    user: str | None = Field(default=None, description="Variable with the user's name, or S3 access key.")
    password: str | None = Field(default=None, description="Variable with the password, or S3 secret key.")
    token: str | None = Field(
        default=None, description="Variable with a bearer token (http) or a session token (S3)."
    )

    @model_validator(mode="after")
    def _named_for_it(self) -> Self:
        for field, name in (("user", self.user), ("password", self.password), ("token", self.token)):
            if name is not None and not CREDENTIAL.fullmatch(name):
                raise Complaint(
                    f"{name!r} is not a variable that a contract may name",
                    fix="name one that begins with ASSAY_CREDENTIAL_, and set it where Assay runs",
                    at=(field,),
                )
        return self


class Transport(Model):
    """How a source is reached, and how hard it may be asked."""

    connection: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,249}$",
        description="Id of the Airflow connection with the credentials, from the variable AIRFLOW_CONN_<ID>.",
    )
    credentials: Credentials | None = Field(
        default=None, description="Instead of `connection`: named variables."
    )
    at_once: int = Field(default=4, ge=1, le=32, description="Files that are fetched at the same time.")
    requests_per_second: float | None = Field(default=None, gt=0, description="Most requests per second.")
    bytes_per_second: int | None = Field(
        default=None, gt=0, description="Most bytes per second, all files together."
    )
    redirect_hosts: tuple[str, ...] = Field(
        default=(),
        max_length=32,
        description="http(s): other hosts that files may be redirected to, over https; none: redirects stay on the "
        "source's own host.",
    )
    host_key: str | None = Field(
        default=None,
        description="sftp: the server's key as in known_hosts without the name, e.g. `ssh-ed25519 AAAA...`.",
    )
    endpoint: str | None = Field(default=None, description="s3: address of another S3 service than Amazon's.")
    region: str | None = Field(
        default=None, pattern=r"^[a-z0-9-]{1,64}$", description="s3: the bucket's region."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.connection is not None and self.credentials is not None:
            raise Complaint(
                "connection and credentials both stand there", fix="keep one of the two", at=("credentials",)
            )
        for number, host in enumerate(self.redirect_hosts):
            if not _HOST.fullmatch(host):
                raise Complaint(
                    f"{host!r} is no host's name",
                    fix="write e.g. cdn.example.org",
                    at=("redirect_hosts", number),
                )
        if self.host_key is not None and not _HOST_KEY.fullmatch(self.host_key):
            raise Complaint(
                "the host key cannot be read",
                fix="write its type and base64 text, as `ssh-keyscan -t ed25519 HOST` prints them, without the name",
                at=("host_key",),
            )
        if self.endpoint is not None and not re.fullmatch(r"https?://[^/@\s?#]+/?", self.endpoint):
            raise Complaint(
                "the endpoint is no address of a service", fix="write https://host[:port]", at=("endpoint",)
            )
        return self


class Query(Model):
    """One SQL query, whose rows are the delivery."""

    query: str = Field(
        min_length=1,
        max_length=100_000,
        description="One SELECT; with an ORDER BY over a key the same rows make the same delivery.",
    )
    isolation: Literal["repeatable_read", "serializable"] = Field(
        default="repeatable_read", description="Isolation of the one read-only transaction that it runs in."
    )
    file: str = Field(
        default="rows.parquet",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.parquet$",
        description="The file's name.",
    )


class MessageKey(Model):
    """The key with which a programming interface signs its answers (RFC 9421)."""

    key_id: str = Field(min_length=1, max_length=256, description="The `keyid` of its signatures.")
    algorithm: Literal["ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512"] = "ed25519"
    public_key: str = Field(
        min_length=1, max_length=1 << 14, description="PEM, or for ed25519 base64 of the 32 bytes."
    )

    def pem(self) -> bytes:
        """The key as PEM.

        Raises:
            Complaint: It cannot be read.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

        try:
            if self.public_key.lstrip().startswith("-----BEGIN"):
                key = load_pem_public_key(self.public_key.encode())
            else:
                key = Ed25519PublicKey.from_public_bytes(base64.b64decode(self.public_key, validate=True))
        except ValueError:
            raise Complaint(
                "the public key cannot be read",
                fix="write PEM, or for ed25519 base64 of 32 bytes",
                at=("public_key",),
            ) from None
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        self.pem()
        return self


class Pages(Model):
    """A programming interface that gives records as JSON, page by page; the records are the delivery."""

    records: str = Field(
        default="",
        max_length=256,
        description="Where a page has its list: names joined by dots; none: it is the list.",
    )
    paging: Literal["none", "link", "cursor", "page", "offset"] = Field(
        default="none",
        description="How the next page is named: a Link header with rel=next, a cursor in the page, a page number, or "
        "the number of records that came so far.",
    )
    parameter: str | None = Field(
        default=None, max_length=64, description="Query parameter of the cursor, page number or offset."
    )
    cursor: str | None = Field(
        default=None, max_length=256, description="Where a page has the next page's cursor."
    )
    first: int = Field(default=1, ge=0, description="Number of the first page.")
    max_pages: int = Field(default=10_000, gt=0, le=10_000_000)
    max_page_bytes: int = Field(default=64 << 20, gt=0, le=1 << 30)
    signed_by: MessageKey | None = Field(
        default=None, description="Key that every answer must be signed with."
    )
    file: str = Field(
        default="records.jsonl",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.jsonl$",
        description="The file's name.",
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.paging in {"cursor", "page", "offset"} and not self.parameter:
            raise Complaint(
                f"paging by {self.paging} needs the name of its query parameter",
                fix="add e.g. `parameter: page`",
                at=("parameter",),
            )
        if (self.paging == "cursor") != (self.cursor is not None):
            raise Complaint(
                "a cursor belongs to paging by cursor, and paging by cursor needs one",
                fix="write e.g. `paging: cursor, cursor: meta.next, parameter: after`",
                at=("cursor",),
            )
        return self
