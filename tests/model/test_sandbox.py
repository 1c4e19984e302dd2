"""Commands that run on bytes that are not trusted: what they can reach, how long, and what is left of them."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from assay.model import confine
from assay.model.sandbox import Ended, run_confined


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A confined process cannot write what it has covered, and would say so instead of what the test waits for."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)


def confined(folder: Path, code: str, **limits: float) -> Ended:
    """Run Python code in the sandbox."""
    given = {"seconds": 60.0, "memory_bytes": 2**30, "file_bytes": 2**20, **limits}
    return run_confined(
        [sys.executable, "-I", "-c", code],
        folder,
        seconds=given["seconds"],
        memory_bytes=int(given["memory_bytes"]),
        file_bytes=int(given["file_bytes"]),
    )


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "box"
    folder.mkdir()
    return folder


@pytest.fixture
def listening(tmp_path: Path) -> list[object]:
    """Somebody on the loopback and on a path, who would answer."""
    on_loopback = socket.create_server(("127.0.0.1", 0))
    on_path = socket.socket(socket.AF_UNIX)
    on_path.bind(str(tmp_path / "door"))
    on_path.listen()
    yield [on_loopback.getsockname()[1], str(tmp_path / "door")]
    on_loopback.close()
    on_path.close()


def test_a_command_ends_with_its_status_and_its_last_words(box: Path):
    """Standard output and error are one log, of which the last line is kept, printable and short."""
    ended = confined(box, "print('first'); print('la\\x1bst' + 'x' * 1000); raise SystemExit(7)")
    assert (ended.how, ended.status) == ("ended", 7)
    assert ended.last_words == ("last" + "x" * 1000)[:300]


@pytest.mark.parametrize(
    "attempt",
    [
        "s.create_connection(('127.0.0.1', PORT), 5)",
        "s.create_server(('127.0.0.1', 0))",
        "s.socket(s.AF_INET, s.SOCK_DGRAM)",
        "s.socket(s.AF_INET6)",
        "s.socket(s.AF_UNIX).connect(DOOR)",
        "s.socket(s.AF_NETLINK, s.SOCK_RAW)",
    ],
    ids=["a connection", "a server", "UDP", "IPv6", "a socket on a path", "netlink"],
)
def test_no_socket_can_be_made(box: Path, listening: list[object], attempt: str):
    """Neither to the network nor to a server of this machine; the same line gets through outside."""
    port, door = listening
    code = f"import socket as s; PORT, DOOR = {port}, {door!r}\n{attempt}"
    exec(code, {})
    ended = confined(box, code)
    assert ended.status == 1
    assert "Operation not permitted" in ended.last_words


def test_what_a_command_starts_has_no_network_either(box: Path):
    """The filter is inherited."""
    inner = "import socket; socket.socket()"
    ended = confined(
        box, f"import subprocess, sys; raise SystemExit(subprocess.call([sys.executable, '-c', {inner!r}]))"
    )
    assert ended.status == 1
    assert "Operation not permitted" in ended.last_words


def test_secrets_are_not_in_the_environment(box: Path, monkeypatch: pytest.MonkeyPatch):
    """Keys, tokens and connections stay outside."""
    monkeypatch.setenv("ASSAY_LEDGER_KEY", "precious")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "precious")
    monkeypatch.setenv("AIRFLOW_CONN_STORE", "precious")
    ended = confined(box, "import os; raise SystemExit('precious' in str(os.environ))")
    assert (ended.how, ended.status) == ("ended", 0)


def test_it_works_in_its_folder_and_temporary_files_go_there(box: Path):
    """The folder is where it starts, and TMPDIR."""
    code = "import os, tempfile; open('made', 'w').write(os.getcwd() + ' ' + tempfile.gettempdir())"
    assert confined(box, code).status == 0
    assert (box / "made").read_text() == f"{box} {box}"


def test_nothing_is_written_outside_of_its_folder(box: Path, tmp_path: Path):
    """Where the kernel has Landlock."""
    outside = tmp_path / "outside"
    ended = confined(box, f"open({str(outside)!r}, 'w')")
    has_landlock = confine.landlock_version() > 0
    assert outside.exists() is not has_landlock
    assert ("Permission denied" in ended.last_words) is has_landlock


def test_too_slow_a_command_is_ended(box: Path):
    """After its time, with all that it started."""
    assert confined(box, "import time; time.sleep(600)", seconds=1.0).how == "too_slow"


def test_too_large_a_command_is_ended(box: Path):
    """By the memory that is really used, of all its processes."""
    code = "import time; held = b'x' * (300 << 20); time.sleep(600)"
    assert confined(box, code, memory_bytes=100 << 20).how == "too_large"


def test_no_file_grows_beyond_its_limit(box: Path):
    """The disk is not filled by one write."""
    ended = confined(box, "open('big', 'wb').write(b'x' * (8 << 20))", file_bytes=1 << 20)
    assert ended.status
    assert (box / "big").stat().st_size <= 1 << 20


def _gone(process: Path) -> bool:
    try:
        return "\nState:\tZ" in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("escape", ["", "os.setsid()\n        ", "os.setpgid(0, 0)\n        "])
def test_what_a_command_leaves_behind_is_ended_with_it(box: Path, escape: str):
    """A child that outlives its parent, even one that leaves the group, is gone when the call returns."""
    code = f"""
