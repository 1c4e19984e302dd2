"""One intake DAG per contract: `<dataset>__intake` takes deliveries from their sources to an admitted snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, dag, task
from airflow.sdk.exceptions import AirflowSkipException

from assay.contract import Contract
from assay_airflow import broken, call, common, contracts, snapshot_asset
from assay_review import AssayReview


def intake(path: Path, contract: Contract) -> DAG:
    """Land, verify, validate, screen, review and admit what the sources offer; emits the snapshot asset."""

    @dag(
        dag_id=f"{contract.dataset}__intake",
        schedule=contract.schedule,
        doc_md=f"{intake.__doc__}\n\n{contract.description}",
        params={
            "sources": Param(
                [s.id for s in contract.sources], type="array", description="Sources to take in."
            )
        },
        **common(contract, "intake"),
    )
    def build() -> None:
        @task(doc_md="Which sources this run takes in.")
        def sources(params: dict[str, Any] | None = None) -> list[str]:
            return list((params or {})["sources"])

        @task(
            doc_md="Copy and prove one delivery: signature, checksums, completeness, freshness. Red: rejected."
        )
        def land(source: str) -> dict[str, Any]:
            return call(path, "land", source)

        @task(doc_md="The deliveries that were proved and are new.", trigger_rule="all_done")
        def proved(landed: list[dict[str, Any]]) -> list[str]:
            deliveries = [item["delivery"] for item in landed if item and item["delivery"]]
            if not deliveries:
                raise AirflowSkipException("no new delivery was proved")
            return deliveries

        @task(doc_md="The contract's expectations on every row; failing rows are put aside.")
        def validate(deliveries: list[str]) -> dict[str, Any]:
            return call(path, "validate", deliveries)

        @task(doc_md="A verdict per row, a verdict per delivery, and cases for what is doubtful.")
        def screen(deliveries: list[str], validated: dict[str, Any]) -> dict[str, Any]:
            return call(path, "screen", deliveries)

        @task.short_circuit(doc_md="Does a human have to look?", ignore_downstream_trigger_rules=False)
        def held(screened: dict[str, Any]) -> bool:
            return bool(screened["held"])

        @task(
            doc_md="What was decided, here or elsewhere; an answer that is not recorded yet is recorded now."
        )
        def decide(deliveries: list[str], answer: dict[str, Any]) -> dict[str, Any]:
            return call(path, "decide", deliveries, answer)

        @task(
            doc_md="Admit what may enter as a new snapshot.",
            trigger_rule="all_done",
            outlets=[snapshot_asset(contract.dataset)],
        )
        def admit(deliveries: list[str] | None) -> dict[str, Any]:
            admitted = call(path, "admit", deliveries or [])
            if not admitted["snapshot"]:
                raise AirflowSkipException("nothing new to admit")
            return admitted

        @task(
            doc_md="Red if any delivery of this run was rejected or still waits.",
            trigger_rule="all_done",
            retries=0,
        )
        def verdicts(names: list[str], landed: list[dict[str, Any]]) -> dict[str, Any]:
            return call(path, "verdicts", names, list(landed))

        names = sources()
        landed = land.expand(source=names)
        deliveries = proved(landed)
        screened = screen(deliveries, validate(deliveries))
        review = AssayReview(
            task_id="review",
            contract_path=path,
            contract=contract,
            deliveries=deliveries,
            doc_md="The human's answer, here, on Assay's pages or on the command line. Silence never admits anything.",
        )
        decided = decide(deliveries, review.output)
        held(screened) >> review
        admitted = admit(deliveries)
        [screened, decided] >> admitted >> verdicts(names, landed)

    return build()


for _path, _contract in contracts():
    _dag = intake(_path, _contract) if isinstance(_contract, Contract) else broken(_path, _contract)
    globals()[_dag.dag_id] = _dag
