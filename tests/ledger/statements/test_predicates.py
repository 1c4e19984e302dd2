"""What each step says is published: schemas are those of the code, and what does not fit them is not signed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from assay.ledger import PREDICATES, STEPS, StatementError, check_predicate, predicate_type, schema_of
from assay.ledger.code import code_digest, code_version
from tests.ledger.told import HOSTILE, Told, tell

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "predicates"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A line with hostile names."""
    folder = tmp_path_factory.mktemp("told")
    return tell(f"sqlite:///{folder / 'test.db'}", folder, HOSTILE)


def facts_of(told: Told, step: str) -> dict:
    """The predicate of the first statement about a step, as it was signed."""
    entry = next(entry for entry in told.log.entries() if told.log.read(entry).step == step)
    return dict(json.loads(told.log.read(entry).payload)["predicate"])


def test_every_step_has_a_published_schema_and_nothing_else_is_published() -> None:
    """One file per step, named after step and version."""
    assert set(PREDICATES) == set(STEPS)
    assert {path.name for path in PUBLISHED.glob("*.json")} == {f"{step}.v1.json" for step in STEPS}


@pytest.mark.parametrize("step", sorted(STEPS))
def test_the_published_schema_is_that_of_the_code(step: str) -> None:
    """`assay ledger schema --out docs/predicates` writes them; a change of the code must show there."""
    published = json.loads((PUBLISHED / f"{step}.v1.json").read_text())
    assert published == schema_of(step, predicate_type(step))
    Draft202012Validator.check_schema(published)
    assert published["x-predicate-type"] == predicate_type(step)


def test_every_statement_of_a_line_fits_its_published_schema(told: Told) -> None:
    """By an independent validator; rotations, rejections, rollbacks and people's rarer words are told elsewhere."""
    steps = set()
    for entry in told.log.entries():
        statement = told.log.read(entry)
        schema = json.loads((PUBLISHED / f"{statement.step}.v1.json").read_text())
        Draft202012Validator(schema).validate(json.loads(statement.payload)["predicate"])
        steps.add(statement.step)
    elsewhere = {
        "key-rotated", "delivery-decided", "model-rolled-back", "case-split", "contract-changed", "challenger-decided",
    }  # fmt: skip
    assert steps == set(STEPS) - elsewhere


@pytest.mark.parametrize("step", ["delivery-verified", "case-decided", "snapshot-admitted", "model-promoted"])
def test_facts_that_do_not_fit_are_not_signed(step: str, told: Told) -> None:
    """A fact too many, one too few, one of another kind, an outcome that there is not."""
    good = facts_of(told, step)
    check_predicate(step, good)
    lacking = dict(good)
    del lacking["contract_sha256"]
    odd = {**good, "checks": [{**good["checks"][0], "outcome": "skipped"}]}
    for bad in ({**good, "more": 1}, lacking, {**good, "code": "1.0"}, odd):
        with pytest.raises(StatementError, match="do not fit its predicate") as caught:
            check_predicate(step, bad)
        assert caught.value.expected == f"docs/predicates/{step}.v1.json"


def test_a_step_that_nobody_knows_has_neither_schema_nor_statement() -> None:
    """Both refuse by name."""
    with pytest.raises(StatementError, match="no step is called 'model-blessed'"):
        schema_of("model-blessed", "x")
    with pytest.raises(StatementError, match="no step is called 'model-blessed'"):
        check_predicate("model-blessed", {})


def test_provenance_is_slsa_v1_with_its_own_names(told: Told) -> None:
    """Predicate type, build definition, resolved dependencies and builder, as SLSA has them; signature bound."""
    entry = next(e for e in told.log.entries() if told.log.read(e).step == "run-provenance")
    statement = told.log.read(entry)
    document = json.loads(statement.payload)
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert set(document["predicate"]) == {"buildDefinition", "runDetails"}
    dependencies = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {item["name"] for item in dependencies} >= {told.snapshots[0], "contract:people", "assay"}
    assert "model.sig" in {subject.name for subject in statement.subjects}
    assert {item.name for item in statement.inputs} == {item["name"] for item in dependencies}


def test_the_code_is_named_by_a_digest_over_its_files() -> None:
    """The same files, the same digest; 64 hexadecimal digits."""
    assert code_digest() == code_version()["sha256"]
    assert len(code_digest()) == 64
