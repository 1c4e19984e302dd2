"""A real Airflow on this machine: its four processes, started on loopback and stopped by their own ids."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from assay.errors import Terminal, Transient

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
USER = "admin"
_FINAL = {"success", "failed"}
_NOT_PASSED_ON = ("AIRFLOW", "COVERAGE_PROCESS")
"""Beginnings of variables that Airflow does not get from its starter: another Airflow's settings, and a measurement of
the starter's coverage, which would slow each task by a third and be lost, because tasks end abruptly."""


class AirflowNotStarted(Terminal):
    """Airflow could not be started here."""


class AirflowTimeout(Transient):
    """A run did not come to its end in time."""


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LocalAirflow:
    """One Airflow installation with its own home, database, user and port.

    Args:
        home: `AIRFLOW_HOME`; made when missing, mode 0700.
        project: The folder that holds `dags/`, `plugins/` and `include/`.
        environment: What the tasks need beside Airflow's own settings, e.g. `ASSAY_HOME`.
        port: Port of the UI and the REST API; none: the one used before, else a free one.
        roles: Role of each user of the simple auth manager: `viewer`, `user`, `op` or `admin`. There is always an
            `admin`; the passwords are made at first use and kept in `password_file`.
    """

    def __init__(
        self,
        home: Path,
        project: Path,
        environment: dict[str, str],
        port: int | None = None,
        roles: Mapping[str, str] | None = None,
    ) -> None:
        """Read or make the secrets and remember the port, so that a stopped Airflow can be started again."""
        self.home = home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._facts_file = home / "local.json"
        facts = json.loads(self._facts_file.read_text()) if self._facts_file.exists() else {}
        self.port = port or facts.get("port") or free_port()
        self._jwt = facts.get("jwt") or secrets.token_hex(48)
        self._write(self._facts_file, json.dumps({"port": self.port, "jwt": self._jwt}))
        self.password_file = home / "simple_auth_manager_passwords.json.generated"
        roles = {**(roles or {}), USER: "admin"}
        known = json.loads(self.password_file.read_text()) if self.password_file.exists() else {}
        made = {name: secrets.token_urlsafe(18) for name in roles if name not in known}
        if made:
            self._write(self.password_file, json.dumps({**known, **made}))
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(_NOT_PASSED_ON)},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(project / "plugins"),
            "PYTHONPATH": str(project / "include"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "3",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": self._jwt,
            "AIRFLOW__API_AUTH__JWT_SECRET": self._jwt,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{n}:{r}" for n, r in roles.items()),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "5",
            # The local executor drops a task that comes back from its trigger while the process that deferred it is
            # still ending, as on a slow machine; the scheduler then takes it up again after this time, not after 600 s.
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "45",
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__NUM_STUCK_IN_QUEUED_RETRIES": "5",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            **environment,
        }

    @property
    def url(self) -> str:
        """Address of the UI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """The administrator's password, as the password file has it."""
        return self.password_of(USER)

    def password_of(self, name: str) -> str:
        """A user's password, as the password file has it."""
        return str(json.loads(self.password_file.read_text())[name])

    def start(self, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Migrate the database, start the four processes and wait until the API answers and the DAGs are known.

        Raises:
            AirflowNotStarted: A process ended early, the port is taken, or nothing answered in three minutes.
        """
        if self.running():
            raise AirflowNotStarted(f"Airflow already runs at {self.url}", next_step="`make down` stops it")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                raise AirflowNotStarted(
                    f"port {self.port} on 127.0.0.1 is taken",
                    next_step=f"free it, or delete {self._facts_file}",
                )
        if shutil.which("airflow", path=self.environment["PATH"]) is None:
            raise AirflowNotStarted(
                "the `airflow` command is not installed", next_step="`make setup` installs it"
            )
        on_progress("Airflow: preparing its database")
        self._command("db", "migrate")
        on_progress("Airflow: starting api-server, scheduler, dag-processor, triggerer")
        for component in COMPONENTS:
            extra = ["--skip-serve-logs"] if component in {"scheduler", "triggerer"} else []
            with (self.home / f"{component}.log").open("ab") as log:
                process = subprocess.Popen(
                    ["airflow", component, *extra],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=self.home,
                )
            self._write(self.home / f"{component}.pid", f"{process.pid} {_start_ticks(process.pid)}")
        self._wait_healthy()
        try:
            self.client().set_pool("gpu", 1, "Training runs: one at a time per GPU")
        except Exception:
            self.stop()
            raise

    def stop(self) -> None:
        """End the processes that `start` started, each by its own session; safe to call twice."""
        groups = [pid for pid in self._pids().values() if _alive(pid)]
        for number, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            for pid in groups:
                _kill_session(pid, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and any(_session_members(pid) for pid in groups):
                time.sleep(0.2)
        for component in COMPONENTS:
            (self.home / f"{component}.pid").unlink(missing_ok=True)

    def running(self) -> bool:
        """Whether any of the processes is alive."""
        return any(_alive(pid) for pid in self._pids().values())

    def client(self, name: str = USER) -> AirflowClient:
        """A client of the REST API, logged in as one of the users."""
        return AirflowClient(self.url, name, self.password_of(name))

    def session_ids(self) -> set[int]:
        """Ids of the process sessions that `start` made."""
        return set(self._pids().values())

    def _pids(self) -> dict[str, int]:
        found = {}
        for component in COMPONENTS:
            file = self.home / f"{component}.pid"
            if file.exists():
                pid, started = map(int, file.read_text().split())
                if _start_ticks(pid) == started:
                    found[component] = pid
        return found

    def _command(self, *arguments: str) -> None:
        done = subprocess.run(
            ["airflow", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
        )
        if done.returncode:
            raise AirflowNotStarted(
                f"`airflow {' '.join(arguments)}` failed with status {done.returncode}",
                found=(done.stderr or done.stdout).strip()[-800:],
                next_step="`make clean` and try again",
            )

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            pids = self._pids()
            for component in COMPONENTS:
                if component not in pids or not _alive(pids[component]):
                    log = self.home / f"{component}.log"
                    tail = log.read_text(errors="replace")[-800:]
                    self.stop()
                    raise AirflowNotStarted(
                        f"airflow {component} ended early", found=tail, next_step=f"read {log}"
                    )
            try:
                health = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
                if all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor")):
                    return
            except (httpx.HTTPError, KeyError, ValueError):
                pass
            time.sleep(0.5)
        self.stop()
        raise AirflowNotStarted(
            f"nothing answered at {self.url} within 3 minutes", next_step=f"read {self.home}/*.log"
        )

    @staticmethod
    def _write(path: Path, text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)


class AirflowClient:
    """The few calls of Airflow's REST API that the demonstration needs."""

    def __init__(self, url: str, user: str, password: str) -> None:
        """Log in.

        Raises:
            AirflowNotStarted: The API refuses the user.
        """
        self._http = httpx.Client(base_url=url, timeout=60)
        answer = self._http.post("/auth/token", json={"username": user, "password": password})
        if answer.status_code >= 400:
            raise AirflowNotStarted("Airflow refused the login", found=f"HTTP {answer.status_code}")
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def wait_for_dags(self, names: set[str], timeout: float = 120) -> None:
        """Wait until all DAGs of these names are known and not paused.

        Raises:
            AirflowTimeout: One of them did not appear.
        """
        deadline = time.monotonic() + timeout
        missing = set(names)
        while time.monotonic() < deadline:
            known = {d["dag_id"] for d in self._get("/api/v2/dags", limit=500)["dags"] if not d["is_paused"]}
            missing = names - known
            if not missing:
                return
            time.sleep(0.5)
        errors = [e["stack_trace"][-600:] for e in self._get("/api/v2/importErrors")["import_errors"]]
        raise AirflowTimeout(
            f"Airflow does not show the DAGs {sorted(missing)}", found="\n".join(errors) or "no error"
        )

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run now; returns its id."""
        answer = self._http.post(
            f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}}
        )
        answer.raise_for_status()
        return str(answer.json()["dag_run_id"])

    def set_pool(self, name: str, slots: int, description: str) -> None:
        """Make a pool, or change it; in place of Airflow's command for it, which is a slow start more.

        Raises:
            AirflowNotStarted: Airflow does not take it.
        """
        pool = {"name": name, "slots": slots, "description": description, "include_deferred": False}
        action = {"action": "create", "entities": [pool], "action_on_existence": "overwrite"}
        answer = self._http.patch("/api/v2/pools", json={"actions": [action]})
        if answer.status_code >= 400 or answer.json()["create"]["errors"]:
            raise AirflowNotStarted(f"Airflow did not make the pool {name}", found=answer.text[:800])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """All runs of a DAG, oldest first."""
        return list(self._get(f"/api/v2/dags/{dag_id}/dagRuns", limit=100, order_by="run_after")["dag_runs"])

    def state(self, dag_id: str, run_id: str) -> str:
        """State of one run."""
        return str(self._get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of one run."""
        return list(
            self._get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100)["task_instances"]
        )

    def wait(
        self, dag_id: str, run_id: str, timeout: float, on_tick: Callable[[], None] = lambda: None
    ) -> str:
        """Wait for the end of a run; returns its state.

        Raises:
            AirflowTimeout: It did not end in time.
        """
        deadline, state = time.monotonic() + timeout, "unknown"
        while time.monotonic() < deadline:
            state = self.state(dag_id, run_id)
            if state in _FINAL:
                return state
            on_tick()
            time.sleep(0.5)
        tasks = ", ".join(f"{task['task_id']} {task['state']}" for task in self.tasks(dag_id, run_id))
        raise AirflowTimeout(
            f"run {run_id} of {dag_id} did not end within {timeout:.0f} s", found=f"{state}: {tasks}"
        )

    def wait_for_run(self, dag_id: str, *, after: int = 0, timeout: float = 120) -> str:
        """Wait until a DAG has more than `after` runs; returns the newest one's id.

        Raises:
            AirflowTimeout: None was started in time.
        """
        deadline = time.monotonic() + timeout
        while len(runs := self.runs(dag_id)) <= after:
            if time.monotonic() > deadline:
                raise AirflowTimeout(f"no new run of {dag_id} was started within {timeout:.0f} s")
            time.sleep(0.5)
        return str(runs[-1]["dag_run_id"])

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """What a task returned; None when it returned nothing."""
        answer = self._http.get(
            f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value",
            params={"map_index": map_index, "deserialize": True},
        )
        return None if answer.status_code == 404 else answer.json().get("value")

    def question(self, dag_id: str, run_id: str) -> dict[str, Any] | None:
        """The unanswered human-in-the-loop question of a run, if it waits for one."""
        details = self._get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/hitlDetails")["hitl_details"]
        waiting = [d for d in details if not d["response_received"]]
        return waiting[0] if waiting else None

    def waits(self, dag_id: str, run_id: str, task_id: str) -> bool:
        """Whether a task has been put aside until a human answers; Airflow has had two words for that."""
        states = {task["task_id"]: task["state"] for task in self.tasks(dag_id, run_id)}
        return states[task_id] in {"awaiting_input", "deferred"}

    def answer(
        self, dag_id: str, run_id: str, task_id: str, option: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        """Answer a question as the logged-in user."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        answer = self._http.patch(path, json={"chosen_options": [option], "params_input": params})
        answer.raise_for_status()
        return dict(answer.json())

    def _get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self._http.get(path, params=params)
        answer.raise_for_status()
        return dict(answer.json())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _is_zombie(pid: int) -> bool:
    return _stat(pid)[:1] == ["Z"]


def _start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot: with the id, it tells a process from a later namesake."""
    return int((_stat(pid) or ["0"] * 20)[19])


def _session_members(session: int) -> list[int]:
    """Living processes of the session that `session` leads; it was made by `start`, so all of them are ours."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[3]) == session and fields[0] != "Z":
                members.append(int(entry.name))
    return members


def _kill_session(session: int, number: signal.Signals) -> None:
    for pid in _session_members(session):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
