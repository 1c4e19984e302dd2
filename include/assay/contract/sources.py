"""The contract's part on deliveries: where they come from, how new they must be, and how large they may be."""

from __future__ import annotations

import datetime as dt
from fnmatch import fnmatchcase
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from assay.contract.base import Complaint, Identifier, Model
from assay.contract.durations import Duration
from assay.contract.transport import Pages, Query, Transport

SOURCE_SCHEMES = ("file", "http", "https", "s3", "sftp", "sql")
"""Schemes of a source's URI; one without a scheme is a local path."""


class Signatures(Model):
    """Signatures by several keys, of which a number must count."""

    files: tuple[str, ...] = Field(min_length=1, max_length=16, description="File names of the signatures.")
    threshold: int = Field(
        default=1, ge=1, le=64, description="How many different keys of the publisher must have signed."
    )


class Source(Model):
    """One place that a publisher delivers from."""

    id: Identifier
    publisher: Identifier
    uri: str = Field(
        min_length=1,
        description="Local path, or a folder at file://, http(s)://, s3://bucket/ or sftp://host/, which ends in /; "
        "with `sql`: sql://connection/; with `api`: the https:// address of the first page.",
    )
    manifest: str = "SHA256SUMS"
    manifest_format: Literal[
        "auto", "sums", "bagit", "croissant", "frictionless", "lfs", "s3", "in-toto", "debian"
    ] = Field(default="auto", description="The manifest's format; `auto`: told by its name and content.")
    manifest_algorithm: Literal["sha256", "sha384", "sha512", "blake2b", "blake2b-256", "blake3"] | None = (
        Field(
            default=None,
            description="Algorithm of digests that do not say it, where the manifest's name does not either.",
        )
    )
    files: tuple[str, ...] = Field(
        default=(),
        description="Shell patterns of the listed files that make up a delivery, where a manifest lists more; "
        "none: all of them.",
    )
    signature: str | None = Field(
        default=None,
        description="File name of the signature over the manifest; the manifest's own name where it is inside.",
    )
    signatures: Signatures | None = Field(
        default=None, description="Instead of `signature`: several, of which a number must count."
    )
    certificate: str | None = Field(
        default=None,
        description="File name of the signer's certificates (PEM), for keys that pin an authority.",
    )
    corrections: str | None = Field(
        default=None,
        description="File name of the list of corrections to admitted rows, where a delivery has one; the manifest "
        "lists it.",
    )
    on_repeat: Literal["reject", "skip"] = Field(
        default="reject",
        description="What an unchanged, already admitted delivery means: a replay, or just nothing new.",
    )

    transport: Transport = Field(
        default=Transport(), description="How it is reached, and how hard it may be asked."
    )
    sql: Query | None = Field(default=None, description="The query whose rows are the delivery.")
    api: Pages | None = Field(default=None, description="How the pages of a programming interface are read.")
    when_unsigned: Literal["not_checked", "accept"] = Field(
        default="not_checked",
        description="What it means that nobody signed the rows of `sql` or the pages of `api`; `accept`: the word of "
        "the database or server, over the connection that stands here, is enough.",
    )

    @model_validator(mode="after")
    def _safe_transport(self) -> Self:
        parts = urlsplit(self.uri) if "://" in self.uri else None
        if parts is not None and parts.scheme not in SOURCE_SCHEMES:
            raise Complaint(
                f"sources cannot be read over {parts.scheme}",
                fix=f"use a local path or one of {', '.join(f'{each}://' for each in SOURCE_SCHEMES)}",
                at=("uri",),
            )
        if parts is not None and (parts.username or parts.password):
            raise Complaint(
                "the address carries a user name or password, and contracts are no place for secrets",
                fix="take it out; let a connection or the environment carry it",
                at=("uri",),
            )
        vouched = self.api is not None and self.api.signed_by is not None
        plain = parts is not None and (
            parts.scheme == "http" or (self.transport.endpoint or "").startswith("http://")
        )
        if plain and not self.signature_files and not vouched:
            raise Complaint(
                "plain http without a signature: anyone on the way could change the data",
                fix="name the signature file in `signature`, or use https",
                at=("uri",),
            )
        self._check_kind("" if parts is None else parts.scheme)
        self._check_names()
        return self

    def _check_kind(self, scheme: str) -> None:
        made = self.sql is not None or self.api is not None
        if (self.sql is not None) != (scheme == "sql"):
            raise Complaint(
                "a query belongs to a database, and a database needs a query",
                fix="write `uri: sql://connection/` and `sql: {query: SELECT ...}`, both or none",
                at=("sql",),
            )
        if self.api is not None and scheme not in {"http", "https"}:
            raise Complaint(
                "`api` is read over https", fix="write the https:// address in `uri`", at=("api",)
            )
        if made and (self.signature_files or self.manifest != "SHA256SUMS"):
            raise Complaint(
                "rows and pages come without files: their manifest is made when they are read",
                fix="take `manifest` and `signature` out"
                + ("" if self.api is None else "; signed answers are checked with `api.signed_by`"),
                at=("signature",),
            )
        if self.when_unsigned == "accept" and not made:
            raise Complaint(
                "only rows of `sql` and pages of `api` can be accepted unsigned",
                fix="have the publisher sign the manifest, and name the file in `signature`",
                at=("when_unsigned",),
            )
        if scheme == "sftp" and self.transport.host_key is None:
            raise Complaint(
                "sftp without the server's key: anyone on the way could be the server",
                fix="add `transport: {host_key: ssh-ed25519 AAAA...}`, as `ssh-keyscan` prints it; compare it with its "
                "owner's",
                at=("transport",),
            )

    def _check_names(self) -> None:
        if self.signature is not None and self.signatures is not None:
            raise Complaint(
                "signature and signatures both stand there", fix="keep one of the two", at=("signatures",)
            )
        signing = "signature" if self.signatures is None else "signatures"
        named = [(signing, name) for name in self.signature_files]
        for field, name in (("manifest", self.manifest), *named, ("certificate", self.certificate)):
            if name is not None and (not name or "/" in name or "\\" in name or name in {".", ".."}):
                raise Complaint(
                    f"{name!r} is not a plain file name",
                    fix="name a file that lies in the delivery itself",
                    at=(field,),
                )
        self._check_corrections()
        others = [*self.signature_files, *([] if self.certificate is None else [self.certificate])]
        if len(set(others)) != len(others) or self.certificate == self.manifest:
            raise Complaint("the same file is named twice", fix="name each file once", at=(signing,))

    def _check_corrections(self) -> None:
        name = self.corrections
        if name is None:
            return
        at = ("corrections",)
        if (
            not name.endswith(".json")
            or "/" in name
            or "\\" in name
            or name in self.own_files | {"delivery.json"}
        ):
            raise Complaint(
                f"{name!r} cannot be a correction list",
                fix="name a .json file of its own that lies in the delivery, e.g. corrections.json",
                at=at,
            )
        if not self.signature_files:
            raise Complaint(
                "a correction list counts only under a signature, and this source has none",
                fix="name the signature over the manifest in `signature`",
                at=at,
            )
        if self.files and not any(fnmatchcase(name, pattern) for pattern in self.files):
            raise Complaint(
                f"none of the patterns in `files` takes {name!r} in", fix="add its name to `files`", at=at
            )

    @property
    def signature_files(self) -> tuple[str, ...]:
        """File names of all signatures; one that is also the manifest's carries what it signs."""
        if self.signatures is not None:
            return self.signatures.files
        return () if self.signature is None else (self.signature,)

    @property
    def threshold(self) -> int:
        """How many different keys must have signed."""
        return 1 if self.signatures is None else self.signatures.threshold

    @property
    def own_files(self) -> frozenset[str]:
        """Files that speak about the delivery and are not listed in it: manifest, signatures, certificate."""
        extra = () if self.certificate is None else (self.certificate,)
        return frozenset({self.manifest, *self.signature_files, *extra})


