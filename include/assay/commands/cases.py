"""`assay cases`: list, show, release, reject."""

from __future__ import annotations

import getpass
import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.commands._shared import JsonFlag, database, emit, existing, guarded, object_store, settings
from assay.errors import UsageError
from assay.quarantine import CaseView, case_rows, list_cases, show_case, where

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from assay.line import CaseDecision

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="The quarantine: rows that were held, the evidence, and what people decided.",
)

_STYLE = {"open": "yellow", "released": "green", "rejected": "bold red", "split": "dim"}
_CELL = 40
_MOST_ROWS = 100_000_000

CaseArgument = Annotated[
    str, typer.Argument(help="The case's id, or an unambiguous beginning of it.", show_default=False)
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept for ever.", show_default=False)]
ReviewerOption = Annotated[
    str | None, typer.Option("--reviewer", help="Who decides. [the system's user]", show_default=False)
]
RowsOption = Annotated[
    str | None,
    typer.Option(
        "--rows",
        help="Only these rows, by their numbers in the delivery, e.g. 3,5,9-20; the rest stays open as a case of its "
        "own. [all rows of the case]",
        show_default=False,
    ),
]
ContractOption = Annotated[
    Path | None,
    typer.Option(
        "--contract",
        "-c",
        help="The data set's contract. [the one in ASSAY_CONTRACTS_DIR]",
        show_default=False,
    ),
]


class Status(StrEnum):
    """Which cases to list."""

    OPEN = "open"
    RELEASED = "released"
    REJECTED = "rejected"
    SPLIT = "split"
    ALL = "all"


@app.command(name="list")
@guarded
def list_(
    dataset: Annotated[str | None, typer.Option(help="Only of this data set.")] = None,
    delivery: Annotated[str | None, typer.Option(help="Only of this delivery.")] = None,
    status: Annotated[Status, typer.Option(help="Only in this state.")] = Status.OPEN,
    as_json: JsonFlag = False,
) -> None:
    """Show cases, oldest first; by default those that wait for a decision."""
    wanted = None if status is Status.ALL else status.value
    found = list_cases(database(), dataset=dataset, delivery_id=delivery, status=wanted)

    def human(console: Console) -> None:
        if not found:
            console.print(f"no {'' if wanted is None else wanted + ' '}cases")
            return
        table = Table(title="Cases", title_justify="left")
        for column in ("case", "data set", "source", "kind", "rows", "status", "what"):
            table.add_column(
                column,
                overflow="fold",
                no_wrap=column in {"case", "rows"},
                justify="right" if column == "rows" else "left",
            )
        for case in found:
            table.add_row(
                case.id[:13],
                escape(case.dataset),
                escape(case.source),
                case.kind,
                f"{case.rows:,}",
                f"[{_STYLE[case.status]}]{case.status}[/]" + (" (blocks)" if case.blocking else ""),
                escape(case.summary),
            )
        console.print(table)
        console.print("next: assay cases show CASE")

    emit({"cases": [case.as_dict() for case in found]}, human, as_json)


@app.command()
@guarded
def show(
    case: CaseArgument,
    rows: Annotated[int, typer.Option(min=0, help="How many of its rows to show.")] = 10,
    as_json: JsonFlag = False,
) -> None:
    """Show a case: evidence, decisions, and its first rows with score, p-value and reasons."""
    registry = database()
    found = show_case(registry, case)
    table = case_rows(registry, object_store(), found.id).slice(0, rows) if rows else None

    def human(console: Console) -> None:
        _show(console, found)
        if table is not None and table.num_rows:
            console.print(_rows_table(table, found.rows))

    shown = [] if table is None else table.to_pylist()
    emit({**found.as_dict(), "first_rows": shown}, human, as_json)


@app.command()
@guarded
def release(
    case: CaseArgument,
    reason: ReasonOption,
    reviewer: ReviewerOption = None,
    rows: RowsOption = None,
    contract: ContractOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a case's rows in: they enter the next snapshot. Exit 1 while more reviewers must agree."""
    made = _decide(case, "release", reason, reviewer, contract, rows)
    _tell(made, as_json)
    if made.made.status == "open":
        raise typer.Exit(1)


@app.command()
@guarded
def reject(
    case: CaseArgument,
    reason: ReasonOption,
    reviewer: ReviewerOption = None,
    rows: RowsOption = None,
    contract: ContractOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Keep a case's rows out for good; they stay in the store, sealed."""
    _tell(_decide(case, "reject", reason, reviewer, contract, rows), as_json)


def _decide(
    case_id: str, action: str, reason: str, reviewer: str | None, contract: Path | None, rows: str | None
) -> CaseDecision:
    from assay.line import Line, contract_of, decide_case

    chosen = None if rows is None else _row_numbers(rows)
    registry = database()
    case = show_case(registry, case_id)
    registry.dispose()
    path = existing(contract, "contract") if contract else contract_of(case.dataset, settings())
    with Line.open(path) as line:
        return decide_case(
            line, case.id, action, reviewer or getpass.getuser(), reason, rows=chosen, via="cli"
        )


def _row_numbers(text: str) -> npt.NDArray[np.int64]:
    """Row numbers and ranges, e.g. `3,5,9-20`; both ends of a range belong to it.

    Raises:
        UsageError: That is not what was written.
    """
    import numpy as np

    parts = []
    for word in text.replace(" ", "").split(","):
        found = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first or last - first >= _MOST_ROWS:
            raise UsageError(
                f"{word!r} names no rows",
                expected=f"numbers and ranges of at most {_MOST_ROWS:,} rows, e.g. 3,5,9-20",
                next_step="`assay cases show CASE` shows the rows of a case with their numbers",
            )
        parts.append(np.arange(first, last + 1, dtype=np.int64))
    return np.concatenate(parts)


def _tell(done: CaseDecision, as_json: bool) -> None:
    made = done.made
    case, split = made.case, made.split

    def human(console: Console) -> None:
        style = _STYLE[case.status]
        console.print(f"[{style}]{case.status}[/] {case.id}: {escape(done.message)}", soft_wrap=True)
        if case.status == "open":
            console.print("  it stays open: the contract asks for more approvals by other reviewers")
        if split is not None:
            console.print(f"  {split.parent.id} was split", soft_wrap=True)
            console.print(
                f"  the other {split.rest.rows:,} rows: {split.rest.id} ({split.rest.status})", soft_wrap=True
            )
        console.print(f"  decision {made.decision_id}", soft_wrap=True)

    payload = {
        **done.as_dict(),
        "decision": made.decision_id,
        "action": made.action,
        "reviewer": made.reviewer,
        "status": made.status,
    }
    emit(payload, human, as_json)


def _show(console: Console, case: CaseView) -> None:
    console.print(
        f"[bold]{case.id}[/] [{_STYLE[case.status]}]{case.status}[/]", highlight=False, soft_wrap=True
    )
    facts = {
        "summary": case.summary,
        "data set": case.dataset,
        "source": case.source,
        "delivery": case.delivery_id,
        "kind": case.kind,
        "rows": f"{case.rows:,}",
        "opened": case.opened_at,
        "blocks": "its delivery waits for the decision" if case.blocking else "no",
        "review": f"{case.approvals} approval(s); silence until {case.expires_at}: {case.on_timeout}"
        if case.expires_at
        else f"{case.approvals} approval(s)",
        "evidence": json.dumps(case.evidence, ensure_ascii=False, default=str),
    }
    if case.parent_id:
        facts["part of"] = case.parent_id
    if case.children:
        facts["parts"] = ", ".join(case.children)
    if case.reviewers:
        facts["reviewers"] = ", ".join(case.reviewers)
    for name, value in facts.items():
        console.print(f"  {name:9} {escape(_printable(value))}", highlight=False, soft_wrap=True)
    for each in case.decisions:
        console.print(
            f"  decided   {escape(each.reviewer)}{where(each.via)} at {each.decided_at}: {each.action}: "
            f"{escape(each.reason)}",
            highlight=False,
            soft_wrap=True,
        )


def _rows_table(table: pa.Table, total: int) -> Table:
    shown = Table(title=f"First {table.num_rows} of {total:,} rows", title_justify="left", show_lines=True)
    names = [
        "_row",
        *[name for name in table.column_names if not name.startswith("_")],
        "_p_value",
        "_reasons",
    ]
    names = [name for name in names if name in table.column_names]
    for name in names:
        shown.add_column(escape(name), overflow="fold")
    for row in table.select(names).to_pylist():
        shown.add_row(*[escape(_cell(row[name])) for name in names])
    return shown


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "; ".join(_printable(str(each)) for each in value)
    text = _printable(str(value))
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _printable(text: str) -> str:
    """Quarantined text may hold what a terminal would obey; it is shown, not obeyed."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
