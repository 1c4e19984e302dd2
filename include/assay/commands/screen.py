"""`assay screen`: which rows of a table look poisoned, how sure that is, and why."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.commands._shared import ContractOption, JsonFlag, emit, existing, guarded, load, print_findings
from assay.contract import Contract
from assay.errors import UsageError
from assay.findings import Outcome
from assay.screen import Rows, ScreenReport

app = typer.Typer(add_completion=False)

_SHOWN = 10


@app.command()
@guarded
def screen(
    table: Annotated[Path, typer.Argument(help="Parquet or CSV file to screen.", show_default=False)],
    contract: ContractOption,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Write the report there: one row per input row, as Parquet.",
            show_default=False,
        ),
    ],
    trusted: Annotated[
        Path | None,
        typer.Option(
            "--trusted",
            help="Small hand-checked table to compare with [default: the contract's trusted.uri].",
        ),
    ] = None,
    previous: Annotated[
        Path | None, typer.Option("--previous", help="The accepted snapshot, to compare with by key.")
    ] = None,
    findings: Annotated[
        Path | None,
        typer.Option(
            "--findings", help="Write findings on batch, columns, sources and groups there, as JSON."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Verdict per row, and findings on batch, columns, sources and groups.

    Exit codes: 0 accepted, 1 held (more rows quarantined than the contract allows) or unreadable, 2 called wrongly,
    3 nothing could be checked.
    """
    agreed = load(contract)
    batch = existing(table, "table")
    for path in filter(None, (out, findings)):
        if path.resolve() in {p.resolve() for p in (table, trusted, previous) if p is not None}:
            raise UsageError(
                f"{path} is an input and would be overwritten", next_step="name another file for the output"
            )
    reference = existing(trusted, "trusted table") if trusted is not None else _declared(agreed, contract)
    history = existing(previous, "accepted snapshot") if previous is not None else None

    from assay.screen import screen as run

    with Console(stderr=True).status("screening"):
        report = run(
            _rows(batch, agreed, "batch"),
            agreed,
            trusted=None if reference is None else _rows(reference, agreed, "trusted set"),
            previous=None if history is None else _rows(history, agreed, "accepted snapshot"),
            seed=agreed.screen.seed,
        )
    _write(out, lambda path: _parquet(report.rows, path))
    if findings is not None:
        text = json.dumps(_findings(report), indent=2, ensure_ascii=False) + "\n"
        _write(findings, lambda path: path.write_text(text, encoding="utf-8"))
    emit(_payload(report, out, findings), lambda console: _print(console, report, out), as_json)
    raise typer.Exit(report.outcome.exit_code)


def _declared(contract: Contract, path: Path) -> Path | None:
    """The contract's own trusted set; a relative path starts at the contract's folder."""
    if contract.trusted is None:
        return None
    found = Path(contract.trusted.uri.removeprefix("file://"))
    if "://" in str(found):
        raise UsageError(
            f"the contract's trusted set is at {contract.trusted.uri}",
            next_step="fetch it and name the copy with --trusted",
        )
    here = found if found.is_absolute() else path.parent / found
    return existing(here, "trusted table (from the contract's trusted.uri)")


def _rows(path: Path, contract: Contract, name: str) -> Rows:
    """The file as the contract types it; a cell that does not fit its type ends the reading with its place named."""
    from assay.intake.tables import read_batches

    def opener(batch_rows: int) -> Iterable[pa.RecordBatch]:
        return read_batches(path, contract, batch_rows=batch_rows)

    return Rows(opener, f"{name} {path}")


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside the path first, so that nobody reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _parquet(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, str(path), compression="zstd", row_group_size=1 << 20)


def _findings(report: ScreenReport) -> list[dict[str, Any]]:
    return [{"id": finding.id, **finding.model_dump(mode="json")} for finding in report.findings]


def _payload(report: ScreenReport, out: Path, findings: Path | None) -> dict[str, Any]:
    return {
        "outcome": report.outcome.value,
        "verdict": report.verdict.value,
        "tier": report.tier,
        "rows": report.rows.num_rows,
        "quarantined": report.quarantined,
        "fraction": report.fraction,
        "hold_above": report.hold_above,
        "report": str(out),
        "findings_file": None if findings is None else str(findings),
        "findings": _findings(report),
    }


def _print(console: Console, report: ScreenReport, out: Path) -> None:
    style = {"passed": "green", "failed": "bold red", "not_checked": "yellow"}[report.outcome.value]
    console.print(
        f"[{style}]{report.verdict.value}[/]: {report.quarantined:,} of {report.rows.num_rows:,} rows quarantined "
        f"({report.fraction:.2%}; held above {report.hold_above:.0%}), compared with: {report.tier}"
    )
    print_findings(console, report.findings)
    chosen = (
        report.rows.filter(pc.equal(report.rows["verdict"], "quarantine")) if report.quarantined else None
    )
    if chosen is not None:
        chosen = chosen.sort_by([("score", "descending"), ("row", "ascending")]).slice(0, _SHOWN)
        rows = Table(
            title=f"Most suspicious rows ({chosen.num_rows} of {report.quarantined})", title_justify="left"
        )
        for column in ("row", "score", "why"):
            rows.add_column(column, overflow="fold")
        for row in chosen.to_pylist():
            rows.add_row(str(row["row"]), f"{row['score']:.1f}", escape("\n".join(row["reasons"])))
        console.print(rows)
    unchecked = Counter(f.check for f in report.findings if f.outcome is Outcome.NOT_CHECKED)
    if unchecked:
        console.print(f"not checked: {', '.join(sorted(unchecked))}")
    console.print(f"report: {escape(str(out))}")
