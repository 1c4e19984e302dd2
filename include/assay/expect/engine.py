"""The narrow way to Great Expectations: one expectation suite on one pandas frame, and answers that can be told apart.

The library takes seconds to import, so it is imported at first use, once per process. It runs on pandas, in memory, in
a context that keeps nothing on disk and sends nothing anywhere.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.expect.errors import ExpectError
from assay.expect.plan import Planned

_GROUP = 16  # expectations asked at a time: bounds the lists of failing rows that the library makes

_RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "partial_unexpected_count": 0,
    "exclude_unexpected_values": True,  # values are looked up by row, and only as many as a report quotes
    "return_unexpected_index_query": False,
}


@functools.cache
def load() -> Any:
    """Import Great Expectations, without telemetry and without notes to the screen.

    Collecting garbage while thousands of classes are made finds none and costs a sixth of the time, so it waits.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    collecting = gc.isenabled()
    gc.disable()
    try:
        library = importlib.import_module("great_expectations")
    finally:
        if collecting:
            gc.enable()
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    return library


@dataclass(frozen=True)
class Answer:
    """What Great Expectations said about one expectation on one frame.

    Attributes:
        index: The expectation's place in the plan.
        success: Its own verdict on this frame.
        raised: Why it could not answer; then nothing else counts.
        elements: Rows that it looked at.
        missing: Rows that it passed over because they have no value.
        rows: Row numbers that failed it, ascending; None for an expectation that is not about rows.
        observed: What it measured, for an expectation that is not about rows.
        details: More of the same.
    """

    index: int
    success: bool
    raised: str | None = None
    elements: int = 0
    missing: int = 0
    rows: npt.NDArray[np.int64] | None = None
    observed: Any = None
    details: Any = None


