"""What the reference backend computes for small networks, so that the Julia tests can compare without Python.

`python -m tests.train.golden` writes the file anew; a test holds it against what the reference computes today.

The file is TOML. Numbers of a float32 case are the shortest decimals that give the float32 back. All row, source and
update numbers count from zero; a flat list of weights holds all arrays of
`assay.train.network.layers.array_specs` in their order, each in C order, running statistics included.

    [data]
    x = [[...], ...]                 # (rows, features); features 0 and 1 are categories' numbers, below 4 and 3
    classes, binary = [...]          # class numbers: of three, of two
    numbers = [...]                  # targets of mse and huber
    sources = [...]                  # each row's source, 0 to 6

    [[plans]]                        # what `Batches` holds; offsets has one number more than learning_rates
    name, rows, offsets, learning_rates

    [[cases]]
    name, dtype                      # float32 or float64
    kind                             # which part it tests: activation, layer, loss, optimizer, schedule, aggregation,
                                     # privacy, skipped
    target                           # which of the data's columns is y: classes, binary or numbers
    plan                             # by name
    seed                             # of dropout's masks
    layers = [{type = "dense", in = ..., ...}, ...]   # as in spec.json
    loss = {name, huber_delta, class_weights}         # class_weights only where there are some
    optimizer = {name, learning_rate, weight_decay, beta1, beta2, epsilon, momentum, nesterov, rho}
    aggregation = {name, byzantine}
    clipping = {max_norm, noise_deviation, expected_rows}   # only private cases
    noise = [[...], ...]             # only private cases: for each update a standard normal number per trainable one
    nan_rows = [...]                 # only some: rows of x that are NaN in every feature in this case
    arrays = [{name, shape, trainable}, ...]
    first = [...]                    # flat weights before
    final = [...]                    # flat weights after
    calls = [{from, to, loss_sum, rows, norm_sum, norm_max, updates, skipped, clipped, dropped, row_losses}, ...]
                                     # each is one `run` of updates from:to of the plan with first_step = from;
                                     # dropped is [[...], ...] with krum and multi_krum, else []
    evaluation = {loss, metric, row_losses}           # of all rows after the last update; nan rows left out
    gram = [[...], ...]              # `gradient_gram` of the rows of each source, in the order of their numbers

    [[masks]]
    seed, step, layer, rows, size, rate, uniforms = [[...]], keep = [[0 or 1, ...], ...]

    [[aggregations]]
    name, byzantine, gradients = [[...], ...], gradient = [...], dropped = [...]

Where Flux leaves a choice, it is this: adamw is `AdamW(...; couple = true)`, weight decay of the others
`WeightDecay` before the rule, on every trainable array, and no part of any norm. Statistics of a batch normalisation
move only with an update that is made; a batch of a single number per channel makes them NaN, and is therefore skipped
like one whose loss or gradient is not finite. A binary class is the second where its logit is above zero.
`gradient_gram` is of the weighted loss, without dropout, with running statistics. Classes' weights are left out of
`row_losses` only. Noise and clipped sum are added up in float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from assay.contract.optimization import Optimizer, Schedule
from assay.train.backends import Array, Batches, Clipping, Problem, Stats, Trainer
from assay.train.backends.reference import ACTIVATIONS, ReferenceTrainer
from assay.train.network.layers import (
    BatchNormSpec,
    ConvSpec,
    DenseSpec,
    DropoutSpec,
    EmbeddedColumn,
    EmbeddingSpec,
    FlattenSpec,
    LayerNormSpec,
    LayerSpec,
    MaxPoolSpec,
    SkipSpec,
    UnflattenSpec,
    array_specs,
)
from assay.train.network.spec import AggregationSpec, LossSpec
from assay.train.run.batches import initial_weights, learning_rates
from assay.train.steps import aggregation, masks

FILE = Path(__file__).resolve().parents[2] / "include/julia/AssayTrainer/test/golden.toml"
ROWS, FEATURES, SOURCES, UPDATES = 56, 8, 7, 54
CALLS = ((0, 20), (20, UPDATES))
RATE = 0.01
SEED = 5
DTYPES = ("float32", "float64")
ADAM = Optimizer(learning_rate=RATE)
SGD = Optimizer(name="sgd", learning_rate=RATE)


class Case(NamedTuple):
    """One network and how it learns; both backends run it."""

    name: str
    kind: str
    layers: tuple[LayerSpec, ...]
    dtype: str
    loss: LossSpec = LossSpec(name="logit_cross_entropy")
    optimizer: Optimizer = ADAM
    plan: str = "constant"
    aggregation: AggregationSpec = AggregationSpec()
    clipping: Clipping | None = None
    nan_rows: tuple[int, ...] = ()

    @property
    def target(self) -> str:
        """Which column is learned."""
        named = {"logit_cross_entropy": "classes", "binary_logit_cross_entropy": "binary"}
        return named.get(self.loss.name, "numbers")


def data() -> dict[str, Array]:
    """What all cases learn from."""
    generator = np.random.Generator(np.random.PCG64(7))
    x = np.round(generator.random((ROWS, FEATURES)) * 4 - 2, 3)
    x[:, 0] = np.arange(ROWS) * 5 % 4
    x[:, 1] = np.arange(ROWS) * 7 // 4 % 3
    score = x[:, 2] - 0.5 * x[:, 3] * x[:, 4] + 0.3 * (x[:, 0] - 1.5)
    return {
        "x": x.astype(np.float32),
        "classes": np.digitize(score, [-0.5, 0.5]).astype(np.int64),
        "binary": (score > 0).astype(np.int64),
        "numbers": np.round(score, 3),
        "sources": (np.arange(ROWS) % SOURCES).astype(np.int32),
    }


def _rates(schedule: Schedule) -> Array:
    per_epoch = ROWS // 8
    epochs = -(-UPDATES // per_epoch)
    rates = [
        learning_rates(schedule, RATE, epoch=epoch, epochs=epochs, updates=per_epoch)
        for epoch in range(1, epochs + 1)
    ]
    return np.concatenate(rates)[:UPDATES]


def plans() -> dict[str, Batches]:
    """Batches by name."""
    generator = np.random.Generator(np.random.PCG64(3))
    constant = np.full(UPDATES, RATE)
    orders = [generator.permutation(ROWS) for _ in range(UPDATES)]
    eights = np.concatenate([order[:8] for order in orders]).astype(np.int64)
    offsets = np.arange(UPDATES + 1, dtype=np.int64) * 8
    schedules = {
        "constant": Schedule(),
        "cosine": Schedule(name="cosine", min_factor=0.1),
        "step": Schedule(name="step", every=2, factor=0.5),
        "warm-up": Schedule(name="cosine", warmup_epochs=2),
    }
    found = {name: Batches(eights, offsets, _rates(schedule)) for name, schedule in schedules.items()}
    # Two rows of each source, as a robust aggregation has them; the batches of private training are of any size.
    pairs = [SOURCES * generator.permutation(ROWS // SOURCES)[:2, None] for _ in range(UPDATES)]
    balanced = np.concatenate([(pair + np.arange(SOURCES)).reshape(-1) for pair in pairs]).astype(np.int64)
    found["of sources"] = Batches(balanced, np.arange(UPDATES + 1, dtype=np.int64) * 2 * SOURCES, constant)
    drawn = [
        np.flatnonzero(generator.random(ROWS) < 6 / ROWS) if update != 9 else np.empty(0)
        for update in range(UPDATES)
    ]
    ends = np.cumsum([0, *(len(batch) for batch in drawn)]).astype(np.int64)
    found["poisson"] = Batches(np.concatenate(drawn).astype(np.int64), ends, constant)
    lonely = np.concatenate([[0], 1 + np.arange(UPDATES) * 8]).astype(np.int64)
    found["one row first"] = Batches(eights[: lonely[-1]], lonely, constant)
    return found


def _dense(dtype: str, in_: int, out: int, activation: str = "identity", bias: bool = True) -> DenseSpec:
    return DenseSpec(in_=in_, out=out, activation=activation, bias=bias, dtype=dtype)


def _embedding(dtype: str) -> EmbeddingSpec:
    columns = (EmbeddedColumn(feature=0, vocabulary=4), EmbeddedColumn(feature=1, vocabulary=3))
    return EmbeddingSpec(in_=FEATURES, dim=2, columns=columns, dtype=dtype)


def _conv(dtype: str, channels: int = 1, width: int = FEATURES, **settings: Any) -> ConvSpec:
    return ConvSpec(**{
        "channels": channels, "width": width, "out": 3, "kernel": 3, "stride": 1, "padding": 0,
        "activation": "tanh", "dtype": dtype, **settings,
    })  # fmt: skip


def networks(dtype: str) -> dict[str, tuple[LayerSpec, ...]]:
    """Networks that between them have every kind of layer, by name."""

    def head(size: int) -> DenseSpec:
        return _dense(dtype, size, 3)

    unflatten = UnflattenSpec(size=FEATURES)
    return {
        "no hidden layer": (head(FEATURES),),
        "no bias": (_dense(dtype, FEATURES, 5, "tanh", bias=False), _dense(dtype, 5, 3, bias=False)),
        "embedding": (_embedding(dtype), _dense(dtype, 10, 4, "relu"), head(4)),
        "batch_norm": (
            _dense(dtype, FEATURES, 4, bias=False),
            BatchNormSpec(shape=(4,), momentum=0.1, epsilon=1e-5, activation="tanh", dtype=dtype),
            head(4),
        ),
        "batch_norm of channels": (
            unflatten,
            _conv(dtype, activation="identity", bias=False),
            BatchNormSpec(shape=(3, 6), momentum=0.3, epsilon=1e-3, activation="relu", dtype=dtype),
            FlattenSpec(channels=3, width=6),
            head(18),
        ),
        "layer_norm": (
            _dense(dtype, FEATURES, 5),
            LayerNormSpec(size=5, epsilon=0.01, activation="gelu", dtype=dtype),
            head(5),
        ),
        "dropout": (
            DropoutSpec(shape=(FEATURES,), rate=0.2),
            _dense(dtype, FEATURES, 6, "tanh"),
            DropoutSpec(shape=(6,), rate=0.5),
            head(6),
        ),
        "dropout of channels": (
            unflatten,
            _conv(dtype),
            DropoutSpec(shape=(3, 6), rate=0.4),
            FlattenSpec(channels=3, width=6),
            head(18),
        ),
        "conv": (
            unflatten,
            _conv(dtype, padding=2, stride=2),
            _conv(dtype, 3, 5, out=2, kernel=2, bias=False),
            FlattenSpec(channels=2, width=4),
            head(8),
        ),
        "max_pool": (
            unflatten,
            _conv(dtype, padding=1),
            MaxPoolSpec(channels=3, width=8, window=2, stride=2),
            MaxPoolSpec(channels=3, width=4, window=2, stride=1),
            FlattenSpec(channels=3, width=3),
            head(9),
        ),
        "skip add": (
            _dense(dtype, FEATURES, 5, "tanh"),
            SkipSpec(
                layers=(_dense(dtype, 5, 4, "swish"), DropoutSpec(shape=(4,), rate=0.3), _dense(dtype, 4, 5)),
                connection="add",
            ),
            head(5),
        ),
        "skip concat": (
            SkipSpec(
                layers=(
                    _dense(dtype, FEATURES, 4, "tanh"),
                    SkipSpec(layers=(_dense(dtype, 4, 2, "elu"),), connection="concat"),
                ),
                connection="concat",
            ),
            LayerNormSpec(size=14, epsilon=1e-5, dtype=dtype),
            head(14),
        ),
        "skip concat of channels": (
            unflatten,
            SkipSpec(layers=(_conv(dtype, padding=1, out=2),), connection="concat"),
            FlattenSpec(channels=3, width=8),
            head(24),
        ),
    }  # fmt: skip


def _losses(dtype: str) -> list[Case]:
    def hidden(outputs: int) -> tuple[LayerSpec, ...]:
        return (_dense(dtype, FEATURES, 4, "tanh"), _dense(dtype, 4, outputs))

    specs = {
        "cross-entropy with weights": (3, {"name": "logit_cross_entropy", "class_weights": (0.5, 1.0, 2.5)}),
        "binary": (1, {"name": "binary_logit_cross_entropy"}),
        "binary with weights": (1, {"name": "binary_logit_cross_entropy", "class_weights": (0.6, 1.7)}),
        "mse": (1, {"name": "mse"}),
        "huber": (1, {"name": "huber", "huber_delta": 0.4}),
    }
    return [
        Case(name, "loss", hidden(outputs), dtype, LossSpec.model_validate(loss))
        for name, (outputs, loss) in specs.items()
    ]


def _optimizers() -> dict[str, Optimizer]:
    rate = {"learning_rate": RATE}
    return {
        "adam with decay": Optimizer(weight_decay=0.05, beta1=0.8, beta2=0.95, epsilon=1e-4, **rate),
        "adamw": Optimizer(name="adamw", weight_decay=0.1, **rate),
        "sgd": SGD,
        "sgd with decay": Optimizer(name="sgd", weight_decay=0.1, **rate),
        "momentum": Optimizer(name="sgd", momentum=0.9, **rate),
        "nesterov with decay": Optimizer(name="sgd", momentum=0.8, nesterov=True, weight_decay=0.02, **rate),
        "nesterov": Optimizer(name="sgd", momentum=0.9, nesterov=True, **rate),
        "rmsprop": Optimizer(name="rmsprop", rho=0.95, epsilon=1e-3, **rate),
        "rmsprop with decay": Optimizer(name="rmsprop", weight_decay=0.1, epsilon=1e-3, **rate),
    }


def cases() -> list[Case]:
    """All of them, in both dtypes."""
    found: list[Case] = []
    for dtype in DTYPES:
        built = networks(dtype)
        hidden = (_dense(dtype, FEATURES, 4, "tanh"), _dense(dtype, 4, 3))
        for activation in ACTIVATIONS:
            layers = (_dense(dtype, FEATURES, 4, activation), _dense(dtype, 4, 3))
            found.append(Case(activation, "activation", layers, dtype))
        found += [Case(name, "layer", layers, dtype) for name, layers in built.items()]
        found += _losses(dtype)
        found += [
            Case(name, "optimizer", hidden, dtype, optimizer=rule) for name, rule in _optimizers().items()
        ]
        for plan in ("cosine", "step", "warm-up"):
            found.append(Case(plan, "schedule", hidden, dtype, plan=plan))
        for rule in ("median", "trimmed_mean", "krum", "multi_krum", "geometric_median"):
            spec = AggregationSpec(name=rule, byzantine=2)
            layers = built["dropout"] if rule == "krum" else hidden
            found.append(
                Case(rule, "aggregation", layers, dtype, optimizer=SGD, plan="of sources", aggregation=spec)
            )
        for name in ("embedding", "layer_norm", "conv", "max_pool", "skip concat", "dropout"):
            clipping = Clipping(max_norm=0.7, noise_deviation=0.35, expected_rows=6.0)
            found.append(
                Case(f"private {name}", "privacy", built[name], dtype, plan="poisson", clipping=clipping)
            )
        clipping = Clipping(max_norm=1e6, noise_deviation=0.0, expected_rows=6.0)
        found.append(Case("huge clip", "privacy", hidden, dtype, plan="poisson", clipping=clipping))
        found.append(Case("rows of NaN", "skipped", hidden, dtype, nan_rows=(3,)))
        found.append(Case("one row", "skipped", built["batch_norm"], dtype, plan="one row first"))
    return found


def problem(case: Case) -> Problem:
    """The case as both backends take it."""
    table = data()
    x = table["x"].copy()
    x[list(case.nan_rows)] = np.nan
    return Problem(
        layers=case.layers,
        weights=initial_weights(case.layers, 11, case.dtype),
        loss=case.loss,
        optimizer=case.optimizer,
        x=x,
        y=table[case.target],
        sources=table["sources"],
        aggregation=case.aggregation,
        clipping=case.clipping,
        seed=SEED,
        dtype=case.dtype,
    )


def noise(case: Case, step: int) -> Array:
    """Standard normal numbers, rounded so that the file can hold them."""
    size = sum(array.size for array in array_specs(case.layers) if array.trainable)
    return np.round(np.random.Generator(np.random.PCG64([13, step])).normal(size=size), 2)


def part(plan: Batches, first: int, end: int) -> Batches:
    """Updates from `first` up to, but without, `end`."""
    offsets = plan.offsets[first : end + 1]
    rows = plan.rows[offsets[0] : offsets[-1]]
    return Batches(rows, offsets - offsets[0], plan.learning_rates[first:end], first)


def drive(case: Case, trainer: Trainer) -> dict[str, Any]:
    """All that a backend answers for a case."""
    plan = plans()[case.plan]
    calls = [trainer.run(part(plan, *call), lambda step: noise(case, step)) for call in CALLS]
    rows = np.array([row for row in range(ROWS) if row not in case.nan_rows])
    evaluation = trainer.evaluate(rows)
    sources = data()["sources"]
    groups = [rows[sources[rows] == source] for source in range(SOURCES)]
    return {
        "calls": calls,
        "evaluation": evaluation,
        "gram": trainer.gradient_gram(groups),
        "weights": trainer.weights(),
    }


def _flat(case: Case, weights: dict[str, Array]) -> Array:
    return np.concatenate([weights[array.name].reshape(-1) for array in array_specs(case.layers)])


def _call(bounds: tuple[int, int], stats: Stats) -> dict[str, Any]:
    answer = {"from": bounds[0], "to": bounds[1], **stats._asdict()}
    return answer | {"dropped": [list(sources) for sources in stats.dropped]}


def record(case: Case) -> dict[str, Any]:
    """The case with the reference's answers."""
    task = problem(case)
    answers = drive(case, ReferenceTrainer(task))
    found: dict[str, Any] = {
        "name": case.name,
        "dtype": case.dtype,
        "kind": case.kind,
        "target": case.target,
        "plan": case.plan,
        "seed": SEED,
        "layers": [layer.model_dump(mode="json", by_alias=True) for layer in case.layers],
        "loss": case.loss.model_dump(mode="json", exclude_none=True),
        "optimizer": case.optimizer.model_dump(mode="json"),
        "aggregation": case.aggregation.model_dump(mode="json"),
    }
    if case.clipping is not None:
        found["clipping"] = case.clipping._asdict()
        found["noise"] = [noise(case, step) for step in range(UPDATES)]
    if case.nan_rows:
        found["nan_rows"] = list(case.nan_rows)
    specs = array_specs(case.layers)
    found["arrays"] = [{"name": a.name, "shape": list(a.shape), "trainable": a.trainable} for a in specs]
    found["first"] = _flat(case, task.weights)
    found["final"] = _flat(case, answers["weights"])
    found["calls"] = [_call(bounds, stats) for bounds, stats in zip(CALLS, answers["calls"], strict=True)]
    found["evaluation"] = answers["evaluation"]._asdict()
    found["gram"] = answers["gram"]
    return found


