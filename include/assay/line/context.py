"""What every station works with: one contract, the registry, the store and the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from assay.contract import Contract, load_contract
from assay.db import Database, open_database
from assay.findings import Finding
from assay.ledger import Entry, Ledger, Statement, check_predicate, code_version, make_statement, open_ledger
from assay.settings import Settings
from assay.store import ObjectStore, open_store


@dataclass(frozen=True)
class Line:
    """One contract with the places where its state lives.

    Attributes:
        settings: Where everything lives.
        path: The contract's file; relative URIs in it start from there.
        contract: The contract, keys from the trust store included.
        database: The registry.
        store: The object store.
        ledger: The log of statements.
    """

    settings: Settings
    path: Path
    contract: Contract
    database: Database
    store: ObjectStore
    ledger: Ledger

    @classmethod
    @contextmanager
    def open(cls, path: Path, settings: Settings | None = None) -> Iterator[Line]:
        """Open everything that stations need, and close it at the end.

        Raises:
            ContractError: The contract is not valid.
            DatabaseUnreachable: The registry cannot be used now.
        """
        settings = settings or Settings.from_env()
        contract = load_contract(path)
        settings.make_home()
        database = open_database(settings)
        try:
            yield cls(
                settings, path, contract, database, open_store(settings), open_ledger(settings, database)
            )
        finally:
            database.dispose()

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.contract.dataset

    def work_dir(self, name: str) -> Path:
        """A private scratch folder that survives a kill, so that what is run again finds what it left."""
        folder = self.settings.work_dir / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def statement(
        self,
        step: str,
        subjects: Iterable[tuple[str, str]],
        facts: dict[str, Any],
        *,
        inputs: Iterable[tuple[str, str | None] | str] = (),
        findings: Iterable[Finding] = (),
    ) -> Statement:
        """A statement about a step under this contract.

        Args:
            step: Name of the step, e.g. `delivery-verified`.
            subjects: Name and SHA-256 of what the step made or decided on.
            facts: What was seen and decided; JSON-ready.
            inputs: Name and SHA-256 of what the step used.
            findings: Answers of the step's checks; every outcome is listed, `not_checked` included.

        Raises:
            StatementError: The facts do not fit the step's published predicate.
        """
        predicate = {
            "code": code_version(),
            "dataset": self.dataset,
            "contract_sha256": self.contract.digest,
            "checks": [
                {
                    "check": f.check,
                    "outcome": str(f.outcome),
                    "severity": str(f.severity),
                    "subject": f.subject,
                    "message": f.message,
                }
                for f in findings
            ],
            **facts,
        }
        check_predicate(step, predicate)
        return make_statement(step, list(subjects), predicate, inputs=list(inputs))

    def record(
        self,
        step: str,
        subjects: Iterable[tuple[str, str]],
        facts: dict[str, Any],
        *,
        inputs: Iterable[tuple[str, str | None] | str] = (),
        findings: Iterable[Finding] = (),
        session: Session | None = None,
    ) -> Entry:
        """Sign a statement about a step and append it to the ledger; the same statement is never entered twice.

        With a `session` of `Database.write()` the entry stands or falls with that transaction.
        """
        statement = self.statement(step, subjects, facts, inputs=inputs, findings=findings)
        return self.ledger.append(statement, session=session)
