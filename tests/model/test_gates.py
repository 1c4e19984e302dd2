"""Each gate opens and closes; a question without an answer closes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.model import AnswerNotFinite, Judgement, LoadedModel, judge_model
from assay.train import BundleSpec
from assay.train.network.spec import PrivacyReport
from tests.model import support

PASSED, FAILED, NOT_CHECKED = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_CHECKED


def agreed(*, classes: list[str] | None = None, **gates: Any) -> Contract:
    """A contract of one feature `x`, a column `region`, and these gates; the gate on the drop is off by default."""
    label = {"column": "label", "classes": classes}
    return Contract.model_validate(
        {
            "version": 1,
            "dataset": "small",
            "schema": {
                "label": label,
                "columns": {
                    "x": {"type": "number"},
                    "region": {"type": "string", "nullable": True},
                    "label": {"type": "string" if classes else "number"},
                },
            },
            "gates": {"max_drop_vs_champion": None, **gates},
        }
    )


def classifying(**gates: Any) -> Contract:
    """Of a classification into no and yes."""
    return agreed(classes=["no", "yes"], **gates)


def rows(right: int, wrong: int, *, region: str | None = "west") -> pa.Table:
    """Rows of which `sign` gets these numbers right and wrong."""
    count = right + wrong
    return pa.table(
        {
            "x": pa.array([1.0] * count, pa.float64()),
            "region": pa.array([region] * count, pa.string()),
            "label": pa.array(["yes"] * right + ["no"] * wrong, pa.string()),
        }
    )


@pytest.fixture(scope="module")
def sign(spec: BundleSpec) -> LoadedModel:
    """Says yes where x is positive."""
    return support.by_hand(spec, task="classification", weight=[[-1.0], [1.0]], bias=[0.0, 0.0])


@pytest.fixture(scope="module")
def contrary(spec: BundleSpec) -> LoadedModel:
    """Says no where x is positive."""
    return support.by_hand(spec, task="classification", weight=[[1.0], [-1.0]], bias=[0.0, 0.0])


@pytest.fixture(scope="module")
def doubling(spec: BundleSpec) -> LoadedModel:
    """Answers 2x."""
    return support.by_hand(spec, task="regression", weight=[[2.0]], bias=[0.0])


def judged(
    challenger: LoadedModel, contract: Contract, trusted: pa.Table | None, **changes: Any
) -> Judgement:
    """The gates' answers where the run, the ledger and the cases are as they should be."""
    given: dict[str, Any] = {"champion": None, "curve": PASSED, "ledger": PASSED, "open_cases": 0, **changes}
    return judge_model(challenger, contract, trusted=trusted, **given)


def said(judgement: Judgement, gate: str) -> Finding:
    """The one answer of a gate."""
    (finding,) = [f for f in judgement.findings if f.check == f"gate.{gate}"]
    return finding


def test_a_good_challenger_passes_every_gate(sign: LoadedModel):
    """All that is on passes, all that is off is named."""
    contract = classifying(
        min_accuracy=0.8,
        max_drop_vs_champion=0.01,
        max_slice_gap=0.1,
        slices=["region"],
        require_backend="reference",
    )
    trusted = pa.concat_tables([rows(45, 5), rows(44, 6, region="east")])
    judgement = judged(sign, contract, trusted)
    assert judgement.passed
    assert [f.check for f in judgement.findings] == [
        f"gate.{name}"
        for name in ("curve", "ledger", "open_cases", "accuracy", "drop", "slice_gap", "backend")
    ]
    assert judgement.off == ("r2", "backdoor_scan")
    assert judgement.metrics == {"judged_against": None, "trusted_rows": 100, "accuracy": 0.89}


# ------------------------------------------------------------------------------------------------ run, ledger and cases
@pytest.mark.parametrize("gate", ["curve", "ledger"])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_curve_and_the_ledger_must_have_passed(sign: LoadedModel, gate: str, outcome: Outcome):
    """Not checked is not passed."""
    judgement = judged(sign, classifying(min_accuracy=0.5), rows(40, 0), **{gate: outcome})
    assert said(judgement, gate).outcome is outcome
    assert judgement.passed is (outcome is PASSED)


def test_an_open_case_closes_the_gate(sign: LoadedModel):
    """Somebody still has to look at rows that this model may have learned from."""
    judgement = judged(sign, classifying(min_accuracy=0.5), rows(40, 0), open_cases=2)
    assert said(judgement, "open_cases").outcome is FAILED
    assert not judgement.passed


