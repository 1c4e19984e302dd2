"""How Assay's errors, names and texts become Airflow's: used by the DAG files, light to import."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, dag, task
from airflow.sdk.exceptions import AirflowFailException

from assay.contract import Contract, ContractError, find_contracts, load_contract
from assay.errors import Terminal
from assay.settings import Settings

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
        answer: dict[str, Any] = getattr(line, station)(opened, *arguments)
    return answer


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
