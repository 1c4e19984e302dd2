"""The questions in Required Actions: their words, their form, whom they ask; test_hitl_airflow has the rest."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.contract import Contract, load_contract
from assay.findings import Answer, Approval
from tests.contract.examples import DESIGN

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    document = yaml.safe_load(DESIGN)
    document["review"] = {"approvals": 2, "reviewers": ["olga", "vic"], "no_self_approval": True}
    path = tmp_path / "adult.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_contract(path)


def review(contract: Contract) -> Any:
    from assay_review import AssayReview

    return AssayReview(
        task_id="review", contract_path=contract.path, contract=contract, deliveries=["delivery-1"]
    )


def test_the_words_are_those_of_the_pages(contract: Contract) -> None:
    """One enumeration gives them all; the terms of the review stand below the question."""
    from assay_review import AssayApproval

    asked = review(contract)
    assert asked.options == [str(each) for each in Answer]
    assert asked.defaults is None
    assert "2 different reviewers must approve" in asked.body
    assert "Reviewers: olga, vic" in asked.body
    assert "/assay/p/cases?dataset=adult&status=open" in asked.body
    approval = AssayApproval(task_id="approve", contract_path=contract.path, contract=contract, judged={})
    assert approval.options == [str(each) for each in Approval]


def test_reviewers_are_asked_by_name_where_names_are_ids(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAB's ids are numbers: there the registry alone says who may decide, and nobody is locked out."""
    assert review(contract).assigned_users == [{"id": "olga", "name": "olga"}, {"id": "vic", "name": "vic"}]
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", FAB)
    assert review(contract).assigned_users is None


def test_the_trigger_comes_back_from_its_serialized_form(contract: Contract) -> None:
    """Airflow's triggerer makes it from the path and the facts, after each restart."""
    from assay_review import ReviewTrigger

    made = ReviewTrigger(
        ti_id="01a20425-c9ca-735b-93ec-f1cccce847e3",  # type: ignore[arg-type]
        options=review(contract).options,
        params=review(contract).serialized_params,
        kind="delivery",
        about=["delivery-1"],
        deadline="2026-03-01T12:00:00+00:00",
        recover=True,
    )
    path, facts = made.serialize()
    module, name = path.rsplit(".", 1)
    again = getattr(import_module(module), name)(**facts)
    assert again.serialize() == made.serialize()
    assert (again.about, again.recover, again.poke_interval) == (["delivery-1"], True, 10.0)


@pytest.mark.parametrize(
    ("chosen", "given", "taken"),
    [
        ([str(Answer.REJECT)], {"reason": "a trigger"}, True),
        ([str(Answer.REJECT)], {"reason": "  x "}, False),
        ([str(Answer.REJECT)], {}, False),
        ([str(Answer.REJECT)], {"reason": 7}, False),
        ([str(Answer.AS_DECIDED)], {}, True),
        ([str(Answer.REJECT), str(Answer.ADMIT_ALL)], {"reason": "both"}, False),
        (["Admit nothing"], {"reason": "because"}, False),
        ([], {"reason": "because"}, False),
    ],
)
def test_an_answer_that_airflow_let_through_is_looked_at_again(
    contract: Contract, chosen: list[str], given: dict[str, Any], taken: bool
) -> None:
    """Airflow's API takes any input as final; one that will not do leads to the same question, not to a failure."""
    event = {
        "chosen_options": chosen,
        "params_input": given,
        "responded_by_user": {"id": "1", "name": "olga"},
    }
    answer = review(contract)._answer_of(event)
    assert (answer is not None) is taken
    if answer is not None:
        assert answer["responded_by_user"] == {"id": "1", "name": "olga"}
        assert len(answer["params_input"]["reason"]) >= 3
