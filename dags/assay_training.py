"""One training DAG per contract: `<dataset>__training` starts when a snapshot was admitted and ends with a verdict."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, dag, task

from assay.contract import Contract
from assay_airflow import TRAINING_POOL, TRAINING_QUEUE, call, common, contracts, model_asset, snapshot_asset
from assay_review import AssayApproval


def training(path: Path, contract: Contract) -> DAG:
    """Train on the newest snapshot, watch the curve, judge the challenger, promote it; emits the model asset."""

    @dag(
        dag_id=f"{contract.dataset}__training",
        schedule=[snapshot_asset(contract.dataset)],
        doc_md=f"{training.__doc__}\n\n{contract.description}",
        params={"snapshot": Param("latest", type="string", description="Snapshot id, or `latest`.")},
        **common(contract, "training"),
    )
    def build() -> None:
        @task(
            doc_md="One supervised run in a process of its own. Red: stopped by a curve check, or failed.",
            pool=TRAINING_POOL,
            queue=TRAINING_QUEUE,
            execution_timeout=contract.training.timeout + timedelta(minutes=10),
        )
        def train(params: dict[str, Any] | None = None) -> dict[str, Any]:
            return call(path, "train", (params or {})["snapshot"])

        @task(doc_md="Every gate of the contract, against the champion. Red: the challenger is refused.")
        def judge(trained: dict[str, Any]) -> dict[str, Any]:
            return call(path, "judge", trained["model"])

        @task(doc_md="Make the challenger the champion.", outlets=[model_asset(contract.dataset)])
        def promote(judged: dict[str, Any], answer: dict[str, Any] | None = None) -> dict[str, Any]:
            return call(path, "promote", judged["model"], answer)

        judged = judge(train())
        if contract.review.promotion == "manual":
            approve = AssayApproval(
                task_id="approve",
                contract_path=path,
                contract=contract,
                judged=judged,
                doc_md="The human's answer, here, on Assay's pages or on the command line. Silence never promotes.",
            )
            promote(judged, approve.output)
        else:
            promote(judged)

    return build()


for _path, _contract in contracts():
    if isinstance(_contract, Contract):
        _dag = training(_path, _contract)
        globals()[_dag.dag_id] = _dag
