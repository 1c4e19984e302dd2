"""What a real run of the line leaves in the ledger: statements by their schemas, lineage, exports, signatures."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from assay.canonical import file_sha256
from assay.db import champion, list_deliveries
from assay.findings import Answer, Outcome, worst
from assay.ledger import STEPS, rotate_key, trace
from assay.ledger.dossier.document import make_dossier
from assay.ledger.dossier.html import dossier_html
from assay.ledger.exports import croissant, cyclonedx, history_of, openlineage_events, prov_document
from assay.ledger.lineage.affected import affected
from assay.line import (
    admit,
    approve_model,
    decide,
    decide_case,
    judge,
    load_model,
    promote,
    record_contract,
    roll_back,
    screen,
    train,
    validate,
)
from assay.model import BundleRefused, model_public_key, sign_bundle
from assay.quarantine import case_numbers, case_rows, list_cases
from tests.ledger.bills import fault_of
from tests.line.conftest import Town, moved

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "predicates"


@dataclass(frozen=True)
class Lived:
    """A town that has been through everything: two rounds, a held delivery whose case was split, a contract with an
    author, two champions of whom a human approved one, a rollback, a new key.
    """

    town: Town
    first: str
    second: str
    held: int
    admitted: int


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, rounds, settled_root: Path) -> Lived:
    """Run it once."""
    town = moved(settled_root, tmp_path_factory.mktemp("lived") / "town", rounds)
    with town.line() as line:
        first = train(line)["model"]
        judge(line, first)
        promote(line, first)
        rotate_key(line.settings, line.ledger, reason="the yearly change")
    deliveries = town.take_in(rounds.second, 2)
    with town.line() as line:
        validate(line, deliveries)
        screen(line, deliveries)
        record_contract(line, "olga", "the first one")
        (case,) = [c for c in list_cases(line.database, status="open", kind="screening") if c.blocking]
        apart = case_numbers(line.store, case)[-2:]
        decide_case(line, case.id, "reject", "vic", "these two first", rows=apart)
        said = {"reason": "looked at the evidence"}
        who = {"id": "1", "name": "olga"}
        decide(
            line,
            deliveries,
            {"chosen_options": [str(Answer.ADMIT_REST)], "params_input": said, "responded_by_user": who},
        )
        admit(line, deliveries)
        second = train(line)["model"]
        judge(line, second)
        approve_model(line, second, "vic", "better on every slice")
        roll_back(line, first, "olga", "a try")
        decided = list_cases(line.database, dataset="adult", kind="screening", status="rejected")
        case = max((c for c in decided if c.blocking), key=lambda c: c.rows)
        held = case_rows(line.database, line.store, case.id)["person_id"].to_pylist()
    key = next(each for each in held if each in set(rounds.poison.backdoored))
    return Lived(town, first, second, key, rounds.first["east"]["person_id"][5].as_py())


def test_every_statement_fits_its_published_schema_and_every_step_makes_one(lived: Lived) -> None:
    """Steps, contract, code and outcomes; each has digests for what it is about."""
    steps = set()
    with lived.town.line() as line:
        for entry in line.ledger.entries():
            statement = line.ledger.read(entry)
            predicate = json.loads(statement.payload)["predicate"]
            schema = json.loads((PUBLISHED / f"{statement.step}.v1.json").read_text())
            Draft202012Validator(schema).validate(predicate)
            steps.add(statement.step)
            assert all(subject.sha256 for subject in statement.subjects)
            if statement.step not in {"run-provenance", "key-rotated"}:
                assert predicate["contract_sha256"]
                assert predicate["code"]["sha256"]
        assert steps == set(STEPS)
        assert worst(finding.outcome for finding in line.ledger.verify()) is Outcome.PASSED


def test_screening_says_which_checks_could_not_be_made(lived: Lived) -> None:
    """Outcomes in the statements are those of the findings, `not_checked` included."""
    from assay.db import findings_of

    with lived.town.line() as line:
        for entry in line.ledger.entries():
            statement = line.ledger.read(entry)
            if statement.step != "gates-judged":
                continue
            with line.database.session() as session:
                found = {(f.check, f.outcome) for f in findings_of(session, statement.subjects[0].name)}
            said = {(c["check"], Outcome(c["outcome"])) for c in statement.predicate["checks"]}
            assert said <= found


def test_model_signing_accepts_the_bundle_and_the_log_binds_its_signature(lived: Lived) -> None:
    """The library's own command with the public key; the entry's subjects hold the digests of signature and card."""
    with lived.town.line() as line:
        with line.database.session() as session:
            bundle = Path(champion(session, "adult").bundle_uri)
        done = subprocess.run(
            [
                sys.executable, "-m", "model_signing", "verify", "key", str(bundle),
                "--signature", str(bundle / "model.sig"), "--public_key", str(model_public_key(line.settings)),
                "--ignore-paths", str(bundle / "model.sig"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        entry = next(
            e for e in line.ledger.entries(lived.first) if line.ledger.read(e).step == "run-provenance"
        )
        subjects = {s.name: s.sha256 for s in line.ledger.read(entry).subjects}
        for name in ("model.sig", "card.md", "weights.safetensors", "statement.dsse.json"):
            assert subjects[name] == file_sha256(bundle / name)


def test_a_signature_that_the_log_does_not_bind_is_refused(lived: Lived, tmp_path: Path) -> None:
    """The same key signs the same bundle anew, by a signer that draws its own nonce: the bundle is not loaded."""
    from model_signing import hashing, signing

    with lived.town.line() as line:
        with line.database.session() as session:
            row = champion(session, "adult")
        bundle = Path(row.bundle_uri)
        kept = (bundle / "model.sig").read_bytes()
        try:
            sign_bundle(bundle, line.settings.keys_dir / "model.pem")
            assert (bundle / "model.sig").read_bytes() == kept
            how = hashing.Config().set_ignored_paths(paths=["model.sig"], ignore_git_paths=False)
            signer = signing.Config().use_elliptic_key_signer(
                private_key=line.settings.keys_dir / "model.pem"
            )
            (bundle / "model.sig").unlink()
            signer.set_hashing_config(how).sign(bundle, tmp_path / "model.sig")
            (bundle / "model.sig").write_bytes((tmp_path / "model.sig").read_bytes())
            with pytest.raises(BundleRefused, match="the signature that the ledger binds"):
                load_model(line, row)
        finally:
            (bundle / "model.sig").write_bytes(kept)
        assert load_model(line, row).id == lived.first


def test_a_quarantined_row_leads_to_its_reasons_and_to_who_decided(lived: Lived) -> None:
    """It is in no snapshot; case, score and the reviewer's decision are told, every statement verified."""
    with lived.town.line() as line:
        found = trace(line.ledger, line.database, line.store, f"adult:{lived.held}")
    held = [row for row in found.held if row.status == "rejected"]
    assert held
    assert held[0].p_value is not None
    assert held[0].reasons
    decided = [s.statement.predicate for s in found.steps if s.statement.step == "case-decided"]
    assert {each["reviewer"] for each in decided if each["case"] == held[0].case} == {"olga"}
    (split,) = [s.statement.predicate for s in found.steps if s.statement.step == "case-split"]
    assert held[0].case in {part["case"] for part in split["cases"]}
    assert worst(finding.outcome for finding in found.findings) is Outcome.PASSED


