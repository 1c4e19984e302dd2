"""Data Docs: the results as Great Expectations' static pages, for a person to browse and an auditor to keep."""

from __future__ import annotations

import datetime as dt
import importlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.contract.models import Contract
from assay.errors import UsageError
from assay.expect.engine import Engine
from assay.expect.tally import Tally, plain
from assay.findings import Outcome

# The library's pages load scripts and styles from half a dozen hosts, into a page that shows the delivery's values. The
# policy keeps the browser from asking any of them; the few styles make up for what is then missing.
_HEAD = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'self' 'unsafe-inline'; \
img-src 'self' data:; font-src 'self'">
<style>
body{font-family:HKGrotesk,system-ui,sans-serif;margin:0 auto;max-width:76rem;padding:1rem;line-height:1.4}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;
vertical-align:top}nav ol,.breadcrumb{list-style:none;display:flex;gap:.5rem;padding:0}.badge{background:#eee;
border-radius:.3rem;padding:0 .35rem}.text-success,.fa-check-circle{color:#1a7f37}.text-danger,.fa-times{color:#c62828}
.modal,.navbar-toggler,img[src^=http],.cooltip .top,a[href*=newsletter],.table-cell-walkthrough{display:none}
.fa-check-circle::before{content:"✓"}.fa-times::before{content:"✗"}.fa-exclamation-triangle::before{content:"!"}
</style>
"""


_MARK = ".assay-data-docs"
"""A file that tells a folder of ours, which may be replaced, from any other, which may not."""


def write_docs(
    folder: Path,
    engine: Engine,
    tallies: Sequence[Tally],
    contract: Contract,
    title: str,
    about: dict[str, Any],
) -> Path:
    """Write the results of a validation as pages.

    Args:
        folder: Where to; made for its owner alone. Pages of an earlier validation there are replaced, all at once.
        engine: The engine that gave the answers.
        tallies: The answers on the whole delivery.
        contract: The contract.
        title: What to call the delivery.
        about: What else the pages say of the delivery.

    Returns:
        The path of the first page.

    Raises:
        UsageError: The folder holds something else.
    """
    folder = folder.resolve()
    check_folder(folder)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _build(fresh, engine, tallies, contract, title, about)
        for page in fresh.rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            page.write_text(
                re.sub(r"<head>", lambda head: head.group() + _HEAD, text, count=1), encoding="utf-8"
            )
        for film in fresh.rglob("*.gif"):  # megabytes of the library's own advice
            film.unlink()
        (fresh / _MARK).touch()
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / "index.html"


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but Data Docs of ours.

    Raises:
        UsageError: It does.
    """
    if not folder.exists() or (folder / _MARK).exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise UsageError(
            f"{folder} holds something else than Data Docs",
            expected="a folder that is not there yet, is empty, or was written by an earlier validation",
            next_step="name another folder for the Data Docs",
        )


def _build(
    folder: Path,
    engine: Engine,
    tallies: Sequence[Tally],
    contract: Contract,
    title: str,
    about: dict[str, Any],
) -> None:
    """Have Great Expectations write its pages from the added-up answers."""
    results = importlib.import_module("great_expectations.core.expectation_validation_result")
    identifiers = importlib.import_module("great_expectations.data_context.types.resource_identifiers")
    runs = importlib.import_module("great_expectations.core.run_identifier")
    name = _file_name(title)
    run = runs.RunIdentifier(run_name=name, run_time=dt.datetime.now(dt.UTC))
    answers = [_result(results, engine, tally) for tally in tallies]
    held = sum(1 for answer in answers if answer.success)
    suite = results.ExpectationSuiteValidationResult(
        results=answers,
        success=held == len(answers),
        suite_name=contract.dataset,
        statistics={
            "evaluated_expectations": len(answers),
            "successful_expectations": held,
            "unsuccessful_expectations": len(answers) - held,
            "success_percent": 100.0 * held / len(answers) if answers else None,
        },
        meta={
            "great_expectations_version": engine.gx.__version__,
            "run_id": run,
            "validation_time": run.run_time,
            "batch_spec": about,
            "contract": contract.digest,
        },
    )
    context = engine.context
    suite_id = identifiers.ExpectationSuiteIdentifier(name=contract.dataset)
    asked = [engine.configuration(tally.planned) for tally in tallies]
    context.suites.add_or_update(engine.gx.ExpectationSuite(contract.dataset, expectations=asked))
    context.validation_results_store.store_validation_results(
        suite_validation_result=suite,
        suite_validation_result_identifier=identifiers.ValidationResultIdentifier(
            batch_identifier=name, expectation_suite_identifier=suite_id, run_id=run
        ),
        expectation_suite_identifier=suite_id,
    )
    context.add_data_docs_site(
        "assay",
        {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        },
    )
    context.build_data_docs(site_names=["assay"])


def _result(results: Any, engine: Engine, tally: Tally) -> Any:
    """One tally as a result of Great Expectations."""
    facts: dict[str, Any] = {}
    if tally.by_row:
        values = [plain(value) for _, value in tally.examples]
        facts = {
            "element_count": tally.elements,
            "missing_count": tally.missing,
            "missing_percent": 100.0 * tally.missing / tally.elements if tally.elements else 0.0,
            "unexpected_count": tally.rows.count,
            "unexpected_percent": tally.percent,
            "unexpected_percent_nonmissing": tally.percent,
            "unexpected_percent_total": 100.0 * tally.rows.count / tally.elements if tally.elements else 0.0,
            "partial_unexpected_list": values,
            "partial_unexpected_index_list": [row for row, _ in tally.examples],
        }
    elif tally.raised is None:
        facts = {"observed_value": plain(tally.observed), "details": plain(tally.details)}
    info: dict[str, Any] = {"raised_exception": False, "exception_message": None, "exception_traceback": None}
    if tally.raised is not None:
        info = {"raised_exception": True, "exception_message": tally.raised, "exception_traceback": ""}
    return results.ExpectationValidationResult(
        success=tally.outcome is Outcome.PASSED,
        expectation_config=engine.configuration(tally.planned),
        result=facts,
        exception_info=info,
        meta={},
    )


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:100] or "delivery"
