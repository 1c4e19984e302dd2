"""What happens between the first epoch and the bundle: stopping early or in time, and signs of life."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from assay.contract.models import Contract
from assay.train import BundleSpec, PreconditionError, TrainRequest, make_request, prepare, read_curve
from assay.train.backends import Batches
from assay.train.programs.worker import _Worker
from assay.train.records.events import Epoch, Event, Failed, Finished, Progress, Warned, parse_event
from assay.train.records.rowlosses import ROW_LOSSES_FILE
from assay.train.run import loop as looping
from assay.train.run.inputs import load_inputs
from assay.train.run.plan import MAX_PIECE, Plan, part_of, pieces
from assay.train.steps.privacy import Accountant
from tests.train.helpers import blob_contract, blobs, ready

NOISY = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-5, "accountant": "rdp"}


def work(request: TrainRequest) -> tuple[int, list[Event]]:
    """Run the worker in this process."""
    protocol = io.StringIO()
    path = request.run_dir / "request.json"
    request.write(path)
    code = _Worker(protocol).run(path)
    return code, [parse_event(line.encode()) for line in protocol.getvalue().splitlines()]


def spec_of(request: TrainRequest) -> BundleSpec:
    """What the bundle says."""
    return BundleSpec.model_validate_json((request.out_dir / "spec.json").read_bytes())


def sourced(agreed: Contract, places: int = 5, rows: int = 300) -> tuple[Contract, pa.Table]:
    """The contract with a source column, and blobs from so many places."""
    schema = agreed.schema_.model_copy(update={"source": "place"})
    table = blobs(rows).append_column("place", pa.array([f"p{i % places}" for i in range(rows)]))
    return agreed.model_copy(update={"schema_": schema}), table


def test_early_stopping_keeps_the_weights_of_the_best_epoch(tmp_path):
    """Those that a run of just so many epochs ends with; what it stopped for stands in bundle and event."""
    overfitting = {
        "layers": [{"dense": 64}],
        "batch_size": 8,
        "optimizer": {"name": "adam", "learning_rate": 0.02},
    }
    table = blobs(distance=0.7)
    agreed = blob_contract(epochs=60, early_stopping={"patience": 3}, **overfitting)
    request, _ = ready(tmp_path / "stopped", table, agreed)
    code, events = work(request)
    assert code == 0
    finished, spec = events[-1], spec_of(request)
    assert isinstance(finished, Finished)
    assert finished.epochs == finished.best_epoch + 3 < 60
    assert (spec.epochs, spec.best_epoch) == (finished.epochs, finished.best_epoch)
    assert "early stopping" in spec.stopped_because
    assert spec.stopped_because == finished.stopped_because
    curve = read_curve(request.out_dir / "curve.parquet")
    losses = [point.validation_loss for point in curve]
    assert int(np.argmin(losses)) + 1 == spec.best_epoch
    assert spec.metrics["validation_loss"] == min(losses)
    short, _ = ready(tmp_path / "short", table, blob_contract(epochs=finished.best_epoch, **overfitting))
    assert work(short)[0] == 0
    one, other = (load_file(r.out_dir / "weights.safetensors") for r in (request, short))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_an_improvement_below_min_delta_is_none(tmp_path):
    """The first epoch stays the best, and patience runs out at once."""
    agreed = blob_contract(epochs=30, early_stopping={"patience": 2, "min_delta": 100.0})
    request, _ = ready(tmp_path, agreed=agreed)
    assert work(request)[0] == 0
    assert (spec_of(request).epochs, spec_of(request).best_epoch) == (3, 1)


def test_without_early_stopping_the_weights_are_those_of_the_last_epoch(tmp_path):
    """However it did before."""
    request, _ = ready(tmp_path)
    assert work(request)[0] == 0
    assert (spec_of(request).best_epoch, spec_of(request).stopped_because) == (5, None)


def test_a_privacy_budget_ends_the_run_before_the_update_that_would_break_it(tmp_path):
    """In the middle of an epoch if need be; the bundle says what was spent, by both accountants."""
    account = Accountant(32 / 240, 1.0, 1e-5)
    budget = (account.epsilon(19, "rdp") + account.epsilon(20, "rdp")) / 2
    agreed = blob_contract(epochs=30, privacy={**NOISY, "max_epsilon": budget})
    request, _ = ready(tmp_path, agreed=agreed)
    code, events = work(request)
    assert code == 0
    report, spec = spec_of(request).privacy, spec_of(request)
    assert (report.steps, report.sampling_rate) == (19, 32 / 240)
    assert report.epsilon_rdp == account.epsilon(19, "rdp") <= budget < account.epsilon(20, "rdp")
    assert report.epsilon_pld == account.epsilon(19, "pld")
    assert spec.epochs == 3  # 8 + 8 + 3 updates
    assert "privacy budget" in spec.stopped_because
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert [e.epsilon_rdp for e in epochs] == [account.epsilon(n, "rdp") for n in (8, 16, 19)]
    assert all(0 <= e.clipped <= 1 for e in epochs)


def test_a_budget_that_allows_no_update_fails_with_what_to_change(tmp_path):
    """There is no model that kept the promise."""
    request, _ = ready(tmp_path, agreed=blob_contract(privacy={**NOISY, "max_epsilon": 0.01}))
    code, events = work(request)
    assert code == 1
    assert isinstance(events[-1], Failed)
    assert "not allow for a single update" in events[-1].reason
    assert "noise_multiplier" in events[-1].reason
    assert not request.out_dir.exists()


def test_a_private_run_keeps_no_row_losses_and_no_sources(tmp_path):
    """The loss of a single row is what its noise hides."""
    agreed, table = sourced(blob_contract(privacy=NOISY))
    request, _ = ready(tmp_path, table, agreed)
    assert request.arrays.sources is not None
    code, events = work(request)
    assert code == 0
    assert not (request.run_dir / ROW_LOSSES_FILE).exists()
    assert not list((request.run_dir / "checkpoints").glob("*.f32"))
    assert all(event.sources == () for event in events if isinstance(event, Epoch))


def test_missing_accounting_is_a_failure_with_the_way_to_get_it(tmp_path, monkeypatch):
    """Nothing is trained without knowing what it costs."""
    import sys

    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    monkeypatch.setitem(sys.modules, "dp_accounting.rdp", None)
    monkeypatch.setitem(sys.modules, "dp_accounting.pld", None)
    request, _ = ready(tmp_path, agreed=blob_contract(privacy=NOISY))
    code, events = work(request)
    assert code == 1
    assert isinstance(events[-1], Failed)
    assert "dp-accounting" in events[-1].reason
    assert [event.event for event in events] == ["failed"]


def test_the_loss_of_every_training_row_is_kept_for_every_epoch(tmp_path):
    """The mean over rows is the epoch's training loss."""
    request, _ = ready(tmp_path)
    _, events = work(request)
    found = pq.read_table(request.run_dir / ROW_LOSSES_FILE)
    assert found["row"].to_pylist() == np.load(request.arrays.train).tolist()
    losses = np.array(found["losses"].to_pylist())
    assert losses.shape == (240, 5)
    told = [event.train_loss for event in events if isinstance(event, Epoch)]
    np.testing.assert_allclose(losses.mean(axis=0), told, rtol=1e-5)


