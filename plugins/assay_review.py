"""Questions in Airflow's Required Actions about held deliveries and challengers, which Assay's pages answer too.

What people decide stands in Assay's registry. An operator here asks only while something is open there, records each
answer there at once, and asks again while approvals lack. It waits without a worker slot: a trigger looks for an answer
and, every ten seconds, whether the decision was taken elsewhere, on a page or on the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.triggers.hitl import HITLTrigger
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.hitl import update_hitl_detail_response, upsert_hitl_detail
from airflow.sdk.timezone import utcnow
from airflow.triggers.base import TriggerEvent
from asgiref.sync import sync_to_async

from assay.contract import Contract, Review
from assay.findings import Answer, Approval
from assay_airflow import call

LOOK_EVERY = 10.0
"""Seconds between two looks at the registry, and before the first: a task that comes back from its trigger while the
process that put it aside is still ending is lost to the local executor."""

_REASON: dict[str, Any] = {
    "type": "string",
    "minLength": 3,
    "maxLength": 4000,
    "description": "Why? It is kept for ever.",
}


class AssayQuestion(HITLOperator):
    """A question to humans whose answer is a decision in Assay's registry.

    Args:
        contract_path: The data set's contract.
        review: Its terms.
        about: Ids of the deliveries that the answer is about, or what `judge` said of the one challenger (`model`); a
            template field.
        deadline: How long to wait where the registry names no time.
        options: The words on the buttons; the last one stands for "as decided elsewhere".
        **kwargs: As for `HITLOperator`.
    """

    template_fields: Collection[str] = (*HITLOperator.template_fields, "about")
    kind = ""
    station_state = ""
    station_answer = ""

    def __init__(
        self,
        *,
        contract_path: Path,
        review: Review,
        about: Any,
        options: list[str],
        deadline: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        # Airflow hands the DAG's own parameters in; the form has one field of its own.
        kwargs["params"] = {"reason": Param("looked at the case", **_REASON)}
        kwargs["response_timeout"] = review.timeout
        # The local executor may lose a task that is resumed while it is still being put aside; it is then tried again,
        # and finds what was answered. An answer for each approval may come to that.
        kwargs.update(retries=3 + 2 * review.approvals, retry_exponential_backoff=False)
        super().__init__(options=options, assigned_users=_assigned(review), **kwargs)
        self.contract_path = str(contract_path)
        self.about = about
        self.wait_at_most = deadline

    def execute(self, context: Any) -> Any:
        """Ask, unless everything is decided; an answer that an earlier try was given and did not record comes first."""
        told = self._station(self.station_state)
        if not told["open"]:
            return self._elsewhere(told)
        if context["ti"].try_number > 1:
            self._wait(context, None, recover=True)
        return self._ask(context, None)

    def execute_complete(self, context: Any, event: dict[str, Any], deadline: str | None = None) -> Any:
        """Record the answer; ask again while approvals lack, or where the answer decides nothing."""
        if event.get("assay") or event.get("error_type") == "timeout":
            told = self._station(self.station_state)
            if not told["open"]:
                return self._elsewhere(told)
            if event.get("assay") in {"decided", "ask"} or _is_later(told.get("due")):
                return self._ask(context, deadline)
            return self._silence(told)
        answer = self._answer_of(event)
        if answer is None:
            return self._ask(context, deadline)
        told = self._station(self.station_answer, answer)
        for why in told.get("refused") or ():
            self.log.warning("the answer of %s was not taken: %s", told["reviewer"], why)
        for who in told.get("first") or ():
            self.log.info("decided before, by %s", who)
        if told["open"]:
            self.log.info(
                "%s of %s approvals; asking again", told.get("approvals", 0), told.get("needed") or 1
            )
            return self._ask(context, deadline)
        return {**answer, "responded_at": str(event.get("responded_at") or ""), "first": told.get("first")}

    def _station(self, name: str, *arguments: Any) -> dict[str, Any]:
        """What a station of the line says about what is asked."""
        return call(Path(self.contract_path), name, self._named, *arguments)

    @property
    def _named(self) -> Any:
        """Ids of what is asked about, as stations take them."""
        return self.about["model"] if isinstance(self.about, dict) else self.about

    def _ask(self, context: Any, deadline: str | None) -> Any:
        upsert_hitl_detail(
            ti_id=context["ti"].id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            defaults=None,
            multiple=False,
            params=self.serialized_params,
            assigned_users=self.assigned_users,
        )
        if deadline is None and self.wait_at_most is not None:
            deadline = (utcnow() + self.wait_at_most).isoformat()
        self.log.info("waiting for an answer here, on Assay's pages or on the command line")
        self._wait(context, deadline)

    def _wait(self, context: Any, deadline: str | None, *, recover: bool = False) -> NoReturn:
        self.defer(
            trigger=ReviewTrigger(
                ti_id=context["ti"].id,
                options=self.options,
                params=self.serialized_params,
                kind=self.kind,
                about=[self._named] if isinstance(self._named, str) else list(self._named),
                deadline=deadline,
                recover=recover,
            ),
            method_name="execute_complete",
            kwargs={"deadline": deadline},
        )

    def _answer_of(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer as stations take it; None for one that cannot be taken, which the log then says."""
        if "chosen_options" not in event:
            self.log.warning("the answer could not be taken: %s", event.get("error"))
            return None
        chosen, given = list(event["chosen_options"]), dict(event.get("params_input") or {})
        reason = given.get("reason", "" if chosen == self.options[-1:] else None)
        long_enough = isinstance(reason, str) and len(reason.strip()) >= 3
        if (
            len(chosen) != 1
            or chosen[0] not in self.options
            or not (long_enough or chosen == self.options[-1:])
        ):
            self.log.warning("the answer %s needs a reason of three characters or more; asking again", chosen)
            return None
        user = event.get("responded_by_user")
        return {
            "chosen_options": chosen,
            "params_input": {"reason": str(reason or "as decided elsewhere")},
            "responded_by_user": None if user is None else {"id": user["id"], "name": user["name"]},
        }

    def _elsewhere(self, told: Mapping[str, Any]) -> dict[str, Any]:
        first = list(told.get("first") or ())
        self.log.info("decided elsewhere: %s", "; ".join(first) or "nothing is open")
        return {
            "chosen_options": self.options[-1:],
            "params_input": {"reason": "as decided elsewhere"},
            "responded_by_user": None,
            "responded_at": "",
            "first": first,
        }

    def _silence(self, told: Mapping[str, Any]) -> Any:
        """Nobody answered in time, and the terms do not reject: everything stays as it is, and the run says so."""
        raise AirflowFailException(
            f"nobody decided in time, and {told['open']} decision(s) stay open: nothing was admitted or promoted. "
            "Decide on Assay's pages or with `assay cases`; the next run goes on from there."
        )


