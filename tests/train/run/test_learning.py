"""The whole way on real data: as good as a logistic regression, which is what a user would try first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from assay.findings import Outcome
from assay.train import BundleSpec, load_preprocessing, train_run
from assay.train.backends.reference import predict
from assay.train.steps.privacy import Accountant
from tests.train.helpers import contract, ready

pytestmark = pytest.mark.usefixtures("unfollowed")

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("name", "margin"), [("breast_cancer", 0.02), ("digits", 0.01)])
def test_accuracy_on_real_data_is_that_of_a_logistic_regression_or_better(tmp_path, name, margin):
    """Trained through the worker, predicted from the bundle's files alone, on rows that neither has seen."""
    import sklearn.datasets
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    held, train = order[: len(x) // 4], order[len(x) // 4 :]
    table = pa.table({**{f"f{i}": x[:, i] for i in range(x.shape[1])}, "label": y})
    columns = {f"f{i}": {"type": "number"} for i in range(x.shape[1])} | {"label": {"type": "integer"}}
    agreed = contract(
        columns,
        classes=[int(c) for c in np.unique(y)],
        layers=[{"dense": 32}],
        epochs=30,
        validation_fraction=0.1,
    )
    request, _ = ready(tmp_path, table.take(train), agreed)
    result = train_run(request, contract=agreed)
    assert (result.status, result.outcome) == ("finished", Outcome.PASSED)

    spec = BundleSpec.model_validate_json((request.out_dir / "spec.json").read_bytes())
    weights = load_file(request.out_dir / "weights.safetensors")
    features = load_preprocessing(spec.preprocessing).transform(table.take(held))
    ours = (predict(weights, spec, features).argmax(axis=1) == y[held]).mean()
    rival = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(x[train], y[train])
    assert ours >= rival.score(x[held], y[held]) - margin


def census(rows=20_000):
    """UCI Adult as in the repository, its columns, and what every contract of it needs."""
    table = pq.read_table(REPOSITORY / "include/data/adult/adult.parquet").slice(0, rows)
    columns = {
        field.name: {"type": "string" if pa.types.is_string(field.type) else "integer", "nullable": True}
        for field in table.schema
        if field.name != "split"
    }
    columns["person_id"]["nullable"] = columns["income"]["nullable"] = False
    return table, {"columns": columns, "label": "income", "classes": ["<=50K", ">50K"], "key": ["person_id"]}


@pytest.mark.parametrize(
    "layers",
    [
        [{"dense": 32}],
        [{"embedding": 4}, {"dense": 32}, {"layer_norm": True, "activation": "relu"}, {"dropout": 0.1}],
        [{"dense": 32, "activation": "identity"}, {"batch_norm": True, "activation": "relu"}],
        [{"dense": 24}, {"skip": [{"dense": 24}], "connection": "add"}],
    ],
)
def test_the_demos_census_data_trains_to_its_usual_accuracy(tmp_path, layers):
    """Mixed columns, real missing values; 85 % is what such networks reach, whatever their layers."""
    table, given = census()
    agreed = contract(
        **given, layers=layers, epochs=6, batch_size=128, optimizer={"name": "adam", "learning_rate": 0.002}
    )
    request, _ = ready(tmp_path, table, agreed)
    result = train_run(request, contract=agreed)
    assert (result.status, result.outcome) == ("finished", Outcome.PASSED)
    assert result.curve[-1].accuracy > 0.84


def test_an_absurd_learning_rate_on_the_census_is_stopped(tmp_path):
    """Within three epochs, without a bundle."""
    table, given = census()
    absurd = contract(**given, epochs=100, optimizer={"name": "adam", "learning_rate": 30.0})
    request, _ = ready(tmp_path, table, absurd)
    result = train_run(request, contract=absurd)
    assert (result.status, result.bundle_dir) == ("stopped", None)
    assert len(result.curve) <= 3


def test_private_training_on_the_census_is_useful_and_its_account_is_right(tmp_path):
    """Far better than always answering the larger class, at an epsilon below two, which the bundle states."""
    table, given = census()
    agreed = contract(
        **given, layers=[{"dense": 16}], epochs=4, batch_size=256,
        optimizer={"name": "adam", "learning_rate": 0.01},
        privacy={"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-5, "seeded_noise": True},
    )  # fmt: skip
    request, _ = ready(tmp_path, table, agreed)
    result = train_run(request, contract=agreed)
    assert (result.status, result.outcome) == ("finished", Outcome.PASSED)
    assert result.curve[-1].accuracy > 0.81
    spec = BundleSpec.model_validate_json((request.out_dir / "spec.json").read_bytes())
    report = spec.privacy
    spent = Accountant(256 / spec.rows.train, 1.0, 1e-5).spent(report.steps)
    assert report.sampling_rate == pytest.approx(256 / spec.rows.train)
    assert (report.epsilon_rdp, report.epsilon_pld) == pytest.approx(spent, rel=1e-9)
    assert 0.5 < report.epsilon_pld < report.epsilon_rdp < 2


def test_a_convolution_reads_digits(tmp_path):
    """Along the pixels in their order, with pooling, on rows that it has not seen."""
    import sklearn.datasets

    x, y = sklearn.datasets.load_digits(return_X_y=True)
    table = pa.table({**{f"f{i}": x[:, i] for i in range(64)}, "label": y})
    agreed = contract(
        {f"f{i}": {"type": "number"} for i in range(64)} | {"label": {"type": "integer"}},
        classes=list(range(10)),
        layers=[{"conv": 8, "kernel": 9, "padding": 4}, {"max_pool": 2}, {"flatten": True}, {"dense": 32}],
        epochs=15,
    )
    request, _ = ready(tmp_path, table, agreed)
    result = train_run(request, contract=agreed)
    assert (result.status, result.outcome) == ("finished", Outcome.PASSED)
    assert result.curve[-1].accuracy > 0.95


def test_a_regression_with_hubers_loss_is_as_good_as_least_squares(tmp_path):
    """On the diabetes data, by R² on rows that it has not seen."""
    import sklearn.datasets
    from sklearn.linear_model import LinearRegression

    x, y = sklearn.datasets.load_diabetes(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(x))
    held, train = order[:110], order[110:]
    table = pa.table({**{f"f{i}": x[:, i] for i in range(10)}, "y": y})
    agreed = contract(
        {f"f{i}": {"type": "number"} for i in range(10)} | {"y": {"type": "number"}},
        label="y", layers=[{"dense": 8, "activation": "tanh"}], loss="huber", epochs=40,
        optimizer={"name": "adamw", "learning_rate": 0.005, "weight_decay": 0.1},
        schedule={"name": "cosine", "warmup_epochs": 2},
    )  # fmt: skip
    request, _ = ready(tmp_path, table.take(train), agreed)
    assert train_run(request, contract=agreed).status == "finished"
    spec = BundleSpec.model_validate_json((request.out_dir / "spec.json").read_bytes())
    weights = load_file(request.out_dir / "weights.safetensors")
    features = load_preprocessing(spec.preprocessing).transform(table.take(held))
    error = ((predict(weights, spec, features) - y[held]) ** 2).mean()
    rival = LinearRegression().fit(x[train], y[train]).predict(x[held])
    assert error < 1.1 * ((rival - y[held]) ** 2).mean()


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum", "multi_krum", "geometric_median"])
def test_a_source_with_huge_lies_spoils_the_mean_but_no_robust_aggregation(tmp_path, rule):
    """One of seven hospitals inverts its labels on rows far out, where gradients are large."""
    import sklearn.datasets

    x, y = sklearn.datasets.load_breast_cancer(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    source = np.arange(len(x)) % 7
    order = np.random.default_rng(0).permutation(len(x))
    held, train = order[:150], order[150:]
    lies = np.where(source == 3, 1 - y, y)
    sent = np.where((source == 3)[:, None], 5 * x, x)
    names = [f"hospital {number}" for number in source]

    def accuracy(aggregation):
        table = pa.table({**{f"f{i}": sent[:, i] for i in range(30)}, "source": names, "label": lies})
        columns = {f"f{i}": {"type": "number"} for i in range(30)}
        agreed = contract(
            columns | {"source": {"type": "string"}, "label": {"type": "integer"}},
            classes=[0, 1], source="source", layers=[], epochs=15, batch_size=70, aggregation=aggregation,
            optimizer={"name": "sgd", "learning_rate": 0.05},
            curve={"divergence_epochs": 1000, "max_generalisation_gap": 1000.0},
        )  # fmt: skip
        request, _ = ready(tmp_path / aggregation, table.take(train), agreed)
        result = train_run(request, contract=agreed)
        assert result.status == "finished", result.reason
        spec = BundleSpec.model_validate_json((request.out_dir / "spec.json").read_bytes())
        weights = load_file(request.out_dir / "weights.safetensors")
        clean = pa.table({f"f{i}": x[:, i] for i in range(30)}).take(held)
        features = load_preprocessing(spec.preprocessing).transform(clean)
        return (predict(weights, spec, features).argmax(axis=1) == y[held]).mean()

    assert accuracy("mean") < 0.8
    assert accuracy(rule) > 0.9
