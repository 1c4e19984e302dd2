"""The line: every station from a source to a champion, as plain functions of one contract.

Each station can be killed at any point and run again: it does what is missing, and enters nothing twice. Names are
loaded when they are first used, so that a task pays only for the libraries of its own station.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.line.admission import admit
    from assay.line.approving import (
        answer_model,
        approve_model,
        may_promote,
        model_state,
        promote,
        refuse_model,
    )
    from assay.line.authors import authors_of, record_contract
    from assay.line.context import Line
    from assay.line.decisions import CaseDecision, contract_of, decide_case, may_decide, record_decision
    from assay.line.errors import (
        ChallengerRefused,
        DeliveryNotProved,
        DeliveryRejected,
        ModelDecided,
        NoSnapshot,
        RunInterrupted,
        RunNotTried,
        RunStopped,
        SnapshotConflict,
        Undecided,
    )
    from assay.line.inspect import screen, validate
    from assay.line.intake import land, verdicts
    from assay.line.judging import judge, load_model, promote_as, roll_back
    from assay.line.rescreen import penultimate, screen_run
    from assay.line.review import answer_delivery, decide, settle, settled
    from assay.line.runs import row_losses
    from assay.line.training import train, train_apart, train_table

_HOMES = {
    "admission": ("admit",),
    "approving": ("answer_model", "approve_model", "may_promote", "model_state", "promote", "refuse_model"),
    "authors": ("authors_of", "record_contract"),
    "context": ("Line",),
    "decisions": ("CaseDecision", "contract_of", "decide_case", "may_decide", "record_decision"),
    "errors": (
        "ChallengerRefused",
        "DeliveryNotProved",
        "DeliveryRejected",
        "ModelDecided",
        "NoSnapshot",
        "RunInterrupted",
        "RunNotTried",
        "RunStopped",
        "SnapshotConflict",
        "Undecided",
    ),
    "inspect": ("screen", "validate"),
    "intake": ("land", "verdicts"),
    "review": ("answer_delivery", "decide", "settle", "settled"),
    "judging": ("judge", "load_model", "promote_as", "roll_back"),
    "rescreen": ("penultimate", "screen_run"),
    "runs": ("row_losses",),
    "training": ("train", "train_apart", "train_table"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "CaseDecision",
    "ChallengerRefused",
    "DeliveryNotProved",
    "DeliveryRejected",
    "Line",
    "ModelDecided",
    "NoSnapshot",
    "RunInterrupted",
    "RunNotTried",
    "RunStopped",
    "SnapshotConflict",
    "Undecided",
    "admit",
    "answer_delivery",
    "answer_model",
    "approve_model",
    "authors_of",
    "contract_of",
    "decide",
    "decide_case",
    "judge",
    "land",
    "load_model",
    "may_decide",
    "may_promote",
    "model_state",
    "penultimate",
    "promote",
    "promote_as",
    "record_contract",
    "record_decision",
    "refuse_model",
    "roll_back",
    "row_losses",
    "screen",
    "screen_run",
    "settle",
    "settled",
    "train",
    "train_apart",
    "train_table",
    "validate",
    "verdicts",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
