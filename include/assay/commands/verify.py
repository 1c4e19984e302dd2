"""`assay verify`: checksums, signature, completeness and freshness of one delivery."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

from assay.commands import _shared
from assay.intake import VerifiedDelivery, verify_delivery
from assay.intake.landing import Progress as Tell

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_NEXT = {
    "accept": "its files are in the store; `assay validate` and `assay screen` look at the rows",
    "hold": "mend what was not checked and run the same command again; until then nothing is read from it",
    "reject": "nothing is read from it; the publisher's folder was left as it is",
}


@app.command()
@_shared.guarded
def verify(
    delivery: Annotated[
        str,
        typer.Argument(
            help="The delivery: a path, or a file://, http(s)://, s3://, sftp:// or sql:// address.",
            show_default=False,
        ),
    ],
    contract: _shared.ContractOption,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            "-s",
            help="Id of the source it came from; found out where possible.",
            show_default=False,
        ),
    ] = None,
    as_json: _shared.JsonFlag = False,
) -> None:
    """Check signature, checksums, completeness and freshness of one delivery, and register the answer.

    Exit codes: 0 accepted, 1 rejected or unreadable, 2 called wrongly, 3 held because something could not be checked.
    """
    loaded = _shared.load(contract)
    database, store = _shared.database(), _shared.object_store()
    try:
        with _progress(quiet=as_json) as tell:
            result = verify_delivery(delivery, loaded, source, database=database, store=store, progress=tell)
    finally:
        database.dispose()
    _shared.emit(_payload(result), lambda console: _print(console, result), as_json)
    raise typer.Exit(result.outcome.exit_code)


def _payload(result: VerifiedDelivery) -> dict[str, Any]:
    return result.model_dump(mode="json")


def _print(console: Console, result: VerifiedDelivery) -> None:
    _shared.print_findings(
        console, list(result.findings), title=f"Delivery of {result.dataset} from {result.source}"
    )
    facts = {
        "delivery": result.delivery_id,
        "read from": result.uri,
        "signed by": f"{result.publisher}, {result.key_id}"
        if result.key_id
        else "nobody that the contract knows",
        "sequence": result.sequence,
        "dated": result.signed_at,
        "files": f"{len(result.files)}, {result.size:,} bytes" if result.files else None,
    }
    for name, value in facts.items():
        if value is not None:
            console.print(f"{name:>10}: {escape(str(value))}", highlight=False, soft_wrap=True)
    if result.verdict is None:
        console.print("   verdict: [bold]unchanged[/]: nothing to do")
        return
    verdict = result.verdict.value
    style = {"accept": "bold green", "hold": "bold yellow", "reject": "bold red"}[verdict]
    console.print(f"   verdict: [{style}]{verdict}[/]: {_NEXT[verdict]}", soft_wrap=True)


def _somebody_looks() -> bool:
    return sys.stderr.isatty()


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Tell | None]:
    """A line on standard error while bytes arrive, if somebody looks."""
    if quiet or not _somebody_looks():
        yield None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        seen: dict[str, int] = {}

        def tell(path: str, done: int) -> None:
            progress.update(task, advance=max(0, done - seen.get(path, 0)), description=escape(path[-60:]))
            seen[path] = done

        yield tell
