"""A private SSH server with SFTP for tests: Debian's sshd as a normal process on loopback, with keys of its own."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Server:
    """A running server: its port, its key as contracts pin it, and who may enter with which private key."""

    port: int
    host_key: str
    user: str
    private_key: Path


@contextmanager
def running(folder: Path, key_type: str = "ed25519") -> Iterator[Server]:
    """Start it; its files lie in the folder."""
    folder.mkdir(mode=0o700)
    for name, kind in (("host", key_type), ("user", "ed25519")):
        command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as root, sshd wants an empty folder there
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "config")], stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        kind, key = (folder / "host.pub").read_text().split()[:2]
        yield Server(port, f"{kind} {key}", getpass.getuser(), folder / "user")
    finally:
        process.terminate()
        process.wait(10)
