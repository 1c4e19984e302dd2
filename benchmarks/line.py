"""The whole intake on large deliveries, beside a naive script on the same rows in the same run.

    python benchmarks/line.py [--rows 1000000 5000000] [--work DIR]

Per size it prints seconds and rows/s of each station (land and verify, validate, screen, admit) and the peak memory of
the process that ran them; then the naive script (pandas.read_parquet, one Great Expectations suite, PyOD ECOD and
IForest, sha256sum) on the smallest size, and the ratio of both end-to-end times. Each leg is a fresh process, so that
imports and memory are counted for both. Machines are noisy: read the ratio, not the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

FEATURES = 18
SHARD = 500_000
TRUSTED = 500


def table(rows: int, start: int, seed: int) -> pa.Table:
    """Key, 18 related numbers, and a label that depends on three of them: 20 columns."""
    rng = np.random.default_rng([seed, start])
    base = rng.standard_normal((rows, FEATURES)).astype(np.float64)
    base[:, 1:] += 0.5 * base[:, :-1]
    odds = base[:, 0] + 0.8 * base[:, 3] - 0.6 * base[:, 7] + 0.5 * rng.standard_normal(rows)
    columns = {"id": np.arange(start, start + rows, dtype=np.int64)}
    columns |= {f"x{i:02}": np.round(base[:, i], 6) for i in range(FEATURES)}
    return pa.table(columns).append_column("y", pa.array(np.where(odds > 0, "yes", "no")))


def contract(folder: Path) -> dict:
    """A contract over these columns, with an expectation on each."""
    numbers = {f"x{i:02}": {"type": "number", "min": -50, "max": 50} for i in range(FEATURES)}
    return {
        "version": 1,
        "dataset": "bench",
        "publishers": [{"id": "lab"}],
        "sources": [
            {
                "id": "lab",
                "publisher": "lab",
                "uri": str(folder / "out"),
                "manifest": "SHA256SUMS",
                "signature": "SHA256SUMS.sig",
            }
        ],
        "schema": {
            "key": ["id"],
            "label": {"column": "y", "classes": ["no", "yes"]},
            "columns": {
                "id": {"type": "integer", "min": 0, "unique": True},
                **numbers,
                "y": {"type": "string", "allowed": ["no", "yes"]},
            },
        },
        "trusted": {"uri": "trusted.parquet"},
    }


def make_delivery(folder: Path, rows: int) -> Path:
    """Write, sign and describe a delivery; returns the contract's path."""
    from assay.contract import add_key, load_contract
    from assay.intake.publish import generate_key, publish

    out = folder / "out"
    out.mkdir(parents=True)
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(contract(folder), sort_keys=False))
    pq.write_table(table(TRUSTED, 10**9, 1), folder / "trusted.parquet")
    for number, start in enumerate(range(0, rows, SHARD)):
        pq.write_table(table(min(SHARD, rows - start), start, 2), out / f"part-{number:03}.parquet")
    key = generate_key(folder / "lab.key", "ed25519")
    add_key(path, "lab", public_key=key.public_key, format="ed25519")
    publish(out, load_contract(path), "lab", folder / "lab.key", sequence=1)
    return path


def run_line(path: Path) -> dict:
    """All stations in this process; seconds per station."""
    started = time.monotonic()
    from assay.line import Line, admit, land, screen, validate

    seconds: dict[str, float] = {}

    def timed(name: str, station: Callable[[], dict]) -> dict:
        begun = time.monotonic()
        answer = station()
        seconds[name] = time.monotonic() - begun
        return answer

    with Line.open(path) as line:
        deliveries = [timed("land and verify", lambda: land(line, "lab"))["delivery"]]
        timed("validate", lambda: validate(line, deliveries))
        timed("screen", lambda: screen(line, deliveries))
        said = timed("admit", lambda: admit(line, deliveries))
    seconds["end to end"] = time.monotonic() - started
    return {"seconds": seconds, "admitted": said["admitted"], "peak_mb": _peak_mb()}


