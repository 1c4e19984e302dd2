"""`assay model`: verify, show, promote, rollback."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.commands._about import about, print_about, read_about
from assay.commands._shared import (
    OUTCOME_STYLE,
    ContractOption,
    JsonFlag,
    database,
    emit,
    existing,
    guarded,
    load,
    print_findings,
    settings,
)
from assay.db import ModelRow, Promotion, findings_of, get_model, list_models, list_promotions
from assay.errors import UsageError
from assay.findings import Finding, Outcome, Scope, Severity, worst
from assay.ledger import ledger_public_key, load_public_key, ring_in
from assay.model import (
    BundleRefused,
    LoadedModel,
    NoSuchModel,
    check_bundle,
    find_model,
    model_public_key,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Model bundles: are they whole and signed, which one is the champion, who decided that.",
)

_STATE_STYLE = {"champion": "bold green", "challenger": "yellow", "refused": "bold red", "retired": "dim"}
_BY_LENGTH = 128

ByOption = Annotated[
    str | None, typer.Option("--by", help="Who decides. [the system's user]", show_default=False)
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept for ever.", show_default=False)]


@app.command()
@guarded
def verify(
    bundle: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE_OR_ID", help="A bundle's folder, or a model's id.", show_default=False
        ),
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", help="Public key (PEM) of who signs models. [the one kept here]", show_default=False
        ),
    ] = None,
    ledger_key: Annotated[
        Path | None,
        typer.Option(
            "--ledger-key", help="The ledger's public key (PEM). [the one kept here]", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check a bundle: its files, its signature, and that all that is in it is one model with one history.

    Nothing in it is parsed before its signature has passed. Flux's own file is read last, where Julia is installed, in
    a process without network, and compared with the portable weights; privacy is computed again. Exit codes: 0 passed,
    1 failed, 2 called wrongly, 3 a key or a tool was missing.
    """
    folder, wanted = _locate(bundle)
    public_key = existing(key, "public key") if key else model_public_key(settings())
    statements = load_public_key(ledger_key) if ledger_key else _ledger_keys()
    findings, model = check_bundle(folder, public_key, ledger_key=statements, thorough=True)
    if model is not None and statements is None:
        findings.append(_no_ledger_key())
    if model is not None and wanted is not None:
        findings.append(_identity(model, wanted))
    outcome = worst(finding.outcome for finding in findings)
    payload = {
        "outcome": outcome.value,
        "bundle": str(folder),
        "model": model.id if model else None,
        "key": str(public_key),
        "about": about(model.spec) if model else None,
        "findings": [finding.model_dump(mode="json") for finding in findings],
    }

    def human(console: Console) -> None:
        print_findings(console, findings, title=f"Bundle {folder.name}")
        if model is not None:
            console.print(f"{model.id}: {model.spec.task} of {model.spec.label}", markup=False)
            print_about(console, about(model.spec))
        style = OUTCOME_STYLE[outcome.value]
        says = {
            Outcome.PASSED: "it is whole, and signed by the owner of the key",
            Outcome.FAILED: "do not load it",
            Outcome.NOT_CHECKED: "it could not be checked in full",
        }
        console.print(f"[{style}]{outcome.value}[/]: {says[outcome]}")

    emit(payload, human, as_json)
    raise typer.Exit(outcome.exit_code)


