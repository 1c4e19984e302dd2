"""What the ledger learns goes to OpenLineage through Airflow's provider, where that is set up, and stops nothing."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay_airflow import tell_openlineage
from tests.ledger.told import Told, tell


class _Server(http.server.BaseHTTPRequestHandler):
    got: list[dict]
    status = 200

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """A line with some twenty entries."""
    return tell(f"sqlite:///{tmp_path / 'test.db'}", tmp_path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Server]]:
    """A server that Airflow's provider is configured with, by Airflow's own setting."""
    from airflow.providers.openlineage import conf

    handler = type("Handler", (_Server,), {"got": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        transport = {"type": "http", "url": f"http://127.0.0.1:{listening.server_address[1]}"}
        monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
        monkeypatch.setenv("AIRFLOW__OPENLINEAGE__NAMESPACE", "the-line")
        monkeypatch.setenv("NO_PROXY", "*")
        for each in vars(conf).values():
            if hasattr(each, "cache_clear"):
                each.cache_clear()
        yield handler
        listening.shutdown()
        thread.join()


def test_new_entries_are_sent_through_airflows_provider(told: Told, server: type[_Server]) -> None:
    """START and COMPLETE of each entry from a position on, in Airflow's namespace."""
    size = told.log.size()
    tell_openlineage(told.log, told.store, size - 2)
    names = [(event["eventType"], event["job"]["namespace"], event["job"]["name"]) for event in server.got]
    assert names == [
        ("START", "the-line", "assay.gates-judged"),
        ("COMPLETE", "the-line", "assay.gates-judged"),
        ("START", "the-line", "assay.model-promoted"),
        ("COMPLETE", "the-line", "assay.model-promoted"),
    ]


def test_nothing_new_sends_nothing(told: Told, server: type[_Server]) -> None:
    """A station that entered nothing is no news."""
    tell_openlineage(told.log, told.store, told.log.size())
    assert server.got == []


def test_a_server_that_refuses_stops_no_station(
    told: Told, server: type[_Server], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the task goes on."""
    server.status = 403
    tell_openlineage(told.log, told.store, 0)
    assert "OpenLineage was not told" in caplog.text


def test_without_a_setup_nothing_is_sent(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transport, no attempt: a client that would be asked fails the test."""
    from airflow.providers.openlineage import conf
    from airflow.providers.openlineage.plugins import adapter

    for each in vars(conf).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)

    def never(_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(adapter.OpenLineageAdapter, "get_or_create_openlineage_client", never)
    assert conf.is_disabled()
    tell_openlineage(told.log, told.store, 0)