# ------------------------------------------------------------------------------------------------------------ accuracy
@pytest.mark.parametrize(("right", "outcome"), [(80, PASSED), (79, FAILED)])
def test_accuracy_on_trusted_rows_must_reach_the_limit(sign: LoadedModel, right: int, outcome: Outcome):
    """The limit itself is enough."""
    judgement = judged(sign, classifying(min_accuracy=0.8), rows(right, 100 - right))
    assert said(judgement, "accuracy").outcome is outcome
    assert judgement.metrics["accuracy"] == right / 100


def _without_rows() -> None:
    return None


TRUSTED_THAT_SAY_NOTHING = {
    "no trusted set": (_without_rows, "no trusted rows"),
    "an empty one": (lambda: rows(0, 0), "no trusted rows"),
    "no label column": (lambda: rows(40, 0).drop_columns(["label"]), "no column 'label'"),
    "rows without a label": (
        lambda: rows(40, 0).set_column(2, "label", pa.array([None] * 40, pa.string())),
        "have no label",
    ),
    "no feature column": (lambda: rows(40, 0).drop_columns(["x"]), "cannot read the trusted rows"),
}


@pytest.mark.parametrize("case", TRUSTED_THAT_SAY_NOTHING)
def test_without_usable_trusted_rows_nothing_is_promoted(sign: LoadedModel, case: str):
    """The hold-out is not checked, with the reason, and the gate stays closed."""
    make, words = TRUSTED_THAT_SAY_NOTHING[case]
    judgement = judged(sign, classifying(min_accuracy=0.1), make())
    assert said(judgement, "hold_out").outcome is NOT_CHECKED
    assert words in said(judgement, "hold_out").message
    assert not judgement.passed


def test_without_a_gate_that_needs_them_no_trusted_rows_are_needed(sign: LoadedModel):
    """All of these gates are off, and the record says so."""
    judgement = judged(sign, classifying(), None)
    assert judgement.passed
    assert set(judgement.off) >= {"accuracy", "r2", "drop", "slice_gap"}


def test_answers_that_are_not_finite_fail(spec: BundleSpec):
    """Weights that are finite can still overflow on a row."""
    wild = support.by_hand(spec, task="classification", weight=[[3e38], [3e38]], bias=[0.0, 0.0])
    trusted = rows(40, 0).set_column(0, "x", pa.array([1e6] * 40))
    judgement = judged(wild, classifying(min_accuracy=0.0), trusted)
    assert said(judgement, "hold_out").outcome is FAILED
    assert "40 of 40 rows" in said(judgement, "hold_out").message
    with pytest.raises(AnswerNotFinite):
        wild.predict(trusted)


def test_a_model_of_another_task_is_not_measured(doubling: LoadedModel):
    """A regression under a contract with classes has no accuracy."""
    judgement = judged(doubling, classifying(min_accuracy=0.0), rows(40, 0))
    assert said(judgement, "hold_out").outcome is NOT_CHECKED


# ---------------------------------------------------------------------------------------------------------- regression
def numbers(factor: float = 2.0, *, noise: float = 0.0) -> pa.Table:
    """Rows with label factor·x, plus and minus noise in turn."""
    x = [float(i) for i in range(-20, 21)]
    label = [factor * value + (noise if i % 2 else -noise) for i, value in enumerate(x)]
    region = ["west" if value < 0 else "east" for value in x]
    return pa.table({"x": x, "region": region, "label": label})


@pytest.mark.parametrize(("noise", "outcome"), [(0.0, PASSED), (10.0, PASSED), (13.0, FAILED)])
def test_r2_is_measured_on_the_trusted_rows(doubling: LoadedModel, noise: float, outcome: Outcome):
    """Against the variance of these rows' own labels: R² is 1 without noise, and falls with it."""
    judgement = judged(doubling, agreed(min_r2=0.8), numbers(noise=noise))
    assert said(judgement, "r2").outcome is outcome
    variance = numbers(noise=noise)["label"].to_numpy().var()
    assert judgement.metrics["r2"] == pytest.approx(1 - noise**2 / variance)


def test_r2_of_rows_with_one_label_is_not_checked(doubling: LoadedModel):
    """There is nothing to explain."""
    judgement = judged(doubling, agreed(min_r2=0.0), numbers(0.0))
    assert said(judgement, "hold_out").outcome is NOT_CHECKED


def test_a_regression_that_lost_r2_against_the_champion_fails(doubling: LoadedModel, spec: BundleSpec):
    """The drop is R² lost, so that the label's unit does not matter."""
    worse = support.by_hand(spec, task="regression", weight=[[1.9]], bias=[0.0])
    contract = agreed(max_drop_vs_champion=0.001)
    assert said(judged(worse, contract, numbers(), champion=doubling), "drop").outcome is FAILED
    judgement = judged(doubling, contract, numbers(), champion=worse)
    assert said(judgement, "drop").outcome is PASSED
    assert judgement.metrics["drop_vs_champion"] == pytest.approx(-0.0025)


