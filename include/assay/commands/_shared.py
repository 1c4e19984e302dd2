"""What every sub-command does alike: exit codes, JSON or text, errors without tracebacks."""

from __future__ import annotations

import errno
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from assay.contract import Contract, load_contract
from assay.errors import AssayError, UsageError
from assay.findings import Finding
from assay.settings import Settings

if TYPE_CHECKING:
    from assay.db import Database
    from assay.store import ObjectStore

P = ParamSpec("P")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of text.")]
ContractOption = Annotated[
    Path, typer.Option("--contract", "-c", help="The data set's contract (YAML).", show_default=False)
]

_PIPE_WIDTH = 140  # where nothing says how wide the reader's screen is
OUTCOME_STYLE = {"passed": "green", "failed": "bold red", "not_checked": "yellow"}
_OS_HINTS = {
    errno.ENOSPC: "free some disk space, then run the same command again",
    errno.EROFS: "the file system is read-only: point ASSAY_HOME or ASSAY_STORE_URI to a writable place",
    errno.EACCES: "check the permissions, or point ASSAY_HOME to a place of your own",
    errno.EADDRINUSE: "another program uses that port: stop it or choose another port",
}


def settings() -> Settings:
    """Settings from the environment."""
    return Settings.from_env()


def database() -> Database:
    """The registry, migrated to the newest schema."""
    from assay.db import open_database  # a command that needs no registry does not wait for SQLAlchemy

    return open_database(settings())


def object_store() -> ObjectStore:
    """The object store."""
    from assay.store import open_store

    return open_store(settings())


def load(path: Path) -> Contract:
    """Read a contract named on the command line.

    Raises:
        UsageError: The file is not there.
        ContractError: The file is not a valid contract.
    """
    if not path.is_file():
        raise UsageError(
            f"no contract at {path}", expected="a YAML file", next_step="check the path given to --contract"
        )
    return load_contract(path)


def existing(path: Path, what: str) -> Path:
    """The path itself, if something is there.

    Raises:
        UsageError: Nothing is there.
    """
    if not path.exists():
        raise UsageError(f"no {what} at {path}", next_step="check the path")
    return path


def emit(payload: Any, human: Callable[[Console], None], as_json: bool) -> None:
    """Print the payload as JSON, or let `human` print it for a person."""
    if as_json:
        sys.stdout.write(json.dumps(payload, indent=2, default=str, ensure_ascii=False) + "\n")
    else:
        console = Console()
        human(console if console.is_terminal else Console(width=_PIPE_WIDTH))


def fail(error: AssayError, as_json: bool) -> NoReturn:
    """Print the error and leave with its exit code."""
    if as_json:
        facts: dict[str, Any] = dict(error.as_dict())
        if problems := getattr(error, "problems", None):
            facts["problems"] = problems
        sys.stdout.write(json.dumps(facts, indent=2, default=str, ensure_ascii=False) + "\n")
    else:
        head, *rest = str(error).splitlines()
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error:[/] {escape(head)}")
        for line in rest:
            console.print(escape(line))
    raise typer.Exit(error.exit_code)


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors that a person can act on into a message and an exit code; anything else stays a traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json", False))
        try:
            command(*args, **kwargs)
        except AssayError as error:
            fail(error, as_json)
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            hint = _OS_HINTS.get(error.errno or 0, "mend that and run the same command again")
            fail(AssayError(f"the system refused: {error.strerror or error}{where}", next_step=hint), as_json)
        except KeyboardInterrupt:
            Console(stderr=True).print("stopped; run the same command again to go on")
            raise typer.Exit(130) from None

    return wrapper


def print_findings(console: Console, findings: list[Finding], title: str = "Checks") -> None:
    """A table of findings: check, outcome, message."""
    table = Table(title=title, title_justify="left", show_lines=False)
    table.add_column("check")
    table.add_column("outcome")
    table.add_column("what was seen", overflow="fold")
    for finding in findings:
        style = OUTCOME_STYLE[finding.outcome.value]
        table.add_row(escape(finding.check), f"[{style}]{finding.outcome.value}[/]", escape(finding.message))
    console.print(table)
