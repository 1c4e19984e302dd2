"""`assay model` and `assay train`, as a person or a script calls them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from assay.canonical import utc_now
from assay.cli import app
from assay.contract import load_contract
from assay.db import (
    Snapshot,
    champion,
    findings_of,
    get_run,
    list_models,
    list_runs,
    list_snapshots,
    open_database,
    put_model,
    put_run,
    put_snapshot,
)
from assay.intake import table_schema
from assay.ledger import annotate, make_manifest, make_part, open_ledger, public_key_path, signing_key
from assay.model import load_bundle, model_public_key, set_judged
from assay.settings import Settings
from assay.store import open_store, put_table
from assay.train import RunResult, run_id_for
from assay.train.curve import CHECKS
from tests.db.rows import a_delivery, a_model, a_run
from tests.model import support
from tests.model.conftest import seal
from tests.model.support import Keys

Call = Callable[..., Result]


@pytest.fixture
def call() -> Call:
    """Runs a command line and keeps standard output and error apart."""
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    """The contract of the cells as a file."""
    return write_contract(tmp_path)


def write_contract(folder: Path, **changes: Any) -> Path:
    """The contract with some sections of `training` changed."""
    document = support.document()
    document["training"] |= changes
    path = folder / "cells.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture
def home(assay_home: Path, keys: Keys) -> Settings:
    """A state whose keys are the ones that the sealed bundles are signed with."""
    settings = Settings.from_env()
    settings.make_home()
    settings.keys_dir.mkdir(mode=0o700)
    shutil.copyfile(keys.private, settings.keys_dir / "model.pem")
    (settings.keys_dir / "ledger.pem").write_bytes(keys.ledger.private_bytes(*support.SECRETS))
    for path in settings.keys_dir.iterdir():
        path.chmod(0o600)
    signing_key(settings)
    return settings


@pytest.fixture
def models(
    home: Settings, trained: RunResult, trained_again: RunResult, keys: Keys
) -> Iterator[tuple[str, str]]:
    """Two registered challengers whose gates have passed, the first one against no champion, the second against it."""
    folder = home.home / "models" / "cells"
    folder.mkdir(parents=True)
    places = [seal(result, folder, keys) for result in (trained, trained_again)]
    database = open_database(home)
    with database.session() as session:
        put_run(session, a_run("run-1", dataset="cells"))
        for number, place in enumerate(places):
            put_model(
                session,
                a_model(
                    place.name,
                    "run-1",
                    dataset="cells",
                    bundle_uri=str(place),
                    made_at=f"2026-03-01T12:00:0{number}Z",
                    metrics={"digest": f"{number}" * 64, "accuracy": 0.91},
                ),
            )
    for place, against in zip(places, (None, places[0].name), strict=True):
        set_judged(database, place.name, passed=True, metrics={"judged_against": against})
    yield places[0].name, places[1].name
    database.dispose()


def ledger_steps(settings: Settings) -> list[str]:
    """Steps that the ledger holds, in order."""
    database = open_database(settings)
    try:
        return [entry.statement.step for entry in open_ledger(settings, database).entries()]
    finally:
        database.dispose()


# ------------------------------------------------------------------------------------------------------- model verify
def test_verify_passes_a_registered_model(call: Call, models: tuple[str, str], home: Settings):
    """By its id: keys and place come from the state; the bundle must be that model."""
    done = call("model", "verify", models[0])
    assert done.exit_code == 0, done.output
    assert "passed: it is whole" in done.stdout
    assert "privacy: none" in done.stdout
    assert "12 run, the weights are those of epoch 12" in done.stdout
    said = json.loads(call("model", "verify", models[0], "--json").stdout)
    assert said["outcome"] == "passed"
    assert said["model"] == models[0]
    checks = {finding["check"]: finding["outcome"] for finding in said["findings"]}
    assert checks["model.identity"] == checks["model.statement_signature"] == "passed"
    assert checks["model.native"] == checks["model.privacy_spent"] == "passed"


def test_verify_fails_a_changed_bundle(call: Call, models: tuple[str, str], home: Settings):
    """Exit 1, and the finding names the file."""
    (home.home / "models" / "cells" / models[0] / "card.md").write_text("changed")
    done = call("model", "verify", models[0], "--json")
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert (said["outcome"], said["model"]) == ("failed", None)
    assert "card.md" in said["findings"][-1]["message"]
    assert "do not load it" in call("model", "verify", models[0]).stdout


def test_verify_fails_a_bundle_that_is_another_model(call: Call, models: tuple[str, str], home: Settings):
    """Well signed and whole, but not what the registry says: a swap of two folders."""
    folder = home.home / "models" / "cells"
    shutil.rmtree(folder / models[0])
    shutil.copytree(folder / models[1], folder / models[0])
    done = call("model", "verify", models[0], "--json")
    assert done.exit_code == 1
    (failed,) = [f for f in json.loads(done.stdout)["findings"] if f["outcome"] == "failed"]
    assert failed["check"] == "model.identity"


def test_verify_needs_both_public_keys_and_nothing_else(
    call: Call, sealed: Path, keys: Keys, tmp_path: Path, assay_home: Path
):
    """On a machine without any state: 0 with both keys, 3 without one of them, and no state is made."""
    from assay.ledger.keys.signing import public_pem

    ledger = tmp_path / "ledger.pub.pem"
    ledger.write_bytes(public_pem(keys.ledger.public_key()))
    assert call("model", "verify", sealed, "--key", keys.public, "--ledger-key", ledger).exit_code == 0
    without = call("model", "verify", sealed, "--key", keys.public)
    assert without.exit_code == 3
    assert "--ledger-key" in without.stdout
    none = call("model", "verify", sealed)
    assert none.exit_code == 3
    assert "--key" in none.stderr
    assert call("model", "verify", sealed, "--key", keys.other_public).exit_code == 1
    assert not assay_home.exists()


@pytest.mark.parametrize("name", ["nothing-here", "model-" + "0" * 32])
def test_verify_of_nothing_is_a_wrong_call(call: Call, home: Settings, name: str):
    """Neither a folder nor a model of the registry."""
    done = call("model", "verify", name)
    assert done.exit_code == 2
    assert name in done.stderr
    assert call("model", "verify", name, "--json").exit_code == 2


def test_verify_with_a_key_that_is_not_there_is_a_wrong_call(call: Call, sealed: Path, tmp_path: Path):
    """The path is named."""
    done = call("model", "verify", sealed, "--key", tmp_path / "nothing.pem")
    assert done.exit_code == 2
    assert "nothing.pem" in done.stderr


def test_verify_with_a_key_of_another_kind_is_not_checked(call: Call, sealed: Path, tmp_path: Path):
    """Something that is no key checks nothing."""
    key = tmp_path / "key.pem"
    key.write_text("no key")
    assert call("model", "verify", sealed, "--key", key).exit_code == 3


# --------------------------------------------------------------------------------------------- show, promote, rollback
def test_show_lists_models_and_changes(call: Call, models: tuple[str, str], contract: Path):
    """First nobody is champion, then one is, and it is said who decided."""
    before = json.loads(call("model", "show", "--contract", contract, "--json").stdout)
    assert before["champion"] is None
    assert [model["model"] for model in before["models"]] == list(models)
    assert call("model", "show", "champion", "--contract", contract).exit_code == 2
    call("model", "promote", models[0], "--contract", contract, "--reason", "looks right", "--by", "olga")
    after = json.loads(call("model", "show", "--contract", contract, "--json").stdout)
    assert after["champion"] == models[0]
    assert [(c["action"], c["by"], c["reason"]) for c in after["changes"]] == [
        ("promote", "olga", "looks right")
    ]
    text = call("model", "show", "--contract", contract).stdout
    assert models[0] in text
    assert "olga" in text


def test_show_of_one_model_says_what_its_gates_said(
    call: Call, models: tuple[str, str], contract: Path, home: Settings
):
    """Metrics, gates, and the changes that it was part of."""
    from assay.db import add_findings
    from assay.findings import Finding, Outcome

    database = open_database(home)
    with database.write() as session:
        add_findings(
            session, models[0], [Finding(check="gate.accuracy", outcome=Outcome.PASSED, message="0.91")]
        )
    database.dispose()
    call("model", "promote", models[0], "--contract", contract, "--reason", "looks right", "--by", "olga")
    said = json.loads(call("model", "show", "champion", "--contract", contract, "--json").stdout)
    assert said["model"] == models[0]
    assert said["state"] == "champion"
    assert said["metrics"]["accuracy"] == 0.91
    assert [gate["check"] for gate in said["gates"]] == ["gate.accuracy"]
    text = call("model", "show", models[0], "--contract", contract).stdout
    assert "gate.accuracy" in text
    assert "0.9100" in text


def test_show_of_one_model_says_how_it_learned_once_its_bundle_stands(
    call: Call, models: tuple[str, str], contract: Path, home: Settings
):
    """Layers, best epoch, aggregation and privacy come from the bundle; of one that was changed nothing is said."""
    options = (models[0], "--contract", contract)
    said = json.loads(call("model", "show", *options, "--json").stdout)
    assert said["bundle_refused"] is None
    about = said["about"]
    assert (about["epochs"], about["best_epoch"], about["aggregation"]) == (12, 12, "mean")
    assert about["network"]["1"].startswith("dense")
    assert about["epsilon"] is None
    text = call("model", "show", *options).stdout
    assert "privacy: none" in text
    assert "layer 1: dense" in text
    (home.home / "models" / "cells" / models[0] / "card.md").write_text("changed")
    said = json.loads(call("model", "show", *options, "--json").stdout)
    assert said["about"] is None
    assert "model.signature" in said["bundle_refused"]
    text = call("model", "show", *options).stdout
    assert "the bundle cannot be read" in text
    assert "privacy:" not in text


def test_verify_of_a_model_of_flux_without_julia_is_not_checked(
    call: Call, bundle: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Exit 3 with the reason; the portable weights are described all the same."""
    from assay.ledger.keys.signing import public_pem

    monkeypatch.setenv("PYTHON_JULIACALL_EXE", "/nowhere/julia")
    support.as_flux(bundle)
    support.forge(bundle, keys)
    ledger = tmp_path / "ledger.pub.pem"
    ledger.write_bytes(public_pem(keys.ledger.public_key()))
    done = call("model", "verify", bundle, "--key", keys.public, "--ledger-key", ledger, "--json")
    assert done.exit_code == 3
    said = json.loads(done.stdout)
    (open_question,) = [f for f in said["findings"] if f["outcome"] != "passed"]
    assert open_question["check"] == "model.native"
    assert "Julia is not installed" in open_question["message"]
    assert said["about"]["backend"] == "flux"


