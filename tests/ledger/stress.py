"""Many processes append at once while one of them is killed each second: does the log keep what it promised?

`python -m tests.ledger.stress --seconds 60 --database postgresql` runs the long form; `test_stress.py` a short one.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from assay.db import Database
from assay.errors import Transient
from assay.findings import Finding, Outcome
from assay.ledger import Ledger
from tests import postgres_server
from tests.ledger.support import KEY, failures, open_log, statement

WRITERS = 8
_SHARE = 1_000_000  # each writer has numbers of its own


@dataclass(frozen=True)
class Told:
    """What a run came to.

    Attributes:
        acknowledged: Statements whose append returned.
        entries: Entries in the log.
        kills: Processes that were killed.
        busy: Appends that gave up waiting for the lock, to be tried again.
        lost: Acknowledged statements that are not in the log.
        findings: What `verify` says afterwards.
        errors: What writers died of by themselves.
    """

    acknowledged: int
    entries: int
    kills: int
    busy: int
    lost: int
    findings: list[Finding]
    errors: list[str]

    @property
    def failed(self) -> dict[str, list[str]]:
        """Failed checks of the log."""
        return failures(self.findings)

    @property
    def holds(self) -> bool:
        """Whether the log verifies in full and has every acknowledged statement, and no writer broke."""
        whole = all(finding.outcome is Outcome.PASSED for finding in self.findings)
        return whole and not self.lost and not self.errors and self.acknowledged > 0


def stress(url: str, home: Path, seconds: float, *, writers: int = WRITERS, seed: int = 0) -> Told:
    """Append from several processes for a while, killing one with SIGKILL each second and starting another.

    Args:
        url: An empty database.
        home: A folder for the anchor and the acknowledgements.
        seconds: For how long.
        writers: Processes at a time.
        seed: Of the choice whom to kill.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    open_log(url, home).database.dispose()
    chance, kills, started = random.Random(seed), 0, writers
    stop = home / "stop"
    running = {number: _start(url, home, number, stop) for number in range(writers)}
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            number = chance.choice(sorted(running))
            pid = running.pop(number)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills += 1
            running[started] = _start(url, home, started, stop)
            started += 1
    finally:
        stop.touch()
        for pid in running.values():
            os.waitpid(pid, 0)
    log = Ledger(Database(url), KEY, anchor=home / "ledger-head.txt")
    log.append(
        statement(started * _SHARE)
    )  # what a killed process left of the anchor is mended by the next append
    kept = {entry.statement_id for entry in log.entries()}
    lines = [path.read_text().splitlines() for path in sorted(home.glob("acknowledged-*"))]
    known = [line for listed in lines for line in listed if line.startswith("statement-")]
    return Told(
        acknowledged=len(known),
        entries=log.size(),
        kills=kills,
        busy=sum(listed.count("busy") for listed in lines),
        lost=len(set(known) - kept),
        findings=log.verify(),
        errors=[line for listed in lines for line in listed if line.startswith("error")],
    )


def _start(url: str, home: Path, number: int, stop: Path) -> int:
    """A writer in a process of its own; what it was promised goes to a file, one unbuffered line each."""
    pid = os.fork()
    if pid:
        return pid
    try:
        acknowledged = os.open(home / f"acknowledged-{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _write(Ledger(Database(url), KEY, anchor=home / "ledger-head.txt"), number, stop, acknowledged)
    finally:
        os._exit(0)


def _write(log: Ledger, number: int, stop: Path, acknowledged: int) -> None:
    try:
        turn = number * _SHARE
        while not stop.exists():
            try:
                if turn % 5 == 0:  # some appends share a caller's transaction
                    with log.database.write() as session:
                        made = [log.append(statement(n), session=session) for n in (turn, turn + 1)]
                else:
                    made = [log.append(statement(turn))]
            except Transient:
                os.write(acknowledged, b"busy\n")
                continue
            os.write(acknowledged, "".join(f"{entry.statement_id}\n" for entry in made).encode())
            turn += len(made)
    except BaseException as error:  # noqa: BLE001 - whatever ends a writer is told
        os.write(acknowledged, f"error {error!r}\n".encode())


def main(argv: list[str]) -> int:
    """Run the long form and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--writers", type=int, default=WRITERS)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    chosen = parser.parse_args(argv)
    home = Path(tempfile.mkdtemp(prefix="assay-stress-"))
    server = postgres_server.new_folder() if chosen.database == "postgresql" else None
    try:
        url = postgres_server.start(server) if server else f"sqlite:///{home / 'stress.db'}"
        told = stress(url, home, chosen.seconds, writers=chosen.writers)
    finally:
        if server:
            postgres_server.stop(server)
        shutil.rmtree(home, ignore_errors=True)
    print(
        f"{chosen.database}: {chosen.writers} writers for {chosen.seconds:g} s, {told.kills} killed: "
        f"{told.acknowledged} statements acknowledged, {told.entries} entries, {told.lost} lost, "
        f"{told.busy} had to wait too long; the log {'verifies' if told.holds else 'DOES NOT VERIFY'}"
    )
    for line in [*told.errors, *(f"{check}: {subjects}" for check, subjects in told.failed.items())]:
        print(f"  {line}")
    return 0 if told.holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
