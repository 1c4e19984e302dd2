"""W3C PROV-JSON (w3.org/Submission/prov-json): things are entities, steps are activities, who decided is an agent."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from assay.ledger.exports.history import History, Told, canonical_name
from assay.ledger.statements.statement import STEPS, Resource

NAMESPACE = "https://assay.dev/prov#"
_LINE = "assay:line"
_HUMAN = ("reviewer", "by", "publisher")
_PERSON_OF = {"reviewer": "prov:Person", "by": "prov:Person", "publisher": "prov:Organization"}
_TOLD = ("verdict", "action", "outcome", "passed", "reason", "rows", "version", "merkle_root", "status")


def prov_document(history: History) -> dict[str, Any]:
    """The history as one PROV-JSON document.

    A step used its inputs, and is recorded as having generated the statement that tells of it; each subject is an
    entity that was derived from the inputs. The line itself is a software agent; publishers, reviewers and those who
    promoted are agents with the names that the statements give.

    Args:
        history: What to tell of.
    """
    document: dict[str, Any] = {
        "prefix": {"assay": NAMESPACE},
        "entity": {},
        "activity": {},
        "agent": {_LINE: {"prov:type": _qname("prov:SoftwareAgent"), "prov:label": "Assay"}},
        "used": {},
        "wasGeneratedBy": {},
        "wasAssociatedWith": {},
        "wasAttributedTo": {},
        "wasInfluencedBy": {},
    }
    for told in history.told:
        _add(document, told, history.origin)
    return document


def _add(document: dict[str, Any], told: Told, origin: str) -> None:
    statement = told.statement
    activity = f"assay:step-{statement.id}"
    document["activity"][activity] = {
        "prov:endTime": told.at,
        "prov:type": _qname(f"assay:{told.step}"),
        "prov:label": STEPS[told.step],
        "assay:position": told.position,
        **{f"assay:{name}": canonical_name(told.facts[name]) for name in _TOLD if name in told.facts},
    }
    record = f"assay:{statement.id}"
    document["entity"][record] = {
        "prov:type": _qname("assay:statement"),
        "assay:predicateType": statement.predicate_type,
        "assay:log": origin,
        "assay:notChecked": ", ".join(
            str(check.get("check"))
            for check in told.facts.get("checks", ())
            if isinstance(check, dict) and check.get("outcome") == "not_checked"
        ),
    }
    number = told.position
    document["wasGeneratedBy"][f"_:g{number}"] = {"prov:entity": record, "prov:activity": activity}
    document["wasAssociatedWith"][f"_:l{number}"] = {"prov:activity": activity, "prov:agent": _LINE}
    for place, item in enumerate(statement.inputs):
        document["used"][f"_:u{number}.{place}"] = {
            "prov:activity": activity,
            "prov:entity": _entity(document, item),
        }
    for place, item in enumerate(statement.subjects):
        document["wasInfluencedBy"][f"_:i{number}.{place}"] = {
            "prov:influencee": _entity(document, item),
            "prov:influencer": activity,
        }
    for role in _HUMAN:
        name = told.facts.get(role)
        if isinstance(name, str) and name:
            agent = f"assay:agent-{_local(name)}"
            document["agent"][agent] = {"prov:type": _qname(_PERSON_OF[role]), "prov:label": name}
            document["wasAssociatedWith"][f"_:a{number}.{role}"] = {
                "prov:activity": activity,
                "prov:agent": agent,
                "prov:role": role,
            }
            document["wasAttributedTo"][f"_:t{number}.{role}"] = {
                "prov:entity": _entity(document, statement.subjects[0]),
                "prov:agent": agent,
            }


def _entity(document: dict[str, Any], item: Resource) -> str:
    """The entity of a thing; two files of one name are two entities, since their digests tell them apart."""
    ours = "-" in item.name and len(item.name.rpartition("-")[2]) == 32
    name = f"assay:{_local(item.name)}" + ("" if ours or not item.sha256 else f".{item.sha256[:16]}")
    known: dict[str, Any] = document["entity"].setdefault(name, {"prov:label": item.name})
    if item.sha256:
        digests = known.setdefault("assay:sha256", [])
        if item.sha256 not in digests:
            digests.append(item.sha256)
    return name


def _local(name: str) -> str:
    """A name as the local part of a qualified name: what is no letter, digit, `.`, `_` or `-` is percent-encoded."""
    return quote(name, safe="")


def _qname(name: str) -> dict[str, str]:
    return {"$": name, "type": "prov:QUALIFIED_NAME"}