@app.command()
@guarded
def show(
    contract: ContractOption,
    model: Annotated[
        str | None, typer.Argument(help="A model's id, or `champion`. [all models]", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show the data set's models and who was champion when, or one model with what its gates said."""
    dataset = load(contract).dataset
    registry = database()
    try:
        with registry.session() as session:
            rows = [find_model(session, dataset, model)] if model else list_models(session, dataset)
            promotions = list_promotions(session, dataset)
            gates = findings_of(session, rows[0].id) if model else []
    finally:
        registry.dispose()
    if model:
        mine = [p for p in promotions if rows[0].id in {p.model_id, p.previous_id}]
        facts, unread = read_about(rows[0])
        payload = {
            **_facts(rows[0]),
            "about": facts,
            "bundle_refused": unread or None,
            "gates": [finding.model_dump(mode="json") for finding in gates],
            "changes": [_change(p) for p in mine],
        }

        def human(console: Console) -> None:
            _one(console, rows[0], gates)
            if facts is not None:
                print_about(console, facts)
            else:
                console.print(f"the bundle cannot be read: {unread}", markup=False, soft_wrap=True)
            _history(console, mine)
            console.print(f"next: assay model verify {rows[0].id}", highlight=False)

        emit(payload, human, as_json)
        return
    listing = {
        "dataset": dataset,
        "champion": promotions[-1].model_id if promotions else None,
        "models": [_facts(row) for row in rows],
        "changes": [_change(p) for p in promotions],
    }
    emit(listing, lambda console: _all(console, dataset, rows, promotions), as_json)


@app.command()
@guarded
def promote(
    model: Annotated[str, typer.Argument(help="The challenger's id.", show_default=False)],
    contract: ContractOption,
    reason: ReasonOption,
    by: ByOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Approve a challenger whose gates passed: with enough approvals it is the champion. Exit 1 while they lack."""
    from assay.line import Line, approve_model

    who = _who(by, reason)
    existing(contract, "contract")
    with Line.open(contract) as line:
        done = approve_model(line, model, who, reason, via="cli")
    if done["state"] == "champion":
        emit(done, lambda console: _changed(console, done), as_json)
        return
    emit(done, lambda console: console.print(escape(done["message"]), soft_wrap=True), as_json)
    raise typer.Exit(1)


@app.command()
@guarded
def rollback(
    contract: ContractOption,
    reason: ReasonOption,
    to: Annotated[
        str | None,
        typer.Option(help="Id of an earlier champion. [the one before the present one]", show_default=False),
    ] = None,
    by: ByOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring an earlier champion back. Its bundle must still stand."""
    from assay.line import Line, roll_back

    who = _who(by, reason)
    existing(contract, "contract")
    with Line.open(contract) as line:
        done = roll_back(line, to, who, reason)
    emit(done, lambda console: _changed(console, done), as_json)


# -------------------------------------------------------------------------------------------------------------- private
def _locate(name: str) -> tuple[Path, str | None]:
    """The bundle's folder, and the model's id where that was given."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path, None
    if not name.startswith("model-"):
        raise UsageError(
            f"{name!r} is neither a folder nor a model's id",
            expected="a bundle's folder, or model- and 32 hexadecimal digits",
            next_step="`assay model show --contract C` lists the models of a data set",
        )
    registry = database()
    try:
        with registry.session() as session:
            row = get_model(session, name)
    finally:
        registry.dispose()
    if row is None:
        raise NoSuchModel(
            f"the registry has no model {name!r}",
            next_step="`assay model show --contract C` lists the models",
        )
    if not Path(row.bundle_uri).is_dir():
        raise BundleRefused(
            f"the bundle of {row.id} is gone",
            expected=row.bundle_uri,
            next_step="restore it from a copy; `assay model verify` then says whether it is the same",
        )
    return Path(row.bundle_uri), row.id


def _ledger_keys() -> Ed25519PublicKey | None:
    """The key that signs the ledger's statements, with those before it; None where there is none."""
    key = ledger_public_key(settings())
    if key is None:
        return None
    with database().session() as session:
        return ring_in(session, key)


def _no_ledger_key() -> Finding:
    return Finding(
        check="model.statement_signature",
        outcome=Outcome.NOT_CHECKED,
        scope=Scope.MODEL,
        message="the ledger's public key is not here; name it with --ledger-key",
    )


def _identity(model: LoadedModel, wanted: str) -> Finding:
    same = model.id == wanted
    return Finding(
        check="model.identity",
        outcome=Outcome.PASSED if same else Outcome.FAILED,
        severity=Severity.INFO if same else Severity.CRITICAL,
        scope=Scope.MODEL,
        subject=wanted,
        message="the bundle is the model that the registry names" if same else f"the bundle is {model.id}",
        technique=None if same else "AML.T0018",
    )


def _who(by: str | None, reason: str) -> str:
    """Who decides; both who and why must be said."""
    if by is None:
        try:
            by = getpass.getuser()
        except (OSError, KeyError):
            by = ""
    who = by.strip()
    if not who or len(who) > _BY_LENGTH or not who.isprintable():
        raise UsageError(
            "nobody is named as the one who decides",
            expected="a name of at most 128 characters",
            next_step="name yourself with --by",
        )
    if not reason.strip():
        raise UsageError("there is no reason", next_step="say why with --reason; it is kept for ever")
    return who


def _facts(row: ModelRow) -> dict[str, Any]:
    return {
        "model": row.id,
        "state": row.state,
        "run": row.run_id,
        "snapshot": row.snapshot_id,
        "made_at": row.made_at,
        "bundle": row.bundle_uri,
        "metrics": row.metrics,
    }


def _change(row: Promotion) -> dict[str, Any]:
    return {
        "promotion": row.id,
        "action": row.action,
        "model": row.model_id,
        "previous": row.previous_id,
        "by": row.by,
        "reason": row.reason,
        "at": row.at,
    }


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def _level(row: ModelRow) -> str:
    return _figure(row.metrics.get("accuracy", row.metrics.get("r2")))


def _all(console: Console, dataset: str, rows: list[ModelRow], promotions: list[Promotion]) -> None:
    if not rows:
        console.print(f"{dataset} has no models yet; `assay train latest` makes one", markup=False)
        return
    table = Table(title=f"Models of {dataset}", title_justify="left")
    for column in ("model", "state", "gates", "accuracy or R²", "made"):
        table.add_column(column, no_wrap=column == "model")
    for row in rows:
        style = _STATE_STYLE.get(row.state, "")
        gates = str(row.metrics.get("gates", "not asked"))
        table.add_row(row.id, f"[{style}]{row.state}[/]", escape(gates), _level(row), row.made_at)
    console.print(table)
    _history(console, promotions)


def _one(console: Console, row: ModelRow, gates: list[Finding]) -> None:
    style = _STATE_STYLE.get(row.state, "")
    console.print(f"{row.id}: [{style}]{row.state}[/]", highlight=False)
    for name, value in (
        ("run", row.run_id),
        ("snapshot", row.snapshot_id),
        ("made", row.made_at),
        ("bundle", row.bundle_uri),
    ):
        console.print(f"{name:>10}: {escape(value)}", highlight=False, soft_wrap=True)
    for name, value in sorted(row.metrics.items()):
        if isinstance(value, int | float):
            console.print(f"{name:>10}: {_figure(value)}", highlight=False)
    if gates:
        print_findings(console, gates, title="Gates")


def _history(console: Console, changes: list[Promotion]) -> None:
    if not changes:
        return
    table = Table(title="Changes of champion", title_justify="left")
    for column in ("at", "what", "model", "by", "why"):
        table.add_column(column, overflow="fold", no_wrap=column == "model")
    for change in changes:
        table.add_row(change.at, change.action, change.model_id, escape(change.by), escape(change.reason))
    console.print(table)


def _changed(console: Console, done: dict[str, Any]) -> None:
    if done["repeated"]:
        console.print(
            f"{done['model']} is the champion already: nothing changed", highlight=False, soft_wrap=True
        )
        return
    console.print(f"champion: {done['model']}", highlight=False)
    console.print(f"  before: {done['previous'] or 'none'}", highlight=False)
    console.print(f"decided by {done['by']}; it stands in the ledger", markup=False, highlight=False)
