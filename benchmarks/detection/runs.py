"""Runs cases in worker processes and keeps every result as one JSON line, so that a stopped run can go on.

A line is found again by the case's parameters and a digest of the code that made it: of the generators and measures,
of the tool, and for Assay of all of `assay.screen`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.detection.scene import Case, build
from benchmarks.detection.tables import PROJECT

RESULTS = PROJECT / ".assay" / "benchmark-detection" / "results.jsonl"
_HERE = Path(__file__).resolve().parent
_SHARED = ("tables.py", "scene.py", "effect.py", "measure.py", "attacks", "tools/base.py")


@lru_cache(maxsize=16)
def digest(tool: str) -> str:
    """Of the code that a tool's figures depend on."""
    found = hashlib.sha256()
    for name in (*_SHARED, f"tools/{tool}.py"):
        path = _HERE / name
        for each in sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []:
            found.update(each.relative_to(_HERE).as_posix().encode() + b"\0" + each.read_bytes() + b"\0")
    if tool == "assay":
        from benchmarks.detection.tools import assay

        found.update(assay.digest().encode())
    return found.hexdigest()[:16]


def versions(tools: Iterable[str]) -> dict[str, str]:
    """The digest of each tool."""
    return {tool: digest(tool) for tool in tools}


def changed_since(before: dict[str, str]) -> bool:
    """Whether any tool's digest is another now."""
    digest.cache_clear()
    return versions(before) != before


def key_of(case: Case) -> str:
    """What a line is found by."""
    return json.dumps([case.fields(), digest(case.tool)], sort_keys=True)


def measure(case: Case, version: str, effects: str = "all") -> dict[str, Any]:
    """One case in this process: its line. A tool or attack that cannot run here gives a line that says why.

    Args:
        case: What to measure.
        version: Digest that the line is kept under.
        effects: Train models for the end effect of `all` attacks, of `backdoors`, or of `none`.
    """
    from benchmarks.detection import effect
    from benchmarks.detection.attacks import Unfit
    from benchmarks.detection.measure import figures
    from benchmarks.detection.tables import Absent
    from benchmarks.detection.tools import TOOLS, Missing

    line: dict[str, Any] = {"case": case.fields(), "digest": version, "effects": effects}
    try:
        scene = build(case)
        references = effect.references(case) if _trains(case, effects) else None
        if case.tool == "none":
            if references is not None:
                ends = {name: getattr(references, name) for name in ("clean", "poisoned", "perfect")}
                line["figures"] = {"poison": int(scene.done.truth.sum()), "ends": ends}
            return line
        begun = time.process_time()
        answer = TOOLS[case.tool](scene)
        seconds = time.process_time() - begun
        line["figures"] = {
            **figures(scene, answer, references),
            "seconds": round(seconds, 3),
        }
    except (Unfit, Absent, Missing) as reason:
        line["not_checked"] = str(reason)
    except Exception as error:  # noqa: BLE001 - a tool's crash is its result, and must not end the others' run
        line["not_checked"] = f"crashed: {type(error).__name__}: {str(error)[:200]}"
        line["trace"] = traceback.format_exc(limit=-6)
    return line


def _group(cases: Sequence[tuple[Case, str]], effects: str) -> list[dict[str, Any]]:
    from threadpoolctl import threadpool_limits

    warnings.simplefilter("ignore")  # other libraries' advice about other libraries
    with threadpool_limits(limits=1):
        return [measure(case, version, effects) for case, version in cases]


def saved(path: Path) -> dict[str, dict[str, Any]]:
    """The lines of a results file by key; a line that a kill cut off is passed over, later lines win."""
    found: dict[str, dict[str, Any]] = {}
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        found[json.dumps([line["case"], line["digest"]], sort_keys=True)] = line
    return found


def run(
    cases: Iterable[Case],
    *,
    path: Path = RESULTS,
    workers: int = 2,
    effects: str = "all",
    again: bool = False,
) -> Iterator[tuple[int, int, list[dict[str, Any]]]]:
    """Lines of all cases: those that the file holds first, then new ones as they come.

    Args:
        cases: What to measure.
        path: Results file; new lines are added at its end.
        workers: Processes, each with one thread.
        effects: Train models for the end effect of `all` attacks, of `backdoors`, or of `none`.
        again: Measure anew what the file holds already.

    Yields:
        Number of cases done, of all cases, and new lines.
    """
    wanted = list(dict.fromkeys(cases))
    known = {} if again else saved(path)
    done = [known[key_of(case)] for case in wanted if _serves(known.get(key_of(case)), effects)]
    yield len(done), len(wanted), done
    groups: dict[tuple[Any, ...], list[tuple[Case, str]]] = {}
    for case in wanted:
        if not _serves(known.get(key_of(case)), effects):
            group = (
                case.table,
                case.seed,
                case.attack,
                case.rate,
                case.rows,
                case.tool in {"none", "assay"} or case.tool,
            )
            groups.setdefault(group, []).append((case, digest(case.tool)))
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(done)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool, path.open("a") as file:
        waiting = [pool.submit(_group, group, effects) for group in groups.values()]
        try:
            for each in as_completed(waiting):
                lines = each.result()
                file.write("".join(json.dumps(line) + "\n" for line in lines))
                file.flush()
                count += len(lines)
                yield count, len(wanted), lines
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _trains(case: Case, effects: str) -> bool:
    from benchmarks.detection.attacks import BACKDOORS, CONTROLS

    return case.attack not in CONTROLS and (
        effects == "all" or (effects == "backdoors" and case.attack in BACKDOORS)
    )


def _serves(line: dict[str, Any] | None, effects: str) -> bool:
    """Whether a kept line answers the question; crashes and missing tools are tried again."""
    if line is None or str(line.get("not_checked", "")).startswith(("crashed", "pip", "not installed")):
        return False
    case = Case(**line["case"])
    return _trains(case, line["effects"]) or not _trains(case, effects)
