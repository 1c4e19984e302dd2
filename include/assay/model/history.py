"""Does the run's history make sense: curve, best epoch, metrics, sources, and the privacy that it claims."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.errors import AssayError
from assay.findings import Finding
from assay.model.answers import failed, passed
from assay.model.strict import first_line
from assay.train import BundleSpec, CurvePoint, read_curve
from assay.train.network.layers import BatchNormSpec, leaves
from assay.train.network.spec import is_plain
from assay.train.run.batches import updates_per_epoch
from assay.train.steps.aggregation import check_sources

_MAX_CURVE_BYTES = 256 * 2**20
_ROUNDING = 1e-6


def check_curve(path: Path, spec: BundleSpec) -> tuple[Finding, tuple[CurvePoint, ...]]:
    """Whether the curve has one sound point per epoch, and its best epoch is what the spec's metrics say."""
    try:
        if wrong := _size(path, spec) or _not_numbers(path):
            return failed("curve", f"{path.name} {wrong}"), ()
        curve = tuple(read_curve(path))
    except (AssayError, OSError, ValueError, pa.ArrowException) as error:
        return failed("curve", f"{path.name} cannot be read: {first_line(error)}"), ()
    if [point.epoch for point in curve] != list(range(1, spec.epochs + 1)):
        return failed("curve", f"the epochs of {path.name} do not follow each other"), ()
    if wrong := _metrics(curve, spec) or next(filter(None, (_point(point, spec) for point in curve)), ""):
        return failed("curve", wrong), ()
    return passed("curve", f"{spec.epochs} epochs, the best is {spec.best_epoch}, as the spec says"), curve


def check_sources_named(spec: BundleSpec) -> Finding:
    """Whether the sources are named in plain text, each once, and are enough for the aggregation."""
    names = spec.source_names
    if odd := [name for name in names if not is_plain(name)]:
        return failed("sources", f"the name of a source is no plain text: {odd[0][:60]!a}")
    if len(set(names)) != len(names):
        return failed("sources", "two sources have the same name")
    try:
        check_sources(spec.aggregation, len(names))
    except AssayError as error:
        return failed("sources", first_line(error))
    return passed("sources", f"{len(names) or 'no'} sources, aggregated by {spec.aggregation.name}")


def check_privacy(spec: BundleSpec, curve: Sequence[CurvePoint]) -> Finding:
    """Whether the report of a private run agrees with the run's settings and its curve.

    What it says was spent is computed again by `assay.model.examine.examine`, which costs more.
    """
    report = spec.privacy
    spent = [(point.epsilon_rdp, point.epsilon_pld) for point in curve]
    if report is None:
        if any(value is not None for pair in spent for value in pair):
            return failed(
                "privacy", "the curve counts what privacy was spent, but the spec has no report of it"
            )
        return passed("privacy", "not differentially private, and it claims nothing else")
    if spec.aggregation.name != "mean":
        return failed("privacy", f"private training does not go with {spec.aggregation.name}")
    if any(isinstance(layer, BatchNormSpec) for _, layer in leaves(spec.layers)):
        return failed("privacy", "batch_norm mixes rows, so that no row's influence was bounded")
    if spec.rows.train < 1 or spec.batch_size < 1:
        return failed("privacy", f"batches of {spec.batch_size} of {spec.rows.train} rows cannot be")
    wanted = min(spec.batch_size / spec.rows.train, 1.0)
    if not math.isclose(report.sampling_rate, wanted, rel_tol=1e-9):
        said = f"the sampling rate is {report.sampling_rate}, but {spec.batch_size} of {spec.rows.train} rows are"
        return failed("privacy", f"{said} {wanted}")
    updates = updates_per_epoch(spec.rows.train, spec.batch_size)
    most, least = spec.epochs * updates, (spec.epochs - 1) * updates
    if not least < report.steps <= most:
        return failed(
            "privacy",
            f"{report.steps} updates are accounted for, {spec.epochs} epochs have more than {least} and at most {most}",
        )
    if wrong := _spending(spent, (report.epsilon_rdp, report.epsilon_pld)):
        return failed("privacy", wrong)
    epsilon = report.epsilon_pld if report.settings.accountant == "pld" else report.epsilon_rdp
    budget = report.settings.max_epsilon
    if budget is not None and (epsilon is None or epsilon > budget * (1 + _ROUNDING)):
        return failed("privacy", f"epsilon {epsilon} is more than the budget of {budget}")
    shown = "without a bound" if epsilon is None else f"epsilon {epsilon:.3f}"
    return passed("privacy", f"{shown} at delta {report.settings.delta:g} after {report.steps} updates")


def _size(path: Path, spec: BundleSpec) -> str:
    """What of the file is larger than such a curve can be; empty when nothing. Only its footer is read."""
    if path.stat().st_size > _MAX_CURVE_BYTES:
        return f"has more than {_MAX_CURVE_BYTES} bytes"
    footer = pq.read_metadata(path)
    if footer.num_rows != spec.epochs:
        return f"has {footer.num_rows} epochs, the run had {spec.epochs}"
    most = spec.epochs * max(1, len(spec.classes or ()), len(spec.source_names) ** 2)
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    columns = [group.column(j) for group in groups for j in range(group.num_columns)]
    if any(column.num_values > most for column in columns):
        return "has more classes or sources than the spec"
    if sum(column.total_uncompressed_size for column in columns) > _MAX_CURVE_BYTES:
        return f"unpacks to more than {_MAX_CURVE_BYTES} bytes"
    return ""


