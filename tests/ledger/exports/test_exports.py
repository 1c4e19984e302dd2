"""Exports: each is valid by its format's own judge, whatever the publishers, reviewers and files are called."""

from __future__ import annotations

import http.server
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import referencing
from jsonschema import Draft202012Validator
from sqlalchemy import text

from assay.ledger import EnvelopeError, LedgerError, NotInLedger
from assay.ledger.exports import (
    croissant,
    cyclonedx,
    emit_openlineage,
    history_of,
    openlineage_events,
    prov_document,
)
from assay.ledger.exports.openlineage import LineageNotSent
from tests.ledger.bills import fault_of
from tests.ledger.support import as_owner, content_name, sha
from tests.ledger.told import HOSTILE, KEYS, SEEN, Told, tell

SCHEMAS = Path(__file__).parents[1] / "openlineage"


@pytest.fixture(scope="module", params=["census", HOSTILE], ids=["plain", "hostile"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A line with plain names, and one whose every name is an attack."""
    folder = tmp_path_factory.mktemp("told")
    return tell(f"sqlite:///{folder / 'test.db'}", folder, request.param)


@pytest.fixture
def own(tmp_path: Path) -> Told:
    """A line of the test's own."""
    return tell(f"sqlite:///{tmp_path / 'test.db'}", tmp_path)


def events_of(told: Told, what: str | None = None) -> list[dict[str, Any]]:
    """OpenLineage events after a way through JSON text."""
    found = openlineage_events(history_of(told.log, told.store, what), "assay")
    return json.loads(json.dumps(list(found)))


def facets_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every facet in an event."""
    if isinstance(value, dict):
        if "_schemaURL" in value:
            yield value
        for each in value.values():
            yield from facets_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from facets_in(each)


def test_openlineage_events_and_facets_fit_the_official_schemas(told: Told) -> None:
    """Events by OpenLineage 2-0-2, each facet by the schema that it names; ours carry a schema's URL, too."""
    documents = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")]
    known = {each["$id"]: referencing.Resource.from_contents(each) for each in documents}
    registry = referencing.Registry().with_resources(known.items())
    checker = Draft202012Validator.FORMAT_CHECKER
    event_schema = {"$ref": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"}
    judge = Draft202012Validator(event_schema, registry=registry, format_checker=checker)
    official = set()
    for event in events_of(told):
        judge.validate(event)
        for facet in facets_in(event):
            if facet["_schemaURL"].startswith("https://openlineage.io/"):
                schema = {"$ref": facet["_schemaURL"]}
                Draft202012Validator(schema, registry=registry, format_checker=checker).validate(facet)
                official.add(facet["_schemaURL"].rpartition("/")[2])
    assert official == {
        "SchemaDatasetFacet", "DataQualityAssertionsDatasetFacet", "DatasetVersionDatasetFacet",
        "OutputStatisticsOutputDatasetFacet", "ProcessingEngineRunFacet", "JobTypeJobFacet",
        "DocumentationDatasetFacet",
    }  # fmt: skip


def test_openlineage_tells_each_step_as_one_run_with_our_digests(told: Told) -> None:
    """START and COMPLETE of one run per statement; schema, rows, quality and digests of a snapshot; never a pass."""
    events = events_of(told)
    assert len(events) == 2 * told.log.size()
    assert [event["eventType"] for event in events[:2]] == ["START", "COMPLETE"]
    assert events[0]["run"]["runId"] == events[1]["run"]["runId"] != events[2]["run"]["runId"]
    snapshots = [event for event in events[1::2] if event["job"]["name"] == "assay.snapshot-admitted"]
    output = snapshots[1]["outputs"][0]
    assert [field["name"] for field in output["facets"]["schema"]["fields"]] == ["id", "name", "age"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 30
    assert output["facets"]["assay_merkle"]["rows"] == 30
    assert [each["success"] for each in output["facets"]["dataQualityAssertions"]["assertions"]] == [True]
    assert snapshots[1]["run"]["facets"]["assay_ledger"]["notChecked"] == ["snapshot-admitted.tool"]
    assert events[1]["inputs"][0]["facets"]["assay_digest"]["value"] == sha("file 1")


def test_openlineage_is_the_same_each_time(told: Told) -> None:
    """Ids come from statements, times from statements and registry."""
    assert events_of(told) == events_of(told)
    assert events_of(told)[0]["eventTime"] == SEEN[0]


class _Server(http.server.BaseHTTPRequestHandler):
    """Takes events, or refuses them all."""

    got: list[dict[str, Any]]
    status = 200

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@mock.patch.dict(os.environ)  # OpenLineage's client adds names of its own, which would stay
@pytest.mark.parametrize("status", [200, 403])
def test_openlineage_goes_to_the_configured_server(
    status: int, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through OpenLineage's own client and its configuration; a refusal is said, and can be tried again."""
    handler = type("Handler", (_Server,), {"got": [], "status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("NO_PROXY", "*")
        events = events_of(told, told.snapshots[0])
        if status == 200:
            assert emit_openlineage(events) == len(events)
            assert [each["run"]["runId"] for each in handler.got] == [each["run"]["runId"] for each in events]
            assert handler.got[1]["outputs"][0]["facets"]["assay_digest"]["value"] == sha("manifest 1")
        else:
            with pytest.raises(LineageNotSent, match="did not take"):
                emit_openlineage(events)
        server.shutdown()
        thread.join()


def test_the_bill_of_materials_is_valid_cyclonedx(told: Told) -> None:
    """By cyclonedx-python-lib's strict validator: model, card, signature, snapshots, deliveries, tools."""
    bom = cyclonedx(history_of(told.log, told.store, told.models[1]), told.models[1])
    assert fault_of(json.dumps(bom)) is None
    model = bom["metadata"]["component"]
    assert (model["type"], model["bom-ref"]) == ("machine-learning-model", told.models[1])
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": told.snapshots[1]}]
    assert {each["name"]: each["hashes"][0]["content"] for each in model["components"]}["model.sig"] == sha(
        "signature 2"
    )
    refs = {each["bom-ref"] for each in bom["components"]}
    assert {*told.snapshots, *told.deliveries} <= refs
    assert {each["ref"] for each in bom["dependencies"]} <= refs | {told.models[1]}
    limits = model["modelCard"]["considerations"]["technicalLimitations"]
    assert "delivery-screened.tool: not_checked" in limits


def test_the_judge_of_bills_sees_broken_references_dates_and_fields(told: Told) -> None:
    """What says that our bills are valid would say so if they were not."""
    bom = cyclonedx(history_of(told.log, told.store, told.models[1]), told.models[1])
    references = [{"type": "website", "url": "https://example.org/a"}]
    assert fault_of(json.dumps({**bom, "externalReferences": references})) is None
    references[0]["url"] = "https://example.org/a b"
    assert "example.org/a b" in repr(fault_of(json.dumps({**bom, "externalReferences": references})))
    late = {**bom, "metadata": {**bom["metadata"], "timestamp": "yesterday"}}
    assert "date-time" in repr(fault_of(json.dumps(late)))
    assert fault_of(json.dumps({**bom, "colour": "red"})) is not None


def test_the_bill_of_the_first_model_knows_nothing_of_the_second_delivery(told: Told) -> None:
    """Its history ends where it was trained."""
    bom = cyclonedx(history_of(told.log, told.store, told.models[0]), told.models[0])
    refs = {each["bom-ref"] for each in bom["components"]}
    assert told.deliveries[0] in refs
    assert told.deliveries[1] not in refs


def test_a_snapshot_is_valid_croissant(told: Told, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By mlcroissant: no errors, every column of every part is a field, each file carries its digest."""
    import mlcroissant

    document = croissant(history_of(told.log, told.store, told.snapshots[1]), told.snapshots[1])
    (tmp_path / "croissant.json").write_text(json.dumps(document), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    manifest = history_of(told.log, told.store, told.snapshots[1]).manifest(told.snapshots[1])
    assert [each.sha256 for each in dataset.metadata.distribution] == [p.sha256 for p in manifest.parts]
    assert len(dataset.metadata.record_sets) == len(manifest.parts)
    assert [field.name for field in dataset.metadata.record_sets[0].fields] == ["id", "name", "age"]
    assert manifest.merkle_root in document["description"]


def test_the_rows_of_a_snapshot_can_be_read_through_croissant(own: Told, tmp_path: Path) -> None:
    """mlcroissant finds the store's objects, checks their digests and reads the rows."""
    import mlcroissant

    document = croissant(history_of(own.log, own.store, own.snapshots[0]), own.snapshots[0])
    (tmp_path / "croissant.json").write_text(json.dumps(document), encoding="utf-8")
    part = document["distribution"][0]
    mapping = {part["@id"]: part["contentUrl"].removeprefix("file://")}
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"), mapping=mapping)
    rows = list(dataset.records("rows-1"))
    assert len(rows) == 20
    assert {row["rows-1/id"] for row in rows} == set(range(20))


def test_the_history_is_valid_prov(told: Told) -> None:
    """The prov library reads it, and writes the same again; names are percent-encoded, labels are as they were."""
    from prov.model import ProvActivity, ProvAgent, ProvDocument

    document = prov_document(history_of(told.log, told.store, told.models[1]))
    read = ProvDocument.deserialize(content=json.dumps(document), format="json")
    assert read == ProvDocument.deserialize(content=read.serialize(format="json"), format="json")
    assert len(list(read.get_records(ProvActivity))) == len(document["activity"])
    labels = {
        str(label) for agent in read.get_records(ProvAgent) for label in agent.get_attribute("prov:label")
    }
    assert labels == {"Assay", told.word}
    for kind in ("entity", "activity", "agent"):
        for name in document[kind]:
            assert not set(name.removeprefix("assay:")) & set("<>\"' \n:/"), name
    used = [each["prov:entity"] for each in document["used"].values()]
    assert set(used) <= set(document["entity"])


def test_a_key_or_a_model_of_which_nothing_is_known_is_refused(own: Told) -> None:
    """Bills and cards are of models and snapshots that the ledger knows."""
    history = history_of(own.log, own.store, own.deliveries[0])
    with pytest.raises(NotInLedger):
        cyclonedx(history, own.deliveries[0])
    with pytest.raises(NotInLedger):
        croissant(history, own.deliveries[0])
    with pytest.raises(NotInLedger):
        history_of(own.log, own.store, content_name("model", 9))


@pytest.mark.parametrize("whole", [True, False])
def test_nothing_is_exported_through_a_forged_statement(whole: bool, own: Told) -> None:
    """One envelope was changed in the database: the export ends before a word of it is told."""
    with as_owner(own.log.database) as connection:
        connection.execute(
            text("UPDATE ledger_entry SET envelope = replace(envelope, 'sig', 'gis') WHERE position = 1")
        )
    with pytest.raises((LedgerError, EnvelopeError)):
        history_of(own.log, own.store, None if whole else own.models[1])


def test_keys_are_inputs_of_what_they_signed(told: Told) -> None:
    """A publisher's key is an input of the delivery's verification, under its own name."""
    first = events_of(told)[0]
    assert KEYS[0] in {each["name"] for each in first["inputs"]}
