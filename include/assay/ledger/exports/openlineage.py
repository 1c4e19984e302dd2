"""OpenLineage run events (openlineage.io/spec/2-0-2): one job per step, one run per statement."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from assay.errors import Transient
from assay.ledger.exports.history import History, Told
from assay.ledger.statements.statement import STEPS, Resource

if TYPE_CHECKING:
    from openlineage.client import OpenLineageClient

PRODUCER = "https://assay.dev/ledger/openlineage/v1"
_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json"
_FACETS = "https://openlineage.io/spec/facets"
_OURS = "https://assay.dev/facets/v1/AssayFacets.json"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)
_SUCCESS = {"passed": True, "failed": False}


class LineageNotSent(Transient):
    """The OpenLineage server did not take an event; those before it were sent."""


def openlineage_events(history: History, namespace: str) -> Iterator[dict[str, Any]]:
    """Two events for each statement, START and COMPLETE, in the order of the log.

    The run's id comes from the statement's, so that the same ledger makes the same events. Times are those that
    statements and registry know; our digests, outcomes and log position stand in facets of our own. A check that was
    `not_checked` is no assertion, which has only success and failure: it is listed in our facet.

    Args:
        history: What to tell of.
        namespace: OpenLineage's namespace of jobs and data sets.
    """
    for told in history.told:
        event = {
            "eventTime": told.at,
            "producer": PRODUCER,
            "schemaURL": f"{_SPEC}#/$defs/RunEvent",
            "run": {
                "runId": str(uuid.uuid5(_NAMESPACE, told.statement.id)),
                "facets": {"assay_ledger": _entry(told, history.origin), "processing_engine": _engine(told)},
            },
            "job": {
                "namespace": namespace,
                "name": f"assay.{told.step}",
                "facets": {
                    "jobType": _facet(
                        "2-0-4/JobTypeJobFacet", processingType="BATCH", integration="ASSAY", jobType="STEP"
                    )
                },
            },
        }
        inputs = [_dataset(item, namespace) for item in told.statement.inputs]
        yield {**event, "eventType": "START", "inputs": inputs, "outputs": []}
        outputs = [_output(item, namespace, told, history) for item in told.statement.subjects]
        yield {**event, "eventType": "COMPLETE", "inputs": inputs, "outputs": outputs}


def emit_openlineage(events: Iterable[dict[str, Any]], client: OpenLineageClient | None = None) -> int:
    """Send events to an OpenLineage server.

    Args:
        events: From `openlineage_events`.
        client: OpenLineage's client, such as that of Airflow's provider; by default one with OpenLineage's own
            configuration: `OPENLINEAGE_URL`, `OPENLINEAGE__TRANSPORT__*`, or an `openlineage.yml`.

    Returns:
        How many events were sent.

    Raises:
        LineageNotSent: The server refused one, or cannot be reached.
    """
    from openlineage.client import OpenLineageClient as Client
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

    client, sent = client or Client(), 0
    for event in events:
        message = RunEvent(
            eventType=RunState[event["eventType"]],
            eventTime=event["eventTime"],
            producer=event["producer"],
            run=Run(event["run"]["runId"], event["run"]["facets"]),
            job=Job(event["job"]["namespace"], event["job"]["name"], event["job"]["facets"]),
            inputs=[InputDataset(i["namespace"], i["name"], facets=i["facets"]) for i in event["inputs"]],
            outputs=[
                OutputDataset(o["namespace"], o["name"], o.get("outputFacets", {}), facets=o["facets"])
                for o in event["outputs"]
            ],
        )
        try:
            client.emit(message)
        except Exception as error:  # each transport raises errors of its own
            raise LineageNotSent(
                "the OpenLineage server did not take an event",
                found=f"{type(error).__name__}: {error}"[:200],
                state=f"{sent} events were sent",
                next_step="check OPENLINEAGE_URL or openlineage.yml and run the same again: ids stay the same",
            ) from error
        sent += 1
    return sent


# -------------------------------------------------------------------------------------------------------------- private
def _facet(schema: str, **fields: Any) -> dict[str, Any]:
    name = schema.rpartition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}/{schema}.json#/$defs/{name}", **fields}


def _own(name: str, **fields: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{_OURS}#/$defs/{name}", **fields}


def _engine(told: Told) -> dict[str, Any]:
    code = told.facts.get("code") or {}
    return _facet(
        "1-1-1/ProcessingEngineRunFacet", name="assay", version=str(code.get("version", "not stated"))
    )


def _entry(told: Told, origin: str) -> dict[str, Any]:
    checks = [check for check in told.facts.get("checks", ()) if isinstance(check, dict)]
    return _own(
        "LedgerEntryRunFacet",
        origin=origin,
        position=told.position,
        statement=told.statement.id,
        predicateType=told.statement.predicate_type,
        contractSha256=told.facts.get("contract_sha256"),
        codeSha256=(told.facts.get("code") or {}).get("sha256"),
        notChecked=[str(check.get("check")) for check in checks if check.get("outcome") == "not_checked"],
    )


def _dataset(item: Resource, namespace: str) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if item.sha256:
        facets["assay_digest"] = _own("DigestDatasetFacet", algorithm="sha256", value=item.sha256)
        facets["version"] = _facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=item.sha256)
    return {"namespace": namespace, "name": quote(item.name, safe=":/@ "), "facets": facets}


def _output(item: Resource, namespace: str, told: Told, history: History) -> dict[str, Any]:
    described = _dataset(item, namespace)
    if item is not told.statement.subjects[0]:
        return {**described, "outputFacets": {}}
    facets, facts = described["facets"], told.facts
    assertions = [
        {
            "assertion": str(check["check"]),
            "success": _SUCCESS[check["outcome"]],
            "severity": "error" if check.get("severity") in {"high", "critical"} else "warn",
            "description": str(check.get("message", "")),
        }
        for check in facts.get("checks", ())
        if isinstance(check, dict) and check.get("outcome") in _SUCCESS and "check" in check
    ]
    if assertions:
        facets["dataQualityAssertions"] = _facet(
            "1-1-0/DataQualityAssertionsDatasetFacet", assertions=assertions
        )
    facets["documentation"] = _facet("1-1-0/DocumentationDatasetFacet", description=STEPS[told.step])
    if told.step == "snapshot-admitted":
        manifest = history.manifest(item.name)
        fields = [
            {"name": name, "type": kind, "ordinal_position": number}
            for number, (name, kind) in enumerate(history.columns(manifest), start=1)
        ]
        facets["schema"] = _facet("1-2-0/SchemaDatasetFacet", fields=fields)
        facets["assay_merkle"] = _own("MerkleDatasetFacet", root=manifest.merkle_root, rows=manifest.rows)
    rows = facts.get("rows")
    statistics = (
        {
            "outputStatistics": _facet(
                "1-0-2/OutputStatisticsOutputDatasetFacet", rowCount=rows, fileCount=facts.get("files", 1)
            )
        }
        if isinstance(rows, int)
        else {}
    )
    return {**described, "outputFacets": statistics}