def _not_numbers(path: Path) -> str:
    """The first number that is not finite; a curve has null in its place."""
    for column in pq.read_table(path).itercolumns():
        for leaf in _leaves(column.combine_chunks()):
            if pa.types.is_floating(leaf.type) and pc.all(pc.is_finite(leaf)).as_py() is False:
                return "holds NaN or infinity, for which null stands in a curve"
    return ""


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """The columns within lists and structs."""
    if isinstance(array, pa.ChunkedArray):
        for chunk in array.chunks:
            yield from _leaves(chunk)
    elif pa.types.is_list(array.type):
        yield from _leaves(array.flatten())
    elif pa.types.is_struct(array.type):
        for field in array.flatten():
            yield from _leaves(field)
    else:
        yield array


def _metrics(curve: Sequence[CurvePoint], spec: BundleSpec) -> str:
    if not 1 <= spec.best_epoch <= spec.epochs:
        return f"the best epoch is {spec.best_epoch}, but the run had {spec.epochs}"
    if spec.best_epoch != (wanted := _best_epoch(curve, spec)):
        return f"the best epoch is {spec.best_epoch}, but by the curve it is {wanted}"
    if spec.stopped_because is not None and not is_plain(spec.stopped_because):
        return f"why the run ended is no plain text: {spec.stopped_because[:60]!a}"
    best = curve[spec.best_epoch - 1]
    known = {
        "train_loss": best.train_loss,
        "validation_loss": best.validation_loss,
        **({"accuracy": best.accuracy} if spec.task == "classification" else {"r2": best.r2}),
    }
    if set(known) != set(spec.metrics):
        return (
            f"the spec has the metrics {', '.join(sorted(spec.metrics))}, expected {', '.join(sorted(known))}"
        )
    for name, found in known.items():
        if found != spec.metrics[name]:
            return f"{name}: the spec says {spec.metrics[name]}, the curve has {found} at epoch {best.epoch}"
    return ""


def _best_epoch(curve: Sequence[CurvePoint], spec: BundleSpec) -> int:
    """The last epoch that improved by what early stopping asks for; the last of all without early stopping."""
    if spec.early_stopping is None:
        return spec.epochs
    best_epoch, best = 1, math.inf
    for point in curve:
        loss = point.validation_loss if spec.rows.validation else point.train_loss
        watched = math.inf if loss is None else loss
        if point.epoch == 1 or watched < best - spec.early_stopping.min_delta:
            best_epoch, best = point.epoch, watched
    return best_epoch


def _point(point: CurvePoint, spec: BundleSpec) -> str:
    """What of one epoch cannot be; empty when all can."""
    where = f"epoch {point.epoch}"
    classes = [str(each) for each in spec.classes or ()]
    if point.classes and [each.name for each in point.classes] != classes:
        return f"{where} has other classes than the spec"
    sources = [each.name for each in point.sources]
    if sources != [name for name in spec.source_names if name in set(sources)]:
        return f"{where} has other sources than the spec"
    if any(len(each.cosines) != len(sources) for each in point.sources):
        return f"{where} does not compare each source with all"
    if point.skipped_updates:
        return (
            f"{where} has {point.skipped_updates} skipped updates; a model with skipped updates is not used"
        )
    losses = [point.train_loss, point.validation_loss, *(each.loss for each in point.sources)]
    losses += [loss for each in point.classes for loss in (each.train_loss, each.validation_loss)]
    norms = [point.gradient_norm, point.max_gradient_norm, *(each.gradient_norm for each in point.sources)]
    shares = [point.accuracy, *(each.dropped for each in point.sources)]
    cosines = [cosine for each in point.sources for cosine in each.cosines]
    for what, values, low, high in (
        ("loss", losses, 0.0, math.inf),
        ("gradient norm", norms, 0.0, math.inf),
        ("share", shares, 0.0, 1.0),
        ("cosine", cosines, -1.0, 1.0),
        ("R2", [point.r2], -math.inf, 1.0),
        ("learning rate", [point.learning_rate], 0.0, math.inf),
        ("number of rows", [float(each.rows) for each in point.sources], 0.0, math.inf),
    ):
        if bad := [v for v in values if v is not None and not low - _ROUNDING <= v <= high + _ROUNDING]:
            return f"{where} has a {what} of {bad[0]:g}, which cannot be"
    return ""


def _spending(spent: Sequence[tuple[float | None, float | None]], report: tuple[float | None, ...]) -> str:
    """Whether epsilon only grows, is there in every epoch, and ends at what the report says; else what is wrong."""
    for number, name in enumerate(("epsilon_rdp", "epsilon_pld")):
        values = [pair[number] for pair in spent]
        # No bound is an epsilon of infinity: null.
        numbers = [math.inf if value is None else value for value in values]
        if any(value < 0 for value in numbers) or any(
            late < early - _ROUNDING * early for early, late in pairwise(numbers)
        ):
            return f"{name} becomes less in the course of the run"
        if values and values[-1] != report[number]:
            return f"{name}: the report says {report[number]}, the curve ends with {values[-1]}"
    return ""
