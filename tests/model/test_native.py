"""Flux's own file against the portable weights: what its reader may say, and what a real Flux says of real files."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.canonical import sha256_hex
from assay.findings import Finding, Outcome, Scope
from assay.model import BundleRefused, check_bundle, load_bundle
from assay.model import native as room
from assay.model.probes import PROBE_ROWS, probe_rows
from assay.model.sandbox import Ended
from assay.model.structure import read_spec
from assay.settings import child_environment
from assay.train import load_preprocessing
from assay.train.backends.reference import forward
from assay.train.machine.julia import JuliaHome, JuliaStatus, find_julia
from assay.train.network.layers import EmbeddingSpec
from assay.train.programs.native_check import native_layers
from assay.train.setup.preprocess import ColumnState, Preprocessing
from tests.model import support
from tests.model.conftest import run, seal
from tests.model.support import Keys, arrays_of, as_flux, edit_spec, forge, write_arrays

HONEST = support.JLS_HEADER + b"what this Flux writes"
VERSIONS = {"julia": "1.10.8", "flux": "0.16.5", "assay_trainer": "0.1.0"}
Answer = dict[str, Any]


def native(bundle: Path, keys: Keys) -> Finding:
    """The answer of the comparison, where all else has passed; a model that failed is not loaded."""
    findings, model = check_bundle(bundle, keys.public, thorough=True)
    others = [f for f in findings if f.check != "model.native" and f.outcome is not Outcome.PASSED]
    assert others == []
    (finding,) = [f for f in findings if f.check == "model.native"]
    assert (model is None) == (finding.outcome is Outcome.FAILED)
    return finding


def answer_of(bundle: Path, probes: np.ndarray) -> Answer:
    """What an honest reader of an honest file says."""
    spec, arrays = read_spec(bundle / "spec.json"), arrays_of(bundle)
    return {
        "layers": native_layers(spec.layers),
        "arrays": [
            {
                "name": w.name,
                "shape": list(w.shape),
                "dtype": w.dtype,
                "sha256": sha256_hex(np.ascontiguousarray(arrays[w.name]).tobytes()),
                "finite": True,
            }
            for w in spec.weights
        ],
        "parameter_count": spec.parameter_count,
        "finite": True,
        "outputs": forward(arrays, spec, probes).astype(float).tolist(),
        "versions": VERSIONS,
    }


class Reader:
    """Stands for the two confined processes, which may say and write whatever they like.

    Attributes:
        rebuilt: The bytes that Flux writes for the portable weights.
        change: What the reader makes of an honest answer before it is written; or the text to write.
        ended: How the reader ends.
        asked: The modules that were started.
    """

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle
        self.rebuilt: bytes | None = HONEST
        self.change: Callable[[Answer], object] | str = lambda answer: answer
        self.ended = Ended("ended", 0, "")
        self.asked: list[str] = []

    def __call__(self, module: str, arguments: Sequence[Path], folder: Path, own: int) -> Ended:
        """In place of `assay.model.native._run`."""
        self.asked.append(module)
        if module == "assay.model.rebuild":
            if self.rebuilt is None:
                return Ended("ended", 3, "Flux went away")
            (folder / "model.jls").write_bytes(self.rebuilt)
            return Ended("ended", 0, "")
        _, probes, out = arguments
        if isinstance(self.change, str):
            out.write_text(self.change)
        else:
            answer = answer_of(self._bundle, np.load(probes))
            self.change(answer)
            out.write_text(json.dumps(answer))
        return self.ended


@pytest.fixture
def flux(rich: Path, keys: Keys) -> Path:
    """A rich bundle as Flux would have written it, signed."""
    as_flux(rich, HONEST)
    edit_spec(rich, lambda spec: spec.update(versions=VERSIONS))
    return forge(rich, keys)


@pytest.fixture
def reader(flux: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """The confined processes, and a Julia that can be used."""
    stands = Reader(flux)
    there = Finding(check="julia", outcome=Outcome.PASSED, scope=Scope.RUN, message="Julia is here")
    status = JuliaStatus(there, there, there, versions=VERSIONS)
    monkeypatch.setattr("assay.train.machine.julia.julia_status", lambda: status)
    monkeypatch.setattr(room, "_run", stands)
    return stands


# ----------------------------------------------------------------------------------------------- what a reader may say
def test_an_honest_file_passes(flux: Path, keys: Keys, reader: Reader):
    """Made anew, read, described and tried, all in processes of their own."""
    found = native(flux, keys)
    assert found.outcome is Outcome.PASSED
    assert "the same answers on 256 probe rows" in found.message
    assert reader.asked == ["assay.model.rebuild", "assay.train.programs.native_check"]


def test_a_file_of_other_bytes_by_the_same_versions_is_not_deserialized(
    flux: Path, keys: Keys, reader: Reader
):
    """What this Flux would not have written is not read to find out what it is."""
    reader.rebuilt = HONEST + b" and nothing else"
    found = native(flux, keys)
    assert found.outcome is Outcome.FAILED
    assert "it was not deserialized" in found.message
    assert reader.asked == ["assay.model.rebuild"]


def test_a_file_of_other_versions_that_agrees_is_not_checked(flux: Path, keys: Keys, reader: Reader):
    """What a file says of itself is no proof: a file that runs code could say the same."""
    reader.rebuilt = b"other bytes"
    edit_spec(flux, lambda spec: spec["versions"].update(julia="1.12.1"))
    forge(flux, keys)
    found = native(flux, keys)
    assert found.outcome is Outcome.NOT_CHECKED
    assert "Julia 1.12.1 with Flux 0.16.5" in found.message
    assert load_bundle(flux, keys.public, thorough=True).examined[0] == found


def test_a_file_of_other_versions_that_differs_fails(flux: Path, keys: Keys, reader: Reader):
    """A difference is certain, whoever wrote the file."""
    reader.rebuilt = b"other bytes"
    reader.change = lambda answer: answer["layers"].pop()
    edit_spec(flux, lambda spec: spec["versions"].update(julia="1.12.1"))
    forge(flux, keys)
    assert native(flux, keys).outcome is Outcome.FAILED


def _set(*path: Any, to: Any) -> Callable[[Answer], object]:
    """Change one place of an answer."""

    def change(answer: Answer) -> None:
        place: Any = answer
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return change


LIES: dict[str, tuple[Callable[[Answer], object] | str, str]] = {
    "another kind of layer": (_set("layers", 1, "type", to="conv"), "layer 1 is conv, the spec has dense"),
    "a layer of code": (
        _set("layers", 1, "type", to="unlisted: Main.Evil"),
        "layer 1 is unlisted: Main.Evil",
    ),
    "another activation": (_set("layers", 1, "activation", to="relu"), "has activation relu, the spec tanh"),
    "an activation of its own": (_set("layers", 1, "activation", to="unlisted: #1"), "unlisted: #1"),
    "another width": (_set("layers", 1, "out", to=9), "layer 1 has out 9, the spec 8"),
    "another type of numbers": (_set("layers", 1, "dtype", to="float64"), "has dtype float64"),
    "no bias": (_set("layers", 1, "bias", to=False), "has bias False"),
    "one for true": (_set("layers", 1, "bias", to=1), "has bias 1, the spec True"),
    "another dropout": (_set("layers", 3, "rate", to=0.5), "layer 3 has rate 0.5"),
    "another momentum": (_set("layers", 2, "momentum", to=0.9), "layer 2 has momentum 0.9"),
    "another embedding": (
        _set("layers", 0, "columns", to=[{"feature": 4, "vocabulary": 4}]),
        "layer 0 has columns",
    ),
    "another connection": (_set("layers", 4, "connection", to="concat"), "has connection concat"),
    "another layer within the skip": (
        _set("layers", 4, "layers", 0, "activation", to="tanh"),
        "layer 4.0 has activation",
    ),
    "a layer less within the skip": (
        lambda a: a["layers"][4]["layers"].pop(),
        "1 layers where the spec has 2",
    ),
    "text for the layers within the skip": (_set("layers", 4, "layers", to="none"), "no layers"),
    "a setting more": (_set("layers", 1, "hook", to="run"), "other settings than dense"),
    "a layer more": (lambda a: a["layers"].append({"type": "flatten"}), "7 layers where the spec has 6"),
    "a layer less": (lambda a: a["layers"].pop(), "5 layers where the spec has 6"),
    "no layer": (_set("layers", 1, to={}), "layer 1 is None"),
    "an array less": (lambda a: a["arrays"].pop(), "other arrays"),
    "an array twice": (lambda a: a["arrays"].append(a["arrays"][0]), "other arrays"),
    "an array more": (lambda a: a["arrays"].append({**a["arrays"][0], "name": "x"}), "other arrays"),
    "another shape": (_set("arrays", 0, "shape", to=[9, 9]), "[9, 9]"),
    "another type of an array": (_set("arrays", 0, "dtype", to="float16"), "float16"),
    "an array that is not finite": (_set("arrays", 0, "finite", to=False), "not finite"),
    "other numbers": (_set("arrays", 0, "sha256", to="0" * 64), "other numbers than weights.safetensors"),
    "numbers somewhere that are not finite": (_set("finite", to=False), "not finite"),
    "more parameters": (_set("parameter_count", to=1), "1 parameters"),
    "another answer": (_set("outputs", 7, 0, to=1e3), "answers on 256 probe rows differ"),
    "an answer a little off": (
        lambda a: a["outputs"][7].__setitem__(0, a["outputs"][7][0] + 1e-2),
        "answers on 256 probe rows differ",
    ),
    "an answer that is not finite": (_set("outputs", 7, 0, to=None), "answers on 256 probe rows differ"),
    "fewer answers": (lambda a: a["outputs"].pop(), "another number of answers"),
    "wider answers": (lambda a: a["outputs"][3].append(0.0), "another number of answers"),
    "no answers at all": (lambda a: a.pop("outputs"), "a wrong outputs"),
    "something more": (_set("and", to="this"), "a wrong and"),
    "no JSON": ("layers: []", "a wrong layers"),
    "a list": ("[]", "a wrong layers"),
    "a key twice": ('{"layers": [], "layers": []}', "a wrong layers"),
    "nested without end": ("[" * 100_000, "a wrong layers"),
    "an endless answer": ('{"layers": "' + "x" * (3 << 20) + '"}', "a wrong layers"),
}


@pytest.mark.parametrize("lie", LIES)
def test_whatever_differs_is_refused(flux: Path, keys: Keys, reader: Reader, lie: str):
    """Layers, settings, arrays, counts and answers, each by itself; the bundle is not loaded."""
    reader.change, words = LIES[lie]
    found = native(flux, keys)
    assert found.outcome is Outcome.FAILED
    assert found.technique == "AML.T0018"
    assert words in found.message, found.message
    with pytest.raises(BundleRefused, match=r"model\.native"):
        load_bundle(flux, keys.public, thorough=True)


@pytest.mark.parametrize(
    ("ended", "outcome", "words"),
    [
        (Ended("too_slow", -9, ""), Outcome.FAILED, "not done after"),
        (Ended("too_large", -9, ""), Outcome.FAILED, "more memory than the model can need"),
        (Ended("ended", -11, "signal (11): Segmentation fault"), Outcome.FAILED, "Segmentation fault"),
        (Ended("ended", 1, ""), Outcome.FAILED, "could not be read"),
        (Ended("unconfined", 78, "no seccomp here"), Outcome.NOT_CHECKED, "no seccomp here"),
    ],
)
def test_however_reading_ends_it_is_no_pass(
    flux: Path, keys: Keys, reader: Reader, ended: Ended, outcome: Outcome, words: str
):
    """An honest answer does not help a process that ended otherwise."""
    reader.ended = ended
    found = native(flux, keys)
    assert found.outcome is outcome
    assert words in found.message


def test_a_link_in_place_of_the_answer_is_not_followed(
    flux: Path, keys: Keys, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What the process leaves in its folder is looked at as what it is."""
    elsewhere = tmp_path / "elsewhere.json"

    def linked(module: str, arguments: Sequence[Path], folder: Path, own: int) -> Ended:
        ended = reader(module, arguments, folder, own)
        if module == "assay.train.programs.native_check":
            arguments[2].rename(elsewhere)
            arguments[2].symlink_to(elsewhere)
        return ended

    monkeypatch.setattr(room, "_run", linked)
    assert native(flux, keys).outcome is Outcome.FAILED


