"""Published test vectors, and other people's implementations reading what we write."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.ledger import Witness, sign_statement, verify_envelope
from assay.ledger.errors import NoteError, ProofError
from assay.ledger.keys.signing import key_id, public_pem
from assay.ledger.log.checkpoints import Checkpoint, note_parts, open_checkpoint, origin_of
from assay.ledger.merkle import EMPTY_ROOT, leaf_hash, verify_consistency, verify_inclusion
from assay.ledger.outside.cosign import cosign, cosigned_at
from assay.ledger.outside.proofs import prove_consistency, signed_checkpoint
from assay.ledger.outside.tlog import ConsistencyProof, TlogProof
from assay.ledger.statements.envelopes import PAYLOAD_TYPE
from tests.ledger.support import KEY, OTHER_KEY, filled, statement

VECTORS = json.loads(
    (Path(__file__).parent / "vectors" / "transparency-dev-merkle.json").read_text(encoding="utf-8")
)
PUBLIC = KEY.public_key()
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(7, 39)))
WITNESS = Witness("witness.example/w1", WITNESS_KEY.public_key())

# The example of the cosignature specification (c2sp.org/tlog-cosignature).
COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE"
    "+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xU"
    "e+mbIUBkBIfZ+qnA==\n"
)
# A case whose roots are no SHA-256 hashes, "don't care" in its own words: ours must be.
STRICTER = {"consistency/additional/sizes-are-equal-one-and-proof-is-empty"}

# The example of the DSSE specification (secure-systems-lab/dsse, protocol.md): P-256, raw signature r || s.
DSSE_X = 46950820868899156662930047687818585632848591499744589407958293238635476079160
DSSE_Y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
DSSE = {
    "payload": "aGVsbG8gd29ybGQ=",
    "payloadType": "http://example.com/HelloWorld",
    "signatures": [
        {"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}
    ],
}


def decoded(case: dict[str, Any], *names: str) -> list[bytes]:
    """Base64 fields of a vector; none is an empty list or text."""
    return [base64.b64decode(case[name] or "") for name in names]


@pytest.mark.parametrize("case", VECTORS["inclusion"], ids=lambda case: case["name"])
def test_published_inclusion_proofs_are_judged_as_published(case: dict[str, Any]) -> None:
    """Good ones pass; each of the many ways to be wrong fails."""
    leaf, root = decoded(case, "leafHash", "root")
    path = [base64.b64decode(node) for node in case["proof"] or ()]
    if not case["wantErr"]:
        verify_inclusion(leaf, case["leafIdx"], case["treeSize"], path, root)
        return
    with pytest.raises(ProofError):
        verify_inclusion(leaf, case["leafIdx"], case["treeSize"], path, root)


@pytest.mark.parametrize("case", VECTORS["consistency"], ids=lambda case: case["name"])
def test_published_consistency_proofs_are_judged_as_published(case: dict[str, Any]) -> None:
    """Good ones pass; each of the many ways to be wrong fails."""
    first, second = decoded(case, "root1", "root2")
    path = [base64.b64decode(node) for node in case["proof"] or ()]
    if not case["wantErr"] and case["name"] not in STRICTER:
        verify_consistency(case["size1"], case["size2"], first, second, path)
        return
    with pytest.raises(ProofError):
        verify_consistency(case["size1"], case["size2"], first, second, path)


def test_the_published_cosignature_is_read() -> None:
    """Its checkpoint, its two signature lines, and the time in the witness's."""
    text, lines = note_parts(COSIGNED)
    assert Checkpoint.read(text).size == 20852163
    assert [line.name for line in lines] == ["example.com/behind-the-sofa", "witness.example.com/w1"]
    assert [len(line.signature) for line in lines] == [64, 72]
    assert int.from_bytes(lines[1].signature[:8], "big") == 1679315147
    assert "".join(f"{line.line}\n" for line in lines) == COSIGNED.partition("\n\n")[2]


def test_the_published_dsse_example_has_the_encoding_that_we_sign() -> None:
    """Its signature stands over the pre-authentication encoding that securesystemslib, and so we, compute."""
    from securesystemslib.dsse import Envelope

    envelope = Envelope(base64.b64decode(DSSE["payload"]), DSSE["payloadType"], {})
    assert envelope.pae() == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    raw = base64.b64decode(DSSE["signatures"][0]["sig"])
    signature = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key = ec.EllipticCurvePublicNumbers(DSSE_X, DSSE_Y, ec.SECP256R1()).public_key()
    key.verify(signature, envelope.pae(), ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, envelope.pae() + b"!", ec.ECDSA(hashes.SHA256()))


