"""What reading from web servers adds: resuming, pace, credentials, other hosts, and machines that are never reached."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore
import pytest

from assay.contract import Source
from assay.intake import (
    CredentialsMissing,
    NotThere,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    TooLarge,
    Transfer,
)
from assay.intake.sources import Deadline, Place, open_place, read_small
from assay.intake.sources.network import Guard, Pace, is_public, pause
from assay.intake.sources.partial import WORTH, Parts
from tests.intake.support import QUICK, Handler, finding, new_line, serve

LIMIT = 100 << 20
BIG = hashlib.sha256(b"seed").digest() * (WORTH // 32 + 1000)
ETAG = '"version-1"'


def source(uri: str = "https://x.example.org/", **transport: Any) -> Source:
    return Source.model_validate(
        {"id": "west", "publisher": "census", "uri": uri, "signature": "S.sig", "transport": transport}
    )


def place(uri: str, work: Path | None = None, *, seconds: float = 20.0, **transport: Any) -> Place:
    return open_place(uri, Deadline(seconds), QUICK, source=source(uri, **transport), work=work)


class Ranged:
    """Gives a file by ranges, and breaks off where it is told to."""

    def __init__(self, data: bytes, *breaks: int, etag: str = ETAG) -> None:
        self.data, self.etag, self.breaks = data, etag, list(breaks)
        self.ranges: list[str | None] = []

    def __call__(self, handler: Handler) -> bool:
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        start = 0
        if asked and handler.headers.get("If-Range") == self.etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        else:
            handler.send_response(200)
        handler.send_header("ETag", self.etag)
        handler.send_header("Content-Length", str(len(self.data) - start))
        handler.end_headers()
        end = start + self.breaks.pop(0) if self.breaks else len(self.data)
        handler.wfile.write(self.data[start:end])
        handler.close_connection = end < len(self.data)
        return True


# ------------------------------------------------------------------------------------------------------------ resuming
def test_a_download_that_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    """Twice; no byte comes twice, and the sink never notices."""
    server = Ranged(BIG, 3_000_000, 2_000_000)
    with serve(tmp_path, {"/big.bin": server}) as web:
        starts: list[int] = []

        def sink(chunks: Iterator[bytes]) -> bytes:
            starts.append(1)
            return b"".join(chunks)

        assert place(web.uri).fetch("big.bin", LIMIT, sink) == BIG
    assert starts == [1]
    first, second = (int(str(each).removeprefix("bytes=").rstrip("-")) for each in server.ranges[1:])
    assert server.ranges[0] is None
    assert 0 < first <= 3_000_000 < second <= 5_000_000


@pytest.mark.parametrize("etag", ["", 'W/"weak"', '"two", "tags"', '"\x7f"'])
def test_without_a_strong_etag_a_file_is_read_from_its_start_again(tmp_path: Path, etag: str) -> None:
    """Nothing else says that both halves are of one version (RFC 9110, section 13.1.5)."""
    server = Ranged(b"abc" * 1000, 1500, etag=etag)
    with serve(tmp_path, {"/one.bin": server}) as web:
        assert read_small(place(web.uri), "one.bin", LIMIT) == b"abc" * 1000
    assert server.ranges == [None, None]


def test_what_a_killed_process_left_is_used_by_the_next(tmp_path: Path) -> None:
    """SIGKILL in the middle of a download; then only the rest is asked for."""
    work = tmp_path / "work"
    server = Ranged(BIG)
    with serve(tmp_path, {"/big.bin": server}) as web:
        child = os.fork()
        if not child:
            got = 0
            try:
                for_ever: Any = lambda chunks: [die(len(chunk)) for chunk in chunks]  # noqa: E731

                def die(size: int) -> None:
                    nonlocal got
                    got += size
                    if got > 5_000_000:
                        os.kill(os.getpid(), signal.SIGKILL)

                place(web.uri, work).fetch("big.bin", LIMIT, for_ever)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        (part,) = (work / "parts").glob("*.part")
        assert part.stat().st_mode & 0o777 == 0o600
        assert read_small(place(web.uri, work), "big.bin", LIMIT) == BIG
    assert int(str(server.ranges[-1]).removeprefix("bytes=").rstrip("-")) > 4_000_000
    assert list((work / "parts").iterdir()) == []


def left_behind(work: Path, address: str, data: bytes = BIG[:1_000_000], etag: str = ETAG) -> Path:
    """A part of a file, as a killed process leaves it."""
    (work / "parts").mkdir(parents=True)
    path = work / "parts" / f"{hashlib.sha256(address.encode()).hexdigest()}.part"
    head = json.dumps({"etag": etag, "size": len(BIG)}).encode().ljust(4096, b"\0")
    path.write_bytes(head + data)
    return path


def test_a_part_of_another_version_is_left_out(tmp_path: Path) -> None:
    """The server says that the file has changed: all of it is read."""
    work = tmp_path / "work"
    server = Ranged(BIG, etag='"version-2"')
    with serve(tmp_path, {"/big.bin": server}) as web:
        left_behind(work, f"{web.uri}big.bin")
        assert read_small(place(web.uri, work), "big.bin", LIMIT) == BIG
    assert server.ranges == ["bytes=1000000-", None]


@pytest.mark.parametrize("damage", [b"", b"{", b"\0" * 5000, b'{"etag": 1, "size": "x"}'.ljust(5000)])
def test_a_part_that_cannot_be_read_is_left_out(tmp_path: Path, damage: bytes) -> None:
    """Whatever the disk made of it."""
    work = tmp_path / "work"
    server = Ranged(BIG)
    with serve(tmp_path, {"/big.bin": server}) as web:
        left_behind(work, f"{web.uri}big.bin").write_bytes(damage)
        assert read_small(place(web.uri, work), "big.bin", LIMIT) == BIG
    assert server.ranges == [None]


def test_a_part_that_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    """Both read all of it."""
    parts = Parts(tmp_path)
    with parts.of("http://x/big") as mine, parts.of("http://x/big") as yours:
        assert mine.begin(ETAG, len(BIG)) is not None
        assert yours.begin(ETAG, len(BIG)) is None
    assert len(list(tmp_path.iterdir())) == 1


def test_small_files_and_refused_ones_leave_no_part(tmp_path: Path) -> None:
    """Only what is worth going on with is kept."""
    work = tmp_path / "work"
    with serve(tmp_path, {"/small.bin": Ranged(b"abc"), "/big.bin": Ranged(BIG)}) as web:
        here = place(web.uri, work)
        read_small(here, "small.bin", LIMIT)
        with pytest.raises(TooLarge):
            read_small(here, "big.bin", 1000)
        with pytest.raises(NotThere):
            read_small(here, "none.bin", LIMIT)
    assert list((work / "parts").iterdir()) == []


# -------------------------------------------------------------------------------------------- pace, credentials, others
def test_requests_keep_their_pace() -> None:
    """The n-th request of a second is n - 1 intervals after the first, whoever asks."""
    pace = Pace(Deadline(60), 50.0, None)
    turns: list[float] = []
    import time

    before = time.monotonic()
    for _ in range(6):
        pace.request()
        turns.append(time.monotonic() - before)
    assert all(turn >= number / 50 - 0.001 for number, turn in enumerate(turns))


def test_pauses_grow_and_differ() -> None:
    """So that not all who wait for a server come back in the same moment."""
    transfer = Transfer(backoff=1.0)
    assert len({pause(transfer, 0) for _ in range(10)}) > 1
    assert all(0.25 <= pause(transfer, 0) <= 1.0 and 1.0 <= pause(transfer, 1) <= 4.0 for _ in range(50))
    assert pause(transfer, 50) <= 10


def test_several_files_come_at_once(tmp_path: Path, assay_home: Path) -> None:
    """Four requests are open at the same time: each waits for the others."""
    together = threading.Barrier(4, timeout=20)

    def waiting(handler: Handler) -> bool:
        together.wait()
        return False

    files = {f"{number}.csv": b"%d" % number for number in range(4)}
    with new_line(tmp_path) as line:
        folder = line.deliver(files=files)
        with serve(folder, {f"/{name}": waiting for name in files}) as web:
            contract = line.contract(sources=[line.source(uri=web.uri)])
            result = line.verify(web.uri, contract)
    assert result.verdict == "accept"
    assert [file.path for file in result.files] == sorted(["delivery.json", *files])


@pytest.mark.parametrize("form", ["uri", "json", "variables", "token"])
def test_credentials_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """An Airflow connection in either form, or variables that the contract names."""
    (tmp_path / "one.csv").write_bytes(b"one")
    seen: list[str | None] = []
    plain = "Basic " + base64.b64encode(b"ann:p@ss/word").decode()
    transport: dict[str, Any] = {"connection": "Feed"}
    if form == "uri":
        monkeypatch.setenv("AIRFLOW_CONN_FEED", "http://ann:p%40ss%2Fword@host/")
    elif form == "json":
        body = {"conn_type": "http", "login": "ann", "password": "p@ss/word"}
        monkeypatch.setenv("AIRFLOW_CONN_FEED", json.dumps(body))
    elif form == "variables":
        transport = {"credentials": {"user": "ASSAY_CREDENTIAL_U", "password": "ASSAY_CREDENTIAL_P"}}
        monkeypatch.setenv("ASSAY_CREDENTIAL_U", "ann")
        monkeypatch.setenv("ASSAY_CREDENTIAL_P", "p@ss/word")
    else:
        transport = {"credentials": {"token": "ASSAY_CREDENTIAL_T"}}
        monkeypatch.setenv("ASSAY_CREDENTIAL_T", "abc")
        plain = "Bearer abc"

    def look(handler: Handler) -> bool:
        seen.append(handler.headers.get("Authorization"))
        return False

    with serve(tmp_path, {"/one.csv": look}) as web:
        assert read_small(place(web.uri, **transport), "one.csv", LIMIT) == b"one"
    assert seen == [plain]


@pytest.mark.parametrize("value", [None, "{broken s3cret", '{"port": "s3cret"}', "http://h:s3cret/"])
def test_credentials_that_are_missing_or_broken_are_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    """The message has the variable's name and nothing of what it holds."""
    if value is not None:
        monkeypatch.setenv("AIRFLOW_CONN_FEED", value)
    with pytest.raises(CredentialsMissing, match="AIRFLOW_CONN_FEED") as raised:
        place("http://127.0.0.1:1/", connection="feed")
    assert "s3cret" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_credentials_do_not_follow_a_redirect_to_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that the contract allows gets the request, and no password."""
    monkeypatch.setenv("ASSAY_CREDENTIAL_T", "abc")
    (tmp_path / "one.csv").write_bytes(b"one")
    seen: list[str | None] = []

    def look(handler: Handler) -> bool:
        seen.append(handler.headers.get("Authorization"))
        return False

    with serve(tmp_path, {"/one.csv": look}) as other:

        def away(handler: Handler) -> bool:
            seen.append(handler.headers.get("Authorization"))
            handler.send_response(302)
            handler.send_header("Location", f"{other.uri}one.csv")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        with serve(tmp_path, {"/one.csv": away}) as web:
            here = place(web.uri, credentials={"token": "ASSAY_CREDENTIAL_T"}, redirect_hosts=["127.0.0.1"])
            assert read_small(here, "one.csv", LIMIT) == b"one"
            with pytest.raises(SourceRefused, match="another place"):
                read_small(place(web.uri, redirect_hosts=["cdn.example.org"]), "one.csv", LIMIT)
    assert seen == ["Bearer abc", None, None]


# ------------------------------------------------------------------------------------------------- reachable machines
@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:169.254.169.254", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::808:808", True),
        ("2002:a9fe:a9fe::1", False),
    ],
)
def test_private_addresses_are_known_in_every_spelling(address: str, public: bool) -> None:
    """Also IPv4 ones inside IPv6."""
    assert is_public(address) is public


def answers(monkeypatch: pytest.MonkeyPatch, *found: str) -> list[tuple[str, int]]:
    """Names lead to these addresses, one after the other, the last one for ever; the connections that were tried."""
    left, tried = list(found), []

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(self: Any, host: str, port: int, *_: Any, **__: Any) -> None:
        tried.append((host, port))
        raise httpcore.ConnectError("nobody there")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    return tried


def test_a_public_source_never_leads_to_a_private_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a redirect that the contract allows, to a name that leads inward."""
    tried = answers(monkeypatch, "93.184.216.34", "169.254.169.254")
    guard = Guard("data.example.org")
    with pytest.raises(httpcore.ConnectError):
        guard.connect_tcp("data.example.org", 443)
    with pytest.raises(SourceRefused, match="not on the open internet"):
        guard.connect_tcp("cdn.example.org", 443)
    assert tried == [("93.184.216.34", 443)]


