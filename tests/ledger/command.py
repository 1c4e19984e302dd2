"""`assay ledger` as tests call it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assay.cli import app
from assay.db import open_database
from assay.ledger import Ledger, open_ledger
from tests.ledger import support
from tests.ledger.support import statement


def run(*arguments: str) -> Result:
    """The command, in this process."""
    result = CliRunner().invoke(app, ["ledger", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def log(assay_home: Path) -> Ledger:
    """The home's ledger with four entries."""
    chosen = support.settings()
    ledger = open_ledger(chosen, open_database(chosen))
    for number in range(4):
        ledger.append(statement(number))
    return ledger
