"""One training for all tests of this room, and a second one where two models must differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from assay.model import LoadedModel, load_bundle, make_card, read_spec, seal_bundle
from assay.train import BundleSpec, RunResult, make_request, prepare, train_run
from tests.model import support
from tests.model.support import Keys


def _run(folder: Path, table: pa.Table, seed: int) -> RunResult:
    agreed = support.contract()
    prepared = prepare(table, agreed, folder / "run")
    request = make_request(prepared, agreed, snapshot_id="snapshot-1", out_dir=folder / "bundle", seed=seed)
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
    return _run(tmp_path_factory.mktemp("trained"), table, 0)


@pytest.fixture(scope="session")
def trained_again(tmp_path_factory: pytest.TempPathFactory, table: pa.Table) -> RunResult:
    """A finished run with another seed: another model of the same shape."""
    return _run(tmp_path_factory.mktemp("again"), table, 1)


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


@pytest.fixture
def bundle(sealed: Path, tmp_path: Path) -> Path:
    """A sealed bundle of the test's own."""
    return Path(shutil.copytree(sealed, tmp_path / sealed.name))


@pytest.fixture(scope="session")
def model(sealed: Path, keys: Keys) -> LoadedModel:
    """The loaded model."""
    return load_bundle(sealed, keys.public, ledger_key=keys.ledger.public_key())


@pytest.fixture(scope="session")
def spec(model: LoadedModel) -> BundleSpec:
    """Its spec."""
    return model.spec
