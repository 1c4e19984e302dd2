"""What is costly to make is made once, by whichever test process comes first."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

FOLDER = "ASSAY_TEST_SHARED_FOLDER"
"""The variable that names the folder of this test run; its controlling process makes it and takes it away."""


def lock_of(folder: Path) -> Path:
    """The lock file of whoever fills a folder."""
    return folder.with_name(f"{folder.name}.lock")


def built_once(name: str, build: Callable[[Path], None]) -> Path:
    """A folder that the first test process to ask for it fills.

    The others wait, and take it as it is; nobody changes it afterwards. What could not be built is tried again by the
    next one that asks.
    """
    folder = Path(os.environ[FOLDER]) / name
    done = folder.with_name(f"{name}.done")
    with lock_of(folder).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            done.touch()
    return folder
