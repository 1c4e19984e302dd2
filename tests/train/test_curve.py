"""The curve checks: each must fire on what it is for, and keep still on healthy runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.contract.training import CurveLimits, Optimizer
from assay.findings import Outcome
from assay.train import CurvePoint, RequestError, curve_outcome, read_curve
from assay.train.backends import Problem
from assay.train.backends.reference import ReferenceTrainer
from assay.train.batches import epoch_order, initial_weights
from assay.train.curve import CurveWatch, write_curve
from assay.train.spec import DenseSpec, Yardsticks


def point(epoch: int, train: float | None, validation: float | None = None, skipped: int = 0) -> CurvePoint:
    """One epoch; the validation loss is the training loss unless given."""
    return CurvePoint(
        epoch=epoch,
        train_loss=train,
        validation_loss=train if validation is None else validation,
        accuracy=0.5,
        gradient_norm=1.0,
        learning_rate=0.001,
        skipped_updates=skipped,
    )


def watch(
    *,
    trivial: float | None = 0.69,
    initial: float = 0.75,
    rows: int = 100,
    updates: int = 50,
    accepted=(),
    **limits,
) -> CurveWatch:
    """A watch over a run of two balanced classes."""
    yardsticks = Yardsticks(
        trivial_train_loss=trivial,
        trivial_validation_loss=trivial,
        initial_train_loss=initial,
        uninformed_loss=math.log(2),
        validation_rows=rows,
        updates_per_epoch=updates,
    )
    return CurveWatch(CurveLimits(**limits), yardsticks, accepted=accepted, subject="run-1")


def feed(watching: CurveWatch, losses, validation=None) -> tuple[int, str] | None:
    """Epoch and check that would have stopped the run."""
    for i, loss in enumerate(losses):
        failing = watching.update(point(i + 1, loss, None if validation is None else validation[i]))
        if failing:
            return i + 1, failing[0].check
    return None


def outcomes(watching: CurveWatch, **options) -> dict[str, str]:
    """Check to outcome, at the end."""
    return {f.check.removeprefix("curve."): f.outcome.value for f in watching.findings(**options)}


def test_a_falling_curve_passes_everything_but_the_comparison_that_has_no_runs_yet():
    """And the curve as a whole passes, because the absolute limits stand in."""
    healthy = watch()
    assert feed(healthy, [0.6, 0.5, 0.4, 0.35, 0.33]) is None
    assert outcomes(healthy) == {
        "non_finite": "passed",
        "spike": "passed",
        "divergence": "passed",
        "no_learning": "passed",
        "generalisation_gap": "passed",
        "gap_to_accepted": "not_checked",
    }
    assert curve_outcome(healthy.findings()) is Outcome.PASSED
    assert "0 accepted runs" in healthy.findings()[-1].message


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_loss_that_is_not_finite_stops_the_run_at_once(bad):
    """NaN and infinity travel as null and count as lost."""
    assert feed(watch(), [0.6, bad]) == (2, "curve.non_finite")


def test_a_validation_loss_that_is_not_finite_stops_the_run():
    """The training loss is measured before the last update, which may be the one that broke it."""
    assert feed(watch(), [0.6], [math.inf]) == (1, "curve.non_finite")


def test_one_skipped_update_stops_the_run():
    """A trainer that silently passes over a batch is a silent pass."""
    running = watch()
    [finding] = running.update(point(1, 0.5, skipped=1))
    assert (finding.check, finding.evidence["skipped_updates"]) == ("curve.non_finite", 1)


def test_a_spike_against_the_best_so_far_stops_the_run():
    """Three times the best epoch, by default."""
    assert feed(watch(), [0.6, 0.2, 0.59]) is None
    assert feed(watch(), [0.6, 0.2, 0.61]) == (3, "curve.spike")


def test_the_first_epoch_is_held_against_the_untrained_network():
    """An absurd learning rate shows at once, although the run has no best epoch yet."""
    assert feed(watch(), [2.3]) == (1, "curve.spike")
    assert feed(watch(), [2.2, 0.6]) is None


def test_a_rare_class_starts_high_and_that_is_no_spike():
    """One row in a hundred: the trivial loss is 0.06, an untrained network's 0.75."""
    assert feed(watch(trivial=0.056, initial=0.75), [0.7, 0.4, 0.2, 0.06, 0.05]) is None


def test_a_first_loss_that_no_untrained_network_has_is_not_taken_as_yardstick():
    """Corrupted inputs make even the first loss absurd."""
    assert feed(watch(initial=1e6), [900.0]) == (1, "curve.spike")
    assert feed(watch(initial=math.nan), [900.0]) == (1, "curve.spike")


