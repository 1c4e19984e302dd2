"""Proofs to take away, and the check of everything, now."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from assay.console.checking import packed
from assay.console.desk import Desk, missing
from assay.console.errors import BadQuery
from assay.console.reproduce import commands
from assay.findings import Outcome, worst
from assay.ledger.errors import NotInLedger
from assay.ledger.outside.proofs import prove
from assay.line.cells import facts

PROVABLE = ("row", "model", "statement", "delivery", "case", "snapshot", "run", "decision", "promotion")
_MOST_PROBLEMS = 50
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from assay.console.checking import main; main()"
_checking = threading.BoundedSemaphore(1)


def proof(desk: Desk, kind: str, name: str) -> tuple[str, bytes]:
    """A proof that `assay ledger check` takes, with a name for its file.

    Raises:
        NotFound: The ledger has nothing to prove of it.
        BadQuery: Nothing of that kind can be proved.
        LedgerError: The log is not in order, so that nothing can be proved against it.
    """
    if kind not in PROVABLE:
        raise BadQuery(f"nothing of the kind {kind[:40]!a} can be proved", expected=", ".join(PROVABLE))
    try:
        made = prove(desk.ledger(), name, store=desk.store)
    except NotInLedger as error:
        raise missing(kind, name, error.next_step) from error
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:80] or "thing"
    text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    return f"proof-{kind}-{safe}.json", text.encode()


def verify(desk: Desk, seconds: float = 30.0) -> dict[str, Any]:
    """Check every entry, every checkpoint, the registry and the store, for so many seconds at most.

    One check at a time: it keeps a core busy. What was not finished is `not_checked`, and never passed.
    """
    begun = time.monotonic()
    again = commands(desk, ("Check everything, however long it takes", ["ledger", "verify"]))
    if not _checking.acquire(blocking=False):
        busy = "another check goes on; ask again when it has ended"
        return _answer(Outcome.NOT_CHECKED, 0, [busy], begun, again)
    try:
        stages, problem = _run(desk, seconds)
    finally:
        _checking.release()
    entries = max((stage["entries"] for stage in stages), default=0)
    findings = [each for stage in stages for each in stage["findings"]]
    problems = [
        facts(f"{each['check']}: {each['message']}") for each in findings if each["outcome"] != Outcome.PASSED
    ]
    outcomes = [Outcome(each["outcome"]) for each in findings]
    done = {stage["stage"] for stage in stages}
    if done != {"log", "holdings"}:
        outcomes.append(Outcome.NOT_CHECKED)
        what = (
            "the log was checked; registry and store were not finished"
            if "log" in done
            else "nothing was finished"
        )
        problems.insert(0, f"{problem or 'the check ended early'}: {what}")
    return _answer(worst(outcomes), entries, problems[:_MOST_PROBLEMS], begun, again)


def _run(desk: Desk, seconds: float) -> tuple[list[dict[str, Any]], str | None]:
    """The stages that the checking process finished, and why it did not finish all."""
    # This very package, wherever it was imported from; the settings go over standard input.
    command = [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).resolve().parents[2])]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    problem = None
    try:
        out, said = process.communicate(packed(desk.settings), timeout=seconds)
        if process.returncode:
            problem = f"the check failed: {(said.strip().splitlines() or ['without a word'])[-1][:300]}"
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        problem = f"the check was ended after {seconds:g} s"
    stages = []
    for line in out.splitlines():
        try:
            stages.append(json.loads(line))
        except ValueError:  # cut off in the middle
            continue
    return stages, problem


def _answer(
    outcome: Outcome, entries: int, problems: list[str], begun: float, again: list[dict[str, str]]
) -> dict[str, Any]:
    return {
        "outcome": str(outcome),
        "entries": entries,
        "problems": problems,
        "seconds": round(time.monotonic() - begun, 3),
        "reproduce": again,
    }
