"""Reading contracts from files, and writing them back."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from assay.contract import (
    ContractError,
    add_key,
    dump_contract,
    find_contracts,
    load_contract,
    parse_contract,
    revoke_key,
)
from assay.contract.yamlfile import MAX_BYTES
from assay.errors import Terminal
from tests.contract.examples import DESIGN, ED25519, MINISIGN, plain, text

SIGNED = plain(sources=[{"id": "west", "publisher": "census", "uri": "https://x/", "signature": "s.minisig"}])


def write(folder: Path, content: str | bytes, name: str = "adult.yaml") -> Path:
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    return path


def refused(path: Path) -> ContractError:
    with pytest.raises(ContractError) as caught:
        load_contract(path)
    assert isinstance(caught.value, Terminal)
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    return caught.value


def test_a_contract_knows_the_file_that_it_came_from(tmp_path: Path) -> None:
    """Relative addresses in it start there, wherever the process runs."""
    contract = load_contract(write(tmp_path, DESIGN))
    assert contract.path == tmp_path / "adult.yaml"
    for uri in ("file://trusted.parquet", "trusted.parquet", "./trusted.parquet"):
        assert contract.locate(uri) == str(tmp_path / "trusted.parquet")
    assert contract.locate("file:///data/a%20b.parquet") == "/data/a b.parquet"
    assert contract.locate("/data/t.parquet") == "/data/t.parquet"
    assert contract.locate("s3://bucket/t.parquet") == "s3://bucket/t.parquet"
    assert parse_contract(DESIGN).locate("t.parquet") == str(Path.cwd() / "t.parquet")


def test_what_is_written_reads_as_an_equal_contract(tmp_path: Path) -> None:
    """With its defaults left out and its notes as comments."""
    first = parse_contract(DESIGN)
    written = dump_contract(first, ["a note\nof two lines"])
    assert parse_contract(written).digest == first.digest
    lines = written.splitlines()
    assert lines[0] == "# yaml-language-server: $schema=contract.schema.json"
    assert lines[1:3] == ["# a note", "# of two lines"]
    assert "  timeout: 3d" not in lines  # the default
    assert dump_contract(parse_contract(written)) == dump_contract(first)


def test_the_line_of_each_problem_is_given(tmp_path: Path) -> None:
    """Several problems come in the order of the file."""
    path = write(
        tmp_path,
        "version: 1\ndataset: adult\nschema:\n  columns:\n    age:\n      type: integr\n      mim: 3\nreview:\n"
        "  timeout: soon\n",
    )
    error = refused(path)
    assert [(each["line"], each["field"]) for each in error.problems] == [
        (6, "schema.columns.age.type"),
        (7, "schema.columns.age.mim"),
        (9, "review.timeout"),
    ]
    assert "3 problems" in error.message
    assert "line 6: schema.columns.age.type = 'integr'" in str(error)
    assert "fix: did you mean `integer`?" in str(error)


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("version: 1\nversion: 1\n", 2, "the key 'version' stands twice, also in line 1"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", 4, "the key 'b' stands twice"),
        ("a: [1, 2\n", 2, "not YAML"),
        ("a: b: c\n", 1, "not YAML"),
        ("a: !!python/object:os.system {}\n", 1, "not YAML"),
        ("a: \x01\n", None, "character"),
        ("a: 2026-02-30\n", None, "cannot be read"),
        (b"a: \xff\xfe\n", 1, "not UTF-8"),
        ("- " * 40 + "a\n", 1, "nested deeper"),
        ("[" * 100_000, None, "nested deeper"),
        ("a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
        ), None, "more than"),
        ("# " + "x" * MAX_BYTES, None, "larger than"),
        ("", None, "found nothing"),
        ("- a\n", None, "found a list"),
        ("just text\n", None, "found a str"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_contract_is_answered_with_what_is_wrong(
    tmp_path: Path, content: str | bytes, line: int | None, problem: str
) -> None:
    """Without a traceback, without running anything, and in bounded time and memory."""
    error = refused(write(tmp_path, content))
    (found,) = error.problems
    assert problem in found["problem"]
    if line is not None:
        assert found["line"] == line


def test_the_schema_has_one_name(tmp_path: Path) -> None:
    """Python's name of the field is no second spelling."""
    error = refused(write(tmp_path, text(plain()).replace("schema:", "schema_:")))
    assert error.problems[0]["fix"] == "did you mean `schema`?"


