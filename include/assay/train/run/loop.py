"""The run itself: epoch after epoch, measured, kept in checkpoints, ended early or in time, and written as a bundle."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable

from assay.train.backends import (
    Batches,
    Clipping,
    DeviceUnavailable,
    Noise,
    Problem,
    Stats,
    Trainer,
    Weights,
    join,
)
from assay.train.errors import PrivacyError
from assay.train.network.spec import PrivacyReport, Yardsticks
from assay.train.records.checkpoints import Checkpoints, identity, request_digest, secret_key
from assay.train.records.curvefile import CurvePoint
from assay.train.records.events import Epoch, Event, Failed, Finished, Progress, Started, Warned
from assay.train.records.output import write_bundle
from assay.train.records.rowlosses import ROW_LOSSES_FILE, losses_of_epoch
from assay.train.run.batches import initial_weights, load_weights
from assay.train.run.inputs import Inputs, load_inputs, yardsticks
from assay.train.run.measure import measure, measured
from assay.train.run.plan import Plan, part_of, pieces
from assay.train.setup.request import TrainRequest
from assay.train.steps.privacy import HOW_TO_GET_ACCOUNTING, Accountant, NoiseSource, accounting_installed

SIGN_SECONDS = 1.0
"""How often a long epoch gives a sign of life, if one of its pieces has ended by then."""
_SIGN_NUMBERS = 20_000

Say = Callable[[Event], None]


def train(request: TrainRequest, say: Say) -> Finished | Failed:
    """Train as the request asks, from the newest checkpoint of the same run if there is one, and write the bundle.

    Args:
        request: What to train.
        say: Is told each event but the last.

    Returns:
        The last event.

    Raises:
        AssayError: The request, its files, its privacy or its aggregation cannot be used.
        BackendUnavailable: A tool is missing.
        DeviceUnavailable: The device is.
    """
    begun = time.monotonic()
    inputs = load_inputs(request)
    if request.backend == "reference" and request.backend_reason.startswith("auto"):
        say(Warned(message=f"trained with the reference backend; {request.backend_reason}"))
    key = _key(request)
    trainer = open_trainer(request, inputs, say)
    # Measured before a checkpoint is restored: the untrained network belongs to it.
    known = yardsticks(request, inputs, trainer)
    run = _Run(request, inputs, trainer, key, say)
    run.resume(known)
    failed = run.learn()
    if failed is not None:
        return failed
    run.write(known)
    return Finished(
        run_id=request.run_id,
        bundle_dir=str(request.out_dir),
        epochs=len(run.events),
        best_epoch=run.best_epoch,
        stopped_because=run.stopped_because,
        resumed=run.resumed,
        seconds=time.monotonic() - begun,
    )


def open_trainer(request: TrainRequest, inputs: Inputs, say: Say = lambda _event: None) -> Trainer:
    """A backend with the request's network, its first weights and its data.

    Raises:
        RequestError: The weights to start from do not fit.
        BackendUnavailable: A tool is missing.
        DeviceUnavailable: The device is.
    """
    weights = (
        load_weights(request.initial_weights, request.layers, request.dtype)
        if request.initial_weights
        else initial_weights(request.layers, request.seed, request.dtype)
    )
    problem = Problem(
        layers=request.layers,
        weights=weights,
        loss=request.loss,
        optimizer=request.optimizer,
        x=inputs.x,
        y=inputs.y,
        sources=inputs.sources,
        aggregation=request.aggregation,
        clipping=_clipping(request, len(inputs.train)),
        seed=request.seed,
        dtype=request.dtype,
        threads=request.threads,
    )
    if request.backend == "flux":
        from assay.train.backends.flux import FluxTrainer

        return FluxTrainer(problem, request.device, on_wait=lambda text: say(Warned(message=text)))
    if request.device == "gpu":
        raise DeviceUnavailable(
            "device gpu was asked for, but the reference backend only has the CPU; use backend flux or device auto"
        )
    from assay.train.backends.reference import ReferenceTrainer

    return ReferenceTrainer(problem)


def _clipping(request: TrainRequest, rows: int) -> Clipping | None:
    settings = request.privacy
    if settings is None:
        return None
    norm = settings.max_grad_norm
    return Clipping(norm, settings.noise_multiplier * norm, float(min(request.batch_size, rows)))


def _key(request: TrainRequest) -> bytes | None:
    """What a private run draws its batches and noise from: a secret, or the seed where the contract says so."""
    if request.privacy is None:
        return None
    if request.privacy.seeded_noise:
        return hashlib.sha256(b"assay seeded noise" + str(request.seed).encode()).digest()
    return secret_key(request)


class _Run:
    def __init__(
        self, request: TrainRequest, inputs: Inputs, trainer: Trainer, key: bytes | None, say: Say
    ) -> None:
        self._request, self._inputs, self._trainer, self._say = request, inputs, trainer, say
        self._plan = Plan(request, inputs, key)
        self._on = measured(
            request.task,
            inputs.y,
            inputs.train,
            inputs.validation,
            classes=request.classes,
            sources=inputs.sources,
            source_names=request.source_names,
            private=request.privacy is not None,
            seed=request.seed,
        )
        self._accountant: Accountant | None = None
        self._noise: Noise | None = None
        self._affordable = request.epochs * self._plan.updates
        if request.privacy is not None and key is not None:
            self._account(key)
        self._checkpoints = Checkpoints(
            request.run_dir,
            identity(request, trainer, key),
            len(inputs.train) if request.privacy is None else None,
            request.epochs,
        )
        self._best: Weights | None = None
        self._spoken = time.monotonic()
        self.events: list[Epoch] = []
        self.best_epoch = 0
        self.stopped_because: str | None = None
        self.resumed = 0

    def _account(self, key: bytes) -> None:
        settings = self._request.privacy
        assert settings is not None
        if not accounting_installed():
            raise PrivacyError(
                "what a private run spends cannot be worked out: dp-accounting is not installed",
                next_step=HOW_TO_GET_ACCOUNTING,
            )
        self._noise = NoiseSource(key, self._request.parameter_count)
        self._accountant = Accountant(self._plan.sampling_rate, settings.noise_multiplier, settings.delta)
        if settings.max_epsilon is None:
            return
        self._affordable = self._accountant.steps_within(
            settings.max_epsilon, settings.accountant, self._affordable
        )
        if not self._affordable:
            raise PrivacyError(
                "the privacy budget does not allow for a single update",
                expected=f"an epsilon of at most {settings.max_epsilon:g}",
                found=f"{self._accountant.epsilon(1, settings.accountant):g} after one update",
                next_step="raise training.privacy.noise_multiplier or max_epsilon, or lower batch_size",
            )

    def resume(self, known: Yardsticks) -> None:
        """Go on from the newest checkpoint, if there is one, and say how the run starts."""
        request, trainer = self._request, self._trainer
        saved = self._checkpoints.load(trainer)
        if self._checkpoints.refused:
            self._say(Warned(message=f"{self._checkpoints.refused}; the run starts anew"))
        self._say(
            Started(
                run_id=request.run_id,
                backend=request.backend,
                device="gpu" if trainer.device == "gpu" else "cpu",
                device_name=trainer.device_name,
                versions=trainer.versions,
                parameter_count=request.parameter_count,
                rows=len(self._inputs.train),
                yardsticks=known,
                resumed_from=saved.epoch if saved else 0,
            )
        )
        if request.privacy is not None and request.privacy.seeded_noise:
            self._say(
                Warned(
                    message="sampling and noise follow from the seed: whoever knows it can take the noise off again"
                )
            )
        if saved is None:
            return
        trainer.restore(saved.state)
        self._best, self.resumed = saved.best, saved.resumed
        for event in saved.events:
            self._say(event)
            self._take(event)

    def learn(self) -> Failed | None:
        """Make the epochs that are left; returns why there is no model, if there is none."""
        plan, request = self._plan, self._request
        while not self.stopped_because and len(self.events) < request.epochs:
            number = len(self.events) + 1
            batches = plan.batches(number)
            left = self._affordable - batches.first_step
            batches = part_of(batches, 0, min(left, len(batches.learning_rates)))
            event, row_losses = self._epoch(number, batches)
            self._say(event)
            self._spoken = time.monotonic()
            if event.skipped_updates:
                return _skipped(event, len(batches.learning_rates))
            if self._take(event) and request.early_stopping is not None:
                self._best = self._trainer.weights()
            self._checkpoints.add(event, row_losses)
            if number % request.checkpoint_every == 0 and not self._over():
                best_epoch = self.best_epoch if self._best is not None else None
                self._checkpoints.save(self._trainer, best=self._best, best_epoch=best_epoch)
        if self._best is not None:
            self._trainer.set_weights(self._best)
        return None

    def _over(self) -> bool:
        return self.stopped_because is not None or len(self.events) == self._request.epochs

    def _epoch(self, number: int, batches: Batches) -> tuple[Epoch, str | None]:
        start = time.monotonic()
        stats = self._updates(number, batches)
        seconds = time.monotonic() - start
        trainer, on = self._trainer, self._on
        spent = None
        if self._accountant is not None:
            spent = self._accountant.spent(batches.first_step + len(batches.learning_rates))
        event = measure(
            on,
            epoch=number,
            batches=batches,
            stats=stats,
            seen=trainer.evaluate(on.validation),
            gram=trainer.gradient_gram(on.samples) if on.samples else None,
            spent=spent,
            seconds=seconds,
            device_memory=trainer.device_memory(),
        )
        if self._checkpoints.spool is None:
            return event, None
        losses = losses_of_epoch(self._inputs.train, batches, stats)
        return event, self._checkpoints.spool.add(number, losses)

    def _updates(self, number: int, batches: Batches) -> Stats:
        """All updates of an epoch; a sign of life now and then, and every dropped source told."""
        parts: list[Stats] = []
        done, untold = 0, 0
        for piece in pieces(batches, self._plan.piece):
            parts.append(self._trainer.run(piece, self._noise))
            done += len(piece.learning_rates)
            dropped = tuple(each for part in parts[untold:] for each in part.dropped)
            now, last = time.monotonic(), done == len(batches.learning_rates)
            many = sum(map(len, dropped)) >= _SIGN_NUMBERS or (last and dropped)
            if many or (now - self._spoken >= SIGN_SECONDS and not last):
                self._say(
                    Progress(epoch=number, updates=done, of=len(batches.learning_rates), dropped=dropped)
                )
                self._spoken, untold = now, len(parts)
        return join(parts)

    def _take(self, event: Epoch) -> bool:
        """Count an epoch in; returns whether it is the best so far, and notes what ends the run."""
        self.events.append(event)
        number, stopping = len(self.events), self._request.early_stopping
        improved = True
        if stopping is not None:
            best = self._watched(self.events[self.best_epoch - 1]) if self.best_epoch else math.inf
            improved = self._watched(event) < best - stopping.min_delta or number == 1
        if improved:
            self.best_epoch = number
        if (
            stopping is not None
            and number - self.best_epoch >= stopping.patience
            and number < self._request.epochs
        ):
            self.stopped_because = (
                f"early stopping: the {'validation' if len(self._inputs.validation) else 'training'} loss has not "
                f"improved since epoch {self.best_epoch}"
            )
        settings = self._request.privacy
        if (
            settings is not None
            and number * self._plan.updates >= self._affordable
            and self._affordable < self._request.epochs * self._plan.updates
        ):
            self.stopped_because = (
                f"privacy budget: one more update would spend more than epsilon {settings.max_epsilon:g}"
            )
        return improved

    def _watched(self, event: Epoch) -> float:
        """The loss that early stopping looks at."""
        loss = event.validation_loss if len(self._inputs.validation) else event.train_loss
        return math.inf if loss is None else loss

    def write(self, known: Yardsticks) -> None:
        """The row losses, then the bundle, each whole or not at all."""
        request, spool = self._request, self._checkpoints.spool
        if spool is not None:
            target = request.run_dir / ROW_LOSSES_FILE
            spool.write_parquet(target, self._inputs.train, len(self.events), request_digest(request))
        write_bundle(
            request,
            self._trainer,
            [CurvePoint.of(event) for event in self.events],
            train_rows=len(self._inputs.train),
            yardsticks=known,
            out_dir=request.out_dir,
            best_epoch=self.best_epoch,
            stopped_because=self.stopped_because,
            privacy=self._report(),
        )

    def _report(self) -> PrivacyReport | None:
        settings = self._request.privacy
        if settings is None or self._accountant is None:
            return None
        steps = min(len(self.events) * self._plan.updates, self._affordable)
        spent = self._accountant.spent(steps)
        return PrivacyReport(
            settings=settings,
            sampling_rate=self._plan.sampling_rate,
            steps=steps,
            epsilon_rdp=spent.rdp,
            epsilon_pld=spent.pld,
        )


def _skipped(event: Epoch, updates: int) -> Failed:
    return Failed(
        outcome="failed",
        reason=f"in epoch {event.epoch}, {event.skipped_updates} of {updates} updates were skipped, "
        "because the loss or the gradient was not finite; a model with skipped updates is not used",
    )
