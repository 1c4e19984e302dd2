"""`assay cases`: list, show, release, reject."""

from __future__ import annotations

import getpass
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.commands._shared import JsonFlag, database, emit, existing, guarded, object_store, settings
from assay.contract import ContractError, find_contracts, load_contract
from assay.errors import UsageError
from assay.quarantine import CaseView, DecisionMade, case_rows, list_cases, show_case

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="The quarantine: rows that were held, the evidence, and what people decided.",
)

_STYLE = {"open": "yellow", "released": "green", "rejected": "bold red"}
_CELL = 40

CaseArgument = Annotated[
    str, typer.Argument(help="The case's id, or an unambiguous beginning of it.", show_default=False)
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept for ever.", show_default=False)]
ReviewerOption = Annotated[
    str | None, typer.Option("--reviewer", help="Who decides. [the system's user]", show_default=False)
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
    contract: ContractOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a case's rows in: they enter the next snapshot. Exit 1 while more reviewers must agree."""
    made = _decide(case, "release", reason, reviewer, contract)
    _tell(made, as_json)
    if made.status == "open":
        raise typer.Exit(1)


@app.command()
@guarded
def reject(
    case: CaseArgument,
    reason: ReasonOption,
    reviewer: ReviewerOption = None,
    contract: ContractOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Keep a case's rows out for good; they stay in the store, sealed."""
    _tell(_decide(case, "reject", reason, reviewer, contract), as_json)


def _decide(
    case_id: str, action: str, reason: str, reviewer: str | None, contract: Path | None
) -> DecisionMade:
    from assay.line import Line, record_decision, settle

    registry = database()
    case = show_case(registry, case_id)
    registry.dispose()
    path = existing(contract, "contract") if contract else _contract_of(case)
    with Line.open(path) as line:
        if line.dataset != case.dataset:
            raise UsageError(
                f"case {case.id} is of another data set than the contract",
                expected=case.dataset,
                found=f"{line.dataset} ({path})",
                next_step="name the right contract with --contract",
            )
        made = record_decision(line, case, action, reviewer or getpass.getuser(), reason)
        settle(line)
    return made


def _contract_of(case: CaseView) -> Path:
    """The contract of a case's data set: its terms of review count, so that nothing is decided without it."""
    folder = settings().contracts_dir
    for path in find_contracts(folder):
        try:
            if load_contract(path).dataset == case.dataset:
                return path
        except ContractError:
            if path.stem == case.dataset:
                raise
    raise UsageError(
        f"no contract of the data set {case.dataset!r} is in {folder}",
        state="the case stays as it is",
        next_step="name it with --contract, or set ASSAY_CONTRACTS_DIR",
    )


def _tell(made: DecisionMade, as_json: bool) -> None:
    case = made.case
    needed = case.approvals - made.approvals

    def human(console: Console) -> None:
        again = " (said before; nothing changed)" if made.repeated else ""
        console.print(
            f"[{_STYLE[case.status]}]{case.status}[/] {case.id}: {escape(made.reviewer)} decided to {made.action} it"
            f"{again}",
            soft_wrap=True,
        )
        if case.status == "open":
            more = f"{needed} more approval(s)" if needed > 0 else "more approvals"
            console.print(f"  it stays open: the contract asks for {more} by other reviewers", soft_wrap=True)
        console.print(f"  decision {made.decision_id}", soft_wrap=True)

    payload = {
        "case": case.as_dict(),
        "decision": made.decision_id,
        "action": made.action,
        "reviewer": made.reviewer,
        "status": made.status,
        "repeated": made.repeated,
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
    for name, value in facts.items():
        console.print(f"  {name:9} {escape(_printable(value))}", highlight=False, soft_wrap=True)
    for each in case.decisions:
        console.print(
            f"  decided   {escape(each.reviewer)} at {each.decided_at}: {each.action}: {escape(each.reason)}",
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
