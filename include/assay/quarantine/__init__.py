"""The quarantine: cases with evidence, their rows under seal, and decisions that are never changed."""

from assay.quarantine.cases import (
    CaseView,
    DecisionView,
    case_numbers,
    case_rows,
    list_cases,
    open_case,
    show_case,
)
from assay.quarantine.closing import where
from assay.quarantine.decisions import DecisionMade, decide_case, expire_case
from assay.quarantine.errors import CaseClosed, CaseUnknown, DecisionForbidden, DecisionRefused
from assay.quarantine.people import TIMEOUT
from assay.quarantine.splitting import SplitMade, split_case

__all__ = [
    "TIMEOUT",
    "CaseClosed",
    "CaseUnknown",
    "CaseView",
    "DecisionForbidden",
    "DecisionMade",
    "DecisionRefused",
    "DecisionView",
    "SplitMade",
    "case_numbers",
    "case_rows",
    "decide_case",
    "expire_case",
    "list_cases",
    "open_case",
    "show_case",
    "split_case",
    "where",
]
