"""One training for all tests of this room, and a second one where two models must differ."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from assay.contract.models import Contract
from assay.model import LoadedModel, load_bundle, make_card, read_spec, seal_bundle
from assay.train import BundleSpec, RunResult, make_request, prepare, train_run
from tests.model import support
from tests.model.support import Keys


def run(
    folder: Path, table: pa.Table, seed: int = 0, agreed: Contract | None = None, **how: Any
) -> RunResult:
    """One supervised run of the cells' contract, or of another."""
    agreed = agreed or support.contract()
    prepared = prepare(table, agreed, folder / "run")
    request = make_request(
        prepared, agreed, snapshot_id="snapshot-1", out_dir=folder / "bundle", seed=seed, **how
    )
    result = train_run(request, contract=agreed)
    assert result.status == "finished", result.reason
    return result


@pytest.fixture(scope="session")
def table() -> pa.Table:
    """The cells."""
    return support.cells()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, table: pa.Table) -> RunResult:
    """A finished run."""
    return run(tmp_path_factory.mktemp("trained"), table)


@pytest.fixture(scope="session")
def trained_again(tmp_path_factory: pytest.TempPathFactory, table: pa.Table) -> RunResult:
    """A finished run with another seed: another model of the same shape."""
    return run(tmp_path_factory.mktemp("again"), table, 1)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """The keys that everything here is signed with."""
    return support.make_keys(tmp_path_factory.mktemp("keys"))


def seal(result: RunResult, models: Path, keys: Keys) -> Path:
    """A run's bundle with card, statement and signature."""
    assert result.bundle_dir is not None
    card = make_card(
        read_spec(result.bundle_dir / "spec.json"),
        support.contract(),
        snapshot="snapshot-1",
        version=1,
        root="ab" * 32,
        curve=result.findings,
    )
    statement = support.statement_over(result.bundle_dir, keys.ledger)
    return seal_bundle(result.bundle_dir, models, card=card, statement=statement, private_key=keys.private)[0]


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory, trained: RunResult, keys: Keys) -> Path:
    """A sealed bundle; look, do not touch."""
    return seal(trained, tmp_path_factory.mktemp("sealed"), keys)


@pytest.fixture(scope="session")
def sealed_again(tmp_path_factory: pytest.TempPathFactory, trained_again: RunResult, keys: Keys) -> Path:
    """Another model's sealed bundle; look, do not touch."""
    return seal(trained_again, tmp_path_factory.mktemp("sealed"), keys)


@pytest.fixture(scope="session")
def sealed_rich(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Path:
    """A sealed bundle with embeddings, normalisations, a skip and sources; look, do not touch."""
    result = run(tmp_path_factory.mktemp("rich"), support.rich_cells(), agreed=support.rich_contract())
    return seal(result, tmp_path_factory.mktemp("sealed"), keys)


@pytest.fixture(scope="session")
def sealed_private(tmp_path_factory: pytest.TempPathFactory, table: pa.Table, keys: Keys) -> Path:
    """A sealed bundle of a private run; look, do not touch."""
    result = run(tmp_path_factory.mktemp("private"), table, agreed=support.private_contract())
    return seal(result, tmp_path_factory.mktemp("sealed"), keys)


@pytest.fixture
def bundle(sealed: Path, tmp_path: Path) -> Path:
    """A sealed bundle of the test's own."""
    return Path(shutil.copytree(sealed, tmp_path / sealed.name))


@pytest.fixture
def rich(sealed_rich: Path, tmp_path: Path) -> Path:
    """A rich bundle of the test's own."""
    return Path(shutil.copytree(sealed_rich, tmp_path / sealed_rich.name))


@pytest.fixture
def private(sealed_private: Path, tmp_path: Path) -> Path:
    """A private bundle of the test's own."""
    return Path(shutil.copytree(sealed_private, tmp_path / sealed_private.name))


@pytest.fixture(scope="session")
def model(sealed: Path, keys: Keys) -> LoadedModel:
    """The loaded model."""
    return load_bundle(sealed, keys.public, ledger_key=keys.ledger.public_key())


@pytest.fixture(scope="session")
def spec(model: LoadedModel) -> BundleSpec:
    """Its spec."""
    return model.spec