def test_rows_with_wrong_labels_fight_the_model_most(tmp_path):
    """Which is what row losses are for: the flipped rows are those of highest loss."""
    table = blobs(400)
    labels = np.array(table["label"].to_pylist())
    flipped = np.arange(0, 400, 20)
    labels[flipped] = np.where(labels[flipped] == "red", "green", "red")
    table = table.set_column(table.schema.get_field_index("label"), "label", pa.array(labels))
    request, _ = ready(tmp_path, table, blob_contract(epochs=8))
    work(request)
    found = pq.read_table(request.run_dir / ROW_LOSSES_FILE)
    last = np.array([losses[-1] for losses in found["losses"].to_pylist()])
    rows = found["row"].to_numpy()
    learned = np.isin(flipped, rows).sum()
    worst = rows[np.argsort(-last)[:learned]]
    assert np.isin(worst, flipped).mean() > 0.7


def test_long_epochs_give_signs_of_life(tmp_path, monkeypatch):
    """Between the pieces that the updates are cut into, never after the last."""
    monkeypatch.setattr(looping, "SIGN_SECONDS", 0.0)
    monkeypatch.setattr("assay.train.run.plan.MAX_PIECE", 3)
    request, _ = ready(tmp_path, agreed=blob_contract(epochs=2))
    _, events = work(request)
    signs = [event for event in events if isinstance(event, Progress)]
    assert [(s.epoch, s.updates, s.of) for s in signs] == [(1, 3, 8), (1, 6, 8), (2, 3, 8), (2, 6, 8)]


def test_signs_of_life_change_nothing(tmp_path, monkeypatch):
    """Whether and when they are given depends on the clock, so nothing else may."""
    quiet, _ = ready(tmp_path / "quiet")
    work(quiet)
    monkeypatch.setattr(looping, "SIGN_SECONDS", 0.0)
    loud, _ = ready(tmp_path / "loud")
    work(loud)
    assert {p.name: p.read_bytes() for p in quiet.out_dir.iterdir()} == {
        p.name: p.read_bytes() for p in loud.out_dir.iterdir()
    }


