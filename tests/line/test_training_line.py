"""From a snapshot to a champion, and what keeps a challenger from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.db import champion, list_deliveries, list_models, list_runs
from assay.findings import Answer, Outcome, worst
from assay.ledger import verify_holdings
from assay.line import (
    ChallengerRefused,
    ModelDecided,
    NoSnapshot,
    RunStopped,
    Undecided,
    admit,
    answer_model,
    approve_model,
    decide,
    judge,
    load_model,
    may_promote,
    promote,
    refuse_model,
    roll_back,
    train,
    train_table,
)
from assay.line.judging import accepted_runs
from assay.model import BundleRefused, PromotionRefused
from assay.train.network.spec import AggregationSpec
from tests.train.helpers import ready


def champion_of(town):
    with town.line() as line, line.database.session() as session:
        return champion(session, "adult")


def earn(town) -> str:
    """Train, judge and promote; returns the model's id."""
    with town.line() as line:
        model = train(line)["model"]
        judge(line, model)
        promote(line, model)
    return model


def test_a_challenger_is_trained_judged_and_promoted(settled_town):
    """A clean snapshot earns a champion, and the bundle says what it was trained on and with."""
    model = earn(settled_town)
    row = champion_of(settled_town)
    assert row.id == model
    bundle = Path(row.bundle_uri)
    card = (bundle / "card.md").read_text()
    assert "reference" in card
    assert {p.name for p in bundle.iterdir()} >= {
        "weights.safetensors", "spec.json", "curve.parquet", "card.md", "statement.dsse.json", "model.sig",
    }  # fmt: skip
    with settled_town.line() as line:
        steps = [line.ledger.read(entry).step for entry in line.ledger.entries()]
        assert steps[-5:] == [
            "run-finished",
            "curve-checked",
            "run-provenance",
            "gates-judged",
            "model-promoted",
        ]
        assert worst(f.outcome for f in line.ledger.verify()) is Outcome.PASSED
        assert worst(f.outcome for f in verify_holdings(line.ledger, line.store)) is Outcome.PASSED


def test_training_judging_and_promoting_again_changes_nothing(settled_town):
    """The same snapshot under the same contract is the same run and the same model."""
    model = earn(settled_town)
    with settled_town.line() as line:
        entries = len(line.ledger.entries())
        assert train(line)["model"] == model
        judge(line, model)
        promote(line, model)
        assert len(line.ledger.entries()) == entries
        with line.database.session() as session:
            assert len(list_runs(session, "adult")) == len(list_models(session, "adult")) == 1


def test_a_run_is_compared_with_champions_that_learned_the_same(settled_town, tmp_path):
    """Another seed or rate is comparable; another network, loss or privacy is not; nor is a bundle that fell."""
    earn(settled_town)
    with settled_town.line() as line:
        request, _ = ready(tmp_path / "other")
        assert accepted_runs(line, request) == []
        with line.database.session() as session:
            row = champion(session, "adult")
        spec = load_model(line, row).spec
        alike = request.model_copy(
            update={name: getattr(spec, name) for name in ("loss", "task", "classes", "layers")}
        )
        [found] = accepted_runs(line, alike)
        assert len(found.curve) == spec.epochs
        assert found.yardsticks == spec.yardsticks
        wider = spec.layers[0].model_copy(update={"out": 17})
        for change in (
            {"layers": (wider, *spec.layers[1:])},
            {"classes": ("a", "b")},
            {"loss": spec.loss.model_copy(update={"class_weights": (1.0, 2.0)})},
            {"aggregation": AggregationSpec(name="median")},
        ):
            assert accepted_runs(line, alike.model_copy(update=change)) == []
        (Path(row.bundle_uri) / "card.md").write_text("changed")
        assert accepted_runs(line, alike) == []