def test_slices_of_a_regression_are_in_units_of_the_labels_variance(spec: BundleSpec):
    """A model that is right in the east and wrong in the west has a gap, whatever the label's unit."""
    for unit in (1.0, 1000.0):
        model = support.by_hand(spec, task="regression", weight=[[2.0 * unit]], bias=[0.0])
        table = numbers(2.0 * unit)
        label = [v if v >= 0 else 0.0 for v in table["label"].to_pylist()]
        table = table.set_column(2, "label", pa.array(label))
        contract = agreed(max_slice_gap=0.5, slices=["region"], min_slice_rows=10)
        finding = said(judged(model, contract, table), "slice_gap")
        assert finding.outcome is FAILED
        assert finding.evidence["slices"]["west"]["score"] > 1
        assert finding.evidence["slices"]["east"]["score"] == pytest.approx(0, abs=1e-6)


def test_accuracy_of_a_regression_and_r2_of_a_classification_are_not_checked(
    sign: LoadedModel, doubling: LoadedModel
):
    """A gate that asks the wrong question does not open. The contract refuses such a pair; the gate does too."""
    contract = agreed(min_r2=0.5)
    asked = contract.model_copy(update={"gates": contract.gates.model_copy(update={"min_accuracy": 0.5})})
    assert said(judged(doubling, asked, numbers()), "accuracy").outcome is NOT_CHECKED
    contract = classifying(min_accuracy=0.5)
    asked = contract.model_copy(update={"gates": contract.gates.model_copy(update={"min_r2": 0.5})})
    assert said(judged(sign, asked, rows(40, 0)), "r2").outcome is NOT_CHECKED


# ---------------------------------------------------------------------------------------------------------------- drop
def test_the_first_model_has_no_champion_to_fall_behind(sign: LoadedModel):
    """It passes, and says why."""
    finding = said(judged(sign, classifying(max_drop_vs_champion=0.01), rows(40, 0)), "drop")
    assert finding.outcome is PASSED
    assert "first model" in finding.message


def test_a_challenger_behind_the_champion_fails(sign: LoadedModel, contrary: LoadedModel):
    """Both are measured on the same rows, now."""
    contract = classifying(max_drop_vs_champion=0.1)
    judgement = judged(contrary, contract, rows(60, 40), champion=sign)
    assert said(judgement, "drop").outcome is FAILED
    assert judgement.metrics["drop_vs_champion"] == pytest.approx(0.2)
    assert judgement.metrics["judged_against"] == sign.id
    assert said(judged(contrary, contract, rows(55, 45), champion=sign), "drop").outcome is PASSED
    assert said(judged(sign, contract, rows(60, 40), champion=contrary), "drop").outcome is PASSED


def test_a_champion_that_cannot_be_measured_closes_the_gate(sign: LoadedModel, doubling: LoadedModel):
    """No champion to compare with is one thing, one that does not answer is another."""
    finding = said(judged(sign, classifying(max_drop_vs_champion=1), rows(40, 0), champion=doubling), "drop")
    assert finding.outcome is NOT_CHECKED


# -------------------------------------------------------------------------------------------------------------- slices
@pytest.mark.parametrize(("east", "outcome"), [(36, PASSED), (34, FAILED)])
def test_the_gap_between_slices_must_stay_below_the_limit(sign: LoadedModel, east: int, outcome: Outcome):
    """40 of 40 in the west against so many of 40 in the east."""
    trusted = pa.concat_tables([rows(40, 0), rows(east, 40 - east, region="east")])
    judgement = judged(sign, classifying(max_slice_gap=0.1, slices=["region"]), trusted)
    finding = said(judgement, "slice_gap")
    assert finding.outcome is outcome
    assert finding.subject == "region"
    assert finding.evidence["slices"]["east"] == {"score": east / 40, "rows": 40}


def test_small_slices_are_named_and_not_judged(sign: LoadedModel):
    """A handful of rows says nothing about a group."""
    trusted = pa.concat_tables([rows(40, 0), rows(40, 0, region="east"), rows(0, 5, region="north")])
    finding = said(judged(sign, classifying(max_slice_gap=0.1, slices=["region"]), trusted), "slice_gap")
    assert finding.outcome is PASSED
    assert finding.evidence["not_checked"] == ["north"]
    assert "north" in finding.message


def test_missing_values_are_a_slice_of_their_own(sign: LoadedModel):
    """Not knowing where somebody lives is a group too."""
    trusted = pa.concat_tables([rows(40, 0), rows(0, 40, region=None)])
    finding = said(judged(sign, classifying(max_slice_gap=0.1, slices=["region"]), trusted), "slice_gap")
    assert finding.outcome is FAILED
    assert "(missing)" in finding.message


