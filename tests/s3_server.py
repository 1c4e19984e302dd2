"""A private S3 server for tests: SeaweedFS's `weed` as a normal process on loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]


@dataclass(frozen=True)
class Server:
    """A running server: its address, and the key pairs of its owner and of a guest who may do nothing."""

    endpoint: str
    access_key: str = "owner"
    secret_key: str = "owner-secret"
    guest: str = "guest"
    guest_secret: str = "guest-secret"


def program() -> str | None:
    """The `weed` of this machine."""
    return shutil.which(os.environ.get("ASSAY_TEST_WEED") or "weed")


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Start it; everything that it writes lies in the folder. Another program may take a port first: then once more."""
    for attempt in range(4):
        here = folder / str(attempt)
        server, process = _started(here)
        try:
            if _answers(server, process):
                yield server
                return
        finally:
            process.kill()  # it takes its time over anything gentler
            process.wait()
    raise RuntimeError(f"the S3 server did not start: {(here / 'log').read_text(errors='replace')[-2000:]}")


def _started(folder: Path) -> tuple[Server, subprocess.Popen[bytes]]:
    weed = program()
    assert weed is not None
    (folder / "data").mkdir(parents=True)
    server = Server(f"http://127.0.0.1:{_free()}")
    identities = [
        {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
        for name, key, secret, actions in (
            ("owner", server.access_key, server.secret_key, ACTIONS),
            ("guest", server.guest, server.guest_secret, ["Read:elsewhere"]),
        )
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    command = [
        weed,
        f"-logdir={folder}",
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder / 'data'}",
    ]
    command += [f"-{name}.port={_free()}" for name in ("master", "volume", "filer")]
    command += [f"-{name}.port.grpc={_free()}" for name in ("master", "volume", "filer", "s3")]
    command += ["-s3", f"-s3.port={server.endpoint.rpartition(':')[2]}", f"-s3.config={folder / 's3.json'}"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64", "-volume.max=300"]
    with (folder / "log").open("wb") as log:
        return server, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(server: Server, process: subprocess.Popen[bytes]) -> bool:
    """Wait until a bucket can be made and filled: the gateway answers before the rest is ready."""
    for _ in range(240):
        if process.poll() is not None:
            return False
        try:
            client = client_of(server)
            client.create_bucket(Bucket="ready")
            client.put_object(Bucket="ready", Key="x", Body=b"x")
            return True
        except Exception:  # noqa: BLE001 - not yet
            time.sleep(0.25)
    return False


def client_of(server: Server):
    """A client with the owner's keys."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"}, retries={"max_attempts": 0}, connect_timeout=5, read_timeout=20
        ),
    )