def test_show_without_models_says_how_to_make_one(call: Call, home: Settings, contract: Path):
    """An empty list is an answer."""
    done = call("model", "show", "--contract", contract)
    assert done.exit_code == 0
    assert "assay train" in done.stdout


def test_promotion_and_rollback_stand_in_the_ledger_once(
    call: Call, models: tuple[str, str], contract: Path, home: Settings
):
    """Run again, each says that nothing changed, and enters nothing."""
    first, second = models
    options = ("--contract", contract, "--reason", "because", "--by", "olga", "--json")
    assert json.loads(call("model", "promote", first, *options).stdout)["previous"] is None
    assert json.loads(call("model", "promote", second, *options).stdout)["previous"] == first
    assert json.loads(call("model", "promote", second, *options).stdout)["repeated"] is True
    back = json.loads(call("model", "rollback", "--to", first, *options).stdout)
    assert (back["model"], back["previous"], back["action"]) == (first, second, "rollback")
    again = call(
        "model", "rollback", "--to", first, "--contract", contract, "--reason", "other", "--by", "max"
    )
    assert "nothing changed" in again.stdout
    promotion = ["challenger-decided", "model-promoted"]
    assert ledger_steps(home) == [*promotion, *promotion, "model-rolled-back"]
    database = open_database(home)
    with database.session() as session:
        now = champion(session, "cells")
    database.dispose()
    assert now is not None
    assert now.id == first


