"""A registered run, looked at again: its losses, its model's penultimate layer, the trusted rows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from assay.commands.screen import app
from assay.db import latest_snapshot, list_models
from assay.errors import UsageError
from assay.findings import Outcome
from assay.line import load_model, penultimate, row_losses, screen_run, train
from assay.line.rows import trusted_table
from assay.line.snapshots import snapshot_table


def _losses(kept):
    return zip(kept["row"].to_pylist(), kept["losses"].to_pylist(), strict=True)


def test_a_run_is_screened_by_what_it_kept(settled_town):
    """Losses and activations of every snapshot row, by run and by model; clean rows come out clean."""
    with settled_town.line() as line:
        made = train(line)
        report = screen_run(line, made["run"])
        assert screen_run(line, made["model"]).rows.equals(report.rows)
        with line.database.session() as session:
            assert report.rows.num_rows == latest_snapshot(session, "adult").rows
        kept = row_losses(line, made["run"])
    outcomes = {f.check: f.outcome for f in report.findings}
    assert outcomes == {
        "screen.losses": Outcome.PASSED,
        "screen.activations": Outcome.PASSED,
        "screen.spectral": Outcome.PASSED,
    }
    slowest = next(f for f in report.findings if f.check == "screen.losses").evidence["slowest_rows"]
    assert set(slowest) <= set(kept["row"].to_pylist())
    mean = {row: np.mean([loss for loss in own if loss is not None]) for row, own in _losses(kept)}
    assert np.mean([mean[row] for row in slowest]) > 2 * np.mean(list(mean.values()))


def test_the_penultimate_layer_leads_to_the_models_own_answers(settled_town):
    """The last layer over it gives the probabilities that the model gives."""
    with settled_town.line() as line:
        train(line)
        with line.database.session() as session:
            row = list_models(session, "adult")[-1]
            snapshot = latest_snapshot(session, "adult")
        model = load_model(line, row)
        table = trusted_table(line)
        assert snapshot_table(line, snapshot).num_rows == snapshot.rows
    inside = penultimate(model, table)
    last = len(model.spec.layers) - 1
    assert inside.shape == (table.num_rows, model.spec.layers[last].in_)
    names = sorted(name for name in model.weights if name.startswith(f"layers.{last}."))
    bias, weight = (np.asarray(model.weights[name]) for name in names)
    logits = inside @ weight.T + bias if weight.shape[1] == inside.shape[1] else inside @ weight + bias
    said = model.predict_proba(table)
    if logits.shape[1] == 1:
        expected = 1 / (1 + np.exp(-logits[:, 0]))
    else:
        expected = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    assert np.allclose(said[:, 1], expected, atol=1e-4)


def test_an_unknown_run_is_a_usage_error(settled_town):
    """With the next step."""
    with settled_town.line() as line, pytest.raises(UsageError, match="no run or model"):
        screen_run(line, "run-nothing")


def test_a_run_is_screened_from_the_command_line(settled_town, monkeypatch, tmp_path):
    """The report has one row per snapshot row, the findings file says what was compared."""
    with settled_town.line() as line:
        made = train(line)
    for name, value in settled_town.stage.environment.items():
        monkeypatch.setenv(name, value)
    out, findings = tmp_path / "report.parquet", tmp_path / "findings.json"
    arguments = ["--run", made["run"], "--contract", str(settled_town.stage.contract), "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--findings", str(findings)])
    assert result.exit_code == 0, result.output
    with settled_town.line() as line:
        assert pq.read_table(out).num_rows > 1000
    checks = {f["check"]: f["outcome"] for f in json.loads(findings.read_text())}
    assert checks == {"screen.losses": "passed", "screen.activations": "passed", "screen.spectral": "passed"}


@pytest.mark.parametrize(
    "arguments", [[], ["t.parquet", "--run", "run-1"], ["--run", "run-1", "--trusted", "t.parquet"]]
)
def test_a_table_and_a_run_exclude_each_other(settled_town, tmp_path, arguments):
    """A usage error, and no report."""
    common = ["--contract", str(settled_town.stage.contract), "--out", str(tmp_path / "report.parquet")]
    result = CliRunner().invoke(app, [*arguments, *common])
    assert result.exit_code == 2
    assert not (tmp_path / "report.parquet").exists()
