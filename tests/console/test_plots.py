"""The plots: every row is counted once, and what they show is what was screened."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.console import NotFound
from tests.console.conftest import suspicious


@pytest.fixture
def case_id(world) -> str:
    """The case of the rows that look poisoned."""
    return world.ids["west/screening"]


def sent(world) -> pa.Table:
    """What west delivered."""
    folder = world.town.stage.sent / "west-2"
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*.parquet")))


def test_each_column_counts_every_row_of_batch_trusted_and_case_once(console, world, case_id):
    """Bars or bins with what is missing and what is other make up all rows."""
    said = console.case(case_id)
    batch, trusted = sent(world), world.rounds.trusted
    for name in said["plots"]["columns"]:
        plot = console.plot_column(case_id, name)
        other = plot.get("other") or {"batch": 0, "trusted": 0, "suspicious": 0}
        for part, rows in (
            ("batch", batch.num_rows),
            ("trusted", trusted.num_rows),
            ("suspicious", suspicious(world)),
        ):
            assert sum(plot[part]) + plot["nulls"][part] + other[part] == rows
            assert plot["nulls"][part] <= rows
        assert all(b >= s for b, s in zip(plot["batch"], plot["suspicious"], strict=True))


def test_a_histogram_of_whole_numbers_has_a_bin_for_each(console, world, case_id):
    """The spike at one age stands out in its own bin."""
    plot = console.plot_column(case_id, "age")
    assert plot["kind"] == "histogram"
    ages = sent(world)["age"].to_pylist()
    at = plot["edges"].index(36.5)
    assert plot["batch"][at] == ages.count(37)
    assert len(plot["edges"]) == len(plot["batch"]) + 1


def test_the_bars_show_a_rare_category_of_the_suspicious_rows_by_name(console, case_id):
    """The trigger's country is named, though it is rare among trusted rows."""
    plot = console.plot_column(case_id, "native_country")
    assert plot["kind"] == "bars"
    at = plot["categories"].index("Hungary")
    assert plot["suspicious"][at] >= 15
    assert plot["trusted"][at] <= 1


def test_a_group_narrows_the_suspicious_rows_of_a_plot(console, case_id):
    """Only the group's rows are counted as suspicious; batch and trusted stay."""
    group = next(g for g in console.case(case_id)["groups"] if "Hungary" in g["message"])
    every, some = console.plot_column(case_id, "age"), console.plot_column(case_id, "age", group["id"])
    assert sum(some["suspicious"]) == group["rows"] < sum(every["suspicious"])
    assert some["batch"] == every["batch"]


def test_the_scores_of_all_rows_are_there_with_the_threshold(console, world, case_id):
    """The case's rows are among them, and the threshold is the cut that screening made."""
    plot = console.plot_score(case_id)
    assert sum(plot["all"]) == sent(world).num_rows
    assert sum(plot["suspicious"]) == suspicious(world)
    assert plot["log"]
    assert plot["edges"] == sorted(plot["edges"])
    cut = next(
        f["evidence"]["cut"]
        for f in console.delivery(world.ids["west"])["findings"]
        if f["check"] == "screen.evidence"
    )
    assert plot["threshold"] is None if cut <= 0 else 10 ** -plot["threshold"] == pytest.approx(cut)


def test_sources_are_compared_with_what_the_others_suggest(console, world, case_id):
    """The compromised one has far more quarantined rows than expected, and a p-value of its own."""
    found = {each["source"]: each for each in console.plot_sources(case_id)["sources"]}
    assert set(found) == {"west", "east", "north"}
    assert found["west"]["quarantined"] == suspicious(world)
    assert found["west"]["expected"] < 5
    assert found["west"]["p_value"] < 1e-3
    assert found["east"]["p_value"] is None


def test_a_group_s_values_are_counted_inside_and_outside(console, world, case_id):
    """All its rows share the trigger's values; outside they are as common as the delivery has them."""
    group = next(g for g in console.case(case_id)["groups"] if "Hungary" in g["message"])
    plot = console.plot_group(case_id, group["id"])
    assert plot["rows"] == group["rows"]
    assert plot["outside_rows"] == sent(world).num_rows - plot["rows"]
    country = next(each for each in plot["columns"] if each["name"] == "native_country")
    delivered = sent(world)["native_country"].to_pylist().count("Hungary")
    assert country["values"] == [
        {"value": "Hungary", "inside": plot["rows"], "outside": delivered - plot["rows"]}
    ]
    shares = {each["label"]: each for each in plot["share_by_label"]}
    assert shares[">50K"]["inside"] == 1.0
    assert shares[">50K"]["outside"] < 0.6
    assert sum(each["outside"] for each in plot["share_by_label"]) == pytest.approx(1)
    assert len(plot["points"]["inside"]) == plot["rows"]
    assert 0 < len(plot["points"]["outside"]) <= 2000


def test_every_group_of_a_case_can_be_drawn(console, world):
    """Triggers, sources, rewritten history and single signals alike; validation too."""
    for name in ("west/screening", "north/validation"):
        for group in console.case(world.ids[name])["groups"]:
            plot = console.plot_group(world.ids[name], group["id"])
            assert (
                plot["rows"]
                == group["rows"]
                == console.case_rows(world.ids[name], group=group["id"])["total"]
            )


def test_a_column_that_was_not_counted_is_not_found(console, case_id):
    """The message lists those that were."""
    with pytest.raises(NotFound) as told:
        console.plot_column(case_id, "colour")
    assert "age" in told.value.expected


def test_the_losses_of_released_rows_are_drawn_beside_all_others(own_world):
    """After a release, an admission and a training, each member's losses are there; before, the page says why not."""
    from assay.findings import Answer
    from assay.line import admit, decide, train

    case_id = own_world.ids["west/screening"]
    with pytest.raises(NotFound, match="no run has learnt"):
        own_world.console.plot_losses(case_id)
    with own_world.town.line() as line:
        deliveries = [own_world.ids["west"]]
        decide(
            line,
            deliveries,
            {
                "chosen_options": [str(Answer.ADMIT_ALL)],
                "params_input": {"reason": "they are true"},
                "responded_by_user": {"id": "1", "name": "olga"},
            },
        )
        admit(line, deliveries)
    own_world.town.change(gates={"min_accuracy": 0.0})
    with own_world.town.line() as line:
        trained = train(line)
    console = own_world.console
    plots = console.case(case_id)["plots"]
    assert plots["losses"]["available"]
    assert trained["run"] in plots["losses"]["runs"]
    drawn = console.plot_losses(case_id, trained["run"])
    assert drawn["epochs"] == list(range(1, trained["epochs"] + 1))
    assert 0 < len(drawn["members"]) <= 50
    assert all(len(member["losses"]) == len(drawn["epochs"]) for member in drawn["members"])
    assert all(low <= middle <= high for low, middle, high in zip(*drawn["band"].values(), strict=True))
    row = console.case_row(case_id, drawn["members"][0]["row"])
    assert row["losses"][trained["run"]] == drawn["members"][0]["losses"]
    assert row["decided"] == "release"
    with pytest.raises(NotFound):
        console.plot_losses(case_id, "run-none")
