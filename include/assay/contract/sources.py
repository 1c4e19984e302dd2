"""The contract's part on deliveries: where they come from, how new they must be, and how large they may be."""

from __future__ import annotations

import datetime as dt
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from assay.contract.base import Complaint, Identifier, Model
from assay.contract.durations import Duration

SOURCE_SCHEMES = ("file", "http", "https")
"""Schemes of a source's URI; one without a scheme is a local path."""


class Source(Model):
    """One place that a publisher delivers from."""

    id: Identifier
    publisher: Identifier
    uri: str = Field(min_length=1, description="Local path, file:// or http(s):// folder; ends in /.")
    manifest: str = "SHA256SUMS"
    signature: str | None = Field(default=None, description="File name of the signature over the manifest.")
    on_repeat: Literal["reject", "skip"] = Field(
        default="reject",
        description="What an unchanged, already admitted delivery means: a replay, or just nothing new.",
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
        if parts is not None and parts.scheme == "http" and not self.signature:
            raise Complaint(
                "plain http without a signature: anyone on the way could change the data",
                fix="name the signature file in `signature`, or use https",
                at=("uri",),
            )
        for field, name in (("manifest", self.manifest), ("signature", self.signature)):
            if name is not None and (not name or "/" in name or "\\" in name or name in {".", ".."}):
                raise Complaint(
                    f"{name!r} is not a plain file name",
                    fix="name a file that lies in the delivery itself",
                    at=(field,),
                )
        if self.signature == self.manifest:
            raise Complaint(
                "manifest and signature are the same file", fix="name each file", at=("signature",)
            )
        return self


class Freshness(Model):
    """How new a delivery must be. Sequence or date come from what is signed."""

    when_absent: Literal["not_checked", "accept"] = Field(
        default="not_checked",
        description="What a delivery without a signed sequence or date means; `accept`: its digest is enough.",
    )
    max_age: Duration | None = Field(default=None, description="Oldest acceptable signed date, e.g. 7d.")


class Bounds(Model):
    """Limits on what is read from an untrusted delivery."""

    max_bytes: int = Field(default=20 * 2**30, gt=0)
    max_files: int = Field(default=10_000, gt=0)
    max_rows: int = Field(default=100_000_000, gt=0)
    max_columns: int = Field(default=20_000, gt=0)
    max_string_bytes: int = Field(default=1 << 20, gt=0)
    max_ratio: float = Field(default=1000.0, gt=1, description="Decompressed to compressed size.")
    timeout: Duration = dt.timedelta(minutes=10)
