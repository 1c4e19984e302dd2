"""Places on loopback that really take messages: a web server, and a mail server that asks for a password."""

from __future__ import annotations

import email.message
import email.policy
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from assay.demo.airflow import free_port
from assay.ledger import Ledger, make_statement
from assay.settings import Settings
from tests.ledger.support import content_name, sha

SECRET = "s3cr3t-T0ken"


@dataclass
class Web:
    """A web server that keeps what it was sent."""

    port: int
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    status: int = 200

    @property
    def url(self) -> str:
        """Its Apprise URL, with a secret in its path."""
        return f"json://127.0.0.1:{self.port}/hooks/{SECRET}"


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server."""
    kept = Web(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.paths.append(self.path)
            kept.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(kept.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Mail:
    """A mail server that keeps what it was sent."""

    port: int
    messages: list[email.message.EmailMessage] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its Apprise URL, with the password in it."""
        return (
            f"mailto://olga:{SECRET}@127.0.0.1:{self.port}"
            "?from=assay@example.org&to=reviewers@example.org&mode=insecure"
        )


@pytest.fixture
def mail() -> Iterator[Mail]:
    """A mail server."""
    kept = Mail(0)

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            kept.messages.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
            kept.senders.append(envelope.mail_from)
            return "250 OK"

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"olga", SECRET.encode()))

    controller = Controller(
        Handler(),
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=authenticate,
        auth_require_tls=False,
        auth_required=True,
    )
    controller.start()
    kept.port = controller.port
    yield kept
    controller.stop()


class News:
    """A ledger to which stations' statements are added."""

    def __init__(self, log: Ledger) -> None:
        self.log = log
        self._count = 0

    def say(self, step: str, **facts: Any) -> str:
        """Add a statement; returns its id."""
        self._count += 1
        subject = (content_name("delivery", self._count), sha(f"{step} {self._count}"))
        statement = make_statement(step, [subject], {"dataset": "adult", **facts})
        self.log.append(statement)
        return statement.id

    def rejected(self, source: str = "west") -> str:
        """A delivery that was rejected because of its signature."""
        checks = [
            {"check": "intake.signature", "outcome": "failed", "severity": "high", "subject": "",
             "message": "the key is not one of the publisher's"},
            {"check": "intake.checksums", "outcome": "passed", "severity": "info", "subject": "", "message": "fine"},
        ]  # fmt: skip
        return self.say(
            "delivery-verified", delivery="delivery-1", source=source, verdict="reject", checks=checks
        )

    def accepted(self) -> str:
        """A delivery that was accepted: no news."""
        return self.say("delivery-verified", delivery="delivery-2", source="east", verdict="accept")

    def opened(self, why: str = "9 % of its rows look poisoned") -> str:
        """A held delivery with two cases."""
        cases = [
            {"case": "case-1", "kind": "screening", "rows": 1200},
            {"case": "case-2", "kind": "delivery", "rows": 0},
        ]
        return self.say(
            "delivery-screened", delivery="delivery-3", verdict="hold", cases=cases, why=[why], rows=9000
        )

    def curve(self, outcome: str) -> str:
        """A training and what its curve checks said."""
        return self.say("curve-checked", run="run-1", outcome=outcome)

    def gates(self, passed: bool) -> str:
        """A challenger and what its gates said."""
        return self.say("gates-judged", model="model-1", passed=passed)


@pytest.fixture
def news(assay_home: Path) -> News:
    """An empty ledger in the registry of this test's home."""
    from assay.db import open_database
    from assay.ledger import open_ledger

    settings = Settings.from_env()
    return News(open_ledger(settings, open_database(settings)))
