"""What a contract may say, and what it is told when it says something else."""

from __future__ import annotations

import base64
import datetime as dt
import re
from typing import Any

import pytest

from assay.contract import ContractError, Publisher, format_duration, parse_contract, parse_duration
from assay.contract.models import Contract
from tests.contract.examples import DESIGN, ED25519, MINISIGN, plain, text, with_columns


def problems_of(data: Any) -> list[dict[str, Any]]:
    with pytest.raises(ContractError) as caught:
        parse_contract(data if isinstance(data, str) else text(data))
    return [dict(each) for each in caught.value.problems]


def only_problem(data: Any) -> dict[str, Any]:
    (problem,) = problems_of(data)
    return problem


def test_the_example_of_the_design_is_valid_as_it_stands() -> None:
    """Columns that it names but does not describe are taken to be there."""
    contract = parse_contract(DESIGN)
    columns = contract.schema_.columns
    assert list(columns) == ["age", "workclass", "person_id", "income", "education", "sex", "race"]
    assert {columns[name].type for name in ("person_id", "income", "education", "sex", "race")} == {"string"}
    assert not columns["person_id"].nullable
    assert contract.schema_.features == ("age", "workclass", "education", "sex", "race")
    assert contract.review.timeout == dt.timedelta(days=3)
    assert contract.publisher("census").keys[0].id == "minisign:E7620F1842B4E81F"
    assert contract.source("west").publisher == "census"
    assert contract.gates.backdoor_scan


def test_version_data_set_and_schema_are_enough() -> None:
    """Everything else has a default."""
    contract = parse_contract(text(plain()))
    assert contract.sources == ()
    assert contract.training.timeout == dt.timedelta(hours=2)
    assert contract.gates.max_drop_vs_champion == 0.01
    assert contract.path is None


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(["a", "b"], "string"), ([0, 1], "integer"), ([True, False], "boolean"), (None, "number")],
)
def test_a_label_that_is_not_described_is_of_its_classes_type(
    classes: list[Any] | None, expected: str
) -> None:
    """A number where it has none."""
    label = {"column": "y"} if classes is None else {"column": "y", "classes": classes}
    contract = parse_contract(text(with_columns({"x": {"type": "number"}}, label=label)))
    assert contract.schema_.columns["y"].type == expected


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"label": {"column": "incme", "classes": ["no", "yes"]}}, "schema.label.column"),
        ({"key": ["incomes"]}, "schema.key[0]"),
        ({"immutable": ["incomee"], "key": ["age"]}, "schema.immutable[0]"),
        ({"source": "inccome"}, "schema.source"),
        ({"ignore": ["incom"]}, "schema.ignore[0]"),
    ],
)
def test_a_column_name_that_is_one_slip_away_is_a_slip(section: dict[str, Any], field: str) -> None:
    """The message asks whether the described column was meant."""
    columns = {"income": {"type": "string"}, "age": {"type": "integer"}}
    problem = only_problem(with_columns(columns, **section))
    assert problem["field"] == field
    assert problem["fix"] == "did you mean 'income'?"


def test_ignoring_an_unknown_column_is_a_mistake() -> None:
    """What is not there need not be ignored."""
    problem = only_problem(with_columns({"age": {"type": "integer"}}, ignore=["zip"]))
    assert "schema.columns has no column 'zip'" in problem["problem"]
    assert "age" in problem["fix"]


DP = {"noise_multiplier": 1, "max_grad_norm": 1, "delta": 1e-5}


