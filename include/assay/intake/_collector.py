"""Python's collector of cyclic garbage, asked for less while a delivery is verified."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SELDOM = 100_000
_lock = threading.Lock()
_inside: list[
    tuple[int, int, int]
] = []  # the thresholds from before, once for each verification that is under way


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Look for cycles seldom: a verification makes some objects per file, keeps most, and has none in cycles.

    With 20,000 files, looking through them again and again takes a fifth of the processor's time.
    """
    with _lock:
        _inside.append(_inside[0] if _inside else gc.get_threshold())
        gc.set_threshold(max(_SELDOM, _inside[0][0]), *_inside[0][1:])
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                gc.set_threshold(*before)
