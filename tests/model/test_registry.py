"""Promotion, refusal and rollback, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from assay.db import Database, ModelRow, champion, get_model, list_promotions, put_model, put_run
from assay.model import (
    Change,
    NoSuchModel,
    PromotionRefused,
    find_model,
    promote,
    refuse,
    rollback,
    set_judged,
)
from tests.db.rows import a_model, a_run


@pytest.fixture
def registry(database_url: str) -> Iterator[Database]:
    """A registry with challengers a, b, c of `adult` and one of another data set, none of them judged."""
    database = Database(database_url)
    database.migrate()
    with database.session() as session:
        put_run(session, a_run("run-1"))
        for name in ("a", "b", "c"):
            put_model(session, a_model(name, "run-1"))
        put_model(session, a_model("elsewhere", "run-1", dataset="other"))
    yield database
    database.dispose()


def judge(registry: Database, model: str, *, against: str | None = None, passed: bool = True) -> None:
    """What the gates' station writes down."""
    set_judged(registry, model, passed=passed, metrics={"judged_against": against, "accuracy": 0.9})


def earn(registry: Database, model: str, **options: Any) -> Change:
    """Judge a challenger against the present champion and promote it."""
    with registry.session() as session:
        best = champion(session, "adult")
    judge(registry, model, against=best.id if best else None)
    return promote(registry, "adult", model, by="gates", reason="all passed", **options)


def states(registry: Database) -> dict[str, str]:
    """State by model of `adult`."""
    with registry.session() as session:
        return {name: get_model(session, name).state for name in ("a", "b", "c")}  # type: ignore[union-attr]


def history(registry: Database) -> list[tuple[str, str, str | None]]:
    """Action, model and previous champion of each change."""
    with registry.session() as session:
        return [(p.action, p.model_id, p.previous_id) for p in list_promotions(session, "adult")]


# ----------------------------------------------------------------------------------------------------------- promotion
def test_a_judged_challenger_becomes_champion_and_the_last_one_retires(registry: Database):
    """One champion at a time; who was before is written down."""
    assert earn(registry, "a").previous_id is None
    change = earn(registry, "b")
    assert (change.action, change.model_id, change.previous_id) == ("promote", "b", "a")
    assert states(registry) == {"a": "retired", "b": "champion", "c": "challenger"}


def test_promoting_the_champion_again_changes_nothing(registry: Database):
    """A station that is run again gets the change that was made, with its own by and reason."""
    first = earn(registry, "a")
    again = promote(registry, "adult", "a", by="somebody else", reason="another")
    assert again.repeated
    assert not first.repeated
    assert (again.promotion_id, again.by, again.reason, again.at) == (
        first.promotion_id,
        "gates",
        "all passed",
        first.at,
    )
    assert len(history(registry)) == 1


def test_a_challenger_that_was_not_judged_is_not_promoted(registry: Database):
    """Gates that were not asked are not gates that passed."""
    with pytest.raises(PromotionRefused, match="not asked") as caught:
        promote(registry, "adult", "a", by="me", reason="trust me")
    assert caught.value.exit_code == 1
    assert history(registry) == []


def test_a_challenger_whose_gates_failed_is_refused(registry: Database):
    """And stays so, until they are asked again and pass."""
    judge(registry, "a", passed=False)
    assert states(registry)["a"] == "refused"
    with pytest.raises(PromotionRefused, match="failed"):
        promote(registry, "adult", "a", by="me", reason="it is fine")
    judge(registry, "a")
    assert promote(registry, "adult", "a", by="me", reason="mended").model_id == "a"


def test_a_challenger_judged_against_an_earlier_champion_is_judged_again_first(registry: Database):
    """Its gates held it against somebody who is not the champion any more."""
    judge(registry, "a")
    judge(registry, "b")
    promote(registry, "adult", "a", by="gates", reason="all passed")
    with pytest.raises(PromotionRefused, match="changed after its gates") as caught:
        promote(registry, "adult", "b", by="gates", reason="all passed")
    assert "against a" in str(caught.value)
    assert earn(registry, "b").previous_id == "a"


def test_a_retired_champion_comes_back_by_rollback_only(registry: Database):
    """Promotion is for challengers."""
    earn(registry, "a")
    earn(registry, "b")
    with pytest.raises(PromotionRefused, match="retired"):
        promote(registry, "adult", "a", by="me", reason="again")


def test_a_bundle_that_fell_is_not_promoted(registry: Database):
    """The check is asked while nobody else can change the champion, and its refusal leaves all as it was."""

    def check(row: ModelRow) -> None:
        raise PromotionRefused(f"the bundle of {row.id} was changed")

    with pytest.raises(PromotionRefused, match="bundle of a"):
        earn(registry, "a", check=check)
    assert states(registry)["a"] == "challenger"
    assert history(registry) == []


@pytest.mark.parametrize("name", ["nobody", "elsewhere"])
def test_a_model_of_no_or_another_data_set_is_not_found(registry: Database, name: str):
    """One data set's contract does not promote another's model."""
    with pytest.raises(NoSuchModel, match=name) as caught:
        promote(registry, "adult", name, by="me", reason="why not")
    assert caught.value.exit_code == 2


def test_the_champion_is_found_by_that_name(registry: Database):
    """And is said not to be there where there is none."""
    with registry.session() as session, pytest.raises(NoSuchModel, match="no champion yet"):
        find_model(session, "adult", "champion")
    earn(registry, "a")
    with registry.session() as session:
        assert find_model(session, "adult", "champion").id == "a"


