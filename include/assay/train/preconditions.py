"""What robust and private trainings ask for; without it they refuse, and never quietly do something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.train.errors import PreconditionError
from assay.train.layers import BatchNormSpec, leaves
from assay.train.spec import AggregationSpec

if TYPE_CHECKING:
    from assay.train.backends import Problem


def check_sources(rule: AggregationSpec, sources: int) -> None:
    """Whether there are enough sources for what the aggregation promises.

    Krum and multi-Krum need n >= 2f + 3 (Blanchard and others 2017), the other robust rules a majority, n > 2f.

    Raises:
        PreconditionError: There are not.
    """
    f = rule.byzantine
    least, formula = (
        (2 * f + 3, "n >= 2f + 3") if rule.name in {"krum", "multi_krum"} else (2 * f + 1, "n > 2f")
    )
    if rule.name != "mean" and sources < least:
        raise PreconditionError(
            f"{rule.name} cannot stand {f} hostile of {sources} sources",
            expected=f"at least {least} sources in each batch ({formula})",
            found=f"{sources} sources",
            next_step="lower training.byzantine_sources, add sources, or set training.aggregation to mean",
        )


def check_problem(problem: Problem) -> None:
    """Whether a backend can keep rows, or sources, apart as far as the problem asks for it.

    Raises:
        PreconditionError: Batch normalisation, which mixes rows, with clipping or a robust aggregation; or a robust
            aggregation of rows whose source is not known.
    """
    robust = problem.aggregation.name != "mean"
    mixing = any(isinstance(layer, BatchNormSpec) for _, layer in leaves(problem.layers))
    if mixing and (problem.clipping or robust):
        raise PreconditionError(
            "batch_norm mixes the rows of a batch: neither a row's nor a source's gradient can be told apart",
            next_step="use layer_norm, or neither privacy nor a robust aggregation",
        )
    if robust and problem.sources is None:
        raise PreconditionError(f"{problem.aggregation.name} needs to know each row's source")