@pytest.mark.parametrize(
    ("path", "value", "problem", "fix"),
    [
        ("dataset", "Adult", "not a usable name", "lower-case letter"),
        ("version", 2, "must be 1", ""),
        ("owner", 7, "must be text", 'put it in quotes: "7"'),
        ("sources", {"id": "west"}, "must be a list", "- item"),
        ("schedule", "@dayly", "no schedule", "'@daily'"),
        ("schedule", "every day", "no schedule", "five cron fields"),
        ("review", {"on_timeout": "approve"}, "must be 'reject' or 'hold'", "never approves"),
        ("review", {"approvals": 0}, "greater than or equal to 1", ""),
        ("review", {"timeout": "soon"}, "not a span of time", "3d"),
        ("screen", {"false_discovery_rate": 1.5}, "less than 1", ""),
        (
            "training",
            {"layers": [{"batch_norm": True}], "privacy": DP},
            "mixes the rows of a batch",
            "layer_norm",
        ),
        ("training", {"aggregation": "krum", "privacy": DP}, "bounds rows, the other sources", "mean"),
        ("training", {"aggregation": "krum", "layers": [{"batch_norm": True}]}, "keeps apart", "layer_norm"),
        ("training", {"batch_size": 1, "layers": [{"batch_norm": True}]}, "two rows or more", "raise"),
        ("training", {"aggregation": "krumm"}, "must be 'mean'", "`krum`"),
        ("training", {"privacy": {**DP, "noise_multiplier": 0}}, "greater than 0", ""),
        ("training", {"layers": [{"dens": 8}]}, "exactly one kind of layer", "`dense`"),
        ("training", {"layers": [{"dense": 8, "dropout": 0.5}]}, "exactly one kind of layer", "dense: 64"),
        ("training", {"layers": [{"dense": 8}, {"embedding": 4}]}, "can only stand first", "first layer"),
        ("training", {"layers": [{"embedding": 4}]}, "no text column to embed", "take the embedding out"),
        ("training", {"layers": [{"skip": []}]}, "at least 1", ""),
        ("training", {"optimizer": {"name": "sgd", "beta1": 0.5}}, "sgd has no beta1", "momentum"),
        ("training", {"optimizer": {"name": "sgd", "nesterov": True}}, "without momentum", "momentum"),
        ("training", {"schedule": {"name": "cosin"}}, "must be 'constant'", "`cosine`"),
        ("training", {"layers": [{"dense": 8, "activation": "rleu"}]}, "must be 'identity'", "`relu`"),
        ("training", {"optimizer": {"learning_rate": float("inf")}}, "finite", ""),
        ("expectations", [{"type": "ExpectColumn"}], "not the name of an expectation", "snake_case"),
        ("expectations", [{"type": "expect_x", "column": "agee"}], "no column 'agee'", "did you mean 'age'"),
        (
            "expectations",
            [{"type": "expect_x", "value": float("nan")}],
            "cannot be written as JSON",
            "finite",
        ),
        ("gates", {"slices": ["aeg"], "min_acuracy": 0.5}, "may not stand|may stand", "`min_accuracy`"),
        ("trusted", {"uri": "t.parquet", "sha256": "abc"}, "match pattern", ""),
        ("trusted", "t.parquet", "keys of its own", "`trusted:`"),
    ],
)
def test_a_wrong_value_is_answered_with_field_problem_and_fix(
    path: str, value: object, problem: str, fix: str
) -> None:
    """Whoever wrote it finds the place and knows what to write."""
    found = problems_of(plain(**{path: value}))
    assert any(each["field"].startswith(path) for each in found)
    assert any(re.search(problem, each["problem"]) and fix in each["fix"] for each in found), found
    assert all(each["line"] > 0 and each["fix"] for each in found)


def test_an_unknown_key_is_an_error_wherever_it_stands() -> None:
    """A mistyped limit that is ignored would be a silent pass."""
    contract = plain(screan={}, screen={"false_discovery_rat": 0.1})
    contract["schema"]["columns"]["age"]["mim"] = 3
    found = {each["field"]: each["fix"] for each in problems_of(contract)}
    assert found == {
        "screan": "did you mean `screen`?",
        "screen.false_discovery_rat": "did you mean `false_discovery_rate`?",
        "schema.columns.age.mim": "did you mean `min`?",
    }
    assert "known here" in only_problem(plain(review={"zzz": 1}))["fix"]


def test_a_missing_key_is_named_with_what_it_means() -> None:
    """Where its field has a description, the fix carries it."""
    contract = plain()
    del contract["dataset"]
    problem = only_problem(contract)
    assert (problem["field"], problem["problem"]) == ("dataset", "is missing")
    assert problem["fix"] == "add `dataset:` (Name of the data set; its DAGs are called after it)"
    assert only_problem(plain(sources=[{"id": "west", "uri": "x"}]))["field"] == "sources[0].publisher"


