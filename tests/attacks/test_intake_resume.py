"""Attacks by servers that lie about ranges, versions, headers, redirects and pages."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.contract import Source
from assay.intake import SourceRefused, SourceTimeout, SourceUnreachable, TooLarge
from assay.intake.sources import Deadline, Place, open_place, read_small
from tests.intake.support import FILES, QUICK, Handler, Line, new_line, rejected_for, serve

DATA = bytes(range(256)) * 400
LIMIT = 1 << 20


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """A publisher that signs with minisign."""
    with new_line(tmp_path) as made:
        yield made


def place(uri: str, seconds: float = 20.0, **more: Any) -> Place:
    body = {"id": "west", "publisher": "census", "uri": uri, "signature": "S.sig"}
    return open_place(uri, Deadline(seconds), QUICK, source=Source.model_validate(body | more))


class Liar:
    """Breaks off its first answer, and gives `lie` for the rest."""

    def __init__(self, lie: dict[str, str], status: int = 206, body: bytes | None = None) -> None:
        self.lie, self.status, self.body = lie, status, body
        self.asked: list[str | None] = []

    def __call__(self, handler: Handler) -> bool:
        asked = handler.headers.get("Range")
        self.asked.append(asked)
        if asked is None:
            handler.send_response(200)
            handler.send_header("ETag", '"v1"')
            handler.send_header("Content-Length", str(len(DATA)))
            handler.end_headers()
            handler.wfile.write(DATA[: len(DATA) // 2] if len(self.asked) == 1 else DATA)
            handler.close_connection = True
            return True
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        rest = DATA[start:] if self.body is None else self.body
        right = {
            "Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}",
            "ETag": '"v1"',
            "Content-Length": str(len(rest)),
        }
        handler.send_response(self.status)
        for name, value in (right | self.lie).items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(rest)
        handler.close_connection = True
        return True


@pytest.mark.parametrize(
    "lie",
    [
        {"Content-Range": ""},
        {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"},
        {"Content-Range": f"bytes 99-{len(DATA) - 1}/{len(DATA)}"},
        {"Content-Range": "bytes */5"},
        {"Content-Range": "bytes 51200-9999999/*"},
        {"Content-Range": "bytes -5-10/3"},
        {"Content-Range": "words 1-2/3"},
        {"Content-Range": "bytes " + "9" * 5000},
        {"ETag": '"v2"'},
    ],
    ids=range(9),
)
def test_a_lying_content_range_never_makes_half_of_one_file_and_half_of_another(
    tmp_path: Path, lie: dict[str, str]
) -> None:
    """What does not fit what was asked is thrown away, and the file is read from its start."""
    server = Liar(lie)
    with serve(tmp_path, {"/x.bin": server}) as web:
        assert read_small(place(web.uri), "x.bin", LIMIT) == DATA
    assert server.asked[0] is None
    assert server.asked[-1] is None
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [200, 416])
def test_a_server_that_does_not_give_ranges_after_all_is_asked_for_the_whole(
    tmp_path: Path, status: int
) -> None:
    """200 says that the file has changed, 416 that it is shorter now."""
    server = Liar({}, status=status, body=b"something else")
    with serve(tmp_path, {"/x.bin": server}) as web:
        assert read_small(place(web.uri), "x.bin", LIMIT) == DATA


def test_a_rest_of_other_bytes_under_the_same_etag_is_rejected(line: Line) -> None:
    """The digest decides: a server may say that nothing has changed."""
    folder = line.deliver(files={"x.bin": DATA})
    server = Liar({}, body=b"")

    def changed(handler: Handler) -> bool:
        if asked := handler.headers.get("Range"):
            server.body = b"\xff" * (len(DATA) - int(asked.removeprefix("bytes=").rstrip("-")))
        return server(handler)

    with serve(folder, {"/x.bin": changed}) as web:
        rejected_for(line.verify(web.uri), "intake.checksums")


def test_a_server_that_always_breaks_off_is_left_after_a_few_attempts(tmp_path: Path) -> None:
    """A few bytes each time do not keep it going."""
    asked: list[str | None] = []

    def drop(handler: Handler) -> bool:
        asked.append(handler.headers.get("Range"))
        start = int((asked[-1] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", '"v1"')
        handler.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        handler.send_header("Content-Length", str(len(DATA) - start))
        handler.end_headers()
        handler.wfile.write(DATA[start : start + 10])
        handler.close_connection = True
        return True

    with serve(tmp_path, {"/x.bin": drop}) as web, pytest.raises(SourceUnreachable):
        read_small(place(web.uri), "x.bin", LIMIT)
    assert len(asked) == QUICK.attempts


def raw(*answers: bytes) -> tuple[socket.socket, str]:
    """A server that says exactly these bytes, the last ones to everybody who comes later."""
    server = socket.create_server(("127.0.0.1", 0))
    left = list(answers)

    def serve_all() -> None:
        try:
            while True:
                client, _ = server.accept()
                with client:
                    client.recv(65_536)
                    client.sendall(left.pop(0) if len(left) > 1 else left[0])
        except OSError:
            pass  # the client hung up, or the test is over

    threading.Thread(target=serve_all, daemon=True).start()
    return server, f"http://127.0.0.1:{server.getsockname()[1]}/"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"O" * 10_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 99999 OK\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n: nameless\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000,
        b"",
        b"\0" * 100_000,
    ],
    ids=range(17),
)
def test_headers_that_no_honest_server_sends_end_in_a_clear_error(answer: bytes) -> None:
    """Too many, too long, twice, contradictory, or none: nothing is taken for a file, and no memory is filled."""
    server, uri = raw(answer)
    with server, pytest.raises((SourceUnreachable, SourceRefused)) as raised:
        read_small(place(uri, seconds=10), "x.bin", 1000)
    assert "x.bin" in str(raised.value)
    assert raised.value.next_step


@pytest.mark.parametrize("header", ["ETag", "Content-Encoding", "Content-Type", "Location", "Retry-After"])
def test_a_header_that_comes_twice_changes_nothing(line: Line, header: str) -> None:
    """The bytes are judged by the manifest alone."""
    folder = line.deliver()

    def twice(handler: Handler) -> bool:
        handler.send_response(200)
        for value in ('"one"', "gzip"):
            handler.send_header(header, value)
        handler.send_header("Content-Length", str(len(FILES["people.csv"])))
        handler.end_headers()
        handler.wfile.write(FILES["people.csv"])
        return True

    with serve(folder, {"/people.csv": twice}) as web:
        assert line.verify(web.uri).verdict == "accept"


def test_a_redirect_from_https_to_http_is_not_followed(tmp_path: Path) -> None:
    """Not even to a host that the contract names."""
    from assay.intake.sources.http import HttpClient

    uri = "https://data.example.org/"
    wanted = Source.model_validate(
        {"id": "w", "publisher": "p", "uri": uri, "transport": {"redirect_hosts": ["cdn.example.org"]}}
    )
    client = HttpClient(uri, Deadline(5), QUICK, wanted)
    assert client._redirected(uri, "https://cdn.example.org/x", "x") == "https://cdn.example.org/x"
    for target in ("http://cdn.example.org/x", "http://data.example.org/x"):
        with pytest.raises(SourceRefused, match="from https to http"):
            client._redirected(uri, target, "x")
    client.close()


def test_a_source_may_not_ask_for_a_long_wait(tmp_path: Path) -> None:
    """Retry-After is heeded up to a bound, and never past the deadline."""

    def later(handler: Handler) -> bool:
        handler.send_response(503)
        handler.send_header("Retry-After", "999999999")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    with serve(tmp_path, {"/x.bin": later}) as web, pytest.raises(SourceTimeout):
        read_small(place(web.uri, seconds=1), "x.bin", LIMIT)


# ----------------------------------------------------------------------------------------------------- pages of records


def api_place(tmp_path: Path, uri: str, seconds: float = 20.0, **api: Any) -> Place:
    body = {"id": "west", "publisher": "census", "uri": uri.replace("http:", "https:"), "api": api}
    wanted = Source.model_validate(body)
    from assay.contract import Bounds

    bounds = Bounds(max_bytes=1 << 20, max_rows=30, max_nesting=10)
    return open_place(uri, Deadline(seconds), QUICK, source=wanted, bounds=bounds, work=tmp_path / "work")


def giving(body: Any, **headers: str) -> Any:
    def answer(handler: Handler) -> bool:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(
                name.replace("_", "-"), value.replace("HERE", f"http://{handler.headers['Host']}")
            )
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)
        return True

    return answer


@pytest.mark.parametrize(
    ("api", "answer"),
    [
        ({"paging": "link"}, giving([{"a": 1}], Link='<HERE/list>; rel="next"')),
        ({"paging": "link"}, giving([], Link='<HERE/list>; rel="next"')),
        ({"paging": "cursor", "cursor": "next", "parameter": "c", "records": "data"},
         giving({"data": [{"a": 1}], "next": "same"})),
        ({"paging": "cursor", "cursor": "next", "parameter": "c", "records": "data"},
         giving({"data": [], "next": "same"})),
        ({"paging": "page", "parameter": "page"}, giving([{"a": 1}])),
        ({"paging": "offset", "parameter": "offset"}, giving([{"a": 1}])),
    ],
    ids=["link", "empty pages", "cursor", "empty cursors", "page", "offset"],
)  # fmt: skip
def test_pages_that_go_round_in_circles_end(tmp_path: Path, api: dict[str, Any], answer: Any) -> None:
    """A page that names itself, or that comes again under another number."""
    with serve(tmp_path, {"/list": answer}) as web:
        here = api_place(tmp_path, web.uri + "list", **api)
        with pytest.raises(SourceRefused, match="no end"):
            read_small(here, "SHA256SUMS", LIMIT)
        here.close()
        assert len(web.asked) <= 3
    assert list((tmp_path / "work" / "made").iterdir()) == []


@pytest.mark.parametrize("paging", ["link", "cursor", "page"])
def test_pages_without_end_end_at_the_bound(tmp_path: Path, paging: str) -> None:
    """Each is a new one; their number, records and bytes together are limited."""
    count = 0

    def more(handler: Handler) -> bool:
        nonlocal count
        count += 1
        body = {"data": [{"n": count}], "next": str(count)}
        return bool(giving(body, Link=f'<HERE/list?p={count}>; rel="next"')(handler))

    api: dict[str, Any] = {"paging": paging, "records": "data"}
    if paging != "link":
        api["parameter"] = "p"
    if paging == "cursor":
        api["cursor"] = "next"
    with serve(tmp_path, {"/list": more}) as web:
        with pytest.raises(TooLarge, match="more pages"):
            read_small(api_place(tmp_path, web.uri + "list", max_pages=20, **api), "SHA256SUMS", LIMIT)
        assert count == 20
        with pytest.raises(SourceRefused, match="more records"):
            read_small(api_place(tmp_path, web.uri + "list", **api), "SHA256SUMS", LIMIT)


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/x",
        "http://127.0.0.1:1/x",
        "file:///etc/passwd",
        "//other.example.org/",
        "https://HOST/x",
    ],
)
def test_the_next_page_is_on_the_same_server_or_nowhere(tmp_path: Path, target: str) -> None:
    """A Link header is as good as a redirect for leading a client inward."""
    with serve(tmp_path, {"/list": giving([{"a": 1}], Link=f'<{target}>; rel="next"')}) as web:
        with pytest.raises(SourceRefused, match="at another place"):
            read_small(api_place(tmp_path, web.uri + "list", paging="link"), "SHA256SUMS", LIMIT)
        assert len(web.asked) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" * 100_000, "no JSON"),
        (b'[{"a": ' * 50 + b"1" + b"}]" * 50, "no JSON"),
        (b'[{"a": 1, "a": 2}]', "no JSON"),
        (b'[{"a": NaN}]', "no JSON"),
        (b'[{"a": 1e999}]', "no JSON"),
        (b'[{"a": "\\ud800"}]', "no JSON"),
        (b'[{"a": "\xff"}]', "no JSON"),
        (b'[{"a": 1}', "no JSON"),
        (b'[{"a": ' + b"9" * 10_000 + b"}]", "no JSON"),
        (b"", "no JSON"),
        (b"[1, 2]", "no list of records"),
        (b'{"a": 1}', "no list of records"),
        (b"[{}" + b",{}" * 400_000 + b"]", "larger than"),
    ],
    ids=range(13),
)
def test_a_page_that_is_no_plain_list_of_records_is_refused(tmp_path: Path, body: bytes, says: str) -> None:
    """Nested too deep, a key twice, no number, no text, too much: nothing of it is taken."""
    with serve(tmp_path, {"/list": giving(body)}) as web:
        here = api_place(tmp_path, web.uri + "list", max_page_bytes=1 << 20)
        with pytest.raises(SourceRefused, match=says):
            read_small(here, "SHA256SUMS", LIMIT)
        here.close()


@pytest.mark.parametrize(
    "digest",
    [
        "sha-256=:AAAA:",
        "sha-256=:" + "A" * 43 + "=:",
        "md5=:AAAA:",
        "sha-256",
        "sha-256=:AAAA:, sha-256=:BBBB:",
        "\x01",
    ],
    ids=range(6),
)
def test_a_page_that_is_not_what_its_content_digest_says_is_refused(tmp_path: Path, digest: str) -> None:
    """Wrong, malformed, weak, or twice: a digest that is sent has to fit (RFC 9530)."""
    with serve(tmp_path, {"/list": giving([{"a": 1}], Content_Digest=digest)}) as web:
        here = api_place(tmp_path, web.uri + "list")
        with pytest.raises((SourceRefused, SourceUnreachable)):
            read_small(here, "SHA256SUMS", LIMIT)
        here.close()


def test_the_same_answers_are_the_same_delivery(tmp_path: Path) -> None:
    """The account of what was read holds no time and no order of arrival."""
    seen = []
    with serve(tmp_path, {"/list": giving([{"a": 1}, {"a": 2}])}) as web:
        for _ in range(2):
            here = api_place(tmp_path, web.uri + "list")
            seen.append(hashlib.sha256(read_small(here, "SHA256SUMS", LIMIT)).hexdigest())
            here.close()
    assert seen[0] == seen[1]
