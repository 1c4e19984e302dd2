"""Contracts from other formats: what is carried over, and that the rest is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay.contract import Imported, ImportRefused, dump_contract, import_contract, parse_contract
from assay.contract.importers.draft import identifier
from assay.errors import UsageError

ODCS = """
apiVersion: v3.0.2
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
name: Seller payments (v1)
version: 1.1.0
status: active
description:
  purpose: Views built on top of the seller tables.
servers:
  - {server: local, type: postgresql, host: localhost, port: 5432}
slaProperties:
  - {property: latency, value: 4, unit: d}
schema:
  - name: payments
    logicalType: object
    properties:
      - name: payment_id
        logicalType: integer
        primaryKey: true
        primaryKeyPosition: 2
        logicalTypeOptions: {minimum: 1, multipleOf: 2}
      - name: region
        logicalType: string
        primaryKey: true
        primaryKeyPosition: 1
        quality:
          - {rule: validValues, validValues: [north, south], mustBe: 0}
      - name: code
        logicalType: string
        required: true
        unique: true
        logicalTypeOptions: {pattern: "^[A-Z]+$", maxLength: 8, format: uuid}
      - name: amount
        physicalType: DECIMAL(10,2)
        quality:
          - {metric: nullValues, mustBe: 0}
          - {metric: duplicateValues, mustBeLessThan: 1}
          - {type: sql, name: no refunds, query: select 1}
          - type: custom
            engine: greatExpectations
            implementation: {type: expect_column_mean_to_be_between, kwargs: {column: amount, min_value: 3}}
          - type: custom
            engine: great_expectations
            implementation: {type: expect_column_max_to_be_between, kwargs: {column: gone}}
      - {name: day, logicalType: date, logicalTypeOptions: {minimum: 2020-01-01}}
      - {name: when, physicalType: timestamp}
      - {name: flag, logicalType: boolean, logicalTypeOptions: {minimum: 3}}
      - {name: nested, logicalType: object}
      - {name: _row, logicalType: integer}
    quality:
      - {rule: rowCount, mustBeBetween: [10, 20]}
      - {rule: rowCount, mustBeGreaterThan: 4}
      - {rule: rowCount, mustBe: 3}
  - name: other
