"""A delivery in a bucket of S3, or of another service that speaks it: every object as it was at first."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from assay.contract import Source
from assay.contract.transport import Transport
from assay.intake.errors import (
    CredentialsMissing,
    LocationError,
    NotThere,
    SourceRefused,
    SourceUnreachable,
)
from assay.intake.sources.base import (
    CHUNK,
    Deadline,
    Listing,
    Sink,
    T,
    Transfer,
    metered,
    too_large,
    too_many_files,
)
from assay.intake.sources.network import Pace, credentials_of, pause

_MOST_PINNED = 1_000_000
_GONE = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404", "NotFound"})
_CHANGED = frozenset({"PreconditionFailed", "412"})
_NOT_LISTED = frozenset({"AccessDenied", "NotImplemented", "MethodNotAllowed", "403", "405", "501"})


@dataclass(frozen=True)
class _Pin:
    """One object as it was at first: its size in bytes, ETag, and version where the bucket keeps versions."""

    size: int
    etag: str
    version: str | None


class S3Place:
    """A prefix of a bucket.

    The bucket is listed once, before the first object is read; each object is then read in the version (or, where the
    bucket keeps none, under the condition of the ETag) of that listing, so that all files are of one moment.

    Args:
        uri: `s3://bucket/prefix/`.
        deadline: When all must be over.
        transfer: How patient to be.
        source: Whose contract counts.

    Raises:
        LocationError: The URI names no bucket.
        CredentialsMissing: The contract names credentials that are not in the environment.
    """

    def __init__(self, uri: str, deadline: Deadline, transfer: Transfer, source: Source | None) -> None:
        parts = urlsplit(uri)
        if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
            raise LocationError(
                "the address names no bucket",
                expected="s3://bucket/prefix/",
                found=uri.partition("?")[0].rpartition("@")[2],
                next_step="correct the address; credentials come from a connection or the environment",
            )
        self._bucket = parts.netloc
        self._prefix = parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        self.shown = f"s3://{self._bucket}/{self._prefix}"
        self.made = False
        self.vouched: str | None = None
        settings = Transport() if source is None else source.transport
        self.at_once = settings.at_once
        self._deadline = deadline
        self._transfer = transfer
        self._pace = Pace(deadline, settings.requests_per_second, settings.bytes_per_second)
        self._client = _client(settings, source, transfer)
        self._pins: dict[str, _Pin] | None = None
        self._over = False
        self._lock = threading.Lock()

    def fetch(self, path: str, limit: int, sink: Sink[T]) -> T:
        """See `Place.fetch`."""
        what = f"{path} at {self.shown}"
        pin = self._pinned(_MOST_PINNED).get(path)
        if pin is None:
            raise NotThere(
                f"the bucket has no {what}",
                expected="the object",
                found="nothing of that name when the bucket was listed",
                next_step="check the address, and that the publisher has delivered",
            )
        if pin.size > limit:
            raise too_large(what, limit, pin.size)
        with contextlib.closing(self._chunks(path, pin, what)) as chunks:
            return sink(metered(chunks, limit, what, self._deadline))

    def listing(self, most: int) -> Listing:
        """See `Place.listing`."""
        pins = self._pinned(most)
        if len(pins) > most:
            raise too_many_files(self.shown, most)
        return Listing({path: pin.size for path, pin in pins.items()})

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _chunks(self, path: str, pin: _Pin, what: str) -> Generator[bytes, None, None]:
        """The object's bytes; what broke off is asked for from there on, for the version cannot have changed."""
        which = {"IfMatch": pin.etag} if pin.version is None else {"VersionId": pin.version}
        done, attempt = 0, 0
        while True:
            try:
                self._pace.request()
                more = {"Range": f"bytes={done}-"} if done else {}
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + path, **which, **more
                )
                if answer["ContentLength"] != pin.size - done:
                    raise OSError("the object's length is another one than listed")
                with contextlib.closing(answer["Body"]) as body:
                    for chunk in body.iter_chunks(CHUNK // 16):
                        self._pace.took(len(chunk))
                        done += len(chunk)
                        yield chunk
                return
            except Exception as error:  # noqa: BLE001 - the client library's families have no common base
                trouble = self._judged(error, what)
            attempt += 1
            if attempt >= self._transfer.attempts:
                raise _unreachable(what, trouble, attempt)
            time.sleep(min(pause(self._transfer, attempt - 1), self._deadline.remaining))
            self._deadline.check(what)

    def _pinned(self, most: int) -> dict[str, _Pin]:
        with self._lock:
            attempt = 0
            while self._pins is None:
                self._deadline.check(f"the listing of {self.shown}")
                try:
                    self._pins = self._listed(most)
                except Exception as error:
                    trouble = self._judged(error, f"the listing of {self.shown}")
                    attempt += 1
                    if attempt >= self._transfer.attempts:
                        raise _unreachable(f"the listing of {self.shown}", trouble, attempt) from error
                    time.sleep(min(pause(self._transfer, attempt - 1), self._deadline.remaining))
            return self._pins

    def _listed(self, most: int) -> dict[str, _Pin]:
        from botocore.exceptions import ClientError

        try:
            versions = self._pages("list_object_versions", "Versions", most)
        except ClientError as error:
            if _code(error) not in _NOT_LISTED:
                raise
            versions = {}
        if versions and all(pin.version for pin in versions.values()):
            return versions
        # Not every service gives in a listing of versions the ETag that it later compares with.
        plain = self._pages("list_objects_v2", "Contents", most)
        return plain | {path: pin for path, pin in versions.items() if pin.version and path in plain}

    def _pages(self, operation: str, field: str, most: int) -> dict[str, _Pin]:
        pins: dict[str, _Pin] = {}
        for page in self._client.get_paginator(operation).paginate(Bucket=self._bucket, Prefix=self._prefix):
            self._deadline.check(f"the listing of {self.shown}")
            for each in page.get(field, ()):
                path = each["Key"].removeprefix(self._prefix)
                if not each.get("IsLatest", True) or not path or (path.endswith("/") and not each["Size"]):
                    continue  # an older version, or what stands for an empty folder
                version = each.get("VersionId")
                pins[path] = _Pin(each["Size"], each["ETag"], None if version in {None, "null"} else version)
                if len(pins) > most:
                    raise too_many_files(self.shown, most)
        return pins

    def _judged(self, error: Exception, what: str) -> str:
        """What went wrong, if another attempt may mend it; else raises."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PaginationError
        from urllib3.exceptions import HTTPError

        self._deadline.check(what)
        if isinstance(error, NoCredentialsError):
            raise CredentialsMissing(
                f"there are no credentials for {self.shown}",
                next_step="name an Airflow connection in the source's transport.connection, or set AWS_PROFILE or "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where Assay runs",
            ) from error
        if isinstance(error, PaginationError):
            raise SourceRefused(
                f"{what} goes round in circles", next_step="ask who runs the service"
            ) from None
        if not isinstance(error, ClientError):
            if isinstance(error, BotoCoreError | HTTPError | OSError):
                return f"{type(error).__name__}: {str(error)[:200]}"
            raise error
        code, status = _code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _CHANGED:
            raise SourceRefused(
                f"{what} was replaced while the delivery was read",
                expected="the object that was there when the bucket was listed",
                found="another one",
                next_step="run the same command again once the publisher has finished",
            ) from None
        if code in _GONE:
            raise NotThere(
                f"the bucket has no {what}",
                expected="the object",
                found=code,
                next_step="check the address, and that the publisher has delivered",
            ) from None
        if status >= 500 or status in {408, 429} or code in {"SlowDown", "RequestTimeout"}:
            return f"the service answered {status} {code}"
        raise SourceRefused(
            f"the service does not give {what}",
            found=f"{status} {code}",
            next_step="check the address and the credentials",
        ) from None


def _client(settings: Transport, source: Source | None, transfer: Transfer) -> Any:
    import boto3
    from botocore.config import Config

    found = credentials_of(source)
    extra = {} if found is None else found.extra
    session = boto3.session.Session(
        aws_access_key_id=None if found is None else found.user,
        aws_secret_access_key=None if found is None else found.password,
        aws_session_token=extra.get("aws_session_token") or extra.get("token"),
        region_name=settings.region or extra.get("region_name"),
    )
    endpoint = settings.endpoint or extra.get("endpoint_url")
    return session.client(
        "s3",
        endpoint_url=endpoint,
        region_name=settings.region or extra.get("region_name") or ("us-east-1" if endpoint else None),
        config=Config(
            connect_timeout=transfer.connect,
            read_timeout=transfer.read,
            retries={"max_attempts": 0, "mode": "standard"},
            max_pool_connections=settings.at_once + 1,
            s3={"addressing_style": "path"} if endpoint else {},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _unreachable(what: str, trouble: str, attempts: int) -> SourceUnreachable:
    return SourceUnreachable(
        f"{what} could not be fetched",
        expected="an answer",
        found=f"{trouble} (asked {attempts} times)",
        state="nothing was registered",
        next_step="check the address, then run the same command again",
    )