def test_an_admitted_row_leads_to_its_record_key_and_every_check(lived: Lived) -> None:
    """File and record of the signed delivery, publisher's key, and the models that learned from it."""
    with lived.town.line() as line:
        found = trace(line.ledger, line.database, line.store, f"adult:{lived.admitted}")
    assert found.rows[-1].source == "east"
    verified = [s.statement for s in found.steps if s.statement.step == "delivery-verified"]
    assert {s.predicate["publisher"] for s in verified} <= {"census", "survey"}
    assert any(check["check"].startswith("intake.signature") for check in found.checks)
    promoted = {s.statement.predicate["model"] for s in found.steps if s.statement.step == "model-promoted"}
    assert promoted == {lived.first, lived.second}


def test_a_stolen_key_leads_to_its_deliveries_and_both_models(lived: Lived) -> None:
    """The publisher's key of `west`, as the statement names it; a window before it signed anything holds nothing."""
    with lived.town.line() as line:
        with line.database.session() as session:
            key = list_deliveries(session, "adult", source="west")[0].key_id
        found = affected(line.ledger, line.store, key)
        assert {each.source for each in found.deliveries} >= {"west"}
        assert {each.model for each in found.models} == {lived.first, lived.second}
        assert found.rows > 600
        assert affected(line.ledger, line.store, key, until="2020").rows == 0


def test_exports_of_a_real_line_are_valid_and_name_who_decided(lived: Lived) -> None:
    """PROV by the prov library, the bill by CycloneDX's validator, the card of the snapshot, the dossier."""
    from prov.model import ProvDocument

    with lived.town.line() as line:
        history = history_of(line.ledger, line.store, lived.second)
        document = prov_document(history)
        assert ProvDocument.deserialize(content=json.dumps(document), format="json")
        bom = json.dumps(cyclonedx(history, lived.second))
        assert fault_of(bom) is None
        built = history.newest("run-provenance", lived.second)
        snapshot = built.facts["buildDefinition"]["externalParameters"]["snapshot"]
        card = croissant(history_of(line.ledger, line.store, snapshot), snapshot)
        assert card["recordSet"][0]["field"][0]["name"] == "person_id"
        page = dossier_html(make_dossier(history, lived.second))
        everything = list(openlineage_events(history_of(line.ledger, line.store), "assay"))
        assert len(everything) == 2 * line.ledger.size()
    assert "olga" in page
    assert "olga" in {agent.get("prov:label") for agent in document["agent"].values()}


def test_a_model_from_before_the_rotation_is_still_loaded(lived: Lived) -> None:
    """Its statement is signed with the retired key, which had to sign it then."""
    with lived.town.line() as line, line.database.session() as session:
        row = champion(session, "adult")
        assert row.id == lived.first
        assert load_model(line, row).id == lived.first
