"""What private and robust trainings ask of a network and its data; without it a backend refuses to train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.train.errors import PreconditionError
from assay.train.network.layers import BatchNormSpec, leaves

if TYPE_CHECKING:
    from assay.train.backends import Problem


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
