"""What the demonstration prints at its end."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.db import champion
from assay.demo.stage import Stage
from assay.demo.story import Story
from assay.findings import Outcome, worst
from assay.ledger import trace
from assay.line import Line


def as_dict(story: Story, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that was seen, for `--json`."""
    return {
        "passed": all(step.passed for step in story.steps)
        and len(story.steps) == 5
        and facts["ledger"] == "passed",
        "backend": story.backend,
        "steps": [asdict(step) for step in story.steps],
        "rows": story.truth,
        "models": [asdict(item) for item in story.comparison],
        **facts,
    }


def closing_checks(stage: Stage) -> tuple[dict[str, Any], str]:
    """Verify the ledger and trace the champion: facts for the verdict, and the trace as text."""
    with Line.open(stage.contract, stage.settings) as line:
        findings = line.ledger.verify()
        with line.database.session() as session:
            model = champion(session, line.dataset)
        text = (
            "\n".join(trace(line.ledger, line.database, line.store, model.id).lines())
            if model
            else "there is no champion"
        )
        facts = {
            "ledger": str(worst(f.outcome for f in findings)),
            "ledger_findings": [f.message for f in findings if f.outcome is not Outcome.PASSED],
            "champion": model.id if model else None,
        }
    return facts, text


def show(console: Console, story: Story, facts: dict[str, Any], trace_text: str) -> None:
    """Print the tables."""
    steps = Table(title="Steps", title_justify="left", show_lines=True)
    for name in ("step", "expected", "seen", "seconds"):
        steps.add_column(name, justify="right" if name == "seconds" else "left", overflow="fold")
    for number, step in enumerate(story.steps, 1):
        mark = "[green]✓[/]" if step.passed else "[bold red]✗[/]"
        steps.add_row(
            f"{number} {step.title}", step.expected, f"{mark} {escape(step.seen)}", f"{step.seconds:.0f}"
        )
    console.print(steps)
    if story.truth:
        rows = Table(title="Rows of both rounds, against the truth", title_justify="left")
        for name in ("kind", "rows", "held", "missed"):
            rows.add_column(name, justify="left" if name == "kind" else "right")
        for item in story.truth:
            clean = item["kind"] == "clean rows"
            missed = "—" if clean else str(item["rows"] - item["caught"])
            share = f" ({item['caught'] / max(1, item['rows']):.1%})"
            rows.add_row(
                item["kind"] + (" (falsely held)" if clean else ""),
                f"{item['rows']:,}",
                f"{item['caught']:,}{share}",
                missed,
            )
        console.print(rows)
    if story.comparison:
        models = Table(title="Models on the test set", title_justify="left")
        for name in ("model", "training rows", "accuracy", "backdoor succeeds"):
            models.add_column(name, justify="left" if name == "model" else "right")
        for score in story.comparison:
            models.add_row(
                score.name, f"{score.rows:,}", f"{score.accuracy:.3f}", f"{score.attack_success:.1%}"
            )
        console.print(models)
    style = "green" if facts["ledger"] == "passed" else "bold red"
    peaks = facts["peak_resident_mb"]
    console.print(
        f"Ledger: [{style}]{facts['ledger']}[/]  Training backend: {story.backend}  "
        f"Run time: {facts['seconds']:.0f} s  Peak memory outside Airflow: {peaks['outside_airflow']} MB, "
        f"Airflow with its tasks: {peaks['airflow_and_tasks']} MB"
    )
    console.print("[bold]Trace of the champion[/]")
    console.print(escape(trace_text), soft_wrap=True)


def next_steps(console: Console, stage: Stage, project: Path) -> None:
    """Where to look next."""
    console.print(
        f"\nNext: `make up` opens the Airflow UI on this state. "
        f"The state is in {stage.root}; to use the command on it:\n"
        f"  export ASSAY_HOME={stage.settings.home} ASSAY_CONTRACTS_DIR={stage.settings.contracts_dir}\n"
        f"  {project / '.venv/bin/assay'} cases list\n"
        f"  {project / '.venv/bin/assay'} ledger verify",
        soft_wrap=True,
    )
