"""`assay validate`: the contract's expectations on one or more tables, with failing rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.commands._shared import ContractOption, JsonFlag, emit, existing, guarded, load
from assay.expect import FAILING_SCHEMA, Validation, validate_files
from assay.findings import Finding, Outcome

app = typer.Typer(add_completion=False)

_STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.NOT_CHECKED: "yellow"}


@app.command()
@guarded
def validate(
    tables: Annotated[
        list[Path],
        typer.Argument(
            help="Parquet or CSV files (.csv, .csv.gz, .csv.zst); several are one data set.",
            metavar="TABLE...",
        ),
    ],
    contract: ContractOption,
    failing_rows: Annotated[
        Path | None,
        typer.Option("--failing-rows", help="Write the failing rows' numbers and reasons there, as Parquet."),
    ] = None,
    docs: Annotated[
        Path | None, typer.Option("--docs", help="Write Data Docs there: pages of the results to browse.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Expectations of the contract on a table, with failing rows.

    Rows are numbered from 0, through all tables in the order given. Exit codes: 0 all hold, 1 some do not, 3 some
    could not be evaluated.
    """
    agreed = load(contract)
    paths = [existing(path, "table") for path in tables]
    console = Console(stderr=True)
    with console.status("loading Great Expectations") as status:

        def tell(done: int, total: int | None) -> None:
            status.update(
                f"validated {done:,} rows" if total is None else f"validated {done:,} of {total:,} rows"
            )

        title = ", ".join(path.name for path in paths[:3])
        found = validate_files(
            paths, agreed, names=[str(path) for path in paths], on_progress=tell, docs_dir=docs, title=title
        )
    if failing_rows is not None:
        _write(found, failing_rows)
    emit(_payload(found, failing_rows), lambda out: _print(out, found, failing_rows), as_json)
    raise typer.Exit(found.outcome.exit_code)


def _write(found: Validation, path: Path) -> None:
    """Write the failing rows beside the path first, so that nobody reads half a file."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with pq.ParquetWriter(str(partial), FAILING_SCHEMA, compression="zstd") as writer:
            for batch in found.failing_batches():
                writer.write_batch(batch)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _payload(found: Validation, failing_rows: Path | None) -> dict[str, Any]:
    return {
        "outcome": found.outcome.value,
        "table_outcome": found.table_outcome.value,
        "rows": found.rows,
        "failing_rows": found.failing_count,
        "failing_rows_file": None if failing_rows is None else str(failing_rows),
        "docs": None if found.docs is None else str(found.docs),
        "files": [{"name": file.name, "first_row": file.first, "rows": file.rows} for file in found.files],
        "findings": [finding.model_dump(mode="json") for finding in found.findings],
    }


def _print(console: Console, found: Validation, failing_rows: Path | None) -> None:
    table = Table(title="Expectations", title_justify="left")
    for heading in ("on", "expectation", "outcome", "level"):
        table.add_column(heading)
    table.add_column("failing", justify="right")
    table.add_column("what was seen", overflow="fold")
    for finding in found.findings:
        count = finding.evidence.get("unexpected_count")
        table.add_row(
            escape(finding.subject or "table"),
            escape(finding.check.removeprefix("expect.")),
            f"[{_STYLES[finding.outcome]}]{finding.outcome.value}[/]",
            str(finding.evidence["level"]),
            "" if count is None else f"{count:,}",
            escape(_seen(finding)),
        )
    console.print(table)
    counts = {outcome: sum(f.outcome is outcome for f in found.findings) for outcome in Outcome}
    said = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
    console.print(f"{found.rows:,} rows, {found.failing_count:,} of them fail; expectations: {said}")
    if failing_rows is not None:
        console.print(f"failing rows: {escape(str(failing_rows))}")
    if found.docs is not None:
        console.print(f"Data Docs: {escape(str(found.docs))}")


def _seen(finding: Finding) -> str:
    """The message, with a few examples behind it."""
    if finding.outcome is not Outcome.FAILED:
        return finding.message
    examples = [f"row {e['row']}: {e['value']}" for e in finding.evidence.get("examples", [])[:3]]
    return finding.message + (f" (e.g. {'; '.join(examples)})" if examples else "")
