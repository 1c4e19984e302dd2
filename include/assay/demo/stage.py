"""The stage of the demonstration: folders, contract, publishers' keys, and a web server that they deliver through."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from assay.contract import add_key, load_contract
from assay.demo.data import Rounds
from assay.errors import Terminal
from assay.intake.publish import generate_key, publish
from assay.settings import Settings


class StageTaken(Terminal):
    """The demonstration's folder holds something that is not a demonstration."""


@dataclass(frozen=True)
class Stage:
    """Everything of one demonstration, in one folder.

    Attributes:
        root: The folder.
        project: The folder that holds `dags/`, `plugins/` and `include/`.
    """

    root: Path
    project: Path

    @property
    def contract(self) -> Path:
        """The data set's contract, as the demonstration changes it."""
        return self.root / "contracts" / "adult.yaml"

    @property
    def outbox(self) -> Path:
        """What the web server serves: one folder per source."""
        return self.root / "outbox"

    @property
    def sent(self) -> Path:
        """Copies of deliveries, as a replaying attacker would keep them."""
        return self.root / "sent"

    @property
    def settings(self) -> Settings:
        """Where the demonstrated Assay keeps its state."""
        home = self.root / "state"
        return Settings(
            home=home,
            database_url=f"sqlite:///{home / 'assay.db'}",
            store_uri=(home / "store").as_uri(),
            keys_dir=home / "keys",
            contracts_dir=self.contract.parent,
        )

    @property
    def environment(self) -> dict[str, str]:
        """The settings as environment variables, for Airflow's tasks."""
        return {
            "ASSAY_HOME": str(self.settings.home),
            "ASSAY_DATABASE_URL": self.settings.database_url,
            "ASSAY_STORE_URI": self.settings.store_uri,
            "ASSAY_KEYS_DIR": str(self.settings.keys_dir),
            "ASSAY_CONTRACTS_DIR": str(self.settings.contracts_dir),
        }

    def clear(self) -> None:
        """Take away an earlier demonstration.

        Raises:
            StageTaken: The folder holds something else.
        """
        if self.root.exists() and any(self.root.iterdir()) and not (self.root / ".assay-demo").exists():
            raise StageTaken(
                f"{self.root} holds files that no demonstration made",
                state="nothing was touched",
                next_step="set ASSAY_HOME to another folder",
            )
        shutil.rmtree(self.root, ignore_errors=True)

    def build(self, rounds: Rounds, base: str, contract_template: Path) -> None:
        """Make keys, contract and trusted set; sources deliver from folders below the URI or path `base`."""
        for folder in (
            self.root,
            self.contract.parent / "trusted",
            self.outbox,
            self.sent,
            self.root / "publishers",
        ):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.root / ".assay-demo").touch()
        pq.write_table(rounds.trusted, self.contract.parent / "trusted" / "adult.parquet")
        contract = yaml.safe_load(contract_template.read_text())
        contract["schedule"] = None
        for source in contract["sources"]:
            source["uri"] = f"{base}/{source['id']}/"
        self.contract.write_text(yaml.safe_dump(contract, sort_keys=False, allow_unicode=True))
        for publisher, format_ in (("census", "minisign"), ("survey", "ed25519")):
            key = generate_key(self._secret_key(publisher), format_)
            add_key(self.contract, publisher, public_key=key.public_key, format=key.format)

    def deliver(self, source: str, table: pa.Table, sequence: int, shards: int = 2) -> Path:
        """Let a source's publisher put out a signed delivery; returns a copy of it as it was sent."""
        folder = self.outbox / source
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        size = -(-len(table) // shards)
        for number in range(shards):
            pq.write_table(
                table.slice(number * size, size), folder / f"rows-{number:03}.parquet", compression="zstd"
            )
        contract = load_contract(self.contract)
        publish(
            folder, contract, source, self._secret_key(contract.source(source).publisher), sequence=sequence
        )
        copy = self.sent / f"{source}-{sequence}"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        return copy

    def _secret_key(self, publisher: str) -> Path:
        return self.root / "publishers" / f"{publisher}.key"

    def offer(self, source: str, copy: Path) -> None:
        """Let the web server offer a copy of an earlier delivery again."""
        shutil.rmtree(self.outbox / source, ignore_errors=True)
        shutil.copytree(copy, self.outbox / source)

    def tamper(self, source: str) -> None:
        """Change one byte in the middle of the delivery that the source offers now."""
        victim = self.outbox / source / "rows-000.parquet"
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 0x01
        victim.write_bytes(data)

    def set_learning_rate(self, rate: float) -> None:
        """Change the contract's learning rate, as a careless colleague would."""
        contract = yaml.safe_load(self.contract.read_text())
        contract["training"]["optimizer"]["learning_rate"] = rate
        replacement = self.contract.with_suffix(".partial")
        replacement.write_text(yaml.safe_dump(contract, sort_keys=False, allow_unicode=True))
        replacement.replace(self.contract)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the terminal."""


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serve a folder over http on loopback; yields the port."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
