"""Reading from folders and web servers, bounded in size and time."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.intake import (
    LandingFailed,
    LocationError,
    NotThere,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    TooLarge,
    Transfer,
)
from assay.intake.sources import CHUNK, Deadline, Place, normal, open_place, read_small
from tests.intake.support import QUICK, Handler, serve

LIMIT = 10_000


def place(location: Path | str, seconds: float = 20.0, transfer: Transfer = QUICK) -> Place:
    return open_place(str(location), Deadline(seconds), transfer)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file in it, and one in a folder of its own."""
    root = tmp_path / "a delivery"
    (root / "part").mkdir(parents=True)
    (root / "one.csv").write_bytes(b"one")
    (root / "part" / "two #2 100%.csv").write_bytes(b"two")
    return root


# ------------------------------------------------------------------------------------------------------------- folders
def test_a_path_and_a_file_uri_name_the_same_folder(folder: Path) -> None:
    """Blanks and other letters may be percent-encoded."""
    for location in (str(folder), folder.as_uri(), folder.as_uri() + "/", f"file://localhost{folder}"):
        assert read_small(place(location), "part/two #2 100%.csv", LIMIT) == b"two"
        assert normal(location if "localhost" not in location else folder.as_uri()) == folder.as_uri()


def test_a_listing_names_all_files_with_their_sizes(folder: Path) -> None:
    """Folders are walked; links and pipes are named with what they are, and not followed."""
    (folder / "link.csv").symlink_to("one.csv")
    (folder / "away").symlink_to("/etc")
    os.mkfifo(folder / "pipe.csv")
    listing = place(folder).listing(100)
    assert listing is not None
    assert listing.files == {"one.csv": 3, "part/two #2 100%.csv": 3}
    assert listing.refused == {
        "link.csv": "a symbolic link",
        "away": "a symbolic link",
        "pipe.csv": "a named pipe",
    }


def test_a_listing_refuses_names_that_cannot_be_shown_and_writes_them_out(folder: Path) -> None:
    """Such a name can be recorded, though no manifest can list it, and it is not taken for another one."""
    with open(os.fsencode(folder) + b"/caf\xe9.csv", "wb") as file:
        file.write(b"x")
    listing = place(folder).listing(100)
    assert listing is not None
    assert "caf\\xe9.csv" in listing.refused


def test_a_folder_with_too_many_files_is_not_walked_to_its_end(folder: Path) -> None:
    """The walk ends at the bound."""
    for number in range(20):
        (folder / f"{number}.csv").touch()
    with pytest.raises(TooLarge, match="too many files"):
        place(folder).listing(10)


def test_a_folder_of_many_levels_is_not_followed_down(tmp_path: Path) -> None:
    """Nesting is bounded."""
    deep = tmp_path
    for _ in range(70):
        deep = deep / "d"
        deep.mkdir()
    (deep / "x.csv").touch()
    listing = place(tmp_path).listing(1000)
    assert listing is not None
    assert not listing.files
    assert "levels down" in next(iter(listing.refused.values()))


@pytest.mark.parametrize("path", ["link.csv", "away/passwd", "part/inner/one.csv"])
def test_a_link_is_refused_wherever_it_stands(folder: Path, path: str) -> None:
    """As the file itself and as any folder on its way."""
    (folder / "link.csv").symlink_to("one.csv")
    (folder / "away").symlink_to("/etc")
    (folder / "part" / "inner").symlink_to("..")
    with pytest.raises(SourceRefused, match="not a regular file"):
        read_small(place(folder), path, LIMIT)


