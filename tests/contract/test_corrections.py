"""What a contract may say of correction lists and drift, and what it is told otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from assay.contract import parse_contract
from tests.contract.examples import plain, text
from tests.contract.test_models import only_problem


def source(**changes: Any) -> dict[str, Any]:
    """A contract whose only source is changed."""
    first = {"id": "west", "publisher": "p", "uri": "west/", "signature": "SHA256SUMS.minisig", **changes}
    return plain(publishers=[{"id": "p"}], sources=[first])


def test_a_signed_source_may_name_a_correction_list() -> None:
    """By default there is none."""
    assert parse_contract(text(source())).sources[0].corrections is None
    named = parse_contract(text(source(corrections="corrections.json")))
    assert named.sources[0].corrections == "corrections.json"
    inside = source(corrections="corrections.json", files=["*.parquet", "corrections.*"])
    assert parse_contract(text(inside)).sources[0].corrections == "corrections.json"


@pytest.mark.parametrize("name", ["list.csv", "../list.json", "a\\b.json", "delivery.json", "SHA256SUMS"])
def test_a_correction_list_is_a_json_file_of_its_own(name: str) -> None:
    """No table, no path, none of the files that speak about the delivery."""
    problem = only_problem(source(corrections=name))
    assert problem["field"] == "sources[0].corrections"
    assert "cannot be a correction list" in problem["problem"]


def test_a_correction_list_needs_a_signature() -> None:
    """Whoever could change the file could rewrite history."""
    problem = only_problem(source(corrections="corrections.json", signature=None))
    assert "counts only under a signature" in problem["problem"]


def test_a_correction_list_must_be_among_the_files_that_are_fetched() -> None:
    """A pattern that leaves it out would lose it silently."""
    problem = only_problem(source(corrections="corrections.json", files=["*.parquet"]))
    assert "add its name to `files`" in problem["fix"]


@pytest.mark.parametrize(
    "policy", [{"hold_on_drift": "maybe"}, {"max_corrections": 1.5}, {"max_corrections": -1}]
)
def test_policies_are_checked(policy: dict[str, Any]) -> None:
    """Shares lie between 0 and 1, and drift holds never, when it is large, or always."""
    assert only_problem(plain(screen=policy))["field"].startswith("screen.")
