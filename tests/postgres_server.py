"""A private PostgreSQL server for tests: its own folder, a free port on loopback, a random password, gone afterwards.

Used by `tests/conftest.py`, and by `.ci/run` as a program: `python tests/postgres_server.py start FOLDER` prints the
URL, `... stop FOLDER` ends the server.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

MISSING = (
    "no PostgreSQL server here: `apt-get install postgresql` (the test run starts its own), "
    "or set ASSAY_TEST_POSTGRES_URL to a role that may create databases"
)
# A test database need not survive a power cut.
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
}


def programs() -> Path | None:
    """The folder of the newest `initdb` and `pg_ctl` on this machine, on PATH or where Debian keeps them."""
    on_path = shutil.which("initdb")
    if on_path and shutil.which("pg_ctl"):
        return Path(on_path).resolve().parent
    found = [
        path.parent
        for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")
        if (path.parent / "pg_ctl").exists()
    ]
    return max(found, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), default=None)


def owner() -> str | None:
    """The user to run as: PostgreSQL refuses root, so root lends it to `postgres`; None means as we are."""
    if os.geteuid() != 0:
        return None
    pwd.getpwnam("postgres")
    return "postgres"


def available() -> bool:
    """Whether `start` can work on this machine."""
    try:
        owner()
    except KeyError:
        return False
    return programs() is not None


def _run(folder: Path, program: str, *arguments: str) -> None:
    binaries = programs()
    if binaries is None:
        raise RuntimeError(MISSING)
    # pg_ctl leaves the server running, which would hold a pipe open for ever: hence a file.
    log = folder / "commands.log"
    with log.open("ab") as out:
        done = subprocess.run(
            [str(binaries / program), *arguments],
            user=owner(),
            group=owner(),
            extra_groups=[] if owner() else None,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": str(folder)},
            timeout=120,
            check=False,
        )
    if done.returncode:
        server = folder / "server.log"
        told = [path.read_text(errors="replace")[-2000:] for path in (log, server) if path.exists()]
        raise RuntimeError("\n".join([f"{program} failed with {done.returncode}:", *told]))


def start(folder: Path) -> str:
    """Makes a cluster in `folder`, starts it, and returns a SQLAlchemy URL of its superuser.

    For root the folders above `folder` must let the user postgres in, as /tmp does.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = secrets.token_urlsafe(24)
    (folder / "password").touch(mode=0o600)
    (folder / "password").write_text(password)
    user = owner()
    if user:
        shutil.chown(folder, user)
        shutil.chown(folder / "password", user)
    _run(folder, "initdb", "-D", str(folder / "data"), "-U", "assay_test", "-A", "scram-sha-256", "-E", "UTF8",
         "--no-sync", "--pwfile", str(folder / "password"))  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = " ".join(f"-c {name}={value}" for name, value in {**OPTIONS, "port": str(port)}.items())
    _run(folder, "pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "server.log"), "-w", "-t", "60",
         "-o", options, "start")  # fmt: skip
    return f"postgresql+psycopg2://assay_test:{password}@127.0.0.1:{port}/postgres"


def stop(folder: Path) -> None:
    """Ends the server of `folder` and removes the folder. Does nothing where there is none."""
    if (folder / "data" / "postmaster.pid").exists():
        _run(folder, "pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder, ignore_errors=True)


def new_folder() -> Path:
    """A folder that the server's user can reach, unlike most of pytest's own."""
    return Path(tempfile.mkdtemp(prefix="assay-postgres-"))


def main(argv: list[str]) -> int:
    """Runs `start FOLDER` or `stop FOLDER`."""
    if len(argv) != 3 or argv[1] not in ("start", "stop"):
        print(__doc__, file=sys.stderr)
        return 2
    if argv[1] == "stop":
        stop(Path(argv[2]))
    elif not available():
        print(MISSING, file=sys.stderr)
        return 1
    else:
        print(start(Path(argv[2])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
