"""Runs, curves and models: what is signed is shown, what was changed is not, and what goes on is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.console import Console, NotFound
from assay.line import RunStopped, train


def test_a_run_tells_its_checks_device_and_model(console, world):
    """Curve checks, no privacy where there was none, and the model that it made."""
    said = console.run(world.ids["run"])
    assert (said["status"], said["live"], said["device"]) == ("finished", False, "cpu")
    assert said["model_id"] == world.ids["model"]
    assert said["privacy"] is None
    assert said["champion_run"] is None
    assert {finding["check"].split(".")[0] for finding in said["findings"]} == {"curve"}
    assert "row_losses" not in said["detail"]


def test_a_curve_is_that_of_the_bundle_with_classes_and_sources(console, world):
    """One value per epoch for each line; without enough accepted runs there is no band, and it says so."""
    said = console.curve(world.ids["run"])
    assert said["epoch"] == list(range(1, said["rev"] + 1))
    for series in (
        said["train_loss"],
        said["validation_loss"],
        *said["metrics"].values(),
        *said["per_class"].values(),
    ):
        assert len(series) == len(said["epoch"])
    assert set(said["per_class"]) == {"<=50K", ">50K"}
    assert set(said["per_source"]) == {"west", "east", "north"}
    assert said["band"] is None
    assert "a band needs" in said["why_no_band"]
    assert not said["live"]


def test_only_later_epochs_are_sent_to_a_page_that_has_the_others(console, world):
    """`since` leaves out what came before."""
    said = console.curve(world.ids["run"], since=5)
    assert said["epoch"] == list(range(6, said["rev"] + 1))


def test_two_runs_are_laid_beside_each_other(console, world):
    """The other run's losses come with their epochs; an unknown run is not found."""
    said = console.curve(world.ids["run"], compare=world.ids["run"])
    assert said["compare"]["validation_loss"] == said["validation_loss"]
    with pytest.raises(NotFound):
        console.curve(world.ids["run"], compare="run-strange")


def test_a_band_is_drawn_around_the_accepted_runs(own_world):
    """With one accepted run demanded, a second run is held against the first one's losses."""
    own_world.town.change(training={"curve": {"min_accepted_runs": 2}, "seed": 5})
    console = own_world.console
    with own_world.town.line() as line:
        trained = train(line)
    said = console.curve(trained["run"])
    assert said["band"] is None
    assert said["why_no_band"].startswith("1 runs that can be compared")


def test_a_curve_that_was_changed_in_its_bundle_is_not_shown(own_world):
    """Its bytes are not those that the signed statement names; the page says so."""
    with own_world.town.line() as line, line.database.session() as session:
        from assay.db import get_run

        bundle = Path(get_run(session, own_world.ids["run"]).bundle_uri)
    moved = own_world.town.settings.home / "models" / "adult" / bundle.name
    from sqlalchemy import update

    from assay.db import ModelRow, Run

    console = own_world.console
    with console._desk.database.write() as session:
        session.execute(update(Run).values(bundle_uri=str(moved)))
        session.execute(update(ModelRow).values(bundle_uri=str(moved)))
    assert console.curve(own_world.ids["run"])["epoch"]
    path = moved / "curve.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    fresh = own_world.console
    said = fresh.curve(own_world.ids["run"])
    assert said["epoch"] == []
    assert "signed statement" in said["why_no_curve"]
    model = fresh.model(own_world.ids["model"])
    assert "failed" in {check["outcome"] for check in model["checks"]}
    assert model["card"] == ""


def test_a_running_training_is_seen_with_what_it_has_written_so_far(own_world):
    """While it goes on it stands first among the runs, its curve grows, and afterwards it is an ordinary run."""
    own_world.town.change(training={"epochs": 4, "seed": 9})
    console = own_world.console
    seen: list[tuple[int, list[int], dict]] = []

    def look(event):
        if event.event == "epoch":
            first = console.runs(datasets=["adult"])["items"][0]
            curve = console.curve(first["id"])
            seen.append((event.epoch, curve["epoch"], {**first, "page": console.run(first["id"])}))

    with own_world.town.line() as line:
        trained = train(line, on_event=look)
    assert [epoch for epoch, _, _ in seen] == [1, 2, 3, 4]
    for epoch, shown, line_ in seen:
        assert shown[:epoch] == list(range(1, epoch + 1))
        assert (line_["live"], line_["status"], line_["id"]) == (True, "running", trained["run"])
        assert line_["page"]["live"]
    assert console.dataset_of("run", trained["run"]) == "adult"
    after = console.runs(datasets=["adult"])["items"]
    assert [run["live"] for run in after] == [False, False]
    assert not console.curve(trained["run"])["live"]


def test_the_curve_of_a_run_that_was_stopped_is_kept(own_world):
    """It made no bundle; its epochs are in the store, and the check that stopped it is among the anomalies."""
    own_world.town.change(training={"epochs": 6, "optimizer": {"name": "sgd", "learning_rate": 1e6}})
    with own_world.town.line() as line, pytest.raises(RunStopped):
        train(line)
    console = own_world.console
    stopped = console.runs(datasets=["adult"])["items"][0]
    assert stopped["status"] in {"failed", "stopped"}
    said = console.curve(stopped["id"])
    assert said["epoch"]
    assert said["anomalies"]
    assert said["anomalies"][0]["epoch"] in said["epoch"]
    assert "curve" not in console.run(stopped["id"])["detail"]


def test_a_model_shows_its_gates_checks_bundle_and_history(console, world):
    """Values and limits beside each gate, every check of the bundle passed, and who promoted it."""
    said = console.model(world.ids["model"])
    gates = {gate["name"]: gate for gate in said["gates"]}
    assert gates["accuracy"]["limit"] == 0.7
    assert gates["accuracy"]["value"] == pytest.approx(said["metrics"]["accuracy"], abs=1e-4)
    assert {check["outcome"] for check in said["checks"]} == {"passed"}
    assert {"signature", "identity"} <= {check["name"] for check in said["checks"]}
    assert {file["path"] for file in said["bundle"]["files"]} >= {
        "weights.safetensors",
        "spec.json",
        "card.md",
    }
    assert said["card"].startswith("# adult")
    assert [(change["action"], change["by"]) for change in said["history"]] == [("promote", "olga")]
    assert said["champion_id"] == world.ids["model"]
    assert said["champion"] is None
    assert "run-provenance" in {step["type"] for step in said["statements"]}


def test_a_bundle_that_is_gone_is_not_checked_and_its_card_is_not_shown(own_world):
    """Nothing passes for want of a file."""
    from sqlalchemy import update

    from assay.db import ModelRow

    console: Console = own_world.console
    with console._desk.database.write() as session:
        session.execute(update(ModelRow).values(bundle_uri="/nowhere/at/all"))
    said = console.model(own_world.ids["model"])
    assert [check["outcome"] for check in said["checks"]] == ["not_checked"]
    assert said["card"] == ""