def test_an_absurd_learning_rate_is_stopped_and_leaves_the_champion(settled_town):
    """The curve check ends the run within a few epochs; no model is made."""
    model = earn(settled_town)
    settled_town.stage.set_learning_rate(30.0)
    with settled_town.line() as line:
        with pytest.raises(RunStopped):
            train(line)
        with line.database.session() as session:
            run = list_runs(session, "adult")[-1]
            assert run.status == "stopped"
            assert run.detail["epochs"] <= 5
            assert len(list_models(session, "adult")) == 1
    assert champion_of(settled_town).id == model


def test_a_challenger_below_the_bar_is_refused_and_cannot_be_promoted(settled_town):
    """A gate that fails closes the way, also by hand."""
    settled_town.change(gates={"min_accuracy": 0.999})
    with settled_town.line() as line:
        model = train(line)["model"]
        with pytest.raises(PromotionRefused):
            promote(line, model)
        with pytest.raises(ChallengerRefused, match=r"gate\.accuracy"):
            judge(line, model)
        with pytest.raises(PromotionRefused):
            promote(line, model)
    assert champion_of(settled_town) is None


def test_a_gate_that_could_not_be_asked_closes_the_way(settled_town):
    """Without trusted rows the accuracy is not checked, and not checked is not passed."""
    settled_town.change(trusted=None)
    with settled_town.line() as line:
        model = train(line)["model"]
        with pytest.raises(ChallengerRefused, match="not_checked"):
            judge(line, model)


def test_an_open_case_of_a_held_delivery_keeps_its_snapshot_from_promotion(held_town):
    """While a blocking case of an admitted delivery is undecided, the gate stays closed."""
    from assay.quarantine import list_cases, open_case

    with held_town.line() as line:
        with line.database.session() as session:
            deliveries = [d.id for d in list_deliveries(session, "adult") if d.state in {"held", "screened"}]
        decide(
            line,
            deliveries,
            {
                "chosen_options": [str(Answer.ADMIT_REST)],
                "params_input": {"reason": "seen"},
                "responded_by_user": {"name": "olga"},
            },
        )
        admit(line, deliveries)
        model = train(line)["model"]
        west = next(c.delivery_id for c in list_cases(line.database) if c.blocking)
        open_case(
            line.database, line.store, dataset="adult", delivery_id=west, kind="validation", rows=None,
            summary="a doubt that came later", evidence={}, blocking=True,
        )  # fmt: skip
        with pytest.raises(ChallengerRefused, match="open_cases"):
            judge(line, model)


def test_where_the_contract_wants_a_human_nobody_else_promotes(settled_town):
    """Under manual promotion silence and refusal leave the champion alone; a name and a reason promote."""
    settled_town.change(review={"promotion": "manual"})
    with settled_town.line() as line:
        model = train(line)["model"]
        judge(line, model)
        with pytest.raises(ChallengerRefused, match="timeout"):
            promote(
                line, model, {"chosen_options": ["Refuse"], "params_input": {}, "responded_by_user": None}
            )
        with pytest.raises(ChallengerRefused, match="timeout refused"):
            promote(line, model, {"chosen_options": ["Promote"], "responded_by_user": {"name": "olga"}})
    assert champion_of(settled_town) is None


