"""The only reader of the environment: where Assay keeps its state and which services it talks to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


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
        ledger_key_uri: The same key on a token, as a PKCS#11 URI (`ASSAY_LEDGER_KEY_URI`); goes before both.
        model_key_file: The models' P-256 key from elsewhere than `keys_dir` (`ASSAY_MODEL_KEY_FILE`).
        model_key_uri: The same key on a token (`ASSAY_MODEL_KEY_URI`); goes before the file.
        pkcs11_pin: The token's PIN (`ASSAY_PKCS11_PIN`); never printed.
        ledger_head_file: The ledger's anchor from elsewhere than `home` (`ASSAY_LEDGER_HEAD_FILE`).
        ledger_places: URIs where checkpoints are published (`ASSAY_LEDGER_PUBLISH`, separated by spaces).
        ledger_witnesses: Verifier keys of witnesses (`ASSAY_LEDGER_WITNESSES`, separated by spaces).
        decide_role: Who may decide on cases in Airflow's pages: `user` (whoever may answer the intake DAG's required
            actions), `op` or `admin` (`ASSAY_DECIDE_ROLE`, default `user`).
        notify_places: Apprise URLs that news goes to, or `airflow://ID` for an Airflow connection (`ASSAY_NOTIFY`,
            separated by spaces); never printed, for they hold passwords.
        notify_events: Names of the events that are told (`ASSAY_NOTIFY_EVENTS`, separated by spaces; default: all).
        pages_url: Address of Assay's pages, for links in messages (`ASSAY_PAGES_URL`); in Airflow it is known.
    """

    home: Path
    database_url: str
    store_uri: str
    keys_dir: Path
    contracts_dir: Path
    ledger_key_file: Path | None = None
    ledger_key_pem: str | None = field(default=None, repr=False)
    ledger_key_uri: str | None = None
    model_key_file: Path | None = None
    model_key_uri: str | None = None
    pkcs11_pin: str | None = field(default=None, repr=False)
    ledger_head_file: Path | None = None
    ledger_places: tuple[str, ...] = ()
    ledger_witnesses: tuple[str, ...] = ()
    decide_role: str = "user"
    notify_places: tuple[str, ...] = field(default=(), repr=False)
    notify_events: tuple[str, ...] = ()
    pages_url: str = ""

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
            ledger_key_uri=os.environ.get("ASSAY_LEDGER_KEY_URI") or None,
            model_key_file=_path("ASSAY_MODEL_KEY_FILE"),
            model_key_uri=os.environ.get("ASSAY_MODEL_KEY_URI") or None,
            pkcs11_pin=os.environ.get("ASSAY_PKCS11_PIN") or None,
            ledger_head_file=_path("ASSAY_LEDGER_HEAD_FILE"),
            ledger_places=tuple(os.environ.get("ASSAY_LEDGER_PUBLISH", "").split()),
            ledger_witnesses=tuple(os.environ.get("ASSAY_LEDGER_WITNESSES", "").split()),
            decide_role=os.environ.get("ASSAY_DECIDE_ROLE", "").strip().lower() or "user",
            notify_places=tuple(os.environ.get("ASSAY_NOTIFY", "").split()),
            notify_events=tuple(os.environ.get("ASSAY_NOTIFY_EVENTS", "").split()),
            pages_url=os.environ.get("ASSAY_PAGES_URL", "").strip(),
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


@dataclass(frozen=True)
class Connection:
    """Where a source is and how it is entered, from an Airflow connection or from variables that a contract names.

    Attributes:
        kind: Airflow's connection type, e.g. `postgres`.
        host: Name or address of the server.
        port: Its port.
        user: Name to log in with.
        schema: Database, or what else the kind means by it.
        password: Never shown.
        extra: What else the connection says; never shown.
    """

    kind: str = ""
    host: str | None = None
    port: int | None = None
    user: str | None = None
    schema: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


def connection(name: str) -> Connection | None:
    """The Airflow connection of that id from `AIRFLOW_CONN_<ID>`, in either of its forms; None if there is none.

    Raises:
        ValueError: It is there and cannot be read; the message says nothing of what it holds.
    """
    text = os.environ.get(f"AIRFLOW_CONN_{name.upper()}")
    if not text:
        return None
    try:
        if text.lstrip().startswith("{"):
            body = json.loads(text)
            extra = body.get("extra") or {}
            return Connection(
                kind=str(body.get("conn_type") or ""),
                host=body.get("host"),
                port=None if body.get("port") is None else int(body["port"]),
                user=body.get("login"),
                schema=body.get("schema"),
                password=body.get("password"),
                extra=json.loads(extra) if isinstance(extra, str) else dict(extra),
            )
        parts = urlsplit(text)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        more = json.loads(query.pop("__extra__", "{}"))
        return Connection(
            kind=parts.scheme.replace("-", "_"),
            host=unquote(parts.hostname) if parts.hostname else None,
            port=parts.port,
            user=unquote(parts.username) if parts.username else None,
            schema=unquote(parts.path.removeprefix("/")) or None,
            password=unquote(parts.password) if parts.password else None,
            extra={**query, **more},
        )
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"AIRFLOW_CONN_{name.upper()} is no Airflow connection") from None


def credential(variable: str) -> str | None:
    """The value of an environment variable that a contract names; None if it is not set."""
    return os.environ.get(variable) or None


def proxied(scheme: str, host: str) -> bool:
    """Whether the environment (`HTTPS_PROXY`, `NO_PROXY`, ...) sends requests to a host through a proxy."""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


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
