"""Histories that an attacker with every key would write: another best epoch, an impossible curve, cheaper privacy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.findings import Outcome
from assay.model import check_bundle
from tests.model import support
from tests.model.support import Keys, edit_spec, failures, forge, refused

Edit = Callable[[Path], object]


def _spec(change: Callable[[dict[str, Any]], object]) -> Edit:
    return lambda bundle: edit_spec(bundle, change)


def _curve(change: Callable[[list[dict[str, Any]]], object]) -> Edit:
    """Change the curve as plain rows."""

    def edit(bundle: Path) -> None:
        path = bundle / "curve.parquet"
        table = pq.read_table(path)
        rows = table.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)

    return edit


def _both(*edits: Edit) -> Edit:
    return lambda bundle: [edit(bundle) for edit in edits]


def _refused(bundle: Path, keys: Keys, edit: Edit, check: str, words: str, **options: Any) -> None:
    run = json.loads((bundle / "spec.json").read_bytes())["run_id"]
    edit(bundle)
    (bundle / "statement.dsse.json").write_text(support.statement_over(bundle, keys.ledger, run=run))
    forge(bundle, keys, statement=False)
    if options.get("thorough"):
        (finding,) = failures(bundle, keys, **options)
        assert (finding.check, finding.outcome) == (f"model.{check}", Outcome.FAILED)
        assert words in finding.message, finding.message
        return
    refused(bundle, keys, check, words, ledger_key=keys.ledger.public_key())


PLAIN: dict[str, tuple[Edit, str, str]] = {
    "a best epoch beyond the curve": (_spec(lambda s: s.update(best_epoch=99)), "curve", "the run had 12"),
    "a best epoch that is not the curve's": (
        _spec(lambda s: s.update(best_epoch=3)),
        "curve",
        "the best epoch is 3, but by the curve it is 12",
    ),
    "no best epoch": (_spec(lambda s: s.update(best_epoch=0)), "spec", "best_epoch"),
    "better metrics than the curve": (
        _spec(lambda s: s["metrics"].update(accuracy=0.999)),
        "curve",
        "accuracy: the spec says 0.999",
    ),
    "a metric that nobody measured": (
        _spec(lambda s: s["metrics"].update(fairness=1.0)),
        "curve",
        "fairness",
    ),
    "a metric left out": (_spec(lambda s: s["metrics"].pop("accuracy")), "curve", "expected accuracy"),
    "NaN in the curve": (
        _curve(lambda rows: rows[3].update(train_loss=float("nan"))),
        "curve",
        "holds NaN or infinity",
    ),
    "infinity in the curve": (
        _curve(lambda rows: rows[3].update(gradient_norm=float("inf"))),
        "curve",
        "holds NaN or infinity",
    ),
    "NaN deep in the curve": (
        _curve(lambda rows: rows[3]["classes"][0].update(train_loss=float("nan"))),
        "curve",
        "holds NaN or infinity",
    ),
    "a negative loss": (
        _curve(lambda rows: rows[3].update(train_loss=-0.5)),
        "curve",
        "epoch 4 has a loss of -0.5",
    ),
    "more than all rows right": (
        _curve(lambda rows: rows[3].update(accuracy=1.7)),
        "curve",
        "epoch 4 has a share of 1.7",
    ),
    "skipped updates": (
        _curve(lambda rows: rows[3].update(skipped_updates=2)),
        "curve",
        "2 skipped updates",
    ),
    "other classes in the curve": (
        _curve(lambda rows: rows[3]["classes"][0].update(name="<script>")),
        "curve",
        "other classes",
    ),
    "a curve that swells": (
        _curve(lambda rows: rows[3].update(classes=rows[3]["classes"] * 5000)),
        "curve",
        "more classes or sources than the spec",
    ),
    "a source that nobody named, in the curve": (
        _curve(
            lambda rows: rows[3].update(
                sources=[
                    {"name": "x", "rows": 1, "loss": 0.1, "gradient_norm": 1, "cosines": [1], "dropped": 0}
                ]
            )
        ),
        "curve",
        "other sources",
    ),
    "privacy spent without a report": (
        _curve(lambda rows: rows[3].update(epsilon_pld=0.1)),
        "privacy",
        "no report",
    ),
    "more epochs than points": (_spec(lambda s: s.update(epochs=13)), "curve", "12 epochs, the run had 13"),
    "markup where the run says why it ended": (
        _spec(lambda s: s.update(stopped_because="<img src=x onerror=alert(1)>")),
        "curve",
        "no plain text",
    ),
    "a robust aggregation without sources": (
        _spec(lambda s: s.update(aggregation={"name": "krum", "byzantine": 1})),
        "sources",
        "krum cannot stand 1 hostile of 0 sources",
    ),
}

RICH: dict[str, tuple[Edit, str, str]] = {
    "a source whose name is markup": (
        _spec(lambda s: s.update(source_names=["<script>alert(1)</script>", "south"])),
        "sources",
        "no plain text: '<script>",
    ),
    "a source whose name is a link": (
        _spec(lambda s: s.update(source_names=["[north](javascript:alert(1))", "south"])),
        "sources",
        "no plain text",
    ),
    "a source whose name moves the cursor": (
        _spec(lambda s: s.update(source_names=["north\u001b[2J", "south"])),
        "sources",
        "no plain text: 'north\\x1b",
    ),
    "a source whose name goes on and on": (
        _spec(lambda s: s.update(source_names=["n" * 5000, "south"])),
        "sources",
        "no plain text",
    ),
    "a source twice": (
        _spec(lambda s: s.update(source_names=["north", "north"])),
        "sources",
        "same name",
    ),
    "fewer sources than krum needs": (
        _spec(lambda s: s.update(aggregation={"name": "krum", "byzantine": 1})),
        "sources",
        "krum cannot stand 1 hostile of 2 sources",
    ),
    "a cosine beyond one": (
        _curve(lambda rows: rows[3]["sources"][0].update(cosines=[1.0, 5.0])),
        "curve",
        "a cosine of 5",
    ),
    "a source compared with others than there are": (
        _curve(lambda rows: rows[3]["sources"][0].update(cosines=[1.0])),
        "curve",
        "does not compare each source with all",
    ),
    "an earlier epoch passed off as the best": (
        _both(
            _spec(lambda s: s.update(best_epoch=1)),
            lambda bundle: edit_spec(
                bundle,
                lambda s: s.update(
                    metrics={
                        name: pq.read_table(bundle / "curve.parquet")[name][0].as_py()
                        for name in ("train_loss", "validation_loss", "accuracy")
                    }
                ),
            ),
        ),
        "curve",
        "the best epoch is 1, but by the curve it is",
    ),
}

CHEAPER = {"epsilon_pld": 0.01, "epsilon_rdp": 0.01}

PRIVATE: dict[str, tuple[Edit, str, str]] = {
    "less spent than the curve says": (
        _spec(lambda s: s["privacy"].update(CHEAPER)),
        "privacy",
        "the report says 0.01, the curve ends with",
    ),
    "fewer updates than were made": (
        _spec(lambda s: s["privacy"].update(steps=3)),
        "privacy",
        "3 updates are accounted for",
    ),
    "another sampling rate": (
        _spec(lambda s: s["privacy"].update(sampling_rate=0.001)),
        "privacy",
        "the sampling rate is 0.001",
    ),
    "a budget that was overdrawn": (
        _spec(lambda s: s["privacy"]["settings"].update(max_epsilon=0.01)),
        "privacy",
        "more than the budget of 0.01",
    ),
    "privacy that is given back": (
        _curve(lambda rows: rows[1].update(epsilon_pld=0.0, epsilon_rdp=0.0)),
        "privacy",
        "becomes less",
    ),
    "privacy with a robust aggregation": (
        _spec(
            lambda s: s.update(aggregation={"name": "median", "byzantine": 1}, source_names=["a", "b", "c"])
        ),
        "privacy",
        "does not go with median",
    ),
    "a private run that says it is none": (_spec(lambda s: s.update(privacy=None)), "privacy", "no report"),
    "no noise": (
        _spec(lambda s: s["privacy"]["settings"].update(noise_multiplier=0)),
        "spec",
        "noise_multiplier",
    ),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_history_that_cannot_be_is_refused(bundle: Path, keys: Keys, case: str):
    """With every signature in order, the curve, the spec and each other are compared."""
    _refused(bundle, keys, *PLAIN[case])


@pytest.mark.parametrize("case", RICH)
def test_sources_are_named_in_plain_text_and_add_up(rich: Path, keys: Keys, case: str):
    """What is shown to people is text; what was aggregated had the sources that it needs."""
    _refused(rich, keys, *RICH[case])


@pytest.mark.parametrize("case", PRIVATE)
def test_a_report_of_privacy_must_agree_with_the_run(private: Path, keys: Keys, case: str):
    """Settings, steps, sampling and curve are held against each other."""
    _refused(private, keys, *PRIVATE[case])


def _cheaper_everywhere(bundle: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row.update({name: row[name] / 2 for name in CHEAPER})

    _curve(change)(bundle)
    last = pq.read_table(bundle / "curve.parquet").to_pylist()[-1]
    edit_spec(bundle, lambda spec: spec["privacy"].update({name: last[name] for name in CHEAPER}))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_cheaper_everywhere, "is reported as"),
        (
            _spec(lambda spec: spec["privacy"]["settings"].update(noise_multiplier=0.6)),
            "with noise multiplier 0.6 spend",
        ),
        (_spec(lambda spec: spec["privacy"]["settings"].update(delta=1e-9)), "is reported as"),
    ],
    ids=["half of it everywhere", "less noise", "another delta"],
)
def test_what_privacy_was_spent_is_computed_again(private: Path, keys: Keys, edit: Edit, words: str):
    """A report that agrees with the curve but not with dp-accounting is refused where it is asked thoroughly."""
    _refused(private, keys, edit, "privacy_spent", words, thorough=True)


def test_an_honest_report_of_privacy_stands(private: Path, keys: Keys):
    """The counterpart: computed again, epsilon is as reported, and it says that the noise follows from the seed."""
    findings, model = check_bundle(private, keys.public, thorough=True)
    assert model is not None
    (found,) = [f for f in findings if f.check == "model.privacy_spent"]
    assert found.outcome is Outcome.PASSED
    assert "protects from nobody" in found.message


def test_without_the_accountant_the_privacy_spent_is_not_checked(
    private: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
):
    """It is no silent pass; the model can be loaded, and no gate opens."""
    import sys

    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    findings, model = check_bundle(private, keys.public, thorough=True)
    assert model is not None
    (found,) = [f for f in findings if f.outcome is not Outcome.PASSED]
    assert (found.check, found.outcome) == ("model.privacy_spent", Outcome.NOT_CHECKED)
    assert "dp-accounting is not installed" in found.message


@pytest.mark.parametrize("which", ["rich", "private"])
def test_an_honest_history_forged_without_a_change_loads(
    which: str, keys: Keys, request: pytest.FixtureRequest
):
    """So that it is the change that falls."""
    bundle = request.getfixturevalue(which)
    forge(bundle, keys)
    assert failures(bundle, keys, ledger_key=keys.ledger.public_key()) == []