def test_two_people_promote_a_challenger_and_the_run_goes_on_with_that(settled_town):
    """One approval is not enough, the same person's second is none; page, command line and Airflow count alike."""
    settled_town.change(review={"promotion": "manual", "approvals": 2})
    with settled_town.line() as line:
        model = train(line)["model"]
        judge(line, model)
        first = approve_model(line, model, "olga", "good on every slice")
        assert (first["state"], first["approvals"], first["needed"]) == ("challenger", 1, 2)
        assert may_promote(line, model, "Olga") == (
            False,
            "you have approved it already; another reviewer must agree",
        )
        with pytest.raises(Undecided, match="1 of 2 approvals"):
            promote(
                line, model, {"chosen_options": ["Promote"], "responded_by_user": {"name": "OLGA", "id": "1"}}
            )
    assert champion_of(settled_town) is None
    with settled_town.line() as line:
        told = answer_model(
            line, model, {"chosen_options": ["Promote"], "responded_by_user": {"name": "vic", "id": "2"}}
        )
        assert (told["open"], told["first"]) == (0, ["vic: promote"])
        done = promote(line, model, {"chosen_options": ["As decided on the model page"]})
        assert (done["model"], done["by"], done["repeated"]) == (model, "vic", True)
        with pytest.raises(ModelDecided, match="already decided by vic in Airflow's Required Actions"):
            approve_model(line, model, "ursula", "me too")
        with pytest.raises(ModelDecided, match="promote"):
            refuse_model(line, model, "ursula", "too late")
        said = [line.ledger.read(entry) for entry in line.ledger.entries(model, role="subject")]
        approvals = [each.predicate for each in said if each.step == "challenger-decided"]
        assert [(each["by"], each["via"]) for each in approvals] == [("olga", "page"), ("vic", "airflow")]
    assert champion_of(settled_town).id == model


def test_rolling_back_brings_the_earlier_champion_and_its_bundle_is_checked(settled_town):
    """The earlier model is champion again and still loads; a model that never was champion cannot come back."""
    first = earn(settled_town)
    settled_town.change(training={"seed": 5})
    second = earn(settled_town)
    assert second != first
    with settled_town.line() as line:
        assert roll_back(line, None, "olga", "the second one misbehaves")["model"] == first
        with line.database.session() as session:
            row = champion(session, "adult")
        assert load_model(line, row).id == first
        with pytest.raises(PromotionRefused):
            roll_back(line, "model-" + "0" * 32, "olga", "no such thing")


def test_a_bundle_that_was_changed_is_not_loaded(settled_town):
    """One byte of the weights is enough."""
    earn(settled_town)
    row = champion_of(settled_town)
    weights = Path(row.bundle_uri) / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with settled_town.line() as line, pytest.raises(BundleRefused, match="signature"):
        load_model(line, row)


def test_a_challenger_whose_bundle_was_changed_is_refused_on_record(settled_town):
    """The ledger and the registry keep what was found, and nothing is promoted."""
    with settled_town.line() as line:
        model = train(line)["model"]
        with line.database.session() as session:
            (row,) = list_models(session, "adult")
        (Path(row.bundle_uri) / "card.md").write_text("another card")
        with pytest.raises(BundleRefused, match="signature"):
            judge(line, model)
        statement = line.ledger.read(line.ledger.entries()[-1])
        assert (statement.step, statement.predicate["passed"]) == ("gates-judged", False)
        with line.database.session() as session:
            (row,) = list_models(session, "adult")
            assert row.state == "refused"
        with pytest.raises(PromotionRefused):
            promote(line, model)


def test_training_without_a_snapshot_is_a_usage_error(town):
    """There is nothing to train on, and the message says what to run."""
    with town.line() as line, pytest.raises(NoSnapshot, match="no snapshot"):
        train(line)


def test_a_comparison_run_leaves_no_trace(settled_town, rounds):
    """Training outside the line registers nothing."""
    with settled_town.line() as line:
        model = train_table(line, rounds.trusted)
        assert 0 <= (model.predict(rounds.test) == rounds.test["income"].to_pylist()).mean() <= 1
        with line.database.session() as session:
            assert list_runs(session) == []
            assert list_models(session) == []


def test_the_whole_line_works_on_either_database(tmp_path, rounds, database_url):
    """From deliveries to a champion on SQLite and on PostgreSQL."""
    from assay.line import screen, validate
    from tests.line.conftest import build_town

    town = build_town(tmp_path / "town", rounds, database_url)
    deliveries = town.take_in({"west": rounds.first["west"], "north": rounds.first["north"]}, 1)
    with town.line() as line:
        validate(line, deliveries)
        screen(line, deliveries)
        assert admit(line, deliveries)["version"] == 1
    assert earn(town) == champion_of(town).id
