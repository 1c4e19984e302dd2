"""Times every answer of the review console on the store that `benchmarks/ui_data.py` makes.

`python benchmarks/ui_console.py --home DIR [--repeat 5] [--cases N --rows N --large N]`. `first` is the first call of
this process after the imports, which for rows of a case unseals them; `median` is that of the calls after it. Beside
them the bytes of the answer as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.ui_data import Seeded, seed

from assay.console import Console
from assay.settings import Settings


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=200_000)
    given = parser.parse_args()
    made = seed(given.home, cases=given.cases, rows=given.rows, large=given.large)
    console = Console.open(_settings(made))
    console.warm()
    print(f"{'answer':34} {'first ms':>9} {'median ms':>10} {'bytes':>10}")
    for name, ask in _questions(console, made):
        taken: list[float] = []
        answer: Any = b""
        for _ in range(1 + given.repeat):
            begun = time.perf_counter()
            answer = ask()
            taken.append(1000 * (time.perf_counter() - begun))
        size = len(json.dumps(answer)) if isinstance(answer, dict) else len(answer)
        print(f"{name:34} {taken[0]:9.1f} {statistics.median(taken[1:]):10.1f} {size:10,}")
    console.close()


def _settings(made: Seeded) -> Settings:
    where = made.environment
    home = Path(where["ASSAY_HOME"])
    return Settings(
        home=home,
        database_url=where["ASSAY_DATABASE_URL"],
        store_uri=where["ASSAY_STORE_URI"],
        keys_dir=Path(where["ASSAY_KEYS_DIR"]),
        contracts_dir=Path(where["ASSAY_CONTRACTS_DIR"]),
    )


def _questions(console: Console, made: Seeded) -> list[tuple[str, Callable[[], Any]]]:
    def far(ask: Callable[..., Any], pages: int) -> str | None:
        cursor = None
        for _ in range(pages):
            cursor = ask(limit=500, cursor=cursor)["next"]
        return cursor

    cases_100 = far(console.cases, 100)
    deliveries_50 = far(console.deliveries, 50)
    many, held = made.case, made.held_case
    group = console.case(many)["groups"][0]["id"]
    row = console.case_rows(held, limit=1)["items"][0]["row"]
    return [
        ("overview", console.overview),
        ("deliveries", console.deliveries),
        ("deliveries, page 500", lambda: console.deliveries(cursor=deliveries_50)),
        ("deliveries of a source", lambda: console.deliveries(dataset="adult", source="harbour")),
        ("delivery", lambda: console.delivery(made.delivery)),
        ("cases", console.cases),
        ("cases, page 1,000", lambda: console.cases(cursor=cases_100)),
        ("cases, open by due", lambda: console.cases(status="open", sort="due")),
        ("cases of a source, largest", lambda: console.cases(source="harbour", sort="rows")),
        ("cases, searched", lambda: console.cases(q=many[:14])),
        ("case", lambda: console.case(held)),
        ("case of many rows", lambda: console.case(many)),
        ("rows", lambda: console.case_rows(held)),
        ("many rows", lambda: console.case_rows(many)),
        ("many rows by a column", lambda: console.case_rows(many, sort="age")),
        ("many rows of a group", lambda: console.case_rows(many, group=group)),
        ("many rows, searched", lambda: console.case_rows(many, q="Hungary")),
        ("row", lambda: console.case_row(held, row)),
        ("plot of a column", lambda: console.plot_column(held, "age")),
        ("plot of a column, many rows", lambda: console.plot_column(many, "native_country")),
        ("plot of scores, many rows", lambda: console.plot_score(many)),
        ("plot of sources", lambda: console.plot_sources(held)),
        ("plot of a group, many rows", lambda: console.plot_group(many, group)),
        ("export of many rows", lambda: b"".join(console.export_csv(many))),
        ("runs", console.runs),
        ("run", lambda: console.run(made.run)),
        ("curve", lambda: console.curve(made.run)),
        ("models", console.models),
        ("model", lambda: console.model(made.model)),
        ("search of an id", lambda: console.search(made.model)),
        ("search of a row", lambda: console.search(made.row_key)),
        ("search of a publisher", lambda: console.search("census")),
        ("node of a row", lambda: console.node("row", made.row_key)),
        ("node of a delivery", lambda: console.node("delivery", made.delivery)),
        ("node of a publisher", lambda: console.node("publisher", "census")),
        ("node of the snapshot", lambda: console.node("snapshot", made.snapshot)),
        ("node of a model", lambda: console.node("model", made.model)),
        ("proof of a model", lambda: console.proof("model", made.model)[1]),
        ("open", lambda: console.open_page("adult__intake")),
    ]


if __name__ == "__main__":
    main()