@pytest.mark.parametrize(
    ("column", "field", "problem"),
    [
        ({"type": "integer", "min": 5, "max": 3}, "min", "min 5.0 is above max 3.0"),
        ({"type": "string", "min": 5}, "min", "no sense for type string"),
        ({"type": "boolean", "max": 1}, "max", "no sense for type boolean"),
        ({"type": "date", "min": 5}, "min", "does not go with type date"),
        (
            {"type": "date", "min": dt.datetime(2026, 1, 1, 10, tzinfo=dt.UTC)},
            "min",
            "does not go with type date",
        ),
        ({"type": "integer", "min": dt.date(2026, 1, 1)}, "min", "does not go with type integer"),
        ({"type": "date", "min": dt.date(2026, 2, 1), "max": dt.date(2026, 1, 1)}, "min", "is above max"),
        (
            {
                "type": "timestamp",
                "min": dt.datetime(2026, 1, 1, 10, tzinfo=dt.UTC),
                "max": dt.date(2026, 1, 1),
            },
            "min",
            "above max",
        ),
        ({"type": "integer", "min": True}, "min", "true is no limit"),
        ({"type": "date", "min": "2026-02-30"}, "min", "day is out of range"),
        ({"type": "integer", "pattern": "a"}, "pattern", "no sense for type integer"),
        ({"type": "string", "pattern": "("}, "pattern", "not a regular expression"),
        ({"type": "integer", "max_length": 3}, "max_length", "no sense for type integer"),
        ({"type": "string", "allowed": ["a", True]}, "allowed[1]", "true is not of the column's type string"),
        ({"type": "string", "allowed": [1]}, "allowed[0]", "1 is not of the column's type string"),
        ({"type": "integer", "allowed": [1, "2"]}, "allowed[1]", "'2' is not of the column's type integer"),
        ({"type": "boolean", "allowed": [1]}, "allowed[0]", "1 is not of the column's type boolean"),
        (
            {"type": "number", "allowed": [1, 2.5, False]},
            "allowed[2]",
            "false is not of the column's type number",
        ),
    ],
)
def test_a_columns_limits_must_go_with_its_type(column: dict[str, Any], field: str, problem: str) -> None:
    """A limit that can never be checked is no limit."""
    found = only_problem(with_columns({"c": column}))
    assert found["field"] == f"schema.columns.c.{field}"
    assert problem in found["problem"]


def test_limits_that_go_with_their_type_are_kept() -> None:
    """One of each."""
    columns = {
        "a": {"type": "integer", "min": 1, "max": 1, "unique": True},
        "b": {
            "type": "timestamp",
            "min": dt.date(2026, 1, 1),
            "max": dt.datetime(2026, 1, 1, 1, tzinfo=dt.UTC),
        },
        "c": {"type": "string", "pattern": "[a-z]+", "max_length": 3, "allowed": ["no", "yes"]},
        "d": {"type": "date", "min": dt.date(2026, 1, 1), "allowed": ["2026-01-01"]},
        "e": {"type": "boolean", "allowed": [True]},
    }
    contract = parse_contract(text(with_columns(columns)))
    assert contract.schema_.columns["b"].min == dt.date(2026, 1, 1)
    assert contract.schema_.columns["e"].allowed == (True,)


