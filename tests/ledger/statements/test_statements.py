"""Statements and their envelopes: the same step makes the same bytes, and nothing else than those passes."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.canonical import canonical_json
from assay.ledger.errors import EnvelopeError, StatementError
from assay.ledger.statements.envelopes import PAYLOAD_TYPE, read_unverified, sign_statement, verify_envelope
from assay.ledger.statements.statement import (
    MAX_PAYLOAD_BYTES,
    STATEMENT_TYPE,
    STEPS,
    index_key,
    make_statement,
    predicate_type,
)
from tests.ledger.support import KEY, OTHER_KEY, sha, statement

PUBLIC = KEY.public_key()


def signed(payload: bytes, *, key: Ed25519PrivateKey = KEY, payload_type: str = PAYLOAD_TYPE) -> str:
    """An envelope with a good signature over any payload, made with DSSE's own rule and nothing of ours."""
    keyid = json.loads(sign_statement(statement(0), key))["signatures"][0]["keyid"]
    pae = b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)
    return canonical_json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": keyid, "sig": base64.b64encode(key.sign(pae)).decode()}],
        }
    ).decode()


def changed(change: Callable[[dict], None]) -> bytes:
    """A good statement's payload after a change."""
    document = json.loads(statement(1).payload)
    change(document)
    return canonical_json(document)


def test_a_statement_is_in_toto_v1() -> None:
    """Type, subject, predicate type and predicate, as the attestation framework has them."""
    document = json.loads(statement(3).payload)
    assert document["_type"] == STATEMENT_TYPE == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://assay.dev/predicates/delivery-verified/v1"
    assert document["subject"][0]["digest"] == {"sha256": sha("manifest 3")}
    assert document["predicate"]["inputs"][1] == {"name": "minisign:RWQ0123456789ABCD"}


def test_in_totos_own_library_reads_a_statement() -> None:
    """The attestation framework's Python bindings accept it."""
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement import Statement as Reference
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    message = json_format.Parse(statement(3).payload, Message())
    Reference.copy_from_pb(message).validate()


def test_the_same_step_makes_the_same_statement_and_envelope() -> None:
    """Ids come from content; Ed25519 signs the same bytes the same way."""
    assert statement(1).id == statement(1).id != statement(2).id
    assert sign_statement(statement(1), KEY) == sign_statement(statement(1), KEY)


def test_the_order_of_a_predicates_keys_does_not_matter() -> None:
    """Canonical JSON sorts them."""
    subjects = [("run-1", sha("run"))]
    one = make_statement("run-finished", subjects, {"a": 1, "b": [1.5, None]})
    other = make_statement(predicate_type("run-finished"), subjects, {"b": [1.5, None], "a": 1})
    assert one.id == other.id


def test_an_envelope_gives_its_statement_back() -> None:
    """`verify_envelope(sign_statement(s)) == s`."""
    original = statement(7)
    got = verify_envelope(sign_statement(original, KEY), PUBLIC)
    assert got == original
    assert (got.id, got.step, got.predicate) == (
        original.id,
        "delivery-verified",
        {"outcome": "passed", "files": 7},
    )


def test_an_envelope_made_by_the_rule_of_dsse_is_ours() -> None:
    """Our envelope is what the specification's formula gives, byte for byte."""
    assert signed(statement(4).payload) == sign_statement(statement(4), KEY)


def test_every_step_has_a_predicate_type_that_is_accepted() -> None:
    """Each of them signs and verifies."""
    for step in STEPS:
        made = make_statement(step, [("thing", sha("thing"))], {})
        assert verify_envelope(sign_statement(made, KEY), PUBLIC).step == step


def test_subjects_are_compared_with_digests_that_the_caller_computed() -> None:
    """A statement about another object of the same name does not pass."""
    envelope = sign_statement(statement(1), KEY)
    name = statement(1).subjects[0].name
    assert verify_envelope(envelope, PUBLIC, subjects={name: sha("manifest 1")}).id == statement(1).id
    for subjects in ({name: sha("another manifest")}, {"snapshot-1": sha("manifest 1")}):
        with pytest.raises(EnvelopeError) as caught:
            verify_envelope(envelope, PUBLIC, subjects=subjects)
        assert caught.value.check == "subject"


def test_names_and_digests_are_indexed_with_their_roles() -> None:
    """Subjects and inputs are found by name and by digest."""
    made = statement(5)
    assert made.index == {
        (made.subjects[0].name, "subject"),
        (f"sha256:{sha('manifest 5')}", "subject"),
        ("part-5.csv", "input"),
        (f"sha256:{sha('file 5')}", "input"),
        ("minisign:RWQ0123456789ABCD", "input"),
    }


