"""Layers, learning and privacy in words, for the model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from assay.contract.optimization import EarlyStopping, Optimizer, Schedule
from assay.train import BundleSpec, LayerSpec
from assay.train.network.layers import (
    BatchNormSpec,
    ConvSpec,
    DenseSpec,
    DropoutSpec,
    EmbeddingSpec,
    FlattenSpec,
    LayerNormSpec,
    MaxPoolSpec,
    SkipSpec,
    UnflattenSpec,
)
from assay.train.network.spec import LossSpec, PrivacyReport

_LISTED = 12


def describe_network(layers: Sequence[LayerSpec], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Place and description of each layer, the inner layers of a skip after it."""
    for number, layer in enumerate(layers, start=1):
        place = f"{prefix}{number}"
        yield place, _layer(layer)
        if isinstance(layer, SkipSpec):
            yield from describe_network(layer.layers, f"{place}.")


def _layer(layer: LayerSpec) -> str:
    match layer:
        case DenseSpec():
            return f"dense {layer.in_} → {layer.out}{'' if layer.bias else ' without bias'}{_then(layer.activation)}"
        case EmbeddingSpec():
            sizes = ", ".join(str(column.vocabulary) for column in layer.columns[:_LISTED])
            more = ", ..." if len(layer.columns) > _LISTED else ""
            return (
                f"embedding of {len(layer.columns)} columns with {sizes}{more} categories as {layer.dim} numbers "
                f"each, beside {len(layer.rest)} other features → {layer.output_shape[0]}"
            )
        case BatchNormSpec():
            return f"batch normalisation of {_shape(layer.shape)}, momentum {layer.momentum:g}{_then(layer.activation)}"
        case LayerNormSpec():
            return f"layer normalisation of {layer.size}{_then(layer.activation)}"
        case DropoutSpec():
            return f"dropout of {layer.rate:.0%} while training"
        case ConvSpec():
            return (
                f"convolution {_shape(layer.input_shape)} → {_shape(layer.output_shape)}, kernel {layer.kernel}, "
                f"stride {layer.stride}, padding {layer.padding}{_then(layer.activation)}"
            )
        case MaxPoolSpec():
            return (
                f"maximum of {layer.window} neighbours, stride {layer.stride}, "
                f"{_shape(layer.input_shape)} → {_shape(layer.output_shape)}"
            )
        case SkipSpec():
            joined = "added to" if layer.connection == "add" else "put beside"
            return f"skip: the input is {joined} the output of {len(layer.layers)} inner layers"
        case UnflattenSpec():
            return f"{layer.size} features as one channel of neighbours"
        case FlattenSpec():
            return f"{_shape(layer.input_shape)} → {layer.output_shape[0]} in a row"


def _then(activation: str) -> str:
    return "" if activation == "identity" else f", {activation}"


def _shape(shape: Sequence[int]) -> str:
    return f"{shape[0]}" if len(shape) == 1 else f"{shape[0]} channels of {shape[1]}"


def describe_learning(
    spec: BundleSpec, dropped: Mapping[str, float] | None = None
) -> Iterator[tuple[str, str]]:
    """What was made small, by which rule, for how long, and how the sources were weighed."""
    yield "loss", _loss(spec.loss, [str(each) for each in spec.classes or ()])
    yield "optimiser", _optimizer(spec.optimizer)
    yield "learning rate", _schedule(spec.schedule, spec.optimizer.learning_rate)
    yield "batches", f"of {spec.batch_size} rows"
    ended = f"; ended before its time by {spec.stopped_because}" if spec.stopped_because else ""
    yield "epochs", f"{spec.epochs} run, the weights are those of epoch {spec.best_epoch}{ended}"
    yield "early stopping", _stopping(spec.early_stopping)
    if spec.aggregation.name == "mean":
        yield "sources", "all rows count alike, whichever source they came from"
        return
    stands = f"{spec.aggregation.name} of the sources' gradients, made to stand {spec.aggregation.byzantine} hostile"
    yield "sources", stands
    shares = sorted((dropped or {}).items(), key=lambda pair: (-pair[1], pair[0]))[:_LISTED]
    if any(share for _, share in shares):
        yield "left out", ", ".join(f"{name} in {share:.0%} of the updates" for name, share in shares)


def _loss(loss: LossSpec, classes: Sequence[str]) -> str:
    text = loss.name + (f" with delta {loss.huber_delta:g}" if loss.name == "huber" else "")
    if loss.class_weights is None:
        return text
    pairs = list(zip(classes, loss.class_weights, strict=True))
    listed = ", ".join(f"{name} {weight:.3g}" for name, weight in pairs[:_LISTED])
    return f"{text}, rows weighted by class: {listed}{', ...' if len(pairs) > _LISTED else ''}"


def _optimizer(rule: Optimizer) -> str:
    facts = {
        "adam": f"beta {rule.beta1:g} and {rule.beta2:g}",
        "adamw": f"beta {rule.beta1:g} and {rule.beta2:g}",
        "sgd": f"{'Nesterov ' if rule.nesterov else ''}momentum {rule.momentum:g}",
        "rmsprop": f"rho {rule.rho:g}",
    }[rule.name]
    return f"{rule.name}, {facts}" + (f", weight decay {rule.weight_decay:g}" if rule.weight_decay else "")


def _schedule(schedule: Schedule, rate: float) -> str:
    text = {
        "constant": f"{rate:g}, constant",
        "cosine": f"{rate:g}, falling as a cosine to {rate * schedule.min_factor:g}",
        "step": f"{rate:g}, times {schedule.factor:g} every {schedule.every} epochs",
    }[schedule.name]
    return text + (
        f", after a warm-up of {schedule.warmup_epochs:g} epochs" if schedule.warmup_epochs else ""
    )


def _stopping(stopping: EarlyStopping | None) -> str:
    if stopping is None:
        return "none"
    return f"after {stopping.patience} epochs without an improvement of more than {stopping.min_delta:g}"


def describe_privacy(report: PrivacyReport | None) -> str:
    """What differential privacy the weights have, and what it does not cover."""
    if report is None:
        return "none (the training is not differentially private)"
    settings = report.settings
    pld, rdp = (
        "unbounded" if value is None else f"{value:.4g}" for value in (report.epsilon_pld, report.epsilon_rdp)
    )
    text = (
        f"DP-SGD, add or remove one row: epsilon {pld} (privacy loss distributions), {rdp} (Rényi) at delta "
        f"{settings.delta:g}; noise multiplier {settings.noise_multiplier:g}, rows clipped to "
        f"{settings.max_grad_norm:g}, {report.steps} updates sampled at {report.sampling_rate:.4g}. "
        "It holds for the weights; the figures of the curve, and the preprocessing, are not covered by it."
    )
    if settings.seeded_noise:
        text += " Sampling and noise were drawn from the seed: against whoever knows the seed there is NO privacy."
    return text
