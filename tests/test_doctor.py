"""`assay doctor`: three outcomes, each with the next step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from assay.doctor import examine
from assay.findings import Outcome
from assay.settings import Settings

PARTS = {"python", "home", "store", "database", "keys", "contracts", "notifications", "airflow"}


@pytest.fixture
def no_julia(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every Julia that the machine may have."""
    for name in ("JULIA_EXE", "PYTHON_JULIACALL_EXE", "PYTHON_JULIAPKG_EXE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))


def by_part(findings) -> dict:
    return {f.check.rsplit(".", 1)[-1]: f for f in findings}


def test_a_machine_without_state_is_not_checked_and_says_what_makes_it(assay_home, no_julia):
    """Nothing is there yet: nothing is broken, nothing is claimed, nothing is created."""
    found = by_part(examine(Settings.from_env()))
    assert set(found) >= PARTS | {"julia", "flux", "gpu"}
    for part in ("home", "store", "database", "keys"):
        assert found[part].outcome is Outcome.NOT_CHECKED
        assert found[part].evidence["next"]
    assert found["julia"].outcome is Outcome.NOT_CHECKED
    assert found["airflow"].outcome is Outcome.PASSED
    assert not assay_home.exists()


def test_state_that_works_passes(assay_home, no_julia):
    """After the first use home, store, database and keys are there."""
    from assay.db import open_database
    from assay.ledger import signing_key
    from assay.store import open_store

    settings = Settings.from_env()
    open_database(settings).dispose()
    open_store(settings).put_bytes(b"x")
    signing_key(settings)
    found = by_part(examine(settings))
    for part in ("home", "store", "database", "keys"):
        assert found[part].outcome is Outcome.PASSED, found[part]


def test_a_key_that_others_can_read_fails(assay_home, no_julia):
    """A private key with group rights is named, with the remedy."""
    from assay.ledger import signing_key

    settings = Settings.from_env()
    settings.make_home()
    signing_key(settings)
    key = next(p for p in settings.keys_dir.iterdir() if p.name == "ledger.pem")
    key.chmod(0o640)
    keys = by_part(examine(settings))["keys"]
    assert keys.outcome is Outcome.FAILED
    assert "ledger.pem" in keys.message


def test_a_home_that_others_can_enter_fails(assay_home, no_julia):
    """The state directory belongs to its owner alone."""
    assay_home.mkdir(mode=0o755)
    assay_home.chmod(0o755)
    assert by_part(examine(Settings.from_env()))["home"].outcome is Outcome.FAILED


def test_a_file_that_is_no_database_fails(assay_home, no_julia):
    """Garbage under the database's name is reported, not overwritten."""
    settings = Settings.from_env()
    settings.make_home()
    (assay_home / "assay.db").write_bytes(b"this is no database" * 100)
    assert by_part(examine(settings))["database"].outcome is Outcome.FAILED
    assert (assay_home / "assay.db").read_bytes().startswith(b"this is no database")


def test_a_broken_contract_fails_and_a_good_one_passes(assay_home, no_julia, tmp_path, monkeypatch):
    """Each contract of the folder is looked at."""
    monkeypatch.setenv("ASSAY_CONTRACTS_DIR", str(tmp_path))
    (tmp_path / "good.yaml").write_text(
        "version: 1\ndataset: good\nschema: {columns: {a: {type: integer}}}\n"
    )
    (tmp_path / "bad.yaml").write_text("version: 1\ndataset: bad\n")
    outcomes = [f.outcome for f in examine(Settings.from_env()) if f.check == "doctor.contracts"]
    assert sorted(outcomes) == [Outcome.FAILED, Outcome.PASSED]


def test_the_command_s_exit_code_is_the_worst_outcome(assay_home, no_julia):
    """A machine that lacks something exits with 3: not checked is not passed."""
    done = subprocess.run(
        [sys.executable, "-m", "assay.cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    findings = json.loads(done.stdout)
    assert {f["outcome"] for f in findings} == {"passed", "not_checked"}
    assert done.returncode == 3


def test_programs_that_check_signatures_are_named_with_their_packages(
    assay_home, no_julia, tmp_path, monkeypatch
):
    """Without one, deliveries that it would check are not checked; doctor says so before the first one comes."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "openssl").write_text("#!/bin/sh\n")
    (tmp_path / "openssl").chmod(0o755)
    found = {f.subject: f for f in examine(Settings.from_env())}
    assert found["openssl"].outcome is Outcome.PASSED
    assert found["gpg"].outcome is found["ssh-keygen"].outcome is Outcome.NOT_CHECKED
    assert found["gpg"].evidence["next"] == "apt-get install gnupg"
    assert found["privacy"].outcome is Outcome.PASSED