@pytest.mark.parametrize(
    ("columns", "schema", "field", "problem"),
    [
        ({"_row": {"type": "integer"}}, {}, "schema.columns._row", "Assay adds itself"),
        ({"Age": {"type": "integer"}, "age": {"type": "integer"}}, {}, "schema.columns.age", "only in case"),
        ({"a\tb": {"type": "integer"}}, {}, "schema.columns", "no usable column name"),
        ({"  ": {"type": "integer"}}, {}, "schema.columns", "no usable column name"),
        ({"k": {"type": "string", "nullable": True}}, {"key": ["k"]}, "schema.key[0]", "nullable"),
        ({"k": {"type": "string"}}, {"immutable": ["k"]}, "schema.immutable", "needs a key"),
        ({"y": {"type": "string"}}, {"label": {"column": "y"}}, "schema.label", "names no classes"),
        (
            {"y": {"type": "string"}, "x": {"type": "string"}},
            {"label": {"column": "y", "classes": ["a", "b"]}, "ignore": ["y"]},
            "schema.label.column",
            "also stands in ignore",
        ),
        (
            {"y": {"type": "string"}},
            {"label": {"column": "y", "classes": ["a", "b"]}, "source": "y"},
            "schema.label.column",
            "also the source column",
        ),
        (
            {"y": {"type": "string"}},
            {"label": {"column": "y", "classes": ["no", True]}},
            "schema.label.classes[1]",
            "true is not of the column's type string",
        ),
        (
            {"y": {"type": "string", "allowed": ["a", "b"]}},
            {"label": {"column": "y", "classes": ["a", "c"]}},
            "schema.label.classes[1]",
            "not among the values",
        ),
        (
            {"y": {"type": "string"}},
            {"label": {"column": "y", "classes": ["a", "a"]}},
            "schema.label.classes",
            "stands twice",
        ),
    ],
)
def test_the_parts_of_a_schema_must_agree(
    columns: dict[str, Any], schema: dict[str, Any], field: str, problem: str
) -> None:
    """What contradicts itself is told before a delivery fails on it."""
    found = only_problem(with_columns(columns, **schema))
    assert found["field"] == field
    assert problem in found["problem"]


def test_a_column_name_that_yaml_does_not_read_as_text_is_named() -> None:
    """YAML reads `1:` and `yes:` as a number and a truth value."""
    found = problems_of("version: 1\ndataset: a\nschema:\n  columns:\n    1: {type: string}\n")
    assert found[0]["line"] == 5
    assert found[0]["fix"] == "put the name in quotes"


@pytest.mark.parametrize(
    ("source", "field", "problem"),
    [
        ({"uri": "http://x/"}, "uri", "plain http without a signature"),
        ({"uri": "ftp://x/"}, "uri", "cannot be read over ftp"),
        ({"uri": "https://me:hunter2@x/"}, "uri", "no place for secrets"),
        ({"uri": "x", "manifest": "../SHA256SUMS"}, "manifest", "not a plain file name"),
        ({"uri": "x", "signature": "a\\b"}, "signature", "not a plain file name"),
        ({"uri": "x", "signature": "a", "certificate": "a"}, "signature", "named twice"),
        ({"uri": "x", "certificate": "SHA256SUMS"}, "signature", "named twice"),
        ({"uri": "x", "signatures": {"files": ["a", "a"]}}, "signatures", "named twice"),
        ({"uri": "x", "signatures": {"files": ["a/b"]}}, "signatures", "not a plain file name"),
        ({"uri": "x", "signature": "a", "signatures": {"files": ["b"]}}, "signatures", "both stand there"),
    ],
)
def test_a_source_that_cannot_be_trusted_is_refused(source: dict[str, Any], field: str, problem: str) -> None:
    """And a password in its address is not repeated in the answer."""
    found = only_problem(
        plain(publishers=[{"id": "p"}], sources=[{"id": "west", "publisher": "p", **source}])
    )
    assert found["field"] == f"sources[0].{field}"
    assert problem in found["problem"]
    assert "hunter2" not in str(found)


def test_a_password_is_not_repeated_when_the_field_is_wrong_for_another_reason() -> None:
    """Whatever the reason for the complaint is."""
    with pytest.raises(ContractError) as caught:
        parse_contract(text(plain(surces="https://me:hunter2@x/")))
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(caught.value.problems)


def test_ids_and_references_between_publishers_and_sources_must_hold() -> None:
    """Each is named once, and every source's publisher is there."""
    one = {"id": "p"}
    source = {"id": "west", "publisher": "p", "uri": "x"}
    assert only_problem(plain(publishers=[one, one]))["field"] == "publishers[1].id"
    assert only_problem(plain(publishers=[one], sources=[source, source]))["field"] == "sources[1].id"
    near = only_problem(plain(publishers=[{"id": "census"}], sources=[{**source, "publisher": "censsus"}]))
    assert near["fix"] == "did you mean 'census'?"
    far = only_problem(plain(sources=[source]))
    assert "publishers/p.yaml" in far["fix"]
    contract = parse_contract(text(plain(publishers=[one])))
    with pytest.raises(KeyError):
        contract.publisher("q")
    with pytest.raises(KeyError):
        contract.source("west")