def test_a_pipe_or_a_socket_or_a_folder_is_refused_without_waiting(folder: Path) -> None:
    """Opening a pipe that nobody writes to would wait for ever."""
    os.mkfifo(folder / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as unix:
        here = Path.cwd()
        os.chdir(folder)
        try:
            unix.bind("socket.csv")
        finally:
            os.chdir(here)
        for path, kind in (("pipe.csv", "pipe"), ("socket.csv", "socket"), ("part", "folder")):
            with pytest.raises(SourceRefused) as raised:
                read_small(place(folder), path, LIMIT)
            assert kind in str(raised.value.found)


def test_a_file_larger_than_the_limit_is_not_read(folder: Path) -> None:
    """Its size says so before the first byte."""
    with pytest.raises(TooLarge) as raised:
        read_small(place(folder), "one.csv", 2)
    assert raised.value.found == "3 bytes"
    assert read_small(place(folder), "one.csv", 3) == b"one"


def test_a_file_that_grows_while_it_is_read_is_cut_at_the_limit(folder: Path) -> None:
    """What its size said does not count."""
    path = folder / "one.csv"

    def sink(chunks: Iterator[bytes]) -> int:
        total = 0
        for chunk in chunks:
            total += len(chunk)
            with path.open("ab") as file:
                file.write(b"x" * 100)
        return total

    with pytest.raises(TooLarge):
        place(folder).fetch("one.csv", 250, sink)


def test_a_file_that_is_not_there_is_said_to_be_missing(folder: Path) -> None:
    """In a folder that is there, and in one that is not."""
    for path in ("two.csv", "nowhere/two.csv"):
        with pytest.raises(NotThere):
            read_small(place(folder), path, LIMIT)


def test_a_folder_that_cannot_be_entered_is_an_error_of_this_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a verdict on the delivery: mending permissions and running again helps."""

    def refuse(*args: object, **more: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        with pytest.raises(LandingFailed, match="cannot be read"):
            place(folder).listing(10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", refuse)
        with pytest.raises(LandingFailed, match="cannot be read"):
            read_small(place(folder), "one.csv", LIMIT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(LandingFailed, match="cannot be read"):
            read_small(place(folder), "one.csv", LIMIT)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("/nowhere/at/all", "no delivery at"),
        ("gopher://host/delivery", "cannot be read from gopher://"),
        ("s3:///delivery", "names no bucket"),
        ("sftp:///delivery", "names no server"),
        ("sftp://host/delivery", "no contract says which key"),
        ("sql://warehouse/", "no contract says what to ask"),
        ("file://other.example.org/delivery", "another machine"),
        ("http://", "names no server"),
        ("http://[::1/", "names no server"),
        ("http://host:port/", "names no server"),
        ("https:///folder", "names no server"),
    ],
)
def test_a_location_that_cannot_be_one_is_a_usage_error(location: str, says: str) -> None:
    """Exit code 2, before anything is fetched."""
    with pytest.raises(LocationError, match=says) as raised:
        place(location)
    assert raised.value.exit_code == 2


def test_a_file_is_no_delivery(folder: Path) -> None:
    """The message names the folder that was probably meant."""
    with pytest.raises(LocationError, match="not a folder") as raised:
        place(folder / "one.csv")
    assert str(folder) in str(raised.value.next_step)


# --------------------------------------------------------------------------------------------------------- web servers
def test_files_are_fetched_by_their_exact_names(folder: Path) -> None:
    """Signs that mean something in an address are encoded; a slash at the end of the folder is optional."""
    with serve(folder, {"/part/two%20%232%20100%25.csv": lambda h: h.give(b"asked rightly") is None}) as web:
        for uri in (web.uri, web.uri.rstrip("/")):
            here = place(uri)
            assert read_small(here, "one.csv", LIMIT) == b"one"
            assert read_small(here, "part/two #2 100%.csv", LIMIT) == b"asked rightly"
            assert here.listing(10) is None
            here.close()


def test_a_query_goes_with_every_file_and_into_no_message(folder: Path) -> None:
    """Tokens of pre-signed addresses, and passwords, are for the server only."""
    with serve(folder) as web:
        secret = web.uri.replace("127.0.0.1", "user:hunter2@127.0.0.1") + "?token=s3cret"
        here = place(secret)
        assert read_small(here, "one.csv", LIMIT) == b"one"
        assert web.asked == ["/one.csv?token=s3cret"]
        assert here.shown == web.uri
        with pytest.raises(NotThere) as raised:
            read_small(here, "none.csv", LIMIT)
        assert "s3cret" not in str(raised.value)
        assert "hunter2" not in str(raised.value)


def test_an_answer_that_may_change_is_asked_for_again(folder: Path) -> None:
    """500, then 503, then the file."""
    answers = [503, 500]

    def flaky(handler: Handler) -> bool:
        if answers:
            handler.give(b"later", status=answers.pop())
            return True
        return False

    with serve(folder, {"/one.csv": flaky}) as web:
        assert read_small(place(web.uri), "one.csv", LIMIT) == b"one"
        assert len(web.asked) == 3


def test_a_server_that_stays_out_of_order_is_unreachable(folder: Path) -> None:
    """Transient: a later run may succeed. Its answer is quoted."""
    with serve(folder, {"/one.csv": lambda h: h.give(b"", status=503) is None}) as web:
        with pytest.raises(SourceUnreachable, match="could not be fetched") as raised:
            read_small(place(web.uri), "one.csv", LIMIT)
        assert "503" in str(raised.value)
        assert len(web.asked) == QUICK.attempts


def test_a_server_may_say_how_long_to_wait(folder: Path) -> None:
    """Retry-After is heeded, up to a bound."""
    told = [1]

    def busy(handler: Handler) -> bool:
        if not told:
            return False
        told.pop()
        handler.send_response(429)
        handler.send_header("Retry-After", "1")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    with serve(folder, {"/one.csv": busy}) as web:
        before = time.monotonic()
        assert read_small(place(web.uri), "one.csv", LIMIT) == b"one"
        assert time.monotonic() - before >= 1


@pytest.mark.parametrize("status", [401, 403, 400, 204, 206])
def test_any_other_answer_than_the_file_is_a_refusal(folder: Path, status: int) -> None:
    """Half a file (206) is not the file; nothing is asked twice."""
    with serve(folder, {"/one.csv": lambda h: h.give(b"", status=status) is None}) as web:
        with pytest.raises(SourceRefused, match="does not give") as raised:
            read_small(place(web.uri), "one.csv", LIMIT)
        assert str(status) in str(raised.value)
        assert len(web.asked) == 1


def test_nobody_at_the_port_is_unreachable(folder: Path) -> None:
    """The message names address and reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SourceUnreachable) as raised:
            read_small(place(f"http://127.0.0.1:{taken.getsockname()[1]}/"), "one.csv", LIMIT)
    assert "refused" in str(raised.value)
    assert "check that the address is right" in str(raised.value)