def test_a_change_says_who_was_champion_before(call: Call, models: tuple[str, str], contract: Path):
    """For people."""
    options = ("--contract", contract, "--reason", "because", "--by", "olga")
    assert "before: none" in call("model", "promote", models[0], *options).stdout
    assert f"before: {models[0]}" in call("model", "promote", models[1], *options).stdout
    assert f"champion: {models[0]}" in call("model", "rollback", *options).stdout


def test_promotion_of_a_bundle_that_was_changed_is_refused(
    call: Call, models: tuple[str, str], contract: Path, home: Settings
):
    """Nothing changes hands, and nothing is entered."""
    (home.home / "models" / "cells" / models[0] / "spec.json").write_text("{}")
    done = call("model", "promote", models[0], "--contract", contract, "--reason", "because", "--by", "olga")
    assert done.exit_code == 1
    assert "was not loaded" in done.stderr
    assert ledger_steps(home) == []


def test_rollback_to_a_bundle_that_is_gone_is_refused(
    call: Call, models: tuple[str, str], contract: Path, home: Settings
):
    """The champion stays."""
    options = ("--contract", contract, "--reason", "because", "--by", "olga")
    for model in models:
        call("model", "promote", model, *options)
    shutil.rmtree(home.home / "models" / "cells" / models[0])
    done = call("model", "rollback", *options)
    assert done.exit_code == 1
    assert "is gone" in done.stderr
    assert call("model", "verify", models[0]).exit_code == 1
    assert (
        json.loads(call("model", "show", "champion", "-c", contract, "--json").stdout)["model"] == models[1]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--reason", " ", "--by", "olga"), "no reason"),
        (("--reason", "x", "--by", " "), "nobody"),
        (("--reason", "x", "--by", "o" * 129), "128"),
    ],
)
def test_a_change_needs_a_name_and_a_reason(
    call: Call, models: tuple[str, str], contract: Path, options: tuple[str, ...], words: str
):
    """Both are kept for ever."""
    done = call("model", "promote", models[0], "--contract", contract, *options)
    assert done.exit_code == 2
    assert words in done.stderr


