"""Reading checksum manifests."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.intake import Digest, ManifestError, parse_manifest

A = "a" * 64
B = "b" * 64


def test_both_line_forms_are_read_in_the_order_of_the_manifest() -> None:
    """GNU text and binary mode and the BSD tag form may stand together."""
    text = f"{B}  two.csv\n{A} *one.csv\nSHA256 (three (3).csv) = {A}\nSHA512 (four.csv) = {'c' * 128}\n"
    assert list(parse_manifest(text.encode()).items()) == [
        ("two.csv", Digest("sha256", B)),
        ("one.csv", Digest("sha256", A)),
        ("three (3).csv", Digest("sha256", A)),
        ("four.csv", Digest("sha512", "c" * 128)),
    ]


def test_digits_may_be_upper_case_and_a_leading_dot_slash_means_nothing() -> None:
    """`find -exec sha256sum` writes ./name, PowerShell upper case."""
    assert parse_manifest(f"{'AB' * 32}  ./part/x.csv\n".encode()) == {
        "part/x.csv": Digest("sha256", "ab" * 32)
    }


@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
def test_weak_digests_are_read_and_known_as_weak(algorithm: str) -> None:
    """They are no garbage, but they prove little."""
    digits = hashlib.new(algorithm, b"x", usedforsecurity=False).hexdigest()
    assert parse_manifest(f"{digits}  x.csv\n".encode())["x.csv"].weak
    assert parse_manifest(f"{algorithm.upper()} (x.csv) = {digits}\n".encode())["x.csv"].weak


def test_line_ends_may_be_crlf_throughout() -> None:
    """As coreutils reads them: no name ends in a carriage return."""
    plain = parse_manifest(f"{A}  one.csv\n{B}  two.csv\n".encode())
    assert parse_manifest(f"{A}  one.csv\r\n{B}  two.csv\r\n".encode()) == plain
    assert parse_manifest(f"{A}  one.csv\r\n{B}  two.csv".encode()) == plain


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "is empty"),
        ("\n\n", None, "is empty"),
        ("\ufeff", None, "is empty"),
        (f"\ufeff{A}  one.csv\n", 1, "byte order mark"),
        (f"{A}  one.csv\n\n{B}  two.csv\n", 2, "is not understood"),
        (f"# comment\n{A}  one.csv\n", 1, "is not understood"),
        (f"{A} one.csv\n", 1, "is not understood"),
        (f"{A}\tone.csv\n", 1, "is not understood"),
        (f"{A}  \n", 1, "is not understood"),
        (f"{A[:-1]}  one.csv\n", 1, "unknown algorithm"),
        (f"{'a' * 56}  one.csv\n", 1, "unknown algorithm"),
        (f"{'a' * 96}  one.csv\n", 1, "unknown algorithm"),
        (f"SHA3-256 (one.csv) = {A}\n", 1, "uses the algorithm SHA3-256"),
        (f"BLAKE2bp (one.csv) = {'a' * 128}\n", 1, "uses the algorithm BLAKE2bp"),
        (f"{'a' * 128}  one.csv\n", 1, "may be sha512 or blake2b"),
        (f"SHA256 (one.csv) = {'a' * 40}\n", 1, "wrong length"),
        (f"SHA256(one.csv)= {A}\n", 1, "is not understood"),
        (f"{A}  one.csv\n{A}  one.csv\n", 2, "a second time"),
        (f"{A}  one.csv\n{B}  ./one.csv\n", 2, "a second time"),
        (f"{A}  caf\u00e9.csv\n{B}  cafe\u0301.csv\n", 2, "a second time"),
        (f"{A}  ../one.csv\n", 1, "leaves the delivery"),
        (f"{A}  part/../../one.csv\n", 1, "leaves the delivery"),
        (f"{A}  part/..\n", 1, "leaves the delivery"),
        (f"{A}  /etc/passwd\n", 1, "absolute"),
        (f"{A}  .//etc/passwd\n", 1, "absolute"),
        (f"{A}  C:/data.csv\n", 1, "absolute"),
        (f"{A}  part\\one.csv\n", 1, "backslash"),
        (f"\\{A}  one\\nline.csv\n", 1, "escaped"),
        (f"{A}  a//b.csv\n", 1, "several ways"),
        (f"{A}  a/./b.csv\n", 1, "several ways"),
        (f"{A}  folder/\n", 1, "several ways"),
        (f"{A}   one.csv\n", 1, "several ways"),
        (f"{A}  one.csv \n", 1, "several ways"),
        (f"{A}  one\u200b.csv\n", 1, "control characters"),
        (f"{A}  one\u202ecsv.exe\n", 1, "control characters"),
        (f"{A}  one.csv\r{B}  two.csv\n", 1, "control characters"),
        (f"{A}  SHA256SUMS\n", 1, "itself"),
        (f"{A}  {'x' * 256}\n", 1, "too long"),
        (f"{A}  {'x/' * 300}x\n", 1, "too long"),
        (f"{A}  {'x' * 5000}\n", 1, "too long"),
        (f"{A}  one.csv\r\n{B}  two.csv\n", 2, "ends otherwise"),
        (f"{A}  one.csv\n{B}  two.csv\r\n", 2, "ends otherwise"),
        (f"{A}  one.csv\r", 1, "ends otherwise"),
        (f"{A}  one\0.csv\n", 1, "NUL"),
    ],
)
def test_a_line_that_is_not_understood_fails_the_manifest_and_is_named(
    text: str, line: int | None, says: str
) -> None:
    """Nothing is skipped: the error says which line, and what is wrong with it."""
    with pytest.raises(ManifestError, match=says) as raised:
        parse_manifest(text.encode())
    assert raised.value.line == line
    assert raised.value.next_step


def test_bytes_that_are_no_utf8_text_fail_the_manifest() -> None:
    """Latin-1 names and UTF-16 files, as some shells write them, are told apart from text."""
    with pytest.raises(ManifestError, match=r"line 2: is not UTF-8"):
        parse_manifest(f"{A}  one.csv\n{B}  ".encode() + b"caf\xe9.csv\n")
    with pytest.raises(ManifestError, match="NUL"):
        parse_manifest(f"{A}  one.csv\n".encode("utf-16-le"))


def test_more_files_than_the_contract_allows_fail_the_manifest() -> None:
    """The bound is named, with the setting that raises it."""
    text = "".join(f"{A}  {number}.csv\n" for number in range(4)).encode()
    assert len(parse_manifest(text, max_files=4)) == 4
    with pytest.raises(ManifestError, match="too many") as raised:
        parse_manifest(text, max_files=3)
    assert "bounds.max_files" in str(raised.value)


def test_what_coreutils_writes_is_read(tmp_path: Path) -> None:
    """Names with blanks, brackets, signs and letters of other scripts, in both of its forms."""
    names = ["a b.csv", "b (1).csv", "*star.csv", "-dash.csv", "données.csv", "数据.csv"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    expected = {name: Digest("sha256", hashlib.sha256(name.encode()).hexdigest()) for name in names}
    for option in ([], ["--binary"], ["--tag"]):
        made = subprocess.run(
            ["sha256sum", *option, "--", *names], cwd=tmp_path, capture_output=True, check=True
        ).stdout
        assert parse_manifest(made) == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_either_a_manifest_or_a_manifest_error(data: bytes) -> None:
    """No other exception gets out, and no path that leaves the delivery gets in."""
    try:
        entries = parse_manifest(data)
    except ManifestError:
        return
    assert entries
    assert all(".." not in path.split("/") and not path.startswith("/") for path in entries)


@given(st.text(alphabet="./\\ ab\r\x00:é", min_size=1, max_size=12))
def test_any_path_is_either_refused_or_stays_inside(path: str) -> None:
    """Whatever is made of dots, slashes and blanks."""
    try:
        (read,) = parse_manifest(f"{A}  {path}\n".encode())
    except ManifestError:
        return
    assert Path("/base", read).resolve() == Path("/base") / read
    assert Path("/base", read).is_relative_to("/base")
