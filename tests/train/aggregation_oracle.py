"""Writes what byzfl and flwr answer for random gradients: `python -m tests.train.aggregation_oracle`.

Both need other versions of much that Assay is locked to, byzfl torch besides, which its NumPy rules import and do not
use. So this runs in an environment of its own (`pip install flwr numpy scipy`, `pip install --no-deps byzfl`, this
repository as working directory), and the tests only read the numbers.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("aggregation_oracle.json")


def byzfl_rules():
    """The rules of byzfl by our names, with an empty module where it asks for torch.

    Its krum counts one neighbour more than Blanchard and others do (n - f - 1), so it is asked for one hostile source
    more; that trick does not work for its multi_krum, which would then keep one source less.
    """
    import importlib

    stand_in = types.ModuleType("torch")
    stand_in.Tensor = type("Tensor", (), {})
    stand_in.linalg = types.ModuleType("torch.linalg")
    sys.modules |= {"torch": stand_in, "torch.linalg": stand_in.linalg}
    root = Path(importlib.util.find_spec("byzfl").submodule_search_locations[0])
    package = types.ModuleType("byzfl")
    package.__path__ = [str(root)]  # its own __init__ would load data sets and benchmarks
    sys.modules["byzfl"] = package
    rules = importlib.import_module("byzfl.aggregators.aggregators")
    return {
        "median": lambda given, f: rules.Median()(given),
        "trimmed_mean": lambda given, f: rules.TrMean(f=f)(given),
        "krum": lambda given, f: rules.Krum(f=f + 1)(given),
        "geometric_median": lambda given, f: rules.GeometricMedian(nu=1e-12, T=5000)(given),
    }


def flwr_rules():
    """Those that flwr has; its lists of arrays are ours of one array each."""
    from flwr.server.strategy import aggregate

    def rows(given):
        return [([row], 1) for row in given]

    return {
        "median": lambda given, f: aggregate.aggregate_median(rows(given))[0],
        "trimmed_mean": lambda given, f: aggregate.aggregate_trimmed_avg(
            rows(given), (f + 1e-9) / len(given)
        )[0],
        "krum": lambda given, f: aggregate.aggregate_krum(rows(given), f, 0)[0],
        "multi_krum": lambda given, f: aggregate.aggregate_krum(rows(given), f, len(given) - f)[0],
    }


def main() -> None:
    """Twelve sets of gradients, some with hostile rows."""
    from importlib.metadata import version

    versions = {name: version(name) for name in ("byzfl", "flwr")}
    libraries = {"flwr": flwr_rules(), "byzfl": byzfl_rules()}
    cases = []
    for seed in range(12):
        generator = np.random.Generator(np.random.PCG64(seed))
        byzantine = 1 + seed % 3
        sources = 2 * byzantine + 3 + seed % 4
        given = np.round(generator.normal(size=(sources, 6)), 4)
        if seed % 2:
            given[:byzantine] += 10
        answers = {
            library: {name: np.asarray(rule(given, byzantine)).tolist() for name, rule in rules.items()}
            for library, rules in libraries.items()
        }
        cases.append({"byzantine": byzantine, "gradients": given.tolist(), "answers": answers})
    FILE.write_text(json.dumps({"versions": versions, "cases": cases}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
