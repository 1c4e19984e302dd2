"""The stand-alone verifier of docs/verify: it needs no code of ours, accepts genuine proofs, and nothing else."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.ledger import ProofError, Witness, verify_proof
from assay.ledger.keys.signing import public_pem
from assay.ledger.log.checkpoints import open_checkpoint
from assay.ledger.outside.cosign import cosign
from assay.ledger.outside.proofs import signed_checkpoint
from assay.ledger.outside.witnesses import add_cosignatures
from tests.ledger.support import KEY, OTHER_KEY, Line, small_line

PROGRAM = Path(__file__).resolve().parents[3] / "docs" / "verify" / "verify.py"
PUBLIC = KEY.public_key()
WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(7, 39)))
WITNESS = Witness("witness.example/w1", WITNESS_KEY.public_key())
# What is told for people and for finding things, and proves nothing.
LABELS = {
    ("about",),
    ("key",),
    ("row", "origin", "source"),
    ("row", "origin", "file"),
    ("row", "origin", "record"),
    ("row", "origin", "decision"),
}
# Runs a program with the standard library and one folder of packages, and nothing else on the path.
BARE = (
    "import runpy, sys; folder, program, *rest = sys.argv[1:]; sys.path.append(folder);"
    "import importlib.util as find;"
    "assert not any(find.find_spec(name) for name in ('assay', 'numpy', 'securesystemslib', 'sqlalchemy'));"
    "sys.argv = [program, *rest]; runpy.run_path(program, run_name='__main__')"
)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A line that ran twice, its newest checkpoint cosigned."""
    folder = tmp_path_factory.mktemp("line")
    made = small_line(f"sqlite:///{folder / 'test.db'}", folder)
    text = open_checkpoint(signed_checkpoint(made.log), PUBLIC).text
    add_cosignatures(made.log, cosign(text, WITNESS.name, WITNESS_KEY, 1_800_000_000), [WITNESS])
    return made


@pytest.fixture(scope="module")
def proofs(line: Line) -> dict[str, dict[str, Any]]:
    """Proofs of an entry, a model and rows, as they come from a file."""
    made = {
        "entry": line.log.prove(0),
        "model": line.log.prove(line.models[1]),
        "row": line.log.prove("people:7", store=line.store),
        "released row": line.log.prove("people:27", store=line.store),
    }
    return {name: json.loads(json.dumps(proof)) for name, proof in made.items()}