def test_a_gate_must_go_with_the_label() -> None:
    """Accuracy is for classes, R² for numbers."""
    columns = {"y": {"type": "number"}, "c": {"type": "string"}}
    number = with_columns(columns, label={"column": "y"})
    classes = with_columns(columns, label={"column": "c", "classes": ["a", "b"]})
    assert "use min_r2" in only_problem({**number, "gates": {"min_accuracy": 0.5}})["fix"]
    assert "use min_accuracy" in only_problem({**classes, "gates": {"min_r2": 0.5}})["fix"]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ({"format": "minisign", "public_key": "no base64!"}, "not base64"),
        ({"format": "minisign", "public_key": ED25519}, "not a minisign public key: 32 bytes"),
        ({"format": "ed25519", "public_key": MINISIGN}, "looks like a minisign key"),
        ({"format": "ed25519", "public_key": "AAAA"}, "has 3 bytes"),
        ({"format": "ed25519", "public_key": ED25519[:-2] + "p="}, "another way"),
        ({"format": "ed25519", "public_key": "A" * 43 + "="}, "small order"),
        (
            {"format": "ed25519", "public_key": base64.b64encode(b"\xec" + b"\xff" * 31).decode()},
            "small order",
        ),
        ({"format": "minisign", "public_key": "RWRTY0Iy" + "A" * 204}, "secret key"),
        (
            {
                "format": "ed25519",
                "public_key": ED25519,
                "valid_from": "2026-02-01",
                "valid_until": "2026-01-01",
            },
            "before valid_from",
        ),
    ],
)
def test_a_key_that_is_none_is_refused(key: dict[str, Any], problem: str) -> None:
    """With the format's own hint; weak points, with which anyone could sign, are none either."""
    found = only_problem(plain(publishers=[{"id": "p", "keys": [key]}]))
    assert found["field"].startswith("publishers[0].keys[0].")
    assert re.search(problem, found["problem"])


def test_a_publisher_lists_each_key_once() -> None:
    """A second entry with other dates could undo a revocation."""
    key = {"format": "ed25519", "public_key": ED25519}
    found = only_problem(plain(publishers=[{"id": "p", "keys": [{**key, "revoked": "2026-01-01"}, key]}]))
    assert found["field"] == "publishers[0].keys[1]"
    assert "twice" in found["problem"]


def test_a_keys_status_follows_its_dates() -> None:
    """Revocation comes before everything else; the last day of validity counts."""
    day = dt.date(2026, 6, 1)
    (key,) = Publisher.model_validate(
        {
            "id": "p",
            "keys": [
                {
                    "format": "ed25519",
                    "public_key": ED25519,
                    "valid_from": day,
                    "valid_until": day + dt.timedelta(2),
                }
            ],
        }
    ).keys
    assert key.status(day - dt.timedelta(1)) == "not_yet_valid"
    assert key.status(day) == key.status(day + dt.timedelta(2)) == "valid"
    assert key.status(day + dt.timedelta(3)) == "expired"
    assert key.model_copy(update={"revoked": day}).status(day) == "revoked"
    assert key.id == "ed25519:21fe31dfa154a261"


@pytest.mark.parametrize(
    ("written", "span"),
    [
        ("45s", dt.timedelta(seconds=45)),
        ("30m", dt.timedelta(minutes=30)),
        ("1.5h", dt.timedelta(minutes=90)),
        ("3d", dt.timedelta(days=3)),
        ("2w", dt.timedelta(weeks=2)),
        (90, dt.timedelta(seconds=90)),
        ("P3D", dt.timedelta(days=3)),
        ("P1W", dt.timedelta(weeks=1)),
        ("PT2H30M", dt.timedelta(hours=2, minutes=30)),
        (dt.timedelta(hours=1), dt.timedelta(hours=1)),
    ],
)
def test_a_span_of_time_is_read_as_people_write_it(written: object, span: dt.timedelta) -> None:
    """And what is written back is read as the same span."""
    assert parse_duration(written) == span
    assert parse_duration(format_duration(span)) == span


