"""The console: one object that answers every question of the review pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.console.desk import Desk
    from assay.console.paging import Page
    from assay.console.rowindex import Numbers
    from assay.line import Line
    from assay.settings import Settings

_ROOMS = (
    "overview",
    "deliveries",
    "cases",
    "caserows",
    "caserow",
    "plots",
    "runs",
    "curves",
    "models",
    "search",
    "nodes",
)
_SLOW = (
    "securesystemslib.dsse",
    "assay.intake.freshness",
    "assay.line.judging",
    "assay.model.bundle",
    "pyarrow.parquet",
)
Datasets = Iterable[str] | None
Json = dict[str, Any]


class Console:
    """Answers as JSON-ready dictionaries; made once per process and used from many threads.

    Each call opens its own short transaction for reading. What is kept between calls is small and bounded: contracts
    for some seconds, and an index of the rows of the cases that were looked at last.

    Args:
        desk: What is looked at; `Console.open()` makes it from the settings.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @classmethod
    def open(cls, settings: Settings | None = None) -> Console:
        """A console on the state that the settings name.

        Raises:
            DatabaseUnreachable: The registry cannot be used now.
            SchemaTooNew: A newer version of Assay migrated it.
            StoreUriError: No file system answers to the store's URI.
        """
        from assay.console.desk import Contracts, Desk
        from assay.db import open_database
        from assay.settings import Settings
        from assay.store import open_store

        settings = settings or Settings.from_env()
        settings.make_home()
        return cls(
            Desk(settings, open_database(settings), open_store(settings), Contracts(settings.contracts_dir))
        )

    def warm(self) -> None:
        """Import what the pages will need, so that the first of them does not wait for it; for a thread at start-up."""
        from importlib import import_module

        for name in _ROOMS:
            import_module(f"assay.console.{name}")
        for name in _SLOW:
            import_module(name)
        self.datasets()

    def close(self) -> None:
        """Close all connections and let go of what was kept."""
        self._desk.shelf.clear()
        self._desk.database.dispose()

    # ------------------------------------------------------------------------------------------------------- rights
    def datasets(self) -> list[str]:
        """All data sets: those of contracts and those of the registry."""
        return self._desk.datasets()

    def dataset_of(self, kind: str, name: str) -> str | None:
        """The data set that a thing belongs to; None for a publisher or a key, which belong to no single one.

        Args:
            kind: `delivery`, `case`, `decision`, `run`, `model`, `promotion`, `file`, `row`, `snapshot`, `statement`,
                `publisher` or `key`.
            name: Its id.

        Raises:
            NotFound: There is no such thing.
            BadQuery: There is no such kind.
        """
        from assay.console.scope import dataset_of

        return dataset_of(self._desk, kind, name)

    def line(self, dataset: str) -> Line:
        """The line of a data set on the console's own connections, to ask and to decide; do not close it.

        Raises:
            Terminal: The data set has no contract, or one that cannot be read.
        """
        return self._desk.line(dataset)

    # -------------------------------------------------------------------------------------------------------- lists
    def overview(self, datasets: Datasets = None) -> Json:
        """Every data set, what waits, and the ledger's size."""
        from assay.console.overview import overview

        return overview(self._desk, datasets)

    def deliveries(self, **query: Any) -> Page:
        """A page of deliveries, newest first; see `assay.console.deliveries.deliveries`."""
        from assay.console.deliveries import deliveries

        return deliveries(self._desk, **query)

    def delivery(self, delivery_id: str) -> Json:
        """One delivery with every check that was asked of it.

        Raises:
            NotFound: There is none.
        """
        from assay.console.deliveries import delivery

        return delivery(self._desk, delivery_id)

    def cases(self, **query: Any) -> Page:
        """A page of cases; see `assay.console.cases.cases`."""
        from assay.console.cases import cases

        return cases(self._desk, **query)

    def case(self, case_id: str) -> Json:
        """One case with its evidence, groups and decisions.

        Raises:
            NotFound: There is none.
        """
        from assay.console.cases import case

        return case(self._desk, case_id)

    # --------------------------------------------------------------------------------------------------------- rows
    def case_rows(self, case_id: str, **query: Any) -> Page:
        """A page of a case's rows; see `assay.console.caserows.case_rows`."""
        from assay.console.caserows import case_rows

        return case_rows(self._desk, case_id, **query)

    def case_row(self, case_id: str, row: int) -> Json:
        """One row of a case beside the nearest trusted ones, with where it came from.

        Raises:
            NotFound: There is no such case, or it has no such row.
        """
        from assay.console.caserow import case_row

        return case_row(self._desk, case_id, row)

    def rows_of_group(self, case_id: str, group_id: str) -> Numbers:
        """The row numbers of a group of a case, ascending, int64.

        Raises:
            NotFound: There is no such case or group.
        """
        from assay.console.casefile import rows_of_group

        return rows_of_group(self._desk, case_id, group_id)

    def export_csv(self, case_id: str, **query: Any) -> Iterator[bytes]:
        """A case's rows as CSV, in pieces; filters and order as for `case_rows`.

        Raises:
            NotFound: There is no such case.
            BadQuery: A filter cannot be understood.
        """
        from assay.console.exporting import export_csv

        return export_csv(self._desk, case_id, **query)

    # -------------------------------------------------------------------------------------------------------- plots
    def plot_column(self, case_id: str, name: str, group: str | None = None) -> Json:
        """How a column is distributed in the batch, in the trusted rows, and in the rows of the case.

        Raises:
            NotFound: There is no such case, column or group, or nothing was kept of it; the message says why.
        """
        from assay.console.plots import plot_column

        return plot_column(self._desk, case_id, name, group)

    def plot_score(self, case_id: str) -> Json:
        """The scores of all rows and of the case's, with the threshold."""
        from assay.console.plots import plot_score

        return plot_score(self._desk, case_id)

    def plot_sources(self, case_id: str) -> Json:
        """How many rows of each source were quarantined, beside how many the others would suggest."""
        from assay.console.plots import plot_sources

        return plot_sources(self._desk, case_id)

    def plot_group(self, case_id: str, group_id: str) -> Json:
        """What sets a group apart from the other rows of its delivery."""
        from assay.console.plots import plot_group

        return plot_group(self._desk, case_id, group_id)

    def plot_losses(self, case_id: str, run: str | None = None) -> Json:
        """How the rows of a released case fared in a run, beside all others.

        Raises:
            NotFound: No run kept losses of these rows; the message says why.
        """
        from assay.console.losses import plot_losses

        return plot_losses(self._desk, case_id, run)

    # ---------------------------------------------------------------------------------------------- runs and models
    def runs(self, **query: Any) -> Page:
        """A page of runs, those that go on now first, then the newest; see `assay.console.runs.runs`."""
        from assay.console.runs import runs

        return runs(self._desk, **query)

    def run(self, run_id: str) -> Json:
        """One run with its curve checks, privacy and device.

        Raises:
            NotFound: There is none.
        """
        from assay.console.runs import run

        return run(self._desk, run_id)

    def curve(self, run_id: str, compare: str | None = None, since: int | None = None) -> Json:
        """A run's curve so far, with the band of the accepted runs.

        Raises:
            NotFound: There is no such run.
        """
        from assay.console.curves import curve

        return curve(self._desk, run_id, compare, since)

    def models(self, **query: Any) -> Page:
        """A page of models, newest first; see `assay.console.models.models`."""
        from assay.console.models import models

        return models(self._desk, **query)

    def model(self, model_id: str) -> Json:
        """One model with its gates, its bundle and its history.

        Raises:
            NotFound: There is none.
        """
        from assay.console.models import model

        return model(self._desk, model_id)

    # --------------------------------------------------------------------------------------------------- provenance
    def search(self, q: str, datasets: Datasets = None) -> Json:
        """What goes by a name: a row's key, a digest, a publisher, a key, a file, or any id."""
        from assay.console.search import search

        return search(self._desk, q, datasets)

    def node(self, kind: str, name: str, datasets: Datasets = None) -> Json:
        """One thing with what it came from and what came of it.

        Raises:
            NotFound: There is no such thing.
            BadQuery: There is no such kind.
        """
        from assay.console.provenance import node

        return node(self._desk, kind, name, datasets)

    def proof(self, kind: str, name: str) -> tuple[str, bytes]:
        """A proof file's name and its bytes.

        Raises:
            NotFound: The ledger has nothing to prove of it.
            BadQuery: Nothing of that kind can be proved.
        """
        from assay.console.proofs import proof

        return proof(self._desk, kind, name)

    def verify(self, seconds: float = 30.0) -> Json:
        """Check the whole ledger now, for so many seconds at most; an unfinished check is `not_checked`."""
        from assay.console.proofs import verify

        return verify(self._desk, seconds)

    # ------------------------------------------------------------------------------------------------------ opening
    def open_page(
        self,
        dag_id: str,
        run_id: str | None = None,
        task_id: str | None = None,
        found: Mapping[str, Any] | None = None,
    ) -> Json:
        """The page that belongs to an Airflow DAG, run or task.

        Args:
            dag_id: `<dataset>__intake` or `<dataset>__training`.
            run_id: Airflow's run.
            task_id: Its task.
            found: What the plugin saw in the run: `deliveries`, `run`, `model`.
        """
        from assay.console.opening import open_page

        return open_page(self._desk, dag_id, run_id, task_id, found)