import os, time
if os.fork() == 0:
    try:
        {escape}pass
    except PermissionError:
        pass
    open('pid', 'w').write(str(os.getpid()))
    time.sleep(600)
while not (os.path.exists('pid') and os.path.getsize('pid')):
    time.sleep(0.01)
"""
    assert confined(box, code).status == 0
    child = Path("/proc") / (box / "pid").read_text()
    # It was killed; how soon the kernel has taken it away is the machine's business.
    assert any(_gone(child) or time.sleep(0.05) for _ in range(400))


def test_a_command_that_multiplies_is_ended_whole(box: Path):
    """Children that start children while they are being ended do not get away."""
    code = """
import os, time
for _ in range(5):
    if os.fork() == 0:
        open(f'pid-{os.getpid()}', 'w')
time.sleep(600)
"""
    assert confined(box, code, seconds=2.0).how == "too_slow"
    born = [Path("/proc") / path.name.removeprefix("pid-") for path in box.glob("pid-*")]
    assert len(born) > 5
    alive = [place for place in born if place.exists() and str(box) in _working_directory(place)]
    assert alive == []


def _working_directory(process: Path) -> str:
    try:
        return str((process / "cwd").readlink())
    except OSError:
        return ""


def test_where_the_network_cannot_be_taken_away_the_command_is_not_started(
    box: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Fail closed: on a machine that the filter does not know, nothing runs, and the reason is told."""
    strange = tmp_path / "confine.py"
    text = Path(confine.__file__).read_text(encoding="utf-8")
    strange.write_text(text.replace("machine = platform.machine()", "machine = 'pdp11'"))
    monkeypatch.setattr(confine, "__file__", str(strange))
    ended = confined(box, "open('started', 'w')")
    assert ended.how == "unconfined"
    assert "pdp11" in ended.last_words
    assert not (box / "started").exists()


def test_a_filter_without_effect_is_noticed(box: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Whether sockets are really gone is tried, not assumed."""
    blunt = tmp_path / "confine.py"
    text = Path(confine.__file__).read_text(encoding="utf-8")
    blunt.write_text(text.replace("(41, 112,", "(112,").replace("(198, 157,", "(157,"))
    monkeypatch.setattr(confine, "__file__", str(blunt))
    ended = confined(box, "open('started', 'w')")
    assert ended.how == "unconfined"
    assert "in spite of" in ended.last_words
    assert not (box / "started").exists()


def test_two_run_beside_each_other(tmp_path: Path):
    """Each with a folder of its own; ending one does not end the other."""
    ends: dict[str, Ended] = {}
    folders = {name: tmp_path / name for name in ("slow", "good")}
    for folder in folders.values():
        folder.mkdir()
    code = {"slow": "import time; time.sleep(600)", "good": "import time; time.sleep(2); print('done')"}
    threads = [
        threading.Thread(
            target=lambda name=name: ends.update(
                {name: confined(folders[name], code[name], seconds=1.0 if name == "slow" else 60.0)}
            )
        )
        for name in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends["slow"].how == "too_slow"
    assert ends["good"] == Ended("ended", 0, "done")
