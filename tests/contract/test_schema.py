"""The JSON Schema that editors complete from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from assay.contract import contract_schema, find_contracts, load_contract
from assay.contract.schema import schema_text
from tests.contract.examples import DESIGN, plain

CONTRACTS = Path(__file__).resolve().parents[2] / "include" / "contracts"


def test_the_committed_schema_is_the_generated_one() -> None:
    """`make schema` writes it anew after a change of the models."""
    assert (CONTRACTS / "contract.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_is_one() -> None:
    """Validators accept it as JSON Schema 2020-12."""
    Draft202012Validator.check_schema(contract_schema())


@pytest.mark.parametrize("data", [yaml.safe_load(DESIGN), plain(training={"timeout": "2h"})])
def test_what_is_valid_for_us_is_valid_for_editors(data: object) -> None:
    """An editor must not underline what the loader takes."""
    as_json = json.loads(json.dumps(data, default=str))
    assert [error.message for error in Draft202012Validator(contract_schema()).iter_errors(as_json)] == []


@pytest.mark.parametrize(
    "data",
    [
        plain(screan={}),
        plain(review={"on_timeout": "approve"}),
        plain(review={"timeout": "soon"}),
        plain(dataset="Adult"),
        {"version": 1},
    ],
)
def test_editors_underline_unknown_keys_and_wrong_values(data: object) -> None:
    """Before anything is run."""
    assert not Draft202012Validator(contract_schema()).is_valid(data)


def test_every_committed_contract_is_valid() -> None:
    """There is at least one, and each is what its file name says."""
    found = find_contracts(CONTRACTS)
    assert found
    for path in found:
        assert load_contract(path).dataset == path.stem