def test_noise_near_zero_is_no_spike():
    """From 0.0001 to 0.03 is three hundredfold and means nothing."""
    assert feed(watch(), [0.3, 0.01, 0.0001, 0.03, 0.0001]) is None


def test_without_a_trivial_loss_the_first_epoch_is_the_yardstick():
    """And learning cannot be judged."""
    blind = watch(trivial=None)
    assert feed(blind, [0.6, 0.5]) is None
    assert outcomes(blind)["no_learning"] == "not_checked"
    assert curve_outcome(blind.findings()) is Outcome.NOT_CHECKED
    assert feed(watch(trivial=None), [0.5, 1.6]) == (2, "curve.spike")


def test_a_loss_that_keeps_rising_above_its_start_stops_the_run():
    """Three rises in a row, by default; rising back to where it started is not yet divergence."""
    assert feed(watch(), [0.5, 0.4, 0.45, 0.48, 0.49]) is None
    assert feed(watch(), [0.5, 0.51, 0.52, 0.53]) == (4, "curve.divergence")
    assert feed(watch(divergence_epochs=2), [0.5, 0.51, 0.52]) == (3, "curve.divergence")


def test_a_run_that_stands_still_above_the_trivial_loss_is_stopped_after_its_patience():
    """Five epochs here; more where an epoch is few updates."""
    assert feed(watch(updates=50), [0.75] * 10) == (5, "curve.no_learning")
    assert feed(watch(updates=10), [0.75] * 30) == (20, "curve.no_learning")
    assert feed(watch(updates=50), [0.72, *[0.7] * 10]) == (7, "curve.no_learning")


def test_a_slow_start_is_no_standstill():
    """A small learning rate on a rare class: far above the trivial loss for long, and falling all the time."""
    assert feed(watch(trivial=0.056), [0.75 * 0.95**epoch for epoch in range(60)]) is None


def test_at_its_end_a_run_must_have_learned_whatever_its_patience():
    """One epoch that learned nothing is not a pass."""
    short = watch(updates=1)
    assert feed(short, [0.69]) is None
    assert outcomes(short)["no_learning"] == "failed"
    assert outcomes(short, finished=False)["no_learning"] == "not_checked"


def test_learning_by_heart_what_does_not_generalise_is_no_learning():
    """Training loss falls, validation loss never does."""
    running = watch()
    assert feed(running, [0.6, 0.4, 0.3], [0.69, 0.7, 0.75]) is None
    assert outcomes(running)["no_learning"] == "failed"


def test_a_validation_loss_far_above_the_training_loss_fails():
    """In units of the trivial loss; on few validation rows it cannot be told, and is not called passed."""
    losses, validation = [0.5, 0.2, 0.05], [0.5, 0.6, 0.9]
    running = watch()
    assert feed(running, losses, validation) is None
    assert outcomes(running)["generalisation_gap"] == "failed"
    few = watch(rows=20)
    feed(few, losses, validation)
    assert outcomes(few)["generalisation_gap"] == "not_checked"
    assert curve_outcome(few.findings()) is Outcome.NOT_CHECKED
    blind = watch(trivial=None)
    feed(blind, losses, validation)
    assert outcomes(blind)["generalisation_gap"] == "not_checked"


def accepted_runs(count: int = 5) -> list[list[CurvePoint]]:
    """Runs that came down to 0.3."""
    return [[point(e + 1, loss) for e, loss in enumerate([0.6, 0.5, 0.4, 0.35, 0.3])] for _ in range(count)]


def test_a_run_like_the_accepted_ones_passes_the_comparison():
    """The gap is told either way."""
    running = watch(accepted=accepted_runs())
    assert feed(running, [0.61, 0.52, 0.41, 0.36, 0.31]) is None
    assert outcomes(running)["gap_to_accepted"] == "passed"
    assert curve_outcome(running.findings()) is Outcome.PASSED


def test_a_run_that_ends_far_above_the_accepted_ones_fails_the_comparison():
    """Half as much again, by default."""
    running = watch(accepted=accepted_runs())
    assert feed(running, [0.6, 0.55, 0.5, 0.5, 0.5]) is None
    assert outcomes(running)["gap_to_accepted"] == "failed"
    assert curve_outcome(running.findings()) is Outcome.FAILED


def test_a_run_that_falls_far_behind_the_accepted_ones_is_stopped_for_it():
    """Twice as far as at the end, three epochs long."""
    running = watch(accepted=accepted_runs())
    assert feed(running, [0.68, 0.68, 0.67, 0.68, 0.68, 0.68, 0.68]) == (7, "curve.gap_to_accepted")
    assert outcomes(running, finished=False)["gap_to_accepted"] == "failed"


