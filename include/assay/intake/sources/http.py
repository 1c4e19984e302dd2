"""A delivery in a folder of an http(s) server: streamed, bounded, retried, resumed, and never led astray."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

import httpx

from assay import __version__
from assay.contract import Source
from assay.contract.transport import Transport
from assay.errors import AssayError
from assay.intake.errors import LocationError, NotThere, SourceRefused, SourceUnreachable
from assay.intake.sources.base import Deadline, Sink, T, Transfer, metered, too_large
from assay.intake.sources.network import (
    LONGEST_WAIT,
    Guard,
    GuardedTransport,
    Pace,
    credentials_of,
    entering,
    is_loopback,
    pause,
)
from assay.intake.sources.partial import Parts, Slot
from assay.settings import proxied

_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,512}"')
_PROGRESS = (
    8 << 20
)  # bytes after which an attempt that broke off does not count: a long way is allowed many stops


class Interrupted(Exception):
    """An attempt that another one may mend."""


class _StartAgain(Exception):
    """What came so far is no part of what the server has now."""


class HttpClient:
    """Asks one server, and those that its contract lets it redirect to.

    Args:
        uri: Its address.
        deadline: When all must be over.
        transfer: How patient to be.
        source: Whose contract counts.

    Raises:
        LocationError: The URI names no server.
        CredentialsMissing: The contract names credentials that are not in the environment.
    """

    def __init__(self, uri: str, deadline: Deadline, transfer: Transfer, source: Source | None) -> None:
        self.base, host = _parted(uri)
        self.deadline = deadline
        self.transfer = transfer
        self.settings = Transport() if source is None else source.transport
        self.pace = Pace(deadline, self.settings.requests_per_second, self.settings.bytes_per_second)
        self._origin = (self.base.scheme.lower(), host.lower(), self.base.port or _port(self.base.scheme))
        self._headers, self._auth = entering(self.base, credentials_of(source))
        self.base = self.base._replace(netloc=self.base.netloc.rpartition("@")[2])
        through_proxy = not is_loopback(host) and proxied(self.base.scheme.lower(), host)
        self._client = httpx.Client(
            follow_redirects=False,
            headers={"User-Agent": f"assay/{__version__}", "Accept-Encoding": "identity"},
            trust_env=through_proxy,  # proxies are for the way out, not for this machine
            transport=None if through_proxy else GuardedTransport(Guard(host), self.settings.at_once + 1),
            event_hooks={"response": [_set_location_aside]},
        )
        self._watchdog: threading.Timer | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._watchdog is not None:
                self._watchdog.cancel()
        self._client.close()

    @contextmanager
    def asking(self, url: str, what: str, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
        """One request and the redirects that it leads to; the answer's body has not been read.

        Raises:
            Interrupted: Another attempt may help.
            httpx.TransportError: Another attempt may help.
            SourceRefused: It leads to a place that the contract does not name.
            SourceTimeout: The time is over.
        """
        with self._in_time(what), contextlib.ExitStack() as held:
            for _ in range(self.transfer.redirects + 1):
                self.pace.request()
                left = max(self.deadline.remaining, 0.001)
                patience = httpx.Timeout(
                    min(self.transfer.read, left), connect=min(self.transfer.connect, left)
                )
                ours = self._same(urlsplit(url))
                response = held.enter_context(
                    self._client.stream(
                        "GET",
                        url,
                        timeout=patience,
                        headers={**(headers or {}), **(self._headers if ours else {})},
                        auth=self._auth if ours else None,
                    )
                )
                if response.status_code not in _REDIRECTS or "location" not in response.extensions:
                    yield response
                    return
                url = self._redirected(url, response.extensions["location"], what)
                held.close()
            raise SourceRefused(
                f"{what} leads from one redirect to the next",
                expected=f"at most {self.transfer.redirects}",
                next_step="name the address that it ends at in the source's uri",
            )

    def judge(self, response: httpx.Response, what: str) -> None:
        """Go on if that is the whole file.

        Raises:
            NotThere, SourceRefused: It is not, and asking again cannot help.
            Interrupted: It may.
        """
        status = response.status_code
        if status == 200:
            return
        answer = f"{status} {response.reason_phrase[:100]}".strip()
        if status in {404, 410}:
            raise NotThere(
                f"the server has no {what}",
                expected="200 OK",
                found=answer,
                next_step="check the address, and that the publisher has delivered",
            )
        if status in _TRY_AGAIN:
            told = response.headers.get("Retry-After", "")
            if told.isdigit():
                time.sleep(min(float(told), LONGEST_WAIT, self.deadline.remaining))
            raise Interrupted(f"the server answered {answer}")
        raise SourceRefused(
            f"the server does not give {what}",
            expected="200 OK",
            found=answer,
            next_step="check the address and the credentials"
            if status in {401, 403}
            else "check the address",
        )

    def unreachable(self, what: str, trouble: str) -> SourceUnreachable:
        """The error after the last attempt."""
        return SourceUnreachable(
            f"{what} could not be fetched",
            expected="an answer",
            found=f"{trouble} (asked {self.transfer.attempts} times)",
            state="nothing was registered",
            next_step="check that the address is right and the server runs, then run the same command again",
        )

    def _same(self, parts: SplitResult) -> bool:
        return (
            parts.scheme.lower(),
            (parts.hostname or "").lower(),
            parts.port or _port(parts.scheme),
        ) == self._origin

    def _redirected(self, url: str, target: str, what: str) -> str:
        try:
            absolute = urljoin(url, target)
            parts = urlsplit(absolute)
            if self._same(parts):
                return absolute
            scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
        except ValueError:
            absolute, scheme, host = "an address that cannot be read", "", ""
        if scheme in {"https", self._origin[0]} & {"http", "https"} and host in self.settings.redirect_hosts:
            return absolute
        downgrade = self._origin[0] == "https" and scheme == "http"
        raise SourceRefused(
            f"{what} redirects to another place" + (", and from https to http" if downgrade else ""),
            expected="the same scheme, host and port: {}://{}:{}".format(*self._origin)
            + "".join(f", or https://{each}" for each in self.settings.redirect_hosts),
            found=shown(absolute),
            next_step="if the publisher has moved, put the new address into the source's uri; if its files lie on "
            "another host for good, name that in the source's transport.redirect_hosts",
        )

    @contextmanager
    def _in_time(self, what: str) -> Iterator[None]:
        """Cut the connections at the deadline: the read timeout begins anew with every byte of a slow answer."""
        self.deadline.check(what)
        with self._lock:
            if self._watchdog is None:
                self._watchdog = threading.Timer(self.deadline.remaining, self._client.close)
                self._watchdog.daemon = True
                self._watchdog.start()
        try:
            yield
        except AssayError:
            raise
        except Exception:
            self.deadline.check(what)  # a connection that was cut fails in ways of its own
            raise


class HttpPlace:
    """A folder on a server. Its files cannot be listed: only those that the manifest names are ever asked for.

    Args:
        uri: Its address.
        deadline: When all must be over.
        transfer: How patient to be.
        source: Whose contract counts.
        parts: Where parts of large files are kept for another run.

    Raises:
        LocationError: The URI names no server.
        CredentialsMissing: The contract names credentials that are not in the environment.
    """

    def __init__(
        self,
        uri: str,
        deadline: Deadline,
        transfer: Transfer,
        source: Source | None = None,
        parts: Path | None = None,
    ) -> None:
        self._http = HttpClient(uri, deadline, transfer, source)
        self._base = self._http.base._replace(path=self._http.base.path.rstrip("/") + "/", fragment="")
        self._parts = Parts(parts)
        self._parts.sweep()
        self.shown = shown(urlunsplit(self._base))
        self.made = False
        self.vouched: str | None = None
        self.at_once = self._http.settings.at_once

    def fetch(self, path: str, limit: int, sink: Sink[T]) -> T:
        """See `Place.fetch`."""
        what = f"{path} at {self.shown}"
        url = urlunsplit(self._base._replace(path=self._base.path + quote(path, safe="/-._~")))
        with self._parts.of(shown(url)) as slot:
            download = _Download(self._http, url, what, limit, slot)
            while True:
                try:
                    with contextlib.closing(download.chunks()) as chunks:
                        answer = sink(metered(chunks, limit, what, self._http.deadline))
                except _StartAgain:
                    continue
                except SourceRefused:
                    slot.worth_keeping = False
                    raise
                slot.worth_keeping = False
                return answer

    def listing(self, most: int) -> None:
        """A web server cannot be asked for all it has."""

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class _Download:
    """One file on its way, over as many answers as it takes; all of them are of one version, or it begins again."""

    def __init__(self, http: HttpClient, url: str, what: str, limit: int, slot: Slot) -> None:
        self._http = http
        self._url = url
        self._what = what
        self._limit = limit
        self._attempt = 0
        self._slot = slot
        self._part = part = slot.found()
        self._etag = "" if part is None else part.etag
        self._size = 0 if part is None else part.size
        self._done = 0

    def chunks(self) -> Generator[bytes, None, None]:
        """All bytes of the file.

        Raises:
            _StartAgain: What was handed out is worth nothing: ask for the chunks anew.
        """
        self._done = 0
        if self._part is not None:
            for chunk in self._part.chunks(1 << 20):
                self._done += len(chunk)
                yield chunk
        while True:
            before = self._done
            try:
                yield from self._answer()
                return
            except (Interrupted, httpx.TransportError) as error:
                trouble = str(error) or type(error).__name__
            if self._done - before >= _PROGRESS and self._etag:
                self._attempt = 0
            self._next_attempt(trouble)
            if self._done and not self._etag:
                raise _StartAgain

    def _next_attempt(self, trouble: str) -> None:
        http = self._http
        self._attempt += 1
        if self._attempt >= http.transfer.attempts:
            raise http.unreachable(self._what, trouble)
        time.sleep(min(pause(http.transfer, self._attempt - 1), http.deadline.remaining))

    def _answer(self) -> Generator[bytes, None, None]:
        asked = {"Range": f"bytes={self._done}-", "If-Range": self._etag} if self._done else {}
        with self._http.asking(self._url, self._what, asked) as response:
            if self._done:
                self._check_rest(response)
            else:
                self._check_whole(response)
            # Raw: a Content-Encoding is not undone. The digests are over files as they lie on the server.
            for chunk in response.iter_raw():
                self._http.pace.took(len(chunk))
                self._done += len(chunk)
                if self._part is not None:
                    self._part.add(chunk)
                yield chunk
        if self._size and self._done != self._size:
            raise Interrupted(f"the answer ended after {self._done} of {self._size} bytes")

    def _check_whole(self, response: httpx.Response) -> None:
        self._http.judge(response, self._what)
        announced = response.headers.get("Content-Length", "")
        length = int(announced) if announced.isdigit() and len(announced) < 20 else 0
        if length > self._limit:
            raise too_large(self._what, self._limit, length)
        etag = response.headers.get("ETag", "")
        resumable = bool(length and _STRONG.fullmatch(etag))
        self._etag, self._size = (etag, length) if resumable else ("", 0)
        self._part = self._slot.begin(etag, length) if resumable else None

    def _check_rest(self, response: httpx.Response) -> None:
        """Whether that is the rest of what has come: the same version, from the right byte to the end."""
        if response.status_code in {200, 206, 416}:
            tag = response.headers.get("ETag", self._etag)
            says = response.headers.get("Content-Range", "")
            right = f"bytes {self._done}-{self._size - 1}/{self._size}"
            if response.status_code == 206 and says == right and tag == self._etag:
                return
            self._part, self._etag, self._size = None, "", 0
            self._next_attempt(
                "the server has another version than before, or gives another part than asked for"
            )
            raise _StartAgain
        self._http.judge(response, self._what)


def shown(uri: str) -> str:
    """An address without user, password and query, which may hold secrets."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "an address that cannot be read"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _parted(uri: str) -> tuple[SplitResult, str]:
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
        httpx.URL(uri)
    except (ValueError, httpx.InvalidURL):
        parts, host = urlsplit(""), None
    if not host:
        raise LocationError(
            "the address names no server",
            expected="http(s)://host[:port]/folder/",
            found=uri.partition("?")[0].rpartition("@")[2],
            next_step="correct the address",
        )
    return parts, host


def _set_location_aside(response: httpx.Response) -> None:
    """Keep a redirect's target from httpx, which reads it even where it is not to follow it, and fails on bad ones."""
    if "Location" in response.headers:
        response.extensions["location"] = response.headers.pop("Location")


def _port(scheme: str) -> int:
    return 443 if scheme.lower() == "https" else 80
