"""Deliveries on an SFTP server, against OpenSSH's own."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.contract import Source
from assay.intake import (
    CredentialsMissing,
    NotThere,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    TooLarge,
)
from assay.intake.sources import Deadline, Place, open_place, read_small
from tests import sshd_server
from tests.intake.support import QUICK, Line, new_line, outcomes, rejected_for

pytestmark = pytest.mark.sftp
LIMIT = 1 << 26


@pytest.fixture
def server(tmp_path: Path) -> Iterator[sshd_server.Server]:
    with sshd_server.running(tmp_path / "sshd") as started:
        yield started


@pytest.fixture
def line(tmp_path: Path, assay_home: Path) -> Iterator[Line]:
    with new_line(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def feed(server: sshd_server.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection `feed` enters with the user's key."""
    body = {
        "conn_type": "sftp",
        "login": server.user,
        "extra": {"private_key": server.private_key.read_text()},
    }
    monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps(body))


def place(
    server: sshd_server.Server, folder: Path, *, seconds: float = 20.0, host_key: str | None = None
) -> Place:
    uri = f"sftp://127.0.0.1:{server.port}{folder}/"
    transport = {"connection": "feed", "host_key": host_key or server.host_key}
    body = {"id": "west", "publisher": "census", "uri": uri, "transport": transport}
    return open_place(uri, Deadline(seconds), QUICK, source=Source.model_validate(body))


def test_a_delivery_on_an_sftp_server_is_the_same_delivery_as_in_a_folder(
    server: sshd_server.Server, line: Line
) -> None:
    """Same id; the listing is complete both ways."""
    folder = line.deliver()
    uri = f"sftp://127.0.0.1:{server.port}{folder}/"
    transport = {"connection": "feed", "host_key": server.host_key}
    contract = line.contract(sources=[line.source(uri=uri, transport=transport)])
    result = line.verify(uri, contract)
    assert result.verdict == "accept", outcomes(result)
    assert line.verify(folder, contract, "west").delivery_id == result.delivery_id
    (folder / "extra.csv").write_text("not listed")
    os.symlink("people.csv", folder / "link.csv")
    assert "extra.csv" in rejected_for(line.verify(uri, contract), "intake.completeness").message
    listing = place(server, folder).listing(100)
    assert listing is not None
    assert "extra.csv" in listing.files
    assert listing.refused == {"link.csv": "a symbolic link"}


def test_large_files_come_whole(server: sshd_server.Server, tmp_path: Path) -> None:
    """In pieces that overtake each other on the way."""
    data = os.urandom((5 << 20) + 7)
    (tmp_path / "big.bin").write_bytes(data)
    here = place(server, tmp_path)
    assert read_small(here, "big.bin", LIMIT) == data
    with pytest.raises(TooLarge):
        read_small(here, "big.bin", 1000)
    with pytest.raises(NotThere):
        read_small(here, "none.bin", LIMIT)
    here.close()


@pytest.mark.parametrize("path", ["link.csv", "away/passwd", "folder"])
def test_a_link_or_a_folder_is_no_file(server: sshd_server.Server, tmp_path: Path, path: str) -> None:
    """As the file itself, and as a folder on its way."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.csv").symlink_to("/etc/passwd")
    (tmp_path / "away").symlink_to("/etc")
    here = place(server, tmp_path)
    with pytest.raises(SourceRefused, match="not a regular file"):
        read_small(here, path, LIMIT)
    here.close()


def test_a_server_with_another_key_is_refused_before_anything_is_sent(
    server: sshd_server.Server, tmp_path: Path
) -> None:
    """No name, no password, no key: the message has both keys."""
    for key_type in ("ed25519", "ecdsa"):
        with sshd_server.running(tmp_path / f"other-{key_type}", key_type) as other:
            here = place(server, tmp_path, host_key=other.host_key)
            with pytest.raises(SourceRefused, match="not the server that the contract pins"):
                read_small(here, "x", LIMIT)
            here.close()
    log = (tmp_path / "sshd" / "log").read_text()
    assert "Accepted" not in log
    assert "user" not in log.replace("authenticating user", "")


@pytest.mark.parametrize("key_type", ["rsa", "ecdsa"])
def test_other_kinds_of_host_keys_can_be_pinned(
    tmp_path: Path, key_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RSA ones with SHA-2 signatures only."""
    (tmp_path / "one.csv").write_bytes(b"one")
    with sshd_server.running(tmp_path / "second", key_type) as second:
        body = {"login": second.user, "extra": {"key_file": str(second.private_key)}}
        monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps(body))
        here = place(second, tmp_path)
        assert read_small(here, "one.csv", LIMIT) == b"one"
        here.close()


def test_a_user_that_may_not_enter_is_refused(
    server: sshd_server.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the password is in no message."""
    monkeypatch.setenv("AIRFLOW_CONN_FEED", "sftp://ann:s3cret@h/")
    here = place(server, tmp_path)
    with pytest.raises(SourceRefused, match="does not give") as raised:
        read_small(here, "x", LIMIT)
    assert "s3cret" not in str(raised.value)
    monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps({"login": "ann", "extra": {"private_key": "s3cret"}}))
    with pytest.raises(CredentialsMissing) as missing:
        read_small(place(server, tmp_path), "x", LIMIT)
    assert "s3cret" not in str(missing.value)


# The library reads ahead in a thread of its own, which then finds the connection gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_connection_that_is_cut_is_made_again(server: sshd_server.Server, tmp_path: Path) -> None:
    """The file goes on where it was."""
    data = os.urandom(6 << 20)
    (tmp_path / "big.bin").write_bytes(data)
    here = place(server, tmp_path)
    cut = []

    def sink(chunks: Iterator[bytes]) -> bytes:
        got = b""
        for chunk in chunks:
            got += chunk
            if len(got) > (3 << 20) and not cut:
                cut.append(1)
                here._session.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        return got

    assert here.fetch("big.bin", LIMIT, sink) == data
    here.close()


def test_a_server_that_says_nothing_is_left_at_the_deadline(
    server: sshd_server.Server, tmp_path: Path
) -> None:
    """It takes the connection, and is silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        quiet = sshd_server.Server(silent.getsockname()[1], server.host_key, "x", server.private_key)
        with pytest.raises(SourceTimeout):
            read_small(place(quiet, tmp_path, seconds=1), "x", LIMIT)


def test_a_port_where_another_program_answers_is_unreachable(
    server: sshd_server.Server, tmp_path: Path
) -> None:
    """Its talk is not SSH."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            try:
                while True:
                    client, _ = other.accept()
                    with client:
                        client.sendall(b"220 smtp.example.org ESMTP\r\n" * 3)
            except OSError:
                pass  # the test is over

        threading.Thread(target=greet, daemon=True).start()
        strange = sshd_server.Server(other.getsockname()[1], server.host_key, "x", server.private_key)
        with pytest.raises((SourceUnreachable, SourceTimeout)):
            read_small(place(strange, tmp_path, seconds=8), "x", LIMIT)