def test_every_source_that_krum_left_out_is_told_update_by_update(tmp_path):
    """In progress events that cover the epoch; the shares stand in the epoch's own."""
    agreed, table = sourced(blob_contract(epochs=2, aggregation="krum", byzantine_sources=1))
    request, _ = ready(tmp_path, table, agreed)
    code, events = work(request)
    assert code == 0
    for number in (1, 2):
        told = [d for e in events if isinstance(e, Progress) and e.epoch == number for d in e.dropped]
        assert len(told) == 8
        assert all(len(dropped) == 4 for dropped in told)  # krum keeps one of five
        [epoch] = [e for e in events if isinstance(e, Epoch) and e.epoch == number]
        shares = [sum(i in dropped for dropped in told) / 8 for i in range(5)]
        assert [source.dropped for source in epoch.sources] == shares
        assert {source.rows for source in epoch.sources} == {8 * (32 // 5)}
    assert spec_of(request).aggregation.name == "krum"


def test_too_few_sources_for_what_krum_promises_are_refused_before_anything_runs(tmp_path):
    """Never a quiet mean."""
    agreed, table = sourced(blob_contract(aggregation="krum", byzantine_sources=2), places=6)
    prepared = prepare(table, agreed, tmp_path / "run")
    with pytest.raises(PreconditionError, match="cannot stand 2 hostile of 6"):
        make_request(prepared, agreed, snapshot_id="s", out_dir=tmp_path / "bundle")


def test_sources_that_do_not_fit_the_request_are_refused(tmp_path):
    """Numbers without a name, or not one per row."""
    agreed, table = sourced(blob_contract())
    for wrong in (np.full(300, 9, np.int32), np.zeros(7, np.int32), np.full(300, -1, np.int32)):
        request, _ = ready(tmp_path, table, agreed)
        np.save(request.arrays.sources, wrong)
        code, [event] = work(request)
        assert (code, "sources" in event.reason) == (1, True)


def test_the_fallback_of_auto_is_told_in_the_event_log(tmp_path):
    """Whoever expected Flux reads why it was not."""
    request, _ = ready(tmp_path)
    reason = "auto: Julia is not installed: there is no `julia` on PATH"
    _, events = work(request.model_copy(update={"backend_reason": reason}))
    [warning] = [event for event in events if isinstance(event, Warned)]
    assert reason in warning.message


def test_yardsticks_follow_the_loss(tmp_path):
    """The trivial predictor is judged by the run's own loss, weights included."""
    request, _ = ready(tmp_path / "a", agreed=blob_contract(class_weights={"red": 3.0, "green": 1.0}))
    _, events = work(request)
    y, train = np.load(request.arrays.y), np.load(request.arrays.train)
    weights = np.array([3.0, 1.0])
    red = (y[train] == 0).mean() * 3
    share = red / (red + (y[train] == 1).mean())
    losses = -np.log(np.array([share, 1 - share]))[y[train]] * weights[y[train]]
    known = events[0].yardsticks
    assert known.trivial_train_loss == pytest.approx(losses.mean())
    assert known.uninformed_loss == pytest.approx(np.log(2) * weights[y[train]].mean())
    assert known.class_rows == tuple(np.bincount(y[train]))
    huber, _ = ready(tmp_path / "b", _prices(), _price_contract())
    _, events = work(huber)
    assert events[0].yardsticks.trivial_train_loss < 0.5


def _prices() -> pa.Table:
    generator = np.random.default_rng(0)
    x = generator.normal(size=300)
    return pa.table({"a": x, "price": 3 * x + generator.normal(size=300)})


def _price_contract() -> Contract:
    from tests.train.helpers import contract

    columns = {"a": {"type": "number"}, "price": {"type": "number"}}
    return contract(columns, label="price", loss="huber", huber_delta=0.5)


def test_pieces_of_a_plan_are_its_batches_in_order(tmp_path):
    """Nothing twice, nothing lost, and the numbers of the updates go on."""
    request, _ = ready(tmp_path)
    plan = Plan(request, load_inputs(request))
    whole = plan.batches(2)
    parts = list(pieces(whole, 3))
    assert [len(part.learning_rates) for part in parts] == [3, 3, 2]
    assert [part.first_step for part in parts] == [8, 11, 14]
    np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), whole.rows)
    for part in parts:
        assert part.offsets[0] == 0
        assert part.offsets[-1] == len(part.rows)
    assert isinstance(part_of(whole, 1, 2), Batches)
    assert 1 <= plan.piece <= MAX_PIECE


def test_large_networks_are_run_in_smaller_pieces(tmp_path):
    """So that a sign of life comes through now and then; the size follows from the request alone."""
    small, _ = ready(tmp_path / "a")
    large, _ = ready(
        tmp_path / "b", agreed=blob_contract(layers=[{"dense": 2048}, {"dense": 2048}], batch_size=200)
    )
    sizes = [Plan(request, load_inputs(request)).piece for request in (small, large)]
    assert sizes[0] == MAX_PIECE
    assert 1 <= sizes[1] < 10


def test_a_private_plan_needs_its_key(tmp_path):
    """Without one there is no privacy, and nothing is drawn."""
    from assay.train import RequestError

    request, _ = ready(tmp_path, agreed=blob_contract(privacy=NOISY))
    with pytest.raises(RequestError, match="key"):
        Plan(request, load_inputs(request)).batches(1)
    one, two = (Plan(request, load_inputs(request), key).batches(1) for key in (b"a" * 32, b"b" * 32))
    assert not np.array_equal(one.rows, two.rows)


def test_the_row_losses_file_is_json_free_of_paths_and_clocks(tmp_path):
    """Two runs of the same request write the same bytes."""
    files = []
    for name in ("a", "b"):
        request, _ = ready(tmp_path / name)
        work(request)
        files.append((request.run_dir / ROW_LOSSES_FILE).read_bytes())
    assert files[0] == files[1]
    assert json.dumps(str(tmp_path)).encode() not in files[0]
