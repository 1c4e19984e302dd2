"""The line: every station from a source to a champion, as plain functions of one contract.

Each station can be killed at any point and run again: it does what is missing, and enters nothing twice. Names are
loaded when they are first used, so that a task pays only for the libraries of its own station.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.line.admission import admit
    from assay.line.context import Line
    from assay.line.errors import (
        ChallengerRefused,
        DeliveryNotProved,
        DeliveryRejected,
        NoSnapshot,
        RunInterrupted,
        RunNotTried,
        RunStopped,
        SnapshotConflict,
        Undecided,
    )
    from assay.line.inspect import screen, validate
    from assay.line.intake import land, verdicts
    from assay.line.judging import judge, load_model, promote, promote_as, roll_back
    from assay.line.rescreen import penultimate, screen_run
    from assay.line.review import decide, record_decision, settle
    from assay.line.runs import row_losses
    from assay.line.training import train, train_apart, train_table

_HOMES = {
    "admission": ("admit",),
    "context": ("Line",),
    "errors": (
        "ChallengerRefused",
        "DeliveryNotProved",
        "DeliveryRejected",
        "NoSnapshot",
        "RunInterrupted",
        "RunNotTried",
        "RunStopped",
        "SnapshotConflict",
        "Undecided",
    ),
    "inspect": ("screen", "validate"),
    "intake": ("land", "verdicts"),
    "review": ("decide", "record_decision", "settle"),
    "judging": ("judge", "load_model", "promote", "promote_as", "roll_back"),
    "rescreen": ("penultimate", "screen_run"),
    "runs": ("row_losses",),
    "training": ("train", "train_apart", "train_table"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ChallengerRefused",
    "DeliveryNotProved",
    "DeliveryRejected",
    "Line",
    "NoSnapshot",
    "RunInterrupted",
    "RunNotTried",
    "RunStopped",
    "SnapshotConflict",
    "Undecided",
    "admit",
    "decide",
    "judge",
    "land",
    "load_model",
    "penultimate",
    "promote",
    "promote_as",
    "record_decision",
    "roll_back",
    "row_losses",
    "screen",
    "screen_run",
    "settle",
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