def test_where_the_file_cannot_be_made_anew_nothing_is_deserialized(flux: Path, keys: Keys, reader: Reader):
    """Without that, nothing says whether reading it is safe."""
    reader.rebuilt = None
    found = native(flux, keys)
    assert found.outcome is Outcome.NOT_CHECKED
    assert "Flux went away" in found.message
    assert reader.asked == ["assay.model.rebuild"]


def test_nothing_is_started_before_all_else_has_passed(flux: Path, keys: Keys, reader: Reader):
    """Not for a bundle that anybody changed, and not for one whose files disagree."""
    with (flux / "model.jls").open("ab") as file:
        file.write(b" ")
    assert check_bundle(flux, keys.public, thorough=True)[1] is None
    forge(flux, keys, statement=False)
    assert check_bundle(flux, keys.public, thorough=True)[1] is None
    assert reader.asked == []


def test_without_julia_it_is_not_checked_and_loads(flux: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch):
    """The portable weights predict; the question stays open, and says what is missing."""
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", "/nowhere/julia")
    found = native(flux, keys)
    assert found.outcome is Outcome.NOT_CHECKED
    assert "Julia is not installed" in found.message
    assert load_bundle(flux, keys.public).spec.backend == "flux"


def test_a_model_of_the_reference_backend_has_nothing_to_compare(bundle: Path, keys: Keys, reader: Reader):
    """No process is started for it."""
    assert native(bundle, keys).outcome is Outcome.PASSED
    assert reader.asked == []


