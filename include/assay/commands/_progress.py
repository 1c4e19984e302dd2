"""A bar for long work on a person's terminal; silent where nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pyarrow as pa
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Batches = Callable[[int], Iterable[pa.RecordBatch]]

PASSES = ("drawing a sample of", "scoring", "explaining")
"""What is done to the rows each time that they are read."""


@contextmanager
def rows_bar(rows: int | None, console: Console | None = None) -> Iterator[Callable[[Batches], Batches]]:
    """Give out a wrapper that shows how many rows of a table were read, anew for each pass.

    Args:
        rows: How many there are, if that is known without reading them.
        console: Where the bar is drawn; standard error by default. Only a terminal gets one.
    """
    console = console or Console(stderr=True)
    columns = (
        TextColumn("{task.description} rows"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(PASSES[0], total=rows)
        passes = 0

        def wrap(opener: Batches) -> Batches:
            def watched(batch_rows: int) -> Iterator[pa.RecordBatch]:
                nonlocal passes
                bar.reset(task, total=rows, description=PASSES[min(passes, len(PASSES) - 1)])
                passes += 1
                for batch in opener(batch_rows):
                    yield batch
                    bar.advance(task, batch.num_rows)

            return watched

        yield wrap