def _masks() -> list[dict[str, Any]]:
    found = []
    for seed, step, layer in ((0, 0, 0), (SEED, 53, 2), (-1, 10**6, 255)):
        drawn = masks.uniforms(seed, step, layer, 3, 4)
        keep = masks.keep(seed, step, layer, 3, 4, 0.3).astype(int)
        found.append(
            {"seed": seed, "step": step, "layer": layer, "rows": 3, "size": 4, "rate": 0.3,
             "uniforms": drawn, "keep": keep}
        )  # fmt: skip
    return found


def _aggregations() -> list[dict[str, Any]]:
    generator = np.random.Generator(np.random.PCG64(29))
    gradients = np.round(generator.normal(size=(7, 6)), 3)
    gradients[4:6] += 20
    found = []
    for rule in ("mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median"):
        for byzantine in (1, 2):
            spec = AggregationSpec(name=rule, byzantine=byzantine)
            answer = aggregation.aggregate(gradients, spec)
            found.append(
                {"name": rule, "byzantine": byzantine, "gradients": gradients, "gradient": answer.gradient,
                 "dropped": list(answer.dropped)}
            )  # fmt: skip
    return found


def compute() -> dict[str, Any]:
    """Everything that the file holds."""
    return {
        "data": data(),
        "plans": [
            {"name": name, "rows": plan.rows, "offsets": plan.offsets, "learning_rates": plan.learning_rates}
            for name, plan in plans().items()
        ],
        "masks": _masks(),
        "aggregations": _aggregations(),
        "cases": [record(case) for case in cases()],
    }


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple, np.ndarray)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        text = str(value)
        return text if text.strip("-") in {"nan", "inf"} or set(text) & set(".e") else f"{text}.0"
    return f'"{value}"'


def render(content: dict[str, Any]) -> str:
    """The content as TOML."""
    lines = ["# Written by `python -m tests.train.golden`, where its shape is described."]
    for key, value in content.items():
        for table in value if isinstance(value, list) else [value]:
            header = f"[[{key}]]" if isinstance(value, list) else f"[{key}]"
            lines += ["", header, *(f"{name} = {_toml(item)}" for name, item in table.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(compute()), encoding="utf-8")