@pytest.mark.parametrize(
    ("slices", "trusted"),
    [
        ([], rows(40, 0)),
        (["region"], rows(40, 0)),
        (["region"], rows(40, 0).drop_columns(["region"])),
        (["region"], pa.concat_tables([rows(10, 0), rows(10, 0, region="east")])),
    ],
    ids=["no slices named", "one slice", "no such column", "too few rows everywhere"],
)
def test_a_slice_gate_without_slices_to_compare_stays_closed(
    sign: LoadedModel, slices: list[str], trusted: pa.Table
):
    """The limit was set, so that the question was asked."""
    judgement = judged(sign, classifying(max_slice_gap=0.5, slices=slices), trusted)
    assert said(judgement, "slice_gap").outcome is NOT_CHECKED
    assert not judgement.passed


def test_evidence_of_many_slices_stays_small(sign: LoadedModel):
    """The best and the worst are listed, the rest is counted."""
    trusted = pa.concat_tables([rows(1, 0, region=f"r{i:03}") for i in range(200)])
    contract = classifying(max_slice_gap=0.5, slices=["region"], min_slice_rows=1)
    finding = said(judged(sign, contract, trusted), "slice_gap")
    assert len(finding.evidence["slices"]) == 20
    assert finding.evidence["slices_in_all"] == 200


def test_each_slice_column_is_a_gate_of_its_own(sign: LoadedModel):
    """One that passes does not open the other."""
    trusted = pa.concat_tables([rows(40, 0), rows(40, 0, region="east")])
    judgement = judged(sign, classifying(max_slice_gap=0.1, slices=["region", "label"]), trusted)
    outcomes = {f.subject: f.outcome for f in judgement.findings if f.check == "gate.slice_gap"}
    assert outcomes == {"region": PASSED, "label": NOT_CHECKED}
    assert not judgement.passed


# ------------------------------------------------------------------------------------------------- backend and backdoor
@pytest.mark.parametrize(("wanted", "outcome"), [("reference", PASSED), ("flux", FAILED)])
def test_the_backend_can_be_required(sign: LoadedModel, wanted: str, outcome: Outcome):
    """A model of the reference backend does not pass for one of Flux."""
    judgement = judged(sign, classifying(require_backend=wanted), None)
    assert said(judgement, "backend").outcome is outcome


def test_a_backdoor_scan_that_was_asked_for_is_not_passed_by_not_being_made(sign: LoadedModel):
    """There is none in this version: the gate stays closed, and says what to do."""
    judgement = judged(sign, classifying(backdoor_scan=True), None)
    assert said(judgement, "backdoor_scan").outcome is NOT_CHECKED
    assert "false" in said(judgement, "backdoor_scan").message
    assert not judgement.passed
    assert "backdoor_scan" in judged(sign, classifying(), None).off


@pytest.mark.parametrize("outcome", [*Outcome, None])
def test_a_model_of_flux_needs_its_own_file_compared(sign: LoadedModel, outcome: Outcome | None):
    """Not checked, or never asked, is not passed."""
    examined = () if outcome is None else (Finding(check="model.native", outcome=outcome, message="seen"),)
    by_flux = replace(sign, spec=sign.spec.model_copy(update={"backend": "flux"}), examined=examined)
    judgement = judged(by_flux, classifying(min_accuracy=0.5), rows(40, 0))
    assert said(judgement, "native").outcome is (outcome or NOT_CHECKED)
    assert judgement.passed is (outcome is PASSED)


@pytest.mark.parametrize("outcome", [*Outcome, None])
def test_a_private_model_needs_its_epsilon_computed_again(sign: LoadedModel, outcome: Outcome | None):
    """Not checked, or never asked, is not passed."""
    report = PrivacyReport(
        settings={"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-5},
        sampling_rate=0.1,
        steps=10,
        epsilon_rdp=1.0,
        epsilon_pld=0.9,
    )
    examined = (
        () if outcome is None else (Finding(check="model.privacy_spent", outcome=outcome, message="seen"),)
    )
    private = replace(sign, spec=sign.spec.model_copy(update={"privacy": report}), examined=examined)
    judgement = judged(private, classifying(min_accuracy=0.5), rows(40, 0))
    assert said(judgement, "privacy").outcome is (outcome or NOT_CHECKED)
    assert judgement.passed is (outcome is PASSED)


def test_a_really_trained_model_passes_its_gates(model: LoadedModel, table: pa.Table):
    """From the table's own rows, through bundle and loader, to a verdict."""
    contract = support.contract(
        gates={"min_accuracy": 0.85, "max_slice_gap": 0.2, "slices": ["clinic"], "min_slice_rows": 50}
    )
    judgement = judged(model, contract, table)
    assert judgement.passed, [f.message for f in judgement.findings]
    assert 0.85 < judgement.metrics["accuracy"] <= 1
