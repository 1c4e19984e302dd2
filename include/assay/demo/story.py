"""The five steps of the demonstration, each with what was expected and what was seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from assay.db import Delivery, champion, findings_of, latest_snapshot, list_deliveries, list_models, list_runs
from assay.demo.airflow import AirflowClient
from assay.demo.compare import Comparison, compare, count_truth
from assay.demo.data import SOURCES, Rounds
from assay.demo.stage import Stage
from assay.errors import AssayError
from assay.findings import Answer, Outcome
from assay.line import Line
from assay.quarantine import list_cases

INTAKE, TRAINING = "adult__intake", "adult__training"
ABSURD_LEARNING_RATE = 30.0
_ANSWER_DELAY = 3.0
"""Seconds that the task which asks has to end: the local executor can lose one that goes on before it has ended."""


@dataclass
class Step:
    """One step of the story."""

    title: str
    expected: str
    seen: str = ""
    passed: bool = False
    seconds: float = 0.0


@dataclass
class Story:
    """A run of the whole demonstration.

    Attributes:
        stage: Folders, keys, web server's content.
        rounds: The data and the truth about its poison.
        airflow: A logged-in client.
        say: Told what happens now, for a progress display.
    """

    stage: Stage
    rounds: Rounds
    airflow: AirflowClient
    say: Callable[[str], None]
    steps: list[Step] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)
    comparison: list[Comparison] = field(default_factory=list)
    backend: str = ""

    def run(self) -> bool:
        """Tell the whole story; returns whether everything came as expected."""
        self._step("clean first delivery", "accepted, trained, promoted", self._clean)
        self._step("one byte changed on the way", "rejected before parsing", self._tampered)
        self._step("replay of delivery 1", "rejected as stale", self._replayed)
        self._step("compromised source", "held; clean rest admitted; challenger judged", self._compromised)
        self._step("absurd learning rate", "stopped within epochs, not promoted", self._runaway)
        return all(step.passed for step in self.steps)

    def _step(self, title: str, expected: str, act: Callable[[], tuple[bool, str]]) -> None:
        step = Step(title, expected)
        self.steps.append(step)
        self.say(f"step {len(self.steps)} of 5: {title}")
        started = time.monotonic()
        try:
            step.passed, step.seen = act()
        except AssayError as error:
            step.passed, step.seen = False, str(error)
        step.seconds = time.monotonic() - started

    def _clean(self) -> tuple[bool, str]:
        for source in SOURCES:
            self.stage.deliver(source, self.rounds.first[source], sequence=1)
        state, _ = self._intake(list(SOURCES))
        trained = self._training(after=0)
        with self._registry() as session:
            snapshot, model = latest_snapshot(session, "adult"), champion(session, "adult")
            runs = list_runs(session, "adult")
        self.backend = runs[-1].backend if runs else "none"
        if snapshot is None or model is None:
            return False, f"intake {state}, training {trained}; no champion"
        sent = sum(len(table) for table in self.rounds.first.values())
        seen = (
            f"{snapshot.rows:,} of {sent:,} rows admitted; snapshot {snapshot.version}; "
            f"trained on {self.backend}; promoted with accuracy {model.metrics['accuracy']:.3f}"
        )
        return state == "success" and trained == "success", seen

    def _tampered(self) -> tuple[bool, str]:
        self.stage.deliver("east", self.rounds.second["east"], sequence=2)
        self.stage.tamper("east")
        state, _ = self._intake(["east"])
        delivery = self._newest("east")
        parsed = "validation" in delivery.detail
        return state == "failed" and delivery.verdict == "reject" and not parsed, self._why(delivery)

    def _replayed(self) -> tuple[bool, str]:
        self.stage.offer("west", self.stage.sent / "west-1")
        before = self._snapshot_version()
        state, run_id = self._intake(["west"])
        failed = [t["task_id"] for t in self.airflow.tasks(INTAKE, run_id) if t["state"] == "failed"]
        delivery = self._newest("west")
        unchanged = self._snapshot_version() == before
        passed = state == "failed" and "land" in failed and delivery.verdict == "reject" and unchanged
        return passed, self._why(delivery)

    def _compromised(self) -> tuple[bool, str]:
        for source in SOURCES:
            # Each source's next number: the tampered delivery has used up the second of the east.
            number = 3 if source == "east" else 2
            self.stage.deliver(source, self.rounds.second[source], sequence=number)
        before = len(self.airflow.runs(TRAINING))
        with self._registry() as session:
            old = champion(session, "adult")
        state, _ = self._intake(list(SOURCES), answer=Answer.ADMIT_REST)
        trained = self._training(after=before)
        west = self._newest("west")
        with self._line() as line:
            cases = list_cases(line.database, dataset="adult")
            self.truth = count_truth(line, self.rounds, [c for c in cases if c.kind != "delivery"])
            with line.database.session() as session:
                models = list_models(session, "adult")
                now = champion(session, "adult")
            challenger = models[-1] if models else None
            held = [c for c in cases if c.kind == "delivery" and c.delivery_id == west.id]
            if not held or challenger is None or old is None or now is None:
                return (
                    False,
                    f"held: {bool(held)}; intake {state}, training {trained}; challenger: {challenger}",
                )
            self.say("step 4 of 5: training once more on everything, to show what would have happened")
            self.comparison = compare(line, self.rounds, old, challenger)
        verdict = "promoted" if now.id == challenger.id else "refused"
        consistent = trained == ("success" if verdict == "promoted" else "failed")
        caught = sum(item["caught"] for item in self.truth if item["kind"] != "clean rows")
        poisoned = sum(item["rows"] for item in self.truth if item["kind"] != "clean rows")
        seen = f"west held ({caught} of {poisoned} poisoned rows caught); clean rest admitted; challenger {verdict}"
        if state == "success" and consistent and west.state == "admitted":
            return True, seen
        return False, f"{seen}; intake {state}, delivery {west.state}, training {trained}"

    def _runaway(self) -> tuple[bool, str]:
        with self._registry() as session:
            old = champion(session, "adult")
        self.stage.set_learning_rate(ABSURD_LEARNING_RATE)
        run_id = self.airflow.trigger(TRAINING)
        state = self.airflow.wait(TRAINING, run_id, 600)
        with self._registry() as session:
            now, run = champion(session, "adult"), list_runs(session, "adult")[-1]
        unchanged = old is not None and now is not None and old.id == now.id
        seen = f"{run.status} after {run.detail.get('epochs', '?')} epochs: {run.detail.get('reason', '')}"
        return state == "failed" and run.status == "stopped" and unchanged, seen

    def _intake(self, sources: list[str], answer: Answer | None = None) -> tuple[str, str]:
        run_id = self.airflow.trigger(INTAKE, {"sources": sources})
        asked: dict[str, float] = {}

        def tick() -> None:
            if answer is None:
                return
            question = self.airflow.question(INTAKE, run_id)
            if question is None:
                return
            task_id = question["task_instance"]["task_id"]
            if task_id not in asked:
                asked[task_id] = time.monotonic()
                self.say("step 4 of 5: a delivery is held; Airflow waits for the human")
            elif time.monotonic() - asked[task_id] > _ANSWER_DELAY and self.airflow.waits(
                INTAKE, run_id, task_id
            ):
                self.airflow.answer(
                    INTAKE, run_id, task_id, str(answer), {"reason": "evidence looked at; keep the rest"}
                )
                asked[task_id] = time.monotonic()

        state = self.airflow.wait(INTAKE, run_id, 600, tick)
        return state, run_id

    def _training(self, after: int) -> str:
        """Wait for the training run that the newest snapshot started."""
        return self.airflow.wait(TRAINING, self.airflow.wait_for_run(TRAINING, after=after), 900)

    def _newest(self, source: str) -> Delivery:
        with self._registry() as session:
            return list_deliveries(session, "adult", source=source)[-1]

    def _why(self, delivery: Delivery) -> str:
        with self._registry() as session:
            said = [f.message for f in findings_of(session, delivery.id) if f.outcome is Outcome.FAILED]
        return f"{delivery.verdict}: {'; '.join(said)}"

    def _snapshot_version(self) -> int:
        with self._registry() as session:
            snapshot = latest_snapshot(session, "adult")
        return snapshot.version if snapshot else 0

    def _line(self) -> AbstractContextManager[Line]:
        return Line.open(self.stage.contract, self.stage.settings)

    @contextmanager
    def _registry(self) -> Iterator[Session]:
        with self._line() as line, line.database.session() as session:
            yield session
