"""The whole way on real data: as good as a logistic regression, which is what a user would try first."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file

from assay.findings import Outcome
from assay.train import BundleSpec, load_preprocessing, train_run
from assay.train.backends.reference import predict
from tests.train.helpers import contract, ready


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


def test_the_demos_census_data_trains_to_its_usual_accuracy(tmp_path):
    """UCI Adult, as in the repository: mixed columns, real missing values; 85 % is what such a network reaches."""
    from pathlib import Path

    import pyarrow.parquet as pq

    table = pq.read_table(Path(__file__).resolve().parents[2] / "include/data/adult/adult.parquet").slice(
        0, 20_000
    )
    columns = {
        field.name: {"type": "string" if pa.types.is_string(field.type) else "integer", "nullable": True}
        for field in table.schema
        if field.name != "split"
    }
    columns["person_id"]["nullable"] = columns["income"]["nullable"] = False
    agreed = contract(
        columns, label="income", classes=["<=50K", ">50K"], key=["person_id"], layers=[{"dense": 32}], epochs=6,
        batch_size=128, optimizer={"name": "adam", "learning_rate": 0.002},
    )  # fmt: skip
    request, _ = ready(tmp_path, table, agreed)
    result = train_run(request, contract=agreed)
    assert (result.status, result.outcome) == ("finished", Outcome.PASSED)
    assert result.curve[-1].accuracy > 0.84

    absurd = contract(
        columns, label="income", classes=["<=50K", ">50K"], key=["person_id"], epochs=100,
        optimizer={"name": "adam", "learning_rate": 30.0},
    )  # fmt: skip
    request, _ = ready(tmp_path / "absurd", table, absurd)
    result = train_run(request, contract=absurd)
    assert (result.status, result.bundle_dir) == ("stopped", None)
    assert len(result.curve) <= 3
