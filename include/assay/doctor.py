"""What this machine has and lacks: each part in three outcomes, each with the next step."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from assay.errors import AssayError
from assay.findings import Finding, Outcome, Scope, Severity
from assay.settings import Settings

if TYPE_CHECKING:
    from assay.notify import Standing

_MIN_FREE = 2 * 2**30


def examine(settings: Settings) -> list[Finding]:
    """Look at everything once; nothing is created, changed or started but one short Julia process.

    Returns:
        One finding per part; the evidence's `next` says what to do where something is missing.
    """
    findings: list[Finding] = []
    for look in (
        _python,
        _home,
        _store,
        _database,
        _keys,
        _contracts,
        _verifiers,
        _privacy,
        _notifications,
        _airflow,
        _julia,
    ):
        try:
            findings.extend(look(settings))
        except (AssayError, OSError) as error:
            findings.append(
                _said(look.__name__.strip("_"), Outcome.FAILED, str(error).splitlines()[0], _next_of(error))
            )
    return findings


def _said(part: str, outcome: Outcome, message: str, next_step: str = "") -> Finding:
    return Finding(
        check=f"doctor.{part}",
        outcome=outcome,
        severity=Severity.INFO if outcome is Outcome.PASSED else Severity.LOW,
        scope=Scope.SNAPSHOT,
        subject=part,
        message=message,
        evidence={"next": next_step} if next_step else {},
    )


def _next_of(error: Exception) -> str:
    return (error.next_step or "") if isinstance(error, AssayError) else "check the path and its permissions"


def _python(settings: Settings) -> Iterator[Finding]:
    version = platform.python_version()
    if sys.version_info >= (3, 11):  # noqa: UP036 - reported, not relied on
        yield _said("python", Outcome.PASSED, f"Python {version}")
    else:
        yield _said("python", Outcome.FAILED, f"Python {version} is too old", "install Python 3.11 or newer")


def _home(settings: Settings) -> Iterator[Finding]:
    if not settings.home.exists():
        yield _said(
            "home", Outcome.NOT_CHECKED, f"{settings.home} does not exist yet", "the first command makes it"
        )
        return
    if not os.access(settings.home, os.W_OK):
        yield _said(
            "home", Outcome.FAILED, f"{settings.home} is not writable", "set ASSAY_HOME to a folder of yours"
        )
        return
    free = shutil.disk_usage(settings.home).free
    mode = settings.home.stat().st_mode & 0o077
    if mode:
        yield _said(
            "home", Outcome.FAILED, f"{settings.home} is open to others", f"chmod 700 {settings.home}"
        )
    elif free < _MIN_FREE:
        yield _said(
            "home", Outcome.FAILED, f"only {free / 2**30:.1f} GiB free in {settings.home}", "free some space"
        )
    else:
        yield _said("home", Outcome.PASSED, f"{settings.home}, {free / 2**30:.0f} GiB free")


def _store(settings: Settings) -> Iterator[Finding]:
    if (
        settings.store_uri.startswith("file://")
        and not Path(settings.store_uri.removeprefix("file://")).exists()
    ):
        yield _said(
            "store", Outcome.NOT_CHECKED, f"{settings.store_uri} is empty", "the first delivery makes it"
        )
        return
    from assay.store import open_store

    store = open_store(settings)
    store.exists("0" * 64)
    yield _said("store", Outcome.PASSED, settings.store_uri)


def _database(settings: Settings) -> Iterator[Finding]:
    from assay.db import Database
    from assay.db.migrations import HEAD

    if (file := _not_made(settings)) is not None:
        yield _said(
            "database", Outcome.NOT_CHECKED, f"{file} does not exist yet", "the first command makes it"
        )
        return
    database = Database(settings.database_url)
    try:
        revision = database.revision()
    finally:
        database.dispose()
    shown = database.url.render_as_string(hide_password=True)
    if revision == HEAD:
        yield _said("database", Outcome.PASSED, f"{shown}, schema {revision}")
    else:
        yield _said(
            "database",
            Outcome.NOT_CHECKED,
            f"{shown} has schema {revision}",
            f"the next command migrates to {HEAD}",
        )


def _not_made(settings: Settings) -> str | None:
    """The database's file where there is none yet."""
    file = settings.database_url.removeprefix("sqlite:///")
    return file if file != settings.database_url and not Path(file).exists() else None


