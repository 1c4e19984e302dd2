"""A model's dossier: what it was trained on and who allowed it, under the headings of the EU AI Act's Article 10.

It is made from verified statements alone. What the ledger does not know, the dossier says it does not know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from assay.ledger.exports.history import History, Told, canonical_name

_LISTED = 200
_CHANGES = ("model-promoted", "model-rolled-back")


@dataclass(frozen=True)
class Grid:
    """A table: names of its columns, and rows of text."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """One heading with what stands under it: sentences, then tables."""

    heading: str
    text: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()


@dataclass(frozen=True)
class Dossier:
    """Everything that is printed, in order; all of it plain text.

    Attributes:
        title: The first heading.
        subtitle: What stands under it.
        sections: The headings with what they say.
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]


def make_dossier(history: History, model_id: str) -> Dossier:
    """The dossier of one model.

    Args:
        history: The model's history.
        model_id: The model.

    Raises:
        NotInLedger: The ledger does not say how that model was built.
    """
    built = history.built(model_id)
    outer = built.facts["buildDefinition"]["externalParameters"]
    sections = (
        _short(history, model_id, built),
        _allowed(history, model_id),
        _design(built),
        _origin(history),
        _preparation(history),
        _assumptions(history, built),
        _quantity(history),
        _bias(history, model_id),
        _gaps(history),
        _cases(history),
        _unknown(),
        _verify(history, model_id),
    )
    return Dossier(
        f"What {model_id} was trained on, and who allowed it",
        f"Data set {outer['dataset']} · from the ledger {history.origin} · as of {history.told[-1].at}",
        sections,
    )


# ------------------------------------------------------------------------------------------------------------- sections
def _short(history: History, model_id: str, built: Told) -> Section:
    outer = built.facts["buildDefinition"]["externalParameters"]
    sums = {subject.name: str(subject.sha256) for subject in built.statement.subjects}
    snapshot = history.newest("snapshot-admitted", outer["snapshot"])
    pairs = [
        ("model", model_id),
        ("digest of its bundle (SHA-256)", sums.get(model_id, "")),
        ("digest of its signature", sums.get("model.sig", "")),
        ("training run", str(built.facts["runDetails"]["metadata"]["invocationId"])),
        ("snapshot", str(outer["snapshot"])),
        ("rows in the snapshot", f"{snapshot.facts['rows']:,}" if snapshot else "not stated"),
        ("Merkle root of the rows", str(snapshot.facts["merkle_root"]) if snapshot else "not stated"),
        ("deliveries behind it", str(len(list(history.of("delivery-verified"))))),
        ("decisions by humans on held rows", str(len(list(history.of("case-decided"))))),
        ("signed statements read", str(len(history.told))),
    ]
    return Section("In short", grids=(Grid(("fact", "value"), tuple(pairs)),))


def _allowed(history: History, model_id: str) -> Section:
    changes = [told for told in history.of(*_CHANGES) if told.facts["model"] == model_id]
    judged = history.newest("gates-judged", model_id)
    text = [
        f"{'Promoted' if told.step == 'model-promoted' else 'Brought back'} by {told.facts['by']} at "
        f"{told.facts['decided_at']} (entry {told.position}). Reason given: {told.facts['reason']}"
        for told in changes
    ] or ["Nobody has promoted this model."]
    if judged is None:
        text.append("The gates were not asked.")
        return Section("Who allowed it", tuple(text))
    text.append(
        f"The gates {'passed' if judged.facts['passed'] else 'did not pass'} (entry {judged.position}); "
        f"switched off by the contract: {', '.join(judged.facts['gates_off']) or 'none'}."
    )
    return Section("Who allowed it", tuple(text), (_checks([judged]),))


def _design(built: Told) -> Section:
    definition = built.facts["buildDefinition"]
    outer, inner = definition["externalParameters"], definition["internalParameters"]
    rows = [(name, canonical_name(value)) for name, value in sorted(outer["training"].items())]
    rows += [(f"as run: {name}", canonical_name(value)) for name, value in sorted(inner.items())]
    return Section("Design choices (Art. 10(2)(a))", grids=(Grid(("setting", "value"), tuple(rows)),))


def _origin(history: History) -> Section:
    rows = [
        (
            told.facts["delivery"],
            told.facts["source"],
            told.facts["publisher"],
            told.facts["key"] or "no signature passed",
            told.facts["signed_at"] or "not stated",
            told.facts["first_seen"],
            told.facts["verdict"],
            str(told.position),
        )
        for told in history.of("delivery-verified")
    ]
    files = [
        (told.facts["delivery"], item.name.removeprefix("file:"), item.sha256)
        for told in history.of("delivery-verified")
        for item in told.statement.inputs
        if item.sha256
    ]
    head = ("delivery", "source", "publisher", "signed with", "signed at", "came in", "verdict", "entry")
    return Section(
        "Collection and origin of the data (Art. 10(2)(b))",
        (
            "Deliveries as they came in; `signed with` names the key whose signature passed over the list of files.",
        ),
        (Grid(head, _cut(rows)), Grid(("delivery", "file", "SHA-256"), _cut(files))),
    )


def _preparation(history: History) -> Section:
    rows = []
    for told in history.of("delivery-validated", "delivery-screened"):
        facts, validated = told.facts, told.step == "delivery-validated"
        kept_out = facts["failing"] if validated else facts["quarantined"]
        rows.append(
            (
                facts["delivery"],
                "expectations of the contract" if validated else "screening for poison",
                "not read" if facts["rows"] is None else f"{facts['rows']:,}",
                "not read" if kept_out is None else f"{kept_out:,}",
                str(told.position),
            )
        )
    return Section(
        "Preparation: cleaning, filtering (Art. 10(2)(c))",
        ("No row was changed. Rows were kept out, and humans let some of them in again (see below).",),
        (Grid(("delivery", "by", "rows looked at", "rows kept out", "entry"), _cut(rows)),),
    )


