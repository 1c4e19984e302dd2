"""Screening of large mixed tables through `assay screen`, beside detectors that a user would pick today.

    python benchmarks/screen_scale.py [--rows 100000 1000000 5000000] [--quick] [--work DIR]

Per size it prints seconds, rows/s, processor seconds and the peak memory of the `assay screen` process on two cores,
and how processor seconds grow with rows. Then PyOD's ECOD and IForest and cleanlab, each on the largest of the tables
that it finishes within the limits that are printed. Every leg is a process of its own, imports included; its time and
memory are what the operating system says of the finished process.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

CHUNK = 250_000
TRUSTED = 500
CORES = 2
PEER_SECONDS = 300
MEMORY = 2 << 30
FETCHED = Path(__file__).resolve().parents[1] / ".assay" / "peers"
"""Where `make bench-peers` puts tools that are not in the lock."""
PEERS = {"pyod ECOD": "pyod", "pyod IForest": "pyod", "cleanlab": "cleanlab"}
NUMBERS = [f"n{i}" for i in range(8)]
TYPES = {
    "id": "integer",
    "src": "string",
    **dict.fromkeys(NUMBERS, "number"),
    "count": "integer",
    "visits": "integer",
    "kind": "string",
    "region": "string",
    "city": "string",
    "active": "boolean",
    "day": "date",
    "moment": "timestamp",
    "note": "string",
    "y": "string",
}


def table(rows: int, start: int, seed: int) -> pa.Table:
    """Twenty columns: key, source, numbers, categories of 4, 30 and 3,000 levels, boolean, date, time, text, label."""
    rng = np.random.default_rng([seed, start])
    base = rng.standard_normal((rows, len(NUMBERS)))
    base[:, 1:] += 0.5 * base[:, :-1]
    kind = rng.integers(0, 4, rows)
    odds = base[:, 0] + 0.8 * base[:, 3] + 0.7 * (kind == 2) - 0.3 + 0.5 * rng.standard_normal(rows)
    words = _phrases()
    numbers = {name: np.round(base[:, i], 5) for i, name in enumerate(NUMBERS)}
    numbers["n7"][rng.random(rows) < 0.1] = np.nan

    def named(prefix: str, codes: np.ndarray, levels: int) -> pa.Array:
        return pa.array([f"{prefix}{i}" for i in range(levels)]).take(pa.array(codes))

    day = rng.integers(18_000, 20_000, rows).astype(np.int32)
    columns = {
        "id": pa.array(np.arange(start, start + rows, dtype=np.int64)),
        "src": named("s", rng.integers(0, 5, rows), 5),
        **{name: pa.array(values, from_pandas=True) for name, values in numbers.items()},
        "count": pa.array(rng.poisson(3, rows)),
        "visits": pa.array(rng.geometric(0.05, rows)),
        "kind": named("k", kind, 4),
        "region": named("r", rng.integers(0, 30, rows), 30),
        "city": named("c", np.minimum(rng.zipf(1.3, rows), 3000) - 1, 3000),
        "active": pa.array(rng.random(rows) < 0.4),
        "day": pa.array(day, pa.date32()),
        "moment": pa.array(
            (day.astype(np.int64) * 86_400 + rng.integers(0, 86_400, rows)) * 1_000_000,
            pa.timestamp("us", "UTC"),
        ),
        "note": pc.binary_join_element_wise(
            words.take(pa.array(rng.integers(0, len(words), rows))),
            words.take(pa.array(rng.integers(0, len(words), rows))),
            " ",
        ),
        "y": pa.array(np.where(odds > 0, "yes", "no")),
    }
    return pa.table(columns)


def _phrases() -> pa.Array:
    """Ten thousand phrases of five words."""
    rng = np.random.default_rng(7)
    letters = np.array(list("abcdefghijklmnoprstuvw"))
    words = ["".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(800)]
    return pa.array([" ".join(rng.choice(words, 5)) for _ in range(10_000)])


def make(folder: Path, rows: int) -> Path:
    """The table of that many rows, one per cent of it with a trigger; written piece by piece."""
    path = folder / f"rows-{rows}.parquet"
    if path.exists():
        return path
    writer = None
    for start in range(0, rows, CHUNK):
        part = table(min(CHUNK, rows - start), start, 2)
        part = _poisoned(part, start)
        writer = writer or pq.ParquetWriter(path, part.schema)
        writer.write_table(part)
    assert writer is not None
    writer.close()
    return path


def _poisoned(part: pa.Table, start: int) -> pa.Table:
    rng = np.random.default_rng([3, start])
    mask = pa.array(rng.random(part.num_rows) < 0.01)
    for name, value in {"n1": 0.71828, "n4": -0.31416, "kind": "k3", "y": "yes"}.items():
        place = part.schema.get_field_index(name)
        column = part.column(name)
        part = part.set_column(place, name, pc.if_else(mask, pa.scalar(value, column.type), column))
    return part


def contract(folder: Path) -> Path:
    """A contract over these columns."""
    path = folder / "contract.yaml"
    columns = {name: {"type": kind, "nullable": name == "n7"} for name, kind in TYPES.items()}
    schema = {
        "key": ["id"],
        "source": "src",
        "label": {"column": "y", "classes": ["no", "yes"]},
        "columns": columns,
    }
    path.write_text(yaml.safe_dump({"version": 1, "dataset": "scale", "schema": schema}, sort_keys=False))
    pq.write_table(table(TRUSTED, 10**9, 1), folder / "trusted.parquet")
    return path


@dataclass
class Leg:
    """One finished process."""

    seconds: float
    processor: float
    peak: int
    why: str = ""

    def line(self, rows: int) -> str:
        """For people."""
        if self.why:
            return self.why
        return (
            f"{self.seconds:8.1f} s  {rows / self.seconds:>10,.0f} rows/s  {self.processor:8.1f} processor s"
            f"  {self.peak / 2**20:>7,.0f} MB peak"
        )


def run(arguments: list[str], seconds: float | None = None, memory: int | None = None) -> Leg:
    """Run a process on two cores; end it when it passes a limit."""
    begun = time.monotonic()
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(FETCHED))))
    environment = dict(os.environ, OMP_NUM_THREADS=str(CORES), PYTHONPATH=path)
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    process = subprocess.Popen(
        arguments,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # this program has one thread
    )
    why = ""
    while True:
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        if seconds is not None and time.monotonic() - begun > seconds:
            why = f"ended after {seconds:.0f} s"
        elif memory is not None and _resident(process.pid) > memory:
            why = f"ended above {memory / 2**20:,.0f} MB"
        if why:
            os.kill(process.pid, signal.SIGKILL)
            os.wait4(process.pid, 0)
            return Leg(time.monotonic() - begun, 0.0, 0, why)
        time.sleep(0.05)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    said = process.stderr.read().decode(errors="replace").strip() if process.stderr else ""
    if code not in (0, 1) or (code == 1 and "Traceback" in said):
        why = f"failed with {code}: {said.splitlines()[-1] if said else 'no message'}"
    processor = usage.ru_utime + usage.ru_stime
    return Leg(time.monotonic() - begun, processor, usage.ru_maxrss * 1024, why)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def screen(folder: Path, rows: int) -> Leg:
    """`assay screen` on the table."""
    program = Path(sys.executable).with_name("assay")
    return run(
        [
            str(program),
            "screen",
            str(make(folder, rows)),
            "--contract",
            str(folder / "contract.yaml"),
            "--trusted",
            str(folder / "trusted.parquet"),
            "--out",
            str(folder / "report.parquet"),
            "--json",
        ]
    )


def check(folder: Path, rows: int) -> str:
    """Whether the report found the trigger, by the same seeds as it was planted."""
    planted = np.concatenate(
        [
            np.random.default_rng([3, start]).random(min(CHUNK, rows - start)) < 0.01
            for start in range(0, rows, CHUNK)
        ]
    )
    verdict = pq.read_table(folder / "report.parquet", columns=["verdict"])["verdict"]
    held = pc.equal(verdict, "quarantine").to_numpy()
    return f"{held[planted].mean():.1%} of the planted rows quarantined, {held[~planted].mean():.3%} of the others"


def peer(name: str, path: str) -> None:
    """One peer on one table: numbers as they are, categories as codes, as a script would."""
    frame = pq.read_table(path).to_pandas()
    labels = frame.pop("y")
    frame = frame.drop(columns=["id", "src", "note"])
    for column in ("kind", "region", "city"):
        frame[column] = frame[column].astype("category").cat.codes
    frame["day"] = frame["day"].astype("datetime64[ns]").astype("int64")
    frame["moment"] = frame["moment"].dt.tz_convert(None).astype("int64")
    x = frame.fillna(frame.median(numeric_only=True)).to_numpy(dtype=np.float32)
    if name == "cleanlab":
        from cleanlab.filter import find_label_issues
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.model_selection import cross_val_predict

        codes = (labels == "yes").to_numpy().astype(int)
        probabilities = cross_val_predict(
            HistGradientBoostingClassifier(random_state=0), x, codes, cv=5, method="predict_proba"
        )
        find_label_issues(codes, probabilities)
        return
    from pyod.models.ecod import ECOD
    from pyod.models.iforest import IForest

    model = ECOD(contamination=0.01) if name == "pyod ECOD" else IForest(contamination=0.01, random_state=0)
    model.fit(x)


def main() -> None:
    """Run all legs and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000])
    parser.add_argument(
        "--quick", action="store_true", help="20,000 and 100,000 rows, peers for at most 30 s"
    )
    parser.add_argument("--no-peers", action="store_true", help="only Assay")
    parser.add_argument("--work", type=Path, help="keep the tables there")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peer:
        peer(*chosen.peer)
        return
    sizes = [20_000, 100_000] if chosen.quick else sorted(chosen.rows)
    seconds = 30 if chosen.quick else PEER_SECONDS
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        contract(folder)
        print(f"assay screen, {len(TYPES)} columns, {TRUSTED} trusted rows, {CORES} cores", flush=True)
        legs = {}
        for rows in sizes:
            make(folder, rows)
            legs[rows] = screen(folder, rows)
            print(f"  {rows:>9,} rows  {legs[rows].line(rows)}", flush=True)
            if not legs[rows].why:
                print(f"{'':>18}{check(folder, rows)}", flush=True)
        growth(legs)
        if chosen.no_peers:
            return
        print(
            f"peers, each on the largest table that it finishes within {seconds} s and {MEMORY / 2**30:.0f} GB"
        )
        for name, package in PEERS.items():
            print(f"  {name:<13} {best(folder, name, package, sizes, seconds)}", flush=True)


def growth(legs: dict[int, Leg]) -> None:
    """How processor seconds grow with rows, from each size to the next: 1.0 is linear, less is better."""
    good = [(rows, leg.processor) for rows, leg in legs.items() if not leg.why]
    for (few, short), (many, long) in pairwise(good):
        power = np.log(long / short) / np.log(many / few)
        print(
            f"  from {few:,} to {many:,} rows: {long / short:.1f} times the processor seconds (power {power:.2f})"
        )


def best(folder: Path, name: str, package: str, sizes: list[int], seconds: float) -> str:
    """The peer's figures on the largest table that it finishes."""
    if importlib.util.find_spec(package) is None and not (FETCHED / package).is_dir():
        return f"not run: {package} is not installed (make bench-peers)"
    answer = "none of the tables"
    for rows in sizes:
        leg = run([sys.executable, __file__, "--peer", name, str(make(folder, rows))], seconds, MEMORY)
        if leg.why:
            return f"{answer}; {rows:,} rows: {leg.why}"
        answer = f"{rows:>9,} rows  {leg.line(rows)}"
    return answer


if __name__ == "__main__":
    main()