def test_something_else_than_a_web_server_at_the_port_is_unreachable() -> None:
    """A port that another program holds answers in another language."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def greet() -> None:
            for _ in range(QUICK.attempts):
                client, _ = server.accept()
                with client:
                    client.sendall(b"220 smtp.example.org ESMTP\r\n")
                    client.recv(1000)

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        with pytest.raises(SourceUnreachable):
            read_small(place(f"http://127.0.0.1:{server.getsockname()[1]}/"), "one.csv", LIMIT)
        thread.join(5)


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    """`.invalid` never does (RFC 6761)."""
    with pytest.raises(SourceUnreachable):
        read_small(place("http://nobody.invalid/"), "one.csv", LIMIT)


def test_a_redirect_on_the_same_server_is_followed(folder: Path) -> None:
    """Relative and absolute ones; the bytes are checked as any others."""

    def away(handler: Handler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", "/part/../one.csv" if "first" in handler.path else "/first.csv")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    with serve(folder, {"/first.csv": away, "/zero.csv": away}) as web:
        assert read_small(place(web.uri), "zero.csv", LIMIT) == b"one"


def test_redirects_in_a_ring_end(folder: Path) -> None:
    """After a few, not never."""

    def round_and_round(handler: Handler) -> bool:
        handler.send_response(307)
        handler.send_header("Location", "/one.csv")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    with serve(folder, {"/one.csv": round_and_round}) as web:
        with pytest.raises(SourceRefused, match="one redirect to the next"):
            read_small(place(web.uri), "one.csv", LIMIT)
        assert len(web.asked) == QUICK.redirects + 1


def test_the_deadline_is_for_all_files_together(folder: Path) -> None:
    """A place whose time is over gives nothing more, local or not."""
    for location in (str(folder),):
        here = place(location, seconds=0.0)
        with pytest.raises(SourceTimeout, match="did not arrive in time") as raised:
            read_small(here, "one.csv", LIMIT)
        assert "bounds.timeout" in str(raised.value)


def test_large_files_come_in_pieces(tmp_path: Path) -> None:
    """Memory is set by the piece, not by the file."""
    (tmp_path / "large.bin").write_bytes(os.urandom(3 * CHUNK + 5))

    def sizes(chunks: Iterator[bytes]) -> list[int]:
        return [len(chunk) for chunk in chunks]

    with serve(tmp_path) as web:
        for location in (str(tmp_path), web.uri):
            seen = place(location).fetch("large.bin", 10 * CHUNK, sizes)
            assert max(seen) <= CHUNK
            assert sum(seen) == 3 * CHUNK + 5
