"""A machine-learning bill of materials: CycloneDX 1.6 (ECMA-424), with a model card from the signed statements."""

from __future__ import annotations

import uuid
from typing import Any

from assay.ledger.exports.history import History, Told, canonical_name, digests

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://assay.dev/ledger/cyclonedx/v1")
_LEARNING = {"classification": "supervised", "regression": "supervised"}


def cyclonedx(history: History, model_id: str) -> dict[str, Any]:
    """The bill of materials of one model: its files, its training set, the deliveries behind it, the tools.

    Args:
        history: The model's history.
        model_id: The model.

    Raises:
        NotInLedger: The history says nothing of how that model was built.
    """
    built = history.built(model_id)
    definition = built.facts["buildDefinition"]
    outer, inner = definition["externalParameters"], definition["internalParameters"]
    sums = digests(built.statement.subjects)
    used = digests(built.statement.inputs)
    snapshots = [told for told in history.of("snapshot-admitted") if told.facts.get("snapshot")]
    deliveries = list(history.of("delivery-verified"))
    model = {
        "type": "machine-learning-model",
        "bom-ref": model_id,
        "group": outer["dataset"],
        "name": model_id,
        "version": sums[model_id][:16],
        "description": f"Model of the data set {outer['dataset']}, trained on {outer['snapshot']}",
        "hashes": [_hash(sums[model_id])],
        "modelCard": _card(history, model_id, outer),
        "components": [
            {"type": "file", "bom-ref": f"{model_id}/{name}", "name": name, "hashes": [_hash(value)]}
            for name, value in sums.items()
            if name != model_id
        ],
        "properties": [
            _property("ledger", history.origin),
            _property("ledger:entry", built.position),
            _property("contract:sha256", used.get(f"contract:{outer['dataset']}", "")),
            *(_property(name, inner[name]) for name in ("seed", "backend", "device", "device_name")),
        ],
    }
    data = [_snapshot(told) for told in snapshots] + [_delivery(told) for told in deliveries]
    tools = [
        {"type": "library", "bom-ref": f"tool:{name}", "name": name, "version": str(version)}
        for name, version in sorted(inner["versions"].items())
    ]
    code = {
        "type": "application",
        "bom-ref": "code:assay",
        "name": "assay",
        "version": str(built.facts["runDetails"]["builder"]["version"].get("assay", "")),
        "hashes": [_hash(used["assay"])] if "assay" in used else [],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, built.statement.id)}",
        "version": 1,
        "metadata": {"timestamp": built.at, "component": model, "tools": {"components": [code]}},
        "components": [*data, *tools],
        "dependencies": [
            {
                "ref": model_id,
                "dependsOn": sorted({outer["snapshot"], *(tool["bom-ref"] for tool in tools)}),
            },
            *(
                {"ref": told.facts["snapshot"], "dependsOn": _parents(told, {d["bom-ref"] for d in data})}
                for told in snapshots
            ),
        ],
    }


def _card(history: History, model_id: str, outer: dict[str, Any]) -> dict[str, Any]:
    judged, training = history.newest("gates-judged", model_id), outer["training"]
    metrics = judged.facts["metrics"] if judged else {}
    figures = [
        {"type": name, "value": f"{value:.6g}"}
        for name, value in sorted(metrics.items())
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    unasked = [
        f"{check['check']}: {check['outcome']}"
        for told in history.told
        for check in told.facts.get("checks", ())
        if isinstance(check, dict) and check.get("outcome") == "not_checked"
    ]
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": str(training.get("task") or "tabular"),
            "architectureFamily": "feed-forward network",
            "modelArchitecture": canonical_name(training.get("layers", []))[:1000],
            "datasets": [{"ref": outer["snapshot"]}],
        },
        "quantitativeAnalysis": {"performanceMetrics": figures},
        "considerations": {"technicalLimitations": sorted(set(unasked))[:100]},
    }


def _snapshot(told: Told) -> dict[str, Any]:
    facts = told.facts
    return {
        "type": "data",
        "bom-ref": facts["snapshot"],
        "name": facts["snapshot"],
        "version": str(facts["version"]),
        "hashes": [_hash(str(told.statement.subjects[0].sha256))],
        "data": [
            {
                "type": "dataset",
                "name": facts["snapshot"],
                "contents": {
                    "properties": [
                        _property("rows", facts["rows"]),
                        _property("merkle_root", facts["merkle_root"]),
                    ]
                },
            }
        ],
    }


def _delivery(told: Told) -> dict[str, Any]:
    facts = told.facts
    return {
        "type": "data",
        "bom-ref": facts["delivery"],
        "name": facts["delivery"],
        "publisher": str(facts["publisher"]),
        "hashes": [_hash(str(told.statement.subjects[0].sha256))],
        "properties": [
            _property(name, facts.get(name)) for name in ("source", "key", "signed_at", "first_seen")
        ],
        "components": [
            {
                "type": "file",
                "bom-ref": f"{facts['delivery']}/{number}",
                "name": item.name.removeprefix("file:"),
                "hashes": [_hash(item.sha256)],
            }
            for number, item in enumerate(told.statement.inputs)
            if item.sha256
        ],
    }


def _parents(told: Told, known: set[str]) -> list[str]:
    facts = told.facts
    wanted = {*facts["deliveries"], *([facts["parent"]] if facts["parent"] else [])}
    return sorted(wanted & known)


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}


def _property(name: str, value: Any) -> dict[str, str]:
    return {"name": f"assay:{name}", "value": "" if value is None else canonical_name(value)}