def test_a_name_that_leads_elsewhere_the_second_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the address that is connected to is the one that was looked at."""
    tried = answers(monkeypatch, "93.184.216.34", "127.0.0.1")
    here = open_place(
        "https://data.example.org/", Deadline(20), QUICK, source=source("https://data.example.org/")
    )
    with pytest.raises(SourceRefused, match=r"127\.0\.0\.1"):
        read_small(here, "one.csv", LIMIT)
    assert tried == [("93.184.216.34", 443)]


def test_a_private_host_that_the_contract_names_is_reached_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Publishers inside the house are publishers too."""
    tried = answers(monkeypatch, "10.0.0.5", "10.0.0.6")
    guard = Guard("files.internal")
    with pytest.raises(httpcore.ConnectError):
        guard.connect_tcp("files.internal", 443)
    with pytest.raises(SourceRefused):
        guard.connect_tcp("admin.internal", 443)
    assert tried == [("10.0.0.5", 443)]


def test_nothing_is_asked_after_the_deadline(tmp_path: Path) -> None:
    """A place whose time is over answers so."""
    with pytest.raises(SourceTimeout):
        read_small(place("http://127.0.0.1:1/", seconds=0), "one.csv", LIMIT)


def test_an_unreachable_source_leaves_no_traceback_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors name neither token nor password."""
    monkeypatch.setenv("ASSAY_CREDENTIAL_T", "s3cret")
    with pytest.raises(SourceUnreachable) as raised:
        read_small(
            place("http://127.0.0.1:1/?sig=s3cret", credentials={"token": "ASSAY_CREDENTIAL_T"}), "x", LIMIT
        )
    assert "s3cret" not in str(raised.value)


def test_what_came_whole_before_the_source_broke_off_is_in_the_store(
    tmp_path: Path, assay_home: Path
) -> None:
    """Running again asks for it again, and stores it once."""
    with new_line(tmp_path) as line:
        folder = line.deliver(files={"a.csv": b"whole", "b.csv": b"never"})
        gone = {"/b.csv": lambda h: h.give(b"", status=503) is None}
        with serve(folder, gone) as web, pytest.raises(SourceUnreachable):
            line.verify(web.uri)
        assert line.store.exists(hashlib.sha256(b"whole").hexdigest())
        assert line.registered() == []
        assert finding(line.verify(folder), "intake.checksums").outcome == "passed"