def test_without_by_the_systems_user_decides(
    call: Call, models: tuple[str, str], contract: Path, monkeypatch: pytest.MonkeyPatch
):
    """Or nobody, where the system does not say who that is."""
    monkeypatch.setenv("LOGNAME", "maria")
    said = call("model", "promote", models[0], "--contract", contract, "--reason", "because", "--json")
    assert json.loads(said.stdout)["by"] == "maria"

    def nobody() -> str:
        raise KeyError("uid 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert call("model", "promote", models[1], "-c", contract, "--reason", "because").exit_code == 2


def test_a_contract_that_is_not_there_is_a_wrong_call(call: Call, home: Settings, tmp_path: Path):
    """For every command that takes one."""
    for arguments in (("show",), ("promote", "m", "--reason", "x"), ("rollback", "--reason", "x")):
        done = call("model", *arguments, "--contract", tmp_path / "nothing.yaml")
        assert done.exit_code == 2
        assert "nothing.yaml" in done.stderr


# --------------------------------------------------------------------------------------------------- train on a table
def written(table: pa.Table, path: Path) -> Path:
    """The table as a file with exactly the contract's columns."""
    if path.suffix == ".csv":
        pacsv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def test_training_on_a_table_writes_a_signed_bundle_and_registers_nothing(
    call: Call, table: pa.Table, contract: Path, tmp_path: Path, home: Settings
):
    """The bundle loads with the state's keys; its card says that the line never admitted the rows.

    Once more, for people: the same model, byte for byte, for no clock and no path is in it.
    """
    data = written(table, tmp_path / "cells.parquet")
    done = call("train", data, "--contract", contract, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["status"], said["backend"], said["epochs"]) == ("finished", "reference", 12)
    assert said["registered"] is False
    assert said["snapshot"] is None
    assert said["validation_loss"] < 0.5
    assert {check["check"] for check in said["checks"]} >= {"curve.non_finite", "curve.no_learning"}
    place = tmp_path / "out" / said["model"]
    assert str(place) == said["bundle"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [said["model"]]
    model = load_bundle(place, model_public_key(home), ledger_key=signing_key(home).public_key())
    assert model.spec.snapshot_id.startswith("table-")
    card = (place / "card.md").read_text()
    assert "none of its rows was admitted" in card
    assert "cells.parquet" in card
    database = open_database(home)
    with database.session() as session:
        assert list_models(session) == list_runs(session) == list_snapshots(session) == []
    database.dispose()
    assert ledger_steps(home) == []
    assert list(home.work_dir.iterdir()) == []

    again = call("train", data, "--contract", contract, "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert [path.name for path in (tmp_path / "again").iterdir()] == [said["model"]]
    assert "no registry" in again.stdout
    assert "curve.spike" in again.stdout
    assert "epoch 12/12: loss" in again.stderr


def test_a_run_that_goes_wrong_is_stopped_and_leaves_no_bundle(
    call: Call, table: pa.Table, tmp_path: Path, home: Settings
):
    """An absurd learning rate: exit 1, the curve check is named, with and without JSON."""
    contract = write_contract(tmp_path, optimizer={"name": "adam", "learning_rate": 1e6})
    data = written(table, tmp_path / "cells.csv")
    done = call("train", data, "--contract", contract, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 1, done.output
    said = json.loads(done.stdout)
    assert said["status"] in {"stopped", "failed"}
    assert said["bundle"] is None
    assert "failed" in {check["outcome"] for check in said["checks"]}
    text = call("train", data, "--contract", contract, "--out", tmp_path / "out")
    assert text.exit_code == 1
    assert "curve." in text.stderr
    assert not (tmp_path / "out").exists()


def test_without_julia_a_run_that_asks_for_flux_is_not_checked(
    call: Call, table: pa.Table, tmp_path: Path, home: Settings, monkeypatch: pytest.MonkeyPatch
):
    """Exit 3: nothing was tried, and nothing else was taken in its place."""
    monkeypatch.setenv("JULIA_EXE", str(tmp_path / "no-julia"))
    contract = write_contract(tmp_path, backend="flux")
    data = written(table, tmp_path / "cells.parquet")
    done = call("train", data, "--contract", contract, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 3, done.output
    said = json.loads(done.stdout)
    assert (said["status"], said["backend"], said["curve_outcome"]) == ("not_checked", "flux", "not_checked")
    assert "Julia" in said["message"]
    assert "assay doctor" in said["next"]


def test_a_table_that_the_contract_does_not_know_is_refused(
    call: Call, table: pa.Table, contract: Path, tmp_path: Path, home: Settings
):
    """A column too few, a file that is no table: one message each."""
    data = written(table.drop_columns(["clinic"]), tmp_path / "cells.parquet")
    done = call("train", data, "--contract", contract, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "clinic" in done.stderr
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    assert call("train", broken, "--contract", contract, "--out", tmp_path / "out").exit_code == 1
    assert not (tmp_path / "out").exists()


def test_train_says_what_it_was_called_with_wrongly(
    call: Call, table: pa.Table, contract: Path, tmp_path: Path, home: Settings
):
    """No such thing, no place for the bundle, a file in its place, --out with a snapshot, no snapshot yet."""
    data = written(table, tmp_path / "cells.parquet")
    for arguments, words in (
        (("nothing.parquet",), "neither a snapshot nor a table"),
        ((data,), "--out"),
        ((data, "--out", data), "not a folder"),
        (("latest", "--out", tmp_path / "out"), "--out is for tables"),
        (("latest",), "no snapshot"),
        (("snapshot-1",), "no snapshot"),
    ):
        done = call("train", *arguments, "--contract", contract)
        assert done.exit_code == 2, (arguments, done.output)
        assert words in done.stderr


# ------------------------------------------------------------------------------------------------- train on a snapshot
@pytest.fixture
def snapshot(home: Settings, contract: Path, table: pa.Table) -> str:
    """The cells as an admitted snapshot."""
    agreed = load_contract(contract)
    columns = table_schema(agreed).names
    store, database = open_store(home), open_database(home)
    rows = annotate(
        table.select(columns),
        columns,
        delivery="delivery-1",
        source="clinic",
        file="cells.parquet",
        record=pa.array(np.arange(table.num_rows)),
    )
    part = make_part(store, put_table(store, rows).sha256, "delivery-1")
    manifest = make_manifest(
        store, dataset="cells", contract_sha256=agreed.digest, columns=columns, key=["cell"], parts=[part]
    )
    stored = store.put_bytes(manifest.to_json())
    with database.write() as session:
        from assay.db import put_delivery

        put_delivery(session, a_delivery("delivery-1", dataset="cells"))
        put_snapshot(
            session,
            Snapshot(
                id=manifest.id,
                dataset="cells",
                version=manifest.version,
                merkle_root=manifest.merkle_root,
                manifest_object=stored.sha256,
                rows=manifest.rows,
                admitted_at=utc_now(),
            ),
            ["delivery-1"],
        )
    database.dispose()
    return manifest.id


def test_training_on_a_snapshot_makes_a_registered_challenger_once(
    call: Call, snapshot: str, contract: Path, home: Settings
):
    """By `latest` and by id: the second call finds the first one's run."""
    done = call("train", "latest", "--contract", contract, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["snapshot"] == snapshot
    assert said["registered"] is True
    assert said["epochs"] == 12
    assert said["validation_loss"] < 0.5
    assert {check["check"] for check in said["checks"]} == {f"curve.{name}" for name in CHECKS}
    again = call("train", snapshot, "--contract", contract)
    assert again.exit_code == 0, again.output
    assert said["model"] in again.stdout
    assert "a challenger" in again.stdout
    assert ledger_steps(home) == ["run-finished", "curve-checked", "run-provenance"]
    assert call("model", "verify", said["model"]).exit_code == 0
    database = open_database(home)
    with database.session() as session:
        run = get_run(session, said["run"])
        assert len(findings_of(session, said["run"])) == len(CHECKS)
    database.dispose()
    assert run is not None
    assert run.status == "finished"
    refused = call(
        "model", "promote", said["model"], "--contract", contract, "--reason", "hurry", "--by", "me"
    )
    assert refused.exit_code == 1
    assert "not asked" in refused.stderr


def test_a_run_on_a_snapshot_that_could_not_be_tried_is_registered_as_such(
    call: Call, snapshot: str, home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The try without Julia stands in registry and ledger; there is no model."""
    monkeypatch.setenv("JULIA_EXE", str(tmp_path / "no-julia"))
    flux = write_contract(tmp_path, backend="flux")
    done = call("train", "latest", "--contract", flux)
    assert done.exit_code == 3, done.output
    assert "not checked" in done.stdout
    database = open_database(home)
    with database.session() as session:
        (run,) = list_runs(session, "cells")
        assert list_models(session, "cells") == []
    database.dispose()
    assert run.status == "not_checked"
    assert ledger_steps(home) == ["run-finished", "curve-checked"]


def test_a_run_that_was_not_tried_can_be_made_later(
    call: Call, snapshot: str, contract: Path, home: Settings
):
    """The registry then says how the run stands now, so that the gates do not read the old outcome."""
    run_id = run_id_for(load_contract(contract), snapshot, "reference")
    database = open_database(home)
    with database.session() as session:
        put_run(session, a_run(run_id, dataset="cells", status="not_checked", curve_outcome="not_checked"))
    said = json.loads(call("train", "latest", "--contract", contract, "--json").stdout)
    assert said["run"] == run_id
    with database.session() as session:
        run = get_run(session, run_id)
    database.dispose()
    assert run is not None
    assert (run.status, run.curve_outcome, run.bundle_uri) == ("finished", "passed", said["bundle"])


def test_training_that_is_killed_before_it_is_registered_gives_the_same_model_when_run_again(
    call: Call, snapshot: str, contract: Path, home: Settings, monkeypatch: pytest.MonkeyPatch
):
    """One bundle, one run, one model, one statement: nothing in them depends on how long it took."""
    import assay.line.training as station

    honest = station._register

    def killed(*_: object) -> None:
        raise OSError("pulled the plug")

    monkeypatch.setattr(station, "_register", killed)
    assert call("train", "latest", "--contract", contract).exit_code == 1
    folder = home.home / "models" / "cells"
    (first,) = folder.iterdir()
    monkeypatch.setattr(station, "_register", honest)
    said = json.loads(call("train", "latest", "--contract", contract, "--json").stdout)
    assert said["model"] == first.name
    assert [path.name for path in folder.iterdir()] == [first.name]
    assert ledger_steps(home) == ["run-finished", "curve-checked", "run-provenance"]


def test_the_public_key_is_where_the_line_put_it(home: Settings):
    """`assay model verify` finds the key that bundles were signed with."""
    assert model_public_key(home) == public_key_path(home, "model")
