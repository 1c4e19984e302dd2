"""What all read models work with: the registry, the store, the ledger, the contracts as they stand now."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.console.errors import NotFound
from assay.console.paging import datasets_in
from assay.errors import AssayError, Terminal

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from assay.contract import Contract
    from assay.db import Database
    from assay.ledger import Ledger
    from assay.line import Line
    from assay.settings import Settings
    from assay.store import ObjectStore

_CONTRACT_SECONDS = 20.0


@dataclass(frozen=True)
class KnownContract:
    """A contract's file: the contract, or what is wrong with it."""

    path: Path
    dataset: str
    contract: Contract | None
    error: str | None


class Contracts:
    """The contracts of a folder, read again when a file changed or some seconds have passed.

    Args:
        folder: `settings.contracts_dir`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[tuple[int, int], float, KnownContract]] = {}

    def all(self) -> list[KnownContract]:
        """Every contract file, by data set; of one that cannot be read the file's name stands for the data set."""
        from assay.contract import find_contracts

        with self._lock:
            paths = find_contracts(self._folder)
            for gone in self._known.keys() - set(paths):
                del self._known[gone]
            found = [self._read(path) for path in paths]
        return sorted(found, key=lambda each: each.dataset)

    def of(self, dataset: str) -> KnownContract | None:
        """The contract of a data set, if there is one."""
        return next((each for each in self.all() if each.dataset == dataset), None)

    def _read(self, path: Path) -> KnownContract:
        from assay.contract import ContractError, load_contract

        facts = path.stat()
        mark, now = (facts.st_mtime_ns, facts.st_size), time.monotonic()
        before = self._known.get(path)
        if before is not None and before[0] == mark and now - before[1] < _CONTRACT_SECONDS:
            return before[2]
        try:
            contract = load_contract(path)
            known = KnownContract(path, contract.dataset, contract, None)
        except (ContractError, OSError) as error:
            known = KnownContract(path, path.stem, None, str(error)[:4000])
        self._known[path] = (mark, now, known)
        return known


@dataclass
class Desk:
    """Everything that is looked at. Safe for many threads: each call opens its own short session.

    Attributes:
        settings: Where everything lives.
        database: The registry.
        store: The object store.
        contracts: The contracts.
        shelf: What is kept between calls, by module.
    """

    settings: Settings
    database: Database
    store: ObjectStore
    contracts: Contracts
    shelf: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A short transaction for reading."""
        with self.database.session() as session:
            yield session

    def ledger(self) -> Ledger:
        """The ledger, with the keys as they are now.

        Raises:
            LedgerKeyError: There is a key, but it cannot be used.
        """
        from assay.ledger import open_ledger

        return open_ledger(self.settings, self.database)

    def line(self, dataset: str) -> Line:
        """The line of a data set on these connections.

        Raises:
            Terminal: The data set has no contract, or one that cannot be read.
        """
        from assay.line import Line

        known = self.contracts.of(dataset)
        if known is None or known.contract is None:
            raise Terminal(
                f"the contract of {dataset} cannot be read" if known else f"{dataset} has no contract",
                found=known.error if known else None,
                state="nothing was decided: a decision is made under a contract's terms",
                next_step="`assay contract check FILE` says what is wrong with a contract",
            )
        return Line(self.settings, known.path, known.contract, self.database, self.store, self.ledger())

    def datasets(self) -> list[str]:
        """All data sets: those of contracts and those of the registry."""
        with self.session() as session:
            known = set(datasets_in(session))
        return sorted(known | {each.dataset for each in self.contracts.all()})

    def chosen(self, dataset: str | None, datasets: Iterable[str] | None) -> list[str]:
        """The data sets to look at: those that the caller may read, narrowed to the one that was asked for."""
        if dataset is not None and dataset != "":
            return [dataset] if datasets is None or dataset in set(datasets) else []
        return self.datasets() if datasets is None else sorted(set(datasets))


def missing(what: str, name: str, next_step: str | None = None) -> NotFound:
    """The error for an id that nothing has."""
    return NotFound(f"there is no {what} {name[:120]!a}", next_step=next_step)


def told(error: AssayError) -> str:
    """An error as one line for a page."""
    return f"{error.message} ({error.next_step})" if error.next_step else error.message


def chunks(names: Sequence[str], size: int = 500) -> Iterator[list[str]]:
    """Names in pieces that one query can take."""
    for start in range(0, len(names), size):
        yield list(names[start : start + size])