def test_long_names_are_indexed_by_their_digest() -> None:
    """A path of any length fits the index, and two long paths stay apart."""
    one, other = "a/" * 300 + "x", "a/" * 300 + "y"
    assert len(index_key(one)) <= 256
    assert index_key(one) != index_key(other)
    assert index_key("short") == "short"
    made = make_statement("delivery-verified", [(one, sha("x"))], {})
    assert (index_key(one), "subject") in made.index


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("no-such-step", [("a", sha("a"))], {}), "no step is called"),
        (("https://assay.dev/predicates/other/v1", [("a", sha("a"))], {}), "predicate type is unknown"),
        (("run-finished", [], {}), "about nothing"),
        (("run-finished", [("a", "abc")], {}), "is no SHA-256"),
        (("run-finished", [("a", sha("a").upper())], {}), "is no SHA-256"),
        (("run-finished", [("a", None)], {}), "has no digest"),
        (("run-finished", [("", sha("a"))], {}), "malformed"),
        (("run-finished", [("a\0b", sha("a"))], {}), "malformed"),
        (("run-finished", [("a", sha("a"))], {"loss": float("nan")}), "is not JSON"),
        (("run-finished", [("a", sha("a"))], {"when": {1, 2}}), "is not JSON"),
        (("run-finished", [("a", sha("a"))], {"text": "\ud800"}), "is not JSON"),
        (("run-finished", [("a", sha("a"))], {"inputs": []}), "no key `inputs`"),
        (("run-finished", [("a", sha("a"))], {}, [("b", "xyz")]), "is no SHA-256"),
        (("run-finished", [("a", sha("a"))], {"text": "x" * MAX_PAYLOAD_BYTES}), "too large"),
    ],
)
def test_a_statement_that_could_not_be_checked_is_not_made(arguments: tuple, told: str) -> None:
    """Each wrong part has its own words."""
    with pytest.raises(StatementError, match=told):
        make_statement(*arguments)


@pytest.mark.parametrize(
    ("envelope", "check"),
    [
        ("", "format"),
        ("[]", "format"),
        ("{}", "format"),
        ("null", "format"),
        ("[" * 100_000, "format"),
        ('{"payload":"!","payloadType":"x","signatures":[]}', "format"),
        ('{"payload":"","payloadType":"x","signatures":[1]}', "format"),
        (sign_statement(statement(1), KEY) + "\n", "format"),
        (" " + sign_statement(statement(1), KEY), "format"),
        (sign_statement(statement(1), KEY).replace('"signatures"', '"extra":1,"signatures"'), "format"),
        (sign_statement(statement(1), OTHER_KEY), "signature"),
        (signed(b"[]"), "statement"),
        (signed(b"{"), "statement"),
        (signed(b"{}"), "statement"),
        (signed(b"[" * 100_000), "statement"),
        (signed(b'{"a":1e999}'), "statement"),
        (signed(json.dumps(json.loads(statement(1).payload)).encode()), "statement"),
        (signed(statement(1).payload.replace(b'{"_type"', b'{"_type":"x","_type"')), "statement"),
        (signed(statement(1).payload, payload_type="application/json"), "payload_type"),
        (signed(changed(lambda d: d.update(_type="https://in-toto.io/Statement/v0.1"))), "statement"),
        (signed(changed(lambda d: d.update(extra=1))), "statement"),
        (signed(changed(lambda d: d.update(predicate=[]))), "statement"),
        (
            signed(changed(lambda d: d.update(predicateType="https://slsa.dev/provenance/v0.2"))),
            "predicate_type",
        ),
        (signed(changed(lambda d: d.update(predicateType=7))), "predicate_type"),
        (signed(changed(lambda d: d.update(subject={}))), "subject"),
        (signed(changed(lambda d: d["subject"][0].pop("digest"))), "subject"),
        (signed(changed(lambda d: d["subject"][0]["digest"].update(md5="x"))), "subject"),
        (signed(changed(lambda d: d["subject"].append(7))), "subject"),
        (signed(changed(lambda d: d["predicate"].update(inputs=[{"uri": "x"}]))), "subject"),
    ],
)
def test_an_envelope_that_is_not_exactly_ours_is_refused(envelope: str, check: str) -> None:
    """The step that failed is named; nothing of it escapes as another kind of error."""
    with pytest.raises(EnvelopeError) as caught:
        verify_envelope(envelope, PUBLIC)
    assert caught.value.check == check


def test_a_second_signature_is_refused() -> None:
    """One statement, one signature: what others sign belongs into statements of their own."""
    envelope = json.loads(sign_statement(statement(1), KEY))
    envelope["signatures"] += json.loads(sign_statement(statement(1), OTHER_KEY))["signatures"]
    with pytest.raises(EnvelopeError, match="not by it alone"):
        verify_envelope(canonical_json(envelope).decode(), PUBLIC)


def test_a_key_id_is_only_a_hint() -> None:
    """A stranger's signature under our key's id fails, and so does ours under a stranger's."""
    ours, theirs = (json.loads(sign_statement(statement(1), key)) for key in (KEY, OTHER_KEY))
    for one, other in ((ours, theirs), (theirs, ours)):
        mixed = copy.deepcopy(one)
        mixed["signatures"][0]["keyid"] = other["signatures"][0]["keyid"]
        with pytest.raises(EnvelopeError) as caught:
            verify_envelope(canonical_json(mixed).decode(), PUBLIC)
        assert caught.value.check == "signature"


def test_reading_without_checking_still_reads_strictly() -> None:
    """What was checked before is read again without its key, but not whatever comes."""
    assert read_unverified(sign_statement(statement(2), OTHER_KEY)) == statement(2)
    for wrong in ("", "{}", signed(b"{}")):
        with pytest.raises(EnvelopeError):
            read_unverified(wrong)
