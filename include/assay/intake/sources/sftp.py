"""A delivery on an SFTP server whose key the contract pins; regular files only, no link is followed."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import stat
import threading
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from assay.contract import Source
from assay.errors import AssayError
from assay.intake.errors import (
    CredentialsMissing,
    LocationError,
    NotThere,
    SourceRefused,
    SourceUnreachable,
)
from assay.intake.manifests import visible
from assay.intake.sources.base import Deadline, Listing, Sink, T, Transfer, metered, too_large, too_many_files
from assay.intake.sources.network import Pace, credentials_of, pause
from assay.settings import Connection

if TYPE_CHECKING:
    from paramiko import SFTPClient

_PIECE = 32_768  # bytes in one answer of the protocol
_AHEAD = 64  # answers that are on their way at the same time
_DEPTH = 64
_TYPES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}  # SHA-1 signatures of RSA keys are not accepted


class SftpPlace:
    """A folder on a server.

    Args:
        uri: `sftp://host[:port]/folder/`.
        deadline: When all must be over.
        transfer: How patient to be.
        source: Whose contract counts; it has the server's key.

    Raises:
        LocationError: The URI names no server, or no contract pins its key.
        CredentialsMissing: The contract names credentials that are not in the environment.
    """

    at_once = 1

    def __init__(self, uri: str, deadline: Deadline, transfer: Transfer, source: Source | None) -> None:
        parts = urlsplit(uri)
        try:
            host, port = parts.hostname, parts.port or 22
        except ValueError:
            host, port = None, 22
        if not host:
            raise LocationError(
                "the address names no server",
                expected="sftp://host[:port]/folder/",
                next_step="correct the address",
            )
        if source is None or source.transport.host_key is None:
            raise LocationError(
                f"no contract says which key {host} has",
                expected="a source with transport.host_key",
                next_step="add the source to the contract, with the key that its owner tells you",
            )
        kind, key = source.transport.host_key.split()[:2]
        self._pin = (kind, base64.b64decode(key))
        self._address = (host, port)
        self._root = unquote(parts.path).rstrip("/") or "/"
        self.shown = f"sftp://{host}" + (f":{port}" if port != 22 else "") + self._root + "/"
        self.made = False
        self.vouched: str | None = None
        self._deadline = deadline
        self._transfer = transfer
        self._pace = Pace(deadline, source.transport.requests_per_second, source.transport.bytes_per_second)
        self._entering = credentials_of(source)
        self._session: Any = None
        self._sftp: SFTPClient | None = None
        self._watchdog: threading.Timer | None = None

    def fetch(self, path: str, limit: int, sink: Sink[T]) -> T:
        """See `Place.fetch`."""
        what = f"{path} at {self.shown}"
        with contextlib.closing(self._chunks(path, what, limit)) as chunks:
            return sink(metered(chunks, limit, what, self._deadline))

    def listing(self, most: int) -> Listing:
        """See `Place.listing`."""
        what = f"the listing of {self.shown}"
        listing: Listing = self._tried(what, lambda sftp: self._walked(sftp, most))
        return listing

    def close(self) -> None:
        """End the session."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._hang_up()

    def _chunks(self, path: str, what: str, limit: int) -> Generator[bytes, None, None]:
        """The file's bytes; what broke off goes on from there if size and time of the file are the same."""
        done, attempt = 0, 0
        version: tuple[int, int] | None = None
        while True:
            try:
                sftp = self._connected(what)
                facts = self._regular(sftp, path, what)
                size = facts.st_size or 0
                if size > limit:
                    raise too_large(what, limit, size)
                if version not in {None, (size, facts.st_mtime)}:
                    raise SourceRefused(
                        f"{what} was replaced while it was read",
                        next_step="run the same command again once the publisher has finished",
                    )
                version = (size, facts.st_mtime or 0)
                self._pace.request()
                with sftp.open(self._full(path), "rb") as file:
                    while done < size:
                        pieces = [(at, min(_PIECE, size - at)) for at in range(done, size, _PIECE)][:_AHEAD]
                        for chunk, (_, wanted) in zip(file.readv(pieces), pieces, strict=True):
                            if len(chunk) != wanted:
                                raise EOFError("the file ended before its size")
                            self._pace.took(len(chunk))
                            done += len(chunk)
                            yield chunk
                return
            except Exception as error:  # noqa: BLE001 - paramiko raises what it comes upon, also ValueError and IndexError
                trouble = self._judged(error, what)
            attempt += 1
            self._next_attempt(attempt, what, trouble)

    def _walked(self, sftp: SFTPClient, most: int) -> Listing:
        found = Listing()
        folders = [("", 0)]
        while folders:
            below, depth = folders.pop()
            for entry in sftp.listdir_iter(self._full(below) if below else self._root):
                self._deadline.check(f"the listing of {self.shown}")
                path, mode = below + str(entry.filename), entry.st_mode or 0
                if "/" in entry.filename or entry.filename in {"", ".", ".."}:
                    found.refused[visible(path)] = "a name that is none"
                elif stat.S_ISDIR(mode):
                    if depth >= _DEPTH:
                        found.refused[visible(path)] = f"a folder more than {_DEPTH} levels down"
                    else:
                        folders.append((path + "/", depth + 1))
                elif stat.S_ISREG(mode):
                    found.files[visible(path)] = entry.st_size or 0
                else:
                    found.refused[visible(path)] = (
                        "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
                    )
                if len(found.files) + len(found.refused) + len(folders) > most:
                    raise too_many_files(self.shown, most)
        return found

    def _regular(self, sftp: SFTPClient, path: str, what: str) -> Any:
        """Facts about a file none of whose folders is a link."""
        *folders, name = path.split("/")
        here = self._root.rstrip("/")
        for folder in folders:
            here += f"/{folder}"
            if not stat.S_ISDIR(sftp.lstat(here).st_mode or 0):
                raise _not_regular(what)
        facts = sftp.lstat(f"{here}/{name}")
        if not stat.S_ISREG(facts.st_mode or 0):
            raise _not_regular(what)
        return facts

    def _full(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path.rstrip('/')}"

    def _tried(self, what: str, ask: Any) -> Any:
        attempt = 0
        while True:
            try:
                return ask(self._connected(what))
            except Exception as error:  # noqa: BLE001 - as above
                trouble = self._judged(error, what)
            attempt += 1
            self._next_attempt(attempt, what, trouble)

    def _next_attempt(self, attempt: int, what: str, trouble: str) -> None:
        if attempt >= self._transfer.attempts:
            raise SourceUnreachable(
                f"{what} could not be fetched",
                expected="an answer",
                found=f"{trouble} (asked {attempt} times)",
                state="nothing was registered",
                next_step="check that the address is right and the server runs, then run the same command again",
            )
        self._hang_up()
        time.sleep(min(pause(self._transfer, attempt - 1), self._deadline.remaining))

    def _judged(self, error: Exception, what: str) -> str:
        """What went wrong, if another attempt may mend it; else raises."""
        import paramiko

        if isinstance(error, AssayError):
            raise error
        self._deadline.check(what)
        if isinstance(error, FileNotFoundError):
            raise NotThere(
                f"the server has no {what}",
                expected="the file",
                found="nothing of that name",
                next_step="check the address, and that the publisher has delivered",
            ) from None
        if isinstance(error, PermissionError | paramiko.AuthenticationException):
            raise SourceRefused(
                f"the server does not give {what}",
                found=type(error).__name__,
                next_step="check the credentials, and what they may read",
            ) from None
        return f"{type(error).__name__}: {str(error)[:200]}"

    # ------------------------------------------------------------------------------------------------------ connecting
    def _connected(self, what: str) -> SFTPClient:
        import paramiko

        self._deadline.check(what)
        if self._sftp is not None:
            return self._sftp
        if self._watchdog is None:
            self._watchdog = threading.Timer(self._deadline.remaining, self._hang_up)
            self._watchdog.daemon = True
            self._watchdog.start()
        patience = min(self._transfer.connect, self._deadline.remaining)
        raw = socket.create_connection(self._address, timeout=patience)
        self._session = session = paramiko.Transport(raw)
        session.banner_timeout = session.handshake_timeout = session.auth_timeout = patience
        kind, pinned = self._pin
        session.get_security_options().key_types = _TYPES.get(kind, (kind,))
        try:
            session.start_client(timeout=patience)
        except paramiko.SSHException as error:
            if "no acceptable host key" in str(error).lower() or isinstance(
                error, paramiko.ssh_exception.IncompatiblePeer
            ):
                raise self._stranger("no key of that type") from None
            raise
        shown = session.get_remote_server_key()
        if shown.asbytes() != pinned:
            raise self._stranger(f"{shown.get_name()} {shown.get_base64()}")
        self._enter(session, self._entering or Connection())
        sftp = paramiko.SFTPClient.from_transport(session)
        if sftp is None:
            raise EOFError("the server opened no channel")
        sftp.get_channel().settimeout(self._transfer.read)
        self._sftp = sftp
        return sftp

    def _enter(self, session: Any, who: Connection) -> None:
        import paramiko

        if not who.user:
            raise CredentialsMissing(
                f"nothing says as whom to log in at {self.shown}",
                expected="a connection with login and password, or with private_key or key_file in its extra",
                next_step="name it in the source's transport.connection",
            )
        key: Any = None
        try:
            if text := who.extra.get("private_key"):
                key = _private_key(str(text), who.password)
            elif path := who.extra.get("key_file"):
                key = paramiko.PKey.from_path(
                    str(path), None if who.password is None else who.password.encode()
                )
        except (OSError, ValueError, paramiko.SSHException, TypeError):
            raise CredentialsMissing(
                "the connection's private key cannot be read",
                expected="an OpenSSH or PEM key; its passphrase, if it has one, as the connection's password",
                next_step="correct private_key or key_file in the connection's extra",
            ) from None
        if key is not None:
            session.auth_publickey(who.user, key)
        else:
            session.auth_password(who.user, who.password or "", fallback=False)

    def _stranger(self, found: str) -> SourceRefused:
        return SourceRefused(
            f"{self._address[0]} is not the server that the contract pins",
            expected=f"{self._pin[0]} {base64.b64encode(self._pin[1]).decode()}",
            found=found,
            next_step="ask the server's owner whether its key has changed; until then nothing is read from it",
        )

    def _hang_up(self) -> None:
        session, self._session, self._sftp = self._session, None, None
        if session is not None:
            session.close()


def _private_key(text: str, passphrase: str | None) -> Any:
    import paramiko

    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with contextlib.suppress(paramiko.SSHException, ValueError):
            return kind.from_private_key(io.StringIO(text), passphrase)
    raise ValueError("a key of no known kind")


def _not_regular(what: str) -> SourceRefused:
    return SourceRefused(
        f"{what} is not a regular file",
        expected="a regular file: links and what else is none are refused",
        next_step="have the publisher deliver the file itself",
    )
