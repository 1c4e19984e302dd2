"""Pins what `requirements-peers.in` asks for and the project's locks do not hold: writes `requirements-peers.txt`.

python benchmarks/lock_peers.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.txt", "requirements-dev.txt")


def main() -> int:
    """Compile; returns the exit status."""
    names = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
    held = {name for lock in LOCKS for name in names.findall((PROJECT / lock).read_text())}
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
    ]
    command += [
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        "--no-emit-find-links",
    ]
    command += [option for lock in LOCKS for option in ("--constraint", lock)]
    command += [option for name in sorted(held) for option in ("--no-emit-package", name)]
    command += ["benchmarks/requirements-peers.in", "--output-file", "benchmarks/requirements-peers.txt"]
    return subprocess.run(command, check=False, cwd=PROJECT).returncode


if __name__ == "__main__":
    sys.exit(main())