class Freshness(Model):
    """How new a delivery must be. Sequence or date come from what is signed."""

    when_absent: Literal["not_checked", "accept"] = Field(
        default="not_checked",
        description="What a delivery without a signed sequence or date means; `accept`: its digest is enough.",
    )
    max_age: Duration | None = Field(default=None, description="Oldest acceptable signed date, e.g. 7d.")
    on_gap: Literal["accept", "hold", "reject"] = Field(
        default="hold", description="What a sequence number means that leaves out the one after the last."
    )
    interval: Duration | None = Field(
        default=None,
        description="Longest time between two deliveries of a source; a longer silence is a freeze. E.g. 1d.",
    )


class Csv(Model):
    """How CSV files are written, and what cells that a spreadsheet would run mean."""

    delimiter: str = Field(default=",", description="What separates cells: one ASCII character.")
    quote: str | None = Field(default='"', description="What encloses cells; null: nothing does.")
    encoding: str = Field(default="utf-8", description="Encoding of the text, e.g. utf-8, cp1252 or utf-16.")
    decimal: Literal[".", ","] = Field(default=".", description="The decimal sign of numbers.")
    formulas: Literal["report", "allow"] = Field(
        default="report",
        description="Texts that begin with = + - or @ and are no numbers: bad cells, or texts like others. Columns "
        "with `allowed` or `pattern` are judged by these alone.",
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        for field, sign in (("delimiter", self.delimiter), ("quote", self.quote)):
            if sign is not None and (
                len(sign) != 1 or not sign.isascii() or sign in "\r\n\0 " or sign.isalnum()
            ):
                raise Complaint(
                    f"{sign!r} cannot be a {field}",
                    fix="write one ASCII character, no letter, digit, blank or line end",
                    at=(field,),
                )
        if self.delimiter in {self.quote, self.decimal}:
            raise Complaint(
                f"{self.delimiter!r} cannot separate cells and stand in them",
                fix='use another delimiter, e.g. ";"',
                at=("delimiter",),
            )
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):
            raise Complaint(
                f"{self.encoding!r} is no encoding of text",
                fix="write e.g. utf-8 or cp1252",
                at=("encoding",),
            ) from None
        return self


class Bounds(Model):
    """Limits on what is read from an untrusted delivery."""

    max_bytes: int = Field(default=20 * 2**30, gt=0)
    max_files: int = Field(default=10_000, gt=0)
    max_rows: int = Field(default=100_000_000, gt=0)
    max_columns: int = Field(default=20_000, gt=0)
    max_string_bytes: int = Field(default=1 << 20, gt=0)
    max_nesting: int = Field(default=32, gt=0, description="Levels of objects and lists in JSON.")
    max_ratio: float = Field(default=1000.0, gt=1, description="Decompressed to compressed size.")
    timeout: Duration = dt.timedelta(minutes=10)
