"""How long the review pages wait for their data, and what twenty reviewers at once get.

    python -m benchmarks.ui [--cases 100000] [--rows 1000000] [--calls 9] [--home DIR]

Starts a real Airflow on loopback (api-server, scheduler, dag-processor, triggerer) over a store of so many cases and
rows, logs in, and prints, per call, the median and the worst of so many seconds from the request to the last byte; the
first call of each kind is shown apart, for it pays for what is kept afterwards. The peer in the same run is Airflow's
own list of DAGs. Then twenty reviewers decide twenty cases at once, and after that one case.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from benchmarks.ui_data import Seeded, seed

from assay.demo.airflow import LocalAirflow

PROJECT = Path(__file__).resolve().parents[1]
REVIEWERS = [f"reviewer{number:02}" for number in range(20)]
PEER = "/api/v2/dags?limit=50"


@contextmanager
def running(home: Path, seeded: Seeded) -> Iterator[LocalAirflow]:
    """Airflow over the seeded store, stopped at the end."""
    roles = {**dict.fromkeys(REVIEWERS, "user"), "viewer": "viewer"}
    airflow = LocalAirflow(home, PROJECT, seeded.environment, roles=roles)
    airflow.start(print)
    try:
        yield airflow
    finally:
        airflow.stop()


def client_of(airflow: LocalAirflow, name: str) -> httpx.Client:
    """A client with a user's token."""
    said = {"username": name, "password": airflow.password_of(name)}
    token = httpx.post(f"{airflow.url}/auth/token", json=said, timeout=60).raise_for_status().json()
    headers = {"Authorization": f"Bearer {token['access_token']}", "Accept-Encoding": "gzip"}
    return httpx.Client(base_url=airflow.url, headers=headers, timeout=120)


def calls_of(client: httpx.Client, seeded: Seeded) -> dict[str, list[str]]:
    """What each page asks for until it can show something, in the order of the pages."""
    api, case = "/assay/api", f"/assay/api/cases/{seeded.case}"
    column = quote(client.get(case).raise_for_status().json()["plots"]["columns"][0], safe="")
    later = f"{api}/cases?limit=50"
    for _ in range(20):  # page 20 must be as fast as page 1
        cursor = client.get(later).raise_for_status().json()["next"]
        later = f"{api}/cases?limit=50&cursor={quote(cursor, safe='')}"
    return {
        "Overview": [f"{api}/me", f"{api}/overview"],
        "Deliveries": [f"{api}/deliveries?limit=50"],
        "Delivery": [f"{api}/deliveries/{seeded.delivery}"],
        "Cases": [f"{api}/cases?limit=50", f"{api}/cases?status=open&sort=due", later],
        "Case": [
            case,
            f"{case}/rows?limit=50",
            f"{case}/rows?limit=50&sort=score&order=desc",
            f"{case}/plots/column/{column}",
            f"{case}/plots/score",
            f"{case}/plots/sources",
        ],
        "Runs": [f"{api}/runs?limit=50"],
        "Run": [f"{api}/runs/{seeded.run}", f"{api}/runs/{seeded.run}/curve"],
        "Models": [f"{api}/models?limit=50"],
        "Model": [f"{api}/models/{seeded.model}"],
        "Provenance": [
            f"{api}/provenance/search?q={quote(seeded.row_key, safe='')}",
            f"{api}/provenance/node?kind=delivery&id={seeded.delivery}",
        ],
        "(peer) Airflow's DAGs": [PEER],
    }


def timed(client: httpx.Client, path: str) -> tuple[float, int]:
    """Seconds until the whole answer is here, and its size as sent."""
    begun = time.perf_counter()
    answer = client.get(path).raise_for_status()
    return time.perf_counter() - begun, int(answer.headers.get("content-length") or len(answer.content))


def measure(client: httpx.Client, pages: dict[str, list[str]], calls: int) -> None:
    """Print a line per call and the sum per page."""
    print(f"{'page':22} {'call':66} {'first':>8} {'median':>8} {'worst':>8} {'bytes':>8}")
    for page, paths in pages.items():
        total = 0.0
        for path in paths:
            first, size = timed(client, path)
            seen = [timed(client, path)[0] for _ in range(calls)]
            total += statistics.median(seen)
            shown = path.replace("/assay/api", "")[:66]
            print(
                f"{page:22} {shown:66} {first:8.3f} {statistics.median(seen):8.3f} {max(seen):8.3f} {size:8}"
            )
        if len(paths) > 1:
            print(f"{page:22} {'one after the other':66} {'':8} {total:8.3f}")


def at_once(
    clients: list[httpx.Client], ask: Callable[[int], tuple[str, dict[str, Any]]]
) -> list[httpx.Response]:
    """One request of each client at the same moment."""
    gate = threading.Barrier(len(clients))

    def post(number: int) -> httpx.Response:
        path, body = ask(number)
        gate.wait()
        return clients[number].post(path, json=body)

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(post, range(len(clients))))


def race(airflow: LocalAirflow, seeded: Seeded) -> None:
    """Twenty reviewers, first on a case each, then on one case."""
    clients = [client_of(airflow, name) for name in REVIEWERS]
    cases = seeded.open_cases[: len(clients) + 1]

    def of(case: str, number: int) -> tuple[str, dict[str, Any]]:
        action = ("release", "reject")[number % 2]
        return f"/assay/api/cases/{case}/decision", {"action": action, "reason": f"because of {number}"}

    begun = time.perf_counter()
    apart = at_once(clients, lambda number: of(cases[number], number))
    seconds = time.perf_counter() - begun
    print(f"\n20 reviewers, 20 cases: {_counted(apart)} in {seconds:.2f} s")
    begun = time.perf_counter()
    together = at_once(clients, lambda number: of(cases[-1], number))
    seconds = time.perf_counter() - begun
    said = {answer.json()["error"]["message"] for answer in together if answer.status_code == 409}
    print(f"20 reviewers, one case: {_counted(together)} in {seconds:.2f} s")
    print(f"the others were told: {'; '.join(sorted(said))}")
    for client in clients:
        client.close()


def _counted(answers: list[httpx.Response]) -> str:
    counts = Counter(answer.status_code for answer in answers)
    return ", ".join(f"{count} x {status}" for status, count in sorted(counts.items()))


def main() -> None:
    """Seed, start, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=9, help="calls to take median and worst of")
    parser.add_argument("--home", type=Path, help="keep store and Airflow here; used again when it is there")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-ui-") as scratch:
        home = (chosen.home or Path(scratch)).resolve()
        seeded = seed(home / "store", cases=chosen.cases, rows=chosen.rows)
        with running(home / "airflow", seeded) as airflow:
            client = client_of(airflow, "viewer")
            client.get("/assay/api/me").raise_for_status()
            measure(client, calls_of(client, seeded), chosen.calls)
            race(airflow, seeded)


if __name__ == "__main__":
    main()