# -------------------------------------------------------------------------------------------------------------- probes
def test_probe_rows_are_what_the_preprocessing_can_make(sealed_rich: Path):
    """Numbers within a few deviations, every category's number, the same rows for the same seed."""
    spec = read_spec(sealed_rich / "spec.json")
    state = load_preprocessing(spec.preprocessing)
    rows = probe_rows(state, 1)
    assert rows.shape == (PROBE_ROWS, len(spec.features))
    assert np.isfinite(rows).all()
    (first, *_) = spec.layers
    assert isinstance(first, EmbeddingSpec)
    for column in first.columns:
        assert set(rows[:, column.feature]) == set(range(column.vocabulary))
    np.testing.assert_array_equal(rows, probe_rows(state, 1))
    assert not np.array_equal(rows, probe_rows(state, 2))


def test_probe_rows_know_flags_and_every_value_of_a_long_list():
    """One category per row, flags of zero and one, and more rows where a vocabulary is longer."""
    state = Preprocessing(
        columns=(
            ColumnState(name="word", kind="category", values=tuple(map(str, range(998))), embedded=True),
            ColumnState(name="kind", kind="category", values=("a", "b"), missing=True),
            ColumnState(name="yes", kind="boolean", missing=True),
            ColumnState(name="size", kind="number", median=5.0, mean=3.0, scale=2.0, missing=True),
        )
    )
    rows = probe_rows(state, 0)
    assert len(rows) == 999
    assert set(rows[:, 0]) == set(range(999))
    assert (rows[:, 1:5].sum(axis=1) == 1).all()
    assert (rows[:, 1:5].sum(axis=0) > 0).all()
    assert set(rows[:, 5]) == set(rows[:, 6]) == set(rows[:, 8]) == {0.0, 1.0}
    assert (rows[rows[:, 8] == 1, 7] == 1.0).all()


