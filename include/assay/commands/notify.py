"""`assay notify`: list, send, test."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.commands._shared import JsonFlag, database, emit, guarded, settings
from assay.errors import UsageError
from assay.ledger import open_ledger
from assay.notify import EVENTS, Notice, Target, list_notices, targets_of, tell

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="News for people: a rejected delivery, a new case, a failed curve or gate; where it goes is ASSAY_NOTIFY.",
)

_STYLE = {"sent": "green", "failed": "bold red", "sending": "yellow"}


@app.command(name="list")
@guarded
def list_(
    failed: Annotated[bool, typer.Option("--failed", help="Only what was not delivered.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the newest messages and what became of them. Exit 1 if one was not delivered."""
    notices = list_notices(database(), state="failed" if failed else None)
    emit([each.as_dict() for each in notices], lambda console: _show(console, notices), as_json)
    if any(each.state == "failed" for each in notices):
        raise typer.Exit(1)


@app.command()
@guarded
def send(as_json: JsonFlag = False) -> None:
    """Send what is new in the ledger; Airflow does so after each task. Exit 1 if something was not delivered."""
    configured = settings()
    targets = _targets()
    registry = database()
    ledger = open_ledger(configured, registry)
    tried = tell(
        ledger,
        targets,
        since=ledger.size(),
        events=configured.notify_events or EVENTS,
        pages=configured.pages_url,
    )
    emit([each.as_dict() for each in tried], lambda console: _show(console, tried), as_json)
    if any(each.state == "failed" for each in tried):
        raise typer.Exit(1)


@app.command(name="test")
@guarded
def try_out(as_json: JsonFlag = False) -> None:
    """Send a message that says that it is a test to every place. Exit 1 if one does not take it."""
    outcomes = {
        target.name: target.send("Assay: a test", "This message only shows that messages arrive.")
        for target in _targets()
    }

    def human(console: Console) -> None:
        for name, problem in outcomes.items():
            console.print(
                f"[bold red]failed[/] {name}: {escape(problem)}" if problem else f"[green]sent[/] {name}"
            )

    emit(outcomes, human, as_json)
    if any(outcomes.values()):
        raise typer.Exit(1)


def _targets() -> tuple[Target, ...]:
    places = settings().notify_places
    if not places:
        raise UsageError(
            "no place for notifications is configured",
            expected="Apprise URLs in ASSAY_NOTIFY, e.g. mailto://… or slack://…",
            next_step="docs/review.md shows how",
        )
    return targets_of(places)


def _show(console: Console, notices: list[Notice]) -> None:
    if not notices:
        console.print("nothing to tell")
        return
    table = Table(title="Notifications", title_justify="left")
    for column in ("entry", "event", "to", "state", "tries", "at", "problem"):
        table.add_column(column, overflow="fold", no_wrap=column in {"entry", "event", "state"})
    for each in notices:
        table.add_row(
            str(each.position),
            each.event,
            each.target,
            f"[{_STYLE[each.state]}]{each.state}[/]",
            str(each.attempts),
            each.at,
            escape(each.problem),
        )
    console.print(table)