class AssayReview(AssayQuestion):
    """Asks about the held deliveries of a run, until every case that holds them is decided or its time is over."""

    kind = "delivery"
    station_state = "settled"
    station_answer = "decide"

    def __init__(self, *, contract_path: Path, contract: Contract, deliveries: Any, **kwargs: Any) -> None:
        super().__init__(
            contract_path=contract_path,
            review=contract.review,
            about=deliveries,
            subject=f"{contract.dataset}: a delivery is held",
            body="{{ ti.xcom_pull(task_ids='screen')['summary'] }}\n\n"
            + _notes(contract, f"cases?dataset={contract.dataset}&status=open", "Look at the rows"),
            options=[str(answer) for answer in Answer],
            **kwargs,
        )


class AssayApproval(AssayQuestion):
    """Asks about a challenger that passed its gates, until enough people approved it or one refused it."""

    kind = "model"
    station_state = "model_state"
    station_answer = "answer_model"

    def __init__(self, *, contract_path: Path, contract: Contract, judged: Any, **kwargs: Any) -> None:
        self.on_timeout = contract.review.on_timeout
        super().__init__(
            contract_path=contract_path,
            review=contract.review,
            about=judged,
            subject=f"{contract.dataset}: promote the challenger?",
            body="{{ ti.xcom_pull(task_ids='judge')['summary'] }}\n\n"
            + _notes(contract, f"models?dataset={contract.dataset}", "Look at the models"),
            options=[str(answer) for answer in Approval],
            deadline=contract.review.timeout,
            **kwargs,
        )

    def _silence(self, told: Mapping[str, Any]) -> Any:
        if self.on_timeout == "reject":
            refusal = {"chosen_options": [str(Approval.REFUSE)], "responded_by_user": None}
            self._station(self.station_answer, refusal)
            return {**refusal, "params_input": {"reason": "no answer in time"}, "responded_at": ""}
        return super()._silence(told)


