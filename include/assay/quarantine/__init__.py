"""The quarantine: cases with evidence, their rows under seal, and decisions that are never changed."""

from assay.quarantine.cases import CaseView, DecisionView, case_rows, list_cases, open_case, show_case
from assay.quarantine.decisions import TIMEOUT, DecisionMade, decide_case, expire_case
from assay.quarantine.errors import CaseClosed, CaseUnknown, DecisionRefused

__all__ = [
    "TIMEOUT",
    "CaseClosed",
    "CaseUnknown",
    "CaseView",
    "DecisionMade",
    "DecisionRefused",
    "DecisionView",
    "case_rows",
    "decide_case",
    "expire_case",
    "list_cases",
    "open_case",
    "show_case",
]
