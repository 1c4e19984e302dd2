"""Decisions on cases, wherever they are taken: a page, the command line or Airflow's Required Actions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from assay.canonical import canonical_json, sha256_hex
from assay.contract import ContractError, find_contracts, load_contract
from assay.errors import AssayError, UsageError
from assay.line.authors import authors_of
from assay.line.context import Line
from assay.quarantine import CaseView, DecisionMade, SplitMade, show_case
from assay.quarantine import decide_case as decide_in_registry
from assay.quarantine.people import expect_allowed, same
from assay.quarantine.splitting import Rows
from assay.settings import Settings


@dataclass(frozen=True)
class CaseDecision:
    """A decision that was taken, and what the delivery's reviewer does next.

    Attributes:
        made: What the quarantine recorded.
        message: One sentence for the reviewer.
    """

    made: DecisionMade
    message: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        made, split = self.made, self.made.split
        said = next(each for each in made.case.decisions if each.id == made.decision_id)
        return {
            "case": made.case.as_dict(),
            "decision": {
                "id": said.id,
                "action": said.action,
                "reviewer": said.reviewer,
                "reason": said.reason,
                "decided_at": said.decided_at,
            },
            "repeated": made.repeated,
            "approvals": made.approvals,
            "needed": made.needed,
            "split": {"parent": split.parent.id, "chosen": split.chosen.id, "rest": split.rest.id}
            if split
            else None,
            "message": self.message,
        }


def contract_of(dataset: str, settings: Settings | None = None) -> Path:
    """The contract of a data set, in the contracts folder.

    Raises:
        ContractError: Its contract cannot be read.
        UsageError: None of the contracts there is of that data set.
    """
    folder = (settings or Settings.from_env()).contracts_dir
    for path in find_contracts(folder):
        try:
            if load_contract(path).dataset == dataset:
                return path
        except ContractError:
            if path.stem == dataset:
                raise
    raise UsageError(
        f"no contract of the data set {dataset!r} is in {folder}",
        state="nothing was decided",
        next_step="name it with --contract, or set ASSAY_CONTRACTS_DIR",
    )


def decide_case(
    line: Line,
    case_id: str,
    action: str,
    reviewer: str,
    reason: str,
    rows: Rows | None = None,
    via: str = "page",
) -> CaseDecision:
    """Decide a case, or some of its rows, and let its delivery go on if nothing else holds it.

    Args:
        line: The open line.
        case_id: The case, or an unambiguous beginning of its id.
        action: `release` or `reject`.
        reviewer: Who decides.
        reason: Why.
        rows: Row numbers; None, or all of the case's: the case as a whole.
        via: `page`, `cli` or `airflow`.

    Raises:
        CaseUnknown: There is no such case.
        CaseClosed: Others decided it before.
        DecisionForbidden: The terms do not leave the decision to this reviewer.
        DecisionRefused: The reviewer, the reason or the rows will not do.
        UsageError: The case is of another data set.
    """
    from assay.line.review import settle

    case = show_case(line.database, case_id)
    if case.dataset != line.dataset:
        raise UsageError(
            f"case {case.id} is of another data set than the contract",
            expected=case.dataset,
            found=f"{line.dataset} ({line.path})",
            next_step="name the right contract with --contract",
        )
    made = record_decision(line, case, action, reviewer, reason, rows=rows, via=via)
    settle(line)
    return CaseDecision(made, _message(made))


def may_decide(line: Line, case_id: str, reviewer: str) -> tuple[bool, str | None]:
    """Whether a person may release a case now by its terms, and why not.

    Raises:
        CaseUnknown: There is no such case.
    """
    case = show_case(line.database, case_id)
    if (closing := case.closing) is not None:
        return False, f"already {case.status} by {closing.reviewer} at {closing.decided_at}"
    mine = [each for each in case.decisions if same(each.reviewer) == same(reviewer)]
    if any(each.action == "release" for each in mine):
        return False, "you have released it already; another reviewer must agree"
    try:
        expect_allowed(
            case, "release", reviewer, line.contract.review, partial(authors_of, line, case.delivery_id)
        )
    except AssayError as error:
        return False, error.message
    return True, None


def record_decision(
    line: Line,
    case: CaseView,
    action: str,
    reviewer: str,
    reason: str,
    *,
    rows: Rows | None = None,
    via: str = "",
) -> DecisionMade:
    """Decide one case; split, decision and ledger entries are one transaction.

    Raises:
        AssayError: See `assay.quarantine.decide_case`.
    """
    return decide_in_registry(
        line.database,
        case.id,
        action,
        reviewer=reviewer,
        reason=reason,
        rows=rows,
        store=line.store,
        review=line.contract.review,
        authors=partial(authors_of, line, case.delivery_id),
        via=via,
        on_decision=partial(enter_decision, line),
        on_split=partial(enter_split, line),
    )


def enter_decision(line: Line, made: DecisionMade, session: Session) -> None:
    """Enter a decision in the ledger; a repeated one makes the same statement."""
    case = made.case
    said = next(each for each in case.decisions if each.id == made.decision_id)
    about = [case.id, made.action, made.reviewer, made.reason]
    line.record(
        "case-decided",
        [(case.id, case.digest), (made.decision_id, sha256_hex(canonical_json(about)))],
        {
            "case": case.id,
            "kind": case.kind,
            "decision": made.decision_id,
            "delivery": case.delivery_id,
            "action": made.action,
            "reviewer": made.reviewer,
            "reason": made.reason,
            "decided_at": said.decided_at,
            "rows": case.rows,
            "via": said.via or None,
        },
        inputs=[(case.delivery_id, case.manifest_sha256)],
        session=session,
    )


def enter_split(line: Line, made: SplitMade, session: Session) -> None:
    """Enter a split in the ledger: the parent is what it was made from, the parts are what it is about."""
    parent, parts = made.parent, (made.chosen, made.rest)
    about = [parent.id, "split", made.reviewer, made.reason]
    line.record(
        "case-split",
        [
            *((part.id, part.digest) for part in parts),
            (made.decision_id, sha256_hex(canonical_json(about))),
        ],
        {
            "case": parent.id,
            "kind": parent.kind,
            "decision": made.decision_id,
            "delivery": parent.delivery_id,
            "action": "split",
            "reviewer": made.reviewer,
            "reason": made.reason,
            "decided_at": made.decided_at,
            "rows": parent.rows,
            "cases": [{"case": part.id, "kind": part.kind, "rows": part.rows} for part in parts],
            "via": made.via or None,
        },
        inputs=[(parent.id, parent.digest), (parent.delivery_id, parent.manifest_sha256)],
        session=session,
    )


def _message(made: DecisionMade) -> str:
    """What happened, and what is still to be done."""
    case = made.case
    what = f"{case.rows:,} rows" if case.rows else "the delivery as a whole"
    if made.repeated:
        said = f"{made.reviewer} had decided to {made.action} {what} before; nothing changed"
    else:
        said = f"{made.reviewer} decided to {made.action} {what}"
    if case.status == "open":
        more = made.needed - made.approvals
        said += f"; {more} more approval{'s' if more != 1 else ''} by other reviewers needed"
    if made.split is not None and made.split.rest.status == "open":
        said += f"; {made.split.rest.rows:,} rows are left in {made.split.rest.id}"
    return said
