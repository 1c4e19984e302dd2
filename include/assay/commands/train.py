"""`assay train`: one supervised run on a snapshot, or on a table that the line never admitted."""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.commands._shared import ContractOption, JsonFlag, emit, fail, guarded, load, print_findings
from assay.db import findings_of, get_model, get_run
from assay.errors import UsageError
from assay.findings import Finding, Outcome

if TYPE_CHECKING:
    from assay.line import Line, RunNotTried, RunStopped
    from assay.train import Event, RunResult

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Tell = Callable[["Event"], None]


@app.command()
@guarded
def train(
    snapshot: Annotated[
        str,
        typer.Argument(
            help="A snapshot's id, `latest`, or the path of a Parquet or CSV table.", show_default=False
        ),
    ],
    contract: ContractOption,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the bundle; for a table only.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train under watch: the run is stopped when its curve says that it must not go on.

    A snapshot's model becomes a signed challenger in the registry. A table's model is signed and written to --out; the
    line never admitted the table, so that its model is in no registry and cannot become champion.

    Exit codes: 0 finished and the curve passed, 1 stopped or failed, 2 called wrongly, 3 a tool was missing.
    """
    from assay.line import Line, RunNotTried, RunStopped

    epochs = load(contract).training.epochs
    table = _table(snapshot, out)
    with Line.open(contract) as line:
        try:
            with _progress(epochs, quiet=as_json) as tell:
                said = (
                    _on_snapshot(line, snapshot, tell) if table is None else _on_table(line, table, out, tell)
                )
        except (RunStopped, RunNotTried) as error:
            _no_model(error, as_json)
    emit(said, lambda console: _print(console, said), as_json)
    raise typer.Exit(Outcome(said["curve_outcome"]).exit_code)


def _table(name: str, out: Path | None) -> Path | None:
    """The table's path; None when a snapshot is meant."""
    if name == "latest" or name.startswith("snapshot-"):
        if out is not None:
            raise UsageError(
                "--out is for tables: the bundle of a snapshot goes where the registry finds it",
                next_step="leave --out away; `assay model show` says where the bundle is",
            )
        return None
    path = Path(name).expanduser()
    if not path.is_file():
        raise UsageError(
            f"{name!r} is neither a snapshot nor a table",
            expected="a snapshot's id, `latest`, or the path of a Parquet or CSV file",
            next_step="check the path",
        )
    if out is None:
        raise UsageError(
            "it is not said where the table's bundle should go",
            expected="--out FOLDER: a table's model enters no registry",
            next_step="add --out",
        )
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a folder", next_step="name another one with --out")
    return path


def _on_snapshot(line: Line, snapshot: str, tell: Tell) -> dict[str, Any]:
    from assay.line import train as station

    done = station(line, snapshot, on_event=tell)
    with line.database.session() as session:
        run, model = get_run(session, done["run"]), get_model(session, done["model"])
        checks = findings_of(session, done["run"])
    assert run is not None  # the station registered both
    assert model is not None
    facts = {**run.detail, **{name: model.metrics.get(name) for name in ("train_loss", "validation_loss")}}
    return {
        **_facts(facts, checks, run.status),
        "metrics": {name: model.metrics[name] for name in ("accuracy", "r2") if name in model.metrics},
        "run": run.id,
        "snapshot": run.snapshot_id,
        "table": None,
        "curve_outcome": run.curve_outcome or Outcome.NOT_CHECKED.value,
        "model": model.id,
        "bundle": model.bundle_uri,
        "registered": True,
    }


def _on_table(line: Line, path: Path, out: Path | None, tell: Tell) -> dict[str, Any]:
    from assay.intake import read_table
    from assay.line import train_apart
    from assay.model import file_sha256

    assert out is not None  # asked for above
    digest = file_sha256(path)
    rows = read_table(path, line.contract)
    work = line.work_dir(f"table-{uuid.uuid4().hex[:12]}")
    try:
        result, bundle = train_apart(
            line,
            rows,
            name=path.name,
            sha256=digest,
            out=out.expanduser().resolve(),
            work=work,
            on_event=tell,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return {**_result(result), "table": str(path), "model": bundle.name, "bundle": str(bundle)}


def _no_model(error: RunStopped | RunNotTried, as_json: bool) -> NoReturn:
    """Say how a run went that made no model, and leave."""
    if error.result is None:
        raise error
    said = {**_result(error.result), **error.as_dict()}
    if as_json:
        emit(said, lambda console: None, True)
        raise typer.Exit(error.exit_code)
    _print(Console(), said)
    fail(error, False)


def _result(result: RunResult) -> dict[str, Any]:
    """What is said of a run that is in no registry, or that made no model."""
    last = result.curve[-1] if result.curve else None
    facts = {
        "backend": result.backend,
        "backend_reason": result.backend_reason,
        "device": result.device,
        "epochs": len(result.curve),
        "reason": result.reason,
        "train_loss": last.train_loss if last else None,
        "validation_loss": last.validation_loss if last else None,
    }
    return {
        **_facts(facts, result.findings, result.status),
        "metrics": {
            name: value for name in ("accuracy", "r2") if last and (value := getattr(last, name)) is not None
        },
        "run": result.run_id,
        "snapshot": None,
        "table": None,
        "curve_outcome": result.curve_outcome.value,
        "model": None,
        "bundle": None,
        "registered": False,
    }


def _facts(facts: dict[str, Any], checks: Sequence[Finding], status: str) -> dict[str, Any]:
    names = ("backend", "backend_reason", "device", "epochs", "train_loss", "validation_loss", "reason")
    return {
        "status": status,
        **{name: facts.get(name) for name in names},
        "checks": [finding.model_dump(mode="json") for finding in checks],
    }


def _print(console: Console, said: dict[str, Any]) -> None:
    table = Table(title=f"Run {said['run']}", title_justify="left", show_header=False)
    table.add_column("what", no_wrap=True)
    table.add_column("value", overflow="fold")
    rows = {
        "trained on": said["table"] or said["snapshot"],
        "ended": said["status"].replace("_", " "),
        "backend": f"{said['backend']} ({said['backend_reason']})",
        "device": said["device"],
        "epochs": said["epochs"],
        "training loss": said["train_loss"],
        "validation loss": said["validation_loss"],
        **said["metrics"],
        "model": said["model"],
        "bundle": said["bundle"],
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, f"{value:.4f}" if isinstance(value, float) else escape(str(value)))
    console.print(table)
    if said["checks"]:
        print_findings(console, [Finding.model_validate(check) for check in said["checks"]], title="Curve")
    if said["model"] and said["registered"]:
        console.print("a challenger: the gates decide whether it may become champion")
    elif said["model"]:
        console.print(
            "the table was not admitted by the line: this model is in no registry and cannot become champion"
        )


@contextmanager
def _progress(epochs: int, *, quiet: bool) -> Iterator[Tell]:
    """A bar on standard error that follows the run, if somebody looks; else a line now and then."""
    if quiet:
        yield lambda event: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from assay.train import Epoch, Started, Warned

    console = Console(stderr=True)
    live = sys.stderr.isatty()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[losses]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not live) as progress:
        task = progress.add_task("preparing", total=epochs, losses="")

        def tell(event: Event) -> None:
            if isinstance(event, Started):
                device = f"{event.device} {event.device_name or ''}".strip()
                progress.update(task, description=escape(f"{event.backend} on {device}"))
                if not live:
                    console.print(f"{event.backend} on {device}: {event.rows} rows", markup=False)
            elif isinstance(event, Epoch):
                losses = f"loss {_loss(event.train_loss)}, validation {_loss(event.validation_loss)}"
                progress.update(task, completed=event.epoch, losses=losses)
                if not live and (event.epoch == epochs or event.epoch % max(1, epochs // 10) == 0):
                    console.print(f"epoch {event.epoch}/{epochs}: {losses}", markup=False)
            elif isinstance(event, Warned):
                console.print(event.message, markup=False)

        yield tell


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"
