"""How the gradients of several sources become one, some of which may be hostile.

Each rule takes float gradients (n, parameters), one row per source, and answers in float64. A rule that cannot stand so
many hostile sources among so few refuses, rather than quietly taking the mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from assay.train.errors import PreconditionError
from assay.train.network.spec import AggregationSpec

Gradients = npt.NDArray[np.float64]

CHOOSING: Final = frozenset({"krum", "multi_krum"})
"""The rules that leave sources out; the others take something of each."""

WEISZFELD_TOLERANCE: Final = 1e-10
"""Weiszfeld's iteration ends when it moves by less, relative to the distances of the points..."""
WEISZFELD_ROUNDS: Final = 1000
"""...or after so many rounds."""


class Aggregated(NamedTuple):
    """One gradient of several.

    Attributes:
        gradient: float64 (parameters,).
        dropped: The rows that krum or multi_krum left out, ascending; empty with the other rules.
    """

    gradient: Gradients
    dropped: tuple[int, ...] = ()


def _mean(gradients: Gradients, byzantine: int = 0) -> Aggregated:
    """The mean of all, which a single hostile source can make anything."""
    return Aggregated(gradients.mean(axis=0))


def _median(gradients: Gradients, byzantine: int) -> Aggregated:
    """The median of each coordinate (Yin, Chen, Ramchandran and Bartlett 2018)."""
    return Aggregated(np.asarray(np.median(gradients, axis=0)))


def _trimmed_mean(gradients: Gradients, byzantine: int) -> Aggregated:
    """The mean of each coordinate without its f largest and f smallest (Yin, Chen, Ramchandran and Bartlett 2018)."""
    kept = np.sort(gradients, axis=0)[byzantine : len(gradients) - byzantine]
    return Aggregated(kept.mean(axis=0))


def krum_scores(gradients: Gradients, byzantine: int) -> Gradients:
    """For each row the sum of its squared distances to its n - f - 2 nearest others."""
    # From differences, not from inner products, which lose the digits of gradients that lie close together.
    squares = np.array([np.square(gradients - one).sum(axis=1) for one in gradients])
    np.fill_diagonal(squares, np.inf)
    return np.asarray(np.sort(squares, axis=1)[:, : len(gradients) - byzantine - 2].sum(axis=1))


def _krum(gradients: Gradients, byzantine: int) -> Aggregated:
    """The one gradient that lies closest to its neighbours (Blanchard, El Mhamdi, Guerraoui and Stainer 2017).

    Of equal scores the first row wins.
    """
    return _best(gradients, byzantine, 1)


def _multi_krum(gradients: Gradients, byzantine: int) -> Aggregated:
    """The mean of the n - f gradients with the best scores of krum (the same paper).

    Of equal scores the first rows win.
    """
    return _best(gradients, byzantine, len(gradients) - byzantine)


def _best(gradients: Gradients, byzantine: int, count: int) -> Aggregated:
    kept = np.sort(np.argsort(krum_scores(gradients, byzantine), kind="stable")[:count])
    dropped = sorted(set(range(len(gradients))) - set(kept.tolist()))
    return Aggregated(gradients[kept].mean(axis=0), tuple(dropped))


def _geometric_median(gradients: Gradients, byzantine: int) -> Aggregated:
    """The point with the least sum of distances to all (Pillutla, Kakade and Harchaoui 2022 for learning).

    By Weiszfeld's iteration from the mean, in the form of Vardi and Zhang (2000), which does not stop short on one of
    the points. It ends when it moves by less than `WEISZFELD_TOLERANCE` times the mean distance of the points to where
    it is, or after `WEISZFELD_ROUNDS` rounds.
    """
    at = gradients.mean(axis=0)
    for _ in range(WEISZFELD_ROUNDS):
        distances = np.sqrt(np.square(gradients - at).sum(axis=1))
        apart = distances > 0
        if not apart.any() or not np.isfinite(distances).all():
            break
        pulls = 1 / distances[apart]
        target = (pulls[:, None] * gradients[apart]).sum(axis=0) / pulls.sum()
        here = len(gradients) - int(apart.sum())
        if here:
            # On top of some points: their weight holds back the pull of the others, wholly if it is the greater.
            pull = float(np.sqrt(np.square((pulls[:, None] * (gradients[apart] - at)).sum(axis=0)).sum()))
            if pull <= here:
                break
            target = at + (1 - here / pull) * (target - at)
        moved = float(np.sqrt(np.square(target - at).sum()))
        at = target
        if moved <= WEISZFELD_TOLERANCE * float(distances.mean()):
            break
    return Aggregated(at)


_RULES: Final[dict[str, Callable[[Gradients, int], Aggregated]]] = {
    "mean": _mean,
    "median": _median,
    "trimmed_mean": _trimmed_mean,
    "krum": _krum,
    "multi_krum": _multi_krum,
    "geometric_median": _geometric_median,
}


def aggregate(gradients: npt.NDArray[np.floating], rule: AggregationSpec) -> Aggregated:
    """One gradient of those of the sources.

    Args:
        gradients: (n, parameters), one row per source.
        rule: Which rule, and how many hostile sources it is to stand.

    Raises:
        PreconditionError: There are too few sources for that.
    """
    check_sources(rule, len(gradients))
    return _RULES[rule.name](gradients.astype(np.float64), rule.byzantine)


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