# ----------------------------------------------------------------------------------------------------------- real Flux
def _no_pass(bundle: Path, keys: Keys, words: str) -> None:
    found = native(bundle, keys)
    assert found.outcome is Outcome.FAILED
    assert words in found.message, found.message


@pytest.fixture(scope="session")
def sealed_flux(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Path:
    """A rich model that Flux trained; look, do not touch."""
    folder = tmp_path_factory.mktemp("flux")
    agreed = support.rich_contract(epochs=3)
    return seal(run(folder, support.rich_cells(), agreed=agreed, backend="flux"), folder / "models", keys)


@pytest.fixture
def trained_by_flux(sealed_flux: Path, tmp_path: Path) -> Path:
    """That bundle, to tamper with."""
    return Path(shutil.copytree(sealed_flux, tmp_path / sealed_flux.name))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that a payload makes when it runs."""
    return tmp_path / "it-ran"


def julia(code: str, *arguments: object) -> None:
    """Run Julia code in the project that Assay uses."""
    home = find_julia()
    assert isinstance(home, JuliaHome)
    command = [home.executable, f"--project={home.project}", "--startup-file=no", "-e", code]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        env=child_environment(),
    )
    assert done.returncode == 0, done.stderr[-2000:]


# A Flux Chain whose activation is a function of its own: Julia's Serialization carries its code, and calling the model
# runs it. It makes a file, asks for a socket, and ends the process as if all had been well.
_PAYLOAD = """
using Flux, Serialization
path, marker = ARGS
evil = let marker = marker
    x -> (try; write(marker, "owned"); catch; end; try; write("answer.json", "{}"); catch; end; exit(0); x)
end
open(io -> serialize(io, Chain(Dense(rand(Float32, 2, 6), zeros(Float32, 2), evil))), path, "w")
"""


@pytest.mark.julia
@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestWithFlux:
    """Each starts Julia two or three times; the first one may have to wait until Flux is compiled."""

    def test_what_flux_trained_passes(self, sealed_flux: Path, keys: Keys):
        """Bytes, layers, numbers and answers of embeddings, normalisations, dropout and a skip."""
        found = native(sealed_flux, keys)
        assert found.outcome is Outcome.PASSED, found.message

    def test_a_payload_does_not_run(self, trained_by_flux: Path, keys: Keys, marker: Path):
        """Signed with every key: it is not what this Flux writes for these weights, so nobody reads it."""
        julia(_PAYLOAD, trained_by_flux / "model.jls", marker)
        forge(trained_by_flux, keys)
        _no_pass(trained_by_flux, keys, "it was not deserialized")
        assert not marker.exists()

    def test_a_payload_that_claims_another_julia_runs_in_the_sandbox_and_gains_nothing(
        self, trained_by_flux: Path, keys: Keys, marker: Path
    ):
        """It is read there, because another Julia may write other bytes; no file outside is made, and it is refused."""
        julia(_PAYLOAD, trained_by_flux / "model.jls", marker)
        edit_spec(trained_by_flux, lambda spec: spec["versions"].update(julia="1.99.0"))
        forge(trained_by_flux, keys)
        _no_pass(trained_by_flux, keys, "model.jls is not the model")
        assert not marker.exists()

    def test_the_file_of_another_model_is_refused(self, trained_by_flux: Path, keys: Keys):
        """The portable weights and their digests are changed with every key, Flux's file is still the old one."""
        arrays = arrays_of(trained_by_flux)
        one, other = arrays["layers.0.table.0"], arrays["layers.0.table.1"]
        write_arrays(trained_by_flux, {**arrays, "layers.0.table.0": other, "layers.0.table.1": one})
        forge(trained_by_flux, keys)
        _no_pass(trained_by_flux, keys, "it was not deserialized")

    @pytest.mark.parametrize("claimed", ["1.99.0", None])
    def test_another_activation_is_refused(self, trained_by_flux: Path, keys: Keys, claimed: str | None):
        """Where the bytes do not decide, the layers' own settings do."""

        def change(spec: dict[str, Any]) -> None:
            spec["layers"][1]["activation"] = "relu"
            if claimed:
                spec["versions"]["julia"] = claimed

        edit_spec(trained_by_flux, change)
        forge(trained_by_flux, keys)
        words = "layer 1 has activation tanh, the spec relu" if claimed else "it was not deserialized"
        _no_pass(trained_by_flux, keys, words)

    def test_a_file_that_is_cut_off_is_refused(self, trained_by_flux: Path, keys: Keys):
        """Read in the sandbox or not, half a file is no model."""
        path = trained_by_flux / "model.jls"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        edit_spec(trained_by_flux, lambda spec: spec["versions"].update(julia="1.99.0"))
        forge(trained_by_flux, keys)
        _no_pass(trained_by_flux, keys, "it could not be read")