def _keys(settings: Settings) -> Iterator[Finding]:
    files = sorted(settings.keys_dir.glob("*")) if settings.keys_dir.is_dir() else []
    private = [f for f in files if f.suffix in {".pem", ".key"} and not f.name.endswith(".pub.pem")]
    open_keys = [f.name for f in private if f.stat().st_mode & 0o077]
    if open_keys:
        yield _said("keys", Outcome.FAILED, f"readable by others: {', '.join(open_keys)}", "chmod 600 them")
    elif not private:
        yield _said(
            "keys",
            Outcome.NOT_CHECKED,
            f"no key in {settings.keys_dir} yet",
            "the first statement makes them",
        )
    else:
        yield _said("keys", Outcome.PASSED, f"{len(private)} in {settings.keys_dir}, for the owner alone")


def _contracts(settings: Settings) -> Iterator[Finding]:
    from assay.contract import ContractError, find_contracts, load_contract

    paths = find_contracts(settings.contracts_dir) if settings.contracts_dir.is_dir() else []
    if not paths:
        yield _said(
            "contracts",
            Outcome.NOT_CHECKED,
            f"none in {settings.contracts_dir}",
            "write one; `assay contract schema` helps",
        )
    for path in paths:
        try:
            yield _said("contracts", Outcome.PASSED, f"{path.name}: data set {load_contract(path).dataset}")
        except ContractError as error:
            yield _said(
                "contracts", Outcome.FAILED, str(error).splitlines()[0], f"assay contract check {path}"
            )


def _verifiers(settings: Settings) -> Iterator[Finding]:
    from assay.intake.signatures.tool import PROGRAMS

    for program, (package, signs) in PROGRAMS.items():
        path = shutil.which(program)
        if path is None:
            message = f"no {program}: {signs} signatures cannot be checked"
            yield _said(program, Outcome.NOT_CHECKED, message, f"apt-get install {package}")
        else:
            yield _said(program, Outcome.PASSED, f"{path}, for {signs} signatures")


def _privacy(settings: Settings) -> Iterator[Finding]:
    from assay.train.steps.privacy import HOW_TO_GET_ACCOUNTING, accounting_installed

    if not accounting_installed():
        yield _said(
            "privacy",
            Outcome.NOT_CHECKED,
            "no dp-accounting: private training cannot be accounted for",
            HOW_TO_GET_ACCOUNTING,
        )
    else:
        version = importlib.metadata.version("dp-accounting")
        yield _said("privacy", Outcome.PASSED, f"dp-accounting {version}")


def _notifications(settings: Settings) -> Iterator[Finding]:
    from assay.notify import NotifyError, targets_of

    unknown = "no place is named here: nobody is told of what is rejected or held"
    what_next = "set ASSAY_NOTIFY; docs/review.md shows how"
    try:
        named = {target.name for target in targets_of(settings.notify_places)}
    except NotifyError as error:  # Airflow may keep the connection where only its tasks can read it
        named, unknown, what_next = set(), error.message, "where Airflow has it, all is well; else add it"
    known = {each.target: each for each in _standings(settings)}
    # Places that are named no longer are history, unless it cannot be told here which those are.
    for place in sorted(named or known):
        yield _place(place, known.get(place))
    if not named:
        yield _said("notifications", Outcome.NOT_CHECKED, unknown, what_next)


def _standings(settings: Settings) -> list[Standing]:
    from assay.db import Database
    from assay.db.migrations import HEAD
    from assay.notify import standings

    if _not_made(settings) is not None:
        return []
    database = Database(settings.database_url)
    try:
        return standings(database) if database.revision() == HEAD else []
    finally:
        database.dispose()


def _place(place: str, known: Standing | None) -> Finding:
    part, what_next = "notifications", "`assay notify test` says whether it can be reached"
    if known is not None and known.lost:
        message = f"{place}: {known.lost} given up and none arrived since ({known.problem})"
        return _said(
            part, Outcome.FAILED, message, f"{what_next}, `assay notify list --failed` what was lost"
        )
    if known is None or known.arrived is None:
        why = f" ({known.problem})" if known is not None and known.problem else ""
        return _said(part, Outcome.NOT_CHECKED, f"{place}: nothing has arrived there yet{why}", what_next)
    before = f"; {known.lost_before} before it were given up" if known.lost_before else ""
    return _said(part, Outcome.PASSED, f"{place}: the newest arrived at {known.arrived}{before}")


def _airflow(settings: Settings) -> Iterator[Finding]:
    if importlib.util.find_spec("airflow") is None:
        yield _said("airflow", Outcome.NOT_CHECKED, "Airflow is not installed", "`make setup` installs it")
    else:
        yield _said("airflow", Outcome.PASSED, f"Airflow {importlib.metadata.version('apache-airflow-core')}")


def _julia(settings: Settings) -> Iterator[Finding]:
    from assay.train import julia_status

    yield from julia_status().findings
