"""Contracts for tests."""

from __future__ import annotations

from typing import Any

import yaml

MINISIGN = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
"""The public key that minisign's own documentation shows; its id is E7620F1842B4E81F."""

ED25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
"""The public key of RFC 8032, section 7.1, test 1."""

# The example of the design, with a real key in the place of `RWT...`.
DESIGN = f"""\
version: 1
dataset: adult
publishers:
  - {{id: census, keys: [{{format: minisign, public_key: {MINISIGN}, valid_from: 2026-01-01}}]}}   # or ed25519 (base64 of 32 bytes), ...
sources:
  - {{id: west, publisher: census, uri: "https://data.example.org/adult/", manifest: SHA256SUMS, signature: SHA256SUMS.minisig}}
schema:
  key: [person_id]
  source: null                           # column that names each row's source, where a table carries one
  immutable: [age, education]            # admitted history must not change under the same key
  label: {{column: income, classes: ["<=50K", ">50K"]}}
  columns:
    age: {{type: integer, min: 17, max: 90}}          # integer | number | string | boolean | date | timestamp
    workclass: {{type: string, allowed: [Private, State-gov], nullable: true}}
expectations:                            # any Great Expectations expectation, verbatim
  - {{type: expect_column_mean_to_be_between, column: age, min_value: 30, max_value: 50}}
trusted: {{uri: "file://trusted.parquet"}} # a small hand-checked set; also the gate's hold-out
screen: {{false_discovery_rate: 0.05, hold_delivery_above: 0.10}}
review: {{approvals: 1, on_timeout: reject, timeout: 3d}}
training:
  backend: auto                          # flux where Julia is there, else reference; recorded either way
  layers: [{{dense: 64, activation: relu}}, {{dense: 32, activation: relu}}]
  optimizer: {{name: adam, learning_rate: 0.001}}
  epochs: 30
  device: auto                           # auto | cpu | gpu (gpu missing: failed, not a quiet CPU run)
  privacy: null                          # {{noise_multiplier, max_grad_norm, delta}}
  aggregation: mean                      # mean | median | trimmed_mean | krum | geometric_median, over sources
gates: {{min_accuracy: 0.80, max_drop_vs_champion: 0.01, max_slice_gap: 0.15, slices: [sex, race], backdoor_scan: true}}
schedule: "@daily"
"""  # noqa: E501 - as it stands there


def plain(**changes: Any) -> dict[str, Any]:
    """The smallest contract as data, with sections added or replaced."""
    return {"version": 1, "dataset": "adult", "schema": {"columns": {"age": {"type": "integer"}}}, **changes}


def with_columns(columns: dict[str, Any], **schema: Any) -> dict[str, Any]:
    """A contract with these columns and other parts of the schema section."""
    return plain(schema={"columns": columns, **schema})


def text(data: Any) -> str:
    """Data as YAML."""
    return yaml.safe_dump(data, sort_keys=False)
