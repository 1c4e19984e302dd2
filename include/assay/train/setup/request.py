"""The training request: one JSON file that says everything the worker needs, and where the data lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from assay.canonical import canonical_json, content_id, sha256_hex
from assay.contract.models import Contract
from assay.contract.optimization import EarlyStopping, Optimizer, Privacy, Schedule
from assay.train.errors import RequestError
from assay.train.machine.files import write_atomically
from assay.train.network.layers import DType, LayerSpec, array_specs, misfit
from assay.train.network.limits import oversize
from assay.train.network.spec import AggregationSpec, BackendName, Class, LossSpec, Task, _Model
from assay.train.setup.design import loss_of, network_layers, outputs_of
from assay.train.steps.aggregation import check_sources

if TYPE_CHECKING:
    from assay.train.setup.arrays import PreparedData


REQUEST_FORMAT: Final = "assay-request/1"
MAX_REQUEST_BYTES = 64 * 2**20
"""A request holds the fitted preprocessing, which grows with columns and categories; nothing honest comes near this."""


_LIMITS = {"timeout", "heartbeat", "max_memory_bytes", "checkpoint_every"}


class Arrays(_Model):
    """Absolute paths of `.npy` files."""

    x: Path = Field(description="float32 (rows, features), C order.")
    y: Path = Field(description="int64 class numbers, or float64 standardised numbers, (rows,).")
    train: Path = Field(description="int64 row numbers to learn from.")
    validation: Path = Field(description="int64 row numbers to measure on.")
    sources: Path | None = Field(default=None, description="int32 source numbers, (rows,).")


class TrainRequest(_Model):
    """One training, asked for."""

    format: Literal["assay-request/1"] = REQUEST_FORMAT
    run_id: str = Field(pattern=r"^run-[0-9a-f]{32}$")
    dataset: str
    snapshot_id: str
    contract_sha256: str
    data_sha256: str = Field(
        description="SHA-256 over the arrays, in the order x, y, train, validation, sources."
    )
    task: Task
    label: str
    classes: tuple[Class, ...] | None = None
    source_names: tuple[str, ...] = ()
    arrays: Arrays
    layers: tuple[LayerSpec, ...] = Field(min_length=1)
    loss: LossSpec
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    epochs: int = Field(gt=0)
    early_stopping: EarlyStopping | None = None
    batch_size: int = Field(gt=0)
    aggregation: AggregationSpec = AggregationSpec()
    privacy: Privacy | None = None
    checkpoint_every: int = Field(default=5, gt=0, description="Epochs between two checkpoints.")
    seed: int
    backend: BackendName
    backend_reason: str
    device: Literal["auto", "cpu", "gpu"] = "auto"
    dtype: DType = "float32"
    threads: int = Field(default=1, gt=0, description="BLAS threads; one keeps sums in one order.")
    preprocessing: dict[str, object]
    features: tuple[str, ...] = Field(min_length=1)
    run_dir: Path = Field(description="Where the request, the arrays, the log and the events lie.")
    out_dir: Path = Field(description="The bundle directory to write.")
    initial_weights: Path | None = Field(
        default=None, description="safetensors file to start from, else by seed."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if wrong := oversize(self.layers):
            raise ValueError(f"the network is too large: {wrong}")
        if wrong := misfit(self.layers, len(self.features), self.outputs, self.dtype):
            raise ValueError(wrong)
        if self.loss.of_classes != (self.task == "classification"):
            raise ValueError(f"loss {self.loss.name} does not belong to {self.task}")
        if self.task == "classification" and self.classes is None:
            raise ValueError("classification needs classes")
        if self.loss.class_weights is not None and len(self.loss.class_weights) != len(self.classes or ()):
            raise ValueError("there is not one weight for each class")
        if self.aggregation.name != "mean" and self.arrays.sources is None:
            raise ValueError(f"{self.aggregation.name} needs the source of each row")
        return self

    @property
    def outputs(self) -> int:
        """Numbers that the network gives per row."""
        return outputs_of(self.loss, self.classes)

    @property
    def parameter_count(self) -> int:
        """Trainable numbers of the network."""
        return sum(array.size for array in array_specs(self.layers) if array.trainable)

    def write(self, path: Path) -> None:
        """Write the request as JSON, whole or not at all."""
        write_atomically(path, self.model_dump_json(by_alias=True, indent=1).encode())


def read_request(path: Path) -> TrainRequest:
    """Read a request file.

    Raises:
        RequestError: The file is missing, too large, not JSON, or not a request.
    """
    try:
        size = path.stat().st_size
        if size > MAX_REQUEST_BYTES:
            raise RequestError(
                f"the training request {path} is too large",
                expected=f"at most {MAX_REQUEST_BYTES} bytes",
                found=f"{size} bytes",
            )
        data = path.read_bytes()
    except OSError as error:
        raise RequestError(
            f"the training request {path} cannot be read: {error.strerror}",
            next_step="name the request.json that `prepare` and `make_request` wrote",
        ) from error
    try:
        return TrainRequest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RequestError(
            f"{path} is not a training request: {where}: {first['msg']}",
            expected=REQUEST_FORMAT,
            next_step="make it anew with `make_request`; it is not meant to be edited",
        ) from error


def training_digest(contract: Contract) -> str:
    """SHA-256 over what decides a run besides its data: the training section and the columns that it learns from.

    Limits of time and memory are left out, so that a run that met one goes on from its checkpoint once it is raised.
    """
    schema = contract.schema_
    return sha256_hex(
        canonical_json(
            {
                "training": contract.training.model_dump(mode="json", exclude=_LIMITS),
                "features": {name: schema.columns[name].model_dump(mode="json") for name in schema.features},
                "label": schema.label.model_dump(mode="json") if schema.label else None,
                "key": list(schema.key),
            }
        )
    )


def run_id_for(contract: Contract, snapshot_id: str, backend: BackendName, seed: int | None = None) -> str:
    """Id of the run from what decides it: snapshot, training section, columns, backend and seed."""
    return content_id(
        "run",
        {
            "snapshot": snapshot_id,
            "training": training_digest(contract),
            "backend": backend,
            "seed": contract.training.seed if seed is None else seed,
        },
    )


def choose_backend(contract: Contract) -> tuple[BackendName, str]:
    """The backend that the contract's `training.backend` means on this machine, and why.

    `auto` is Flux where Julia starts and loads it, else the reference backend; the reason says what was missing.
    """
    from assay.train.machine.julia import julia_status

    wanted = contract.training.backend
    if wanted != "auto":
        return wanted, f"the contract asks for {wanted}"
    status = julia_status()
    if status.usable:
        return "flux", f"auto: {status.reason}"
    return "reference", f"auto: {status.reason}"


def make_request(
    prepared: PreparedData,
    contract: Contract,
    *,
    snapshot_id: str,
    out_dir: Path,
    backend: BackendName | None = None,
    seed: int | None = None,
    dtype: DType = "float32",
    initial_weights: Path | None = None,
) -> TrainRequest:
    """Turn prepared data and a contract into a request.

    Args:
        prepared: What `prepare` returned.
        contract: The contract whose training section decides.
        snapshot_id: The snapshot that the data came from; part of the run's id.
        out_dir: The bundle directory to write.
        backend: Overrides the contract's choice; `None` resolves `auto` on this machine.
        seed: Overrides the contract's seed.
        dtype: Of weights and arithmetic.
        initial_weights: safetensors file to start from, so that two backends can be compared step by step.
    """
    if backend is None:
        backend, reason = choose_backend(contract)
    else:
        reason = f"{backend} was asked for"
    training = contract.training
    loss = loss_of(contract, prepared)
    aggregation = AggregationSpec(name=training.aggregation, byzantine=training.byzantine_sources)
    if aggregation.name != "mean":
        check_sources(aggregation, len(prepared.source_names))
    return TrainRequest(
        run_id=run_id_for(contract, snapshot_id, backend, seed),
        dataset=contract.dataset,
        snapshot_id=snapshot_id,
        contract_sha256=contract.digest,
        data_sha256=prepared.data_sha256,
        task=prepared.task,
        label=prepared.label,
        classes=prepared.classes,
        source_names=prepared.source_names,
        arrays=prepared.arrays,
        layers=network_layers(training.layers, prepared.state, outputs_of(loss, prepared.classes), dtype),
        loss=loss,
        optimizer=training.optimizer,
        schedule=training.schedule,
        epochs=training.epochs,
        early_stopping=training.early_stopping,
        aggregation=aggregation,
        privacy=training.privacy,
        checkpoint_every=training.checkpoint_every,
        batch_size=training.batch_size,
        seed=training.seed if seed is None else seed,
        backend=backend,
        backend_reason=reason,
        device=training.device,
        dtype=dtype,
        preprocessing=prepared.preprocessing,
        features=prepared.features,
        run_dir=prepared.run_dir,
        out_dir=out_dir.resolve(),
        initial_weights=initial_weights,
    )