def test_of_challengers_promoted_at_the_same_time_one_wins(registry: Database):
    """The others were judged against a champion who is not there any more, and are told so."""
    for name in ("a", "b", "c"):
        judge(registry, name)
    outcomes: dict[str, str] = {}
    start = threading.Barrier(3)

    def attempt(name: str) -> None:
        start.wait()
        try:
            promote(registry, "adult", name, by=name, reason="race")
            outcomes[name] = "promoted"
        except PromotionRefused:
            outcomes[name] = "refused"

    threads = [threading.Thread(target=attempt, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes.values()) == ["promoted", "refused", "refused"]
    (winner,) = [name for name, outcome in outcomes.items() if outcome == "promoted"]
    assert history(registry) == [("promote", winner, None)]
    assert [name for name, state in states(registry).items() if state == "champion"] == [winner]


def test_the_same_promotion_at_the_same_time_is_made_once(registry: Database):
    """All get the same change."""
    judge(registry, "a")
    changes: list[Change] = []
    start = threading.Barrier(4)

    def attempt() -> None:
        start.wait()
        changes.append(promote(registry, "adult", "a", by="gates", reason="all passed"))

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({change.promotion_id for change in changes}) == 1
    assert sorted(change.repeated for change in changes) == [False, True, True, True]
    assert history(registry) == [("promote", "a", None)]


# ------------------------------------------------------------------------------------------------------------- refusal
def test_what_a_human_refused_the_gates_do_not_take_back(registry: Database):
    """A judgement that is made again does not turn a human's no into a yes."""
    judge(registry, "a")
    refuse(registry, "a", by="olga", reason="too good to be true")
    judge(registry, "a")
    assert states(registry)["a"] == "refused"
    with pytest.raises(PromotionRefused):
        promote(registry, "adult", "a", by="gates", reason="all passed")
    refuse(registry, "a", by="someone else")
    with registry.session() as session:
        assert find_model(session, "adult", "a").metrics["refused_by"] == "olga"


def test_a_champion_is_neither_judged_nor_refused(registry: Database):
    """A station that is run again late does not unseat it."""
    earn(registry, "a")
    judge(registry, "a", passed=False)
    refuse(registry, "a")
    assert states(registry)["a"] == "champion"


def test_judging_or_refusing_nobody_says_so(registry: Database):
    """A wrong id is not passed over in silence."""
    with pytest.raises(NoSuchModel):
        judge(registry, "nobody")
    with pytest.raises(NoSuchModel):
        refuse(registry, "nobody")


# ------------------------------------------------------------------------------------------------------------ rollback
def test_rollback_brings_back_the_one_before(registry: Database):
    """The champion retires, the one whose place it took is champion again."""
    earn(registry, "a")
    earn(registry, "b")
    change = rollback(registry, "adult", to=None, by="olga", reason="complaints")
    assert (change.action, change.model_id, change.previous_id) == ("rollback", "a", "b")
    assert states(registry) == {"a": "champion", "b": "retired", "c": "challenger"}


def test_rolling_back_twice_goes_two_steps_back_not_back_and_forth(registry: Database):
    """After a, b, c: back to b, back to a, and no further."""
    for name in ("a", "b", "c"):
        earn(registry, name)
    assert rollback(registry, "adult", to=None, by="olga", reason="x").model_id == "b"
    assert rollback(registry, "adult", to=None, by="olga", reason="x").model_id == "a"
    with pytest.raises(PromotionRefused, match="no champion to go back to"):
        rollback(registry, "adult", to=None, by="olga", reason="x")
    assert history(registry)[3:] == [("rollback", "b", "c"), ("rollback", "a", "b")]


def test_rolling_back_to_the_same_model_again_changes_nothing(registry: Database):
    """Named by id, a rollback may be run again."""
    earn(registry, "a")
    earn(registry, "b")
    first = rollback(registry, "adult", to="a", by="olga", reason="complaints")
    again = rollback(registry, "adult", to="a", by="olga", reason="complaints")
    assert again.repeated
    assert again.promotion_id == first.promotion_id
    assert len(history(registry)) == 3


def test_after_a_rollback_a_later_champion_can_be_brought_back_by_name(registry: Database):
    """And going back from there leads to the one it was brought back over."""
    earn(registry, "a")
    earn(registry, "b")
    rollback(registry, "adult", to="a", by="olga", reason="complaints")
    assert rollback(registry, "adult", to="b", by="olga", reason="it was not its fault").model_id == "b"
    assert rollback(registry, "adult", to=None, by="olga", reason="it was").model_id == "a"


@pytest.mark.parametrize("to", [None, "c", "nobody", "elsewhere"])
def test_only_an_earlier_champion_can_be_brought_back(registry: Database, to: str | None):
    """Not a challenger, not another data set's model, not nobody."""
    earn(registry, "a")
    with pytest.raises(PromotionRefused, match="champion"):
        rollback(registry, "adult", to=to, by="olga", reason="x")
    assert states(registry)["a"] == "champion"


def test_without_any_champion_there_is_nothing_to_roll_back(registry: Database):
    """An empty history is said to be empty."""
    with pytest.raises(PromotionRefused, match="no champion to go back to"):
        rollback(registry, "adult", to=None, by="olga", reason="x")


def test_rollback_asks_whether_the_bundle_still_stands(registry: Database):
    """A bundle that was lost or changed since is not brought back."""

    def check(row: ModelRow) -> None:
        raise PromotionRefused(f"the bundle of {row.id} is gone")

    earn(registry, "a")
    earn(registry, "b")
    with pytest.raises(PromotionRefused, match="is gone"):
        rollback(registry, "adult", to=None, by="olga", reason="x", check=check)
    assert states(registry)["b"] == "champion"