def test_too_few_accepted_runs_are_not_compared_with():
    """The reason names how many are needed."""
    running = watch(accepted=accepted_runs(4))
    assert feed(running, [0.68] * 3) is None
    [finding] = [f for f in running.findings() if f.check == "curve.gap_to_accepted"]
    assert finding.outcome is Outcome.NOT_CHECKED
    assert "4 accepted runs" in finding.message
    assert "5 are needed" in finding.message


def test_a_run_without_epochs_checked_nothing():
    """An empty curve is not a healthy one."""
    findings = watch().findings()
    assert {f.outcome for f in findings} == {Outcome.NOT_CHECKED}
    assert len(findings) == 6
    assert curve_outcome(findings) is Outcome.NOT_CHECKED
    assert curve_outcome([]) is Outcome.NOT_CHECKED


def test_a_run_cut_short_is_not_asked_what_only_a_whole_one_can_answer():
    """The gaps are not checked, and so is the curve."""
    running = watch()
    feed(running, [0.6, 0.5])
    found = outcomes(running, finished=False)
    assert found["generalisation_gap"] == found["gap_to_accepted"] == "not_checked"
    assert curve_outcome(running.findings(finished=False)) is Outcome.NOT_CHECKED


def test_evidence_is_json_even_where_numbers_are_not_finite():
    """Findings have content ids, and canonical JSON has no infinity."""
    running = watch()
    [finding, *_] = running.update(point(1, math.inf))
    assert finding.id.startswith("finding-")
    for finding in running.findings():
        assert finding.id.startswith("finding-")


def test_a_curve_survives_its_file(tmp_path):
    """Null stands for what was not finite; no timings, so the bytes are the same each time."""
    curve = [point(1, 0.5), point(2, None, 0.4, skipped=3)]
    write_curve(tmp_path / "a", curve)
    write_curve(tmp_path / "b", curve)
    assert read_curve(tmp_path / "a") == curve
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", None])
def test_a_file_that_is_no_curve_is_refused(tmp_path, content):
    """Missing, truncated or nonsense."""
    path = tmp_path / "curve.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match="cannot be read"):
        read_curve(path)


def test_a_parquet_file_of_something_else_is_refused(tmp_path):
    """The columns are held against the curve's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"epoch": [1]}), tmp_path / "curve.parquet")
    with pytest.raises(RequestError, match="not a training curve"):
        read_curve(tmp_path / "curve.parquet")


def learn(
    x,
    y,
    *,
    seed: int,
    rate: float = 0.005,
    epochs: int = 15,
    hidden: int = 16,
    batch: int = 32,
    numbers: bool = False,
):
    """Train on the spot and watch; returns the watch and the stopping epoch and check, if any."""
    order = np.random.default_rng(seed).permutation(len(x))
    held, train = order[: len(x) // 5], order[len(x) // 5 :]
    x = ((x - x[train].mean(0)) / np.maximum(x[train].std(0), 1e-9)).astype(np.float32)
    if numbers:
        y = (y - y[train].mean()) / y[train].std()
        losses, uninformed, outputs = (y - y[train].mean()) ** 2, 1.0, 1
    else:
        outputs = int(y.max()) + 1
        losses = -np.log((np.bincount(y[train], minlength=outputs) + 1e-9) / len(train))[y]
        uninformed = math.log(outputs)
    layers = (DenseSpec(in_=x.shape[1], out=hidden, activation="relu"), DenseSpec(in_=hidden, out=outputs))
    trainer = ReferenceTrainer(
        Problem(
            layers,
            initial_weights(layers, seed),
            "mse" if numbers else "logit_cross_entropy",
            Optimizer(learning_rate=rate),
            x,
            y,
            batch,
            "float32",
        )
    )
    yardsticks = Yardsticks(
        trivial_train_loss=float(losses[train].mean()),
        trivial_validation_loss=float(losses[held].mean()),
        initial_train_loss=trainer.evaluate(train).loss,
        uninformed_loss=uninformed,
        validation_rows=len(held),
        updates_per_epoch=-(-len(train) // batch),
    )
    watching = CurveWatch(CurveLimits(), yardsticks)
    for epoch in range(1, epochs + 1):
        stats = trainer.run_epoch(epoch_order(train, seed, epoch))
        seen = trainer.evaluate(held)
        failing = watching.update(
            CurvePoint(
                epoch=epoch,
                train_loss=stats.loss,
                validation_loss=seen.loss,
                gradient_norm=stats.gradient_norm,
                learning_rate=rate,
                skipped_updates=stats.skipped,
            )
        )
        if failing:
            return watching, (epoch, failing[0].check)
    return watching, None


def data_sets():
    """Real and made data of several shapes, small."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_moons

    for name, load in (
        ("breast cancer", load_breast_cancer),
        ("digits", load_digits),
        ("iris", load_iris),
        ("wine", load_wine),
    ):
        x, y = load(return_X_y=True)
        yield name, np.asarray(x, dtype=float), np.asarray(y)
    x, y = make_moons(400, noise=0.3, random_state=0)
    yield "moons", x, y
    generator = np.random.default_rng(0)
    x = generator.normal(size=(600, 10))
    yield "noisy, one in ten positive", x, (x[:, 0] + generator.normal(size=600) > 1.8).astype(int)
    x = generator.normal(size=(2000, 6))
    yield "one in a hundred positive", x, (x[:, 0] + x[:, 1] > 3.3).astype(int)
    x = generator.normal(size=(500, 120))
    yield "wide", x, (x[:, :10].sum(axis=1) > 0).astype(int)


