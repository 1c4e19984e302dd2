"""JSON from strangers: one meaning, or none."""

from __future__ import annotations

import pytest

from assay.strictjson import MAX_DEPTH, strict_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, 2.5, null, true, "\xc3\xa9"]}', {"a": [1, 2.5, None, True, "é"]}),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b" 1e308 ", 1e308),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
    ],
)
def test_what_has_one_meaning_is_read(text: bytes, value: object) -> None:
    """Plain JSON, whole pairs of surrogates, and as many levels as are allowed."""
    read = strict_json(text)
    assert value is None or read == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "'a' stands twice"),
        (b"[NaN]", "NaN is no JSON number"),
        (b"[-Infinity]", "-Infinity is no JSON number"),
        (b"1e999", "too large a number"),
        (b"-1e999", "too large a number"),
        (b'"\\ud800"', "surrogates not allowed"),
        (b"\xff", "invalid start byte"),
        ('{"a": 1}'.encode("utf-16"), "invalid start byte"),
        (b"{} {}", "Extra data"),
        (b"", "Expecting value"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested too deeply"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_readers_could_differ_about_is_refused(text: bytes, said: str) -> None:
    """Repeated keys, numbers that are none, halves of characters, other encodings, and depth without end."""
    with pytest.raises(ValueError, match=said):
        strict_json(text)


def test_the_depth_can_be_lowered() -> None:
    """The contract's bounds say how deep the pages of an interface may be."""
    assert strict_json(b"[[1]]", depth=2) == [[1]]
    with pytest.raises(ValueError, match="nested too deeply"):
        strict_json(b"[[1]]", depth=1)
