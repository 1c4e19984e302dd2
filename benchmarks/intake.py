"""Verify and land a delivery, beside three tools that only verify, on the same bytes in the same run.

    python benchmarks/intake.py [--quick] [--large-gb 5] [--small-files 20000] [--runs 3] [--work DIR]

It makes a delivery of large files and one of 4 KiB files, signs both, and lets each of these read them in turn: Assay
(signature, manifest, freshness, checksums, completeness, a copy of every byte in the object store, confirmed by the
disk, and the registration), `sha256sum -c`, `model_signing verify` and `bagit.py --validate`. Each leg is a process of
its own; start-up and imports are in the first column of times, and Assay's work alone is told apart. All legs find the
files in the page cache. The best of the runs is printed, with the processor time and the peak memory of that run.
Machines are noisy: read the ratios. Everything that it made is taken away at the end.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SMALL = 4096
PIECE = 16 << 20
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Leg:
    """One run of one tool.

    Attributes:
        wall: Seconds of the whole process.
        cpu: Seconds that it had the processor.
        peak: Bytes of memory at its most.
        work: Seconds and processor seconds of the verification alone, where the process tells.
    """

    wall: float
    cpu: float
    peak: int
    work: dict[str, float] = field(default_factory=dict)


def measured(command: list[str | Path], folder: Path, env: dict[str, str] | None = None) -> Leg:
    """Run a tool to its end; its failure ends the benchmark."""
    with tempfile.TemporaryFile() as out:
        before = time.perf_counter()
        process = subprocess.Popen(list(map(str, command)), cwd=folder, env=env, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read().decode(errors="replace")
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{said[-3000:]}")
    last = said.rstrip().rpartition("\n")[2]
    work = json.loads(last) if last.startswith("{") else {}
    return Leg(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, work)


def make_files(folder: Path, sizes: list[int]) -> None:
    """Files that no compression or sharing helps with."""
    for number, size in enumerate(sizes):
        path = folder / f"{number // 1000:03}" / f"{number:06}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for start in range(0, size, PIECE):
                file.write(os.urandom(min(PIECE, size - start)))


def contract_of(folder: Path, key: object, files: int, total: int) -> dict[str, object]:
    """A contract for the delivery, its bounds wide enough."""
    return {
        "version": 1,
        "dataset": "bench",
        "publishers": [{"id": "lab", "keys": [key]}],
        "sources": [{"id": "lab", "publisher": "lab", "uri": str(folder), "signature": "SHA256SUMS.sig"}],
        "schema": {"key": ["id"], "columns": {"id": {"type": "integer"}}},
        "bounds": {"max_files": files + 10, "max_bytes": total + (1 << 30), "timeout": "2h"},
    }


def child(folder: Path, contract: Path) -> None:
    """One verification, in this process; prints its own times as JSON."""
    from assay.contract import Contract
    from assay.db import open_database
    from assay.intake import verify_delivery
    from assay.settings import Settings

    settings = Settings.from_env()
    open_database(settings).dispose()  # the registry's tables are made once in its life
    wanted = Contract.model_validate(json.loads(contract.read_text()))
    wall, cpu = time.perf_counter(), time.process_time()
    result = verify_delivery(str(folder), wanted)
    times = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    if result.outcome.value != "passed":
        raise SystemExit("\n".join(f"{f.check} {f.outcome.value}: {f.message}" for f in result.findings))
    print(json.dumps(times))


def sign(root: Path, folder: Path) -> None:
    """Make the folder a signed delivery, and a contract for it."""
    from assay.contract import Contract
    from assay.intake.publish import generate_key, publish

    sizes = [path.stat().st_size for path in folder.rglob("*.bin")]
    key = generate_key(root / "lab.secret", "ed25519").model_dump(mode="json", exclude_defaults=True)
    body = contract_of(folder, key, len(sizes), sum(sizes))
    (root / "contract.json").write_text(json.dumps(body))
    publish(folder, Contract.model_validate(body), "lab", root / "lab.secret", sequence=1)


def legs(root: Path, folder: Path) -> dict[str, Callable[[], Leg]]:
    """What each tool is called with, after it has signed or listed the files its own way."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "include"), "OMP_NUM_THREADS": "1"}
    # In a process of its own: what a parent has in memory would count as its children's.
    measured([sys.executable, __file__, "--sign", root, folder], REPOSITORY, env)
    found: dict[str, Callable[[], Leg]] = {}

    def assay() -> Leg:
        home = Path(tempfile.mkdtemp(dir=root))
        env["ASSAY_HOME"] = str(home)
        try:
            return measured(
                [sys.executable, __file__, "--child", folder, root / "contract.json"], REPOSITORY, env
            )
        finally:
            shutil.rmtree(home)

    found["assay verify and land"] = assay
    found["sha256sum -c"] = lambda: measured(["sha256sum", "--quiet", "-c", "SHA256SUMS"], folder)

    secret, public, signature = root / "ec.pem", root / "ec.pub", root / "model.sig"
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", secret], check=True
    )
    subprocess.run(
        ["openssl", "ec", "-in", secret, "-pubout", "-out", public], check=True, capture_output=True
    )
    tool = [sys.executable, "-m", "model_signing"]
    measured([*tool, "sign", "key", "--private_key", secret, "--signature", signature, folder], root)
    found["model_signing verify"] = lambda: measured(
        [*tool, "verify", "key", "--public_key", public, "--signature", signature, folder], root
    )

    bagit = importlib.util.find_spec("bagit")
    if bagit is None or bagit.origin is None:
        print("bagit.py is not here (pip install bagit): left out")
        return found
    bag = root / "bag"
    (bag / "data").mkdir(parents=True)
    lines = []
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, _, path = line.partition("  ")
        (bag / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(folder / path, bag / "data" / path)
        lines.append(f"{digest}  data/{path}\n")
    (bag / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    (bag / "manifest-sha256.txt").write_text("".join(lines))
    found["bagit.py --validate"] = lambda: measured([sys.executable, bagit.origin, "--validate", bag], root)
    return found


def compare(title: str, root: Path, sizes: list[int], runs: int) -> None:
    """Make the data, run every tool in turn, print."""
    root.mkdir()
    folder = root / "delivery"
    total = sum(sizes)
    print(f"\n{title}: {len(sizes):,} files, {total / 1e9:.2f} GB", flush=True)
    make_files(folder, sizes)
    tools = legs(root, folder)
    best: dict[str, Leg] = {}
    for _ in range(runs):
        for name, run in tools.items():
            leg = run()
            if name not in best or leg.wall < best[name].wall:
                best[name] = leg
    yardstick = best["sha256sum -c"]
    print(
        f"{'':24}{'s':>8}{'cpu s':>8}{'GB/s':>7}{'GB/cpu s':>10}{'files/s':>9}{'MB peak':>9}{'x sha256sum':>13}"
    )
    for name, leg in best.items():
        rows = [(name, leg.wall, leg.cpu)]
        if leg.work:
            rows.append(("  without start-up", leg.work["wall"], leg.work["cpu"]))
        for label, wall, cpu in rows:
            print(
                f"{label:24}{wall:8.2f}{cpu:8.2f}{total / wall / 1e9:7.2f}{total / cpu / 1e9:10.2f}"
                f"{len(sizes) / wall:9,.0f}{leg.peak / 1e6:9,.0f}{yardstick.wall / wall:13.2f}"
            )
    shutil.rmtree(root)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="0.25 GB and 2,000 files, once")
    parser.add_argument("--large-gb", type=float, default=5.0)
    parser.add_argument("--small-files", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--work", type=Path, help="where to make the data; default: the system's temporary folder"
    )
    for own in ("--child", "--sign"):
        parser.add_argument(own, nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child or given.sign:
        (child if given.child else sign)(*(given.child or given.sign))
        return
    if given.quick:
        given.large_gb, given.small_files, given.runs = 0.25, 2000, 1
    with tempfile.TemporaryDirectory(prefix="assay-bench-", dir=given.work) as work:
        large = int(given.large_gb * 1e9)
        each = min(large, 1_250_000_000)
        compare("large files", Path(work) / "large", [each] * max(1, large // each), given.runs)
        compare("small files", Path(work) / "small", [SMALL] * given.small_files, given.runs)
    print("\nAssay copies every byte to its store and waits for the disk; the other tools only read.")


if __name__ == "__main__":
    main()