class Engine:
    """A context of Great Expectations in memory, and the plan's expectations as its objects.

    Args:
        plan: What will be asked.

    Raises:
        ExpectError: There is no expectation of that name, or it does not take these arguments.
    """

    def __init__(self, plan: Sequence[Planned]) -> None:
        self.gx = load()
        config = importlib.import_module("great_expectations.data_context.types.base")
        self.context = self.gx.get_context(
            mode="ephemeral",
            project_config=config.DataContextConfig(
                # The default makes a folder for Data Docs in the temporary directory and leaves it there.
                store_backend_defaults=config.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
                progress_bars=config.ProgressBarsConfig(globally=False),
                analytics_enabled=False,
            ),
        )
        self._execution = importlib.import_module("great_expectations.execution_engine")
        self._validator = importlib.import_module("great_expectations.validator.validator")
        base = importlib.import_module("great_expectations.expectations.expectation")
        self._by_row = (
            base.ColumnMapExpectation,
            base.ColumnPairMapExpectation,
            base.MulticolumnMapExpectation,
        )
        self._expectations = {planned.index: self._build(planned) for planned in plan}

    def configuration(self, planned: Planned) -> Any:
        """The expectation's `ExpectationConfiguration`, for Data Docs."""
        return self._expectations[planned.index].configuration

    def _build(self, planned: Planned) -> Any:
        module = importlib.import_module("great_expectations.expectations.expectation_configuration")
        arguments = dict(planned.arguments)
        extra = {
            key: arguments.pop(key)
            for key in ("meta", "notes", "description", "severity")
            if key in arguments
        }
        meta = extra.pop("meta", None)
        meta = dict(meta) if isinstance(meta, dict) else {}
        place = f"{planned.where} ({planned.type})"
        try:
            with _quiet():
                built = module.ExpectationConfiguration(
                    type=planned.type, kwargs=arguments, meta=meta | {"assay": planned.index}, **extra
                ).to_domain_obj()
        except Exception as error:  # noqa: BLE001  the library raises many kinds for one fault: a wrong contract
            if "not found" in str(error):
                raise ExpectError(
                    place,
                    "Great Expectations has no expectation of this name",
                    found=planned.type,
                    next_step="see https://greatexpectations.io/expectations for the names",
                ) from None
            raise ExpectError(
                place,
                "Great Expectations does not take these arguments",
                expected="the arguments that its documentation names",
                found=_problems(error),
                next_step="correct the expectation in the contract",
            ) from None
        return built

    def ask(self, frame: Any, plan: Sequence[Planned]) -> Iterator[Answer]:
        """Ask some of the plan's expectations of a frame whose index holds row numbers.

        Args:
            frame: A pandas DataFrame.
            plan: What to ask.

        Yields:
            One answer per expectation; never an exception for one that could not be evaluated.
        """
        # The public way to a batch hashes all of its values, twice, which costs more than the expectations do. A
        # validator on an execution engine that was handed the frame is what that way ends in.
        execution = self._execution.PandasExecutionEngine(caching=False)
        execution.load_batch_data("table", frame)
        validator = self._validator.Validator(execution_engine=execution, data_context=self.context)
        try:
            for start in range(0, len(plan), _GROUP):
                yield from self._run(validator, plan[start : start + _GROUP])
        finally:
            # Engine and validator hold each other: the frame would stay until garbage is collected, chunk upon chunk.
            execution.batch_manager.batch_data_cache.clear()

    def _run(self, validator: Any, group: Sequence[Planned]) -> Iterator[Answer]:
        asked = [self.configuration(planned) for planned in group]
        try:
            with _quiet():
                results = validator.graph_validate(asked, {"result_format": _RESULT_FORMAT})
        except Exception as error:  # noqa: BLE001  whatever it is, an expectation has not been checked
            if len(group) > 1:
                for planned in group:
                    yield from self._run(validator, [planned])
            else:
                said = f"{type(error).__name__}: {_first_line(str(error))}"
                yield Answer(group[0].index, success=False, raised=said)
            return
        answers = {answer.index: answer for answer in map(self._answer, results)}
        for planned in group:
            unsaid = Answer(planned.index, success=False, raised="Great Expectations gave no answer")
            yield answers.get(planned.index, unsaid)

    def _answer(self, result: Any) -> Answer:
        index = int(result.expectation_config.meta["assay"])
        raised = _raised(result.exception_info)
        if raised is not None:
            return Answer(index, success=False, raised=raised)
        facts = result.result or {}
        # Others than these count what is unexpected too, but count distinct values, not rows.
        by_row = isinstance(self._expectations[index], self._by_row) and "unexpected_count" in facts
        rows = (
            np.unique(np.asarray(facts.get("unexpected_index_list") or [], dtype=np.int64))
            if by_row
            else None
        )
        if rows is not None and (
            len(rows) != int(facts["unexpected_count"]) or not (result.success or len(rows))
        ):
            said = f"it counts {facts['unexpected_count']} failing rows, and names {len(rows)}"
            return Answer(index, success=False, raised=said)
        return Answer(
            index,
            success=bool(result.success),
            elements=int(facts.get("element_count") or 0),
            missing=int(facts.get("missing_count") or 0),
            rows=rows,
            observed=facts.get("observed_value"),
            details=facts.get("details"),
        )


def _raised(info: Any) -> str | None:
    """The message of the exception in a result, or None. The library nests it by metric, or does not."""
    if not info:
        return None
    for entry in [info] if "raised_exception" in info else info.values():
        if isinstance(entry, dict) and entry.get("raised_exception"):
            return _first_line(str(entry.get("exception_message") or "it raised an exception"))
    return None


def _first_line(text: str) -> str:
    line = next((part.strip() for part in text.splitlines() if part.strip()), "no message")
    return line if len(line) <= 300 else line[:299] + "…"


def _problems(error: Exception) -> str:
    """What pydantic found, one fault per clause, without its type codes."""
    lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()] or [str(error)]
    clauses: list[str] = []
    for name, problem in zip(lines[::2], lines[1::2], strict=False):
        clause = f"{name}: {re.sub(r' *[(]type=.*[)]$', '', problem)}"
        if clause not in clauses:
            clauses.append(clause)
    return "; ".join(clauses or lines)[:600]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's warnings, which speak of its own inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
