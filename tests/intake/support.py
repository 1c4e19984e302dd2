"""A publisher with keys, a folder that it delivers, a contract, and web servers that behave and misbehave."""

from __future__ import annotations

import atexit
import datetime as dt
import functools
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from assay.contract import Contract, Key
from assay.db import Database, list_deliveries, open_database
from assay.findings import Finding
from assay.intake import Transfer, VerifiedDelivery, verify_delivery
from assay.intake.publish import generate_key, publish, sign_ed25519, sign_minisign
from assay.settings import Settings
from assay.store import ObjectStore, open_store

QUICK = Transfer(connect=2.0, read=2.0, attempts=3, backoff=0.01)
FILES = {
    "people.csv": b"person_id,age\n1,30\n2,41\n3,55\n",
    "part/more.csv": b"person_id,age\n4,22\n5,37\n",
    "README.md": b"Two tables.\n",
}


@functools.cache
def _migrated() -> Path:
    """An empty registry, made once: the migration is tested elsewhere."""
    folder = Path(tempfile.mkdtemp(prefix="assay-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    database = Database(f"sqlite:///{folder / 'assay.db'}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.dispose()
    return folder / "assay.db"


@dataclass
class Line:
    """One publisher, one or more sources, one registry."""

    root: Path
    format: str = "minisign"
    keys: dict[str, Path] = field(default_factory=dict)
    public: dict[str, Key] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.new_key("first")
        settings = Settings.from_env()
        settings.make_home()
        shutil.copy(_migrated(), settings.home / "assay.db")
        self.database: Database = open_database(settings)
        self.store: ObjectStore = open_store(Settings.from_env())

    @property
    def ending(self) -> str:
        return {"minisign": ".minisig", "ed25519": ".sig"}[self.format]

    def new_key(self, name: str) -> Key:
        self.keys[name] = self.root / f"{name}.secret"
        self.public[name] = generate_key(self.keys[name], self.format)
        return self.public[name]

    def contract(
        self,
        *,
        keys: list[dict[str, Any]] | None = None,
        sources: list[dict[str, Any]] | None = None,
        publishers: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> Contract:
        """A contract with the source `west` of the publisher `census`, changed as the test needs it."""
        listed = [self.key()] if keys is None else keys
        west = {"id": "west", "publisher": "census", "uri": "west/", "signature": f"SHA256SUMS{self.ending}"}
        body = {
            "version": 1,
            "dataset": "adult",
            "publishers": [{"id": "census", "keys": listed}] if publishers is None else publishers,
            "sources": [west] if sources is None else sources,
            "schema": {
                "key": ["person_id"],
                "columns": {"person_id": {"type": "integer"}, "age": {"type": "integer"}},
            },
        }
        return Contract.model_validate(body | more)

    def key(self, name: str = "first", **more: Any) -> dict[str, Any]:
        """A key as a contract lists it."""
        key = self.public[name]
        return {"format": key.format, "public_key": key.public_key} | more

    def source(self, name: str = "west", **more: Any) -> dict[str, Any]:
        """A source as a contract lists it."""
        plain = {
            "id": name,
            "publisher": "census",
            "uri": f"{name}/",
            "signature": f"SHA256SUMS{self.ending}",
        }
        return plain | more

    def deliver(
        self,
        name: str = "delivery",
        *,
        sequence: int | None = 1,
        files: dict[str, bytes] | None = None,
        key: str = "first",
        source: str = "west",
        contract: Contract | None = None,
        created: dt.datetime | None = None,
    ) -> Path:
        """A signed delivery in a folder of its own."""
        folder = self.root / name
        for path, data in (FILES if files is None else files).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        publish(
            folder, contract or self.contract(), source, self.keys[key], sequence=sequence, created=created
        )
        return folder

    def sign(self, folder: Path, key: str = "first", **more: Any) -> None:
        """Sign the manifest that lies there now."""
        sign = sign_minisign if self.format == "minisign" else sign_ed25519
        sign(folder / "SHA256SUMS", self.keys[key], **more)

    def verify(
        self, location: Path | str, contract: Contract | None = None, *args: Any, **more: Any
    ) -> VerifiedDelivery:
        """Verify with this line's registry and store."""
        return verify_delivery(
            str(location),
            contract or self.contract(),
            *args,
            database=self.database,
            store=self.store,
            transfer=QUICK,
            **more,
        )

    def registered(self) -> list[Any]:
        """All deliveries in the registry."""
        with self.database.session() as session:
            return list_deliveries(session)

    def admit(self, delivery_id: str) -> None:
        """What the last station of the line does to a delivery."""
        from assay.db import advance_delivery

        with self.database.write() as session:
            advance_delivery(session, delivery_id, "admitted", verdict="accept")


@contextmanager
def new_line(tmp_path: Path, format: str = "minisign") -> Iterator[Line]:
    """A line whose publisher's things lie in `tmp_path`."""
    root = tmp_path / "publisher"
    root.mkdir()
    line = Line(root, format)
    try:
        yield line
    finally:
        line.database.dispose()


def finding(result: VerifiedDelivery, check: str) -> Finding:
    """The one finding of a check."""
    found = [each for each in result.findings if each.check == check]
    assert len(found) == 1, f"{check}: {[each.check for each in result.findings]}"
    return found[0]


def outcomes(result: VerifiedDelivery) -> dict[str, str]:
    """Outcome by check."""
    return {each.check: each.outcome.value for each in result.findings}


def rejected_for(result: VerifiedDelivery, check: str) -> Finding:
    """The failed finding of a delivery that was rejected for that check alone."""
    assert (result.outcome, result.verdict) == ("failed", "reject"), outcomes(result)
    failed = [each for each in result.findings if each.outcome == "failed"]
    assert [each.check for each in failed] == [check], outcomes(result)
    return failed[0]


Answer = Callable[["Handler"], bool]


class Handler(BaseHTTPRequestHandler):
    """Serves a folder; `answers` may take over a path by returning True."""

    protocol_version = "HTTP/1.1"
    folder: Path
    answers: dict[str, Answer]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        answer = self.answers.get(self.path.partition("?")[0])
        if answer is not None and answer(self):
            return
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        self.give(path.read_bytes())

    def give(self, data: bytes, *, length: int | None = None, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up on a misbehaving server is what the tests want."""


@dataclass
class Web:
    """A running server."""

    uri: str
    port: int
    asked: list[str]


@contextmanager
def serve(folder: Path, answers: dict[str, Answer] | None = None) -> Iterator[Web]:
    """Serve a folder on a free port of this machine."""
    asked: list[str] = []
    handler = type("Here", (Handler,), {"folder": folder, "answers": answers or {}, "asked": asked})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        port = server.server_address[1]
        yield Web(f"http://127.0.0.1:{port}/", port, asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
