"""What became of a case: who was first, in words for whoever comes second."""

from __future__ import annotations

from typing import NoReturn

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.canonical import utc_now
from assay.db import Case, Decision
from assay.quarantine.cases import views
from assay.quarantine.errors import CaseClosed

_WHERE = {
    "page": " on the case's page",
    "cli": " on the command line",
    "airflow": " in Airflow's Required Actions",
}


def where(via: str) -> str:
    """Where a decision was taken, to follow a name; empty where nobody said."""
    return _WHERE.get(via, "")


def after_others(session: Session, case_id: str) -> str:
    """The time now, and never before an earlier decision on the case, whatever the clocks of the machines say."""
    others = session.scalars(select(Decision.decided_at).where(Decision.case_id == case_id)).all()
    return max([utc_now(), *others])


def refuse_closed(session: Session, case: Case) -> NoReturn:
    """Say who decided or split a case before.

    Raises:
        CaseClosed: Always.
    """
    view = views(session, [case])[0]
    closing = view.closing
    assert closing is not None, "a closed case carries the decision that closed it"
    split = view.status == "split"
    what = "was split" if split else f"was {view.status}"
    raise CaseClosed(
        f"case {view.id} {what} before: already {'split' if split else 'decided'} by {closing.reviewer}"
        f"{where(closing.via)}",
        by=closing.reviewer,
        action=closing.action,
        at=closing.decided_at,
        children=view.children,
        expected="an open case",
        found=f"{closing.reviewer} decided to {closing.action} it at {closing.decided_at}: {closing.reason}",
        state="nothing was changed; decisions stand",
        next_step=f"decide its parts: {', '.join(view.children)}"
        if split
        else "if that decision was wrong, have the rows delivered anew",
    )