def regressions():
    """Numbers to predict."""
    from sklearn.datasets import load_diabetes, make_friedman1

    x, y = load_diabetes(return_X_y=True)
    yield "diabetes", x, y
    x, y = make_friedman1(500, noise=1.0, random_state=0)
    yield "friedman", x, y
    x = np.random.default_rng(1).normal(size=(600, 40))
    yield "large numbers", x, 3e5 + x[:, :5].sum(axis=1) * 1e4


def test_healthy_runs_are_not_flagged():
    """Sixty-six runs: eight classifications and three regressions, three seeds, two sizes of batch."""
    flagged, runs = [], 0
    tasks = [(*task, False) for task in data_sets()] + [(*task, True) for task in regressions()]
    for name, x, y, numbers in tasks:
        for seed in range(3):
            for batch in (16, 128):
                epochs = 15 if batch == 16 else 40
                watching, stopped = learn(x, y, seed=seed, batch=batch, numbers=numbers, epochs=epochs)
                outcome = curve_outcome(watching.findings())
                runs += 1
                if stopped or outcome is not Outcome.PASSED:
                    flagged.append((name, seed, batch, stopped, outcomes(watching)))
    assert runs == 66
    assert flagged == []


def test_a_small_learning_rate_is_slow_and_not_stopped():
    """A tenth of the usual: no check may call that broken while it runs."""
    stopped = [
        (name, seed, stop)
        for name, x, y in data_sets()
        for seed in range(2)
        if (stop := learn(x, y, seed=seed, rate=0.0003, epochs=20, batch=64)[1])
    ]
    assert stopped == []


def test_an_absurd_learning_rate_is_stopped_within_three_epochs():
    """Thirty, on every data set and seed."""
    late = []
    tasks = [(*task, False) for task in data_sets()] + [(*task, True) for task in regressions()]
    for name, x, y, numbers in tasks:
        for seed in range(3):
            _, stopped = learn(x, y, seed=seed, rate=30.0, numbers=numbers)
            if stopped is None or stopped[0] > 3:
                late.append((name, seed, stopped))
    assert late == []


def test_an_epoch_costs_the_same_however_many_there_were():
    """Twenty epochs take the same number of calls at the start and after five thousand."""
    import sys

    running = watch(accepted=accepted_runs())

    def calls(epochs: int) -> int:
        count = 0

        def note(_frame, event, _argument):
            nonlocal count
            count += event in {"call", "c_call"}

        sys.setprofile(note)
        try:
            assert feed(running, [0.3] * epochs) is None
        finally:
            sys.setprofile(None)
        return count

    calls(100)
    early = calls(20)
    calls(5000)
    assert calls(20) <= early * 1.1
    assert outcomes(running)["divergence"] == "passed"


def test_labels_without_meaning_do_not_pass():
    """Shuffled labels, on enough rows that chance does not look like learning."""
    sets = {name: (x, y) for name, x, y in data_sets()}
    many = np.random.default_rng(2).normal(size=(3000, 10))
    passed = []
    for name, (x, y) in {"digits": sets["digits"], "many": (many, (many[:, 0] > 0).astype(int))}.items():
        shuffled = np.random.default_rng(1).permutation(y)
        watching, stopped = learn(x, shuffled, seed=0, epochs=30)
        if not stopped and curve_outcome(watching.findings()) is Outcome.PASSED:
            passed.append((name, outcomes(watching)))
    assert passed == []
