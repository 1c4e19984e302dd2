"""`assay train`: one supervised run on a snapshot, or on a table that the line never admitted."""

from __future__ import annotations

import shutil
import sys
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
from assay.errors import AssayError, UsageError
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
    from assay.canonical import file_sha256
    from assay.intake import read_table
    from assay.line import RunInterrupted, train_apart
    from assay.train import training_digest

    assert out is not None  # asked for above
    digest = file_sha256(path)
    rows = read_table(path, line.contract)
    # Named after what decides the run, so that one that was killed goes on from its checkpoint.
    work = line.work_dir(f"table-{digest[:12]}-{training_digest(line.contract)[:12]}")
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
    except AssayError as error:
        ended: RunResult | None = getattr(error, "result", None)
        if not isinstance(error, RunInterrupted) and (ended is None or not ended.resumable):
            shutil.rmtree(work, ignore_errors=True)
        raise
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
    spec = result.spec
    last = result.curve[spec.best_epoch - 1 if spec else -1] if result.curve else None
    facts = {
        "backend": result.backend,
        "backend_reason": result.backend_reason,
        "device": result.device,
        "epochs": len(result.curve),
        "best_epoch": spec.best_epoch if spec else None,
        "stopped_because": spec.stopped_because if spec else None,
        "resumed": result.resumed,
        "privacy": spec.privacy.model_dump(mode="json") if spec and spec.privacy else None,
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
    names = (
        *(
            "backend",
            "backend_reason",
            "device",
            "epochs",
            "best_epoch",
            "stopped_because",
            "resumed",
            "privacy",
        ),
        *("train_loss", "validation_loss", "reason"),
    )
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
        "epochs": _epochs(said),
        "resumed": f"{said['resumed']} times from a checkpoint" if said.get("resumed") else None,
        "privacy": _privacy(said.get("privacy")),
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


def _epochs(said: dict[str, Any]) -> str:
    text = str(said["epochs"])
    if said.get("best_epoch") and said["best_epoch"] != said["epochs"]:
        text += f", the weights are those of epoch {said['best_epoch']}"
    return f"{text}; ended by {said['stopped_because']}" if said.get("stopped_because") else text


def _privacy(facts: dict[str, Any] | None) -> str | None:
    if facts is None:
        return None
    settings = facts.get("settings") or facts
    pld, rdp = (
        "unbounded" if facts[name] is None else f"{facts[name]:.4g}"
        for name in ("epsilon_pld", "epsilon_rdp")
    )
    seeded = "; drawn from the seed: no privacy against those who know it" if settings["seeded_noise"] else ""
    return f"epsilon {pld} (PLD), {rdp} (RDP) at delta {settings['delta']:g}{seeded}"


@contextmanager
def _progress(epochs: int, *, quiet: bool) -> Iterator[Tell]:
    """A bar on standard error that follows the run, if somebody looks; else a line now and then."""
    if quiet:
        yield lambda event: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    live = sys.stderr.isatty()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[losses]}"),
        TextColumn("{task.fields[within]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not live) as bar:
        task = bar.add_task("preparing", total=epochs, losses="", within="")

        def show(**fields: Any) -> None:
            bar.update(task, **fields)

        yield _Teller(epochs, console, None if not live else show).tell


class _Teller:
    """Tells people how a run goes: on a live bar, or in lines where nobody watches.

    Args:
        epochs: That were asked for.
        console: For lines.
        show: Changes the bar; `None` without one.
    """

    def __init__(self, epochs: int, console: Console, show: Callable[..., None] | None) -> None:
        self._epochs, self._console, self._show = epochs, console, show
        self._every = max(1, epochs // 10)
        self._brought = 0

    def tell(self, event: Event) -> None:
        from assay.train import Epoch, Finished, Progress, Started, Warned

        if isinstance(event, Started):
            device = f"{event.device} {event.device_name or ''}".strip()
            self._brought = event.resumed_from
            self._set(description=escape(f"{event.backend} on {device}"))
            self._line(f"{event.backend} on {device}: {event.rows} rows")
            if event.resumed_from:
                self._console.print(f"going on after epoch {event.resumed_from}, from a checkpoint")
        elif isinstance(event, Progress):
            self._set(within=f"{event.updates}/{event.of} updates")
        elif isinstance(event, Epoch):
            losses = f"loss {_loss(event.train_loss)}, validation {_loss(event.validation_loss)}"
            if event.epsilon_pld is not None:
                losses += f", epsilon {event.epsilon_pld:.3g}"
            self._set(completed=event.epoch, losses=losses, within="")
            if event.epoch > self._brought and (
                event.epoch == self._epochs or event.epoch % self._every == 0
            ):
                self._line(f"epoch {event.epoch}/{self._epochs}: {losses}")
        elif isinstance(event, Finished):
            if event.stopped_because:
                self._console.print(event.stopped_because, markup=False)
        elif isinstance(event, Warned):
            self._console.print(event.message, markup=False)

    def _set(self, **fields: Any) -> None:
        if self._show is not None:
            self._show(**fields)

    def _line(self, text: str) -> None:
        if self._show is None:
            self._console.print(text, markup=False)


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"
