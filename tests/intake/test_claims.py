"""What a delivery says about itself, in delivery.json and in the trusted comment."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from assay.intake import ClaimsError
from assay.intake.claims import MAX_NOTE, Claims, read_claims

UTC = dt.UTC


def note(**fields: object) -> bytes:
    return json.dumps({"dataset": "adult", "source": "west", **fields}).encode()


def test_delivery_json_says_for_whom_it_is_and_when_it_was_made() -> None:
    """Other fields are the publisher's business."""
    claims = read_claims(None, note(sequence=7, created="2026-03-01T12:00:00+02:00", licence="CC0"))
    assert claims == Claims("adult", "west", 7, dt.datetime(2026, 3, 1, 10, tzinfo=UTC), None)
    assert claims.date_text == "2026-03-01T10:00:00Z"
    assert claims.ordered


def test_a_date_without_a_zone_is_utc() -> None:
    """Also one without a time of day."""
    assert read_claims(None, note(created="2026-03-01")).date_text == "2026-03-01T00:00:00Z"
    assert read_claims(None, note(created="2026-03-01T08:30:00")).date_text == "2026-03-01T08:30:00Z"


def test_the_trusted_comment_may_say_the_same() -> None:
    """minisign's own comment has the time of signing; more tokens may be added, anything else is passed over."""
    assert (
        read_claims("timestamp:1700000000\tfile:SHA256SUMS\thashed", None).date_text == "2023-11-14T22:13:20Z"
    )
    claims = read_claims("dataset:adult source:west sequence:9 signed with love", None)
    assert (claims.dataset, claims.source, claims.sequence, claims.date) == ("adult", "west", 9, None)


def test_nothing_said_is_nothing_to_order_by() -> None:
    """Neither a comment of words nor a note without number and date tells old from new."""
    assert read_claims(None, None) == Claims()
    assert not read_claims("weekly release", None).ordered
    assert not read_claims(None, note()).ordered


def test_the_date_of_signing_orders_before_that_of_making() -> None:
    """Both are kept."""
    claims = read_claims("timestamp:1700000000", note(created="2020-01-01"))
    assert claims.date == claims.signed
    assert claims.created == dt.datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("comment", ["sequence:8", "dataset:wine", "source:east"])
def test_claims_that_contradict_each_other_are_an_error(comment: str) -> None:
    """Neither of the two is believed."""
    with pytest.raises(ClaimsError, match="contradict"):
        read_claims(comment, note(sequence=7))


@pytest.mark.parametrize(
    "comment",
    [
        "sequence:-1",
        "sequence:1e3",
        "timestamp:now",
        "timestamp:999999999999999999",
        "sequence:1 sequence:2",
        "sequence:9999999999999999999",
        "source:we\x1b[31mst",
    ],
)
def test_a_trusted_comment_with_unclear_numbers_is_an_error(comment: str) -> None:
    """A token that is there and cannot be read is no absent one."""
    with pytest.raises(ClaimsError, match="the trusted comment"):
        read_claims(comment, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"7",
        b"{",
        b"\xff",
        b'\xef\xbb\xbf{"dataset": "adult", "source": "west"}',
        b'{"dataset": "adult"}',
        b'{"dataset": "", "source": "west"}',
        b'{"dataset": 1, "source": "west"}',
        b'{"dataset": "\\u001b[2J", "source": "west"}',
        b'{"dataset": "adult", "source": "west", "dataset": "wine"}',
        b'{"dataset": "adult", "source": "west", "sequence": true}',
        b'{"dataset": "adult", "source": "west", "sequence": "7"}',
        b'{"dataset": "adult", "source": "west", "sequence": 7.0}',
        b'{"dataset": "adult", "source": "west", "sequence": -1}',
        b'{"dataset": "adult", "source": "west", "sequence": 9223372036854775808}',
        b'{"dataset": "adult", "source": "west", "sequence": ' + b"9" * 5000 + b"}",
        b'{"dataset": "adult", "source": "west", "created": "yesterday"}',
        b'{"dataset": "adult", "source": "west", "created": 1700000000}',
        b'{"dataset": "adult", "source": "west", "created": "0001-01-01T00:00:00+14:00"}',
        b'{"dataset": "adult", "source": "west", "x": ' + b"[" * 30_000 + b"}",
        b" " * (MAX_NOTE + 1),
    ],
)
def test_a_delivery_json_that_does_not_say_clearly_what_it_is_is_an_error(data: bytes) -> None:
    """Wrong types, doubled keys, no JSON at all, deep nesting, too long: one kind of error, for people."""
    with pytest.raises(ClaimsError, match=r"delivery\.json") as raised:
        read_claims(None, data)
    assert raised.value.next_step