def test_aliases_and_merged_keys_are_welcome(tmp_path: Path) -> None:
    """They keep long contracts short, and a merged key that is overridden stands there once."""
    path = write(
        tmp_path,
        "version: 1\ndataset: a\nschema:\n  columns:\n    x: &number {type: number, min: 0}\n"
        "    y: {<<: *number, min: 1}\n    z: *number\n",
    )
    columns = load_contract(path).schema_.columns
    assert [columns[name].min for name in "xyz"] == [0, 1, 0]


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    """Some editors write one."""
    assert load_contract(write(tmp_path, b"\xef\xbb\xbf" + text(plain()).encode())).dataset == "adult"


def test_contracts_are_the_yaml_files_directly_in_a_folder(tmp_path: Path) -> None:
    """Publishers' files, hidden files and other things are none."""
    for name in ("b.yaml", "a.yml", ".hidden.yaml", "contract.schema.json", "README.md"):
        write(tmp_path, "", name)
    (tmp_path / "publishers").mkdir()
    write(tmp_path / "publishers", "", "census.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert [path.name for path in find_contracts(tmp_path)] == ["a.yml", "b.yaml"]
    assert find_contracts(tmp_path / "nowhere") == []


def test_a_publishers_keys_may_stand_beside_the_contract(tmp_path: Path) -> None:
    """A publisher that only a source names is found there too, and the digest covers the keys."""
    path = write(tmp_path, text({**SIGNED, "publishers": [{"id": "census"}]}))
    bare = load_contract(path)
    add_key(path, "census", format="minisign", public_key=MINISIGN)
    contract = load_contract(path)
    assert [key.id for key in contract.publisher("census").keys] == ["minisign:E7620F1842B4E81F"]
    assert contract.digest != bare.digest
    only_named = load_contract(write(tmp_path, text(SIGNED), "other.yaml"))
    assert only_named.publisher("census").keys == contract.publisher("census").keys
    assert [publisher.id for publisher in only_named.publishers] == ["census"]


def test_a_revocation_in_either_place_counts(tmp_path: Path) -> None:
    """So do the stricter dates: nobody gains time by listing a key a second time."""
    key = {
        "format": "ed25519",
        "public_key": ED25519,
        "valid_from": "2026-01-01",
        "valid_until": "2026-12-31",
    }
    path = write(tmp_path, text({**SIGNED, "publishers": [{"id": "census", "keys": [key]}]}))
    add_key(
        path,
        "census",
        format="ed25519",
        public_key=ED25519,
        valid_from=dt.date(2025, 1, 1),
        valid_until=dt.date(2026, 6, 30),
    )
    (merged,) = load_contract(path).publisher("census").keys
    assert (merged.valid_from, merged.valid_until, merged.revoked) == (
        dt.date(2026, 1, 1),
        dt.date(2026, 6, 30),
        None,
    )
    revoke_key(path, "census", merged.id, on=dt.date(2026, 3, 1), reason="laptop stolen")
    (merged,) = load_contract(path).publisher("census").keys
    assert (merged.revoked, merged.revoked_reason) == (dt.date(2026, 3, 1), "laptop stolen")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("id: someone\n", "is not the file's name"),
        ("id: census\nkeys: [{format: minisign, public_key: RWx}]\n", "not base64"),
        ("id: census\nid: census\n", "stands twice"),
        ("", "valid dictionary|keys of its own"),
    ],
)
def test_a_damaged_publishers_file_is_named(tmp_path: Path, content: str, problem: str) -> None:
    """Trusting nobody quietly would look like a forged delivery later."""
    path = write(tmp_path, text(SIGNED))
    (tmp_path / "publishers").mkdir()
    file = write(tmp_path / "publishers", content, "census.yaml")
    with pytest.raises(ContractError) as caught:
        load_contract(path)
    assert str(file) in str(caught.value)
    assert re.search(problem, str(caught.value))


def test_a_publishers_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    """Names are used in paths, so only plain ones are looked up."""
    write(tmp_path, "id: secret\n", "secret.yaml")
    inside = tmp_path / "contracts"
    inside.mkdir()
    bad = {**SIGNED, "publishers": [{"id": "../../secret"}]}
    error = refused(write(inside, text(bad)))
    assert any(each["field"] == "publishers[0].id" for each in error.problems)


def test_a_missing_file_is_the_systems_own_error(tmp_path: Path) -> None:
    """The command line turns it into a message."""
    with pytest.raises(FileNotFoundError):
        load_contract(tmp_path / "nowhere.yaml")
