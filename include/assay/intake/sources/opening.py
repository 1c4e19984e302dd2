"""From a location, as a person or a contract writes it, to the place that it names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from assay.contract import Bounds, Source
from assay.intake.errors import LocationError
from assay.intake.sources.base import Deadline, Place, Transfer


def open_place(
    location: str,
    deadline: Deadline,
    transfer: Transfer | None = None,
    *,
    source: Source | None = None,
    bounds: Bounds | None = None,
    work: Path | None = None,
) -> Place:
    """The place of a delivery: a path, or a `file://`, `http(s)://`, `s3://`, `sftp://` or `sql://` URI.

    Args:
        location: The path or URI.
        deadline: When all must have been read.
        transfer: How patient to be with a network.
        source: The source that it is of, whose transport, credentials and query count.
        bounds: The contract's limits; its defaults if not given.
        work: Scratch space of this machine; parts of large files are kept there for another run.

    Raises:
        LocationError: Nothing is there, it is no folder, or the scheme is another.
        CredentialsMissing: The contract names credentials that are not in the environment.
    """
    scheme = location.partition("://")[0].lower() if "://" in location else ""
    transfer = transfer or Transfer()
    bounds = bounds or Bounds()
    if scheme in {"http", "https"}:
        if source is not None and source.api is not None:
            from assay.intake.sources.api import ApiPlace

            return ApiPlace(location, deadline, transfer, source, bounds, work)
        from assay.intake.sources.http import HttpPlace

        return HttpPlace(location, deadline, transfer, source, None if work is None else work / "parts")
    if scheme == "s3":
        from assay.intake.sources.s3 import S3Place

        return S3Place(location, deadline, transfer, source)
    if scheme == "sftp":
        from assay.intake.sources.sftp import SftpPlace

        return SftpPlace(location, deadline, transfer, source)
    if scheme == "sql":
        from assay.intake.sources.sql import SqlPlace

        return SqlPlace(location, deadline, source, bounds, work)
    from assay.intake.sources.folder import FolderPlace

    if scheme == "file":
        parts = urlsplit(location)
        if parts.netloc not in {"", "localhost"}:
            raise LocationError(
                f"{location} names another machine",
                expected="file:///absolute/path",
                next_step="mount that machine's folder here, or serve it with https",
            )
        return FolderPlace(unquote(parts.path), deadline)
    if scheme:
        raise LocationError(
            f"deliveries cannot be read from {scheme}://",
            expected="a folder, or file://, http(s)://, s3://, sftp:// or sql://",
            found=location.partition("?")[0],
            next_step="copy the delivery to a folder and name that",
        )
    return FolderPlace(location, deadline)


def normal(location: str) -> str:
    """A location in a form that can be compared: absolute paths as file:// URIs, folders without their last slash."""
    if "://" not in location:
        location = Path(os.path.abspath(os.path.expanduser(location))).as_uri()
    elif location.startswith("file://localhost/"):
        location = "file://" + location.removeprefix("file://localhost")
    return location.rstrip("/")
