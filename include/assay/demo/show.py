"""What the demonstration prints at its end."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.demo.stage import Stage
from assay.demo.story import Story
from assay.ledger.lineage.graph import visible


def as_dict(story: Story, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that was seen, for `--json`."""
    return {
        "passed": all(step.passed for step in story.steps)
        and len(story.steps) == 5
        and facts["ledger"] == "passed"
        and [proof["outcome"] for proof in facts["proofs"]] == ["passed"] * 3
        and facts["dossier"] is not None,
        "backend": story.backend,
        "steps": [asdict(step) for step in story.steps],
        "rows": story.truth,
        "models": [asdict(item) for item in story.comparison],
        **facts,
    }


def show(console: Console, story: Story, facts: dict[str, Any]) -> None:
    """Print the tables, the traces, and what the stand-alone verifier said."""
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
    for told in facts["traces"]:
        console.print(f"[bold]Trace of the {escape(told['what'])}[/] {escape(told['name'])}", soft_wrap=True)
        text = "\n".join(visible(line) for line in told["text"].splitlines())
        console.print(escape(text), soft_wrap=True, highlight=False)
    if not facts["traces"]:
        console.print("There is no champion to trace.")
    for proof in facts["proofs"]:
        colour = "green" if proof["outcome"] == "passed" else "bold red"
        console.print(
            f"Proof of the {escape(proof['what'])}, checked by docs/verify/verify.py: [{colour}]{proof['outcome']}[/]  "
            f"{escape(proof['file'])}",
            soft_wrap=True,
        )
        if proof["outcome"] != "passed":
            console.print(escape(proof["said"]), soft_wrap=True)
    if facts["dossier"]:
        console.print(f"Dossier of the champion: {escape(facts['dossier'])}", soft_wrap=True)


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
