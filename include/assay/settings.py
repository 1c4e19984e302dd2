"""The only reader of the environment: where Assay keeps its state and which services it talks to."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None


@dataclass(frozen=True)
class Settings:
    """Where everything lives.

    Attributes:
        home: State directory (`ASSAY_HOME`, default `~/.assay`); made with mode 0700.
        database_url: SQLAlchemy URL (`ASSAY_DATABASE_URL`, default SQLite in `home`).
        store_uri: fsspec URI of the object store (`ASSAY_STORE_URI`, default a folder in `home`).
        keys_dir: Signing keys (`ASSAY_KEYS_DIR`, default a folder in `home`).
        contracts_dir: One YAML file per data set (`ASSAY_CONTRACTS_DIR`, default `contracts` beside the package).
        ledger_key_file: The ledger's Ed25519 key from elsewhere than `keys_dir` (`ASSAY_LEDGER_KEY_FILE`).
        ledger_key_pem: The same key as PEM text (`ASSAY_LEDGER_KEY`); goes before the file, and is never printed.
        model_key_file: The models' P-256 key from elsewhere than `keys_dir` (`ASSAY_MODEL_KEY_FILE`).
        ledger_head_file: The ledger's anchor from elsewhere than `home` (`ASSAY_LEDGER_HEAD_FILE`).
    """

    home: Path
    database_url: str
    store_uri: str
    keys_dir: Path
    contracts_dir: Path
    ledger_key_file: Path | None = None
    ledger_key_pem: str | None = field(default=None, repr=False)
    model_key_file: Path | None = None
    ledger_head_file: Path | None = None

    @property
    def work_dir(self) -> Path:
        """Scratch space of tasks; anything in it can be deleted when no task runs."""
        return self.home / "work"

    @classmethod
    def from_env(cls) -> Settings:
        """Read the environment now; nothing is cached, so that tests and tasks see their own."""
        home = Path(os.environ.get("ASSAY_HOME") or Path.home() / ".assay").expanduser().resolve()
        package_root = Path(__file__).resolve().parent.parent
        return cls(
            home=home,
            database_url=os.environ.get("ASSAY_DATABASE_URL") or f"sqlite:///{home / 'assay.db'}",
            store_uri=os.environ.get("ASSAY_STORE_URI") or (home / "store").as_uri(),
            keys_dir=Path(os.environ.get("ASSAY_KEYS_DIR") or home / "keys"),
            contracts_dir=Path(os.environ.get("ASSAY_CONTRACTS_DIR") or package_root / "contracts"),
            ledger_key_file=_path("ASSAY_LEDGER_KEY_FILE"),
            ledger_key_pem=os.environ.get("ASSAY_LEDGER_KEY") or None,
            model_key_file=_path("ASSAY_MODEL_KEY_FILE"),
            ledger_head_file=_path("ASSAY_LEDGER_HEAD_FILE"),
        )

    def make_home(self) -> None:
        """Create the state directory for its owner alone."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)


@dataclass(frozen=True)
class JuliaSettings:
    """Where the environment says that Julia is; the names are juliacall's and Julia's own.

    Attributes:
        executable: `PYTHON_JULIACALL_EXE`, else `JULIA_EXE`; none: `julia` is looked up on PATH.
        project: `PYTHON_JULIACALL_PROJECT`; none: juliapkg's project, else Julia's default environment.
    """

    executable: str | None
    project: str | None

    @classmethod
    def from_env(cls) -> JuliaSettings:
        """Read the environment now."""
        return cls(
            executable=os.environ.get("PYTHON_JULIACALL_EXE") or os.environ.get("JULIA_EXE") or None,
            project=os.environ.get("PYTHON_JULIACALL_PROJECT") or None,
        )


_SECRET_WORDS = ("SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "_KEY", "APIKEY")
_SECRET_OWNERS = ("ASSAY_", "AIRFLOW_", "AWS_", "AZURE_", "GOOGLE_", "PG", "REDIS_", "CELERY_")


def child_environment() -> dict[str, str]:
    """The environment for a child process that works on data alone: without keys, tokens and connections."""
    package_root = str(Path(__file__).resolve().parent.parent)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_SECRET_OWNERS)
        and not any(word in name.upper() for word in _SECRET_WORDS)
    }
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (package_root, kept.get("PYTHONPATH"))))
    kept["PYTHONHASHSEED"] = "0"
    return kept