def test_a_span_is_written_in_the_largest_whole_unit() -> None:
    """As a person would."""
    spans = {"3d": 259_200, "36h": 129_600, "90m": 5_400, "61s": 61}
    assert [format_duration(dt.timedelta(seconds=seconds)) for seconds in spans.values()] == list(spans)
    assert parse_duration(format_duration(dt.timedelta(milliseconds=1500))) == dt.timedelta(milliseconds=1500)


@pytest.mark.parametrize(
    "written", ["", "3", "d", "3 d", "-3d", "0s", "P", "PT", True, None, [], "9" * 12 + "w", 1e300]
)
def test_what_is_no_span_of_time_is_refused(written: object) -> None:
    """Nothing, nothing positive, or too long to be meant."""
    with pytest.raises(ValueError, match=r"span of time|out of range"):
        parse_duration(written)


def test_the_worker_may_be_given_its_time_in_the_same_words() -> None:
    """The training section reads spans as the review does."""
    contract = parse_contract(text(plain(training={"timeout": "2h", "heartbeat": "90s"})))
    assert contract.training.timeout == dt.timedelta(hours=2)
    assert contract.training.heartbeat == dt.timedelta(seconds=90)


def test_a_contract_survives_the_way_through_json() -> None:
    """A worker gets it that way, in another process."""
    columns = {
        "day": {"type": "date", "min": dt.date(2026, 1, 1)},
        "at": {"type": "timestamp", "max": dt.datetime(2026, 1, 1, 10, tzinfo=dt.UTC)},
    }
    for contract in (parse_contract(DESIGN), parse_contract(text(with_columns(columns, key=["day"])))):
        again = Contract.model_validate_json(contract.model_dump_json(by_alias=True))
        assert again == contract
        assert again.digest == contract.digest


def test_the_digest_is_of_the_content() -> None:
    """Comments, order of keys and spelled-out defaults do not change it; values do."""
    one = parse_contract(text(plain()))
    other = parse_contract(
        "# a comment\ndataset: adult\nversion: 1\nowner: assay\n" + text({"schema": plain()["schema"]})
    )
    assert one.digest == other.digest
    assert one.digest != parse_contract(text(plain(owner="someone"))).digest
    assert len(one.digest) == 64


def test_a_contract_cannot_be_changed_in_place() -> None:
    """Two stations that hold the same contract see the same."""
    contract = parse_contract(text(plain()))
    with pytest.raises(ValueError, match="frozen"):
        contract.dataset = "other"  # type: ignore[misc]
    assert isinstance(contract, Contract)


@pytest.mark.parametrize(
    ("label", "training", "problem", "fix"),
    [
        ({"classes": ["a", "b"]}, {"loss": "mse"}, "does not belong to a label with classes", "auto"),
        ({}, {"loss": "logit_cross_entropy"}, "does not belong to a label without classes", "auto"),
        (
            {"classes": ["a", "b", "c"]},
            {"loss": "binary_logit_cross_entropy"},
            "for two classes, and the label has 3",
            "logit_cross_entropy",
        ),
        (
            {"classes": ["a", "b"]},
            {"class_weights": {"a": 1.0}},
            "differ in b",
            "one weight for each of a, b",
        ),
        ({}, {"class_weights": {"a": 1.0}}, "differ in a", "the label is a number"),
        (
            {"classes": ["a", "b"]},
            {"layers": [{"embedding": 4, "columns": ["age"]}]},
            "'age' is no text",
            "town",
        ),
    ],
)
def test_what_the_training_asks_for_must_fit_the_label_and_the_columns(
    label: dict[str, Any], training: dict[str, Any], problem: str, fix: str
) -> None:
    """Found when the contract is read, not hours later by the trainer."""
    columns = {"age": {"type": "integer"}, "town": {"type": "string"}}
    found = only_problem({**with_columns(columns, label={"column": "y", **label}), "training": training})
    assert problem in found["problem"]
    assert fix in found["fix"]
    assert found["field"].startswith("training.")
