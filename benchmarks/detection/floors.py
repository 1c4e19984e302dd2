"""The floors that the quick forms of the benchmark must reach, in one table.

They stand a little under what was measured, so that a change of rounding passes and a change for the worse does not.
`quick` are the figures of `--quick` (adult, digits and breast_cancer), `small` those of `--small` (breast_cancer).
A floor that nothing was measured for is not reached.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from benchmarks.detection import summary
from benchmarks.detection.attacks import CONTROLS


class Floor(NamedTuple):
    """A bound on one figure of the headline.

    Attributes:
        attack: Name of the attack, `mean`, or a control.
        tier: Name of the tier.
        figure: `at1`, `at5`, `above` and `named` as in the headline; of controls `false` and `held`.
        quick: The bound in `--quick`.
        small: The bound in `--small`; None where it is not measured.
        most: The bound is an upper one.
    """

    attack: str
    tier: str
    figure: str
    quick: float
    small: float | None
    most: bool = False


FLOORS = (
    Floor("backdoor_fixed", "trusted", "at1", 0.97, 0.90),
    Floor("backdoor_fixed", "history", "at1", 0.97, 0.90),
    Floor("backdoor_fixed", "trusted", "above", 0.06, None, most=True),
    Floor("backdoor_fixed", "history", "above", 0.06, None, most=True),
    Floor("backdoor_jittered", "trusted", "at1", 0.83, 0.75),
    Floor("backdoor_jittered", "history", "at1", 0.96, 0.90),
    Floor("backdoor_jittered", "trusted", "above", 0.22, None, most=True),
    Floor("backdoor_jittered", "history", "above", 0.06, None, most=True),
    Floor("garbage", "trusted", "at1", 0.92, 0.85),
    Floor("garbage", "history", "at1", 0.97, 0.90),
    Floor("flood", "trusted", "at1", 0.97, 0.90),
    Floor("flood", "history", "at1", 0.97, 0.90),
    Floor("one_source", "trusted", "at1", 0.86, 0.90),
    Floor("one_source", "trusted", "named", 1.0, 1.0),
    Floor("one_source", "history", "at1", 0.96, 0.90),
    Floor("one_source", "history", "named", 1.0, 1.0),
    Floor("random_flip", "trusted", "at1", 0.76, 0.75),
    Floor("random_flip", "history", "at1", 0.94, 0.90),
    Floor("boundary_flip", "trusted", "at5", 0.46, 0.60),
    Floor("boundary_flip", "history", "at5", 0.91, 0.90),
    Floor("shift", "history", "at1", 0.84, 0.80),
    Floor("shift_existing", "history", "at1", 0.80, 0.85),
    Floor("mean", "trusted", "at1", 0.64, 0.64),
    Floor("mean", "history", "at1", 0.94, 0.94),
    Floor("clean", "trusted", "false", 0.003, 0.003, most=True),
    Floor("clean", "history", "false", 0.003, 0.003, most=True),
    Floor("clean", "trusted", "held", 0.0, 0.0, most=True),
    Floor("clean", "history", "held", 0.0, 0.0, most=True),
)


def broken(found: pd.DataFrame, small: bool) -> list[str]:
    """What does not reach its floor, one line each.

    Args:
        found: All results, as `summary.frame_of` makes them.
        small: Of the small form.
    """
    table, lines = summary.headline(found), []
    for floor in FLOORS:
        bound = floor.small if small else floor.quick
        if bound is None:
            continue
        value, name = _measured(floor, found, table), f"{floor.attack}, {floor.tier}: {floor.figure}"
        if value is None:
            lines.append(f"{name} was not measured, and should be")
        elif value > bound if floor.most else value < bound:
            lines.append(f"{name} is {value:.3f}, {'above' if floor.most else 'below'} {bound}")
    return lines


def _measured(floor: Floor, found: pd.DataFrame, table: pd.DataFrame) -> float | None:
    if floor.attack in CONTROLS:
        mine = found[(found["tool"] == "assay") & (found["tier"] == floor.tier) & found["not_checked"].isna()]
        mine = mine[mine["attack"] == floor.attack]
        return float(mine[floor.figure].astype(float).mean()) if len(mine) else None
    name, column = summary.TITLES.get(floor.attack, summary.MEAN), f"{floor.tier} {floor.figure}"
    # A mean of fewer than the nine is another figure.
    parts = table.iloc[:-1] if floor.attack == "mean" else table.loc[[name]]
    if column not in table.columns or parts[column].isna().any():
        return None
    return float(table.loc[name, column])
