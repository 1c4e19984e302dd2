"""The `assay` command: a thin face over the rooms.

Each sub-command is imported only when it is called, so that `assay --help` and `assay verify` do not pay for libraries
that they do not use.
"""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

_COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("assay.commands.demo", "The whole line on real data, with attacks."),
    "doctor": ("assay.commands.doctor", "What this machine has and lacks, with the next step."),
    "contract": (
        "assay.commands.contract",
        "Check a contract, print its JSON Schema, import from other formats, record who changed it.",
    ),
    "trust": ("assay.commands.trust", "Publishers' keys: add, list, revoke."),
    "verify": ("assay.commands.verify", "Checksums, signature, completeness and freshness of one delivery."),
    "validate": ("assay.commands.validate", "Expectations of the contract on a table, with failing rows."),
    "screen": ("assay.commands.screen", "A verdict per row: which rows look poisoned, and why."),
    "cases": ("assay.commands.cases", "The quarantine: list, show, release, reject."),
    "notify": ("assay.commands.notify", "News for people by mail, chat or webhook: list, send, test."),
    "ledger": ("assay.commands.ledger", "The log of all decisions: verify, prove, trace, export."),
    "train": ("assay.commands.train", "One supervised training run on a snapshot."),
    "model": ("assay.commands.model", "Model bundles: verify, show, promote, rollback."),
}


class _LazyGroup(TyperGroup):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Assay: the checkpoint between the sources of training data and the model that learns from it.",
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and leave.", is_eager=True),
) -> None:
    """Exit codes: 0 passed or accepted, 1 failed, rejected or held, 2 usage error, 3 not checked."""
    if version:
        from assay import __version__

        typer.echo(f"assay {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="assay")


if __name__ == "__main__":
    main()
