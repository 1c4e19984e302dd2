"""A delivery that is the records of a paged JSON interface: every page checked before it is parsed, none read twice."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import httpx
from http_message_signatures import (
    ContentDigest,
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    MappingKeyResolver,
    algorithms,
)

from assay.contract import Bounds, Source
from assay.intake.errors import SignatureRefused, SourceRefused, TooLarge
from assay.intake.sources.base import Deadline, Transfer, metered, too_large
from assay.intake.sources.http import HttpClient, Interrupted, shown
from assay.intake.sources.made import MadePlace
from assay.intake.sources.network import pause
from assay.strictjson import strict_json

_ALGORITHMS = {
    "ed25519": algorithms.ED25519,
    "ecdsa-p256-sha256": algorithms.ECDSA_P256_SHA256,
    "ecdsa-p384-sha384": algorithms.ECDSA_P384_SHA384,
    "rsa-pss-sha512": algorithms.RSA_PSS_SHA512,
}
# Without the request's target, the answer to one page could be given as the answer to another.
_COVERED = ('"@status"', '"content-digest"', '"@target-uri";req')
_NEXT = re.compile(r'<([^<>"\s]{1,4096})>\s*((?:;[^,<>]*)?)')


class ApiPlace(MadePlace):
    """The records of all pages, one JSON object per line.

    Args:
        uri: The first page's address.
        deadline: When all must be over.
        transfer: How patient to be.
        source: How the pages are read.
        bounds: Limits on bytes, rows and nesting.
        work: Scratch space of this machine.

    Raises:
        LocationError: The URI names no server.
        CredentialsMissing: The contract names credentials that are not in the environment.
    """

    def __init__(
        self,
        uri: str,
        deadline: Deadline,
        transfer: Transfer,
        source: Source,
        bounds: Bounds,
        work: Path | None,
    ) -> None:
        assert source.api is not None
        super().__init__(shown(uri), deadline, work)
        self._http = HttpClient(uri, deadline, transfer, source)
        self._uri = urlunsplit(self._http.base)
        self._pages = source.api
        self._bounds = bounds
        self._verifier: HTTPMessageVerifier | None = None
        if (key := source.api.signed_by) is not None:
            self._verifier = HTTPMessageVerifier(
                signature_algorithm=_ALGORITHMS[key.algorithm],
                key_resolver=MappingKeyResolver(public_keys={key.key_id: key.pem()}, private_keys={}),
            )

    def close(self) -> None:
        """Close the connections, and take what was made away."""
        self._http.close()
        super().close()

    def make(self, folder: Path) -> dict[str, Any]:
        """Read page after page and write their records."""
        digests: list[str] = []
        records = 0
        seen, asked = hashlib.sha256(), set()
        url: str | None = self._numbered(self._pages.first, 0)
        with (folder / self._pages.file).open("wb") as file:
            while url is not None:
                if url in asked:
                    raise self._circle("a page names one that was read before as the next one")
                asked.add(url)
                if len(digests) >= self._pages.max_pages:
                    raise TooLarge(
                        f"{self.shown} has more pages than the contract allows",
                        expected=f"at most {self._pages.max_pages}",
                        next_step="raise api.max_pages in the source, if so many pages are right",
                    )
                body, response = self._page(url)
                digest = hashlib.sha256(body).hexdigest()
                page = self._parsed(body)
                found = self._records(page)
                if found and digest in digests[-1:]:
                    raise self._circle("the same page came twice in a row")
                digests.append(digest)
                records += len(found)
                if records > self._bounds.max_rows:
                    raise SourceRefused(
                        f"{self.shown} has more records than the contract allows",
                        expected=f"at most {self._bounds.max_rows}",
                        next_step="raise bounds.max_rows in the contract, if so many are right",
                    )
                self._write(found, file, seen)
                url = self._next(url, response, page, len(digests), records if found else -1)
        if self._pages.signed_by is not None:
            self.vouched = (
                f"all {len(digests)} answers are signed with {self._pages.signed_by.key_id} (RFC 9421)"
            )
        return {
            "made_by": "assay",
            "kind": "api",
            "from": self.shown,
            "pages": len(digests),
            "pages_sha256": digests,
            "signed_by": None if self._pages.signed_by is None else self._pages.signed_by.key_id,
            "rows": records,
            "rows_sha256": seen.hexdigest(),
            "file": self._pages.file,
        }

    # -------------------------------------------------------------------------------------------------------- one page
    def _page(self, url: str) -> tuple[bytes, httpx.Response]:
        """A page's bytes, after its digest and signature were checked."""
        what = f"a page of {self.shown}"
        trouble = ""
        for attempt in range(self._http.transfer.attempts):
            if attempt:
                time.sleep(min(pause(self._http.transfer, attempt - 1), self.deadline.remaining))
            try:
                with self._http.asking(url, what, {"Accept": "application/json"}) as response:
                    self._http.judge(response, what)
                    body = b"".join(
                        metered(self._raw(response), self._pages.max_page_bytes, what, self.deadline)
                    )
                self._check(response, body)
                return body, response
            except (Interrupted, httpx.TransportError) as error:
                trouble = str(error) or type(error).__name__
        raise self._http.unreachable(what, trouble)

    def _raw(self, response: httpx.Response) -> Iterator[bytes]:
        for chunk in response.iter_raw():
            self._http.pace.took(len(chunk))
            yield chunk

    def _check(self, response: httpx.Response, body: bytes) -> None:
        digest = response.headers.get("Content-Digest")
        if digest is not None:
            try:
                ContentDigest.verify(digest, body)
            except HTTPMessageSignaturesException as error:
                raise SourceRefused(
                    f"a page of {self.shown} is not what its Content-Digest says",
                    expected="bytes with that digest (RFC 9530), SHA-256 or SHA-512",
                    found=str(error)[:200],
                    next_step="run the same command again; if it stays so, tell who runs the service",
                ) from None
        if self._verifier is None:
            return
        try:
            self._verifier.verify(response, require_components=_COVERED, body=body)
        except (HTTPMessageSignaturesException, ValueError, KeyError, TypeError) as error:
            raise SignatureRefused(
                f"a page of {self.shown} has no signature that counts",
                reason="wrong_bytes",
                expected="a signature (RFC 9421) by the key of api.signed_by over @status, content-digest and the "
                "request's @target-uri",
                found=str(error)[:200],
                next_step="tell who runs the service; nothing was registered",
            ) from None

    def _parsed(self, body: bytes) -> Any:
        try:
            return strict_json(body, depth=self._bounds.max_nesting)
        except ValueError as error:
            raise SourceRefused(
                f"a page of {self.shown} is no JSON that can be trusted",
                expected="UTF-8, each key once, numbers that JSON has",
                found=str(error)[:200],
                next_step="tell who runs the service",
            ) from None

    def _records(self, page: Any) -> list[dict[str, Any]]:
        found = _at(page, self._pages.records)
        if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
            raise SourceRefused(
                f"a page of {self.shown} has no list of records",
                expected=f"a list of objects at {self._pages.records or 'the top'}",
                found=type(found).__name__,
                next_step="correct api.records in the source",
            )
        return found

    def _write(self, records: list[dict[str, Any]], file: BinaryIO, seen: Any) -> None:
        for record in records:
            line = (
                json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
                + b"\n"
            )
            seen.update(line)
            file.write(line)
        if file.tell() > self._bounds.max_bytes:
            raise too_large(self.shown, self._bounds.max_bytes)

    # ---------------------------------------------------------------------------------------------------- the next page
    def _next(self, url: str, response: httpx.Response, page: Any, pages: int, records: int) -> str | None:
        """The next page's address; None if there is none. `records` is -1 if this page had none."""
        paging = self._pages.paging
        if paging == "link":
            return self._linked(url, response)
        if paging == "cursor":
            cursor = _at(page, self._pages.cursor or "")
            if cursor is None or cursor == "" or cursor is False:
                return None
            if not isinstance(cursor, str | int) or len(str(cursor)) > 4096:
                raise self._circle("the cursor is no short text or number")
            return self._with(str(cursor))
        if paging == "none" or records < 0:
            return None
        return self._numbered(self._pages.first + pages, records)

    def _linked(self, url: str, response: httpx.Response) -> str | None:
        following = [
            target
            for target, parameters in _NEXT.findall(response.headers.get("Link", ""))
            if re.search(r';\s*rel\s*=\s*"?([^";]*\s)?next(\s[^";]*)?"?\s*(;|$)', parameters)
        ]
        if not following:
            return None
        target = urljoin(url, following[0])
        here, there = urlsplit(self._uri), urlsplit(target)
        if len(set(following)) > 1 or (here.scheme, here.netloc) != (there.scheme, there.netloc):
            raise SourceRefused(
                f"the next page of {self.shown} is at another place",
                expected=f"one address at {here.scheme}://{here.netloc}",
                found=shown(target),
                next_step="tell who runs the service; if it has moved, put the new address into the source's uri",
            )
        return str(urlunsplit(there._replace(fragment="")))

    def _numbered(self, page: int, records: int) -> str:
        if self._pages.paging == "page":
            return self._with(str(page))
        if self._pages.paging == "offset" and records:
            return self._with(str(records))
        return self._uri

    def _with(self, value: str) -> str:
        parts = urlsplit(self._uri)
        name = self._pages.parameter or ""
        query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k != name]
        return urlunsplit(parts._replace(query=urlencode([*query, (name, value)])))

    def _circle(self, found: str) -> SourceRefused:
        return SourceRefused(
            f"the pages of {self.shown} have no end",
            expected="each page once, and a last one",
            found=found,
            next_step="correct `api` in the source, or tell who runs the service",
        )


def _at(page: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        page = page.get(name) if isinstance(page, dict) else None
    return page
