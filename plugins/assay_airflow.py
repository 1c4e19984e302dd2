"""How Assay's errors, names and texts become Airflow's: used by the DAG files, light to import."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.sdk import DAG, Asset, dag, task
from airflow.sdk.exceptions import AirflowFailException

from assay.contract import Contract, ContractError, find_contracts, load_contract
from assay.errors import Terminal
from assay.settings import Settings
from assay_notify import tell_people

if TYPE_CHECKING:
    from assay.ledger import Ledger
    from assay.store import ObjectStore

TRAINING_POOL = "gpu"
"""Pool with one slot per GPU; `airflow pools set gpu 1 ...` makes it."""

TRAINING_QUEUE = os.environ.get("ASSAY_TRAINING_QUEUE", "default")
"""Celery queue of the training task; `gpu` where a GPU worker listens to a queue of its own."""

START = pendulum.datetime(2026, 1, 1, tz="UTC")
RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": True,
}


def contracts() -> Iterator[tuple[Path, Contract | ContractError]]:
    """Each contract file of the contracts folder, read or with what is wrong with it."""
    for path in find_contracts(Settings.from_env().contracts_dir):
        try:
            yield path, load_contract(path)
        except ContractError as error:
            yield path, error


def snapshot_asset(dataset: str) -> Asset:
    """The asset that an intake emits and a training waits for."""
    return Asset(name=f"{dataset}_snapshot", uri=f"assay://snapshot/{dataset}", group="assay")


def model_asset(dataset: str) -> Asset:
    """The asset that a promotion emits."""
    return Asset(name=f"{dataset}_model", uri=f"assay://model/{dataset}", group="assay")


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Let terminal errors fail the task at once; everything else is retried as the task says."""
    try:
        yield
    except Terminal as error:
        raise AirflowFailException(str(error)) from None


def call(path: Path, station: str, *arguments: Any) -> dict[str, Any]:
    """Run a station of the line on a contract; its result is small enough to travel between tasks."""
    from assay import line

    logging.getLogger("great_expectations").setLevel(
        logging.WARNING
    )  # it reports its own import, line by line
    with airflow_errors(), line.Line.open(path) as opened:
        entries = opened.ledger.size()
        try:
            answer: dict[str, Any] = getattr(line, station)(opened, *arguments)
        finally:
            tell_openlineage(opened.ledger, opened.store, entries)
            tell_people(opened, entries)
    return answer


def tell_openlineage(ledger: Ledger, store: ObjectStore, since: int) -> None:
    """Send the ledger's entries from a position on to the server that Airflow's OpenLineage provider is set up with.

    Without such a set-up nothing is sent. A server that does not answer stops no station: the ledger has it all, and
    `assay ledger export openlineage --emit` sends it again with the same ids.
    """
    try:
        from airflow.providers.openlineage import conf
        from airflow.providers.openlineage.plugins.adapter import OpenLineageAdapter
    except ImportError:
        return
    if conf.is_disabled() or not ledger.has_key or ledger.size() <= since:
        return
    from assay.ledger.exports import emit_openlineage, history_of, openlineage_events

    try:
        client = OpenLineageAdapter().get_or_create_openlineage_client()
        events = openlineage_events(history_of(ledger, store, since=since), conf.namespace())
        emit_openlineage(events, client)
    except Exception:
        logging.getLogger(__name__).warning(
            "OpenLineage was not told of ledger entries %s on", since, exc_info=True
        )


def common(contract: Contract, kind: str) -> dict[str, Any]:
    """What all DAGs of a contract share."""
    return {
        "start_date": START,
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["assay", kind, contract.dataset],
        "default_args": {"owner": contract.owner, "execution_timeout": timedelta(hours=1), **RETRIES},
    }


def broken(path: Path, error: ContractError) -> DAG:
    """A DAG that stands in the place of a contract that cannot be read, and says what is wrong with it."""

    @dag(
        dag_id=f"{path.stem}__contract_error",
        schedule=None,
        start_date=START,
        tags=["assay", "contract-error"],
        doc_md=f"```text\n{error}\n```",
    )
    def build() -> None:
        @task(retries=0, doc_md="Fails with the list of problems.")
        def explain() -> None:
            with airflow_errors():
                raise error

        explain()

    return build()