def test_securesystemslib_verifies_our_envelopes() -> None:
    """Its own key class and verifier, from the public key's PEM text; a changed payload fails."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    key = SSlibKey.from_crypto(
        load_pem_public_key(public_pem(PUBLIC)), keyid=key_id(PUBLIC), scheme="ed25519"
    )
    document = json.loads(sign_statement(statement(1), KEY))
    envelope = Envelope.from_dict(json.loads(json.dumps(document)))
    assert envelope.payload_type == PAYLOAD_TYPE
    assert set(envelope.verify([key], threshold=1)) == {key.keyid}
    document["payload"] = base64.b64encode(envelope.payload.replace(b"passed", b"failed")).decode()
    with pytest.raises(VerificationError):
        Envelope.from_dict(document).verify([key], threshold=1)


def test_in_totos_own_library_accepts_our_statements() -> None:
    """The protobuf bindings of the attestation framework parse and validate what is in the envelope."""
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    payload = verify_envelope(sign_statement(statement(1), KEY), PUBLIC).payload
    parsed = Statement.copy_from_pb(json_format.Parse(payload, Message()))
    parsed.validate()
    assert [subject.name for subject in parsed.pb.subject] == [statement(1).subjects[0].name]


def test_sigstore_verifies_our_checkpoints_and_inclusion_proofs(tmp_path: Path) -> None:
    """Its note reader and keyring accept our signature, its Merkle verifier our path; changed ones fail."""
    from sigstore._internal.merkle import verify_merkle_inclusion
    from sigstore._internal.rekor.checkpoint import SignedCheckpoint
    from sigstore.errors import VerificationError

    log = filled(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, 13)
    for position in range(13):
        item = log.prove(position)["entries"][0]
        proof = TlogProof.parse(item["proof"])
        theirs = SignedCheckpoint.from_text(proof.checkpoint)
        assert (theirs.checkpoint.origin, theirs.checkpoint.log_size) == (origin_of(PUBLIC), 13)
        (signature,) = theirs.signed_note.signatures
        PUBLIC.verify(base64.b64decode(signature.signature), theirs.signed_note.note.encode())
        body = json.dumps(item["envelope"], sort_keys=True, separators=(",", ":")).encode()
        inner = SimpleNamespace(
            canonicalized_body=body,
            inclusion_proof=SimpleNamespace(
                log_index=position,
                tree_size=theirs.checkpoint.log_size,
                hashes=list(proof.path),
                root_hash=bytes.fromhex(theirs.checkpoint.log_hash),
            ),
        )
        verify_merkle_inclusion(SimpleNamespace(_inner=inner))  # type: ignore[arg-type]
        inner.inclusion_proof.hashes[0] = bytes(32)
        with pytest.raises(VerificationError):
            verify_merkle_inclusion(SimpleNamespace(_inner=inner))  # type: ignore[arg-type]


@pytest.mark.pymerkle
def test_pymerkle_computes_our_roots(tmp_path: Path) -> None:
    """Another RFC 9162 tree over the same entries has the same root at each of our checkpoints."""
    import pymerkle

    log = filled(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, 11)
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in log.entries():
        tree.append_entry(entry.envelope.encode())
        note = signed_checkpoint(log, entry.position + 1)
        root = tree.get_root(entry.position + 1)
        assert open_checkpoint(note, PUBLIC).root == root


def test_a_tlog_proof_comes_back_from_its_text(tmp_path: Path) -> None:
    """With and without extra data; the extra data is carried and never trusted."""
    log = filled(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, 5)
    text = log.prove(3)["entries"][0]["proof"]
    proof = TlogProof.parse(text)
    assert proof.text == text
    leaf = leaf_hash(log.entries()[3].envelope.encode())
    assert proof.verify(leaf, PUBLIC).size == 5
    more = TlogProof(proof.index, proof.path, proof.checkpoint, b"what it is about")
    assert more.text.split("\n")[1].startswith("extra ")
    assert TlogProof.parse(more.text) == more
    assert more.verify(leaf, PUBLIC).size == 5


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13])
def test_every_pair_of_checkpoints_is_proved_consistent(size: int, tmp_path: Path) -> None:
    """From each smaller checkpoint to this one, in the form that a C2SP witness takes; to another root it fails."""
    log = filled(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, 14)
    for first in range(size + 1):
        text = prove_consistency(log, first, size).text
        assert text.startswith(f"old {first}\n")
        proof = ConsistencyProof.parse(text)
        assert proof.text == text
        old = (
            open_checkpoint(signed_checkpoint(log, first), PUBLIC)
            if first
            else Checkpoint(
                origin_of(PUBLIC),
                0,
                EMPTY_ROOT,
            )
        )
        assert proof.verify(old, PUBLIC).size == size
        with pytest.raises(ProofError):
            proof.verify(Checkpoint(old.origin, old.size, bytes(32)), PUBLIC)


def test_a_cosignature_stands_for_one_checkpoint_by_one_witness(tmp_path: Path) -> None:
    """Checked with the witness's key; over another checkpoint or by another key it is refused or does not count."""
    log = filled(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, 4)
    note, older = signed_checkpoint(log), signed_checkpoint(log, 2)
    text = note_parts(note)[0]
    line = cosign(text, WITNESS.name, WITNESS_KEY, 1_800_000_000)
    assert cosigned_at(note + line, WITNESS) == 1_800_000_000
    assert cosigned_at(note, WITNESS) is None
    assert open_checkpoint(note + line, PUBLIC).size == 4
    with pytest.raises(NoteError, match="is wrong"):
        cosigned_at(older + line, WITNESS)
    stranger = cosign(text, WITNESS.name, OTHER_KEY, 1_800_000_000)
    assert cosigned_at(note + stranger, WITNESS) is None
    assert Witness.parse(WITNESS.vkey) == WITNESS
