"""The repository itself: locks, image, Compose file, Makefile, demonstration data."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.txt", "requirements-dev.txt")
# In two halves, so that this file does not find itself.
REGISTRIES = [
    "".join(halves)
    for halves in (
        ("pypi", ".org"),
        ("python", "hosted.org"),
        ("registry.npm", "js.org"),
        ("deb.", "debian.org"),
    )
]


def locked(name: str) -> list[tuple[Requirement, list[str]]]:
    """The requirements of a lock file, each with its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    out = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            out.append((Requirement(requirement.strip()), [entry.strip() for entry in hashes]))
    return out


def wanted(name: str) -> list[Requirement]:
    """The requirements of a hand-written .in file."""
    lines = (line.split(" #")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def repository_files() -> list[Path]:
    """Every file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


# --------------------------------------------------------------------------------------------------------------- locks


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(name: str) -> None:
    requirements = locked(name)
    assert len(requirements) > 20
    for requirement, hashes in requirements:
        specifiers = list(requirement.specifier)
        assert [specifier.operator for specifier in specifiers] == ["=="], requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", entry) for entry in hashes), requirement


@pytest.mark.parametrize("name", [*LOCKS, "requirements.in", "requirements-dev.in"])
def test_requirements_name_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links)\b", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("source", "lock"), [("requirements.in", LOCKS[0]), ("requirements-dev.in", LOCKS[1])]
)
def test_the_lock_holds_everything_that_is_asked_for(source: str, lock: str) -> None:
    pins = {canonicalize_name(requirement.name): requirement for requirement, _ in locked(lock)}
    for requirement in wanted(source):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement} is not in {lock}: run `make lock`"
        version = next(iter(pin.specifier)).version
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{pin} does not satisfy {requirement}"
        )


def test_both_locks_agree() -> None:
    runtime = {(canonicalize_name(r.name), str(r.marker)): str(r.specifier) for r, _ in locked(LOCKS[0])}
    for requirement, _ in locked(LOCKS[1]):
        key = (canonicalize_name(requirement.name), str(requirement.marker))
        assert runtime.get(key, str(requirement.specifier)) == str(requirement.specifier), requirement


def test_what_is_installed_is_what_is_locked() -> None:
    for lock in LOCKS:
        for requirement, _ in locked(lock):
            if requirement.marker is None or requirement.marker.evaluate():
                installed = importlib.metadata.version(requirement.name)
                assert requirement.specifier.contains(installed, prereleases=True), (
                    f"{requirement.name} {installed} is installed, {requirement} is locked: run `make setup`"
                )


@pytest.mark.parametrize(
    ("package", "below", "why"),
    [
        ("marshmallow", "4", "with it every native Great Expectations run on pandas raises a TypeError"),
        ("celery", "5.7", "with it Airflow's Celery executor cannot be imported"),
    ],
)
def test_packages_that_break_others_are_held_back(package: str, below: str, why: str) -> None:
    assert Version(importlib.metadata.version(package)) < Version(below), why


@pytest.mark.parametrize(
    "module", ["model_signing", "minisign", "securesystemslib.dsse", "safetensors.numpy"]
)
def test_libraries_with_undeclared_dependencies_can_be_imported(module: str) -> None:
    assert importlib.import_module(module)


def test_the_package_has_one_version() -> None:
    import assay

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert declared["version"] == assay.__version__
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    ours = {
        service["image"] for service in compose["services"].values() if service["image"].startswith("assay")
    }
    assert ours == {f"assay:{assay.__version__}", f"assay-flux:{assay.__version__}"}


# ---------------------------------------------------------------------------------------------------------- repository


@pytest.mark.parametrize(
    "path",
    [
        "dags", "plugins", "include/assay", "include/contracts", "include/julia", "tests", "benchmarks", "docs",
        "docker-compose.yaml", "requirements.txt", "Makefile", "README.md", "pyproject.toml", "LICENSE",
    ],
)  # fmt: skip
def test_the_agreed_layout_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_no_file_names_a_package_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in repository_files()
        for host in REGISTRIES
        if path.stat().st_size < 2_000_000 and host.encode() in path.read_bytes()
    ]
    assert not found


def test_no_module_outgrows_its_reader() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in (ROOT / "include" / "assay").rglob("*.py")}
    assert sizes
    assert not {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > 600}


def test_nothing_secret_or_made_is_part_of_the_repository() -> None:
    names = {str(path.relative_to(ROOT)) for path in repository_files()}
    assert names
    assert not [
        name for name in names if name.startswith((".venv/", ".assay/")) or name.endswith((".db", ".key"))
    ]
    assert {name for name in names if name.startswith("docker/secrets/")} <= {"docker/secrets/README.md"}
    assert ".env" not in names


# ------------------------------------------------------------------------------------------------------------ fixtures


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_gets_a_database_that_nobody_used_before(database_url: str, turn: str) -> None:
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(database_url)
    assert inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE used (x INTEGER)"))
    engine.dispose()


def test_state_goes_to_a_folder_of_the_test(assay_home: Path, tmp_path: Path) -> None:
    from assay.settings import Settings

    assert Settings.from_env().home == assay_home.resolve()
    assert assay_home.is_relative_to(tmp_path)
    assert not assay_home.exists()


# ------------------------------------------------------------------------------------------------------------ Makefile


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs make as a user would, without what the test run itself put into the environment."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_make_alone_lists_every_target() -> None:
    targets = set(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = make().stdout
    assert {"setup", "demo", "test", "clean", "secrets", "lock"} <= targets
    assert not [target for target in targets if not re.search(rf"\b{target}\b.* \S", shown)]


def test_setup_says_what_to_do_about_a_missing_python(tmp_path: Path) -> None:
    done = make("setup", "PYTHON=no-such-python", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_setup_refuses_an_old_python_by_name(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = make("setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_setup_says_which_package_makes_virtual_environments(tmp_path: Path) -> None:
    bare = tmp_path / "python3.11"
    bare.write_text('#!/bin/sh\ncase "$2" in *venv*) exit 1;; esac\nexit 0\n')
    bare.chmod(0o755)
    done = make("setup", f"PYTHON={bare}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr


def test_the_ci_script_is_sound_and_runs_the_gates() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    assert "set -euo pipefail" in text
    for gate in ("make lint", "make types", "make contracts", "make test", "--fail-under=90"):
        assert gate in text


# -------------------------------------------------------------------------------------------------------------- Compose


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return loaded


def service_names() -> list[str]:
    return list(yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"])


def test_the_compose_file_follows_the_specification() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            "docker-compose.yaml",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_has_every_part_of_airflow(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {
        "airflow-init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer",
        "airflow-worker", "airflow-gpu-worker", "postgres", "redis", "objects", "objects-owner",
    }  # fmt: skip
    gpu = compose["services"]["airflow-gpu-worker"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["command"][gpu["command"].index("--queues") + 1] == "gpu"
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


@pytest.mark.parametrize("name", service_names())
def test_a_service_is_pinned_and_confined(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    tag = service["image"].partition(":")[2]
    assert re.match(r"v?\d+\.\d+", tag), f"{service['image']} is not pinned to a version"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    one_shot = service["restart"] == "no"
    assert one_shot or service["healthcheck"]["test"]
    if (
        name == "objects-owner"
    ):  # the one that is root: it hands an empty folder over, without network or secrets
        assert service["network_mode"] == "none"
        assert not service.get("secrets")
    else:
        assert service["user"].startswith("${ASSAY_UID:?")
        assert "cap_add" not in service
    for volume in service.get("volumes", []):
        source, _, rest = volume.partition(":")
        assert not source.startswith((".", "/")) or rest.endswith(":ro"), (
            f"{volume} lets a container write here"
        )


@pytest.mark.parametrize("name", service_names())
def test_a_service_keeps_its_secrets_in_files(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    environment = {key: str(value) for key, value in service.get("environment", {}).items()}
    for key, value in environment.items():
        if re.search(r"PASSWORD|SECRET|FERNET|SQL_ALCHEMY_CONN|BROKER_URL|RESULT_BACKEND|CREDENTIALS", key):
            assert key.endswith(("_CMD", "_FILE")), key
        assert not re.search(r"://[^/@\s]*:[^/@\s]+@", value), key
    given = set(service.get("secrets", []))
    assert given <= set(compose["secrets"])
    text = json.dumps([environment, service.get("command"), service.get("healthcheck")])
    read = set(re.findall(r"/run/secrets/(\w+)", text)) - {"s3_client"}  # absent where Assay does not run
    assert read <= given


def test_state_is_out_of_reach_of_everything_but_airflow(compose: dict[str, Any]) -> None:
    assert compose["networks"]["back"]["internal"] is True
    for name in ("postgres", "redis", "objects"):
        assert compose["services"][name]["networks"] == ["back"]
        assert "ports" not in compose["services"][name]
    exposed = [name for name, service in compose["services"].items() if service.get("ports")]
    assert exposed == ["airflow-api-server"]


def test_the_image_is_built_from_the_hashed_lock() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    airflow = next(r for r, _ in locked("requirements.txt") if r.name == "apache-airflow")
    version = next(iter(airflow.specifier)).version
    assert bases[0] == f"apache/airflow:{version}-python3.11"
    assert not [base for base in bases if base.endswith(":latest") or (":" not in base and base != "assay")]
    assert "--require-hashes" in dockerfile
    juliacall = next(r for r, _ in locked("requirements.txt") if r.name == "juliacall")
    assert f'name="PythonCall", version="{next(iter(juliacall.specifier)).version}"' in dockerfile
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1] == "airflow"


def test_make_secrets_makes_each_file_for_its_owner_alone_and_only_once(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    command = [sys.executable, str(ROOT / "scripts" / "make_secrets.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    first = {path.name: path.read_text() for path in folder.iterdir()}
    for path in folder.iterdir():
        if path.name != ".env":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {Path(entry["file"]).name for entry in compose["secrets"].values()} <= set(first)
    # Airflow takes what a *_CMD prints as it is, with a newline if there is one.
    assert not [
        name for name in first if name.startswith(("airflow_", "celery_", "assay_")) and "\n" in first[name]
    ]
    assert len(set(first.values())) == len(first)
    subprocess.run(command, check=True, capture_output=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == first


# ----------------------------------------------------------------------------------------------------------------- data


def test_the_adult_data_is_whole_and_small() -> None:
    import pyarrow.parquet as pq

    path = ROOT / "include" / "data" / "adult" / "adult.parquet"
    table = pq.read_table(path)
    assert path.stat().st_size < 1_000_000
    assert table.num_rows == 48_842
    assert table["person_id"].to_pylist() == list(range(48_842))
    assert table["split"].to_pylist() == ["train"] * 32_561 + ["test"] * 16_281
    assert {name: table[name].null_count for name in table.column_names if table[name].null_count} == {
        "workclass": 2_799,
        "occupation": 2_809,
        "native_country": 857,
    }
    assert table["income"].to_pylist().count(">50K") == 11_687
    assert set(table["income"].unique().to_pylist()) == {"<=50K", ">50K"}
    assert "CC BY 4.0" in (path.parent / "README.md").read_text()