def run_naive(path: Path) -> dict:
    """What a script without Assay does: read everything, one suite, two detectors, sha256sum."""
    started = time.monotonic()
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    folder = path.parent / "out"
    files = sorted(folder.glob("*.parquet"))
    subprocess.run(["sha256sum", *map(str, files)], check=True, capture_output=True)
    import great_expectations as gx
    import pandas as pd
    from pyod.models.ecod import ECOD
    from pyod.models.iforest import IForest

    frame = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    context = gx.get_context(mode="ephemeral")
    suite = gx.ExpectationSuite(name="bench")
    for i in range(FEATURES):
        suite.add_expectation(
            gx.expectations.ExpectColumnValuesToBeBetween(column=f"x{i:02}", min_value=-50, max_value=50)
        )
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeUnique(column="id"))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeInSet(column="y", value_set=["no", "yes"]))
    batch = context.data_sources.add_pandas("p").add_dataframe_asset("a")
    checked = batch.add_batch_definition_whole_dataframe("b").get_batch({"dataframe": frame}).validate(suite)
    numbers = frame[[f"x{i:02}" for i in range(FEATURES)]].to_numpy()
    flagged = {}
    for detector in (ECOD(contamination=0.001), IForest(contamination=0.001, random_state=0)):
        flagged[type(detector).__name__] = int(detector.fit(numbers).labels_.sum())
    seconds = {"end to end": time.monotonic() - started}
    return {"seconds": seconds, "valid": bool(checked.success), "flagged": flagged, "peak_mb": _peak_mb()}


def _peak_mb() -> int:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) // 1024


def leg(kind: str, path: Path, home: Path) -> dict:
    """Run one leg in a fresh process."""
    include = Path(__file__).resolve().parents[1] / "include"
    environment = {
        **os.environ,
        "ASSAY_HOME": str(home),
        "PYTHONPATH": str(include),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, __file__, "--leg", kind, "--contract", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the leg {kind!r} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument(
        "--work", type=Path, help="folder for data (default: a temporary one, deleted at the end)"
    )
    parser.add_argument("--no-naive", action="store_true", help="leave the naive script out")
    parser.add_argument("--leg", choices=["line", "naive"], help=argparse.SUPPRESS)
    parser.add_argument("--contract", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.leg:
        print(json.dumps((run_line if arguments.leg == "line" else run_naive)(arguments.contract)))
        return
    work = arguments.work or Path(tempfile.mkdtemp(prefix="assay-bench-"))
    try:
        results, smallest = {}, min(arguments.rows)
        print(f"{'rows':>10}  {'station':<16} {'seconds':>8} {'rows/s':>12} {'peak MB':>8}")
        for rows in sorted(arguments.rows):
            path = make_delivery(work / str(rows), rows)
            results[rows] = leg("line", path, work / f"home-{rows}")
            for name, seconds in results[rows]["seconds"].items():
                peak = results[rows]["peak_mb"] if name == "end to end" else ""
                print(
                    f"{rows:>10,}  {name:<16} {seconds:>8.1f} {rows / seconds:>12,.0f} {peak:>8}", flush=True
                )
            print(f"{'':>10}  {results[rows]['admitted']:,} rows admitted")
            shutil.rmtree(work / f"home-{rows}", ignore_errors=True)
        if not arguments.no_naive:
            naive = leg("naive", work / str(smallest) / "bench.yaml", work / "home-naive")
            seconds = naive["seconds"]["end to end"]
            speed, peak = smallest / seconds, naive["peak_mb"]
            print(f"{smallest:>10,}  {'naive script':<16} {seconds:>8.1f} {speed:>12,.0f} {peak:>8}")
            ratio = seconds / results[smallest]["seconds"]["end to end"]
            print(
                f"ratio: end to end on {smallest:,} rows, the line is {ratio:.2f} x as fast as the naive script"
            )
    finally:
        if arguments.work is None:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
