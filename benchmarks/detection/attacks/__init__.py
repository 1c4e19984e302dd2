"""Attacks with known truth, by name.

Each takes a clean batch, a rate and a generator of random numbers, and returns the poisoned batch and which of its rows
are poison. The rate is the share of the result's rows that are poison, but for `one_source`, where it is the share of
the one source's rows.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.detection.attacks import backdoors, controls, labels, values
from benchmarks.detection.attacks.base import Base, Poisoned, Rng, Unfit

Attack = Callable[[Base, float, Rng], Poisoned]

CONTROLS: dict[str, Attack] = {made.__name__: made for made in (controls.clean, controls.clean_uneven)}
HEADLINE: dict[str, Attack] = {
    made.__name__: made
    for made in (
        backdoors.backdoor_fixed,
        backdoors.backdoor_jittered,
        values.garbage,
        values.flood,
        labels.one_source,
        labels.random_flip,
        labels.boundary_flip,
        values.shift,
        values.shift_existing,
    )
}
OTHERS: dict[str, Attack] = {
    made.__name__: made
    for made in (
        labels.pair_flip,
        backdoors.backdoor_single,
        backdoors.backdoor_pair,
        backdoors.backdoor_wide,
        backdoors.backdoor_jittered_raw,
        backdoors.backdoor_category,
        backdoors.backdoor_mixed,
        backdoors.backdoor_distributed,
        backdoors.backdoor_clean_label,
        backdoors.slow_backdoor,
        values.garbage_inside,
        values.flood_exact,
        values.collision,
        values.rewrite,
    )
}
ATTACKS: dict[str, Attack] = {**CONTROLS, **HEADLINE, **OTHERS}
BACKDOORS = tuple(name for name in ATTACKS if "backdoor" in name)
FIXED_RATE = {"one_source": 0.3}
"""Attacks that have a rate of their own."""

__all__ = [
    "ATTACKS",
    "BACKDOORS",
    "CONTROLS",
    "FIXED_RATE",
    "HEADLINE",
    "OTHERS",
    "Base",
    "Poisoned",
    "Rng",
    "Unfit",
]
