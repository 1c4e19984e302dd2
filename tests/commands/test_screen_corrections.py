"""`assay screen --corrections`: a list counts under a signature that the contract's publishers made, and only then."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from assay.commands.screen import app
from assay.intake.publish import generate_key, sign_minisign
from tests.screen import attacks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A batch that changes one accepted label, the snapshot, trusted rows, a key, and the list that says so."""
    case = attacks.make_case(attacks.blobs(1200, 5), "clean", 0, 1, rows=500, trusted=200, history=True)
    assert case.previous is not None
    batch = case.batch.copy()
    old = str(batch.loc[7, "label"])
    batch.loc[7, "label"] = "no" if old == "yes" else "yes"
    for name, frame in (("batch", batch), ("trusted", case.trusted), ("old", case.previous)):
        pq.write_table(attacks.to_table(frame), tmp_path / f"{name}.parquet")
    key = generate_key(tmp_path / "census.key")
    generate_key(tmp_path / "other.key")
    raw = case.contract.model_dump(mode="json", by_alias=True)
    contract = {k: raw[k] for k in ("version", "dataset", "schema", "screen")}
    contract["publishers"] = [{"id": "census", "keys": [key.model_dump(mode="json", exclude_unset=True)]}]
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(contract))
    entry = {
        "key": {"id": int(batch.loc[7, "id"])},
        "column": "label",
        "old": old,
        "new": str(batch.loc[7, "label"]),
        "reason": "typing error",
    }
    (tmp_path / "corrections.json").write_text(json.dumps({"dataset": "test", "corrections": [entry]}))
    return tmp_path


def run(folder: Path) -> dict[str, dict]:
    names = {"trusted": "trusted", "previous": "old"}
    arguments = [str(folder / "batch.parquet"), "--contract", str(folder / "contract.yaml"), "--json"]
    for option, name in names.items():
        arguments += [f"--{option}", str(folder / f"{name}.parquet")]
    arguments += ["--corrections", str(folder / "corrections.json"), "--out", str(folder / "report.parquet")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return {f["check"]: f for f in json.loads(result.stdout)["findings"]}


def test_a_list_signed_by_the_publisher_counts(folder: Path) -> None:
    """The change is told as a correction under the key's name."""
    sign_minisign(folder / "corrections.json", folder / "census.key")
    findings = run(folder)
    assert findings["screen.history.corrected"]["evidence"]["row_numbers"] == [7]
    assert findings["screen.history"]["outcome"] == "passed"
    assert "census (" in findings["screen.history.corrections"]["message"]


@pytest.mark.parametrize("case", ["no signature", "another key", "changed afterwards"])
def test_a_list_that_is_not_proved_gets_no_credit(folder: Path, case: str) -> None:
    """The change counts as rewritten history."""
    listed = folder / "corrections.json"
    if case != "no signature":
        sign_minisign(listed, folder / ("other.key" if case == "another key" else "census.key"))
    if case == "changed afterwards":
        listed.write_text(listed.read_text().replace("typing error", "typing errors"))
    findings = run(folder)
    assert findings["screen.history"]["evidence"]["row_numbers"] == [7]
    expected = "not_checked" if case == "no signature" else "failed"
    assert findings["screen.history.corrections"]["outcome"] == expected
