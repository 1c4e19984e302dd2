"""Running a verifier that is a program: pinned arguments, an environment of its own, a folder for the one call."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assay.intake.errors import ToolMissing
from assay.settings import child_environment

_SECONDS = 60.0
PROGRAMS = {
    "gpg": ("gnupg", "OpenPGP"),
    "ssh-keygen": ("openssh-client", "OpenSSH"),
    "openssl": ("openssl", "CMS"),
}
"""Each program's Debian package, and the signatures that it checks."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Answer:
    """What a program said: its exit status, and its output as text."""

    status: int
    out: str
    err: str


class Bench:
    """A folder of one call's own, and the program that reads what lies in it."""

    def __init__(self, tool: str, folder: Path) -> None:
        """Look the program up; see `bench`."""
        path = child_environment().get("PATH", _PATH)
        found = shutil.which(tool, path=path)
        if found is None:
            raise ToolMissing(
                f"this machine has no {tool}, which checks signatures of this format",
                expected=f"{tool} on PATH",
                next_step=f"install it: apt-get install {PROGRAMS[tool][0]}",
            )
        self.folder = folder
        self._tool, self._program = tool, found
        self._environment = {
            "PATH": path,
            "HOME": str(folder),
            "GNUPGHOME": str(folder),
            "OPENSSL_CONF": "/dev/null",  # the machine's own settings must not loosen what is pinned here
            "LC_ALL": "C",
            "TZ": "UTC",
        }

    def put(self, name: str, data: bytes) -> str:
        """Write a file into the folder; gives its path."""
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def run(self, *arguments: str, stdin: bytes | None = None) -> Answer:
        """Run the program in the folder.

        Raises:
            ToolMissing: It cannot be started, or gave no answer in time.
        """
        try:
            done = subprocess.run(
                [self._program, *arguments],
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                cwd=self.folder,
                env=self._environment,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolMissing(
                f"{self._tool} gave no answer",
                expected=f"one within {_SECONDS:.0f} seconds",
                found=str(error)[:200],
                next_step=f"run `{self._tool}` by hand to see what it lacks",
            ) from error
        return Answer(
            done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )


@contextmanager
def bench(tool: str) -> Iterator[Bench]:
    """A folder that only this user may enter, gone afterwards, and the program.

    Raises:
        ToolMissing: This machine lacks the program.
    """
    with tempfile.TemporaryDirectory(prefix="assay-signature-") as folder:
        yield Bench(tool, Path(folder))
