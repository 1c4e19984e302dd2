"""`assay doctor`."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.commands._shared import OUTCOME_STYLE, JsonFlag, emit, guarded, settings
from assay.findings import worst

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def doctor(as_json: JsonFlag = False) -> None:
    """Say what this machine has and lacks: Python, state, store, database, keys, contracts, Airflow, Julia, Flux, GPU.

    Exit 0 when everything is there, 1 when something is broken, 3 when something is only missing: the line runs without
    it and says so.
    """
    from assay.doctor import examine

    findings = examine(settings())

    def human(console: Console) -> None:
        table = Table(title="Assay on this machine", title_justify="left")
        for name in ("part", "outcome", "what was seen", "next step"):
            table.add_column(name, overflow="fold")
        for finding in findings:
            style = OUTCOME_STYLE[finding.outcome.value]
            table.add_row(
                finding.check.removeprefix("doctor."),
                f"[{style}]{finding.outcome.value}[/]",
                escape(finding.message),
                escape(str(finding.evidence.get("next", ""))),
            )
        console.print(table)

    emit([f.model_dump(mode="json") for f in findings], human, as_json)
    raise typer.Exit(worst(f.outcome for f in findings).exit_code)
