"""`assay screen`: which rows of a table look poisoned, how sure that is, and why."""

from __future__ import annotations

import hashlib
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

from assay.commands._progress import Batches, rows_bar
from assay.commands._shared import ContractOption, JsonFlag, emit, existing, guarded, load, print_findings
from assay.contract import Contract
from assay.errors import UsageError
from assay.findings import Outcome
from assay.screen import Rows, ScreenError, ScreenReport

app = typer.Typer(add_completion=False)

_SHOWN = 10


@app.command()
@guarded
def screen(
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
    table: Annotated[
        Path | None,
        typer.Argument(
            help="Table to screen: Parquet, Arrow, CSV or JSON Lines, plain or compressed (.gz, .zst).",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="Instead of a table: the rows that this run or model learnt from, by their losses and by their place "
            "in the model.",
        ),
    ] = None,
    trusted: Annotated[
        Path | None,
        typer.Option(
            "--trusted",
            help="Small hand-checked table to compare with (default: the contract's trusted.uri).",
        ),
    ] = None,
    previous: Annotated[
        Path | None, typer.Option("--previous", help="The accepted snapshot, to compare with by key.")
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option(
            "--corrections",
            help="The publisher's list of corrections to the accepted snapshot; its signature lies beside it "
            "(FILE.minisig, FILE.sig, ...).",
        ),
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
    if (table is None) == (run is None) or (run is not None and (trusted or previous or corrections)):
        raise UsageError(
            "either a table is screened or a run",
            expected="assay screen TABLE ... or assay screen --run RUN, the latter without --trusted, --previous and "
            "--corrections: the line knows them",
            next_step="leave one of the two out",
        )
    if run is not None:
        report = _of_run(contract, run)
    else:
        assert table is not None
        report = _of_table(agreed, table, trusted, previous, corrections, [out, findings])
    _write(out, lambda path: _parquet(report.rows, path))
    if findings is not None:
        text = json.dumps(_findings(report), indent=2, ensure_ascii=False) + "\n"
        _write(findings, lambda path: path.write_text(text, encoding="utf-8"))
    emit(_payload(report, out, findings), lambda console: _print(console, report, out), as_json)
    raise typer.Exit(report.outcome.exit_code)


def _of_run(contract: Path, run: str) -> ScreenReport:
    """A registered run's rows, by what it kept."""
    from assay.line import Line, screen_run

    with Line.open(contract) as line, Console(stderr=True).status("screening"):
        return screen_run(line, run)


def _of_table(
    agreed: Contract,
    table: Path,
    trusted: Path | None,
    previous: Path | None,
    corrections: Path | None,
    outputs: list[Path | None],
) -> ScreenReport:
    batch = existing(table, "table")
    for path in filter(None, outputs):
        if path.resolve() in {p.resolve() for p in (table, trusted, previous, corrections) if p is not None}:
            raise UsageError(
                f"{path} is an input and would be overwritten", next_step="name another file for the output"
            )
    reference = existing(trusted, "trusted table") if trusted is not None else _declared(agreed)
    history = existing(previous, "accepted snapshot") if previous is not None else None

    lists = []
    if corrections is not None:
        from assay.commands._corrections import signed_corrections

        lists.append(signed_corrections(existing(corrections, "correction list"), agreed))

    from assay.screen import screen as screened

    with rows_bar(_row_count(batch)) as watched:
        return screened(
            _rows(batch, agreed, "batch", watched),
            agreed,
            trusted=None if reference is None else _rows(reference, agreed, "trusted set"),
            previous=None if history is None else _rows(history, agreed, "accepted snapshot"),
            seed=agreed.screen.seed,
            corrections=lists,
        )


def _declared(contract: Contract) -> Path | None:
    """The contract's own trusted set; a relative path starts at the contract's folder.

    Raises:
        UsageError: It is not a local file, or not there.
        ScreenError: Its digest is not the one that the contract pins.
    """
    if contract.trusted is None:
        return None
    place = contract.locate(contract.trusted.uri)
    if "://" in place:
        raise UsageError(
            f"the contract's trusted set is at {contract.trusted.uri}",
            next_step="fetch it and name the copy with --trusted",
        )
    found = existing(Path(place), "trusted table (from the contract's trusted.uri)")
    pinned = contract.trusted.sha256
    if pinned is not None:
        with found.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != pinned:
            raise ScreenError(
                f"the trusted set {found} is not the one that the contract pins",
                expected=f"SHA-256 {pinned}",
                found=digest,
                next_step="restore the file, or pin the new one in trusted.sha256 after checking it",
            )
    return found


def _row_count(path: Path) -> int | None:
    """How many rows a Parquet file says that it has; None for other formats, which would have to be read for it."""
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None


def _rows(
    path: Path, contract: Contract, name: str, watched: Callable[[Batches], Batches] = lambda opener: opener
) -> Rows:
    """The file as the contract types it; a cell that does not fit its type ends the reading with its place named."""
    from assay.intake.tables import read_batches

    def opener(batch_rows: int) -> Iterable[pa.RecordBatch]:
        return read_batches(path, contract, batch_rows=batch_rows)

    return Rows(watched(opener), f"{name} {path}")


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
        "why_held": list(report.why_held),
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
    for reason in report.why_held:
        console.print(f"held: {escape(reason)}")
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