class ReviewTrigger(HITLTrigger):
    """Waits for an answer in Required Actions, for a decision in Assay's registry, or for the end of the time.

    Args:
        kind: `delivery` or `model`.
        about: Ids of deliveries, or of one model.
        deadline: When silence has lasted long enough (ISO 8601); None: the registry says.
        recover: Look once for an answer that an earlier try was given, and else let the task ask.
        **kwargs: As for `HITLTrigger`.
    """

    def __init__(
        self,
        *,
        kind: str,
        about: list[str],
        deadline: str | None = None,
        recover: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("timeout_datetime", None)
        kwargs.setdefault("poke_interval", LOOK_EVERY)
        super().__init__(**kwargs)
        self.kind, self.about, self.deadline, self.recover = kind, about, deadline, recover

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Under its own name, with what it waits for."""
        _, facts = super().serialize()
        return (
            "assay_review.ReviewTrigger",
            {
                **facts,
                "kind": self.kind,
                "about": self.about,
                "deadline": self.deadline,
                "recover": self.recover,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, and wait, until there is something to tell; what cannot be asked now is asked again."""
        while True:
            await asyncio.sleep(self.poke_interval)
            try:
                event = await self._handle_response()
            except Exception:
                self.log.warning("Airflow does not say whether there is an answer", exc_info=True)
                event = None
            if event is None and (word := await asyncio.to_thread(self._look)) is not None:
                if word == "decided":
                    await self._close()
                event = TriggerEvent({"assay": word})
            if event is None and self.recover:
                event = TriggerEvent({"assay": "ask"})
            if event is not None:
                yield event
                return

    async def _close(self) -> None:
        """Mark the question as answered, so that it is not shown as pending; it is no harm where that fails."""
        try:
            await sync_to_async(update_hitl_detail_response)(
                ti_id=self.ti_id, chosen_options=self.options[-1:], params_input={}
            )
        except Exception:
            self.log.info("the question stays marked as unanswered", exc_info=True)

    def _look(self) -> str | None:
        try:
            look = (
                partial(_deliveries_wait, self.about)
                if self.kind == "delivery"
                else partial(_model_waits, self.about)
            )
            waiting, due = look()
        except Exception:
            self.log.warning("Assay's registry cannot be asked now", exc_info=True)
            return None
        if not waiting:
            return "decided"
        due = due or self.deadline
        return "due" if due is not None and not _is_later(due) else None


def _is_later(moment: str | None) -> bool:
    return moment is not None and datetime.fromisoformat(moment) > utcnow()


def _deliveries_wait(deliveries: list[str]) -> tuple[bool, str | None]:
    """Whether open cases hold deliveries, and when the first is due."""
    from assay.db import Database, waiting_cases
    from assay.settings import Settings

    database = Database(Settings.from_env().database_url)
    try:
        with database.session() as session:
            count, due = waiting_cases(session, deliveries)
    finally:
        database.dispose()
    return count > 0, due


def _model_waits(models: list[str]) -> tuple[bool, str | None]:
    """Whether a challenger is still one."""
    from assay.db import Database, get_model
    from assay.settings import Settings

    database = Database(Settings.from_env().database_url)
    try:
        with database.session() as session:
            model = get_model(session, models[0])
    finally:
        database.dispose()
    return model is not None and model.state == "challenger", None


def _notes(contract: Contract, page: str, words: str) -> str:
    """What the reviewer must know of the terms, and the way to the page, in Markdown."""
    review = contract.review
    root = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    notes = [f"[{words} on Assay's page]({root}/assay/p/{page}): an answer there counts here."]
    if review.approvals > 1:
        notes.append(
            f"{review.approvals} different reviewers must approve; the same one again counts once. "
            "Until then this question stands again after each answer."
        )
    if review.reviewers:
        notes.append(f"Reviewers: {', '.join(review.reviewers)}.")
    if review.no_self_approval:
        notes.append("Whoever changed the contract may not approve.")
    return "\n\n".join(notes)


def _assigned(review: Review) -> list[Any] | None:
    """The contract's reviewers for Airflow, where its users' ids are their names; the registry asks for them anyway."""
    simple = "SimpleAuthManager" in (conf.get("core", "auth_manager", fallback="") or "SimpleAuthManager")
    return [{"id": name, "name": name} for name in review.reviewers] if review.reviewers and simple else None
