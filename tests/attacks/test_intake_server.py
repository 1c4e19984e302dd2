"""Attacks by the server that a delivery is fetched from, or by whoever sits on the way to it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.intake import SourceRefused, SourceTimeout, SourceUnreachable, TooLarge
from tests.intake.support import FILES, Handler, Line, finding, new_line, rejected_for, serve


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """A publisher that signs with minisign."""
    with new_line(tmp_path) as made:
        yield made


def redirect(target: str) -> object:
    def answer(handler: Handler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return answer


def endless(handler: Handler) -> bool:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    block = b"1,2\n" * 16_384
    for _ in range(10_000):  # far more than any test's limit; the client hangs up long before
        handler.wfile.write(block)
    return True


def test_a_served_delivery_is_the_same_delivery_as_in_a_folder(line: Line) -> None:
    """Same id; and only what the manifest lists was asked for."""
    folder = line.deliver()
    (folder / "unlisted.csv").write_text("never asked for")
    with serve(folder) as web:
        result = line.verify(web.uri)
        assert result.verdict == "accept"
        assert "only listed files were asked for" in finding(result, "intake.completeness").message
        assert "/unlisted.csv" not in web.asked
    (folder / "unlisted.csv").unlink()
    assert line.verify(folder).delivery_id == result.delivery_id


def test_a_byte_changed_on_the_way_is_rejected(line: Line) -> None:
    """What came is kept sealed, as it came: the server may never send it again."""
    folder = line.deliver()
    changed = FILES["people.csv"].replace(b"30", b"31")
    with serve(folder, {"/people.csv": lambda h: h.give(changed) is None}) as web:
        result = line.verify(web.uri)
    wrong = rejected_for(result, "intake.checksums").evidence["wrong_files"][0]
    assert line.store.get_bytes(wrong["sha256"]) == changed
    assert line.store.is_sealed(wrong["sha256"])


def test_a_listed_file_that_the_server_lacks_is_rejected(line: Line) -> None:
    """404 for a file is a missing file."""
    folder = line.deliver()
    (folder / "people.csv").unlink()
    with serve(folder) as web:
        failed = rejected_for(line.verify(web.uri), "intake.completeness")
    assert failed.evidence["missing_files"] == ["people.csv"]


def test_an_endless_body_is_cut_at_the_limit(line: Line) -> None:
    """No more is kept than the contract allows, and nothing of it as data."""
    contract = line.contract(bounds={"max_bytes": 100_000})
    folder = line.deliver(contract=contract)
    with serve(folder, {"/people.csv": endless}) as web:
        failed = rejected_for(line.verify(web.uri, contract), "intake.completeness")
    assert "larger than the contract allows" in failed.message


def test_an_endless_manifest_or_signature_is_cut_at_the_limit(line: Line) -> None:
    """Before any signature has passed, very little is read."""
    contract = line.contract(bounds={"max_files": 10})
    folder = line.deliver(contract=contract)
    with serve(folder, {"/SHA256SUMS": endless}) as web, pytest.raises(TooLarge):
        line.verify(web.uri, contract)
    with serve(folder, {"/SHA256SUMS.minisig": endless}) as web:
        rejected_for(line.verify(web.uri, contract), "intake.signature")


def test_an_endless_delivery_json_is_cut_at_the_limit(line: Line) -> None:
    """It is the one file that is parsed, and it is small."""
    contract = line.contract(bounds={"max_bytes": 100_000})
    folder = line.deliver(contract=contract)
    with serve(folder, {"/delivery.json": endless}) as web:
        result = line.verify(web.uri, contract)
    assert result.verdict == "reject"
    assert finding(result, "intake.completeness").outcome == "failed"


def test_a_body_longer_than_announced_is_rejected(line: Line) -> None:
    """Bytes beyond Content-Length are not read, and those before are not the file."""
    folder = line.deliver()
    longer = FILES["people.csv"] + b"9,99\n"

    def more(handler: Handler) -> bool:
        handler.close_connection = True
        handler.give(longer, length=len(longer) - 7)
        return True

    with serve(folder, {"/people.csv": more}) as web:
        rejected_for(line.verify(web.uri), "intake.checksums")


def test_a_body_shorter_than_announced_is_no_file(line: Line) -> None:
    """Broken off on every attempt: unreachable, nothing registered, and half a file in no store."""
    folder = line.deliver()

    def less(handler: Handler) -> bool:
        handler.close_connection = True
        handler.give(FILES["people.csv"][:10], length=len(FILES["people.csv"]))
        return True

    with serve(folder, {"/people.csv": less}) as web:
        with pytest.raises(SourceUnreachable) as raised:
            line.verify(web.uri)
        assert web.asked.count("/people.csv") == 3
    assert "nothing was registered" in str(raised.value)
    assert line.registered() == []
    import hashlib

    assert not line.store.exists(hashlib.sha256(FILES["people.csv"][:10]).hexdigest())


def test_a_body_cut_short_without_an_announced_length_is_rejected(line: Line) -> None:
    """A connection that ends early looks like the end of the file; its digest tells."""
    folder = line.deliver()

    def cut(handler: Handler) -> bool:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(FILES["people.csv"][:12])
        handler.close_connection = True
        return True

    with serve(folder, {"/people.csv": cut}) as web:
        rejected_for(line.verify(web.uri), "intake.checksums")


def test_content_that_changes_between_attempts_is_judged_by_one_attempt_alone(line: Line) -> None:
    """Half of one version and the rest of another are never joined."""
    folder = line.deliver()
    other = FILES["people.csv"].replace(b"30", b"99")
    seen: list[int] = []

    def changing(handler: Handler) -> bool:
        seen.append(1)
        if len(seen) == 1:  # the true beginning, then the line goes dead
            handler.close_connection = True
            handler.give(FILES["people.csv"][:15], length=len(FILES["people.csv"]))
        else:
            handler.give(other)
        return True

    with serve(folder, {"/people.csv": changing}) as web:
        wrong = rejected_for(line.verify(web.uri), "intake.checksums").evidence["wrong_files"][0]
    assert len(seen) == 2
    assert line.store.get_bytes(wrong["sha256"]) == other


def test_a_server_that_errs_once_is_asked_again(line: Line) -> None:
    """500, then fine: accepted."""
    folder = line.deliver()
    answers = {name: [500] for name in ("/SHA256SUMS", "/SHA256SUMS.minisig", "/people.csv")}

    def once(handler: Handler) -> bool:
        left = answers[handler.path]
        if left:
            handler.give(b"sorry", status=left.pop())
            return True
        return False

    with serve(folder, dict.fromkeys(answers, once)) as web:
        assert line.verify(web.uri).verdict == "accept"


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/people.csv",
        "http://other.example.org/people.csv",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:1/people.csv",
        "https://127.0.0.1/people.csv",
        "//other.example.org/people.csv",
        "http://user@other.example.org/",
        "http://[bad/",
        "gopher:x",
    ],
)
def test_a_redirect_to_another_place_is_not_followed(line: Line, target: str) -> None:
    """Not to a file of ours, not to another host or port, not to another scheme."""
    folder = line.deliver()
    with serve(folder, {"/people.csv": redirect(target)}) as web:  # type: ignore[dict-item]
        failed = rejected_for(line.verify(web.uri), "intake.completeness")
    assert "redirects to another place" in failed.message
    with (
        serve(folder, {"/SHA256SUMS": redirect(target)}) as web,  # type: ignore[dict-item]
        pytest.raises(SourceRefused, match="redirects to another place"),
    ):
        line.verify(web.uri)


def test_compressed_answers_are_not_unpacked(line: Line) -> None:
    """A claimed Content-Encoding cannot turn small bytes into many: the bytes are taken as they are."""
    import gzip

    folder = line.deliver()

    def bomb(handler: Handler) -> bool:
        data = gzip.compress(b"0" * 10_000_000)
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
        return True

    with serve(folder, {"/people.csv": bomb}) as web:
        result = line.verify(web.uri)
    rejected_for(result, "intake.checksums")
    assert result.size < 50_000


def slow_server(first: bytes, drip: bytes) -> tuple[socket.socket, str]:
    """Answers every connection with `first`, then one byte of `drip` after the other, never quite too late."""
    server = socket.create_server(("127.0.0.1", 0))

    def handle(client: socket.socket) -> None:
        try:
            with client:
                client.recv(10_000)
                client.sendall(first)
                for byte in drip * 10_000:
                    client.sendall(bytes([byte]))
                    time.sleep(0.05)
        except OSError:
            pass  # the client hung up, as it should

    def accept() -> None:
        try:
            while True:
                client, _ = server.accept()
                threading.Thread(target=handle, args=(client,), daemon=True).start()
        except OSError:
            pass  # the test is over

    threading.Thread(target=accept, daemon=True).start()
    return server, f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        (b"", b"HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
    ids=["body", "headers", "status line", "chunks"],
)
def test_a_server_that_trickles_is_left_at_the_deadline(line: Line, first: bytes, drip: bytes) -> None:
    """Each byte comes well before the read timeout, in headers and bodies alike; the whole has its own time."""
    contract = line.contract(bounds={"timeout": "1s"})
    server, uri = slow_server(first, drip)
    before = time.monotonic()
    with server, pytest.raises((SourceTimeout, SourceRefused, SourceUnreachable)) as raised:
        line.verify(uri, contract)
    assert time.monotonic() - before < 5
    assert isinstance(raised.value, SourceTimeout), raised.value
    assert line.registered() == []


def test_a_server_that_says_nothing_is_left_at_the_deadline(line: Line) -> None:
    """It takes the connection and is silent."""
    contract = line.contract(bounds={"timeout": "1s"})
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = time.monotonic()
        with pytest.raises(SourceTimeout):
            line.verify(f"http://127.0.0.1:{server.getsockname()[1]}/", contract)
        assert time.monotonic() - before < 5