def _assumptions(history: History, built: Told) -> Section:
    contracts = sorted(
        {str(told.facts["contract_sha256"]) for told in history.told if "contract_sha256" in told.facts}
    )
    asked = Counter(
        (str(check["check"]), str(check["outcome"]))
        for told in history.of("delivery-validated")
        for check in told.facts["checks"]
    )
    rows = [(name, outcome, str(count)) for (name, outcome), count in sorted(asked.items())]
    used = {item.name: item.sha256 for item in built.statement.inputs}
    dataset = built.facts["buildDefinition"]["externalParameters"]["dataset"]
    return Section(
        "Assumptions about what the data measure (Art. 10(2)(d))",
        (
            (
                f"The assumptions are the contract's. The model was trained under the contract with the SHA-256 "
                f"{used.get(f'contract:{dataset}')}; all contracts on the way: {', '.join(contracts)}."
            ),
        ),
        (Grid(("expectation", "outcome", "deliveries"), _cut(rows)),),
    )


def _quantity(history: History) -> Section:
    rows, sources = [], Counter[str]()
    source_of = {told.facts["delivery"]: told.facts["source"] for told in history.of("delivery-verified")}
    newest = None
    for told in history.of("snapshot-admitted"):
        facts = told.facts
        rows.append(
            (
                f"{facts['version']}",
                facts["snapshot"],
                f"{facts['rows']:,}",
                str(len(facts["deliveries"])),
                str(len(facts["decisions"])),
                facts["merkle_root"],
                str(told.position),
            )
        )
        newest = facts["snapshot"]
    if newest is not None:
        for part in history.manifest(newest).parts:
            sources[str(source_of.get(part.delivery_id, "unknown"))] += part.kept
    total = max(1, sources.total())
    shares = [(name, f"{count:,}", f"{count / total:.1%}") for name, count in sources.most_common()]
    head = ("version", "snapshot", "rows", "new deliveries", "released cases", "Merkle root", "entry")
    return Section(
        "Availability, quantity and suitability (Art. 10(2)(e), 10(3))",
        grids=(
            Grid(head, _cut(rows)),
            Grid(("source", "rows in the newest snapshot", "share"), _cut(shares)),
        ),
    )


def _bias(history: History, model_id: str) -> Section:
    judged = history.newest("gates-judged", model_id)
    figures = [
        (name, canonical_name(value))
        for name, value in sorted((judged.facts["metrics"] if judged else {}).items())
    ]
    return Section(
        "Examination for bias, and measures against it (Art. 10(2)(f), (g))",
        (
            (
                "The gates compare groups of rows that the contract names (slices); the screening looks for rows, "
                "sources and groups that would turn the model. What each of them answered stands below."
            ),
        ),
        (Grid(("figure", "value"), tuple(figures)), _checks(history.of("delivery-screened"), passed=False)),
    )


def _gaps(history: History) -> Section:
    wrong = _checks(history.told, passed=False)
    text = (
        (
            f"{len(wrong.rows)} answers were not `passed`; a check that could not be made is listed as not_checked, "
            "and counts as a gap."
        ),
    )
    return Section("Gaps and shortcomings (Art. 10(2)(h))", text, (wrong,))


def _cases(history: History) -> Section:
    rows = [
        (
            told.facts["case"],
            told.facts["kind"],
            f"{told.facts['rows']:,}",
            told.facts["action"],
            told.facts["reviewer"],
            told.facts["decided_at"],
            told.facts["reason"],
            str(told.position),
        )
        for told in history.of("case-decided")
    ]
    head = ("case", "kind", "rows", "decision", "by", "at", "reason", "entry")
    return Section(
        "Rows that were held, and what humans decided",
        () if rows else ("No case of these deliveries was decided.",),
        (Grid(head, _cut(rows)),) if rows else (),
    )


def _unknown() -> Section:
    return Section(
        "What the ledger does not know",
        (
            (
                "Whether the data fit the geographical, contextual, behavioural or functional setting of use "
                "(Art. 10(4)), and on what ground special categories of personal data were processed "
                "(Art. 10(5)): to be stated by the provider."
            ),
        ),
    )


def _verify(history: History, model_id: str) -> Section:
    return Section(
        "How to check this without us",
        (
            (
                f"assay ledger prove {model_id} --out proof.json writes a proof; the stand-alone verifier in "
                "docs/verify checks it with the ledger's public key and nothing else of ours."
            ),
            f"Newest checkpoint of the log: {canonical_name(history.checkpoint or 'none')}",
        ),
    )


def _checks(told: Iterable[Told], *, passed: bool = True) -> Grid:
    rows = [
        (
            str(check["check"]),
            str(check["outcome"]),
            str(check.get("subject", "")),
            str(check.get("message", "")),
            str(each.position),
        )
        for each in told
        for check in each.facts.get("checks", ())
        if isinstance(check, dict) and (passed or check["outcome"] != "passed")
    ]
    return Grid(("check", "outcome", "about", "seen", "entry"), _cut(rows))


def _cut(rows: Sequence[tuple[Any, ...]]) -> tuple[tuple[str, ...], ...]:
    """Rows as text; of very many the first ones, and how many there are more."""
    listed = tuple(tuple(str(value) for value in row) for row in rows[:_LISTED])
    if len(rows) <= _LISTED:
        return listed
    width = len(listed[0])
    return (*listed, (f"and {len(rows) - _LISTED} more", *[""] * (width - 1)))