@pytest.fixture(scope="module")
def verifier() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("standalone_verify", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cryptography` and what it is built on, and no other package."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            continue
        place = Path(found.origin).parent if found.submodule_search_locations else Path(found.origin)
        (folder / place.name).symlink_to(place)
    return folder


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values in a JSON document."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, (*path, key))
    else:
        yield path


def flips(value: Any) -> list[Any]:
    """Other values of a field: one character changed at the beginning, in the middle and at the end; one more."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1]
    if value is None:
        return [0, ""]
    if not value:
        return ["x"]
    places = {0, len(value) // 2, len(value) - 1}
    return [value[:n] + ("B" if value[n] != "B" else "C") + value[n + 1 :] for n in sorted(places)]


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value at one place."""
    other = copy.deepcopy(document)
    place = other
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return other


def run(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program in a bare interpreter: no environment, no site packages, no code of ours."""
    command = [sys.executable, "-I", "-S", "-c", BARE, str(packages), str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={})


@pytest.mark.parametrize("name", ["entry", "model", "row", "released row"])
def test_a_bare_interpreter_accepts_a_genuine_proof(
    name: str, proofs: dict[str, Any], packages: Path, tmp_path: Path
) -> None:
    """With nothing importable but `cryptography`; it says what was proved, and who cosigned."""
    (tmp_path / "proof.json").write_text(json.dumps(proofs[name]), encoding="utf-8")
    (tmp_path / "key.pem").write_bytes(public_pem(PUBLIC))
    files = [str(tmp_path / "proof.json"), str(tmp_path / "key.pem")]
    done = run(packages, *files, "--witness", WITNESS.vkey)
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.splitlines()
    assert told[0] == "passed"
    assert "cosigned by witness.example/w1 at 1800000000 (seconds since 1970)" in told
    if "row" in name:
        assert any("snapshot-admitted" in text for text in told)
        assert any("the row came with delivery-" in text for text in told)
        assert "  name: 'person 7'" in told or "  name: 'person 27'" in told


def test_a_bare_interpreter_refuses_what_is_changed_or_signed_by_others(
    proofs: dict[str, Any], packages: Path, tmp_path: Path
) -> None:
    """Exit code 1, a plain line on standard error, no traceback; a wrong call is exit code 2."""
    proof, key, other = tmp_path / "proof.json", tmp_path / "key.pem", tmp_path / "other.pem"
    key.write_bytes(public_pem(PUBLIC))
    other.write_bytes(public_pem(OTHER_KEY.public_key()))
    bad = changed(proofs["row"], ("row", "cells", 0, 2), 99)
    stranger = Witness("witness.example/w2", WITNESS.key)
    for content, arguments in (
        (json.dumps(bad), [str(key)]),
        (json.dumps(proofs["row"]), [str(other)]),
        (json.dumps(proofs["row"]), [str(key), "--witness", stranger.vkey]),
        (json.dumps(proofs["row"]), [str(tmp_path / "nothing")]),
        ("no JSON", [str(key)]),
        ("[" * 100_000, [str(key)]),
    ):
        proof.write_text(content, encoding="utf-8")
        done = run(packages, str(proof), *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("failed: ")
        assert "Traceback" not in done.stderr
    assert run(packages, str(proof)).returncode == 2


@pytest.mark.parametrize("name", ["entry", "model", "row", "released row"])
def test_every_field_of_a_proof_counts(name: str, proofs: dict[str, Any], verifier: ModuleType) -> None:
    """Each value changed in turn, in several ways: both verifiers refuse; only labels are free."""
    proof = proofs[name]
    assert verifier.verify(proof, PUBLIC)
    tried = 0
    for path in leaves(proof):
        for value in flips(value_at(proof, path)):
            bad = changed(proof, path, value)
            if path in LABELS:
                assert verifier.verify(bad, PUBLIC)
                continue
            tried += 1
            assert refuses(lambda bad=bad: verifier.verify(bad, PUBLIC)), path
            with pytest.raises(ProofError):
                verify_proof(bad, PUBLIC)
    assert tried >= 15


@pytest.mark.parametrize("name", ["model", "released row"])
def test_every_line_of_a_checkpoint_and_a_path_counts(
    name: str, proofs: dict[str, Any], verifier: ModuleType
) -> None:
    """Each line of each tlog-proof left out, doubled, or changed in one character; witnesses' lines aside."""
    proof = proofs[name]
    for number, item in enumerate(proof["entries"]):
        lines = item["proof"].split("\n")
        ours = [n for n, text in enumerate(lines) if not text.startswith(f"— {WITNESS.name}")]
        for n in ours:
            variants = [lines[:n] + lines[n + 1 :]]
            if lines[n] and not lines[n].startswith("—"):
                variants.append([*lines[: n + 1], *lines[n:]])
            variants += [[*lines[:n], value, *lines[n + 1 :]] for value in flips(lines[n]) if lines[n]]
            for variant in variants:
                bad = changed(proof, ("entries", number, "proof"), "\n".join(variant))
                if "\n".join(variant).rstrip("\n") == item["proof"].rstrip("\n"):
                    continue
                assert refuses(lambda bad=bad: verifier.verify(bad, PUBLIC)), (n, lines[n])
                with pytest.raises(ProofError):
                    verify_proof(bad, PUBLIC)


def test_both_verifiers_read_every_kind_of_cell_alike(verifier: ModuleType) -> None:
    """The stand-alone encoding of cells is the ledger's."""
    from assay.ledger.rows.cells import cell_bytes

    cells: list[tuple[str, Any]] = [
        ("null", None), ("boolean", True), ("integer", -(2**63)), ("unsigned", 2**64 - 1), ("double", 0.1),
        ("double", "nan"), ("double", "inf"), ("double", "-inf"), ("double", 2.0**64), ("time", -1),
        ("nanoseconds", 1), ("text", ""), ("text", "élan"), ("text", "x" * 32), ("text", "x" * 33),
    ]  # fmt: skip
    for kind, value in cells:
        assert verifier.cell(kind, value) == cell_bytes("a", kind, value)


def value_at(document: Any, path: tuple[Any, ...]) -> Any:
    """The value at a place."""
    for key in path:
        document = document[key]
    return document


def refuses(check: Callable[[], object]) -> bool:
    """Whether the stand-alone verifier raises, whatever it raises: the program answers each with exit code 1."""
    try:
        check()
    except Exception:  # noqa: BLE001
        return True
    return False
