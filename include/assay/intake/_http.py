"""A delivery in a folder of an http(s) server: streamed, bounded, retried, and never led to another server."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import httpx

from assay import __version__
from assay.errors import AssayError
from assay.intake.errors import LocationError, NotThere, SourceRefused, SourceUnreachable
from assay.intake.sources import CHUNK, Deadline, Sink, T, Transfer, metered, too_large

_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_WAIT = 10.0


class _Interrupted(Exception):
    """An attempt that another one may mend."""


class HttpPlace:
    """A folder on a server. Its files cannot be listed: only those that the manifest names are ever asked for.

    Raises:
        LocationError: The URI names no server.
    """

    def __init__(self, uri: str, deadline: Deadline, transfer: Transfer) -> None:
        try:
            parts = urlsplit(uri)
            host, port = parts.hostname, parts.port
            httpx.URL(uri)
        except (ValueError, httpx.InvalidURL):
            parts, host, port = urlsplit(""), None, None
        if not host:
            raise LocationError(
                "the address names no server",
                expected="http(s)://host[:port]/folder/",
                found=uri.partition("?")[0].rpartition("@")[2],
                next_step="correct the address",
            )
        self._base = parts._replace(path=parts.path.rstrip("/") + "/", fragment="")
        self._origin = (parts.scheme.lower(), host.lower(), port or _port(parts.scheme))
        self._deadline = deadline
        self._transfer = transfer
        self.shown = _shown(urlunsplit(self._base))
        self._client = httpx.Client(
            follow_redirects=False,
            headers={"User-Agent": f"assay/{__version__}", "Accept-Encoding": "identity"},
            trust_env=not _loopback(host),  # proxies are for the way out, not for this machine
            event_hooks={"response": [_set_location_aside]},
        )

    def fetch(self, path: str, limit: int, sink: Sink[T]) -> T:
        """See `Place.fetch`."""
        what = f"{path} at {self.shown}"
        trouble = ""
        for attempt in range(self._transfer.attempts):
            if attempt:
                time.sleep(min(self._pause(attempt), self._deadline.remaining))
            self._deadline.check(what)
            try:
                with self._watchdog(what):
                    return self._attempt(path, what, limit, sink)
            except (_Interrupted, httpx.TransportError) as error:
                trouble = str(error) or type(error).__name__
        raise SourceUnreachable(
            f"{what} could not be fetched",
            expected="an answer",
            found=f"{trouble} (asked {self._transfer.attempts} times)",
            state="nothing was registered",
            next_step="check that the address is right and the server runs, then run the same command again",
        )

    def listing(self, most: int) -> None:
        """A web server cannot be asked for all it has."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _attempt(self, path: str, what: str, limit: int, sink: Sink[T]) -> T:
        url = urlunsplit(self._base._replace(path=self._base.path + quote(path, safe="/-._~")))
        transfer = self._transfer
        for _ in range(transfer.redirects + 1):
            left = max(self._deadline.remaining, 0.001)
            patience = httpx.Timeout(min(transfer.read, left), connect=min(transfer.connect, left))
            with self._client.stream("GET", url, timeout=patience) as response:
                if response.status_code in _REDIRECTS and "location" in response.extensions:
                    url = self._redirected(url, response.extensions["location"], what)
                    continue
                self._judge(response, what)
                announced = response.headers.get("Content-Length", "")
                if announced.isdigit() and int(announced) > limit:
                    raise too_large(what, limit, int(announced))
                # Raw: a Content-Encoding is not undone. The digests are over files as they lie on the server.
                return sink(metered(response.iter_raw(CHUNK), limit, what, self._deadline))
        raise SourceRefused(
            f"{what} leads from one redirect to the next",
            expected=f"at most {transfer.redirects}",
            next_step="name the address that it ends at in the source's uri",
        )

    def _judge(self, response: httpx.Response, what: str) -> None:
        status = response.status_code
        if status == 200:
            return
        answer = f"{status} {response.reason_phrase}".strip()
        if status in {404, 410}:
            raise NotThere(
                f"the server has no {what}",
                expected="200 OK",
                found=answer,
                next_step="check the address, and that the publisher has delivered",
            )
        if status in _TRY_AGAIN:
            self._wait_as_told(response)
            raise _Interrupted(f"the server answered {answer}")
        raise SourceRefused(
            f"the server does not give {what}",
            expected="200 OK",
            found=answer,
            next_step="check the address and the credentials"
            if status in {401, 403}
            else "check the address",
        )

    def _redirected(self, url: str, target: str, what: str) -> str:
        try:
            absolute = urljoin(url, target)
            parts = urlsplit(absolute)
            origin = (parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or _port(parts.scheme))
        except ValueError:
            absolute, origin = "an address that cannot be read", ("", "", 0)
        if origin != self._origin:
            raise SourceRefused(
                f"{what} redirects to another place",
                expected="the same scheme, host and port: {}://{}:{}".format(*self._origin),
                found=_shown(absolute),
                next_step="if the publisher has moved, put the new address into the source's uri",
            )
        return absolute

    def _pause(self, attempt: int) -> float:
        return min(self._transfer.backoff * 4.0 ** (attempt - 1), _LONGEST_WAIT)

    def _wait_as_told(self, response: httpx.Response) -> None:
        told = response.headers.get("Retry-After", "")
        if told.isdigit():
            time.sleep(min(float(told), _LONGEST_WAIT, self._deadline.remaining))

    @contextmanager
    def _watchdog(self, what: str) -> Iterator[None]:
        """Cut the connections at the deadline: the read timeout begins anew with every byte of a slow answer."""
        timer = threading.Timer(self._deadline.remaining, self._client.close)
        timer.daemon = True
        timer.start()
        try:
            yield
        except AssayError:
            raise
        except Exception:
            self._deadline.check(what)  # a connection that was cut fails in ways of its own
            raise
        finally:
            timer.cancel()


def _set_location_aside(response: httpx.Response) -> None:
    """Keep a redirect's target from httpx, which reads it even where it is not to follow it, and fails on bad ones."""
    if "Location" in response.headers:
        response.extensions["location"] = response.headers.pop("Location")


def _port(scheme: str) -> int:
    return 443 if scheme.lower() == "https" else 80


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _shown(uri: str) -> str:
    """An address without user, password and query, which may hold secrets."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
