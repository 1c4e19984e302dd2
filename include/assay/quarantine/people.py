"""Who may decide: names as people write them, and the terms that a decision stands under."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

from assay.contract import Review
from assay.quarantine.cases import CaseView
from assay.quarantine.errors import DecisionForbidden, DecisionRefused

TIMEOUT = "timeout"
"""The reviewer's name under which silence decides; it can reject, never release."""

Authors = Callable[[], frozenset[str] | None]
"""Asked for the names of those who changed the contract; None where they are not known."""

_MAX_REASON = 4_000


def same(name: str) -> str:
    """What makes two spellings of a name one person."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def clean_reviewer(reviewer: str) -> str:
    """A reviewer's name as it is recorded.

    Raises:
        DecisionRefused: It is empty, too long, or cannot be printed.
    """
    name = " ".join(unicodedata.normalize("NFKC", reviewer).split())
    if not name or len(name) > 128 or not name.isprintable():
        raise DecisionRefused(
            "a decision needs a reviewer",
            expected="a name of 1 to 128 printable characters",
            found=ascii(reviewer[:128]),
            next_step="name yourself with --reviewer",
        )
    return name


def clean_reason(reason: str) -> str:
    """A reason as it is recorded, without what a terminal would obey instead of show.

    Raises:
        DecisionRefused: It says nothing, or too much.
    """
    text = "".join(each if each.isprintable() or each == "\n" else " " for each in reason).strip()
    if not text:
        raise DecisionRefused(
            "a decision needs a reason", state="the case stays as it is", next_step="say why with --reason"
        )
    if len(text) > _MAX_REASON:
        raise DecisionRefused(
            f"the reason is longer than {_MAX_REASON} characters", found=f"{len(text)} characters"
        )
    return text


def expect_no_silence(action: str, reviewer: str, what: str = "a case") -> None:
    """Refuse an approval in the name of silence.

    Raises:
        DecisionRefused: That is what it is.
    """
    if action != "reject" and same(reviewer) == TIMEOUT:
        raise DecisionRefused(
            f"silence cannot {action} {what}",
            expected="a person's name as the reviewer",
            found=reviewer,
            state="it stays as it is",
            next_step="decide it yourself with `assay cases release` or `assay cases reject`",
        )


def is_reviewer(reviewer: str, *lists: Iterable[str]) -> bool:
    """Whether a name stands in each list that names anybody."""
    named = [{same(each) for each in names} for names in lists]
    return all(same(reviewer) in names for names in named if names)


def expect_reviewer(reviewer: str, *lists: Iterable[str], what: str) -> None:
    """Refuse whoever is not among those who may decide.

    Raises:
        DecisionForbidden: The name is not in one of the lists.
    """
    if not is_reviewer(reviewer, *lists):
        raise DecisionForbidden(
            f"{reviewer} is not one of those who may decide on {what}",
            expected="one of " + " and one of ".join(", ".join(names) for names in lists if names),
            found=reviewer,
            state="nothing was decided",
            next_step="ask one of them, or change review.reviewers in the contract",
        )


def expect_other_author(reviewer: str, authors: Authors | None, *, what: str) -> None:
    """Refuse whoever changed the contract under which something was judged, and everybody where that is not known.

    Raises:
        DecisionForbidden: The reviewer is one of the authors, or nobody knows who they are (`not_checked`).
    """
    known = authors() if authors is not None else None
    if known is None:
        raise DecisionForbidden(
            f"not_checked: nobody is recorded as the author of the contract that {what} was judged under",
            expected="a recorded author, for review.no_self_approval is on",
            state="nothing was decided",
            next_step="who changed the contract says so with `assay contract record FILE --by NAME`; "
            "rejecting needs no author",
        )
    if same(reviewer) in {same(name) for name in known}:
        raise DecisionForbidden(
            f"{reviewer} changed the contract that {what} was judged under, and may not approve it",
            expected="a reviewer who did not change the contract, for review.no_self_approval is on",
            found=reviewer,
            state="nothing was decided",
            next_step="ask another reviewer; you may still reject it",
        )


def expect_allowed(
    case: CaseView, action: str, reviewer: str, review: Review | None, authors: Authors | None
) -> None:
    """Refuse a decision that the case's terms, or those of today, do not leave to this reviewer.

    Raises:
        DecisionForbidden: See `expect_reviewer` and `expect_other_author`.
    """
    if same(reviewer) == TIMEOUT:
        return
    what = f"the case {case.id}"
    expect_reviewer(reviewer, case.reviewers, review.reviewers if review else (), what=what)
    strict = case.no_self_approval or (review is not None and review.no_self_approval)
    if strict and action == "release":
        expect_other_author(reviewer, authors, what=what)
