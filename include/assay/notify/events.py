"""What is news: a rejected delivery, a new case, a failed curve, a failed gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from assay.ledger import Statement

_LONGEST = 2_000
_TITLE = 160


@dataclass(frozen=True)
class Event:
    """Something to tell people of.

    Attributes:
        name: One of `EVENTS`.
        statement_id: The statement that tells it; once for each, nobody is told twice.
        position: Its entry in the ledger.
        dataset: Its data set.
        title: One line.
        text: Plain text, bounded; what came from data is in it as text.
        page: Where to look, relative to Assay's pages.
    """

    name: str
    statement_id: str
    position: int
    dataset: str
    title: str
    text: str
    page: str


Told = tuple[str, str, str, str] | None
"""Name, title, text and page of an event; None for a statement that is no news."""


def event_of(statement: Statement, position: int) -> Event | None:
    """The news in a statement; None if there is none."""
    facts = statement.predicate
    teller = _TELLERS.get(statement.step)
    told = None if teller is None else teller(facts)
    if told is None:
        return None
    name, title, text, page = told
    dataset = _plain(str(facts.get("dataset", "")))
    return Event(
        name, statement.id, position, dataset, _plain(f"{dataset}: {title}")[:_TITLE], _shown(text), page
    )


def _verified(facts: Mapping[str, Any]) -> Told:
    if facts.get("verdict") != "reject":
        return None
    source = str(facts.get("source", ""))
    return _rejected(facts, f" of {source}" if source else "", _failures(facts))


def _validated(facts: Mapping[str, Any]) -> Told:
    return _rejected(facts, "", _failures(facts)) if facts.get("verdict") == "reject" else None


def _decided(facts: Mapping[str, Any]) -> Told:
    if facts.get("verdict") != "reject":
        return None
    return _rejected(facts, "", ["a reviewer, or the end of the review's time, decided so"])


def _rejected(facts: Mapping[str, Any], whose: str, why: list[str]) -> Told:
    delivery = str(facts["delivery"])
    text = "\n".join([f"Delivery {delivery} was rejected.", *(f"- {each}" for each in why)])
    return "delivery-rejected", f"a delivery{whose} was rejected", text, f"delivery/{delivery}"


def _screened(facts: Mapping[str, Any]) -> Told:
    cases = list(facts.get("cases") or ())
    if not cases:
        return None
    delivery, held = str(facts["delivery"]), facts.get("verdict") == "hold"
    rows = sum(int(case.get("rows", 0)) for case in cases)
    lines = [
        f"Delivery {delivery}: {rows:,} rows wait for a decision.",
        *(f"- {case.get('case')}: {case.get('kind')}, {int(case.get('rows', 0)):,} rows" for case in cases),
        *(f"- held: {why}" for why in facts.get("why") or ()),
    ]
    title = "a delivery is held" if held else f"{len(cases)} new case{'s' if len(cases) != 1 else ''}"
    page = f"delivery/{delivery}" if held or len(cases) > 1 else f"case/{cases[0].get('case')}"
    return "case-opened", f"{title}, {rows:,} rows", "\n".join(lines), page


def _curve(facts: Mapping[str, Any]) -> Told:
    if facts.get("outcome") != "failed":
        return None
    run = str(facts["run"])
    text = "\n".join([f"Run {run} failed its curve checks.", *(f"- {each}" for each in _failures(facts))])
    return "curve-failed", "a training failed its curve checks", text, f"run/{run}"


def _gates(facts: Mapping[str, Any]) -> Told:
    if facts.get("passed") is not False:
        return None
    model = str(facts["model"])
    text = "\n".join(
        [
            f"The challenger {model} is refused; the champion is unchanged.",
            *(f"- {each}" for each in _failures(facts, also="not_checked")),
        ]
    )
    return "gate-failed", "a challenger did not pass its gates", text, f"model/{model}"


def _failures(facts: Mapping[str, Any], *, also: str = "failed") -> list[str]:
    wanted = {"failed", also}
    return [
        f"{check.get('check')}: {check.get('outcome')} ({check.get('message')})"
        for check in facts.get("checks") or ()
        if check.get("outcome") in wanted
    ][:20]


def _plain(text: str) -> str:
    """Text for one line: nothing in it starts another header or a terminal's command."""
    return "".join(each if each.isprintable() else " " for each in text)


def _shown(text: str) -> str:
    shown = "\n".join(_plain(line) for line in text.splitlines())
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


_TELLERS: Mapping[str, Callable[[Mapping[str, Any]], Told]] = {
    "delivery-verified": _verified,
    "delivery-validated": _validated,
    "delivery-decided": _decided,
    "delivery-screened": _screened,
    "curve-checked": _curve,
    "gates-judged": _gates,
}
STEPS = tuple(_TELLERS)
"""Steps of the ledger that may be news."""
EVENTS = ("delivery-rejected", "case-opened", "curve-failed", "gate-failed")
"""Names of events, as `ASSAY_NOTIFY_EVENTS` takes them."""
