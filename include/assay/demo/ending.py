"""The end of the demonstration: three things traced, proved, checked without Assay, and the champion's dossier."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.db import champion
from assay.demo.stage import Stage
from assay.findings import Outcome, worst
from assay.ledger import public_key_path, trace
from assay.ledger.dossier.document import make_dossier
from assay.ledger.dossier.html import dossier_html
from assay.ledger.exports import history_of
from assay.line import Line
from assay.quarantine import case_rows, list_cases

_VERIFIER_SECONDS = 120


def closing_checks(stage: Stage) -> dict[str, Any]:
    """Verify the ledger; trace and prove a quarantined row, an admitted row and the champion; write the dossier.

    Returns:
        `ledger` (outcome) and `ledger_findings`, `champion` (id or None), `traces` (one each: `what`, `name`, `text`),
        `proofs` (one each: `what`, `file`, `outcome`, `said`) and `dossier` (path or None).
    """
    with Line.open(stage.contract, stage.settings) as line:
        findings = line.ledger.verify()
        with line.database.session() as session:
            model = champion(session, line.dataset)
        facts: dict[str, Any] = {
            "ledger": str(worst(f.outcome for f in findings)),
            "ledger_findings": [f.message for f in findings if f.outcome is not Outcome.PASSED],
            "champion": model.id if model else None,
            "traces": [],
            "proofs": [],
            "dossier": None,
        }
        if model is None:
            return facts
        for what, name, proved in _chosen(line, model.id, model.snapshot_id):
            told = trace(line.ledger, line.database, line.store, name)
            facts["traces"].append({"what": what, "name": name, "text": "\n".join(told.lines())})
            facts["proofs"].append({"what": what, **_prove(stage, line, what, proved)})
        page = dossier_html(make_dossier(history_of(line.ledger, line.store, model.id), model.id))
        dossier = stage.root / "dossier.html"
        dossier.write_text(page, encoding="utf-8")
        facts["dossier"] = str(dossier)
    return facts


def _chosen(line: Line, model_id: str, snapshot_id: str) -> Iterator[tuple[str, str, str]]:
    """What is shown: in words, what it is traced by, and what is proved of it.

    A row that was kept out is in no snapshot; what is proved is the screening that held it, and the decision on it.
    """
    from assay.line.snapshots import find_snapshot, snapshot_table

    key = line.contract.schema_.key[0]
    rows = snapshot_table(line, find_snapshot(line, snapshot_id))
    inside, held_keys = rows[key].to_pylist(), set[Any]()
    chosen = None
    for case in list_cases(line.database, dataset=line.dataset, status="rejected"):
        if case.rows_object is None:
            continue
        held = case_rows(line.database, line.store, case.id).sort_by([("_p_value", "ascending")])
        keys = held[key].to_pylist()
        held_keys.update(keys)
        if chosen is None and case.kind == "screening":
            out = next((each for each in keys if each is not None and each not in set(inside)), None)
            chosen = None if out is None else (out, case.id)
    if chosen is not None:
        yield "quarantined row", f"{line.dataset}:{chosen[0]}", chosen[1]
    admitted = f"{line.dataset}:{next(each for each in inside if each not in held_keys)}"
    yield "admitted row", admitted, admitted
    yield "champion", model_id, model_id


def _prove(stage: Stage, line: Line, what: str, name: str) -> dict[str, Any]:
    """Write a proof, and let the stand-alone verifier check it in an interpreter that cannot import Assay."""
    folder = stage.root / "proofs"
    folder.mkdir(exist_ok=True)
    file = folder / f"{what.replace(' ', '-')}.json"
    proof = line.ledger.prove(name, store=line.store)
    file.write_text(json.dumps(proof, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    verifier = stage.project / "docs" / "verify" / "verify.py"
    key = public_key_path(line.settings, "ledger")
    done = subprocess.run(
        [sys.executable, "-I", str(verifier), str(file), str(key)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_VERIFIER_SECONDS,
        cwd=Path(folder),
    )
    said = (done.stdout or done.stderr).strip()
    return {"file": str(file), "outcome": "passed" if done.returncode == 0 else "failed", "said": said}
