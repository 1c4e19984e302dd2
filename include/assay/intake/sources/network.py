"""What all sources on a network share: patience, pace, credentials, and which machines may be reached."""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import SplitResult, unquote

import httpcore
import httpx

from assay.contract import Source
from assay.intake.errors import CredentialsMissing, SourceRefused
from assay.intake.sources.base import Deadline, Transfer
from assay.settings import Connection, connection, credential

LONGEST_WAIT = 10.0
"""Seconds between two attempts at most, whatever a server asks for."""

_RANDOM = secrets.SystemRandom()


def pause(transfer: Transfer, attempt: int) -> float:
    """Seconds before an attempt (1 is the second one): growing, and never the same for all that wait for a server."""
    longest = min(transfer.backoff * 4.0**attempt, LONGEST_WAIT)
    return _RANDOM.uniform(longest / 4, longest)


class Pace:
    """Keeps requests and bytes of all threads together under a source's limits.

    Args:
        deadline: Nobody waits longer.
        requests: Most requests per second.
        bytes_: Most bytes per second.
    """

    def __init__(self, deadline: Deadline, requests: float | None, bytes_: int | None) -> None:
        self._deadline = deadline
        self._each = {
            "request": 0.0 if requests is None else 1.0 / requests,
            "byte": 0.0 if not bytes_ else 1.0 / bytes_,
        }
        self._next = dict.fromkeys(self._each, 0.0)
        self._lock = threading.Lock()

    def request(self) -> None:
        """Wait for one's turn to ask."""
        self._wait("request", 1)

    def took(self, size: int) -> None:
        """Wait until so many bytes more are within the limit."""
        self._wait("byte", size)

    def _wait(self, what: str, amount: int) -> None:
        cost = self._each[what] * amount
        if not cost:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next[what])
            self._next[what] = turn + cost
        if turn > now:
            time.sleep(min(turn - now, self._deadline.remaining))


def credentials_of(source: Source | None) -> Connection | None:
    """The credentials that a source's contract names, from the environment; None if it names none.

    Raises:
        CredentialsMissing: They are not there, or cannot be read. What they hold is in no message.
    """
    transport = None if source is None else source.transport
    if transport is None:
        return None
    if transport.connection is not None:
        variable = f"AIRFLOW_CONN_{transport.connection.upper()}"
        try:
            found = connection(transport.connection)
        except ValueError:
            raise _missing(variable, "something that is no Airflow connection") from None
        if found is None:
            raise _missing(variable, "nothing")
        return found
    if transport.credentials is None:
        return None
    values: dict[str, str | None] = {}
    named = transport.credentials
    for part, name in (("user", named.user), ("password", named.password), ("token", named.token)):
        values[part] = None if name is None else credential(name)
        if name is not None and values[part] is None:
            raise _missing(name, "nothing")
    extra = {} if values["token"] is None else {"token": values["token"]}
    return Connection(user=values["user"], password=values["password"], extra=extra)


def entering(base: SplitResult, found: Connection | None) -> tuple[dict[str, str], tuple[str, str] | None]:
    """Headers and basic authentication for the source's own server."""
    if found is not None and (token := found.extra.get("token")):
        return {"Authorization": f"Bearer {token}"}, None
    if found is not None and found.user is not None:
        return {}, (found.user, found.password or "")
    if base.username:
        return {}, (unquote(base.username), unquote(base.password or ""))
    return {}, None


def _missing(variable: str, found: str) -> CredentialsMissing:
    return CredentialsMissing(
        f"the source's credentials are not in the environment: {variable}",
        expected="an Airflow connection as URI or JSON" if variable.startswith("AIRFLOW") else "a value",
        found=found,
        next_step=f"set {variable} where Assay runs",
    )


# --------------------------------------------------------------------------------------------------- reachable machines
def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet, also if it is an IPv4 one inside IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
    return ip.is_global and not ip.is_multicast


def is_loopback(host: str) -> bool:
    """Whether a host, as an address names it, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard(httpcore.NetworkBackend):
    """Connects to hosts by the addresses that it looked at: a public source never leads to a private machine.

    What the contract's own host is, is found out when it is first connected to; if that is public, every address of
    every later connection, of that host or another one, has to be. A name that is answered otherwise the second time
    (DNS rebinding) is thereby caught.

    Args:
        home: The contract's own host.
    """

    def __init__(self, home: str) -> None:
        self._home = home.lower()
        self._inner = httpcore.SyncBackend()
        self._home_public: bool | None = None
        self._lock = threading.Lock()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """See `httpcore.NetworkBackend`."""
        addresses = self._looked_up(host, port)
        public = all(is_public(each) for each in addresses)
        with self._lock:
            if self._home_public is None and host.lower() == self._home:
                self._home_public = public
            allowed = public or (self._home_public is False and host.lower() == self._home)
        if not allowed:
            raise SourceRefused(
                f"{host} leads to a machine that is not on the open internet",
                expected="public addresses: only a host that the contract itself names may be a private one",
                found=", ".join(addresses[:3]),
                next_step="find out who changed where the name leads; if the source is meant to be private, name it in "
                "the source's uri",
            )
        trouble: Exception | None = None
        for address in addresses:
            try:
                return self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                trouble = error
        assert trouble is not None
        raise trouble

    def sleep(self, seconds: float) -> None:
        """See `httpcore.NetworkBackend`."""
        self._inner.sleep(seconds)

    def _looked_up(self, host: str, port: int) -> list[str]:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be found: {error}") from error
        return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class GuardedTransport(httpx.HTTPTransport):
    """httpx over a guard."""

    def __init__(self, guard: Guard, connections: int) -> None:
        super().__init__()
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=30.0,
            network_backend=guard,
        )