"""

CROISSANT = {
    "@context": {
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
    },
    "@type": "sc:Dataset",
    "conformsTo": "http://mlcommons.org/croissant/1.0",
    "name": "titanic",
    "description": "Passengers.",
    "license": "https://creativecommons.org/publicdomain/zero/1.0/",
    "distribution": [
        {
            "@type": "cr:FileObject",
            "@id": "passengers.csv",
            "contentUrl": "data/titanic.csv",
            "encodingFormat": "text/csv",
            "sha256": "c617db2c7470716250f6f001be51304c76bcc8815527ab8bae734bdca0735737",
        },
        {"@type": "cr:FileObject", "@id": "old.csv", "contentUrl": "data/old.csv", "sha256": "48177615aaaa"},
    ],
    "recordSet": [
        {"@type": "cr:RecordSet", "@id": "genders", "name": "genders", "field": [{"@id": "genders/name"}]},
        {
            "@type": "cr:RecordSet",
            "@id": "passengers",
            "key": {"@id": "passengers/number"},
            "field": [
                {"@id": "passengers/number", "dataType": "sc:Integer"},
                {"@id": "passengers/name", "name": "name", "dataType": "sc:Text"},
                {"@id": "passengers/age", "dataType": "cr:Float64"},
                {"@id": "passengers/class", "dataType": ["sc:Integer", "cr:Label"]},
                {"@id": "passengers/born", "dataType": "https://schema.org/Date"},
                {"@id": "passengers/seen", "dataType": "sc:DateTime"},
                {"@id": "passengers/alive", "dataType": "sc:Boolean"},
                {
                    "@id": "passengers/gender",
                    "dataType": "sc:Text",
                    "references": {"field": {"@id": "genders/name"}},
                },
                {"@id": "passengers/photo", "dataType": "sc:ImageObject"},
                {"@id": "passengers/tags", "dataType": "sc:Text", "repeated": True},
            ],
        },
        {"@type": "cr:RecordSet", "@id": "more", "field": [{"@id": "more/x", "dataType": "sc:Text"}]},
    ],
}

PACKAGE: dict[str, Any] = {
    "name": "gdp",
    "title": "Country GDP",
    "licenses": [{"name": "CC-BY-4.0"}],
    "resources": [
        {"name": "notes", "path": "notes.txt"},
        {
            "name": "gdp",
            "path": "gdp.csv",
            "hash": "d2e1b5f0c1e3f4a5b6c7d8e9f0a1b2c3",
            "schema": {
                "primaryKey": ["country", "year"],
                "missingValues": ["", "-"],
                "foreignKeys": [{"fields": "country"}],
                "uniqueKeys": [["year", "country"], "code"],
                "fields": [
                    {
                        "name": "country",
                        "type": "string",
                        "constraints": {"enum": ["de", "fr"], "minLength": 2},
                    },
                    {"name": "year", "type": "year", "constraints": {"required": True, "minimum": 1960}},
                    {"name": "value", "type": "number", "constraints": {"minimum": 0, "maximum": 1e9}},
                    {"name": "code", "constraints": {"unique": True, "pattern": "[A-Z]+", "maxLength": 3}},
                    {"name": "on", "type": "date", "format": "%d/%m/%y"},
                    {"name": "at", "type": "datetime"},
                    {"name": "ok", "type": "boolean", "constraints": {"minimum": 1}},
                    {"name": "place", "type": "geopoint"},
                    {"name": "Code", "type": "string"},
                    {"name": "  ", "type": "string"},
                ],
            },
        },
    ],
}


def save(folder: Path, data: Any, name: str) -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def types(made: Imported) -> dict[str, str]:
    return {name: column.type for name, column in made.contract.schema_.columns.items()}


def test_an_odcs_contract_brings_columns_keys_limits_and_rules(tmp_path: Path) -> None:
    """Primary keys come in their order and are never null."""
    made = import_contract("odcs", save(tmp_path, ODCS, "seller.odcs.yaml"))
    contract = made.contract
    assert contract.dataset == "seller_payments_v1"
    assert contract.description == "Views built on top of the seller tables."
    assert types(made) == {
        "payment_id": "integer",
        "region": "string",
        "code": "string",
        "amount": "number",
        "day": "date",
        "when": "timestamp",
        "flag": "boolean",
    }
    columns = contract.schema_.columns
    assert contract.schema_.key == ("region", "payment_id")
    assert [name for name in columns if not columns[name].nullable] == [
        "payment_id",
        "region",
        "code",
        "amount",
    ]
    assert columns["region"].allowed == ("north", "south")
    assert (columns["payment_id"].min, columns["code"].pattern, columns["code"].max_length) == (
        1,
        "^[A-Z]+$",
        8,
    )
    assert [name for name in columns if columns[name].unique] == ["code", "amount"]
    assert [each.type for each in contract.expectations] == [
        "expect_column_mean_to_be_between",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_be_between",
    ]
    assert contract.expectations[1].arguments == {"min_value": 10, "max_value": 20}
    assert contract.expectations[2].arguments == {"min_value": 5, "max_value": None}


@pytest.mark.parametrize(
    "lost",
    [
        "servers was left out",
        "slaProperties was left out",
        "table 'other' was left out",
        "column 'payment_id': multipleOf",
        "column 'code': format",
        "quality rule on column 'amount' was left out: no refunds",
        "quality rule on the table was left out: rowcount",
        "column 'nested' was left out: type 'object'",
        "column '_row' was left out",
        "column 'flag': min left out",
        "expect_column_max_to_be_between was left out: there is no column 'gone'",
        "to add: publishers and sources",
    ],
)
def test_what_odcs_says_and_a_contract_cannot_is_listed(tmp_path: Path, lost: str) -> None:
    """Nobody should believe that a rule is checked which is not."""
    made = import_contract("odcs", save(tmp_path, ODCS, "seller.yaml"))
    assert any(lost in note for note in made.notes), made.notes


def test_a_croissant_brings_the_fields_of_its_table(tmp_path: Path) -> None:
    """Of the first record set whose fields have types."""
    made = import_contract("croissant", save(tmp_path, CROISSANT, "croissant.json"))
    assert made.contract.dataset == "titanic"
    assert made.contract.schema_.key == ("number",)
    assert types(made) == {
        "number": "integer",
        "name": "string",
        "age": "number",
        "class": "integer",
        "born": "date",
        "seen": "timestamp",
        "alive": "boolean",
        "gender": "string",
    }


@pytest.mark.parametrize(
    "lost",
    [
        "record set 'genders' was left out",
        "record set 'more' was left out",
        "field 'photo' was left out: ImageObject",
        "field 'tags' was left out",
        "field 'class' is marked as a label",
        "field 'gender': its reference",
        "file 'passengers.csv' lies at data/titanic.csv (sha256 c617db2c",
        "file 'old.csv': what stands in sha256 is no SHA-256",
        "licence of the data: https://creativecommons.org",
    ],
)
def test_what_a_croissant_says_and_a_contract_cannot_is_listed(tmp_path: Path, lost: str) -> None:
    """Digests that are none are told too."""
    made = import_contract("croissant", save(tmp_path, CROISSANT, "croissant.json"))
    assert any(lost in note for note in made.notes), made.notes


def test_a_data_package_brings_its_first_table(tmp_path: Path) -> None:
    """With keys and constraints."""
    made = import_contract("frictionless", save(tmp_path, PACKAGE, "datapackage.json"))
    contract = made.contract
    assert (contract.dataset, contract.description) == ("gdp", "Country GDP")
    assert types(made) == {
        "country": "string",
        "year": "integer",
        "value": "number",
        "code": "string",
        "on": "date",
        "at": "timestamp",
        "ok": "boolean",
    }
    columns = contract.schema_.columns
    assert contract.schema_.key == ("country", "year")
    assert columns["country"].allowed == ("de", "fr")
    assert (columns["year"].min, columns["value"].max, columns["code"].max_length) == (1960, 1e9, 3)
    assert columns["code"].unique
    assert not columns["year"].nullable
    assert columns["value"].nullable
    assert contract.expectations[0].arguments == {"column_list": ["year", "country"]}


@pytest.mark.parametrize(
    "lost",
    [
        "resource 'notes' was left out",
        "hash is md5, which is too weak",
        "foreignKeys was left out",
        "missing values are written '-'",
        "field 'country': constraint minLength",
        "field 'on': format",
        "column 'ok': min left out",
        "field 'place' was left out: type 'geopoint'",
        "column 'Code' was left out: another one differs from it only in case",
        "licence of the data: CC-BY-4.0",
        "the data lies at gdp.csv",
    ],
)
def test_what_a_data_package_says_and_a_contract_cannot_is_listed(tmp_path: Path, lost: str) -> None:
    """A weak hash is called what it is."""
    made = import_contract("frictionless", save(tmp_path, PACKAGE, "datapackage.json"))
    assert any(lost in note for note in made.notes), made.notes


def test_a_table_schema_alone_or_in_a_file_beside_the_package_will_do(tmp_path: Path) -> None:
    """In JSON or YAML."""
    schema = {"fields": [{"name": "a", "type": "integer"}], "primaryKey": ["a", "b"]}
    alone = import_contract("frictionless", save(tmp_path, schema, "people.schema.json"))
    assert alone.contract.dataset == "people_schema"
    assert "the key column 'b' was left out: it is not among the columns" in alone.notes
    in_yaml = import_contract("frictionless", save(tmp_path, yaml.safe_dump(schema), "people.yaml"))
    assert types(in_yaml) == types(alone) == {"a": "integer"}
    package = {"name": "p", "resources": [{"name": "r", "path": "r.csv", "schema": "people.schema.json"}]}
    beside = import_contract("frictionless", save(tmp_path, package, "datapackage.json"))
    assert types(beside) == {"a": "integer"}


@pytest.mark.parametrize(
    "schema", ["../secret.json", "/etc/passwd", "https://example.org/schema.json", "", 7]
)
def test_a_schema_from_elsewhere_is_never_read(tmp_path: Path, schema: Any) -> None:
    """A description from a stranger must not make us read other files or call other machines."""
    (tmp_path / "secret.json").write_text(json.dumps({"fields": [{"name": "a"}]}))
    inside = tmp_path / "package"
    inside.mkdir()
    package = {"resources": [{"name": "r", "path": "r.csv", "schema": schema}]}
    with pytest.raises(ImportRefused, match=r"cannot be imported|describes no column"):
        import_contract("frictionless", save(inside, package, "datapackage.json"))


def test_every_import_can_be_written_and_read_again(tmp_path: Path) -> None:
    """Its notes stand as comments at the top."""
    for form, data, name in (
        ("odcs", ODCS, "a.yaml"),
        ("croissant", CROISSANT, "b.json"),
        ("frictionless", PACKAGE, "c.json"),
    ):
        made = import_contract(form, save(tmp_path, data, name))
        written = dump_contract(made.contract, made.notes)
        assert parse_contract(written).digest == made.contract.digest
        assert "# to add: publishers and sources" in written


@pytest.mark.parametrize(
    ("form", "content", "name", "found"),
    [
        ("odcs", "kind: DataContract\napiVersion: v2.2.2\n", "a.yaml", "v2.2.2"),
        ("odcs", "kind: DataContract\napiVersion: v3.0.0\n", "a.yaml", "no schema"),
        ("odcs", "kind: DataContract\napiVersion: v3.0.0\nschema: [{name: t}]\n", "a.yaml", None),
        ("odcs", "a: [\n", "a.yaml", "line 2"),
        ("odcs", "- a\n", "a.yaml", "a list at the top"),
        ("croissant", "{}", "a.json", "neither conformsTo"),
        ("croissant", '{"conformsTo": "http://mlcommons.org/croissant/1.0"}', "a.json", None),
        ("croissant", "not json", "a.json", "not JSON"),
        ("croissant", "[" * 100_000, "a.json", "not JSON"),
        ("croissant", '"text"', "a.json", "a str at the top"),
        ("frictionless", "{}", "a.json", "neither resources nor fields"),
        ("frictionless", '{"fields": [{"name": "a", "type": "any"}]}', "a.json", "type 'any'"),
        ("frictionless", '{"fields": "oops"}', "a.json", None),
    ],
)
def test_a_file_that_is_not_of_the_format_is_refused(
    tmp_path: Path, form: str, content: str, name: str, found: str | None
) -> None:
    """With what was found and what to do next."""
    path = save(tmp_path, content, name)
    with pytest.raises(ImportRefused) as caught:
        import_contract(form, path)
    assert str(path) in str(caught.value)
    assert found is None or found in str(caught.value)
    assert "check" in str(caught.value.next_step)


def test_a_description_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is parsed."""
    monkeypatch.setattr("assay.contract.importers.draft.MAX_JSON", 100)
    with pytest.raises(ImportRefused, match="more than 100 bytes"):
        import_contract("croissant", save(tmp_path, CROISSANT, "a.json"))


def test_an_unknown_format_is_a_usage_error(tmp_path: Path) -> None:
    """The known ones are listed."""
    with pytest.raises(UsageError, match="csvw") as caught:
        import_contract("csvw", tmp_path / "x")
    assert caught.value.expected == "odcs, croissant, frictionless"


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Adult Census", "adult_census"),
        ("Größe-1", "groe-1"),
        ("1994", "dataset_1994"),
        ("***", "dataset"),
        ("x" * 90, "x" * 63),
    ],
)
def test_any_name_becomes_a_usable_one(name: str, made: str) -> None:
    """For DAG ids and paths."""
    assert identifier(name) == made
