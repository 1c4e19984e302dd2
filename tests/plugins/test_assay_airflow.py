"""How Assay's errors become Airflow's."""

from __future__ import annotations

import pytest

from assay.errors import Terminal, Transient


def test_a_terminal_error_fails_the_task_at_once():
    """Airflow must not retry what cannot get better, and the message survives."""
    from airflow.sdk.exceptions import AirflowFailException

    from assay_airflow import airflow_errors

    with pytest.raises(AirflowFailException, match="no such thing"), airflow_errors():
        raise Terminal("no such thing", next_step="look elsewhere")


def test_a_transient_error_is_left_to_the_task_s_retries():
    """Airflow retries what may get better."""
    from assay_airflow import airflow_errors

    with pytest.raises(Transient), airflow_errors():
        raise Transient("the source does not answer")


def test_each_contract_is_found_and_a_broken_one_comes_as_its_error(tmp_path, monkeypatch):
    """One bad contract does not hide the others."""
    from assay.contract import Contract, ContractError
    from assay_airflow import contracts

    monkeypatch.setenv("ASSAY_CONTRACTS_DIR", str(tmp_path))
    (tmp_path / "a.yaml").write_text("version: 1\ndataset: a\nschema: {columns: {x: {type: integer}}}\n")
    (tmp_path / "b.yaml").write_text("version: 2\n")
    found = {path.name: type(contract) for path, contract in contracts()}
    assert found == {"a.yaml": Contract, "b.yaml": ContractError}
