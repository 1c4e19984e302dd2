"""What a tool answers about a batch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.detection.scene import Scene
from benchmarks.detection.tables import PROJECT
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

F64 = NDArray[np.float64]
PEERS = PROJECT / ".assay" / "peers"


class Missing(Exception):
    """The tool is not installed here; the message says how to get it."""


@dataclass
class Answer:
    """Scores, higher is more suspicious, and what the tool itself would throw out.

    Attributes:
        scores: Per detector of the tool: one score per row.
        flagged: Per detector that decides: bool per row. Where it does not decide, the benchmark takes as many of the
            rows it likes least as there are poison rows, which is more than its user could know.
        held: The batch as a whole was held; None if the tool has no such notion.
        accused: Sources that were named; None if the tool has no such notion.
    """

    scores: dict[str, F64]
    flagged: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    held: bool | None = None
    accused: set[str] | None = None


Tool = Callable[[Scene], Answer]


def extra(name: str) -> ModuleType:
    """A module of a tool that is no part of the environment, or of one that is.

    The folder of extra tools comes last on the path, so that it changes no module that the environment has.

    Raises:
        Missing: It is not there.
    """
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(
            f"not installed: {error.name or name} ({error}); `make bench-peers` brings it"
        ) from error


def matrix(*frames: pd.DataFrame) -> list[NDArray[np.float64]]:
    """(rows, width) numbers that common detectors take: one-hot categories, medians for gaps, standardised.

    What is learnt (levels, medians, scales) is learnt from all frames together.
    """
    import pandas as pd
    from benchmarks.detection.attacks.base import features

    whole = pd.concat(frames, ignore_index=True)
    wide = pd.get_dummies(whole[features(whole)]).astype(np.float64)
    wide = wide.fillna(wide.median())
    values = wide.to_numpy()
    values = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    return np.split(values, np.cumsum([len(frame) for frame in frames])[:-1])
