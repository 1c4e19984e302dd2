"""How large a network's description may be. It is asked before anything is made of it, so that a lie costs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from assay.train.network.layers import LayerSpec, SkipSpec

MAX_NESTING = 16
"""Skips within skips."""
MAX_LAYERS = 4096
"""Layers in all, those within skips included."""
MAX_WIDTH = 1 << 22
"""Numbers that a layer may take or give per row."""


def widest(layers: Sequence[LayerSpec]) -> int:
    """The most numbers per row that stand between two layers."""
    return max((math.prod(shape) for layer in layers for shape in _shapes(layer)), default=0)


def oversize(layers: Sequence[LayerSpec]) -> str:
    """What of a network is larger than any that Assay trains; empty when nothing is. No array is made for it."""
    level: list[LayerSpec] = list(layers)
    seen = 0
    for depth in range(MAX_NESTING + 2):
        seen += len(level)
        if seen > MAX_LAYERS:
            return f"it has more than {MAX_LAYERS} layers"
        skips = [layer for layer in level if isinstance(layer, SkipSpec)]
        if not skips:
            break
        if depth >= MAX_NESTING:
            return f"its skips are nested more than {MAX_NESTING} deep"
        level = [inner for skip in skips for inner in skip.layers]
    if (width := widest(layers)) > MAX_WIDTH:
        return f"a layer takes or gives {width} numbers per row, at most {MAX_WIDTH} are expected"
    return ""


def _shapes(layer: LayerSpec) -> list[tuple[int, ...]]:
    """Shapes before and after the layer and the layers within it."""
    own = [layer.input_shape, layer.output_shape]
    if not isinstance(layer, SkipSpec):
        return own
    return own + [shape for inner in layer.layers for shape in _shapes(inner)]
