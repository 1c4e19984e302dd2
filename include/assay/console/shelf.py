"""What is kept between calls: the most recently used of a kind, bounded by weight, loaded by one thread each."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Shelf(Generic[Thing]):
    """A bounded cache of immutable things.

    Args:
        weigh: What one weighs.
        most: What all may weigh together; the one that is asked for is kept, whatever it weighs.
    """

    def __init__(self, weigh: Callable[[Thing], int], most: int) -> None:
        self._weigh, self._most = weigh, most
        self._kept: OrderedDict[Hashable, Thing] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[Hashable, threading.Lock] = {}

    def get(self, name: Hashable, load: Callable[[], Thing]) -> Thing:
        """The thing of that name; loaded where it is not there, once, however many ask for it."""
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
            mine = self._loading.setdefault(name, threading.Lock())
        with mine:
            with self._lock:
                if name in self._kept:
                    return self._kept[name]
            try:
                thing = load()
            finally:
                with self._lock:
                    self._loading.pop(name, None)
            with self._lock:
                self._kept[name] = thing
                self._shrink()
        return thing

    def __len__(self) -> int:
        return len(self._kept)

    def _shrink(self) -> None:
        while len(self._kept) > 1 and sum(map(self._weigh, self._kept.values())) > self._most:
            self._kept.popitem(last=False)
